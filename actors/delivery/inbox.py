"""The receiving half: the receiver rule, and what happens when the application is slow.

A numbered frame that was seen before is dropped (and acknowledged again); the
next one is stored; a later one is never applied.  When the inbox is full, frames
are *parked*: held in memory, in order, and not acknowledged, so the hub's window
closes by itself.  A hub that goes on beyond the window is hung up; whatever was
parked comes again with the resume, so nothing is lost.

Pure: `weigh` proposes, `took_in` is told after the commit.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterable
from itertools import chain

import attrs

from holdfast.actors.socket.messages import Frame

__all__ = ["CONTROL_TYPES", "AckDue", "Inbox", "Intake", "Trouble"]

# Frames of the link itself: no message for the application, and no type that one may send.
CONTROL_TYPES = frozenset({
    "ack", "auth.expiring", "auth.ok", "auth.refresh", "bye", "connect", "goaway", "hello", "ping", "pong",
    "replay.end", "welcome",
})  # fmt: skip


class AckDue(enum.Enum):
    """When an acknowledgement of its own is to leave."""

    NOT = enum.auto()
    LATER = enum.auto()
    NOW = enum.auto()


class Trouble(enum.Enum):
    """Why the link cannot go on after the frames that were accepted."""

    GAP = "seq gap"
    OVERRUN = "frames beyond the window"


@attrs.frozen(kw_only=True)
class Intake:
    """What received frames amount to: proposed, then committed, then told."""

    stored: tuple[Frame, ...]
    """For the inbox, in order."""

    first_position: int
    """The inbox position of the first of them."""

    parked: tuple[Frame, ...]
    recv_seq: int
    advanced: bool
    ack: int
    """The highest of our numbers that the frames acknowledge; 0 for none."""

    reliable: int
    """Numbered frames that are to be acknowledged, repeated ones included."""

    duplicates: int
    shed: int
    trouble: Trouble | None = None
    acked_position: int = 0
    """The outbox position that `ack` stands for; 0 when it says nothing new."""

    @property
    def changes(self) -> bool:
        """Whether there is something to commit."""
        return self.advanced or bool(self.stored) or self.acked_position > 0


class Inbox:
    """Cursors and bounds of what came in and was not processed yet."""

    def __init__(
        self,
        *,
        recv_seq: int,
        position: int,
        depth: int,
        size: int,
        messages_max: int,
        size_max: int,
        ack_every: int,
    ) -> None:
        self.recv_seq = recv_seq
        self.position = position
        """The last position given to a message; positions are never used twice."""

        self.depth = depth
        self.bytes = size
        self.parked: tuple[Frame, ...] = ()
        self._unacknowledged = 0
        self._ack_planned = False
        self._ack_every = ack_every
        self._messages_max = messages_max
        self._size_max = size_max
        self._parked_frames_max = 0
        self._parked_bytes_max = 0

    @property
    def contiguous(self) -> int:
        """The highest number without a gap before it, stored or parked."""
        return self.recv_seq + len(self.parked)

    @property
    def stuck(self) -> bool:
        """Whether nothing parked can move: there is none, or no room."""
        return not self.parked or not self.has_room(len(self.parked[0].payload))

    def open_window(self, frames: int, size: int) -> None:
        """Start on a new link, where so much may be unacknowledged."""
        self._parked_frames_max = frames
        self._parked_bytes_max = size
        self.close_window()

    def close_window(self) -> None:
        """Forget what was not committed: the link is gone, and it comes again with the next."""
        self.parked = ()
        self._unacknowledged = 0
        self._ack_planned = False

    def restart(self) -> None:
        """Start a new session: numbers begin again, what was stored stays."""
        self.recv_seq = 0
        self.parked = ()

    def weigh(self, frames: Iterable[Frame], known: Container[str]) -> Intake:
        """Propose what to do with the parked frames, then with new ones; `known` ids were received before."""
        weighing = _Weighing(self, known)
        for frame in chain(self.parked, frames):
            if not weighing.add(frame):
                break
        return weighing.intake()

    def took_in(self, intake: Intake) -> None:
        """Note that an intake is committed."""
        self.recv_seq = intake.recv_seq
        self.position += len(intake.stored)
        self.depth += len(intake.stored)
        self.bytes += sum(len(frame.payload) for frame in intake.stored)
        self.parked = intake.parked
        self._unacknowledged += intake.reliable

    def ack_due(self) -> AckDue:
        """Say when to acknowledge; `LATER` is said once for each delay."""
        if self._unacknowledged >= self._ack_every:
            return AckDue.NOW
        if self._unacknowledged == 0 or self._ack_planned:
            return AckDue.NOT
        self._ack_planned = True
        return AckDue.LATER

    def ack_delay_passed(self) -> bool:
        """Note the end of the delay; whether there is still something to acknowledge."""
        self._ack_planned = False
        return self._unacknowledged > 0

    def acknowledged(self) -> None:
        """Note that a frame with the present `recv_seq` has left."""
        self._unacknowledged = 0

    def processed(self, messages: int, size: int) -> None:
        """Note that messages have been processed and have left."""
        self.depth -= messages
        self.bytes -= size

    def has_room(self, size: int, *, messages: int = 0, more: int = 0) -> bool:
        """Whether one more message of `size` fits after so many others that are about to be stored."""
        return self.depth + messages < self._messages_max and self.bytes + more + size <= self._size_max

    def may_park(self, frames: int, size: int) -> bool:
        """Whether so much may wait unacknowledged in memory: the window, which an honest hub keeps."""
        return frames <= self._parked_frames_max and size <= self._parked_bytes_max


class _Weighing:
    """The receiver rule, frame by frame; it changes nothing but itself."""

    def __init__(self, inbox: Inbox, known: Container[str]) -> None:
        self._inbox = inbox
        self._known = known
        self._seen: set[str] = set()
        self._last = self._recv_seq = inbox.recv_seq
        self._stored: list[Frame] = []
        self._stored_bytes = 0
        self._parked: list[Frame] = []
        self._parked_bytes = 0
        self._ack = self._reliable = self._duplicates = self._shed = 0
        self._trouble: Trouble | None = None

    def add(self, frame: Frame) -> bool:
        """Weigh one frame; False when the link cannot go on after it."""
        if frame.seq is not None and frame.seq > self._last + 1:
            self._trouble = Trouble.GAP
            return False
        self._ack = max(self._ack, frame.ack or 0)
        if frame.seq is None:
            self._add_volatile(frame)
        elif frame.seq <= self._last:
            self._duplicates += 1
            self._reliable += 1
        else:
            self._last = frame.seq
            return self._add_next(frame)
        return True

    def _add_volatile(self, frame: Frame) -> None:
        if frame.type in CONTROL_TYPES:
            return
        if self._fits(frame):
            self._store(frame)
        else:
            self._shed += 1

    def _add_next(self, frame: Frame) -> bool:
        """Weigh the frame whose turn it is: known from an older session, to be parked, or new."""
        repeated = frame.id is not None and (frame.id in self._known or frame.id in self._seen)
        if self._parked or not (repeated or self._fits(frame)):
            return self._park(frame)
        self._recv_seq = self._last
        self._reliable += 1
        if repeated:
            self._duplicates += 1
            return True
        if frame.id is not None:
            self._seen.add(frame.id)
        self._store(frame)
        return True

    def _fits(self, frame: Frame) -> bool:
        size = len(frame.payload)
        return not self._parked and self._inbox.has_room(
            size, messages=len(self._stored), more=self._stored_bytes
        )

    def _store(self, frame: Frame) -> None:
        self._stored.append(frame)
        self._stored_bytes += len(frame.payload)

    def _park(self, frame: Frame) -> bool:
        self._parked.append(frame)
        self._parked_bytes += len(frame.payload)
        if self._inbox.may_park(len(self._parked), self._parked_bytes):
            return True
        self._trouble = Trouble.OVERRUN
        return False

    def intake(self) -> Intake:
        """Return the proposal."""
        return Intake(
            stored=tuple(self._stored),
            first_position=self._inbox.position + 1,
            parked=tuple(self._parked),
            recv_seq=self._recv_seq,
            advanced=self._recv_seq > self._inbox.recv_seq,
            ack=self._ack,
            reliable=self._reliable,
            duplicates=self._duplicates,
            shed=self._shed,
            trouble=self._trouble,
        )
