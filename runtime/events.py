"""What can happen, as typed values: the base of all events, and the runtime's own.

Pure: the machines that decide things return events, and `tracing.py` carries them.
"""

from __future__ import annotations

import re

import msgspec

from holdfast.runtime.backtrace import Backtrace, own_place

__all__ = [
    "RECORDER_CAPACITY",
    "ActorEnded",
    "ActorStartFailed",
    "ActorStarted",
    "CrashReported",
    "DeadLetter",
    "Event",
    "HandlerSlow",
    "ObserverRemoved",
    "SubscriberRemoved",
    "TaskWedged",
    "ThreadBlocked",
    "event_name",
]

# Life-cycle events and reports that an actor's flight recorder keeps: the story of about ten restarts.
RECORDER_CAPACITY = 32

# A line of what came before a crash: enough for names, numbers and one exception.
LINE_MAX = 400


def _name(class_name: str) -> str:
    words = re.findall(r"[A-Z][a-z0-9]*", class_name)
    subject, *rest = (word.lower() for word in words)
    return f"{subject}:{'_'.join(rest)}" if rest else subject


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=_name):
    """The base of all events.  The name is the class's (`ActorStarted` is ``actor:started``) or its `tag`."""

    def facts(self) -> dict[str, object]:
        """Return what it tells, by name: its fields, as readers of logs and JSON are given them."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


class ActorStarted(Event, frozen=True, gc=False):
    """An incarnation's start hook has returned; it serves its mailbox."""

    path: str
    incarnation: int
    at: float


class ActorStartFailed(Event, frozen=True):
    """A factory or a start hook failed."""

    path: str
    incarnation: int
    reason: str
    at: float


class ActorEnded(Event, frozen=True):
    """An incarnation is over, with everything it had started."""

    path: str
    incarnation: int
    outcome: str
    at: float


class CrashReported(Event, frozen=True):
    """Why an incarnation crashed; the message is named by its type alone, it may hold secrets.

    What costs much to say is kept as data, and said when `traceback` or `recent` is read.
    `state` is what the class's own `format_state` shows, redacted; None for a class without one (S20).
    """

    path: str
    incarnation: int
    exception: str
    message_type: str | None
    backtrace: Backtrace
    past: tuple[Event, ...]
    """What the flight recorder held when it crashed, oldest first."""
    at: float
    state: object = None

    @property
    def traceback(self) -> str:
        """The text that Python would print, the innermost 20 frames of each exception."""
        return str(self.backtrace)

    @property
    def recent(self) -> tuple[str, ...]:
        """What happened to the actor before, a line for each event."""
        return tuple(_line(event) for event in self.past)

    def __str__(self) -> str:
        over = f" over {self.message_type}" if self.message_type else ""
        return f"{self.path} (incarnation {self.incarnation}) crashed{over}: {self.exception}"

    def facts(self) -> dict[str, object]:
        """Return what it tells, with the texts of `traceback` and `recent` in place of their data."""
        return {
            "path": self.path,
            "incarnation": self.incarnation,
            "exception": self.exception,
            "message_type": self.message_type,
            "traceback": self.traceback,
            "recent": self.recent,
            "at": self.at,
            "state": self.state,
        }


class DeadLetter(Event, frozen=True):
    """A message that nobody will handle, and why."""

    path: str
    message_type: str
    why: str
    at: float


class HandlerSlow(Event, frozen=True):
    """A handler takes long; it goes on.  Told again after twice, four and eight times as long.

    While the actor is being stopped it is told on and on, at growing intervals: it holds up the stop.
    """

    path: str
    incarnation: int
    message_type: str
    """The name alone; the message may hold secrets."""
    seconds: float
    limit: float | None
    """After how many seconds the actor has failed; None never, as for one that is being stopped."""
    report: int
    """1 for the first report about this run of the handler."""
    stack: str
    at: float
    stopping: bool = False
    """Whether the actor has been asked to stop: whoever stops it waits for this handler."""

    def __str__(self) -> str:
        fails = f"; at {self.limit:g} s it has failed" if self.limit is not None else ""
        holds_up = "; it was asked to stop, and holds that up" if self.stopping else ""
        place = own_place(self.stack)
        where = f"; it waits at {place}" if place else ""
        return (
            f"{self.path} (incarnation {self.incarnation}) has been handling {self.message_type} "
            f"for {self.seconds:.3g} s{fails}{holds_up}{where}"
        )


class TaskWedged(Event, frozen=True):
    """A task went on after it was killed and its grace was over; it cannot be ended in-process."""

    path: str
    incarnation: int
    stack: str
    resources: tuple[str, ...]
    at: float

    def __str__(self) -> str:
        place = own_place(self.stack)
        where = f"; it goes on at {place}" if place else ""
        held = f"; it holds {', '.join(self.resources)}" if self.resources else ""
        return f"{self.path} (incarnation {self.incarnation}) was killed and cannot be ended{where}{held}"


class ObserverRemoved(Event, frozen=True):
    """An observer of an actor raised and was removed; the actor goes on."""

    path: str
    observer: str
    reason: str
    at: float


class ThreadBlocked(Event, frozen=True):
    """The event loop's thread was blocked, and is free again; nothing else ran meanwhile."""

    path: str | None
    """Whose code held it; None when no actor was among its frames."""
    incarnation: int | None
    message_type: str | None
    """What it was handling; None in a hook or a child task."""
    seconds: float
    stack: str
    """Where it stood when it was looked at."""
    at: float

    def __str__(self) -> str:
        over = f" in its handler of {self.message_type}" if self.message_type else ""
        who = f"{self.path} (incarnation {self.incarnation}){over}" if self.path else "code of no actor"
        return f"{who} blocked the thread for {self.seconds:.3g} s; nothing else ran"


class SubscriberRemoved(Event, frozen=True):
    """A callback that raised was taken off the stream."""

    subscriber: str
    reason: str


def event_name(event: Event | type[Event]) -> str:
    """Return the event's public name, as in ``actor:started``."""
    return str(event.__struct_config__.tag)


def _line(event: Event) -> str:
    text = str(event)
    return text if len(text) <= LINE_MAX else f"{text[:LINE_MAX]}..."
