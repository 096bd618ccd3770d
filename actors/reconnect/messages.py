"""What reconnect hears and says.

Commands come from the client (`Connect`, `Disconnect`, `Retry`), facts from the
socket (`LinkReady`, `LinkLost`, `SocketStarted`).  Every fact about a link carries
the generation of the dial it belongs to, so that what an older connection still
has to say cannot disturb a newer one.
"""

from __future__ import annotations

from typing import Literal

import attrs
import msgspec

from holdfast.runtime import Event, Message, Request

__all__ = [
    "AnswerOverdue",
    "ConfigurationChanged",
    "Connect",
    "DialDue",
    "Disconnect",
    "ErrorClassified",
    "GetLinkState",
    "LinkFailure",
    "LinkIntent",
    "LinkLost",
    "LinkReady",
    "LinkState",
    "LinkStateChanged",
    "LinkStatus",
    "ListenerBehind",
    "ReconnectAttempt",
    "ReconnectExhausted",
    "ReconnectProbe",
    "Retry",
    "SocketStarted",
    "StateChanged",
    "Verdict",
]

LinkStatus = Literal["disconnected", "connecting", "connected", "reconnecting", "suspended", "failed"]
"""The states of the link (A2.4)."""

Verdict = Literal["resume", "new_session", "refresh", "terminal"]
"""What to do about a lost link: dial and resume, dial for a new session, refresh the token first, give up."""


class LinkFailure(msgspec.Struct, frozen=True):
    """Why a dial failed or a link was lost.

    The socket fills in what it saw; `retryable` is its word only where the remote
    said so (a refused authentication).  `classification.classify` decides the rest.
    """

    kind: str
    """What happened: ``refused``, ``timeout``, ``closed``, ``zombie``, ...; the table of `classification`."""

    detail: str = ""
    code: int | None = None
    """The close code (``closed``), the HTTP status (``rejected``, ``auth``), or None."""

    retryable: bool = True
    recommended_delay: float = 0.0
    retry_after: float | None = None
    """Seconds the remote asked us to stay away: goaway, Retry-After, an error frame."""

    verdict: Verdict = "resume"


class LinkState(msgspec.Struct, frozen=True):
    """The link as seen from outside."""

    state: LinkStatus
    generation: int
    attempt: int
    """Retries made since the link was last stable; 0 in a stable link."""

    code: int | None = None
    """In ``failed``: the close code or HTTP status that ended it, where there was one."""

    reason: str = ""


@attrs.define
class LinkIntent:
    """What must outlive a crash of reconnect; owned by the system, above the tree.

    It holds what was asked for, not what is: a new incarnation that finds
    `wanted` dials by itself, with a generation nobody has seen before.
    """

    wanted: bool = False
    generation: int = 0
    """The highest generation ever dialled."""


# Heard.


class Connect(Message, frozen=True):
    """Have a link, and keep it.

    No effect where it is wanted already, and in ``failed`` too: that takes `Retry`.
    """


class Disconnect(Message, frozen=True):
    """Have no link.  The session stays resumable at the hub."""

    reason: str = "requested"


class Retry(Message, frozen=True):
    """Try now: leaves ``suspended`` and ``failed``, and cuts a back-off short."""


class ConfigurationChanged(Message, frozen=True):
    """Whatever made the link fail may have been corrected; treated as `Retry`."""


class LinkReady(Message, frozen=True):
    """The session of this generation is up and replayed."""

    generation: int
    session: str
    resumed: bool


class LinkLost(Message, frozen=True):
    """The dial of this generation failed, or its link is gone."""

    generation: int
    failure: LinkFailure


class SocketStarted(Message, frozen=True):
    """A new incarnation of the socket serves its mailbox and holds no connection.

    Its mailbox was discarded when it restarted, so a `Dial` may have been lost.
    """


class GetLinkState(Request[LinkState], frozen=True):
    """Where the link stands."""


# Said to itself, through timers.


class DialDue(Message, frozen=True):
    """A back-off or the wait for a probe is over.  `turn` tells a cancelled wait from the current one."""

    turn: int


class AnswerOverdue(Message, frozen=True):
    """The socket has answered a dial neither with `LinkReady` nor with `LinkLost`."""

    generation: int


# Said to listeners.


class LinkStateChanged(Message, frozen=True):
    previous: LinkStatus
    current: LinkState


# Events.


class StateChanged(Event, frozen=True, tag="state:changed"):
    previous: str
    current: str


class ReconnectAttempt(Event, frozen=True, tag="reconnect:attempt"):
    """Retry number `attempt` will be made in `delay` seconds."""

    attempt: int
    delay: float


class ReconnectProbe(Event, frozen=True, tag="reconnect:probe"):
    """The link is suspended; the next probe will be made in `delay` seconds."""

    delay: float


class ReconnectExhausted(Event, frozen=True, tag="reconnect:exhausted"):
    """The back-off is spent: the first attempt and all retries failed."""

    total_attempts: int
    max_retries: int
    last_error: str
    give_up: bool


class ErrorClassified(Event, frozen=True, tag="error:classified"):
    error: str
    retryable: bool
    recommended_delay: float
    classification: str


class ListenerBehind(Event, frozen=True, tag="link:listener_behind"):
    """A full mailbox did not take what reconnect had to say."""

    reason: str
