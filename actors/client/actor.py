"""The client actor: carries out what its machine decides, by asking its siblings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from holdfast.actors.auth.messages import (
    Authenticate,
    AuthenticationFailed,
    GetToken,
    TokenChanged,
    TokenLost,
    ValidateToken,
)
from holdfast.actors.avatar.messages import Cleanup, InitializeSession
from holdfast.actors.client import machine
from holdfast.actors.client.messages import (
    ClientIntent,
    ClientState,
    ConnectClient,
    DisconnectClient,
    GetClientState,
    RecoverFromError,
    RetryLink,
    ValidateSystemState,
)
from holdfast.actors.reconnect.messages import (
    Connect,
    Disconnect,
    GetLinkState,
    LinkState,
    LinkStateChanged,
    Retry,
)
from holdfast.actors.socket.messages import GetSocketState
from holdfast.runtime import Actor, Answer, Down, Message, Ref, ReplyToken, Request, on
from holdfast.supervisors import DependencyBack

__all__ = ["ClientActor"]

R = TypeVar("R")

# How long a subsystem's answer may take before the client goes on without it.
AVATAR_TIMEOUT = 40.0
TOKEN_TIMEOUT = 30.0

# A2.7: a link is back within this of the network's return; who asked for it is told then.
LINK_TIMEOUT = 30.0

# The waiter of what nobody has asked for.
NOBODY = 0


class LinkOverdue(Message, frozen=True):
    """A note to oneself: the link that was to be mended is not back yet."""


class ClientActor(Actor):
    """Coordinates auth, link and avatar for the embedder."""

    def __init__(
        self, intent: ClientIntent, *, auth: Ref, reconnect: Ref, socket: Ref, avatar: Ref, avatar_id: str
    ) -> None:
        self._intent = intent
        self._auth = auth
        self._reconnect = reconnect
        self._socket = socket
        self._avatar = avatar
        self._avatar_id = avatar_id
        self._machine = machine.ClientMachine()
        self._heard: LinkState | None = None
        """What reconnect said last; an answer of the socket about anything earlier comes too late."""
        self._waiters: dict[int, ReplyToken] = {}
        self._asked = 0

    def on_start(self) -> None:
        """Learn where the link stands: this may be a restart in the middle of a session."""
        self._step(machine.Started(wanted=self._intent.wanted, avatar=bool(self._avatar_id)))
        self.context.watch(self._reconnect)
        self.context.watch(self._avatar)
        self.context.ask_later(self._reconnect, GetLinkState(), key="link")

    # ---- heard -------------------------------------------------------------------------------------

    @on(ConnectClient)
    def connect(self, _message: ConnectClient) -> None:
        self._step(machine.ConnectRequested(self._waiter()))

    @on(DisconnectClient)
    def disconnect(self, _message: DisconnectClient) -> None:
        self._step(machine.DisconnectRequested(self._waiter()))

    @on(RetryLink)
    def retry_link(self, _message: RetryLink) -> None:
        self._reconnect.tell(Retry())

    @on(ValidateSystemState)
    def validate(self, _message: ValidateSystemState) -> None:
        self._step(machine.ValidateRequested(self._waiter()))

    @on(RecoverFromError)
    def recover(self, message: RecoverFromError) -> None:
        self._step(machine.RecoverRequested(self._waiter(), message.kind))

    @on(GetClientState)
    def get_state(self, _message: GetClientState) -> ClientState:
        return self._machine.state()

    @on(LinkStateChanged)
    def link_state_changed(self, message: LinkStateChanged) -> None:
        self._heard = message.current
        if message.current.state == "connected":
            # The session's name belongs to the announcement; the socket knows it.
            self.context.ask_later(self._socket, GetSocketState(), key=("session", message))
        else:
            self._step(machine.LinkChanged(message.current))

    @on(TokenChanged)
    def token_changed(self, _message: TokenChanged) -> None:
        """The socket presents it; here it changes nothing."""

    @on(TokenLost)
    def token_lost(self, message: TokenLost) -> None:
        if self._intent.wanted:
            self._step(machine.Validated(valid=False, error=message.reason))

    @on(Down)
    def sibling_ended(self, message: Down) -> None:
        """Ask the next incarnation at once; it answers as soon as it serves."""
        if message.path == self._reconnect.path:
            self.context.ask_later(self._reconnect, GetLinkState(), key="link", timeout=TOKEN_TIMEOUT)
        elif self._machine.avatar == "open":
            # Its session went with it.
            self._step(machine.RecoverRequested(NOBODY, "avatar_failure"))

    @on(DependencyBack)
    def avatar_back(self, _message: DependencyBack) -> None:
        """It had been switched off and has stayed up since: the session that went on gets it back."""
        if self._machine.avatar == "voice_only" and self._intent.wanted:
            self._step(machine.RecoverRequested(NOBODY, "avatar_failure"))

    @on(Answer)
    def answered(self, message: Answer) -> None:
        match message.key:
            case ("session", LinkStateChanged() as change) if change.current is not self._heard:
                pass
            case ("session", LinkStateChanged() as change):
                session = getattr(message.value, "session", None) or ""
                self._step(machine.LinkChanged(change.current, session))
            case "link":
                if message.error is None:
                    self._link_learnt(message.value)
            case str(key):
                self._step(_FACTS[key](message))
            case _:
                raise AssertionError(f"nobody asked {message.key!r}")

    def _link_learnt(self, state: object) -> None:
        assert isinstance(state, LinkState)
        self.link_state_changed(LinkStateChanged(previous=self._machine.link.state, current=state))

    # ---- carried out -------------------------------------------------------------------------------

    def _waiter(self) -> int:
        self._asked += 1
        self._waiters[self._asked] = self.context.reply_later()
        return self._asked

    def _step(self, fact: machine.Fact) -> None:
        for effect in self._machine.step(fact):
            match effect:
                case machine.Emit(event):
                    self.context.emit(event)
                case machine.Intend(wanted):
                    self._intent.wanted = wanted
                case machine.Answer(waiter, value):
                    self._answer(waiter, value)
                case machine.Order(what):
                    _ORDERS[what](self)

    def _answer(self, waiter: int, value: object) -> None:
        token = self._waiters.pop(waiter, None)
        if token is None or token.expired:
            return
        if isinstance(value, Exception):
            token.fail(value)
        else:
            token.reply(value)

    def _ask(self, ref: Ref, request: Request[R], key: str, timeout: float) -> None:
        self.context.ask_later(ref, request, key=key, timeout=timeout)

    def _get_token(self) -> None:
        self._ask(self._auth, GetToken(), "token", TOKEN_TIMEOUT)

    def _log_in(self) -> None:
        self._ask(self._auth, Authenticate(), "token", TOKEN_TIMEOUT)

    def _link(self) -> None:
        self._reconnect.tell(Connect())

    def _retry(self) -> None:
        self._reconnect.tell(Retry())

    def _mend_link(self) -> None:
        self._reconnect.tell(Retry())
        self.context.after(LINK_TIMEOUT, LinkOverdue(), key="link overdue")

    @on(LinkOverdue)
    def link_overdue(self, _note: LinkOverdue) -> None:
        overdue = f"the link was not back within {LINK_TIMEOUT:g} s; it is tried on"
        self._step(machine.Mended("websocket", overdue))

    def _unlink(self) -> None:
        self._reconnect.tell(Disconnect())

    def _open_avatar(self) -> None:
        self._ask(self._avatar, InitializeSession(avatar_id=self._avatar_id), "avatar", AVATAR_TIMEOUT)

    def _close_avatar(self) -> None:
        self._ask(self._avatar, Cleanup(reason="manual_cleanup"), "closed", AVATAR_TIMEOUT)

    def _validate_token(self) -> None:
        self._ask(self._auth, ValidateToken(), "validated", TOKEN_TIMEOUT)

    def _authenticate(self) -> None:
        self._ask(self._auth, Authenticate(), "authenticated", TOKEN_TIMEOUT)


_ORDERS: dict[machine.OrderName, Callable[[ClientActor], None]] = {
    "get_token": ClientActor._get_token,
    "log_in": ClientActor._log_in,
    "link": ClientActor._link,
    "retry_link": ClientActor._retry,
    "mend_link": ClientActor._mend_link,
    "unlink": ClientActor._unlink,
    "open_avatar": ClientActor._open_avatar,
    "close_avatar": ClientActor._close_avatar,
    "validate_token": ClientActor._validate_token,
    "authenticate": ClientActor._authenticate,
}


def _token_fact(answer: Answer) -> machine.Fact:
    error = answer.error
    if isinstance(error, AuthenticationFailed):
        final = not error.retryable
        return machine.TokenAnswered(error=error.error, final=final, status=error.status or None)
    if error is not None:
        return machine.TokenAnswered(error=str(error))
    return machine.TokenAnswered(error="authentication failed" if answer.value is False else None)


def _avatar_fact(answer: Answer) -> machine.Fact:
    return machine.AvatarAnswered(None if answer.error is None else str(answer.error))


def _validated_fact(answer: Answer) -> machine.Fact:
    return machine.Validated(
        valid=answer.value is True, error="" if answer.error is None else str(answer.error)
    )


def _authenticated_fact(answer: Answer) -> machine.Fact:
    if answer.error is not None:
        return machine.Mended("auth", str(answer.error))
    return machine.Mended("auth", None if answer.value is True else "authentication failed")


_FACTS: dict[str, Callable[[Answer], machine.Fact]] = {
    "token": _token_fact,
    "avatar": _avatar_fact,
    "closed": lambda _answer: machine.AvatarClosed(),
    "validated": _validated_fact,
    "authenticated": _authenticated_fact,
}
