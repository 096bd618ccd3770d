"""What can happen, as typed values: the base of all events, and the runtime's own.

Pure: the machines that decide things return events, and `tracing.py` carries them.
"""

from __future__ import annotations

import re

import msgspec

__all__ = [
    "RECORDER_CAPACITY",
    "ActorEnded",
    "ActorStartFailed",
    "ActorStarted",
    "CrashReported",
    "DeadLetter",
    "Event",
    "SubscriberRemoved",
    "TaskWedged",
    "event_name",
]

# Life-cycle events and reports that an actor's flight recorder keeps: the story of about ten restarts.
RECORDER_CAPACITY = 32


def _name(class_name: str) -> str:
    words = re.findall(r"[A-Z][a-z0-9]*", class_name)
    subject, *rest = (word.lower() for word in words)
    return f"{subject}:{'_'.join(rest)}" if rest else subject


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=_name):
    """The base of all events.  The name is the class's (`ActorStarted` is ``actor:started``) or its `tag`."""


class ActorStarted(Event, frozen=True):
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
    """Why an incarnation crashed; the message is named by its type alone, it may hold secrets."""

    path: str
    incarnation: int
    exception: str
    message_type: str | None
    traceback: str
    recent: tuple[str, ...]
    at: float


class DeadLetter(Event, frozen=True):
    """A message that nobody will handle, and why."""

    path: str
    message_type: str
    why: str
    at: float


class TaskWedged(Event, frozen=True):
    """A task went on after it was killed and its grace was over; it cannot be ended in-process."""

    path: str
    incarnation: int
    stack: str
    resources: tuple[str, ...]
    at: float


class SubscriberRemoved(Event, frozen=True):
    """A callback that raised was taken off the stream."""

    subscriber: str
    reason: str


def event_name(event: Event | type[Event]) -> str:
    """Return the event's public name, as in ``actor:started``."""
    return str(event.__struct_config__.tag)
