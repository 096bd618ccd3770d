"""What delivery decides: what to transmit, what to accept, what a new link means.

The discipline that makes a crash at any point harmless: the machine *proposes*
(a question that changes nothing: `weigh_link`, `weigh_frames`, `next_batch`), the
shell commits the proposal to the journal, and only then is the machine *told*
(`link_opened`, `took_in`, `transmitted`).  So it never knows more than the store,
a commit that failed needs no undoing, and a new incarnation built from the
store goes on where the last one stopped.

Receiver rule (REALTIME 1.2): a number seen before is dropped and acknowledged
again; the next one is stored; a later one is never applied, the link is hung up
with 4004 and resumed.
"""

# The claim: exactly-once effect, first in first out in each direction of a client id, as long as both stores
# survive and the memory of received ids is not exceeded; otherwise at-least-once with a ContinuityLost event.

from __future__ import annotations

import enum
from collections.abc import Container, Iterable
from itertools import chain

import attrs

from holdfast.actors.delivery.inbox import Inbox, Intake, Trouble
from holdfast.actors.delivery.messages import (
    Append,
    AppendVolatile,
    DeliveryState,
    LinkUp,
    OutboxFull,
    Refused,
    Resume,
)
from holdfast.actors.delivery.outbox import Entry, Outbox, Removal, frame_size, refusal
from holdfast.actors.delivery.settings import DeliverySettings
from holdfast.actors.socket.messages import Frame, HangUp
from holdfast.runtime import Secret

__all__ = ["LinkPhase", "Machine", "Memory", "Opening"]

# Close codes (REALTIME 1.2): the range carries the verdict.
SLOW_CONSUMER = 4002
SEQ_GAP = 4004
SESSION_UNKNOWN = 4101
EPOCH_CHANGED = 4103

TROUBLES = {
    Trouble.GAP: HangUp(SEQ_GAP, "seq gap"),
    Trouble.OVERRUN: HangUp(SLOW_CONSUMER, "frames beyond the window while the inbox is full"),
}


class LinkPhase(enum.Enum):
    """Where the link stands, seen from here."""

    RESTARTED = "restarted"
    """A new incarnation: the mail that is queued about the link was said to the previous one."""

    DOWN = "down"
    REPLAYING = "replaying"
    """Resumed: the hub repeats what we missed, new sends are held."""

    READY = "ready"
    ABANDONED = "abandoned"
    """We asked for it to be hung up; what it still says does not count."""


@attrs.frozen(kw_only=True)
class Memory:
    """Everything that the journal knows and the machine must; what an incarnation starts from."""

    client_id: str
    session: str | None = None
    key: Secret | None = None
    epoch: str | None = None
    sent_seq: int = 0
    acked_seq: int = 0
    recv_seq: int = 0
    last_position: int = 0
    inbox_position: int = 0
    inbox_depth: int = 0
    inbox_bytes: int = 0
    entries: tuple[Entry, ...] = ()


@attrs.frozen(kw_only=True)
class Opening:
    """What a `LinkUp` amounts to: proposed, then committed, then told.

    With `hang_up` it is not accepted: the session is forgotten instead.
    """

    fact: LinkUp
    acked_position: int = 0
    """Everything up to here is known to be with the hub; 0 for nothing new."""

    removals: tuple[Removal, ...] = ()
    continuity_lost: bool = False
    hang_up: HangUp | None = None


class Machine:
    """The state of delivery beside the journal, and every decision about it."""

    def __init__(self, settings: DeliverySettings, memory: Memory, *, restarted: bool = False) -> None:
        self._settings = settings
        self._client_id = memory.client_id
        self._session = memory.session
        self._key = memory.key
        self._epoch = memory.epoch
        self.outbox = Outbox(
            memory.entries,
            sent_seq=memory.sent_seq,
            acked_seq=memory.acked_seq,
            last_position=memory.last_position,
        )
        self.inbox = Inbox(
            recv_seq=memory.recv_seq,
            position=memory.inbox_position,
            depth=memory.inbox_depth,
            size=memory.inbox_bytes,
            messages_max=settings.inbox_messages,
            size_max=settings.inbox_bytes,
            ack_every=settings.ack_every,
        )
        self.phase = LinkPhase.RESTARTED if restarted else LinkPhase.DOWN
        self.generation = 0
        self._frame_limit = settings.frame_max
        # Counted since the incarnation's start.
        self.duplicates = self.gaps = self.volatile_dropped = self.stale_facts = 0

    # -- accepting messages to send

    def refusal(self, message: Append | AppendVolatile) -> Refused | None:
        """Return why a message can never be sent; None when it can."""
        return refusal(message, self._frame_limit)

    def entry(self, message: Append, wall_now: float) -> Entry:
        """Return the outbox entry that an acceptable message would become."""
        return Entry(self.outbox.last_position + 1, frame_size(message), wall_now)

    def has_room(self, size: int) -> bool:
        """Whether the outbox's bounds allow one more message."""
        return (
            len(self.outbox) < self._settings.outbox_messages
            and self.outbox.bytes + size <= self._settings.outbox_bytes
        )

    def outbox_full(self, *, waited: float) -> OutboxFull:
        """Return the refusal of a message for which there was no room."""
        return OutboxFull(
            messages=len(self.outbox),
            messages_max=self._settings.outbox_messages,
            size=self.outbox.bytes,
            size_max=self._settings.outbox_bytes,
            waited=waited,
        )

    def expired(self, wall_now: float) -> tuple[Removal, ...]:
        """Propose what is too old to wait any longer.

        Only while the link is down, and only what has no number: the hub may
        hold a numbered one already, and a number that is never sent is a gap.
        """
        if self.linked:
            return ()
        return self.outbox.too_old(self._settings.message_age, wall_now, numbered=False)

    # -- the link

    def resume(self) -> Resume:
        """Return what the socket presents at the next connect."""
        return Resume(
            client_id=self._client_id,
            session=self._session,
            key=self._key,
            epoch=self._epoch,
            recv_seq=self.inbox.recv_seq,
            sent_lo=self.outbox.acked_seq + 1,
            sent_hi=self.outbox.sent_seq,
        )

    def weigh_link(self, fact: LinkUp, wall_now: float) -> Opening | None:
        """Propose what to do about a new link; None when the fact is stale (fencing)."""
        if fact.generation <= self.generation or self.phase is LinkPhase.RESTARTED:
            self.stale_facts += 1
            return None
        limit = _frame_limit(self._settings, fact)
        if not fact.resumed:
            too_large = self.outbox.too_large(limit, numbered=True)
            named = {removal.position for removal in too_large}
            too_old = self.outbox.too_old(self._settings.message_age, wall_now, numbered=True)
            return Opening(
                fact=fact,
                removals=(*too_large, *(removal for removal in too_old if removal.position not in named)),
                continuity_lost=self.knows_traffic,
            )
        doubt = self._doubt(fact, limit)
        if doubt is not None:
            return Opening(fact=fact, hang_up=doubt)
        return Opening(
            fact=fact,
            acked_position=self._position_of(fact.recv_seq),
            removals=self.outbox.too_large(limit, numbered=False),
        )

    def _doubt(self, fact: LinkUp, limit: int) -> HangUp | None:
        """Return why a resumed session cannot be the one we know; only a new one helps then."""
        outbox = self.outbox
        if fact.session != self._session:
            return HangUp(SESSION_UNKNOWN, "resumed a session that is not ours", destroy_session=True)
        if fact.epoch != self._epoch:
            return HangUp(EPOCH_CHANGED, "resumed in another epoch", destroy_session=True)
        if not outbox.acked_seq <= fact.recv_seq <= outbox.sent_seq:
            told = f"welcome: recv_seq {fact.recv_seq}, possible is {outbox.acked_seq} to {outbox.sent_seq}"
            return HangUp(SESSION_UNKNOWN, told, destroy_session=True)
        if outbox.stuck_beyond(fact.recv_seq, limit):
            return HangUp(SESSION_UNKNOWN, "a numbered frame exceeds the new limit", destroy_session=True)
        return None

    def link_opened(self, opening: Opening) -> None:
        """Note that the session's new state is committed."""
        fact = opening.fact
        self._link_closed()
        self.generation = fact.generation
        self._session, self._key, self._epoch = fact.session, fact.key, fact.epoch
        if fact.resumed:
            self.outbox.acknowledged(fact.recv_seq)
        else:
            self.outbox.renumber()
            self.inbox.restart()
        self.outbox.removed(opening.removals)
        self._frame_limit = _frame_limit(self._settings, fact)
        frames = min(fact.window_frames, self._settings.window_frames)
        size = min(fact.window_bytes, self._settings.window_bytes)
        self.outbox.open_window(frames, size)
        self.inbox.open_window(frames, size)
        self.phase = LinkPhase.REPLAYING if fact.resumed else LinkPhase.READY

    def replay_ended(self, generation: int, through: int) -> HangUp | None:
        """Let new sends go; a replay that ends beyond what came is a gap."""
        if not self.current(generation):
            return None
        if through > self.inbox.contiguous:
            self.gaps += 1
            return HangUp(SEQ_GAP, "seq gap")
        if self.phase is LinkPhase.REPLAYING:
            self.phase = LinkPhase.READY
        return None

    def past_read(self) -> None:
        """Note that the mail of the previous incarnation has been read: facts count from now on."""
        if self.phase is LinkPhase.RESTARTED:
            self.phase = LinkPhase.DOWN

    def link_down(self, generation: int) -> bool:
        """Note the end of a link; False when the fact is stale."""
        if generation != self.generation or self.phase is LinkPhase.RESTARTED:
            self.stale_facts += 1
            return False
        self._link_closed()
        return True

    def socket_ended(self) -> None:
        """Note the end of the socket's incarnation: the next one's generations may start anew."""
        if self.phase is not LinkPhase.RESTARTED:
            self._link_closed()
        self.generation = 0

    def abandoned(self, generation: int | None = None) -> None:
        """Note that a link (the present one) is to be hung up: its further facts do not count."""
        self._link_closed()
        self.generation = generation or self.generation
        self.phase = LinkPhase.ABANDONED

    def session_forgotten(self) -> None:
        """Note that the journal has no session any more."""
        self._session = self._key = self._epoch = None
        self.outbox.renumber()
        self.inbox.restart()

    def current(self, generation: int) -> bool:
        """Whether a fact belongs to the link as we know it; what does not is counted."""
        current = self.linked and generation == self.generation
        self.stale_facts += not current
        return current

    @property
    def linked(self) -> bool:
        """Whether there is a link to say something on."""
        return self.phase in {LinkPhase.REPLAYING, LinkPhase.READY}

    @property
    def knows_traffic(self) -> bool:
        """Whether losing the session may lose messages to us: more of what came, or answers to what went."""
        return self.inbox.recv_seq > 0 or self.outbox.sent_seq > 0

    def _link_closed(self) -> None:
        self.phase = LinkPhase.DOWN
        self.outbox.close_window()
        self.inbox.close_window()

    # -- sending

    def next_batch(self) -> tuple[Entry, ...]:
        """Propose what may leave now; nothing without a link, during a replay, and beyond the window."""
        if self.phase is not LinkPhase.READY:
            return ()
        return self.outbox.next_batch(self._settings.batch_frames)

    def frames(
        self, contents: Iterable[Append], batch: Iterable[Entry], wall_now: float
    ) -> tuple[Frame, ...]:
        """Return a batch as frames; each carries the acknowledgement of everything committed."""
        ts = max(0, int(wall_now * 1000))
        return tuple(
            Frame(
                type=message.type,
                id=message.id,
                seq=entry.seq,
                ack=self.inbox.recv_seq,
                ch=message.channel,
                ts=ts,
                payload=message.payload,
            )
            for message, entry in zip(contents, batch, strict=True)
        )

    def transmitted(self, batch: Iterable[Entry]) -> None:
        """Note that frames were handed to the socket; they carried the acknowledgement."""
        self.outbox.transmitted(batch)
        self.inbox.acknowledged()

    def volatile_frame(self, message: AppendVolatile) -> Frame | None:
        """Return the frame of a volatile message; None when it is dropped (and counted)."""
        if self.phase is not LinkPhase.READY or self.refusal(message) is not None:
            self.volatile_dropped += 1
            return None
        return Frame(type=message.type, ch=message.channel, ack=self.inbox.recv_seq, payload=message.payload)

    # -- receiving

    def ids_of(self, frames: Iterable[Frame]) -> tuple[str, ...]:
        """Return the ids of which `weigh_frames` must know whether they were received before."""
        reliable = (frame.id for frame in chain(self.inbox.parked, frames) if frame.seq is not None)
        return tuple(name for name in reliable if name is not None)

    def weigh_frames(self, frames: Iterable[Frame], known: Container[str]) -> Intake:
        """Propose what to do with the parked frames, then new ones; `known` ids were received before."""
        intake = self.inbox.weigh(frames, known)
        return attrs.evolve(intake, acked_position=self._position_of(intake.ack))

    def _position_of(self, ack: int) -> int:
        """Return the outbox position that an acknowledgement stands for; 0 for nothing new, or a lie."""
        outbox = self.outbox
        return outbox.position_of(ack) if outbox.acked_seq < ack <= outbox.sent_seq else 0

    def took_in(self, intake: Intake) -> HangUp | None:
        """Note that an intake is committed; return how the link ends if it cannot go on."""
        self.inbox.took_in(intake)
        self.duplicates += intake.duplicates
        self.volatile_dropped += intake.shed
        if intake.acked_position:
            self.outbox.acknowledged(intake.ack)
        elif intake.ack > self.outbox.sent_seq:
            told = f"acknowledged {intake.ack}, only {self.outbox.sent_seq} were sent"
            return HangUp(SESSION_UNKNOWN, told, destroy_session=True)
        if intake.trouble is Trouble.GAP:
            self.gaps += 1
        return None if intake.trouble is None else TROUBLES[intake.trouble]

    def ack_frame(self) -> Frame:
        """Return the acknowledgement of everything committed."""
        return Frame(type="ack", ack=self.inbox.recv_seq)

    def state(self) -> DeliveryState:
        """Return the state for people."""
        return DeliveryState(
            outbox_depth=len(self.outbox),
            inbox_depth=self.inbox.depth,
            unacked_frames=self.outbox.in_flight_frames,
            unacked_bytes=self.outbox.in_flight_bytes,
            duplicates_dropped=self.duplicates,
            gaps=self.gaps,
            last_sent_seq=self.outbox.sent_seq,
            last_received_seq=self.inbox.recv_seq,
            link=self.phase.value,
            outbox_bytes=self.outbox.bytes,
            parked_frames=len(self.inbox.parked),
            volatile_dropped=self.volatile_dropped,
            stale_facts=self.stale_facts,
        )


def _frame_limit(settings: DeliverySettings, fact: LinkUp) -> int:
    """Return the largest frame that can pass: one beyond the window could never be sent."""
    return min(settings.frame_max, fact.max_frame, fact.window_bytes)
