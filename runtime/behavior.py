"""How an actor is written: a class with one handler for each type of message.

The table from message type to handler is built once, when the class is
defined, and everything that can be wrong with it is refused then.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias, TypeVar

import attrs

from holdfast.runtime.errors import DefinitionError
from holdfast.runtime.liveness import LivenessSpec
from holdfast.runtime.mailbox import MailboxSpec
from holdfast.runtime.messages import InjectedFault, Message
from holdfast.runtime.state import attributes

if TYPE_CHECKING:
    from holdfast.runtime.context import Context
    from holdfast.runtime.outcomes import Outcome

__all__ = ["IGNORE", "Actor", "Handler", "Ignore", "Info", "StartReply", "Tier", "on"]

_MARK = "__holdfast_handles__"

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


@attrs.frozen
class Ignore:
    """Returned by `on_start`: there is nothing to run, and that is no error (R3)."""


@attrs.frozen
class Info:
    """Returned by `on_start`: extra information for whoever started the child; the supervisor ignores it."""

    value: object


IGNORE = Ignore()

StartReply: TypeAlias = Ignore | Info | None

Tier: TypeAlias = Literal["task", "taskless"]
_TIERS = (None, "task", "taskless")
_HOOKS = ("on_start", "on_stop", "on_drain")


class Handler(NamedTuple):
    """One row of the dispatch table."""

    function: Callable[..., object]
    waits: bool


def on(message_type: type[Message]) -> Callable[[F], F]:
    """Make the method the handler of one message type.  What it returns is the reply to an ask.

    Refused when the class is made: a type that is no `Message`, and two handlers for one type.
    """
    if not (isinstance(message_type, type) and issubclass(message_type, Message)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DefinitionError(f"@on takes a class that derives from Message, got {message_type!r}")
    if issubclass(message_type, InjectedFault):
        raise DefinitionError("InjectedFault is handled by the runtime: it crashes the actor on purpose")

    def mark(method: F) -> F:
        function: object = method
        if not inspect.isfunction(function):
            raise DefinitionError(f"@on({message_type.__name__}) goes over a method, got {method!r}")
        _check_handler(message_type, method)
        setattr(method, _MARK, message_type)
        return method

    return mark


def _check_handler(message_type: type[Message], method: Callable[..., object]) -> None:
    """Refuse what could only fail, or do nothing, when a message comes."""
    said = f"@on({message_type.__name__}) over {method.__qualname__}"
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise DefinitionError(f"{said}: a handler returns its reply and does not yield")
    if inspect.iscoroutinefunction(inspect.unwrap(method)) and not inspect.iscoroutinefunction(method):
        raise DefinitionError(f"{said}: a decorator made a def of an async def, and nobody would await it")
    try:
        inspect.signature(method).bind("self", "message")
    except TypeError as error:
        raise DefinitionError(f"{said}: a handler takes self and the message ({error})") from error


class Actor:
    """The base of actors.  Nothing needs to be called on it: write `__init__` as you like.

    The constructor runs for every incarnation, so state starts anew; `context`
    is there from `on_start` on.  Handlers are never interrupted, except by a
    kill or when the allowance for stopping runs out.
    """

    mailbox: ClassVar[MailboxSpec] = MailboxSpec()
    tier: ClassVar[Tier | None] = None
    """None chooses: handlers and hooks that are all plain `def` need no task of their own and live
    `taskless` on the pump, which all such actors share; any `async def` makes it a `task`.
    `task` may be asked for; so may `taskless`, and an `async def` is refused then."""
    taskless: ClassVar[bool] = True
    handlers: ClassVar[Mapping[type[object], Handler]] = MappingProxyType({})
    # The same in two, for the loop: most messages are found by one look-up, and nothing is unpacked.
    at_once: ClassVar[Mapping[type[object], Callable[..., object]]] = {}
    awaited: ClassVar[Mapping[type[object], Callable[..., Awaitable[object]]]] = {}
    liveness: ClassVar[LivenessSpec | None] = None
    """How long a handler may take; None leaves it to the system."""
    context: Context

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if not isinstance(cls.mailbox, MailboxSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"{cls.__name__}.mailbox is a MailboxSpec, got {cls.mailbox!r}")
        if inspect.iscoroutinefunction(cls.format_state):
            raise DefinitionError(f"{cls.__name__}.format_state is a plain def: it runs between two messages")
        if not isinstance(cls.liveness, LivenessSpec | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"{cls.__name__}.liveness is a LivenessSpec, got {cls.liveness!r}")
        if cls.tier not in _TIERS:
            raise DefinitionError(f"{cls.__name__}.tier is 'task', 'taskless' or None, got {cls.tier!r}")
        cls.adopt_handlers(_table(cls))

    @classmethod
    def adopt_handlers(cls, table: Mapping[type[object], Handler]) -> None:
        """Take this table in place of the one collected from methods."""
        cls.handlers = MappingProxyType(dict(table))
        cls.at_once = {kind: row.function for kind, row in table.items() if not row.waits}
        cls.awaited = {kind: row.function for kind, row in table.items() if row.waits}  # type: ignore[misc]
        waiting = [row.function.__qualname__ for row in table.values() if row.waits] + _waiting_hooks(cls)
        if waiting and cls.tier == "taskless":
            raise DefinitionError(
                f"{cls.__name__} says tier = 'taskless', and {', '.join(waiting)} is async def: "
                f"make it a def, or leave the choice of the tier to the runtime"
            )
        cls.taskless = not waiting and cls.tier != "task"

    def on_start(self) -> StartReply | Awaitable[StartReply]:
        """Get ready to serve; the actor is started when this returns.  May be `async def`.

        Raising means that the start failed.  Never wait for a remote here: ready
        means serving the mailbox, not that somebody answered.
        """
        return None

    def on_stop(self, outcome: Outcome) -> Awaitable[None] | None:
        """Clean up.  Called after a stop request, the actor's own stop and a crash; not on a kill.

        Runs within the allowance for stopping; raising makes that the outcome (S19).
        """

    def on_drain(self) -> Awaitable[None] | None:
        """Write out what is held in memory: a coordinated full restart is coming.  Mail stays queued."""

    def format_state(self) -> object:
        """Return what is shown of the state, by inspection and in crash reports (S20); all attributes here.

        A plain `def` that must not wait and should not take long.  What it returns is
        redacted and bounded afterwards, whatever it is.  Raising shows nothing but that.
        A crash report shows the state of a class only if the class has this hook.
        """
        return attributes(self)


async def returned(actor: Actor, value: T | Awaitable[T]) -> T:
    """Return what a hook returned, waiting for it where the hook is `async def`."""
    if value is None or not inspect.isawaitable(value):
        return value
    if type(actor).taskless:
        if inspect.iscoroutine(value):
            value.close()
        raise DefinitionError(
            f"a hook of {type(actor).__name__} returned something to wait for and is no async def: "
            f"a task-less actor cannot wait; make it async def, or say tier = 'task' in the class"
        )
    return await value


def _waiting_hooks(cls: type[Actor]) -> list[str]:
    """Return the hooks of a class that are `async def`, also under a decorator."""
    hooks = {name: inspect.unwrap(getattr(cls, name)) for name in _HOOKS}
    return [f"{cls.__name__}.{name}" for name, hook in hooks.items() if inspect.iscoroutinefunction(hook)]


def _table(cls: type[Actor]) -> dict[type[object], Handler]:
    """Return the handlers of a class, its bases' first; a subclass replaces a handler by its type."""
    table: dict[type[object], Handler] = {}
    for base in reversed(cls.__mro__):
        own: dict[type[Message], str] = {}
        for name, method in vars(base).items():
            message_type: type[Message] | None = getattr(method, _MARK, None)
            if message_type is None:
                continue
            if message_type in own:
                raise DefinitionError(
                    f"{base.__name__} has two handlers for {message_type.__name__}: "
                    f"{own[message_type]} and {name}; one type has one handler"
                )
            own[message_type] = name
            table[message_type] = Handler(method, inspect.iscoroutinefunction(method))
    for handled, handler in table.items():
        _check_not_hidden(cls, handled, handler.function)
    return table


def _check_not_hidden(cls: type[Actor], message_type: type[object], function: Callable[..., object]) -> None:
    """Refuse a method that looks like an override of a handler and would never be called."""
    name = function.__name__
    found: object = inspect.getattr_static(cls, name, function)
    if found is not function and getattr(found, _MARK, None) is None:
        raise DefinitionError(
            f"{cls.__name__}.{name} hides the handler of {message_type.__name__} and is none itself: "
            f"write @on({message_type.__name__}) over it, or give it another name"
        )
