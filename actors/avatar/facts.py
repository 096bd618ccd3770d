"""The vocabulary between the avatar's machine and its shell: facts that go in, orders that come out.

Facts are in the past tense, orders in the imperative.  What belongs to one
session carries the epoch of its opening, so that news of an earlier one can be
told apart.  A waiter stands for somebody who waits for an answer.
"""

from __future__ import annotations

import enum
from typing import NewType, TypeAlias

import attrs

from holdfast.actors.avatar.messages import (
    AvatarError,
    AvatarSession,
    Cleanup,
    InitializeSession,
    SynchronizeWithVoice,
)
from holdfast.actors.avatar.speech import Packet
from holdfast.runtime.events import Event
from holdfast.runtime.secret import Secret

__all__ = [
    "Announce",
    "Answer",
    "CallFailed",
    "CancelTimer",
    "CleanupAsked",
    "Dial",
    "Fact",
    "Forget",
    "HangUp",
    "InterruptAsked",
    "LinkClosed",
    "Linked",
    "Mint",
    "Minted",
    "Order",
    "Prolong",
    "Record",
    "Refuse",
    "Reported",
    "Send",
    "SessionAsked",
    "SessionFact",
    "SetBackoff",
    "SetTimer",
    "SpeechAsked",
    "SpeechFinished",
    "Start",
    "Started",
    "Sweep",
    "Swept",
    "TimerFired",
    "TimerKind",
    "Unreleased",
    "Waiter",
    "Written",
]

Waiter = NewType("Waiter", int)


class TimerKind(enum.Enum):
    """The machine's timers; each runs at most once at a time."""

    CONNECTED = "connected"
    KEEP_ALIVE = "keep_alive"
    SWEEP = "sweep"


@attrs.frozen
class Unreleased:
    """A session that is over for us and not yet confirmed as ended by the service."""

    session_id: str
    avatar_id: str
    reason: str


# ---- facts: what was asked -------------------------------------------------------------------------


@attrs.frozen
class SessionAsked:
    waiter: Waiter
    wanted: InitializeSession


@attrs.frozen
class SpeechAsked:
    waiter: Waiter
    speech: SynchronizeWithVoice


@attrs.frozen
class InterruptAsked:
    waiter: Waiter


@attrs.frozen
class CleanupAsked:
    waiter: Waiter
    cleanup: Cleanup


# ---- facts: what happened --------------------------------------------------------------------------


@attrs.frozen
class Minted:
    """The service has reserved a session; it costs nothing yet."""

    epoch: int
    session_id: str
    token: Secret


@attrs.frozen
class Started:
    epoch: int
    websocket_url: str


@attrs.frozen
class CallFailed:
    """A step of the opening failed, or a keep-alive found the session gone."""

    epoch: int
    error: AvatarError


@attrs.frozen
class Linked:
    """The WebSocket is open; the avatar is not ready yet."""

    epoch: int


@attrs.frozen
class Reported:
    """session.state_updated, or session.stopped as the state `closed`."""

    epoch: int
    state: str
    detail: str = ""


@attrs.frozen
class SpeechFinished:
    """agent.speak_ended or agent.speak_interrupted: the avatar is silent."""

    epoch: int


@attrs.frozen
class Written:
    """The packet that was on its way has been written."""

    epoch: int


@attrs.frozen
class LinkClosed:
    epoch: int
    why: str


@attrs.frozen
class Swept:
    """A sweep is over: these have ended; if any are left, the error says why."""

    gone: tuple[str, ...]
    error: AvatarError | None


@attrs.frozen
class TimerFired:
    kind: TimerKind


# These belong to one session and carry its epoch.
SessionFact: TypeAlias = (
    Minted | Started | CallFailed | Linked | Reported | SpeechFinished | Written | LinkClosed
)

Fact: TypeAlias = (
    SessionAsked | SpeechAsked | InterruptAsked | CleanupAsked | SessionFact | Swept | TimerFired
)


# ---- orders ----------------------------------------------------------------------------------------


@attrs.frozen
class Mint:
    epoch: int
    wanted: InitializeSession


@attrs.frozen
class Record:
    """Write the session down before it is started."""

    session_id: str
    avatar_id: str


@attrs.frozen
class Start:
    epoch: int
    session_id: str
    token: Secret


@attrs.frozen
class Dial:
    epoch: int
    websocket_url: str


@attrs.frozen
class Send:
    """Write the packet, and report `Written` before another one is ordered."""

    epoch: int
    packet: Packet


@attrs.frozen
class Prolong:
    """Ask the service over HTTP to keep the session; unlike the packet, that gets an answer."""

    epoch: int
    session_id: str


@attrs.frozen
class HangUp:
    """Give up whatever runs for the opening or the link."""


@attrs.frozen
class Sweep:
    """End these sessions remotely."""

    sessions: tuple[Unreleased, ...]


@attrs.frozen
class Forget:
    """Strike the session out of the ledger: its end is confirmed."""

    session_id: str


@attrs.frozen
class SetTimer:
    kind: TimerKind
    delay: float


@attrs.frozen
class SetBackoff:
    """Set the sweep's timer to a random delay for this attempt; randomness is the shell's."""

    attempt: int


@attrs.frozen
class CancelTimer:
    kind: TimerKind


@attrs.frozen
class Answer:
    waiter: Waiter
    value: AvatarSession | None


@attrs.frozen
class Refuse:
    waiter: Waiter
    error: AvatarError


@attrs.frozen
class Announce:
    event: Event


Order: TypeAlias = (
    Mint
    | Record
    | Start
    | Dial
    | Send
    | Prolong
    | HangUp
    | Sweep
    | Forget
    | SetTimer
    | SetBackoff
    | CancelTimer
    | Answer
    | Refuse
    | Announce
)
