"""The sending half: what waits, what is on its way, and how much the window still allows.

A message is *waiting* until it gets its number in the session, *numbered* until
the hub acknowledges it.  Numbers are given in order, at the first transmission,
so the numbered ones are always the oldest, and within a session a message keeps
its number however often it is sent again.  Payloads stay in the journal; only
sizes are held here.

Pure: it proposes (`next_batch`), and is told afterwards what was committed
(`numbered`) and what was handed over (`transmitted`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from itertools import chain, islice

import attrs
import msgspec

from holdfast.actors.delivery.inbox import CONTROL_TYPES
from holdfast.actors.delivery.messages import Append, AppendVolatile, MessageInvalid, MessageTooLarge, Refused

__all__ = ["Entry", "Outbox", "Removal", "frame_size", "nested_deeper", "refusal"]

# What the wire allows in a name; the socket's codec takes no more.
NAME_MAX_CHARS = 256

# Readers of JSON give up at a depth of their own, Python's near a thousand, and a message that only one side
# can read would be repeated for ever.  The hub draws the same line.
NESTING_MAX = 128

# Strings may hold brackets, too; the last one may lack its end.
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*+(?:"|\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))

# Keys, punctuation and three numbers of 19 digits of a frame come to 141 bytes.
ENVELOPE_BYTES = 160


@attrs.frozen
class Entry:
    """A message of the outbox, without its content."""

    position: int
    size: int
    """Bytes as a frame, estimated from above; the windows of both sides are kept if ours is."""

    accepted_at: float
    """Wall clock: an outbox may be older than the process."""

    seq: int | None = None


@attrs.frozen
class Removal:
    """A message that leaves the outbox undelivered, and why."""

    position: int
    reason: str


class Outbox:
    """Bounds, numbers and the window of one client's outgoing messages."""

    def __init__(
        self, entries: Iterable[Entry], *, sent_seq: int, acked_seq: int, last_position: int
    ) -> None:
        """Continue from what the journal holds; `entries` oldest first, the numbered ones in front."""
        self._numbered: deque[Entry] = deque()
        self._waiting: deque[Entry] = deque()
        self.bytes = 0
        for entry in entries:
            (self._waiting if entry.seq is None else self._numbered).append(entry)
            self.bytes += entry.size
        self.sent_seq = sent_seq
        self.acked_seq = acked_seq
        self.last_position = last_position
        assert len(self._numbered) == sent_seq - acked_seq, "numbers are contiguous"
        self._transmitted_seq = acked_seq
        self._window_frames = 0
        self._window_bytes = 0
        self.in_flight_bytes = 0

    def __len__(self) -> int:
        return len(self._numbered) + len(self._waiting)

    @property
    def in_flight_frames(self) -> int:
        """Frames handed over on this link and not acknowledged."""
        return self._transmitted_seq - self.acked_seq

    def add(self, entry: Entry) -> None:
        """Put a message at the end; it is in the journal already."""
        assert entry.position > self.last_position, "order is the order of acceptance"
        self._waiting.append(entry)
        self.bytes += entry.size
        self.last_position = entry.position

    # -- the link

    def open_window(self, frames: int, size: int) -> None:
        """Start on a new link: nothing is on its way there, whatever was on the last one."""
        self._window_frames = frames
        self._window_bytes = size
        self.close_window()

    def close_window(self) -> None:
        """Forget what was on its way: the link is gone."""
        self._transmitted_seq = self.acked_seq
        self.in_flight_bytes = 0

    def next_batch(self, limit: int) -> tuple[Entry, ...]:
        """Return what may leave now, oldest first, each with its number (new ones included)."""
        frames = min(limit, self._window_frames - self.in_flight_frames)
        if frames <= 0:
            return ()
        room = self._window_bytes - self.in_flight_bytes
        batch: list[Entry] = []
        seq = self._transmitted_seq
        again = islice(self._numbered, self.in_flight_frames, None)
        for entry in chain(again, self._waiting):
            if len(batch) >= frames or entry.size > room:
                break
            seq += 1
            assert entry.seq in {None, seq}, "a message keeps its number within a session"
            batch.append(entry if entry.seq == seq else attrs.evolve(entry, seq=seq))
            room -= entry.size
        return tuple(batch)

    def numbered(self, batch: Iterable[Entry]) -> None:
        """Note that the new numbers of a batch are committed."""
        for entry in batch:
            if entry.seq is not None and entry.seq > self.sent_seq:
                waiting = self._waiting.popleft()
                assert waiting.position == entry.position, "numbers are given in order"
                self._numbered.append(entry)
                self.sent_seq = entry.seq

    def transmitted(self, batch: Iterable[Entry]) -> None:
        """Note that a batch was handed to the socket."""
        for entry in batch:
            assert entry.seq == self._transmitted_seq + 1, "frames leave in order"
            self._transmitted_seq += 1
            self.in_flight_bytes += entry.size

    # -- leaving

    def position_of(self, seq: int) -> int:
        """Return the position of a numbered message; `seq` is between the acknowledged and the sent."""
        return self._numbered[seq - self.acked_seq - 1].position

    def acknowledged(self, seq: int) -> None:
        """Drop everything up to `seq`: the hub has it for good."""
        assert seq <= self.sent_seq, "what was never sent cannot be acknowledged"
        while self.acked_seq < seq:
            entry = self._numbered.popleft()
            self.acked_seq += 1
            self.bytes -= entry.size
            if self.acked_seq <= self._transmitted_seq:
                self.in_flight_bytes -= entry.size
        self._transmitted_seq = max(self._transmitted_seq, self.acked_seq)

    def too_old(self, age: float, wall_now: float, *, numbered: bool) -> tuple[Removal, ...]:
        """Propose what was accepted more than `age` seconds ago; what has a number only if asked."""
        reason = f"not acknowledged within {age:g} s"
        return tuple(
            Removal(entry.position, reason)
            for entry in self._unacknowledged(numbered=numbered)
            if wall_now - entry.accepted_at > age
        )

    def too_large(self, limit: int, *, numbered: bool) -> tuple[Removal, ...]:
        """Propose what the hub will not take; what has a number only if asked."""
        return tuple(
            Removal(entry.position, f"{entry.size} bytes as a frame, the hub takes at most {limit}")
            for entry in self._unacknowledged(numbered=numbered)
            if entry.size > limit
        )

    def stuck_beyond(self, seq: int, limit: int) -> bool:
        """Whether a numbered message after `seq` is larger than a frame may be."""
        return any(entry.size > limit for entry in islice(self._numbered, seq - self.acked_seq, None))

    def _unacknowledged(self, *, numbered: bool) -> Iterable[Entry]:
        return chain(self._numbered, self._waiting) if numbered else self._waiting

    def removed(self, removals: Iterable[Removal]) -> None:
        """Drop waiting messages that will not be delivered."""
        positions = {removal.position for removal in removals}
        if not positions:
            return
        kept = deque(entry for entry in self._waiting if entry.position not in positions)
        self.bytes -= sum(entry.size for entry in self._waiting) - sum(entry.size for entry in kept)
        self._waiting = kept

    def renumber(self) -> None:
        """Start a new session: the same messages in the same order, all without a number."""
        again = (attrs.evolve(entry, seq=None) for entry in self._numbered)
        self._waiting = deque(chain(again, self._waiting))
        self._numbered.clear()
        self.sent_seq = self.acked_seq = 0
        self.close_window()


def frame_size(message: Append | AppendVolatile) -> int:
    """Return the bytes of a message as a frame, estimated from above: numbers at their widest."""
    names = (message.type, message.channel, message.id if isinstance(message, Append) else None)
    return ENVELOPE_BYTES + len(message.payload) + sum(len(msgspec.json.encode(name)) for name in names)


def refusal(message: Append | AppendVolatile, limit: int) -> Refused | None:
    """Return why a message can never be sent; None when it can.  A frame may have `limit` bytes."""
    names = {"type": message.type, "channel": message.channel}
    if isinstance(message, Append):
        names["id"] = message.id
    for field, value in names.items():
        if value is not None and not 0 < len(value) <= NAME_MAX_CHARS:
            return MessageInvalid(field, f"1 to {NAME_MAX_CHARS} characters", f"{len(value)}")
    if message.type in CONTROL_TYPES:
        return MessageInvalid("type", "one that is not the protocol's own", repr(message.type))
    try:
        size = frame_size(message)
    except UnicodeEncodeError:
        return MessageInvalid("names", "encodable as UTF-8", "a lone surrogate")
    # Before the content is looked at: an oversized payload is not worth parsing.
    if size > limit:
        return MessageTooLarge(size=size, limit=limit)
    if nested_deeper(bytes(message.payload), NESTING_MAX):
        return MessageInvalid("payload", f"nested at most {NESTING_MAX} deep", "a deeper one")
    try:
        msgspec.json.decode(message.payload, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        return MessageInvalid(
            "payload", "the bytes of one JSON object", f"{len(message.payload)} bytes ({error})"
        )
    return None


def nested_deeper(json: bytes, limit: int) -> bool:
    """Return whether brackets are open more than `limit` deep anywhere in a JSON text.

    Counted, not parsed: a parser gives up at a depth that depends on who calls it.
    """
    if json.count(b"{") + json.count(b"[") <= limit:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", json).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"{[" else -1
        if depth > limit:
            return True
    return False
