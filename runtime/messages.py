"""What actors say: the bases of all messages, the messages of the runtime, and the door they go through.

Messages are frozen `msgspec.Struct`s.  Those that come from the runtime itself
(`Down`, `Ended`, `Answer`) are handled with `@on` like any other.

`Post` breaks the circle between a ref, the cell behind it and the registry that
knows both: a ref knows only that there is something that takes items.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

import msgspec

from holdfast.runtime.outcomes import Outcome

__all__ = ["Answer", "Down", "Ended", "InjectedFault", "Message", "Post", "Request"]

R = TypeVar("R", covariant=True)  # noqa: PLC0105 - the name of one letter, as in `Request[R]`


class Message(msgspec.Struct, frozen=True):
    """The base of everything that is told to an actor."""


class Request(Message, Generic[R], frozen=True):
    """A message that is asked: `await ref.ask(request)` returns an `R`."""


class Down(Message, frozen=True):
    """An incarnation of a watched actor ended; exactly one for each, after everything it had sent."""

    path: str
    incarnation: int
    outcome: Outcome


class Ended(Message, frozen=True):
    """A cell ended by itself; told to the supervisor that opened it, never to anyone else."""

    path: str
    incarnation: int
    outcome: Outcome


class Answer(Message, frozen=True):
    """What came of an `ask_later`: a value, or the error that `ask` would have raised."""

    key: Hashable
    value: object = None
    error: BaseException | None = None


class InjectedFault(Message, frozen=True):
    """A fault put into an actor from outside, by a test or the demo: handling it raises `error`.

    No actor declares a handler for it; the cell raises it in the handler's
    place, so that the crash takes the way that every crash takes.
    """

    error: BaseException


class Post(Protocol):
    """Something that takes what is sent to one actor."""

    @property
    def path(self) -> str:
        """The path of the actor behind it."""
        ...

    def post(self, item: object) -> None:
        """Take an item of the runtime, outside the mailbox's bound; never refused, never dropped."""
        ...
