"""The actors that the kernel's tests play with.

A `Scribe` writes what it lives through into a list that outlives it; a `Keeper`
stands where a supervisor would, and does nothing by itself: the test opens the
cells, stops them and starts their successors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import anyio

from holdfast.runtime import (
    Actor,
    Cell,
    DeadLetter,
    Down,
    Ended,
    Event,
    Message,
    Outcome,
    Request,
    System,
    on,
)

__all__ = [
    "Ask",
    "Boom",
    "Fail",
    "Forward",
    "Keeper",
    "Note",
    "Relay",
    "Scribe",
    "SlowScribe",
    "Wait",
    "WaitLong",
    "dead_letters",
    "events_of",
    "keeper",
]


class Boom(Exception):
    """What an actor of these tests crashes with."""


class Note(Message, frozen=True):
    """Write this down."""

    text: str


class Fail(Message, frozen=True):
    """Crash."""


class Wait(Message, frozen=True):
    """Be busy for so many seconds, then write it down."""

    seconds: float


class Ask(Request[str], frozen=True):
    """Write it down and answer with the same text."""

    text: str = "asked"


class WaitLong(Request[str], frozen=True):
    """Answer after so many seconds."""

    seconds: float


class Scribe(Actor):
    """Writes down what it lives through: ``+n`` started, ``-outcome`` stopped, and every message."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.downs: list[Down] = []

    def on_start(self) -> None:
        self.log.append(f"+{self.context.incarnation}")

    def on_stop(self, outcome: Outcome) -> Awaitable[None] | None:
        self.log.append(f"-{outcome}")
        return None

    @on(Note)
    def note(self, message: Note) -> None:
        self.log.append(message.text)

    @on(Fail)
    def fail(self, message: Fail) -> None:
        raise Boom("told to")

    @on(Ask)
    def answer(self, message: Ask) -> str:
        self.log.append(message.text)
        return message.text

    @on(Down)
    def down(self, message: Down) -> None:
        self.downs.append(message)
        self.log.append(f"down {message.path} {message.incarnation} {message.outcome}")


class SlowScribe(Scribe):
    """A scribe that can be busy: it has a task of its own."""

    @on(Wait)
    async def wait(self, message: Wait) -> None:
        self.log.append("busy")
        await anyio.sleep(message.seconds)
        self.log.append("done")

    @on(WaitLong)
    async def answer_late(self, message: WaitLong) -> str:
        await anyio.sleep(message.seconds)
        return "late"


class Forward(Request[str], frozen=True):
    """Ask the next actor of the route the same, and answer what it answers."""

    route: tuple[str, ...]
    timeout: float = 5.0


class Relay(Actor):
    """Asks along a route; at its end it answers with its path."""

    @on(Forward)
    async def forward(self, message: Forward) -> str:
        if not message.route:
            return self.context.path
        following, *rest = message.route
        ref = self.context.system.ref(following)
        return await ref.ask(Forward(tuple(rest), message.timeout), timeout=message.timeout)


class Keeper(Actor):
    """The parent of cells; it notes the ends that it is told of.  A task, like every supervisor."""

    tier = "task"

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    @on(Ended)
    def note(self, message: Ended) -> None:
        self.ended.append(message)

    def open(self, name: str, factory: Callable[[], Actor], *, exclusive: tuple[str, ...] = ()) -> Cell:
        """Return a new incarnation of a child; nothing runs yet."""
        return self.context.open_cell(name, factory, exclusive=exclusive)

    async def start(self, name: str, factory: Callable[[], Actor]) -> Cell:
        """Open a child and start it."""
        cell = self.open(name, factory)
        await cell.start()
        return cell


async def keeper(system: System, name: str = "keeper") -> Keeper:
    """Start a keeper at the top of the system and return the actor itself."""
    made: list[Keeper] = []

    def factory() -> Keeper:
        made.append(Keeper())
        return made[-1]

    await system.start(name, factory)
    return made[0]


@contextmanager
def events_of(system: System, *kinds: type[Event]) -> Generator[list[Event], None, None]:
    """Collect the events of these types."""
    collected: list[Event] = []

    def collect(event: Event) -> None:
        if isinstance(event, kinds):
            collected.append(event)

    system.events.call(collect)
    yield collected
    system.events.remove(collect)


@contextmanager
def dead_letters(system: System) -> Generator[list[tuple[str, str]], None, None]:
    """Collect the type and the reason of each dead letter."""
    collected: list[tuple[str, str]] = []

    def collect(event: Event) -> None:
        if isinstance(event, DeadLetter):
            collected.append((event.message_type, event.why))

    system.events.call(collect)
    yield collected
    system.events.remove(collect)
