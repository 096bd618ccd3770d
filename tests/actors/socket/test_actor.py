"""The socket actor against a scripted hub, which each test plays: trio-websocket over memory streams."""

from __future__ import annotations

import errno
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import attrs
import msgspec
import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from holdfast.actors.auth.messages import (
    AuthenticationFailed,
    GetToken,
    Token,
    TokenChanged,
    TokenExpiring,
    TokenRejected,
)
from holdfast.actors.delivery.messages import GetResume, LinkDown, LinkUp, Received, ReplayEnded, Resume
from holdfast.actors.reconnect.messages import LinkFailure, LinkLost, LinkReady, SocketStarted
from holdfast.actors.socket.actor import SocketActor
from holdfast.actors.socket.codec import SUBPROTOCOL
from holdfast.actors.socket.messages import (
    Dial,
    Frame,
    FrameRejected,
    GetSocketState,
    HangUp,
    HeartbeatMissed,
    Latency,
    Transmit,
)
from holdfast.actors.socket.settings import SocketSettings
from holdfast.runtime import (
    Actor,
    Event,
    InjectedFault,
    MailboxSpec,
    Ref,
    Seams,
    Secret,
    System,
    open_system,
)
from holdfast.runtime.address import Address, AnyAddress
from holdfast.runtime.seams import Connect
from holdfast.runtime.testing import Probe, on_trio, probe, settled

SETTINGS = SocketSettings("ws://localhost:7/rt")
TOKEN = Token(Secret("t-1"), generation=1, expires_at=1e9)
RESUME = Resume(
    client_id="c-1", session="s-1", key=Secret("k-1"), epoch="e-1", recv_seq=0, sent_lo=1, sent_hi=0
)


class Said(msgspec.Struct):
    """A frame of the client, as the hub reads it."""

    type: str
    id: str | None = None
    seq: int | None = None
    payload: dict[str, object] = {}


class Peer:
    """The hub's end of one connection."""

    def __init__(self, connection: WebSocketConnection, headers: dict[bytes, bytes]) -> None:
        self.connection = connection
        self.headers = headers
        self.waiting: list[Said] = []

    async def send(self, kind: str, payload: Mapping[str, object] | None = None, **fields: object) -> None:
        await self.send_text(msgspec.json.encode({"type": kind, "payload": payload or {}} | fields).decode())

    async def send_text(self, text: str) -> None:
        await self.connection.send_message(text)

    async def receive(self) -> Said:
        if not self.waiting:
            self.waiting = await self.receive_batch()
        return self.waiting.pop(0)

    async def receive_batch(self) -> list[Said]:
        message = await self.connection.get_message()
        if message[0] in {"[", ord("[")}:
            return msgspec.json.decode(message, type=list[Said])
        return [msgspec.json.decode(message, type=Said)]

    async def closed(self) -> tuple[int, str | None]:
        """Read until the client closes; return its code and reason."""
        with suppress(ConnectionClosed):
            while True:
                await self.connection.get_message()
        reason = self.connection.closed
        assert reason is not None
        return reason.code, reason.reason

    async def greet(self, *, caps: list[str] | None = None, **hello: object) -> Said:
        await self.send("hello", {"v": 1, "hb_ms": 20_000, "caps": caps or []} | hello)
        return await self.receive()

    async def welcome(self, *, resumed: bool = True) -> None:
        session = {
            "session": "s-1",
            "key": "k-2",
            "epoch": "e-1",
            "resumed": resumed,
            "session_ttl_ms": 60_000,
        }
        await self.send("welcome", session)
        await self.send("replay.end", {"through": 0})


@attrs.define
class Hub:
    """What the socket dials: hands the other end of each connection to the test."""

    nursery: trio.Nursery
    refusal: Exception | None = None
    queue: int = 10_000
    """Messages that trio-websocket reads ahead; at one it stops reading, pings included."""

    pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = trio.testing.memory_stream_pair
    dials: list[Address] = attrs.field(factory=list[Address])
    _ends: list[trio.abc.Stream] = attrs.field(factory=list[trio.abc.Stream])
    _dialled: trio.Event = attrs.field(factory=trio.Event)

    async def connect(self, address: AnyAddress, *, timeout: float | None = None) -> trio.abc.Stream:
        assert isinstance(address, Address)
        self.dials.append(address)
        if self.refusal is not None:
            raise self.refusal
        near, far = self.pair()
        self._ends.append(far)
        self._dialled.set()
        return near

    async def stream(self) -> trio.abc.Stream:
        await self._dialled.wait()
        self._dialled = trio.Event()
        return self._ends.pop(0)

    async def accept(self) -> Peer:
        request = await wrap_server_stream(self.nursery, await self.stream(), message_queue_size=self.queue)
        return Peer(await request.accept(subprotocol=SUBPROTOCOL), dict(request.headers))


@attrs.define
class Bench:
    system: System
    hub: Hub
    socket: Ref
    auth: Probe
    delivery: Probe
    reconnect: Probe
    events: list[Event]

    async def up(self, generation: int = 1, *, caps: list[str] | None = None, **hello: object) -> Peer:
        """Dial, shake hands, and read what everybody was told."""
        self.socket.tell(Dial(generation=generation))
        peer = await self.hub.accept()
        await peer.greet(caps=caps, **hello)
        await peer.welcome()
        assert (await self.reconnect.await_(LinkReady)).generation == generation
        await self.delivery.await_(ReplayEnded)
        return peer

    async def lost(self) -> LinkFailure:
        return (await self.reconnect.await_(LinkLost)).failure

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def opened(
    settings: SocketSettings = SETTINGS, *, connect: Connect | None = None
) -> AsyncGenerator[Bench]:
    # Ten virtual minutes are longer than anything here takes.
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            hub = Hub(nursery)
            seams = Seams(connect=connect or hub.connect, random=random.Random(1))
            async with open_system(seams=seams) as system:
                auth = await probe(system, "auth", GetToken, TokenExpiring, TokenRejected)
                auth.answers(GetToken, TOKEN)
                delivery = await probe(system, "delivery", GetResume, LinkUp, LinkDown, Received, ReplayEnded)
                delivery.answers(GetResume, RESUME)
                reconnect = await probe(system, "reconnect", SocketStarted, LinkReady, LinkLost)
                socket = await system.start(
                    "socket",
                    lambda: SocketActor(
                        settings, auth=auth.ref, delivery=delivery.ref, reconnect=reconnect.ref
                    ),
                )
                events: list[Event] = []
                system.events.call(events.append)
                await reconnect.expect(SocketStarted)
                yield Bench(system, hub, socket, auth, delivery, reconnect, events)
            assert system.tasks == 0
            nursery.cancel_scope.cancel()


def payload(**body: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(body))


# The way up.


@on_trio
async def test_a_dial_becomes_a_session_and_everybody_is_told() -> None:
    # A3.1, REALTIME 1.2
    async with opened() as bench:
        bench.socket.tell(Dial(generation=1))
        peer = await bench.hub.accept()
        assert peer.headers[b"authorization"] == b"Bearer t-1"
        connect = await peer.greet()
        assert connect.type == "connect"
        assert "token" not in connect.payload
        assert msgspec.convert(connect.payload["resume"], dict[str, object])["session"] == "s-1"
        await peer.welcome()

        up = await bench.delivery.await_(LinkUp)
        assert (up.generation, up.session, up.key, up.resumed) == (1, "s-1", Secret("k-2"), True)
        assert await bench.reconnect.expect(LinkReady) == LinkReady(1, "s-1", resumed=True)
        assert bench.hub.dials == [Address("localhost", 7, tls=False, server_hostname="localhost")]


@on_trio
async def test_frames_go_both_ways_in_their_order() -> None:
    # A3.3, D7
    async with opened() as bench:
        peer = await bench.up()
        frames = tuple(Frame(type="msg.publish", seq=n, payload=payload(n=n)) for n in range(1, 51))
        bench.socket.tell(Transmit(generation=1, frames=frames))
        assert [(await peer.receive()).payload["n"] for _ in range(50)] == list(range(1, 51))

        for n in range(1, 51):
            await peer.send("msg.event", {"n": n}, seq=n)
        received: list[int | None] = []
        while len(received) < 50:
            received += [frame.seq for frame in (await bench.delivery.await_(Received)).frames]
        assert received == list(range(1, 51))


@on_trio
async def test_many_frames_share_a_message_where_the_hub_takes_batches() -> None:
    # trio-websocket costs most per message: the frames of one tell are one message
    async with opened() as bench:
        peer = await bench.up(caps=["batch"])
        frames = tuple(Frame(type="msg.publish", seq=n) for n in range(1, 101))
        bench.socket.tell(Transmit(generation=1, frames=frames))
        assert [each.seq for each in await peer.receive_batch()] == list(range(1, 101))

        await peer.send_text('[{"type":"msg.event","seq":1},{"type":"msg.event","seq":2}]')
        assert [frame.seq for frame in (await bench.delivery.await_(Received)).frames] == [1, 2]


@on_trio
async def test_a_refused_token_is_replaced_before_the_next_dial() -> None:
    # 42xx: refresh credentials, then resume
    async with opened() as bench:
        peer = await bench.up()
        newer = Token(Secret("t-2"), generation=2, expires_at=1e9)
        bench.auth.answers(TokenRejected, newer)
        await peer.connection.aclose(4200, "token expired")
        assert (await bench.lost()).code == 4200
        bench.socket.tell(Dial(generation=2, refresh_token=True))
        peer = await bench.hub.accept()

        assert peer.headers[b"authorization"] == b"Bearer t-2"
        assert (await bench.auth.await_(TokenRejected)).generation == 1


@on_trio
async def test_an_authentication_that_fails_is_a_lost_dial_with_the_word_of_auth() -> None:
    # A1.3
    async with opened() as bench:
        bench.auth._answers.clear()
        bench.socket.tell(Dial(generation=1))
        await bench.auth.await_(GetToken)
        await settled()
        bench.auth.questions.pop().fail(
            AuthenticationFailed(429, "rate_limited", retryable=True, retry_after=9.0)
        )
        failure = await bench.lost()

        assert (failure.kind, failure.code, failure.retryable, failure.retry_after) == (
            "auth",
            429,
            True,
            9.0,
        )
        assert bench.hub.dials == []


@on_trio
async def test_an_auth_that_does_not_answer_costs_the_dial_and_nothing_else() -> None:
    async with opened() as bench:
        bench.auth._answers.clear()
        bench.socket.tell(Dial(generation=1))

        assert (await bench.lost()).kind in {"timeout", "auth"}
        assert bench.socket.slot.incarnation == 1


@on_trio
async def test_an_auth_that_is_gone_costs_the_dial() -> None:
    async with opened() as bench:
        cell = bench.auth.ref.slot.cell
        assert cell is not None
        await cell.stop(1.0, final=True)
        bench.socket.tell(Dial(generation=1))

        assert (await bench.lost()).kind == "auth"


@on_trio
async def test_a_delivery_that_is_gone_costs_the_dial() -> None:
    async with opened() as bench:
        cell = bench.delivery.ref.slot.cell
        assert cell is not None
        await cell.stop(1.0, final=True)
        bench.socket.tell(Dial(generation=1))

        assert (await bench.lost()).kind == "local"


@on_trio
async def test_a_refused_connection_is_a_fact_and_no_crash() -> None:
    # SEMANTICS "Supervision" 4
    async with opened() as bench:
        bench.hub.refusal = ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
        bench.socket.tell(Dial(generation=1))

        assert (await bench.lost()).kind == "refused"
        assert bench.socket.slot.incarnation == 1


@on_trio
async def test_exhausted_local_resources_are_a_crash() -> None:
    # SEMANTICS "Supervision" 4
    async with opened() as bench:
        bench.hub.refusal = OSError(errno.EMFILE, "too many open files")
        bench.socket.tell(Dial(generation=1))
        await settled()

        assert "too many open files" in str(bench.socket.slot.outcome)


@on_trio
async def test_a_connection_that_never_comes_about_is_given_up_after_five_seconds() -> None:
    # SEMANTICS "Time": dial time-out 5 s
    async def connect(address: AnyAddress, *, timeout: float | None = None) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    async with opened(connect=connect) as bench:
        start = bench.system.now()
        bench.socket.tell(Dial(generation=1))

        assert (await bench.lost()).kind == "timeout"
        assert bench.system.now() - start == 5.0


@on_trio
async def test_a_hub_that_accepts_and_says_nothing_is_given_up_after_five_seconds() -> None:
    async with opened() as bench:
        start = bench.system.now()
        bench.socket.tell(Dial(generation=1))
        peer = await bench.hub.accept()
        failure = await bench.lost()

        assert (failure.kind, bench.system.now() - start) == ("timeout", 5.0)
        assert "authenticating" in failure.detail
        assert (await peer.closed())[0] == 1006


@on_trio
async def test_an_upgrade_refused_with_401_is_told_with_its_status() -> None:
    # D1: an expired token is refused with a proper error
    async with opened() as bench:
        bench.socket.tell(Dial(generation=1))
        request = await wrap_server_stream(bench.hub.nursery, await bench.hub.stream())
        await request.reject(401, body=b'{"error":"invalid_token"}')

        assert await bench.lost() == LinkFailure(kind="rejected", code=401, detail="HTTP 401 (invalid_token)")


@on_trio
async def test_a_newer_dial_aborts_the_connection_of_an_older_one() -> None:
    # never two connections
    async with opened() as bench:
        old = await bench.up(1)
        new = await bench.up(2)

        assert (await old.closed())[0] == 1006
        await old.connection.aclose()
        await new.send("msg.event", {"n": 1}, seq=1)
        assert (await bench.delivery.await_(Received)).generation == 2
        assert bench.reconnect.take(LinkLost) == []


# Liveness (A3.2).


@on_trio
async def test_a_hub_that_falls_silent_is_a_zombie_after_fifteen_seconds() -> None:
    # A3.2, SEMANTICS "Time"
    async with opened() as bench:
        peer = await bench.up()
        start = bench.system.now()
        failure = await bench.lost()

        assert failure.kind == "zombie"
        assert bench.system.now() - start == 15.0
        assert [type(event) for event in bench.of(HeartbeatMissed)] == [HeartbeatMissed]
        assert (await peer.closed())[0] == 1006


@on_trio
async def test_any_inbound_byte_keeps_the_connection_alive() -> None:
    # A3.2: even a WebSocket ping, which trio-websocket hides
    async with opened() as bench:
        peer = await bench.up()
        for _ in range(20):
            await trio.sleep(10)
            await peer.connection.ping()

        assert bench.reconnect.take(LinkLost) == []


@on_trio
async def test_the_first_ping_is_jittered_and_the_round_trip_is_measured() -> None:
    # A3.2
    async with opened() as bench:
        peer = await bench.up()
        start = bench.system.now()
        ping = await peer.receive()
        assert ping.type == "ping"
        assert 0.0 < bench.system.now() - start < 10.0
        await trio.sleep(0.125)
        await peer.send("pong", ping.payload)
        ping = await peer.receive()
        await settled()

        assert [event.round_trip for event in bench.of(Latency) if isinstance(event, Latency)] == [0.125]
        assert (await bench.socket.ask(GetSocketState())).latency == 0.125


# What comes in (A3.3).


@on_trio
async def test_a_malformed_frame_is_told_and_the_connection_lives() -> None:
    # A3.3
    async with opened() as bench:
        peer = await bench.up()
        await peer.send_text("this is no frame")
        await peer.connection.send_message(b"\x00\x01")
        await peer.send("msg.event", {"n": 1}, seq=1)
        received = await bench.delivery.await_(Received)

        assert [frame.seq for frame in received.frames] == [1]
        assert len(bench.of(FrameRejected)) == 2
        assert (await bench.socket.ask(GetSocketState())).rejected_frames == 2


@pytest.mark.parametrize("times", [1, 3])
@on_trio
async def test_an_oversized_message_closes_the_connection(times: int) -> None:
    # 4306; beyond twice the limit the library says 1009 before we can
    async with opened() as bench:
        peer = await bench.up()
        await peer.send("msg.event", {"n": 1}, seq=1)
        await peer.send_text("x" * (SETTINGS.max_frame * times + 1))
        code, _ = await peer.closed()

        assert code == (4306 if times == 1 else 1009)
        assert (await bench.lost()).code == code
        assert (await bench.delivery.await_(Received)).frames[0].seq == 1


@on_trio
async def test_a_reader_ahead_of_the_actor_by_more_than_its_bound_ends_the_connection() -> None:
    # A3.4
    async with opened(attrs.evolve(SETTINGS, inbound_frames=4)) as bench:
        peer = await bench.up()
        cell = bench.socket.slot.cell
        assert cell is not None
        cell.suspend()
        with suppress(ConnectionClosed):
            for n in range(1, 10):
                await peer.send("msg.event", seq=n)
        await trio.testing.wait_all_tasks_blocked()
        cell.resume()

        assert (await bench.lost()).kind == "overflow"


@on_trio
async def test_a_burst_is_handled_in_turns_and_in_order() -> None:
    async with opened() as bench:
        peer = await bench.up()
        cell = bench.socket.slot.cell
        assert cell is not None
        cell.suspend()
        for n in range(1, 201):
            await peer.send("msg.event", seq=n)
        await trio.testing.wait_all_tasks_blocked()
        cell.resume()
        received: list[int | None] = []
        while len(received) < 200:
            message = await bench.delivery.await_(Received)
            received += [frame.seq for frame in message.frames]

        assert received == list(range(1, 201))


# What goes out (A3.4).


@on_trio
async def test_a_hub_that_does_not_read_ends_the_connection_at_our_bound() -> None:
    # A3.4
    async with opened(attrs.evolve(SETTINGS, outbound_frames=8)) as bench:
        bench.hub.pair, bench.hub.queue = trio.testing.lockstep_stream_pair, 1
        await bench.up()
        # The hub's reader stops: its queue of one message is full and nobody takes it out.
        for n in range(1, 100, 5):
            frames = tuple(Frame(type="msg.publish", seq=n + i) for i in range(5))
            bench.socket.tell(Transmit(generation=1, frames=frames))
        failure = await bench.lost()

        assert failure.kind == "overflow"


@on_trio
async def test_a_volatile_frame_without_room_is_shed_and_counted() -> None:
    async with opened(attrs.evolve(SETTINGS, outbound_frames=8)) as bench:
        bench.hub.pair, bench.hub.queue = trio.testing.lockstep_stream_pair, 1
        await bench.up()
        volatile = tuple(Frame(type="typing") for _ in range(40))
        bench.socket.tell(Transmit(generation=1, frames=volatile))
        state = await bench.socket.ask(GetSocketState())

        assert state.shed_frames == 32
        assert state.phase == "ready"


@on_trio
async def test_a_frame_larger_than_the_hub_takes_is_not_sent() -> None:
    async with opened() as bench:
        peer = await bench.up(max_frame=1024)
        big = payload(x="y" * 2000)
        bench.socket.tell(Transmit(generation=1, frames=(Frame(type="typing", payload=big),)))
        await settled()
        assert len(bench.of(FrameRejected)) == 1
        assert (await bench.socket.ask(GetSocketState())).phase == "ready"

        # A reliable one would be missing from the sequence.
        bench.socket.tell(Transmit(generation=1, frames=(Frame(type="msg.publish", seq=1, payload=big),)))
        assert (await peer.closed())[0] == 4306
        assert (await bench.lost()).code == 4306


class Deaf(Actor):
    mailbox = MailboxSpec(capacity=4, policy="reject")


@on_trio
async def test_a_delivery_that_is_a_mailbox_behind_ends_the_connection_to_be_resumed() -> None:
    async with opened() as bench:
        peer = await bench.up()
        cell = bench.delivery.ref.slot.cell
        assert cell is not None
        cell.suspend()
        bench.delivery.ref.slot.mailbox.configure(Deaf.mailbox)
        with suppress(ConnectionClosed):
            for n in range(1, 10):
                await peer.send("msg.event", seq=n)
                await trio.testing.wait_all_tasks_blocked()
        failure = await bench.lost()

        assert failure.kind == "overflow"
        assert "mailbox" in failure.detail or "messages waiting" in failure.detail
        cell.resume()


# Tokens in band (A1.8).


@on_trio
async def test_a_new_token_is_sent_in_band_and_the_connection_stays() -> None:
    # A1.8, D1
    async with opened() as bench:
        peer = await bench.up()
        newer = Token(Secret("t-2"), generation=2, expires_at=1e9)
        bench.socket.tell(TokenChanged(token=newer))
        refresh = await peer.receive()

        assert (refresh.type, refresh.payload) == ("auth.refresh", {"token": "t-2"})
        assert bench.reconnect.take(LinkLost) == []


@on_trio
async def test_a_token_about_to_expire_is_replaced_through_auth() -> None:
    # auth.expiring
    async with opened() as bench:
        newer = Token(Secret("t-2"), generation=2, expires_at=1e9)
        bench.auth.answers(TokenExpiring, newer)
        peer = await bench.up()
        await peer.send("auth.expiring", {"in_ms": 30_000})

        assert (await peer.receive()).payload == {"token": "t-2"}


@on_trio
async def test_an_expiring_token_that_auth_cannot_replace_is_left_to_expire() -> None:
    async with opened() as bench:
        peer = await bench.up()
        await peer.send("auth.expiring", {"in_ms": 30_000})
        await bench.auth.await_(TokenExpiring)
        await settled()
        bench.auth.questions.pop().fail(AuthenticationFailed(401, "invalid_grant", retryable=False))
        await peer.send("msg.event", seq=1)

        assert await bench.delivery.await_(Received)


# The way down.


@pytest.mark.parametrize("destroy", [True, False])
@on_trio
async def test_hanging_up_flushes_says_why_and_closes(*, destroy: bool) -> None:
    # A4.3: closed with a close frame; bye only when the session is to be destroyed
    async with opened() as bench:
        peer = await bench.up()
        bench.socket.tell(Transmit(generation=1, frames=(Frame(type="msg.publish", seq=1),)))
        bench.socket.tell(HangUp(code=1000, reason="done", destroy_session=destroy))
        kinds = [(await peer.receive()).type for _ in range(2 if destroy else 1)]

        assert kinds == (["msg.publish", "bye"] if destroy else ["msg.publish"])
        assert await peer.closed() == (1000, "done")
        assert await bench.lost() == LinkFailure(kind="closed", code=1000, detail="done")
        assert await bench.delivery.await_(LinkDown) == LinkDown(generation=1)


@on_trio
async def test_a_hub_that_does_not_answer_the_close_is_cut_off_within_a_second() -> None:
    # REALTIME 1.2: close bounded
    async with opened() as bench:
        bench.socket.tell(Dial(generation=1))
        stream = await bench.hub.stream()
        async with trio.open_nursery() as deaf:
            request = await wrap_server_stream(deaf, stream)
            peer = Peer(await request.accept(subprotocol=SUBPROTOCOL), {})
            await peer.greet()
            await peer.welcome()
            await bench.reconnect.await_(LinkReady)
            deaf.cancel_scope.cancel()
        start = bench.system.now()
        bench.socket.tell(HangUp(code=4004, reason="seq gap"))

        assert (await bench.lost()).code == 4004
        assert bench.system.now() - start == pytest.approx(1.0)


@on_trio
async def test_a_goaway_closes_and_names_the_time_to_come_back() -> None:
    async with opened() as bench:
        peer = await bench.up()
        await peer.send("goaway", {"reason": "deploy", "reconnect_in_ms": [2000, 2000]})

        assert (await peer.closed())[0] == 1001
        assert await bench.lost() == LinkFailure(kind="draining", detail="deploy", retry_after=2.0)


@on_trio
async def test_the_close_code_of_the_hub_is_told() -> None:
    async with opened() as bench:
        peer = await bench.up()
        await peer.connection.aclose(4304, "session taken over")

        assert await bench.lost() == LinkFailure(kind="closed", code=4304, detail="session taken over")


@on_trio
async def test_a_stream_that_breaks_is_a_reset() -> None:
    async with opened() as bench:
        peer = await bench.up()
        await trio.aclose_forcefully(peer.connection._stream)
        failure = await bench.lost()

        assert (failure.kind, failure.code) in {("closed", 1006), ("reset", None)}


@on_trio
async def test_stopping_the_actor_says_goodbye_and_leaves_nothing_running() -> None:
    async with opened() as bench:
        peer = await bench.up()
        cell = bench.socket.slot.cell
        assert cell is not None
        start = bench.system.now()
        await cell.stop(5.0, final=True)

        assert await peer.closed() == (1001, "the client stops")
        assert bench.system.now() == start


@on_trio
async def test_a_crash_of_the_actor_ends_its_connection() -> None:
    # what a new incarnation does is reconnect's business: it hears SocketStarted
    async with opened() as bench:
        peer = await bench.up()
        bench.socket.tell(InjectedFault(RuntimeError("boom")))

        assert (await peer.closed())[0] in {1001, 1006}


@on_trio
async def test_a_state_can_be_read_before_during_and_after_a_connection() -> None:
    async with opened() as bench:
        state = await bench.socket.ask(GetSocketState())
        assert (state.phase, state.session, state.silence) == ("closed", None, None)
        peer = await bench.up()
        await trio.sleep(2)
        state = await bench.socket.ask(GetSocketState())
        assert (state.phase, state.generation, state.session, state.silence) == ("ready", 1, "s-1", 2.0)
        await peer.connection.aclose(1001)
        await bench.lost()
        assert (await bench.socket.ask(GetSocketState())).phase == "closed"


@on_trio
async def test_nothing_of_a_connection_shows_its_token() -> None:
    # A5.7
    async with opened() as bench:
        peer = await bench.up()
        await peer.connection.aclose(4200, "expired")
        await bench.lost()

        assert "t-1" not in repr(bench.events)


# Over a real socket.


def test_a_session_over_real_sockets_on_loopback() -> None:
    # A3.1: the real seams, once
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener = await Seams().listen(Address("127.0.0.1", 0))
            assert isinstance(listener.address, Address)
            settings = SocketSettings(f"ws://127.0.0.1:{listener.address.port}/rt")
            async with open_system() as system:
                auth = (await probe(system, "auth", GetToken)).answers(GetToken, TOKEN)
                delivery = await probe(system, "delivery", GetResume, LinkUp, LinkDown, Received, ReplayEnded)
                delivery.answers(GetResume, RESUME)
                reconnect = await probe(system, "reconnect", SocketStarted, LinkReady, LinkLost)
                socket = await system.start(
                    "socket",
                    lambda: SocketActor(
                        settings, auth=auth.ref, delivery=delivery.ref, reconnect=reconnect.ref
                    ),
                )
                socket.tell(Dial(generation=1))
                request = await wrap_server_stream(nursery, await listener.accept())
                peer = Peer(await request.accept(subprotocol=SUBPROTOCOL), {})
                await peer.greet(caps=["batch"])
                await peer.welcome()
                await reconnect.await_(LinkReady)
                frames = tuple(Frame(type="msg.publish", seq=n) for n in range(1, 201))
                socket.tell(Transmit(generation=1, frames=frames))
                assert [(await peer.receive()).seq for _ in range(200)] == list(range(1, 201))
                socket.tell(HangUp(code=1001, reason="done"))
                assert await peer.closed() == (1001, "done")
                await reconnect.await_(LinkLost)
                # A port where nobody listens any more.
                await listener.aclose()
                socket.tell(Dial(generation=2))
                assert (await reconnect.await_(LinkLost)).failure.kind == "refused"
            nursery.cancel_scope.cancel()

    trio.run(main)
