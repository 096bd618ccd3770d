"""One `rt.v1` session as the server keeps it: cursors, windows, resume.

A session outlives its connections.  It decides which of the client's messages
is new, what may be on the wire, whether a client that comes back gets its
session again, and which connection it belongs to now.  It holds numbers only:
the messages themselves are in the store, and the shell writes what is decided
here in one transaction, before any acknowledgement leaves.

What a connection that was taken over still sends is refused (REALTIME 1.2,
fencing): a half-open socket may not apply a frame after a resume has reported
how far the hub had got.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections import deque
from collections.abc import Iterable
from itertools import islice

import attrs

from holdfast.actors.hub.codec import ResumeClaim
from holdfast.runtime import Secret

__all__ = ["Acked", "Heard", "Limits", "Session", "SessionRecord", "Why", "hash_key", "judge_resume"]


class Heard(enum.Enum):
    """The receiver's rule: what to do with a sequence number of the client."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    GAP = "gap"


class Acked(enum.Enum):
    """What an acknowledgement of the client means."""

    PROGRESS = "progress"
    NOTHING_NEW = "nothing_new"
    IMPOSSIBLE = "impossible"


class Why(enum.StrEnum):
    """Why a client that wanted its session got a new one (`welcome.why`)."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    EPOCH = "epoch"
    GAP = "gap"
    TAKEN = "taken"


@attrs.frozen
class Limits:
    """The bounds of one session, from the hub's settings."""

    window_frames: int = 256
    window_bytes: int = 1 << 20
    backlog_frames: int = 10_000
    backlog_bytes: int = 16 << 20


@attrs.frozen
class SessionRecord:
    """What the store keeps of a session: a row."""

    session: str
    subject: str
    client_id: str
    key_hash: bytes
    previous_key_hash: bytes = b""
    generation: int = 0
    recv_seq: int = 0
    sent_seq: int = 0
    acked_seq: int = 0
    detached_at: float | None = None


def hash_key(key: Secret) -> bytes:
    """Return what is stored of a resume key."""
    return hashlib.sha256(key.reveal().encode()).digest()


@attrs.define
class Session:
    """The present state of one session."""

    session: str
    subject: str
    """Whom the token was issued to; only the same subject may resume."""
    client_id: str
    key_hash: bytes
    previous_key_hash: bytes = b""
    generation: int = 0
    """Counts the connections that have held the session."""
    recv_seq: int = 0
    """The client's messages up to here are accepted."""
    sent_seq: int = 0
    """The last number given to a message for the client."""
    acked_seq: int = 0
    """The client has everything up to here."""
    detached_at: float | None = None
    """Unix time at which its last connection ended; None while it has one."""
    limits: Limits = Limits()
    connection: int | None = None
    """The one connection that may speak for this session now."""
    wire_seq: int = 0
    """The last number sent on the present connection."""
    progress_at: float = 0.0
    """When the client last acknowledged something, or began to owe an acknowledgement."""
    backlog_bytes: int = 0
    _in_flight_bytes: int = 0
    _sizes: deque[int] = attrs.field(factory=deque[int])
    """Sizes of the messages from `acked_seq` + 1 to `sent_seq`; bounded by `limits.backlog_frames`."""

    @classmethod
    def from_record(cls, record: SessionRecord, limits: Limits, sizes: Iterable[int]) -> Session:
        """Return a session as the store remembers it, without a connection."""
        session = cls(**attrs.asdict(record), limits=limits)
        session._sizes.extend(sizes)
        session.backlog_bytes = sum(session._sizes)
        return session

    def record(self) -> SessionRecord:
        """Return the row to store."""
        return SessionRecord(
            self.session, self.subject, self.client_id, self.key_hash, self.previous_key_hash,
            self.generation, self.recv_seq, self.sent_seq, self.acked_seq, self.detached_at,
        )  # fmt: skip

    # -- its connection

    def attach(
        self, connection: int, key_hash: bytes, *, claim: ResumeClaim | None, now: float
    ) -> int | None:
        """Hand the session to a connection, under a new key; return the connection it is taken from.

        The key that the client has just shown stays good until it shows that it
        has the new one: a welcome lost on its way must not cost the session.
        """
        fenced, self.connection = self.connection, connection
        self.generation += 1
        self.detached_at = None
        if claim is not None and hmac.compare_digest(hash_key(claim.key), self.key_hash):
            self.previous_key_hash = self.key_hash
        self.key_hash = key_hash
        # What was on the old wire is sent again, except for what the client says it has.
        self._in_flight_bytes, self.progress_at = 0, now
        if claim is not None:
            self._release(claim.recv_seq)
        self.wire_seq = self.acked_seq
        return fenced

    def confirm_key(self) -> bool:
        """Note that the client has its new key, so that the old one dies; true when it was still alive."""
        alive, self.previous_key_hash = bool(self.previous_key_hash), b""
        return alive

    def detach(self, connection: int, wall_now: float) -> bool:
        """Let go of a connection that ended; false when the session was not its any more."""
        if self.connection != connection:
            return False
        self.connection, self.detached_at = None, wall_now
        return True

    # -- what comes in

    def hear(self, seq: int) -> Heard:
        """Judge a sequence number of the client, and advance when it is the next one."""
        if seq <= self.recv_seq:
            return Heard.DUPLICATE
        if seq > self.recv_seq + 1:
            return Heard.GAP
        self.recv_seq = seq
        return Heard.NEXT

    def acknowledge(self, ack: int, now: float) -> Acked:
        """Take a cumulative acknowledgement."""
        if ack > self.wire_seq:
            return Acked.IMPOSSIBLE
        if ack <= self.acked_seq:
            return Acked.NOTHING_NEW
        self._in_flight_bytes -= sum(islice(self._sizes, ack - self.acked_seq))
        self._release(ack)
        self.progress_at = now
        return Acked.PROGRESS

    def _release(self, through: int) -> None:
        for _ in range(through - self.acked_seq):
            self.backlog_bytes -= self._sizes.popleft()
        self.acked_seq = max(self.acked_seq, through)

    # -- what goes out

    def append(self, size: int) -> int | None:
        """Give the next message for the client its number; None when the backlog is full."""
        if (
            len(self._sizes) >= self.limits.backlog_frames
            or self.backlog_bytes + size > self.limits.backlog_bytes
        ):
            return None
        self._sizes.append(size)
        self.backlog_bytes += size
        self.sent_seq += 1
        return self.sent_seq

    def due(self) -> int:
        """How many messages after `wire_seq` the window lets onto the wire now."""
        open_frames = self.wire_seq - self.acked_seq
        space = self.limits.window_bytes - self._in_flight_bytes
        count = 0
        for size in islice(self._sizes, open_frames, max(open_frames, self.limits.window_frames)):
            # A message larger than the whole window goes alone, or it would never go.
            if size > space and open_frames + count > 0:
                break
            space -= size
            count += 1
        return count

    def sent(self, count: int, now: float) -> None:
        """Note that the next `count` messages went onto the wire."""
        open_frames = self.wire_seq - self.acked_seq
        if open_frames == 0:
            self.progress_at = now
        self._in_flight_bytes += sum(islice(self._sizes, open_frames, open_frames + count))
        self.wire_seq += count

    def stalled_at(self, patience: float) -> float | None:
        """When the client will have owed an acknowledgement for too long; None when it owes none."""
        return self.progress_at + patience if self.wire_seq > self.acked_seq else None

    @property
    def backlog(self) -> int:
        """Messages that the client has not acknowledged, sent or not."""
        return len(self._sizes)


def judge_resume(
    session: Session | None,
    claim: ResumeClaim,
    *,
    epoch: str,
    subject: str,
    client_id: str,
    wall_now: float,
    ttl: float,
) -> Why | None:
    """Say why a client does not get its session again; None when it does.

    A key that does not fit and a session of somebody else answer alike, so that
    a stranger learns nothing from asking.
    """
    if claim.epoch != epoch:
        return Why.EPOCH
    if session is None or session.subject != subject or session.client_id != client_id:
        return Why.UNKNOWN
    if not _key_fits(session, claim.key):
        return Why.TAKEN
    if session.detached_at is not None and wall_now - session.detached_at > ttl:
        return Why.EXPIRED
    # There are three holes: the client lacks what the hub has forgotten, it has
    # what the hub never sent, or it no longer has what the hub has not received.
    if not session.acked_seq <= claim.recv_seq <= session.sent_seq:
        return Why.GAP
    unacknowledged = 1 <= claim.sent_lo <= claim.sent_hi
    if unacknowledged and not claim.sent_lo - 1 <= session.recv_seq <= claim.sent_hi:
        return Why.GAP
    return None


def _key_fits(session: Session, key: Secret) -> bool:
    shown = hash_key(key)
    current = hmac.compare_digest(shown, session.key_hash)
    previous = hmac.compare_digest(shown, session.previous_key_hash)
    return current or previous
