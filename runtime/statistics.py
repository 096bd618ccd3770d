"""What is counted of one actor, as one value (S23): always, and for each message where that is on."""

from __future__ import annotations

import attrs

__all__ = ["ActorStatistics", "MessageStatistics"]


@attrs.frozen
class MessageStatistics:
    """What was counted for each message since it was switched on; times in seconds."""

    since: float
    """When it was switched on, on the system's clock."""
    messages_in: int
    """Messages taken out of the mailbox to be handled."""
    messages_out: int
    """Answers given; what handlers told to others is not counted, as in OTP."""
    crashes: int
    busy: float
    """In handlers, their waits included."""
    slowest: float


@attrs.frozen
class ActorStatistics:
    """What is known of one actor, over all its incarnations in this slot."""

    path: str
    state: str
    incarnation: int
    started_at: float | None
    """When the running incarnation had started, on the system's clock; None when none runs."""
    uptime: float | None
    handled: int
    """Messages whose batch is over; a crash leaves its own batch out."""
    depth: int
    """How many messages wait now."""
    high_water: int
    """The most that waited when a batch was begun."""
    dropped: int
    refused: int
    suspended: bool
    messages: MessageStatistics | None
    """None while statistics are off."""
