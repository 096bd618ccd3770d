"""What the client decides: the order in which a session comes up, goes down and is mended.

Pure.  Facts and answers come in, orders go out.  The order of a start is the
seed's (A4.1, A4.2): token, link, resume, avatar.  A failing avatar does not keep
a session from being ready.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from holdfast.actors.client.facts import (
    Answer,
    AvatarAnswered,
    AvatarClosed,
    ConnectRequested,
    DisconnectRequested,
    Effect,
    Emit,
    Fact,
    Intend,
    LinkChanged,
    Mended,
    Order,
    OrderName,
    RecoverRequested,
    Started,
    TokenAnswered,
    Validated,
    ValidateRequested,
)
from holdfast.actors.client.messages import (
    Authenticating,
    CleanupAuth,
    CleanupSession,
    ClientState,
    Connected,
    ConnectFailed,
    Connecting,
    Disconnected,
    Disconnecting,
    Ready,
    RecoveryCompleted,
    RecoveryFailed,
    RecoveryKind,
    RecoveryStarted,
    SystemError,  # noqa: A004 - the seed's name
    SystemStatus,
)
from holdfast.actors.reconnect.messages import LinkState
from holdfast.runtime import Event

__all__ = [
    "Answer",
    "AvatarAnswered",
    "AvatarClosed",
    "ClientMachine",
    "ConnectRequested",
    "DisconnectRequested",
    "Effect",
    "Emit",
    "Fact",
    "Intend",
    "LinkChanged",
    "Mended",
    "Order",
    "OrderName",
    "RecoverRequested",
    "Started",
    "TokenAnswered",
    "ValidateRequested",
    "Validated",
]

Phase: TypeAlias = Literal["idle", "authenticating", "linking", "opening_avatar", "ready", "disconnecting"]

# Not yet heard of: an incarnation that comes up in the middle of a session must not take it for closed.
UNHEARD = LinkState(state="disconnected", generation=0, attempt=0)

# Why a link that nobody wants is not mended.
NOT_WANTED = "no session is wanted: connect() first"

SOURCES: dict[RecoveryKind, str] = {
    "auth_failure": "auth",
    "connection_failure": "websocket",
    "avatar_failure": "avatar",
}
MENDING: dict[str, OrderName] = {"auth": "authenticate", "websocket": "mend_link", "avatar": "open_avatar"}


# ---- the machine -----------------------------------------------------------------------------------


class ClientMachine:
    """The life of one client."""

    def __init__(self) -> None:
        self.phase: Phase = "idle"
        self.link = UNHEARD
        self.session = ""
        self.avatar = "off"
        self._avatar_wanted = False
        self._announce = False
        self._connecting: list[int] = []
        self._disconnecting: list[int] = []
        self._validating: list[int] = []
        self._recovering: dict[str, list[int]] = {}

    def state(self) -> ClientState:
        """Return what the embedder sees."""
        return ClientState(phase=self.phase, link=self.link, avatar=self.avatar)

    def step(self, fact: Fact) -> list[Effect]:
        """Take a fact and return what to do, in order."""
        match fact:
            case Started():
                # The link has kept its own intent; a new incarnation only has to learn where it stands.
                self.phase, self._avatar_wanted = ("linking" if fact.wanted else "idle"), fact.avatar
                return []
            case ConnectRequested():
                return self._connect(fact.waiter)
            case TokenAnswered():
                return self._token_answered(fact)
            case LinkChanged():
                return [*self._link_changed(fact), *self._relinked()]
            case AvatarAnswered():
                return self._avatar_answered(fact.error)
            case AvatarClosed():
                return self._avatar_closed()
            case DisconnectRequested():
                return self._disconnect(fact.waiter)
            case ValidateRequested():
                self._validating.append(fact.waiter)
                return [Order("validate_token")] if len(self._validating) == 1 else []
            case Validated():
                return self._validated(fact)
            case RecoverRequested():
                return self._recover(fact)
            case Mended():
                return self._mended(fact)

    # -- up

    def _connect(self, waiter: int) -> list[Effect]:
        if self.phase == "ready" and self.link.state == "connected":
            return [Answer(waiter)]
        self._connecting.append(waiter)
        # A disconnect under way is finished first, and then goes on here.
        if self.phase in {"authenticating", "opening_avatar", "disconnecting"} or len(self._connecting) > 1:
            return []
        return self._begin()

    def _begin(self) -> list[Effect]:
        self.phase = "authenticating"
        self._announce = True
        return [Intend(wanted=True), Emit(Connecting()), Emit(Authenticating()), Order("get_token")]

    def _token_answered(self, fact: TokenAnswered) -> list[Effect]:
        if self.phase != "authenticating":
            return []
        if fact.error == "logged_out":
            # Connecting is asking for it: after a logout nothing else logs in again.
            return [Order("log_in")]
        if fact.error is not None and fact.final:
            self.phase = "idle"
            failure = ConnectFailed("auth", fact.error, code=fact.status)
            return [Intend(wanted=False), *self._answer_connecting(failure)]
        # Without a token for now the link is wanted all the same: each dial asks for one.
        self.phase = "linking"
        if self.link.state == "connected":
            return self._linked()
        return [Order("link"), Order("retry_link")]

    def _link_changed(self, fact: LinkChanged) -> list[Effect]:
        self.link = fact.state
        self.session = fact.session or self.session
        if self.phase == "disconnecting":
            return self._unlinked() if fact.state.state == "disconnected" else []
        if self.phase == "linking" and fact.state.state == "connected":
            return self._linked()
        if self.phase == "linking" and fact.state.state == "disconnected":
            # The incarnation before crashed between what it was asked and what it was about to order.
            return [Order("link")]
        if fact.state.state == "failed" and self._connecting:
            self.phase = "idle"
            return self._answer_connecting(ConnectFailed("link", fact.state.reason, code=fact.state.code))
        return []

    def _relinked(self) -> list[Effect]:
        """Tell whoever waits for the link to be mended, once it is or cannot be."""
        link = self.link
        if link.state == "connected":
            return self._mended(Mended("websocket", None))
        if link.state == "failed":
            return self._mended(Mended("websocket", link.reason or "the link has failed for good"))
        if link.state == "disconnected" and self.phase == "idle":
            return self._mended(Mended("websocket", NOT_WANTED))
        return []

    def _linked(self) -> list[Effect]:
        connected: list[Effect] = [Emit(Connected(session=self.session))] if self._announce else []
        if self._avatar_wanted and self.avatar != "open":
            self.phase = "opening_avatar"
            self.avatar = "opening"
            return [*connected, Order("open_avatar")]
        return [*connected, *self._ready()]

    def _avatar_answered(self, error: str | None) -> list[Effect]:
        if self.avatar == "closing":
            return []
        self.avatar = "open" if error is None else "voice_only"
        mended = self._mended(Mended("avatar", error))
        return [*mended, *self._ready()] if self.phase == "opening_avatar" else mended

    def _ready(self) -> list[Effect]:
        self.phase = "ready"
        announced: list[Effect] = [Emit(Ready(session=self.session))] if self._announce else []
        self._announce = False
        return [*announced, *self._answer_connecting(None)]

    def _answer_connecting(self, value: object) -> list[Effect]:
        waiting, self._connecting = self._connecting, []
        return [Answer(waiter, value) for waiter in waiting]

    # -- down

    def _disconnect(self, waiter: int) -> list[Effect]:
        self._disconnecting.append(waiter)
        refused = self._answer_connecting(ConnectFailed("client", "disconnect() was called meanwhile"))
        if self.phase == "disconnecting":
            return refused
        self.phase = "disconnecting"
        effects: list[Effect] = [Intend(wanted=False), *refused, Emit(Disconnecting()), Emit(CleanupAuth())]
        if self.avatar in {"open", "opening"}:
            # Closed before the link, and waited for: a remote session must not outlive its client (A6.4).
            self.avatar = "closing"
            return [*effects, Order("close_avatar")]
        return [*effects, *self._unlink()]

    def _avatar_closed(self) -> list[Effect]:
        self.avatar = "off"
        return self._unlink() if self.phase == "disconnecting" else []

    def _unlink(self) -> list[Effect]:
        closed = self.link.state == "disconnected" and self.link is not UNHEARD
        return self._unlinked() if closed else [Order("unlink")]

    def _unlinked(self) -> list[Effect]:
        if self.avatar == "closing":
            return []
        self.phase = "idle"
        self._announce = False
        waiting, self._disconnecting = self._disconnecting, []
        down: list[Effect] = [Emit(CleanupSession()), Emit(Disconnected()), *map(Answer, waiting)]
        return [*down, *self._begin()] if self._connecting else down

    # -- mending

    def _validated(self, fact: Validated) -> list[Effect]:
        if fact.valid:
            return self._answer_validating(SystemStatus(valid=True))
        reason = fact.error or "there is no valid token"
        started: list[Effect] = [Emit(SystemError(source="auth", error=reason))]
        return [*started, *self._begin_recovery("auth")]

    def _recover(self, fact: RecoverRequested) -> list[Effect]:
        source = SOURCES[fact.kind]
        running = source in self._recovering
        effects = [] if running else self._begin_recovery(source)
        self._recovering.setdefault(source, []).append(fact.waiter)
        return [*effects, *(self._relinked() if source == "websocket" else [])]

    def _begin_recovery(self, source: str) -> list[Effect]:
        if source in self._recovering:
            return []
        self._recovering[source] = []
        return [Emit(RecoveryStarted(source=source)), Order(MENDING[source])]

    def _mended(self, fact: Mended) -> list[Effect]:
        waiting = self._recovering.pop(fact.source, None)
        if waiting is None:
            return []
        mended = fact.error is None
        said: Event = (
            RecoveryCompleted(source=fact.source)
            if fact.error is None
            else RecoveryFailed(source=fact.source, error=fact.error)
        )
        effects: list[Effect] = [Emit(said), *(Answer(waiter, mended) for waiter in waiting)]
        if fact.source == "auth":
            problems = () if fact.error is None else (fact.error,)
            effects += self._answer_validating(SystemStatus(valid=mended, problems=problems))
        return effects

    def _answer_validating(self, status: SystemStatus) -> list[Effect]:
        waiting, self._validating = self._validating, []
        return [Answer(waiter, status) for waiter in waiting]
