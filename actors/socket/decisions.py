"""What the socket's machine is told by its shell, and what it orders in return.

Facts are in the past, decisions are imperatives; both are plain values, so that a
test reads a whole connection as two lists.  The facts are messages because the
child tasks of the actor deliver them to its mailbox.  Nobody else sends them.
"""

from __future__ import annotations

from typing import Literal

import attrs

from holdfast.actors.delivery.messages import LinkDown, LinkUp, Received, ReplayEnded, Resume
from holdfast.actors.reconnect.messages import LinkFailure, LinkLost, LinkReady
from holdfast.actors.socket.codec import Rejected
from holdfast.actors.socket.messages import Frame
from holdfast.runtime import Event, Message

__all__ = [
    "ALL_TIMERS",
    "AbortConnection",
    "Arrived",
    "AskFreshToken",
    "CloseConnection",
    "Decision",
    "Due",
    "Emit",
    "Ended",
    "Moment",
    "OpenConnection",
    "Overflowed",
    "Oversized",
    "StartTimer",
    "StopTimers",
    "TellDelivery",
    "TellReconnect",
    "Timer",
    "Upgraded",
    "Write",
]

Timer = Literal["dial", "replay", "beat", "silence", "close"]
ALL_TIMERS: tuple[Timer, ...] = ("dial", "replay", "beat", "silence", "close")


@attrs.frozen
class Moment:
    """What the shell reads off the world for each fact."""

    now: float
    wall: float
    draw: float
    """Uniform from [0, 1)."""

    heard_at: float
    """When the last byte came in, by the monotonic clock."""


# Facts; the messages of socket/messages.py and `TokenChanged` are facts too.


class Upgraded(Message, frozen=True):
    """The WebSocket is open, and the token with this generation was presented."""

    generation: int
    token_generation: int
    resume: Resume


class Arrived(Message, frozen=True):
    generation: int
    frames: tuple[Frame, ...]
    rejected: tuple[Rejected, ...] = ()
    batch: bool = False


class Oversized(Message, frozen=True):
    generation: int
    detail: str


class Overflowed(Message, frozen=True):
    """A queue of ours is over its bound: `what` says which."""

    generation: int
    what: str


class Ended(Message, frozen=True):
    """The connection is gone, or never came about."""

    generation: int
    failure: LinkFailure


class Due(Message, frozen=True):
    generation: int
    timer: Timer


# Decisions.


@attrs.frozen
class OpenConnection:
    generation: int
    rejected_token: int | None
    """The generation of a token to be replaced first."""


@attrs.frozen
class Write:
    frames: tuple[Frame, ...]


@attrs.frozen
class CloseConnection:
    """Flush, say why, close; within the close time-out."""

    code: int
    reason: str


@attrs.frozen
class AbortConnection:
    """Drop the stream; nothing is said and nothing is waited for."""


@attrs.frozen
class TellDelivery:
    message: LinkUp | LinkDown | Received | ReplayEnded


@attrs.frozen
class TellReconnect:
    message: LinkReady | LinkLost


@attrs.frozen
class AskFreshToken:
    """Have auth replace the token of this generation, which ends soon."""

    generation: int


@attrs.frozen
class Emit:
    event: Event


@attrs.frozen
class StartTimer:
    timer: Timer
    delay: float
    generation: int


@attrs.frozen
class StopTimers:
    timers: tuple[Timer, ...]


Decision = (
    OpenConnection
    | Write
    | CloseConnection
    | AbortConnection
    | TellDelivery
    | TellReconnect
    | AskFreshToken
    | Emit
    | StartTimer
    | StopTimers
)
