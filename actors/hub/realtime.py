"""The realtime service: accepts connections and carries out what their machines decide.

Each message of its mailbox is one turn: what is decided is written in one
transaction, and only when that is committed does anything leave, so that an
acknowledgement never promises what a kill could take back.  Connections are
child tasks (`peer.py`), conversations machines (`connection.py`), sessions and
messages the switchboard's.  Tokens are judged by the identity service before a
WebSocket is accepted (D1).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar

import trio
import trio_websocket

from holdfast.actors.hub.accepting import accept_all
from holdfast.actors.hub.berth import Berth
from holdfast.actors.hub.closing import CloseCode
from holdfast.actors.hub.codec import BadFrame, Connect, decode, encode
from holdfast.actors.hub.connection import Connection, Phase
from holdfast.actors.hub.decisions import (
    Abort,
    Apply,
    Bind,
    Close,
    Decision,
    EndSession,
    Released,
    Send,
    Verify,
)
from holdfast.actors.hub.messages import (
    Abandon,
    Accepted,
    Arrived,
    ConnectionClosed,
    ConnectionRefused,
    Drain,
    FrameRefused,
    GetRealtimeState,
    Judged,
    Knocked,
    Left,
    RealtimeState,
    Refusal,
    Sweep,
    VerifiedToken,
    VerifyToken,
    Wake,
)
from holdfast.actors.hub.peer import Peer
from holdfast.actors.hub.settings import HubSettings
from holdfast.actors.hub.store import SessionStore
from holdfast.actors.hub.switchboard import Farewell, Switchboard, ToConnection
from holdfast.actors.hub.upgrade import Doorkeeper, token_of
from holdfast.runtime import (
    Actor,
    Address,
    AskError,
    MailboxFull,
    MailboxSpec,
    Ref,
    ReplyToken,
    Secret,
    on,
)

__all__ = ["RealtimeActor"]

# Frames of one connection handled in one turn; the others get theirs in between.
BATCH = 64

# Connections that have not shown a token yet, beside those that have.
STRANGERS_MAX = 128

# What is too old by hours is looked for once a minute.
SWEEP_PERIOD = 60.0

# A client gives its upgrade 5 s in all (SEMANTICS "Time").
VERIFY_TIMEOUT = 4.0

_RESTARTING = Refusal(503, "temporarily_unavailable", "the identity service is restarting", retry_after=1.0)


class RealtimeActor(Actor):
    """Serves `rt.v1.json` on a port."""

    # What its tasks tell it concerns connections that end with it.
    mailbox: ClassVar[MailboxSpec] = MailboxSpec(on_restart="discard")

    def __init__(self, settings: HubSettings, store: SessionStore, *, identity: Ref, berth: Berth) -> None:
        self._settings = settings
        self._store = store
        self._identity = identity
        self._berth = berth
        self._peers: dict[int, Peer] = {}
        self._numbers = 0
        self._doorkeeper = Doorkeeper(settings)
        self._drained: list[ReplyToken] = []
        """Who waits for the last connection to go."""

    async def on_start(self) -> None:
        """Take up the sessions and open the port."""
        self._board = Switchboard(self._settings, self._store, self.context.seams.entropy, evict=self._evict)
        self._board.load(self._wall_now())
        listener = await self.context.seams.listen(Address(self._berth.host, self._berth.port))
        assert isinstance(listener.address, Address)
        self._berth.port = listener.address.port
        self.context.spawn(accept_all, listener, self._welcome, key="accept")
        self.context.every(SWEEP_PERIOD, Sweep())

    def _wall_now(self) -> float:
        return self.context.seams.wall_clock.now()

    # -- child tasks: they tell, and decide nothing

    def _welcome(self, stream: trio.abc.Stream) -> None:
        self.context.deliver(Accepted(stream))

    async def _serve(self, peer: Peer) -> None:
        async def admit(request: trio_websocket.WebSocketRequest) -> None:
            self.context.deliver(Knocked(peer.number, await self._judge(request)))

        await peer.run(admit)
        self.context.deliver(Left(peer.number, *peer.ended))

    async def _judge(self, request: trio_websocket.WebSocketRequest) -> VerifiedToken | Refusal | None:
        shown = token_of(
            request.path,
            request.headers,
            request.proposed_subprotocols,
            connect_token=self._settings.connect_token,
        )
        return await self._verified(shown) if isinstance(shown, Secret) else shown

    async def _verified(self, token: Secret) -> VerifiedToken | Refusal:
        try:
            return await self._identity.ask(VerifyToken(token), timeout=VERIFY_TIMEOUT)
        except (AskError, MailboxFull):
            return _RESTARTING

    async def _verify(self, number: int, token: Secret) -> None:
        self.context.deliver(Judged(number, await self._verified(token)))

    # -- connections come and go

    @on(Accepted)
    def accepted(self, message: Accepted) -> None:
        if len(self._peers) >= self._settings.connections_max + STRANGERS_MAX:
            self.context.spawn(trio.aclose_forcefully, message.stream)
            return
        self._numbers += 1
        number = self._numbers
        self._peers[number] = peer = Peer(
            number,
            message.stream,
            self._settings,
            self.context.now,
            on_arrived=lambda: self.context.deliver(Arrived(number)),
        )
        self.context.spawn(self._serve, peer, key=("peer", number))

    @on(Knocked)
    def knocked(self, message: Knocked) -> None:
        peer = self._peers[message.number]
        verdict = self._admitted(peer, message.verdict)
        peer.answer(verdict if isinstance(verdict, Refusal) else None)
        if isinstance(verdict, Refusal):
            self.context.emit(ConnectionRefused(status=verdict.status, error=verdict.error))
            return
        now = self.context.now()
        peer.connection = connection = Connection(peer.number, self._settings, now)
        if verdict is not None:
            connection.trust(verdict, self._until(verdict), now)
        with self._turn(peer):
            self._perform(peer, connection.open(now, self._wall_now()))

    def _admitted(
        self, peer: Peer, verdict: VerifiedToken | Refusal | None
    ) -> VerifiedToken | Refusal | None:
        """Refuse for want of room what the identity service would let in."""
        if isinstance(verdict, Refusal):
            return verdict
        others = [other.connection for other in self._peers.values() if other is not peer]
        present = [connection.token for connection in others if connection is not None]
        return self._doorkeeper.refuse(verdict, present, self.context.now()) or verdict

    def _until(self, token: VerifiedToken) -> float:
        """The token's end on the monotonic clock; a jump of the calendar does not move it."""
        return self.context.now() + token.expires_unix - self._wall_now()

    @on(Left)
    def left(self, message: Left) -> None:
        peer = self._peers[message.number]
        self._hear(peer)
        del self._peers[message.number]
        for timer in ("wake", "abandon"):
            self.context.cancel_timer((timer, message.number))
        session = peer.connection.session if peer.connection is not None else None
        if session is not None:
            with self._turn():
                self._board.detach(session, message.number, self._wall_now())
        if peer.connection is not None:
            name = session.session if session is not None else None
            self.context.emit(ConnectionClosed(message.number, name, message.code, message.reason))
        if not self._peers:
            for token in self._drained:
                token.reply(None)
            self._drained.clear()

    # -- what clients say

    @on(Arrived)
    def arrived(self, message: Arrived) -> None:
        peer = self._peers.get(message.number)
        if peer is not None:
            self._hear(peer, BATCH)

    def _hear(self, peer: Peer, limit: int | None = None) -> None:
        connection = peer.connection
        if connection is None:
            return
        now = self.context.now()
        with self._turn(peer):
            for text in peer.take(limit):
                for item in decode(text, max_frame=self._settings.max_frame, batch=connection.batch):
                    if isinstance(item, BadFrame):
                        self.context.emit(FrameRefused(peer.number, item.code, item.message))
                    self._perform(peer, connection.hear(item, now))
            self._perform(peer, connection.settle(now))

    @on(Judged)
    def judged(self, message: Judged) -> None:
        peer = self._peers.get(message.number)
        if peer is None or peer.connection is None:
            return
        verdict: VerifiedToken | Refusal | None = message.verdict
        if peer.connection.phase is Phase.CHECKING:
            verdict = self._admitted(peer, verdict)
        assert verdict is not None, "what was judged is a verdict"
        until = self._until(verdict) if isinstance(verdict, VerifiedToken) else 0.0
        with self._turn(peer):
            self._perform(peer, peer.connection.judged(verdict, until, self.context.now()))

    @on(Wake)
    def wake(self, message: Wake) -> None:
        peer = self._peers.get(message.number)
        if peer is None or peer.connection is None:
            return
        peer.armed_for = float("inf")
        with self._turn(peer):
            self._perform(peer, peer.connection.tick(self.context.now(), peer.heard_at))

    @on(Abandon)
    def abandon(self, message: Abandon) -> None:
        peer = self._peers.get(message.number)
        if peer is not None:
            peer.abort("the closing handshake took too long")

    @on(Sweep)
    def sweep(self, _message: Sweep) -> None:
        with self._turn():
            self._board.sweep(self._wall_now())

    # -- operators

    @on(GetRealtimeState)
    def state(self, _request: GetRealtimeState) -> RealtimeState:
        return RealtimeState(
            connections=sum(peer.connection is not None for peer in self._peers.values()),
            sessions=len(self._board.roster),
            attached=self._board.roster.attached,
            ignored=self._board.ignored,
            epoch=self._store.epoch,
        )

    @on(Drain)
    def drain(self, request: Drain) -> None:
        """Ask everybody to come back later; the answer comes when all have gone, or were cut off."""
        self._doorkeeper.closed = True
        self.context.cancel_task("accept")
        if not self._peers:
            return
        self._drained.append(self.context.reply_later())
        with self._turn():
            for peer in list(self._peers.values()):
                if peer.connection is None:
                    peer.abort("draining")
                else:
                    self._perform(peer, peer.connection.go_away(request.reason))

    # -- carrying out

    @contextmanager
    def _turn(self, peer: Peer | None = None) -> Generator[None]:
        """One transaction, and after it everything that it lets leave; `peer` is whose turn it is."""
        now = self.context.now()
        with self._board.turn():
            yield
            for session in self._board.touched():
                self._board.pump(session, now)
        self._flush(now, {} if peer is None else {peer.number: peer})

    def _flush(self, now: float, woken: dict[int, Peer]) -> None:
        """Let everything leave, and look again at the deadlines of those whom it concerned."""
        orders, self._board.orders = self._board.orders, []
        for order in orders:
            match order:
                case ToConnection(number=number):
                    self._transmit(number, order)
                case Farewell(number=number):
                    self._part(order)
                case _:
                    self.context.emit(order)
                    continue
            peer = self._peers.get(number)
            if peer is not None:
                woken[number] = peer
        for peer in woken.values():
            self._arm(peer, now)

    def _transmit(self, number: int, order: ToConnection) -> None:
        peer = self._peers.get(number)
        if peer is None or peer.connection is None or (order.volatile and peer.crowded):
            return
        if not peer.send(encode(peer.connection.stamp(order.frame, self._wall_now()))):
            peer.abort("it stopped reading")

    def _part(self, order: Farewell) -> None:
        peer = self._peers.get(order.number)
        if peer is not None:
            peer.close(order.code, order.reason)
            # Twice the handshake's allowance: what is queued before the farewell must leave, too.
            patience = 2 * self._settings.close_timeout
            self.context.after(patience, Abandon(order.number), key=("abandon", order.number))

    def _evict(self, number: int, code: CloseCode, reason: str) -> None:
        """Take its session away from a connection, at once, and close it at the end of the turn."""
        peer = self._peers.get(number)
        if peer is not None and peer.connection is not None:
            peer.connection.session = None
            self._perform(peer, peer.connection.close(code, reason))

    def _arm(self, peer: Peer, now: float) -> None:
        """Set the connection's timer, unless an earlier one is set: that one will look again."""
        if peer.connection is None or peer.connection.phase is Phase.CLOSING:
            return
        deadline = peer.connection.deadline()
        if deadline < peer.armed_for:
            peer.armed_for = deadline
            self.context.after(max(0.0, deadline - now), Wake(peer.number), key=("wake", peer.number))

    def _perform(self, peer: Peer, decisions: list[Decision]) -> None:
        connection = peer.connection
        assert connection is not None
        for decision in decisions:
            match decision:
                case Send(frame):
                    self._board.orders.append(ToConnection(peer.number, frame))
                case Apply(frame):
                    assert connection.session is not None
                    self._board.apply(connection.session, frame, self._wall_now())
                case Released():
                    assert connection.session is not None
                    self._board.released(connection.session)
                case Bind(connect):
                    self._bind(peer, connection, connect)
                case Verify(token):
                    self.context.spawn(self._verify, peer.number, token)
                case EndSession(reason):
                    self._end_session(connection, reason)
                case Close(code, reason):
                    self._board.orders.append(Farewell(peer.number, code, reason))
                case Abort(reason):
                    peer.abort(reason)

    def _bind(self, peer: Peer, connection: Connection, wanted: Connect) -> None:
        """Give a connection its session: welcome, replay, end of the replay."""
        assert connection.token is not None, "the machine binds nobody whose token was not judged"
        now = self.context.now()
        found = self._board.connect(peer.number, connection.token, wanted, now, self._wall_now())
        if found is None:
            self._perform(peer, connection.close(CloseCode.TRY_AGAIN_LATER, "the hub holds no more sessions"))
            return
        session, welcome = found
        self._perform(peer, connection.bound(session, welcome))
        self._board.pump(session, now)
        self._perform(peer, connection.replayed())

    def _end_session(self, connection: Connection, reason: str) -> None:
        session, connection.session = connection.session, None
        assert session is not None
        session.connection = None
        self._board.end(session, reason or "bye", CloseCode.NORMAL)
