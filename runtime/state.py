"""The state of an actor seen from outside: its attributes, what is shown of them, and new ones (S20, S21).

State is read and replaced between two messages, by whoever handles the actor's
mail.  Nothing is shown that has not been through the redaction.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

from holdfast.runtime.errors import CallbackFailed, DefinitionError
from holdfast.runtime.redaction import Json, clean
from holdfast.runtime.stack import type_name

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor

__all__ = ["Change", "attributes", "replace_attributes", "shown_state"]

Change: TypeAlias = Callable[[dict[str, object]], Mapping[str, object]]

# The runtime's own: neither shown nor replaced.
_RUNTIMES = "context"


def attributes(actor: Actor) -> dict[str, object]:
    """Return the actor's attributes by name, of its `__dict__` and its slots, without the context."""
    found = dict(vars(actor))
    for name in _slots(type(actor)):
        if hasattr(actor, name):
            found[name] = getattr(actor, name)
    found.pop(_RUNTIMES, None)
    return found


def _slots(kind: type) -> list[str]:
    names: list[str] = []
    for base in reversed(kind.__mro__):
        declared: str | tuple[str, ...] = vars(base).get("__slots__", ())
        for name in (declared,) if isinstance(declared, str) else declared:
            hidden = name.startswith("__") and not name.endswith("__")
            names.append(f"_{base.__name__.lstrip('_')}{name}" if hidden else name)
    return [name for name in names if name not in {"__dict__", "__weakref__"}]


def shown_state(actor: Actor) -> Json:
    """Return what may be shown of the state, by the class's `format_state` and the redaction (S20)."""
    try:
        return clean(actor.format_state())
    except Exception as error:  # noqa: BLE001 - what the hook meant to hide must not be shown in its place
        return f"<format_state raised {type_name(error)}>"


def replace_attributes(actor: Actor, change: Change, path: str) -> None:
    """Give the actor the attributes that `change` makes of its present ones; `CallbackFailed` (S21)."""
    old = attributes(actor)
    copies: dict[int, object] = {}
    given = {name: _copied(value, copies) for name, value in old.items()}
    before = dict(given)
    try:
        new = _checked(change(given))
    except Exception as error:
        raise CallbackFailed(path, error) from error
    for name in old.keys() - new.keys():
        delattr(actor, name)
    for name, value in new.items():
        untouched = name in old and value is before[name] and _same(value, old[name])
        # What others hold, too, stays the object that they hold.
        object.__setattr__(actor, name, old[name] if untouched else value)


def _checked(new: object) -> dict[str, object]:
    if not isinstance(new, Mapping):
        if inspect.iscoroutine(new):
            new.close()  # nobody will await it
        raise DefinitionError(f"the new state is a mapping of attributes by name, got {type_name(new)}")
    state = dict(cast("Mapping[object, object]", new))
    wrong = [name for name in state if not isinstance(name, str) or not name.isidentifier()]
    if wrong or _RUNTIMES in state:
        raise DefinitionError(
            f"the new state has names of attributes, and not {_RUNTIMES!r}; got {(wrong or [_RUNTIMES])[0]!r}"
        )
    return cast("dict[str, object]", state)


def _copied(value: object, copies: dict[int, object]) -> object:
    """Return the value with its plain containers copied at any depth, each of them once."""
    if id(value) in copies:
        return copies[id(value)]
    kind = type(value)
    if kind is dict:
        mapping: dict[object, object] = {}
        copies[id(value)] = mapping
        for key, inner in cast("dict[object, object]", value).items():
            mapping[key] = _copied(inner, copies)
        return mapping
    if kind is list or kind is deque:
        items = cast("list[object]", value)
        line: list[object] | deque[object]
        line = [] if kind is list else deque(maxlen=cast("deque[object]", value).maxlen)
        copies[id(value)] = line
        line.extend(_copied(inner, copies) for inner in items)
        return line
    if kind is set:
        return copies.setdefault(id(value), set(cast("set[object]", value)))
    return value


def _same(one: object, other: object) -> bool:
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - values that cannot be compared count as changed
        return False
