"""Who observes one actor's messages: statistics, a ring of the latest, and functions that are told (S23).

A slot that somebody observes has a `Tap`; nearly none has.  Whoever handles the
mail looks for it once a batch and then goes the long way with each message; so
nothing is paid for it when it is off, and what is switched on takes effect at the
next batch.  Entries name the types of messages, never their contents; those are
made, redacted, only for an observer that asked for them.  A tap is the slot's: it
stays through restarts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import attrs

from holdfast.runtime.events import Event, ObserverRemoved
from holdfast.runtime.mailbox import Notice, Question, StopMark, StopRequest, Tick
from holdfast.runtime.outcomes import describe
from holdfast.runtime.redaction import clean

if TYPE_CHECKING:
    from holdfast.runtime.asks import Pending
    from holdfast.runtime.registry import Slot

__all__ = ["LOG_SIZE", "LOG_SIZE_MAX", "Counts", "Observed", "Observer", "Tap", "Unseen"]

# The latest messages that a tap keeps: four entries a question, so the story of some twenty.
LOG_SIZE = 64
# As many as a person greps through; an entry is about 200 bytes.
LOG_SIZE_MAX = 10_000

What: TypeAlias = Literal["in", "handled", "reply", "crash"]


class Observed(Event, frozen=True, kw_only=True, tag="actor:observed"):
    """One thing that an observed actor did: took a message, handled it, answered, or crashed over it."""

    path: str
    incarnation: int
    what: What
    message_type: str
    at: float
    seconds: float | None = None
    """How long the handler took, waits inside it included."""
    error: str | None = None
    contents: object = None
    """The message or the answer, redacted, for an observer that asked for it."""

    def __str__(self) -> str:
        took = "" if self.seconds is None else f" ({self.seconds * 1e3:.3f} ms)"
        why = "" if self.error is None else f": {self.error}"
        shown = "" if self.contents is None else f" {self.contents}"
        return (
            f"{self.at:.6f} {self.path} #{self.incarnation} {self.what} {self.message_type}{took}{why}{shown}"
        )


@attrs.frozen
class Observer:
    """A function that is told, and whether it is told contents."""

    tell: Callable[[Observed], object]
    contents: bool = False


@attrs.define
class Counts:
    """What is counted for each message while statistics are on."""

    since: float
    messages_in: int = 0
    messages_out: int = 0
    crashes: int = 0
    busy: float = 0.0
    slowest: float = 0.0


class Unseen:
    """In place of an actor class while it is observed: no handler is found at once, all go the long way."""

    at_once: ClassVar[dict[type[object], Callable[..., object]]] = {}
    awaited: ClassVar[dict[type[object], Callable[..., Awaitable[object]]]] = {}


class Tap:
    """Everything that is switched on for one slot."""

    __slots__ = ("_slot", "counts", "log", "logged", "observers")

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self.counts: Counts | None = None
        self.log: deque[Observed] = deque(maxlen=LOG_SIZE)
        """The latest entries, kept while anything is on: a crash report tells of them."""
        self.logged = False
        """Whether the log was asked for by itself."""
        self.observers: dict[Hashable, Observer] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is on any more."""
        return self.counts is None and not self.observers and not self.logged

    # -- around one message

    async def watch(self, item: object, incarnation: int, handling: Callable[[], Awaitable[bool]]) -> bool:
        """Have an item handled and tell of it; returns and raises what the handling does."""
        message = _seen(item, incarnation)
        if message is None:
            return await handling()
        name = type(message).__name__
        begun = self._slot.system.now()
        if self.counts is not None:
            self.counts.messages_in += 1
        self._tell("in", name, incarnation, message)
        if isinstance(item, Question):
            self._await_reply(item.pending, incarnation)
        try:
            ended = await handling()
        except BaseException as error:
            if self.counts is not None:
                self.counts.crashes += 1
            self._took(begun)
            self._tell("crash", name, incarnation, None, begun, describe(error))
            raise
        self._took(begun)
        self._tell("handled", name, incarnation, None, begun)
        return ended

    def _await_reply(self, pending: Pending, incarnation: int) -> None:
        """Tell of the answer when it is given, which may be long after the handler."""
        earlier = pending.on_done

        def done() -> None:
            # A withdrawn question has an asker who sleeps no more, or nobody who is told.
            if pending.error is None and (pending.waiter is None or pending.waiter.parker.asleep):
                if self.counts is not None:
                    self.counts.messages_out += 1
                self._tell("reply", type(pending.value).__name__, incarnation, pending.value)
            if earlier is not None:
                earlier()

        pending.on_done = done

    def _took(self, begun: float) -> None:
        if self.counts is not None:
            took = self._slot.system.now() - begun
            self.counts.busy += took
            self.counts.slowest = max(self.counts.slowest, took)

    # -- telling

    def _tell(
        self,
        what: What,
        name: str,
        incarnation: int,
        subject: object,
        begun: float | None = None,
        error: str | None = None,
    ) -> None:
        at = self._slot.system.now()
        seconds = None if begun is None else at - begun
        said = {"what": what, "message_type": name, "seconds": seconds, "error": error}
        entry = Observed(path=self._slot.path, incarnation=incarnation, at=at, **said)  # type: ignore[arg-type]
        self.log.append(entry)
        for key, observer in tuple(self.observers.items()):
            told = entry
            if observer.contents and subject is not None:
                told = Observed(
                    path=self._slot.path,
                    incarnation=incarnation,
                    at=at,
                    contents=clean(subject),
                    **said,  # type: ignore[arg-type]
                )
            try:
                observer.tell(told)
            except Exception as failure:  # noqa: BLE001 - who watches must not fail what it watches
                self._drop(key, failure)

    def _drop(self, key: Hashable, failure: Exception) -> None:
        slot = self._slot
        slot.unobserve(key)
        slot.system.registry.observers_below.pop(key, None)
        slot.system.events.publish(
            ObserverRemoved(path=slot.path, observer=str(key), reason=describe(failure), at=slot.system.now())
        )


def _seen(item: object, incarnation: int) -> object:
    """Return the message that is going to be handled; None for what is none, or for nobody any more."""
    if isinstance(item, StopMark | StopRequest):
        return None
    if isinstance(item, Question):
        return item.message if item.pending.wanted else None
    if isinstance(item, Notice | Tick):
        return item.message if item.incarnation in {None, incarnation} else None
    return item
