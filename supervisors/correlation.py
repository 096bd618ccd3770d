"""Failures that belong together: how many, within how long, and of what.

When several parts of a system fail within seconds, the cause is seldom in each
of them, and restarting them one by one is a row of restarts that helps nobody.
A `Correlation` says when a supervisor takes them for one failure; what is one
part of the system is said by a table of components, for people think of
"websocket" where the tree has two actors.  Pure, like everything declared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import attrs

from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.identity import check_path
from holdfast.runtime.seconds import is_seconds_above_zero
from holdfast.supervisors.errors import InvalidSpec

__all__ = ["Correlation", "as_correlation"]

OWNER = "correlate"


def _table(components: Mapping[str, Sequence[str]]) -> Mapping[str, tuple[str, ...]]:
    given: object = components
    if not isinstance(given, Mapping):
        raise InvalidSpec(OWNER, "components is a mapping of names to paths", components)
    return {name: _owners(name, owners) for name, owners in components.items()}


def _owners(name: str, owners: Sequence[str]) -> tuple[str, ...]:
    called: object = name
    given: object = owners
    if not isinstance(called, str) or not called:
        raise InvalidSpec(OWNER, "a component has a name", name)
    # A bare string is a sequence of letters, none of which is meant.
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise InvalidSpec(OWNER, f"component {name!r} has a sequence of one path or more", owners)
    return tuple(owners)


@attrs.frozen
class Correlation:
    """`failures` components that fail by themselves within `window` seconds are one failure of the whole."""

    failures: int = 3
    window: float = 5.0
    """Seconds, measured at the moments of the failures; the edge counts."""

    components: Mapping[str, tuple[str, ...]] = attrs.field(
        factory=dict[str, tuple[str, ...]], converter=_table, kw_only=True
    )
    """Each component's name and the paths, below the supervisor, of those who make it up.

    Whoever stands at or below such a path belongs to the nearest one; where two names share a
    path the first is the component and the other another name of it.  What no name covers is a
    component of its own, named by its path; the children of a dynamic supervisor are one.
    """

    def __attrs_post_init__(self) -> None:
        if type(self.failures) is not int or self.failures < 2:
            raise InvalidSpec(OWNER, "failures is a whole number of 2 or more", self.failures)
        if not is_seconds_above_zero(self.window):
            raise InvalidSpec(OWNER, "window is a finite number of seconds above 0", self.window)
        for name, owners in self.components.items():
            for owner in owners:
                try:
                    check_path(owner)
                except HoldfastError as error:
                    raise InvalidSpec(
                        OWNER, f"component {name!r} names paths below the supervisor", owner
                    ) from error

    def component_at(self, path: str) -> str:
        """Return the component that a path below the supervisor belongs to."""
        at = path
        while at:
            for name, owners in self.components.items():
                if at in owners:
                    return name
            at = at.rpartition("/")[0]
        return path

    def component_named(self, name: str) -> str | None:
        """Return the component that somebody means by a name; None when the table has no such name."""
        owners = self.components.get(name)
        return None if owners is None else self.component_at(owners[0])


def as_correlation(given: object) -> Correlation | None:
    """Return what a supervisor's `correlate=` says: a `Correlation`, (failures, seconds), or None for off."""
    if given is None or isinstance(given, Correlation):
        return given
    if isinstance(given, tuple):
        pair = cast("tuple[object, ...]", given)
        if len(pair) == 2:
            return Correlation(*pair)  # type: ignore[arg-type]  # checked there
    raise InvalidSpec("supervisor", "correlate is a Correlation, (failures, seconds) or None", given)
