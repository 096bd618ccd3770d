"""What the actors of the hub hear and say, and the events that they emit.

Nothing here goes over a wire: frames are in `codec.py`, HTTP bodies beside the
routes that read them.
"""

from __future__ import annotations

import msgspec
import trio.abc

from holdfast.runtime import Event, Message, Request, Secret

__all__ = [
    "Abandon",
    "Accepted",
    "Arrived",
    "ConnectionClosed",
    "ConnectionRefused",
    "Drain",
    "Exchange",
    "FamilyRevoked",
    "FrameRefused",
    "GetRealtimeState",
    "Granted",
    "Judged",
    "Knocked",
    "Left",
    "RealtimeState",
    "Refusal",
    "RefuseNext",
    "SessionEnded",
    "SessionStarted",
    "Sweep",
    "TokenRefused",
    "VerifiedToken",
    "VerifyToken",
    "Wake",
]


# -- identity


class Granted(msgspec.Struct, frozen=True):
    """What a client gets: a token pair."""

    access_token: Secret
    refresh_token: Secret
    expires_in: float


class Refusal(msgspec.Struct, frozen=True):
    """Why a client gets nothing: an HTTP status and the error of the OAuth 2 vocabulary."""

    status: int
    error: str
    description: str
    retry_after: float | None = None


class VerifiedToken(msgspec.Struct, frozen=True):
    """What a valid access token says."""

    subject: str
    token_id: str
    expires_unix: float


class Exchange(Request[Granted | Refusal], frozen=True):
    """A client wants tokens: for its API key alone, or for a refresh token."""

    api_key: Secret | None
    grant_type: str
    client_id: str | None = None
    refresh_token: Secret | None = None


class VerifyToken(Request[VerifiedToken | Refusal], frozen=True):
    """Whether an access token holds now (D1)."""

    token: Secret


class RefuseNext(Request[None], frozen=True):
    """The operator's fault switch: refuse the next `n` exchanges of one grant type, or of any."""

    n: int
    status: int
    retry_after: float | None = None
    grant_type: str | None = None


# -- realtime


class RealtimeState(msgspec.Struct, frozen=True):
    """Figures for people and tests."""

    connections: int
    sessions: int
    attached: int
    ignored: int
    """Messages of types that mean nothing to the hub."""
    epoch: str


class GetRealtimeState(Request[RealtimeState], frozen=True):
    """How many there are."""


class Drain(Request[None], frozen=True):
    """Take no more connections and ask those that are there to come back later."""

    reason: str = "draining"


# -- what the realtime actor's child tasks tell it


class Accepted(Message, frozen=True):
    """Somebody connected; nothing was read yet."""

    stream: trio.abc.Stream


class Knocked(Message, frozen=True):
    """A connection asks to be upgraded; None when its token will come with `connect`."""

    number: int
    verdict: VerifiedToken | Refusal | None


class Arrived(Message, frozen=True):
    """A connection has messages in its inbox."""

    number: int


class Judged(Message, frozen=True):
    """The identity service's word on a token that came over an open connection."""

    number: int
    verdict: VerifiedToken | Refusal


class Wake(Message, frozen=True):
    """A connection's next deadline has come."""

    number: int


class Abandon(Message, frozen=True):
    """A connection that is closing has had its time."""

    number: int


class Left(Message, frozen=True):
    """A connection's task is over."""

    number: int
    code: int | None
    reason: str


class Sweep(Message, frozen=True):
    """Time to forget what is too old."""


# -- events


class TokenRefused(Event, frozen=True):
    """A client asked for tokens and got none."""

    status: int
    error: str
    grant_type: str


class FamilyRevoked(Event, frozen=True):
    """A rotated refresh token was used again outside its grace: somebody may have stolen it."""

    client_id: str
    family: str


class ConnectionRefused(Event, frozen=True):
    """An upgrade request was answered with an HTTP error; nothing was upgraded."""

    status: int
    error: str


class SessionStarted(Event, frozen=True):
    """A connection got a session: a new one, or (`resumed`) its own."""

    session: str
    client_id: str
    generation: int
    resumed: bool
    why: str | None


class FrameRefused(Event, frozen=True):
    """A frame of a client was no good."""

    connection: int
    code: str
    message: str


class ConnectionClosed(Event, frozen=True):
    """A connection ended.  `code` is None when it broke."""

    connection: int
    session: str | None
    code: int | None
    reason: str


class SessionEnded(Event, frozen=True):
    """A session is gone for good, and what waited in it."""

    session: str
    client_id: str
    reason: str
    undelivered: int
