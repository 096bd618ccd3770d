"""What delivery hears and says, and the errors that its askers see.

Requests come from the facade (`Append`, `Take`, `PreserveState`, ...), facts
from the socket (`LinkUp`, `Received`, ...).  Every fact carries the generation of
the dial it belongs to; what an older connection still has to say is dropped and
counted.

Payloads travel as `msgspec.Raw`, the bytes of one JSON object: delivery stores
and forwards them and never looks inside.
"""

from __future__ import annotations

import msgspec

from holdfast.actors.socket.messages import Frame, Position
from holdfast.runtime import Event, HoldfastError, Message, Request, Secret

__all__ = [
    "Accepted",
    "AckDelayPassed",
    "Append",
    "AppendVolatile",
    "Batch",
    "ContinuityLost",
    "DeliveryState",
    "DropSession",
    "ExpiryDue",
    "GetDeliveryState",
    "GetPreservedState",
    "GetResume",
    "Inbound",
    "LinkDown",
    "LinkUp",
    "MessageInvalid",
    "MessageTooLarge",
    "MessageUndeliverable",
    "OutboxFull",
    "PastRead",
    "PositionUnknown",
    "PreserveState",
    "PumpDue",
    "Received",
    "Refused",
    "ReplayEnded",
    "Resume",
    "RetryDue",
    "StateRefused",
    "StoreFailed",
    "StoreRefused",
    "StoreUnavailable",
    "Take",
    "WaitOver",
]


class Accepted(msgspec.Struct, frozen=True):
    """The message is in the outbox, committed: it will be delivered or reported as undeliverable."""

    position: int
    """Its place in the order of everything ever accepted."""


class Append(Request[Accepted], frozen=True):
    """Accept a message for sending.  Idempotent by `id`: asked again, the same answer and no second message.

    Waits for room while the outbox is full.  Fails with `OutboxFull`,
    `MessageTooLarge`, `MessageInvalid` or `StoreUnavailable`; then nothing was accepted.
    """

    id: str
    """Chosen by the author before the first attempt; stable over every attempt and every session."""

    type: str
    channel: str | None
    payload: msgspec.Raw


class AppendVolatile(Message, frozen=True):
    """Send if the link is ready, else drop and count: for what is worthless later (typing, raw audio)."""

    type: str
    channel: str | None
    payload: msgspec.Raw


class Inbound(msgspec.Struct, frozen=True):
    """A message of the hub, stored here before the hub was told that it had arrived."""

    position: int
    id: str
    """The author's id; empty for a volatile message without one."""

    type: str
    channel: str | None
    payload: msgspec.Raw
    pos: Position | None

    re: str | None = None
    """The id of the message that this one answers."""


class Batch(msgspec.Struct, frozen=True):
    """The oldest messages not yet processed; empty when none came within the wait."""

    messages: tuple[Inbound, ...]


class Take(Request[Batch], frozen=True):
    """Commit everything up to position `after` as processed, then answer the next messages (long poll).

    Asked again with the same `after`, it answers the same messages again, so an
    ask that failed because delivery crashed loses nothing.  Ask with a time-out
    longer than `wait`.
    """

    after: int
    limit: int
    wait: float


class PreserveState(Request[None], frozen=True):
    """Keep an application's state under a name, over reconnects, restarts and the process's end (A2.5)."""

    name: str
    state: bytes


class GetPreservedState(Request[bytes | None], frozen=True):
    """Answer what was preserved under the name, or None."""

    name: str


class Resume(msgspec.Struct, frozen=True):
    """What the socket presents at `connect` to go on with the session; `session` None asks for a new one."""

    client_id: str
    session: str | None
    key: Secret | None
    epoch: str | None
    recv_seq: int
    sent_lo: int
    """The first number that the hub may still be sent again..."""

    sent_hi: int
    """...and the last; `sent_lo - 1` when nothing is unacknowledged."""


class GetResume(Request[Resume], frozen=True):
    """Answer what is committed of the session; asked by the socket at each dial."""


class DropSession(Request[None], frozen=True):
    """Forget the session: the next connect is a new one.  The outbox stays, same ids, same order."""


class DeliveryState(msgspec.Struct, frozen=True):
    """A glance at the subsystem; counters start with the incarnation."""

    outbox_depth: int
    inbox_depth: int
    unacked_frames: int
    unacked_bytes: int
    duplicates_dropped: int
    gaps: int
    last_sent_seq: int
    last_received_seq: int
    link: str = "down"
    outbox_bytes: int = 0
    parked_frames: int = 0
    """Frames that wait in memory, unacknowledged, for room in the inbox."""

    volatile_dropped: int = 0
    stale_facts: int = 0


class GetDeliveryState(Request[DeliveryState], frozen=True):
    """Answer the state."""


class LinkUp(Message, frozen=True):
    """The hub has welcomed connection `generation`; said by the socket before anything else about it."""

    generation: int
    session: str
    key: Secret
    epoch: str
    resumed: bool
    why: str | None
    recv_seq: int
    """The highest of our numbers that the hub has committed."""

    session_ttl: float
    window_frames: int
    window_bytes: int
    max_frame: int


class Received(Message, frozen=True):
    """Frames that arrived on the connection, in order: application frames and whatever carries an `ack`."""

    generation: int
    frames: tuple[Frame, ...]


class ReplayEnded(Message, frozen=True):
    """The hub has repeated everything up to its number `through`; new sends may go."""

    generation: int
    through: int


class LinkDown(Message, frozen=True):
    """The connection is gone; nothing of its generation comes any more."""

    generation: int


class PumpDue(Message, frozen=True):
    """Delivery to itself: transmit what was appended meanwhile, in one batch."""


class AckDelayPassed(Message, frozen=True):
    """Delivery to itself: nothing left to piggyback the acknowledgement on."""


class PastRead(Message, frozen=True):
    """Delivery to itself, when it restarts: the mail before this was said to the previous incarnation."""


class RetryDue(Message, frozen=True):
    """Delivery to itself: the socket's mailbox was full, try again."""


class ExpiryDue(Message, frozen=True):
    """Delivery to itself: look for messages that have become too old."""


class WaitOver(Message, frozen=True):
    """Delivery to itself: the first of the waiting appends or takes has waited long enough."""


class ContinuityLost(Event, frozen=True):
    """A session with traffic is gone: what was said in it, on these channels or any, may never have come.

    Said before it is committed, so that a crash between repeats it rather than loses it.
    """

    channels: tuple[str, ...]


class MessageUndeliverable(Event, frozen=True):
    """An accepted message will not be delivered, and why; it has left the outbox."""

    id: str
    reason: str


class StoreFailed(Event, frozen=True):
    """The store refused a commit: nothing was acknowledged, the link is taken down and resumed later."""

    operation: str
    cause: str


class Refused(HoldfastError):
    """Delivery did not do what was asked, and nothing was changed.  Subclasses say why."""


class OutboxFull(Refused):
    """The outbox had no room within the wait; the message was not accepted.

    The link is down or slower than the sender: slow down, send again later with
    the same id, or raise the bound.
    """

    def __init__(self, *, messages: int, messages_max: int, size: int, size_max: int, waited: float) -> None:
        super().__init__(
            f"the outbox holds {messages} of {messages_max} messages and {size} of {size_max} bytes, and no "
            f"room came within {waited:g} s; the message was not accepted: send it later with the same id"
        )
        self.messages = messages
        self.messages_max = messages_max
        self.size = size
        self.size_max = size_max


class MessageTooLarge(Refused):
    """A message is larger than a frame may be; it was not accepted.  Split it."""

    def __init__(self, *, size: int, limit: int) -> None:
        super().__init__(
            f"a message may have at most {limit} bytes as a frame, this one has {size}: split it"
        )
        self.size = size
        self.limit = limit


class MessageInvalid(Refused):
    """A message cannot be a frame of the protocol; it was not accepted."""

    def __init__(self, field: str, wanted: str, got: str) -> None:
        super().__init__(f"a message's {field} must be {wanted}, got {got}")
        self.field = field


class PositionUnknown(Refused):
    """A `Take` would commit messages that were never handed out; nothing was committed."""

    def __init__(self, after: int, last: int) -> None:
        super().__init__(
            f"take(after={after}) is beyond the last message received, {last}: pass a position from a Batch"
        )
        self.after = after
        self.last = last


class StateRefused(Refused):
    """State was too large to preserve, or there were too many names; what was preserved is unchanged."""

    def __init__(self, name: str, what: str, *, got: int, limit: int) -> None:
        super().__init__(f"state {name!r} cannot be preserved: {got} {what}, at most {limit} are kept")
        self.name = name
        self.got = got
        self.limit = limit


class StoreUnavailable(Refused):
    """The disk refused an operation (full, read-only, failing); nothing was done.  Retry when mended."""

    def __init__(self, operation: str, cause: BaseException) -> None:
        super().__init__(
            f"the delivery store could not {operation} ({type(cause).__name__}: {cause}); nothing was changed"
        )
        self.operation = operation
        self.cause = f"{type(cause).__name__}: {cause}"


class StoreRefused(HoldfastError):
    """The store is corrupt, of a newer version, or another program's.  It is left as it is."""

    def __init__(self, wanted: str, got: str) -> None:
        super().__init__(
            f"the delivery store cannot be used: wanted {wanted}, got {got}; nothing was changed or moved: "
            f"restore the file, move it away, or configure another path"
        )
