"""The phases of a connection, what the hub may say in each, and what ends with it."""

from __future__ import annotations

from enum import Enum

import attrs

from holdfast.actors.reconnect.messages import LinkFailure
from holdfast.actors.socket.codec import (
    AuthExpiring,
    AuthOk,
    Beat,
    Bye,
    Control,
    ErrorBody,
    Goaway,
    Hello,
    ReplayEnd,
    Welcome,
)
from holdfast.actors.socket.handshake import Handshake
from holdfast.actors.socket.heartbeat import Heartbeat

__all__ = ["CONTROL_TABLE", "LIVE", "OPEN", "Connection", "Phase"]


class Phase(Enum):
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    RESUMING = "resuming"
    READY = "ready"
    DRAINING = "draining"
    """We are closing; what still comes in is not looked at."""

    CLOSED = "closed"


LIVE = frozenset({Phase.RESUMING, Phase.READY})
OPEN = frozenset({Phase.AUTHENTICATING, Phase.RESUMING, Phase.READY})

# In which phases the hub may say what; anything else is a rejected frame.
CONTROL_TABLE: dict[type[Control], frozenset[Phase]] = {
    Hello: frozenset({Phase.AUTHENTICATING}),
    Welcome: frozenset({Phase.AUTHENTICATING}),
    ReplayEnd: frozenset({Phase.RESUMING}),
    Beat: OPEN,
    AuthOk: LIVE,
    AuthExpiring: LIVE,
    Goaway: OPEN,
    ErrorBody: OPEN,
    Bye: OPEN,
}


@attrs.define
class Connection:
    """What ends with a connection."""

    generation: int
    dialed_at: float
    fresh_session: bool
    phase: Phase = Phase.CONNECTING
    handshake: Handshake | None = None
    heart: Heartbeat | None = None
    refreshing: str | None = None
    """The id of the `auth.refresh` that is not answered yet."""

    retry_after: float | None = None
    """How long the hub asked us to stay away when this ends."""

    closing: LinkFailure | None = None
    """Why we are closing; what the stream's end says afterwards is of no interest."""

    ack: int | None = None
    """The highest acknowledgement that delivery sent; our pings and pongs repeat it."""
