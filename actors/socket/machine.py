"""One connection at a time: its phases, what may be said in each, and how it ends.

The remote is never trusted and never crashes anybody: what it does wrong is an
event and a dropped frame, or the end of this connection with a failure that
reconnect classifies.  Facts of an older generation are dropped and counted.

Pure: `handle` takes a fact and the `Moment` in which it is handled, and returns
decisions.
"""

from __future__ import annotations

import attrs
import msgspec

from holdfast.actors.auth.messages import TokenChanged
from holdfast.actors.delivery.messages import LinkDown, Received, ReplayEnded
from holdfast.actors.reconnect.messages import LinkFailure, LinkLost, LinkReady
from holdfast.actors.socket.codec import (
    AuthExpiring,
    AuthOk,
    Beat,
    Bye,
    Control,
    ErrorBody,
    Goaway,
    Hello,
    Rejected,
    ReplayEnd,
    Welcome,
    control_frame,
    decode_control,
)
from holdfast.actors.socket.decisions import (
    ALL_TIMERS,
    AbortConnection,
    Arrived,
    CloseConnection,
    Decision,
    Due,
    Emit,
    Ended,
    Moment,
    OpenConnection,
    Overflowed,
    Oversized,
    StartTimer,
    StopTimers,
    TellDelivery,
    TellReconnect,
    Timer,
    Upgraded,
    Write,
)
from holdfast.actors.socket.handshake import VERSION, Handshake
from holdfast.actors.socket.heartbeat import Dead, Heartbeat, Probe
from holdfast.actors.socket.messages import (
    Connected,
    Dial,
    Disconnected,
    Frame,
    FrameRejected,
    HangUp,
    HeartbeatMissed,
    Latency,
    PeerError,
    TokenRefreshRefused,
    Transmit,
)
from holdfast.actors.socket.phases import CONTROL_TABLE, LIVE, OPEN, Connection, Phase
from holdfast.actors.socket.refresh import TokenRefresh
from holdfast.actors.socket.settings import SocketSettings
from holdfast.runtime import Message

__all__ = ["SocketMachine"]

# The close codes that we choose ourselves (REALTIME 1.2).
ENDED_BY_HUB = 1000
GOING_AWAY = 1001
BAD_VERSION = 4303
FRAME_TOO_BIG = 4306

# The child that closes keeps the close time-out itself; after this many of them we abort.
CLOSE_PATIENCE = 2.0


@attrs.define
class SocketMachine:
    settings: SocketSettings
    generation: int = attrs.field(default=0, init=False)
    """The highest that was dialled."""

    connection: Connection | None = attrs.field(default=None, init=False)
    token: TokenRefresh = attrs.field(factory=TokenRefresh, init=False)
    stale: int = attrs.field(default=0, init=False)
    shed: int = attrs.field(default=0, init=False)
    """Volatile frames that came for a connection that is not there."""

    @property
    def phase(self) -> Phase:
        return self.connection.phase if self.connection else Phase.CLOSED

    @property
    def handshake(self) -> Handshake | None:
        return self.connection.handshake if self.connection else None

    def handle(self, fact: Message, at: Moment) -> list[Decision]:
        """Take a fact; return what to do, in order."""
        match fact:
            case Dial():
                return self._dial(fact, at)
            case HangUp():
                return self._hang_up(fact)
            case TokenChanged():
                return self.token.changed(self.connection, fact)
            case Transmit():
                return self._transmit(fact)
            case Upgraded() | Arrived() | Oversized() | Overflowed() | Ended() | Due():
                connection = self.connection
                if connection is None or fact.generation != connection.generation:
                    self.stale += 1
                    return []
                return self._connection_fact(connection, fact, at)
            case _:
                raise AssertionError(f"the shell hands over facts of this machine only, not {fact!r}")

    def _connection_fact(
        self,
        connection: Connection,
        fact: Upgraded | Arrived | Oversized | Overflowed | Ended | Due,
        at: Moment,
    ) -> list[Decision]:
        match fact:
            case Upgraded():
                return self._upgraded(connection, fact)
            case Arrived():
                return self._arrived(connection, fact, at)
            case Oversized():
                return self._close(connection, FRAME_TOO_BIG, fact.detail)
            case Overflowed():
                return self._abort(connection, LinkFailure(kind="overflow", detail=fact.what))
            case Ended():
                return self._end(connection, fact.failure)
            case Due():
                return self._due(connection, fact.timer, at)

    # The way up.

    def _dial(self, dial: Dial, at: Moment) -> list[Decision]:
        if dial.generation <= self.generation:
            # Said twice: reconnect repeats a dial to a socket that has just been started.
            self.stale += 1
            return []
        decisions: list[Decision] = []
        if self.connection is not None:
            # Nobody is waiting for news of an older generation.
            decisions = [AbortConnection(), *self._down(self.connection), StopTimers(ALL_TIMERS)]
        self.generation = dial.generation
        self.connection = Connection(dial.generation, at.now, dial.fresh_session)
        rejected = self.token.presented if dial.refresh_token else None
        return [
            *decisions,
            OpenConnection(dial.generation, rejected),
            self._timer("dial", self.settings.dial_timeout),
        ]

    def _upgraded(self, connection: Connection, fact: Upgraded) -> list[Decision]:
        if connection.phase is not Phase.CONNECTING:
            return []
        connection.phase = Phase.AUTHENTICATING
        connection.handshake = Handshake(self.settings, fact.resume, connection.fresh_session)
        self.token.upgraded(fact.token_generation)
        return []

    def _hello_came(self, connection: Connection, shake: Handshake, hello: Hello) -> list[Decision]:
        if shake.hello is not None:
            return [self._rejected("a second hello frame", 0)]
        if hello.v != VERSION:
            problem = f"the hub speaks version {hello.v} of the protocol, we speak {VERSION}"
            return self._close(connection, BAD_VERSION, problem)
        return [Write((shake.greet(hello),))]

    def _welcome_came(
        self, connection: Connection, shake: Handshake, welcome: Welcome, at: Moment
    ) -> list[Decision]:
        problem = shake.accept(welcome)
        if problem is not None:
            # Without a welcome in time the dial's limit ends it.
            return [self._rejected(problem, 0)]
        connection.phase = Phase.RESUMING
        heart = connection.heart = Heartbeat(shake.heartbeat, self.settings.dead_after)
        return [
            StopTimers(("dial",)),
            TellDelivery(shake.link_up(connection.generation)),
            self._timer("replay", self.settings.replay_timeout),
            self._timer("beat", heart.first_beat(at.draw)),
            self._timer("silence", heart.interval + heart.dead_after),
        ]

    def _replayed(
        self, connection: Connection, welcome: Welcome, end: ReplayEnd, at: Moment
    ) -> list[Decision]:
        connection.phase = Phase.READY
        generation, session = connection.generation, welcome.session
        return [
            StopTimers(("replay",)),
            TellDelivery(ReplayEnded(generation=generation, through=end.through)),
            TellReconnect(LinkReady(generation=generation, session=session, resumed=welcome.resumed)),
            Emit(Connected(generation, session, welcome.resumed, at.now - connection.dialed_at)),
            # The token may have changed while the older one was on its way to the hub.
            *self.token.catch_up(connection),
        ]

    # What comes in.

    def _arrived(self, connection: Connection, fact: Arrived, at: Moment) -> list[Decision]:
        decisions: list[Decision] = [self._rejected(each.why, each.size) for each in fact.rejected]
        if fact.batch and connection.handshake is not None:
            # Whoever sends batches reads them.
            connection.handshake.batch = True
        passed: list[Frame] = []
        for frame in fact.frames:
            body = decode_control(frame)
            # In a welcome `recv_seq` says the same.
            if body is not None and frame.ack is not None and connection.phase in LIVE:
                passed.append(Frame(type="ack", ack=frame.ack))
            if body is None or self._is_about_a_message(connection, frame, body):
                passed.append(frame)
                continue
            # Delivery hears first what came first.
            decisions += self._pass_on(connection, passed)
            decisions += self._control(connection, frame, body, at)
            passed = []
        return [*decisions, *self._pass_on(connection, passed)]

    def _is_about_a_message(self, connection: Connection, frame: Frame, body: Control | Rejected) -> bool:
        return isinstance(body, ErrorBody) and frame.re is not None and frame.re != connection.refreshing

    def _pass_on(self, connection: Connection, frames: list[Frame]) -> list[Decision]:
        if not frames or connection.phase not in OPEN:
            return []
        if connection.phase not in LIVE:
            return [self._rejected("a frame for the application before the welcome", len(frames[0].payload))]
        return [TellDelivery(Received(generation=connection.generation, frames=tuple(frames)))]

    def _control(
        self, connection: Connection, frame: Frame, body: Control | Rejected, at: Moment
    ) -> list[Decision]:
        shake = connection.handshake
        if shake is None or connection.phase not in OPEN:
            return []
        if isinstance(body, Rejected):
            return [self._rejected(body.why, body.size)]
        if connection.phase not in CONTROL_TABLE[type(body)]:
            why = f"a {frame.type} frame in phase {connection.phase.value}"
            return [self._rejected(why, len(frame.payload))]
        match body:
            case Hello():
                return self._hello_came(connection, shake, body)
            case Welcome():
                return self._welcome_came(connection, shake, body, at)
            case ReplayEnd():
                assert shake.welcome is not None, "no replay before the welcome, says the table"
                return self._replayed(connection, shake.welcome, body, at)
            case Beat():
                return self._beat_came(connection, frame, body, at)
            case AuthOk():
                return self.token.answered(connection)
            case AuthExpiring():
                return self.token.expiring(connection)
            case Goaway():
                low, high = sorted(body.reconnect_in_ms)
                wait = (low + (high - low) * at.draw) / 1000
                failure = LinkFailure(kind="draining", detail=body.reason, retry_after=wait)
                return self._close(connection, GOING_AWAY, "told to go away", failure)
            case ErrorBody():
                return self._error_came(connection, frame, body)
            case Bye():
                return self._close(connection, ENDED_BY_HUB, body.reason or "the hub ended the session")

    def _beat_came(self, connection: Connection, frame: Frame, beat: Beat, at: Moment) -> list[Decision]:
        if frame.type == "ping":
            return [Write((control_frame("pong", beat, ack=connection.ack),))]
        round_trip = connection.heart.pong(beat.n, at.now) if connection.heart else None
        return [] if round_trip is None else [Emit(Latency(connection.generation, round_trip))]

    def _error_came(self, connection: Connection, frame: Frame, error: ErrorBody) -> list[Decision]:
        if error.retry_after_ms is not None:
            connection.retry_after = error.retry_after_ms / 1000
        if frame.re is None:
            return [Emit(PeerError(connection.generation, str(error.code), error.message))]
        refused = Emit(TokenRefreshRefused(connection.generation, f"{error.code}: {error.message}"))
        return [refused, *self.token.answered(connection)]

    # What goes out.

    def _transmit(self, fact: Transmit) -> list[Decision]:
        connection = self.connection
        if connection is None or fact.generation != connection.generation or connection.phase not in LIVE:
            # The outbox keeps what is reliable; the rest is worth nothing later.
            self.stale += 1
            self.shed += sum(frame.seq is None for frame in fact.frames)
            return []
        acks = [frame.ack for frame in fact.frames if frame.ack is not None]
        if acks:
            connection.ack = max(connection.ack or 0, *acks)
        return [Write(fact.frames)]

    # Time.

    def _due(self, connection: Connection, timer: Timer, at: Moment) -> list[Decision]:
        match timer:
            case "dial":
                problem = f"no welcome within {self.settings.dial_timeout:g} s of the dial"
            case "replay":
                problem = f"no end of the replay within {self.settings.replay_timeout:g} s"
            case "close":
                problem = "the connection did not close"
            case "beat" | "silence":
                return self._check(connection, timer, at)
        failure = LinkFailure(kind="timeout", detail=f"{problem} (phase {connection.phase.value})")
        return self._abort(connection, failure)

    def _check(self, connection: Connection, timer: Timer, at: Moment) -> list[Decision]:
        heart = connection.heart
        if heart is None or connection.phase not in LIVE:
            return []
        health = heart.check(at.now, at.wall, at.heard_at)
        if isinstance(health, Dead):
            failure = LinkFailure(kind="zombie", detail=f"nothing came in for {health.silence:.1f} s")
            missed = Emit(HeartbeatMissed(connection.generation, health.silence))
            return [missed, *self._abort(connection, failure)]
        decisions: list[Decision] = [self._timer("silence", health.next_check)]
        if timer == "beat" or isinstance(health, Probe):
            ping = control_frame("ping", Beat(heart.ping(at.now)), ack=connection.ack)
            decisions += [Write((ping,)), self._timer("beat", heart.interval)]
        return decisions

    # The way down.

    def _hang_up(self, fact: HangUp) -> list[Decision]:
        connection = self.connection
        if connection is None:
            return []
        farewell: list[Decision] = []
        if fact.destroy_session and connection.phase in LIVE:
            farewell.append(Write((control_frame("bye", Bye(fact.reason)),)))
        return [*farewell, *self._close(connection, fact.code, fact.reason)]

    def _close(
        self, connection: Connection, code: int, reason: str, failure: LinkFailure | None = None
    ) -> list[Decision]:
        """Three ways: nothing is open yet, we are closing already, or we close now."""
        failure = failure or LinkFailure(kind="closed", code=code, detail=reason)
        if connection.phase is Phase.CONNECTING:
            return self._abort(connection, failure)
        if connection.phase is Phase.DRAINING:
            return []
        decisions = self._down(connection)
        connection.closing = failure
        connection.phase = Phase.DRAINING
        return [
            *decisions,
            StopTimers(ALL_TIMERS),
            CloseConnection(code, reason),
            self._timer("close", self.settings.close_timeout * CLOSE_PATIENCE),
        ]

    def _abort(self, connection: Connection, failure: LinkFailure) -> list[Decision]:
        return [AbortConnection(), *self._end(connection, failure)]

    def _end(self, connection: Connection, failure: LinkFailure) -> list[Decision]:
        failure = connection.closing or failure
        if failure.retry_after is None and connection.retry_after is not None:
            failure = msgspec.structs.replace(failure, retry_after=connection.retry_after)
        self.connection = None
        return [
            *self._down(connection),
            StopTimers(ALL_TIMERS),
            Emit(Disconnected(connection.generation, failure.kind, failure.detail, failure.code)),
            TellReconnect(LinkLost(generation=connection.generation, failure=failure)),
        ]

    def _down(self, connection: Connection) -> list[Decision]:
        """Tell delivery, once, that the connection it was told of is gone."""
        if connection.phase not in LIVE:
            return []
        return [TellDelivery(LinkDown(generation=connection.generation))]

    def _timer(self, timer: Timer, delay: float) -> StartTimer:
        return StartTimer(timer, delay, self.generation)

    def _rejected(self, why: str, size: int) -> Emit:
        return Emit(FrameRejected(self.generation, why, size))
