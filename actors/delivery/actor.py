"""The delivery actor: what must outlive a socket.

Others are told only what the ledger has committed, so it may crash at any point.

A restarted delivery does not know where the link stands, and what is queued
about it was said to the incarnation that died.  It therefore believes none of
that mail and has the socket hang up, `HangUp(4000, "delivery restarted")`: the
link is resumed through a fresh `LinkUp`, and the hub repeats what was not
acknowledged.  When the socket ends, its `Down` comes after everything it had
said; from then on a new count of generations is accepted.

A store that refuses a commit is no crash: nothing is acknowledged, the link is
hung up, and reconnect's back-off paces the next attempt.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import apsw
import attrs

from holdfast.actors.delivery.inbox import AckDue
from holdfast.actors.delivery.journal import Journal
from holdfast.actors.delivery.ledger import Ledger
from holdfast.actors.delivery.machine import Machine
from holdfast.actors.delivery.messages import (
    Accepted,
    AckDelayPassed,
    Append,
    AppendVolatile,
    Batch,
    DeliveryState,
    DropSession,
    ExpiryDue,
    GetDeliveryState,
    GetPreservedState,
    GetResume,
    LinkDown,
    LinkUp,
    PastRead,
    PreserveState,
    PumpDue,
    Received,
    Refused,
    ReplayEnded,
    Resume,
    RetryDue,
    StoreUnavailable,
    Take,
    WaitOver,
)
from holdfast.actors.delivery.settings import DeliverySettings
from holdfast.actors.socket.messages import Frame, HangUp, Transmit
from holdfast.runtime import Actor, Down, MailboxFull, MailboxSpec, Message, Ref, ReplyToken, on

__all__ = ["DeliveryActor"]

A = TypeVar("A", bound=Actor)
M = TypeVar("M", bound=Message)
R = TypeVar("R")


@attrs.frozen
class _Waiting(Generic[M]):
    """A question that is answered later, by then at the latest."""

    token: ReplyToken
    message: M
    deadline: float


def _answers_refusals(handler: Callable[[A, M], R]) -> Callable[[A, M], R | None]:
    """Make a refusal the failed answer of the question; every other exception is a crash."""

    @functools.wraps(handler)
    def answering(actor: A, message: M) -> R | None:
        try:
            return handler(actor, message)
        except Refused as refusal:
            actor.context.reply_later().fail(refusal)
            return None

    return answering


class DeliveryActor(Actor):
    """Outbox, inbox, cursors and preserved state of one client, in the store that the embedder opened."""

    mailbox = MailboxSpec(capacity=1024, policy="wait", on_restart="keep")

    def __init__(self, settings: DeliverySettings, *, store: apsw.Connection, socket: Ref) -> None:
        self._settings = settings
        self._store = store
        self._socket = socket
        self._appends: deque[_Waiting[Append]] = deque()
        self._takes: deque[_Waiting[Take]] = deque()
        self._pump_planned = False
        self._hang_up_owed: HangUp | None = None

    def on_start(self) -> None:
        """Continue from the store; a store that cannot be used is a failed start."""
        context, settings = self.context, self._settings
        journal = Journal(self._store, acked_ids=settings.acked_ids, received_ids=settings.received_ids)
        memory = journal.recover(lambda: context.seams.entropy(16).hex())
        restarted = context.incarnation > 1
        self._machine = Machine(settings, memory, restarted=restarted)
        self._ledger = Ledger(
            settings, self._machine, journal, emit=context.emit, wall_now=context.seams.wall_clock.now
        )
        context.watch(self._socket)
        context.every(settings.expiry_period, ExpiryDue(), key="expiry")
        if restarted:
            context.deliver(PastRead())
            self._owe_hang_up(HangUp(4000, "delivery restarted"))

    # -- accepting messages to send

    @on(Append)
    @_answers_refusals
    def append(self, message: Append) -> Accepted | None:
        """Commit the message, or find it committed; wait in line while there is no room."""
        refusal = self._machine.refusal(message)
        if refusal is not None:
            raise refusal
        accepted = self._accept(message, in_turn=not self._appends)
        if accepted is None:
            self._wait_for_room(message)
        return accepted

    def _accept(self, message: Append, *, in_turn: bool) -> Accepted | None:
        accepted = self._ledger.accept(message, in_turn=in_turn)
        if accepted is not None:
            self._plan_pump()
        return accepted

    def _wait_for_room(self, message: Append) -> None:
        if len(self._appends) >= self._settings.waiting_appends:
            raise self._machine.outbox_full(waited=0)
        deadline = self.context.now() + self._settings.append_wait
        self._appends.append(_Waiting(self.context.reply_later(), message, deadline))
        self._plan_end_of_wait()

    def _admit_appends(self) -> None:
        """Accept those that waited for room, in their order; one whose asker is gone is not accepted."""
        while self._appends:
            waiting = self._appends[0]
            if not waiting.token.expired:
                try:
                    accepted = self._accept(waiting.message, in_turn=True)
                except StoreUnavailable as error:
                    waiting.token.fail(error)
                else:
                    if accepted is None:
                        return
                    waiting.token.reply(accepted)
            self._appends.popleft()

    @on(AppendVolatile)
    def append_volatile(self, message: AppendVolatile) -> None:
        """Send it now or never."""
        frame = self._machine.volatile_frame(message)
        if frame is not None and not self._transmit((frame,)):
            self._machine.volatile_dropped += 1

    @on(ExpiryDue)
    def expire(self, _due: ExpiryDue) -> None:
        """Give up on messages that are too old."""
        try:
            self._ledger.expire()
        except StoreUnavailable as error:
            self._ledger.report(error)
        self._admit_appends()

    # -- handing messages to the application

    @on(Take)
    @_answers_refusals
    def take(self, message: Take) -> Batch | None:
        """Commit what was processed, then answer what is next, or wait for it."""
        self._ledger.processed(message.after)
        if not self._machine.inbox.stuck:
            self._take_in(())
        batch = self._ledger.batch(message.after, message.limit)
        if batch.messages or message.wait <= 0:
            return batch
        wait = min(message.wait, self._settings.take_wait_max)
        self._takes.append(_Waiting(self.context.reply_later(), message, self.context.now() + wait))
        if len(self._takes) > self._settings.waiting_takes:
            self._takes.popleft().token.reply(Batch(()))
        self._plan_end_of_wait()
        return None

    def _answer_takes(self) -> None:
        """Answer everybody who waits for messages; they stay in the inbox until they are committed."""
        while self._takes:
            waiting = self._takes.popleft()
            try:
                waiting.token.reply(self._ledger.batch(waiting.message.after, waiting.message.limit))
            except StoreUnavailable as error:
                waiting.token.fail(error)

    @on(WaitOver)
    def wait_over(self, _over: WaitOver) -> None:
        """Answer those who have waited long enough."""
        now = self.context.now()
        self._admit_appends()
        while self._appends and self._appends[0].deadline <= now:
            self._appends.popleft().token.fail(self._machine.outbox_full(waited=self._settings.append_wait))
        takes, self._takes = self._takes, deque()
        for waiting in takes:
            if waiting.deadline <= now:
                waiting.token.reply(Batch(()))
            elif not waiting.token.expired:
                self._takes.append(waiting)
        self._plan_end_of_wait()

    def _plan_end_of_wait(self) -> None:
        deadlines = [waiting.deadline for waiting in self._takes]
        if self._appends:
            deadlines.append(self._appends[0].deadline)
        if deadlines:
            self.context.after(max(0.0, min(deadlines) - self.context.now()), WaitOver(), key="wait")

    # -- the link

    @on(GetResume)
    def resume(self, _question: GetResume) -> Resume:
        """Answer what is committed of the session."""
        return self._machine.resume()

    @on(LinkUp)
    def link_up(self, fact: LinkUp) -> None:
        """Record what the welcome says, then go on from there."""
        try:
            end = self._ledger.open_link(fact)
        except StoreUnavailable as error:
            self._give_way(error, generation=fact.generation)
            return
        if end is not None:
            self._owe_hang_up(end)
        self._admit_appends()
        self._plan_pump()

    @on(Received)
    def received(self, fact: Received) -> None:
        """Store what came, or as much of it as there is room for."""
        if self._machine.current(fact.generation):
            try:
                self._take_in(fact.frames)
            except StoreUnavailable as error:
                self._give_way(error)

    def _take_in(self, frames: tuple[Frame, ...]) -> None:
        intake, end = self._ledger.take_in(frames)
        if end is not None:
            self._lose_link(end)
        if intake.stored:
            self._answer_takes()
        if intake.acked_position:
            self._admit_appends()
            self._plan_pump()
        self._acknowledge()

    @on(ReplayEnded)
    def replay_ended(self, fact: ReplayEnded) -> None:
        """Let new messages go."""
        end = self._machine.replay_ended(fact.generation, fact.through)
        if end is not None:
            self._lose_link(end)
        self._plan_pump()

    @on(LinkDown)
    def link_down(self, fact: LinkDown) -> None:
        """Hold everything until the next link."""
        if self._machine.link_down(fact.generation):
            self._hang_up_owed = None

    @on(Down)
    def socket_down(self, _down: Down) -> None:
        """The socket's incarnation is over, and its connection with it."""
        self._machine.socket_ended()
        self._hang_up_owed = None

    @on(PastRead)
    def past_read(self, _mark: PastRead) -> None:
        """Believe what is said about the link from here on."""
        self._machine.past_read()

    @on(DropSession)
    @_answers_refusals
    def drop_session(self, _request: DropSession) -> None:
        """Forget the session, and hang up the link that belongs to it."""
        self._ledger.forget_session()
        if self._machine.linked:
            self._machine.abandoned()
            self._owe_hang_up(HangUp(4100, "session dropped", destroy_session=True))

    def _lose_link(self, order: HangUp, *, generation: int | None = None) -> None:
        self._ledger.abandon(order, generation=generation)
        self._owe_hang_up(order)

    def _give_way(self, error: StoreUnavailable, *, generation: int | None = None) -> None:
        """The store refused what the link brought: nothing was acknowledged, so it all comes again."""
        self._ledger.report(error)
        self._lose_link(HangUp(4000, "delivery store unavailable"), generation=generation)

    def _owe_hang_up(self, order: HangUp) -> None:
        self._hang_up_owed = order
        self._pay_hang_up()

    def _pay_hang_up(self) -> None:
        if self._hang_up_owed is not None and self._tell_socket(self._hang_up_owed):
            self._hang_up_owed = None

    # -- transmitting

    def _plan_pump(self) -> None:
        """Transmit after the mail that is already there, so that a burst of appends leaves in one batch."""
        if not self._pump_planned and self._machine.next_batch():
            self._pump_planned = True
            self.context.deliver(PumpDue())

    @on(PumpDue)
    def pump(self, _due: PumpDue) -> None:
        """Transmit one batch; what is left comes in the next turn, so that others are heard in between."""
        self._pump_planned = False
        batch = self._machine.next_batch()
        if batch:
            try:
                sent = self._transmit(self._ledger.frames(batch))
            except StoreUnavailable as error:
                self._give_way(error)
                return
            if sent:
                self._machine.transmitted(batch)
                self._plan_pump()
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledge now or soon, unless a batch is about to leave that will carry it."""
        if self._pump_planned:
            return
        due = self._machine.inbox.ack_due()
        if due is AckDue.NOW:
            self._send_acknowledgement()
        elif due is AckDue.LATER:
            self.context.after(self._settings.ack_delay, AckDelayPassed(), key="ack")

    @on(AckDelayPassed)
    def ack_delay_passed(self, _passed: AckDelayPassed) -> None:
        """Acknowledge if nothing has carried it meanwhile."""
        if self._machine.inbox.ack_delay_passed():
            self._send_acknowledgement()

    def _send_acknowledgement(self) -> None:
        if self._transmit((self._machine.ack_frame(),)):
            self._machine.inbox.acknowledged()

    def _transmit(self, frames: tuple[Frame, ...]) -> bool:
        return self._tell_socket(Transmit(self._machine.generation, frames))

    def _tell_socket(self, message: Message) -> bool:
        """Tell the socket.  Never wait for room there, it may wait for us: try again soon."""
        try:
            self._socket.tell(message)
        except MailboxFull:
            self.context.after(self._settings.retry_delay, RetryDue(), key="retry")
            return False
        return True

    @on(RetryDue)
    def retry(self, _due: RetryDue) -> None:
        """Say again what found no room."""
        self._pay_hang_up()
        self._plan_pump()
        self._acknowledge()

    # -- preserved state, and the rest

    @on(PreserveState)
    @_answers_refusals
    def preserve_state(self, request: PreserveState) -> None:
        """Commit an application's state (A2.5)."""
        self._ledger.preserve(request.name, request.state)

    @on(GetPreservedState)
    @_answers_refusals
    def preserved_state(self, request: GetPreservedState) -> bytes | None:
        """Answer it."""
        return self._ledger.preserved(request.name)

    @on(GetDeliveryState)
    def state(self, _question: GetDeliveryState) -> DeliveryState:
        """Answer it."""
        return self._machine.state()
