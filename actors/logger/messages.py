"""What the logger hears, and the front that everybody logs through.

The front is the one call that hot paths make, so it does as little as can be
done: compare two numbers, make one frozen record, append it to a bounded deque.
Nothing is formatted, redacted or written here; the actor does that in batches.
The backlog behind the front belongs to the system, above the root: what was
accepted survives every restart of the actor.

Call the front on the thread that runs the actors.  It keeps references: data
that changes before the batch is written (20 ms) is logged as changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TypeAlias

import msgspec

from holdfast.runtime import Event, HoldfastError, Message, Request

__all__ = [
    "BACKLOG_RECORDS",
    "Backlog",
    "Data",
    "Drain",
    "Flush",
    "Level",
    "LogRecovered",
    "LogSinkFailed",
    "Logger",
    "Record",
    "SetLevel",
    "ShowHeldBack",
    "SinkFailed",
    "WriteDue",
    "WriteEnded",
]

Data: TypeAlias = Mapping[str, object]

# About 20 MB of small records, or 15 minutes of 70 a second while a disk is full.
BACKLOG_RECORDS = 65_536


class Level(IntEnum):
    """How grave a record is; the numbers are those of the standard library."""

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40


# Plain integers: looking a member up in the enum costs as much as the rest of a filtered call.
_DEBUG, _INFO, _WARN, _ERROR = (int(level) for level in Level)


class SinkFailed(HoldfastError):
    """The file took nothing of a batch.  The batch is kept and will be written again."""

    def __init__(self, sink: str, reason: str) -> None:
        super().__init__(f"the log {sink} cannot be written: {reason}")
        self.sink = sink
        self.reason = reason


class Record(msgspec.Struct, frozen=True, gc=False):
    """One call of the front, as it was made."""

    level: int
    message: str
    component: str
    time: float
    """Unix seconds, from the wall clock."""
    data: Data | None


class SetLevel(Request[None], frozen=True):
    """From now on accept records of this level and above (A5.2), until the configured level changes."""

    level: Level


class Flush(Request[None], frozen=True):
    """Answered when everything accepted so far is written; fails at once when it cannot be written."""


class Drain(Message, frozen=True):
    """A record came to an empty backlog; said by the front once per batch."""


class WriteDue(Message, frozen=True):
    """The wait for company, or for the next attempt, is over."""


class ShowHeldBack(Message, frozen=True):
    """The second is over in which dead letters were held back: say how many."""


class WriteEnded(Message, frozen=True):
    """The writing task has ended: with an error when the file took nothing."""

    failure: SinkFailed | None = None


class LogSinkFailed(Event, frozen=True, tag="log:sink_failed"):
    """A sink refuses lines.  Records are kept up to the bound, then dropped and counted."""

    sink: str
    reason: str


class LogRecovered(Event, frozen=True, tag="log:recovered"):
    """The file takes lines again."""

    failures: int


class Backlog:
    """The records that were accepted and not yet taken by the actor, oldest first."""

    __slots__ = ("_dropped_after", "_wake", "accepted", "capacity", "dropped", "now", "records", "threshold")

    def __init__(self, *, level: Level, now: Callable[[], float], capacity: int = BACKLOG_RECORDS) -> None:
        self.threshold = int(level)
        self.now = now
        """The wall clock: records carry the time of the call, not of the writing."""
        self.capacity = capacity
        self.records: deque[Record] = deque()
        self.accepted = 0
        """Records ever accepted; a flush waits until as many are written."""
        self.dropped = 0
        """Records refused since this was last reported."""
        self._dropped_after = 0
        """Records accepted before the first of those."""
        self._wake: Callable[[], None] | None = None

    def append(self, record: Record) -> None:
        """Accept a record, or count it as dropped; wake a parked actor once."""
        if len(self.records) >= self.capacity:
            if not self.dropped:
                self._dropped_after = self.accepted
            self.dropped += 1
            return
        self.records.append(record)
        self.accepted += 1
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake()

    def park(self, wake: Callable[[], None]) -> None:
        """Have `wake` called at the next record, once.  It must not raise."""
        self._wake = wake

    def take_dropped(self) -> int:
        """Return how many were dropped, once everything accepted before them is taken; and count anew."""
        if not self.dropped or self.accepted - len(self.records) < self._dropped_after:
            return 0
        dropped, self.dropped = self.dropped, 0
        return dropped


class Logger:
    """What components log through; `child` gives one that names another component."""

    __slots__ = ("_backlog", "_component")

    def __init__(self, backlog: Backlog, component: str = "holdfast") -> None:
        self._backlog = backlog
        self._component = component

    def debug(self, message: str, data: Data | None = None, *, component: str | None = None) -> None:
        """Accept a DEBUG record; a filtered call costs a comparison."""
        backlog = self._backlog
        if backlog.threshold <= _DEBUG:
            backlog.append(Record(_DEBUG, message, component or self._component, backlog.now(), data))

    def info(self, message: str, data: Data | None = None, *, component: str | None = None) -> None:
        """Accept an INFO record."""
        backlog = self._backlog
        if backlog.threshold <= _INFO:
            backlog.append(Record(_INFO, message, component or self._component, backlog.now(), data))

    def warn(self, message: str, data: Data | None = None, *, component: str | None = None) -> None:
        """Accept a WARN record."""
        backlog = self._backlog
        if backlog.threshold <= _WARN:
            backlog.append(Record(_WARN, message, component or self._component, backlog.now(), data))

    def error(self, message: str, data: Data | None = None, *, component: str | None = None) -> None:
        """Accept an ERROR record, written within 50 ms.  Put the exception itself into the data (A5.3)."""
        backlog = self._backlog
        if backlog.threshold <= _ERROR:
            backlog.append(Record(_ERROR, message, component or self._component, backlog.now(), data))

    def log(
        self, level: Level, message: str, data: Data | None = None, *, component: str | None = None
    ) -> None:
        """Accept a record of a level that is only known at run time."""
        backlog = self._backlog
        if backlog.threshold <= level:
            backlog.append(Record(int(level), message, component or self._component, backlog.now(), data))

    def child(self, component: str) -> Logger:
        """Return a front for another component, over the same backlog and level."""
        return Logger(self._backlog, component)

    def set_level(self, level: Level) -> None:
        """Accept records of this level and above from now on."""
        self._backlog.threshold = int(level)

    @property
    def level(self) -> Level:
        """The least level that is accepted."""
        return Level(self._backlog.threshold)

    def __repr__(self) -> str:
        backlog = self._backlog
        return (
            f"<Logger {self._component} {self.level.name} {len(backlog.records)}/{backlog.capacity} waiting>"
        )
