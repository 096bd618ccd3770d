"""The auth actor: feeds its machine, carries out what that decides, and decides nothing.

Every exchange with the endpoint runs in a child task and comes back as a
message, so that questions are answered while it is under way.  The machine's
memory is stored before any effect is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx2

from holdfast.actors.auth.exchange import TokenEndpoint
from holdfast.actors.auth.machine import (
    Answer,
    AuthenticateRequested,
    AuthMachine,
    CancelExchange,
    Effect,
    Emit,
    ExchangeFailed,
    ExchangeSucceeded,
    Fact,
    LoggedOut,
    RefreshDue,
    RejectionReported,
    Started,
    StartExchange,
    StartTimer,
    Tell,
    TokenRequested,
    ValidationRequested,
)
from holdfast.actors.auth.messages import (
    Authenticate,
    AuthenticationFailed,
    AuthState,
    GetAuthState,
    GetToken,
    ListenerBehind,
    Logout,
    TokenExpiring,
    TokenRejected,
    ValidateToken,
)
from holdfast.actors.auth.settings import AuthSettings, InvalidAuthSettings
from holdfast.actors.auth.tokens import ExchangeFailure, Grant
from holdfast.actors.auth.vault import TokenStore
from holdfast.runtime import Actor, MailboxFull, MailboxSpec, Message, Ref, ReplyToken, on

__all__ = ["AuthActor"]

_RENEWAL = "renewal"


class _RenewalTick(Message, frozen=True):
    """The planned renewal is due."""


class _Exchanged(Message, frozen=True):
    """What came of an exchange."""

    flight: int
    result: Grant | ExchangeFailure
    sent_at: float


class AuthActor(Actor):
    """Gets, renews and hands out the access token."""

    # Questions of a handful of actors; a caller who meets a full mailbox waits.  Kept at a restart, as the
    # token is: what was asked of one incarnation the next one can answer.
    mailbox = MailboxSpec(capacity=1024, policy="wait", on_restart="keep")

    def __init__(
        self,
        settings: AuthSettings,
        *,
        store: TokenStore,
        transport: Callable[[], httpx2.AsyncBaseTransport],
        listeners: Sequence[Ref] = (),
    ) -> None:
        missing = settings.missing()
        if missing:
            raise InvalidAuthSettings(f"auth needs {' and '.join(missing)}, and nothing was set")
        self._settings = settings
        self._store = store
        self._transport = transport
        self._listeners = tuple(listeners)
        self._machine = AuthMachine(settings, store.memory)
        self._replies: dict[int, ReplyToken | None] = {}
        self._asked = 0

    def on_start(self) -> None:
        self._endpoint = TokenEndpoint(self._settings, self._transport, self.context.seams.wall_clock)
        self._step(Started())

    # ---- heard -------------------------------------------------------------------------------------

    @on(Authenticate)
    def authenticate(self, _message: Authenticate) -> None:
        self._step(AuthenticateRequested(self._waiter()))

    @on(GetToken)
    def get_token(self, _message: GetToken) -> None:
        self._step(TokenRequested(self._waiter()))

    @on(TokenRejected)
    def token_rejected(self, message: TokenRejected) -> None:
        self._step(RejectionReported(self._waiter(), message.generation))

    @on(TokenExpiring)
    def token_expiring(self, message: TokenExpiring) -> None:
        self._step(RejectionReported(self._waiter(), message.generation, refused=False))

    @on(ValidateToken)
    def validate_token(self, _message: ValidateToken) -> None:
        self._step(ValidationRequested(self._waiter()))

    @on(Logout)
    def logout(self, _message: Logout) -> None:
        self._step(LoggedOut())

    @on(GetAuthState)
    def auth_state(self, _message: GetAuthState) -> AuthState:
        return self._machine.state(self.context.now())

    @on(_RenewalTick)
    def renewal_tick(self, _message: _RenewalTick) -> None:
        self._step(RefreshDue())

    @on(_Exchanged)
    def exchanged(self, message: _Exchanged) -> None:
        chance = self.context.seams.random.random()
        if isinstance(message.result, Grant):
            self._step(ExchangeSucceeded(message.flight, message.result, message.sent_at, chance))
        else:
            self._step(ExchangeFailed(message.flight, message.result, chance))

    # ---- carried out -------------------------------------------------------------------------------

    def _waiter(self) -> int:
        self._asked += 1
        # A question that was told and not asked is handled all the same; its answer reaches nobody.
        asked = self.context.cell.question is not None
        self._replies[self._asked] = self.context.reply_later() if asked else None
        return self._asked

    def _step(self, fact: Fact) -> None:
        effects = self._machine.step(fact, self.context.now())
        self._store.keep(self._machine.memory)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case StartExchange(flight=flight):
                self.context.spawn(self._exchange, effect, key=("exchange", flight))
            case CancelExchange(flight=flight):
                self.context.cancel_task(("exchange", flight))
            case StartTimer(delay=delay):
                self._set_timer(delay)
            case Answer():
                self._answer(effect)
            case Emit(event=event):
                self.context.emit(event)
            case Tell(message=message):
                for listener in self._listeners:
                    self._tell(listener, message)

    def _set_timer(self, delay: float | None) -> None:
        if delay is None:
            self.context.cancel_timer(_RENEWAL)
        else:
            self.context.after(delay, _RenewalTick(), key=_RENEWAL)

    async def _exchange(self, order: StartExchange) -> None:
        # The lifetime counts from before the request.
        sent_at = self.context.now()
        result = await self._endpoint.exchange(order.kind, order.refresh_token)
        self.context.deliver(_Exchanged(order.flight, result, sent_at))

    def _answer(self, answer: Answer) -> None:
        reply = self._replies.pop(answer.waiter)
        if reply is None or reply.expired:
            return
        if isinstance(answer.value, AuthenticationFailed):
            reply.fail(answer.value)
        else:
            reply.reply(answer.value)

    def _tell(self, listener: Ref, message: Message) -> None:
        try:
            listener.tell(message)
        except MailboxFull:
            # It reads the token again when it dials; a slow listener must not take auth down with it.
            self.context.emit(ListenerBehind(listener.path, type(message).__name__))
