"""What the socket hears and says, and the frame that both sides of it handle.

`Dial` and `HangUp` come from reconnect (and a `HangUp` from delivery, at a gap),
`Transmit` from delivery, `TokenChanged` from auth (in its messages).  What the
socket tells delivery and reconnect lives in their messages.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from holdfast.runtime import Event, Message, Request

__all__ = [
    "Connected",
    "Dial",
    "Disconnected",
    "Frame",
    "FrameRejected",
    "GetSocketState",
    "HangUp",
    "HeartbeatMissed",
    "Inbound",
    "Latency",
    "PeerError",
    "Position",
    "SocketState",
    "TokenRefreshRefused",
    "Transmit",
]

# The names on the wire are short words and ids; 256 bytes is several times the longest of ours.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
# JSON numbers above this lose digits in peers that read them as floats.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]

NO_PAYLOAD = msgspec.Raw(b"")


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in a channel: the offset, and the epoch in which it means something."""

    o: Count
    e: Name


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """One `rt.v1.json` frame (REALTIME 1.2); all fields but the type are optional."""

    type: Name
    id: Name | None = None
    seq: Sequence | None = None
    """Only on reliable frames."""

    ack: Count | None = None
    """Highest contiguous sequence number of the peer that was durably accepted."""

    re: Name | None = None
    ch: Name | None = None
    pos: Position | None = None
    ts: Count | None = None
    payload: msgspec.Raw = NO_PAYLOAD
    """The bytes of a JSON object; empty when there is none."""


class SocketState(msgspec.Struct, frozen=True):
    """The connection as seen from outside."""

    phase: str
    generation: int
    session: str | None
    latency: float | None
    """The last measured round trip in seconds."""

    silence: float | None
    """Seconds since the last inbound byte; None without a connection."""

    queued_frames: int
    queued_bytes: int
    received_frames: int
    sent_frames: int
    rejected_frames: int
    shed_frames: int
    """Volatile frames dropped because there was no connection or no room."""

    stale: int


# Heard.


class Dial(Message, frozen=True):
    """Open a connection; whatever an older generation still holds is aborted."""

    generation: int
    fresh_session: bool = False
    refresh_token: bool = False


class HangUp(Message, frozen=True):
    """Close the connection with this code; with `destroy_session` the hub forgets the session."""

    code: int
    reason: str
    destroy_session: bool = False


class Transmit(Message, frozen=True):
    """Frames for the connection of this generation, in the order in which they are to leave."""

    generation: int
    frames: tuple[Frame, ...]


class Inbound(Message, frozen=True):
    """Said to itself by the reader: something waits in the line of this generation."""

    generation: int


class GetSocketState(Request[SocketState], frozen=True):
    """Where the connection stands."""


# Events.


class Connected(Event, frozen=True, tag="link:up"):
    """`seconds` from the dial to a replayed session."""

    generation: int
    session: str
    resumed: bool
    seconds: float


class Disconnected(Event, frozen=True, tag="link:down"):
    generation: int
    kind: str
    detail: str
    code: int | None


class HeartbeatMissed(Event, frozen=True):
    """Nothing came in for `silence` seconds: the connection is a zombie and is aborted (A3.2)."""

    generation: int
    silence: float


class FrameRejected(Event, frozen=True):
    """A frame was not understood and dropped; the connection goes on (A3.3)."""

    generation: int
    why: str
    size: int


class Latency(Event, frozen=True, tag="link:latency"):
    """A measured round trip, one for each heartbeat."""

    generation: int
    round_trip: float


class PeerError(Event, frozen=True, tag="link:error"):
    """The hub said that something is wrong, without naming a message of ours."""

    generation: int
    code: str
    message: str


class TokenRefreshRefused(Event, frozen=True):
    """The hub did not take the refreshed token; it will close the connection when the old one expires."""

    generation: int
    reason: str
