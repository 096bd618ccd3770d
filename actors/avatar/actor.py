"""The avatar actor: carries out what its machine decides.

Calls to the service run in child tasks and come back as facts; whoever asked
waits with a reply token.  A failing service is never a crash: it is an error for
the caller and a `session:error` for everybody (A6.3).  A remote session outlives
nobody by accident: it is in the ledger before it is started, ended when the actor
stops, and ended by the next incarnation if that failed (A6.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, assert_never

import trio

from holdfast.actors.avatar import facts
from holdfast.actors.avatar.facts import Order, Unreleased, Waiter
from holdfast.actors.avatar.ledger import AvatarLedger, RecordedSession
from holdfast.actors.avatar.link import LinkFact, converse
from holdfast.actors.avatar.liveavatar import LiveAvatar, ReservedSession, Transport, open_service
from holdfast.actors.avatar.machine import AvatarMachine
from holdfast.actors.avatar.messages import (
    AvatarServiceError,
    AvatarState,
    Cleanup,
    GetAvatarState,
    InitializeSession,
    InterruptSpeech,
    SessionCleanup,
    SynchronizeWithVoice,
)
from holdfast.actors.avatar.releases import stop_reason
from holdfast.actors.avatar.settings import AvatarSettings
from holdfast.actors.avatar.speech import Packet
from holdfast.runtime import Actor, MailboxSpec, Message, Outcome, ReplyToken, on

__all__ = ["AvatarActor"]

# News of the link that may wait for this actor before its reader waits; TCP then slows the peer down.
LINK_FACTS_MAX = 64

# The child tasks that belong to the session; each has at most one running.
_OPENING = "opening"
_LINK = "link"
_PROLONGING = "prolonging"

# HTTP statuses that say nothing of the session: the key is wrong, for this call and every other.
_CREDENTIALS_REFUSED = frozenset({401, 403})


class Happened(Message, frozen=True):
    """A child task or a timer hands over a fact."""

    fact: facts.Fact


class LinkHeard(Message, frozen=True):
    """The link's reader hands over a fact and takes back its place in the bounded window."""

    fact: LinkFact
    window: trio.Semaphore


class AvatarActor(Actor):
    """One avatar session at a time, and the end of every session that was ever begun."""

    # A request may carry a megabyte of speech, so this bounds the waiting ones to about 30 MB.
    mailbox: ClassVar[MailboxSpec] = MailboxSpec(capacity=32)

    def __init__(self, settings: AvatarSettings, *, ledger: AvatarLedger, transport: Transport) -> None:
        self._settings = settings
        self._ledger = ledger
        self._transport = transport
        self._machine = AvatarMachine(settings)
        self._tokens: dict[Waiter, ReplyToken] = {}
        self._waiters = 0
        self._packets: trio.MemorySendChannel[Packet] | None = None

    def on_start(self) -> None:
        """Begin to end what an earlier incarnation, or an earlier process, left open."""
        if not self._settings.reachable:
            return  # without an address and a key nothing can be ended; the ledger keeps it
        self._run(self._machine.adopt(self._recorded("found_at_start")))

    async def on_stop(self, outcome: Outcome) -> None:
        """End what is open remotely, within a limit; what does not succeed stays in the ledger.

        The ledger is asked, not the machine: after a crash its state proves nothing.
        """
        left = self._recorded("actor_stopped")
        if not left or not self._settings.reachable:
            return
        with trio.move_on_after(self._settings.stop_timeout, shield=True):
            async with open_service(self._settings, self._transport) as service:
                for session in reversed(left):  # the present one first
                    for session_id in (await _end_all(service, [session])).gone:
                        self._ledger.forget(session_id)
                        self.context.emit(SessionCleanup(session_id, session.reason))

    def _recorded(self, reason: str) -> list[Unreleased]:
        return [Unreleased(row.session_id, row.avatar_id, reason) for row in self._ledger.recorded()]

    # -- what is asked

    @on(InitializeSession)
    def initialize_session(self, wanted: InitializeSession) -> None:
        self._run(self._machine.handle(facts.SessionAsked(self._waiter(), wanted)))

    @on(SynchronizeWithVoice)
    def synchronize_with_voice(self, speech: SynchronizeWithVoice) -> None:
        self._run(self._machine.handle(facts.SpeechAsked(self._waiter(), speech)))

    @on(InterruptSpeech)
    def interrupt_speech(self, _request: InterruptSpeech) -> None:
        self._run(self._machine.handle(facts.InterruptAsked(self._waiter())))

    @on(Cleanup)
    def cleanup(self, cleanup: Cleanup) -> None:
        self._run(self._machine.handle(facts.CleanupAsked(self._waiter(), cleanup)))

    @on(GetAvatarState)
    def get_state(self, _request: GetAvatarState) -> AvatarState:
        return self._machine.state

    def _waiter(self) -> Waiter:
        self._waiters += 1
        waiter = Waiter(self._waiters)
        self._tokens[waiter] = self.context.reply_later()
        return waiter

    # -- what happened

    @on(Happened)
    def happened(self, message: Happened) -> None:
        self._run(self._machine.handle(message.fact))

    @on(LinkHeard)
    def link_heard(self, message: LinkHeard) -> None:
        message.window.release()
        self._run(self._machine.handle(message.fact))

    # -- what is to be done

    def _run(self, orders: list[Order]) -> None:
        for order in orders:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        context = self.context
        match order:
            case facts.Mint():
                context.spawn(self._mint, order, key=_OPENING)
            case facts.Record():
                self._ledger.record(RecordedSession(order.session_id, order.avatar_id))
            case facts.Start():
                context.cancel_task(_OPENING)  # the step before has handed over and is about to end
                context.spawn(self._start, order, key=_OPENING)
            case facts.Dial():
                self._dial(order)
            case facts.Send():
                assert self._packets is not None, "the gate opens after the dial"
                self._packets.send_nowait(order.packet)
            case facts.Prolong():
                context.cancel_task(_PROLONGING)
                context.spawn(self._prolong, order, key=_PROLONGING)
            case facts.HangUp():
                for task in (_OPENING, _LINK, _PROLONGING):
                    context.cancel_task(task)
            case facts.Sweep():
                context.spawn(self._sweep, order.sessions)
            case facts.Forget():
                self._ledger.forget(order.session_id)
            case facts.SetTimer():
                context.after(order.delay, Happened(facts.TimerFired(order.kind)), key=order.kind)
            case facts.SetBackoff():
                self._set_backoff(order.attempt)
            case facts.CancelTimer():
                context.cancel_timer(order.kind)
            case facts.Answer():
                self._tokens.pop(order.waiter).reply(order.value)
            case facts.Refuse():
                self._tokens.pop(order.waiter).fail(order.error)
            case facts.Announce():
                context.emit(order.event)
            case _:
                assert_never(order)

    def _set_backoff(self, attempt: int) -> None:
        # Half of the delay is certain: a service that is down is not asked again at once.
        uniform = 0.5 + self.context.seams.random.random() / 2
        delay = self._settings.sweeps.delay(attempt, uniform)
        kind = facts.TimerKind.SWEEP
        self.context.after(delay, Happened(facts.TimerFired(kind)), key=kind)

    def _dial(self, order: facts.Dial) -> None:
        # One packet is on its way at a time, so there is always room for it.
        self._packets, packets = trio.open_memory_channel[Packet](1)
        self.context.spawn(self._hold_link, order, packets, key=_LINK)

    # -- child tasks: remote calls, each of which ends in a fact

    def _report(self, fact: facts.Fact) -> None:
        self.context.deliver(Happened(fact))

    async def _mint(self, order: facts.Mint) -> None:
        try:
            async with open_service(self._settings, self._transport) as service:
                reserved = await service.reserve(order.wanted.avatar_id, order.wanted.quality)
        except AvatarServiceError as error:
            self._report(facts.CallFailed(order.epoch, error))
        else:
            self._report(facts.Minted(order.epoch, reserved.session_id, reserved.token))

    async def _start(self, order: facts.Start) -> None:
        try:
            async with open_service(self._settings, self._transport) as service:
                url = await service.start(ReservedSession(order.session_id, order.token))
        except AvatarServiceError as error:
            self._report(facts.CallFailed(order.epoch, error))
        else:
            self._report(facts.Started(order.epoch, url))

    async def _hold_link(self, order: facts.Dial, packets: trio.MemoryReceiveChannel[Packet]) -> None:
        window = trio.Semaphore(LINK_FACTS_MAX)

        async def hear(fact: LinkFact) -> None:
            await window.acquire()
            self.context.deliver(LinkHeard(fact, window))

        why = await converse(
            self.context.seams.connect,
            order.websocket_url,
            epoch=order.epoch,
            timeout=self._settings.request_timeout,
            packets=packets,
            hear=hear,
        )
        self._report(facts.LinkClosed(order.epoch, why))

    async def _prolong(self, order: facts.Prolong) -> None:
        try:
            async with open_service(self._settings, self._transport) as service:
                await service.keep_alive(order.session_id)
        except AvatarServiceError as error:
            # Whatever may pass is left to the next keep-alive: two fit into the service's idle window.
            if not error.retryable and error.status not in _CREDENTIALS_REFUSED:
                self._report(facts.CallFailed(order.epoch, error))

    async def _sweep(self, sessions: tuple[Unreleased, ...]) -> None:
        async with open_service(self._settings, self._transport) as service:
            swept = await _end_all(service, sessions)
        self._report(swept)


async def _end_all(service: LiveAvatar, sessions: Sequence[Unreleased]) -> facts.Swept:
    """End these sessions and no others.  Where the service refuses, its list of active ones decides."""
    gone: list[str] = []
    refused: list[str] = []
    failure: AvatarServiceError | None = None
    for session in sessions:
        try:
            await service.stop(session.session_id, stop_reason(session.reason))
        except AvatarServiceError as error:
            failure = error
            if error.retryable or error.status in _CREDENTIALS_REFUSED:
                break  # it would meet the others too
            refused.append(session.session_id)
        else:
            gone.append(session.session_id)
    if refused:
        try:
            active = await service.active_ids()
        except AvatarServiceError as error:
            failure = error
        else:
            gone += [session_id for session_id in refused if session_id not in active]
    return facts.Swept(tuple(gone), failure)
