"""The settings of delivery: where the store is, and the bound of everything in it.

Validated when they are made; nothing downstream checks them again.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from holdfast.runtime import HoldfastError

__all__ = ["DeliverySettings", "InvalidDeliverySettings"]

KIB = 1024
MIB = 1024 * KIB
DAY = 86_400.0


class InvalidDeliverySettings(HoldfastError, ValueError):
    """A setting of delivery cannot be used; the message names it, what is wanted and what came."""

    def __init__(self, name: str, wanted: str, got: object) -> None:
        super().__init__(f"delivery.{name} must be {wanted}, not {got!r}")
        self.name = name


@attrs.frozen(kw_only=True)
class DeliverySettings:
    """Sizes in bytes, times in seconds."""

    store: Path | None = None
    """The file of the store; None keeps it in memory, and then nothing survives the process."""

    outbox_messages: int = 10_000
    outbox_bytes: int = 16 * MIB
    """What may wait for the hub: 10,000 messages are ten minutes of a busy client without network."""

    inbox_messages: int = 1_024
    inbox_bytes: int = 8 * MIB
    """What may wait for the application, before the hub is made to wait: four windows of the protocol."""

    window_frames: int = 1_024
    window_bytes: int = 4 * MIB
    """The most that is unacknowledged in either direction; the hub's own window applies if smaller.  Four
    times the protocol's default: what is in flight is held in memory and in the socket's queue."""

    ack_every: int = 16
    ack_delay: float = 0.1
    """An acknowledgement of its own after so many frames or so long, when nothing went out to carry it."""

    frame_max: int = 256 * KIB
    """The largest message as a frame, envelope included: what the protocol's hello announces by default."""

    message_age: float = DAY
    """How long an accepted message is worth sending.  Not longer than the hub remembers ids, or a message
    repeated in a new session could take effect twice."""

    expiry_period: float = 60.0
    """How often that age is looked at while the link is down."""

    append_wait: float = 4.0
    """How long an `Append` waits for room: less than the 5 s of an ask, so that the reason arrives."""

    waiting_appends: int = 1_024
    """How many may wait for room at once: a mailbox's worth."""

    waiting_takes: int = 16
    """One facade waits once; the rest is room for askers that gave up and came again."""

    take_limit: int = 256
    take_wait_max: float = 30.0

    batch_frames: int = 64
    """Frames handed to the socket at once: enough to amortise, few enough to keep its queue short."""

    acked_ids: int = 4_096
    """Ids remembered after their acknowledgement, so that a late repetition is recognised."""

    received_ids: int = 100_000
    """Ids of received messages remembered, so that a new session cannot double one (REALTIME 1.2): a day of a
    message a second, about 10 MB."""

    state_names: int = 64
    state_bytes: int = MIB
    """Preserved state (A2.5): a form or a queue of interactions, not a database."""

    retry_delay: float = 0.05
    """After the socket's mailbox was full."""

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(DeliverySettings):
            value: object = getattr(self, field.name)
            if field.name == "store":
                if value is not None and not isinstance(value, Path):
                    raise InvalidDeliverySettings("store", "a path or None", value)
            elif (
                isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf")
            ):
                raise InvalidDeliverySettings(field.name, "a finite number above zero", value)
        if self.frame_max > min(self.outbox_bytes, self.inbox_bytes, self.window_bytes):
            raise InvalidDeliverySettings(
                "frame_max",
                "at most outbox_bytes, inbox_bytes and window_bytes, or one frame could never pass",
                self.frame_max,
            )
