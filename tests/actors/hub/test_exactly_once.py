"""Schedules of cuts, repeats, takeovers and kills against the machines and the store.

One client sends messages that the hub echoes.  Whatever happens to connections
and to the hub, the log of effects is what the client sent, and what the client
takes is the echo of each, once, in order (A2.7, D4.3).
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from random import Random
from typing import Any

import apsw
import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.actors.hub.conftest import settings_for

from holdfast.actors.hub.closing import CloseCode
from holdfast.actors.hub.codec import decode, encode
from holdfast.actors.hub.connection import Connection
from holdfast.actors.hub.decisions import Apply, Bind, Decision, Released, Send
from holdfast.actors.hub.messages import VerifiedToken
from holdfast.actors.hub.store import SessionStore
from holdfast.actors.hub.switchboard import Switchboard, ToConnection

SETTINGS = settings_for(window_frames=4, acknowledge_every=3)
TOKEN = VerifiedToken("alice", "t", 1e12)

Json = dict[str, Any]


class Hub:
    """The machines and the store, with wires instead of an actor and sockets."""

    def __init__(self, store: SessionStore, random: Random) -> None:
        self.store = store
        self.board = Switchboard(SETTINGS, store, random.randbytes, evict=self.evict)
        self.board.load(0.0)
        self.connections: dict[int, Connection] = {}
        self.out: dict[int, deque[Json]] = {}
        self.evicted: list[tuple[int, int]] = []

    def evict(self, number: int, code: CloseCode, _reason: str) -> None:
        self.evicted.append((number, int(code)))
        self.connections[number].session = None
        self.connections[number].close(code, "")

    def open(self, number: int) -> None:
        self.connections[number] = connection = Connection(number, SETTINGS, 0.0)
        connection.trust(TOKEN, 1e9, 0.0)
        self.out[number] = deque()

    def hear(self, number: int, sent: Json) -> None:
        connection = self.connections[number]
        (item,) = decode(json.dumps(sent), max_frame=10_000, batch=False)
        with self.board.turn():
            self.perform(connection, connection.hear(item, 0.0))
            self.perform(connection, connection.settle(0.0))
            for session in self.board.touched():
                self.board.pump(session, 0.0)
        orders, self.board.orders = self.board.orders, []
        for order in orders:
            if isinstance(order, ToConnection):
                stamped = self.connections[order.number].stamp(order.frame, 0.0)
                self.out[order.number].append(json.loads(encode(stamped)))

    def perform(self, connection: Connection, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Send(frame):
                    self.board.orders.append(ToConnection(connection.number, frame))
                case Apply(frame):
                    assert connection.session is not None
                    self.board.apply(connection.session, frame, 0.0)
                case Released():
                    assert connection.session is not None
                    self.board.released(connection.session)
                case Bind(connect):
                    found = self.board.connect(connection.number, TOKEN, connect, 0.0, 0.0)
                    assert found is not None
                    self.perform(connection, connection.bound(*found))
                    self.board.pump(found[0], 0.0)
                    self.perform(connection, connection.replayed())
                case _:
                    pass


@attrs.define
class Client:
    """A client written from the page: outbox, cursors, resume."""

    number: int = 0
    ready: bool = False
    session: Json | None = None
    outbox: list[Json] = attrs.field(factory=lambda: list[Json]())
    wire: deque[Json] = attrs.field(factory=lambda: deque[Json]())
    received: list[int] = attrs.field(factory=lambda: list[int]())
    recv_seq: int = 0
    sent: int = 0

    def say(self) -> None:
        self.sent += 1
        last = self.outbox[-1]["seq"] if self.outbox else (self.session or {}).get("through", 0)
        message = {
            "type": "msg.echo", "id": f"m-{self.sent}", "seq": last + 1, "payload": {"n": self.sent},
        }  # fmt: skip
        self.outbox.append(message)
        if self.ready:
            self.wire.append(message)

    def dial(self, number: int) -> None:
        self.number, self.ready, self.wire = number, False, deque()
        resume = None
        if self.session is not None:
            seqs = [message["seq"] for message in self.outbox]
            resume = {
                "session": self.session["session"],
                "key": self.session["key"],
                "epoch": self.session["epoch"],
                "recv_seq": self.recv_seq,
                "sent_lo": seqs[0] if seqs else 0,
                "sent_hi": seqs[-1] if seqs else 0,
            }
        self.wire.append({"type": "connect", "payload": {"client_id": "laptop", "resume": resume}})

    def take(self, frame: Json) -> None:
        if frame["type"] == "welcome":
            self.welcomed(frame["payload"])
        if not self.ready and frame["type"] != "replay.end" and frame["type"] != "msg.event":
            return
        if "ack" in frame:
            self.acknowledged(frame["ack"])
        if frame["type"] == "replay.end":
            self.ready = True
            self.wire.extend(self.outbox)
        if "seq" in frame:
            assert frame["seq"] <= self.recv_seq + 1, "the hub leaves no hole"
            if frame["seq"] == self.recv_seq + 1:
                self.recv_seq += 1
                self.received.append(frame["payload"]["n"])

    def welcomed(self, body: Json) -> None:
        if not body["resumed"]:
            assert self.session is None, body["why"]
            self.recv_seq = 0
            for seq, message in enumerate(self.outbox, 1):
                message["seq"] = seq
        self.session = {**body, "through": (self.session or {}).get("through", 0)}
        self.acknowledged(body["recv_seq"])

    def acknowledged(self, ack: int) -> None:
        assert self.session is not None
        self.session["through"] = max(self.session["through"], ack)
        self.outbox = [message for message in self.outbox if message["seq"] > ack]


@attrs.define
class Run:
    """The client, the hub, and the wires between them, which a schedule breaks."""

    random: Random
    store: SessionStore
    hub: Hub
    client: Client
    old: dict[int, deque[Json]] = attrs.field(factory=lambda: dict[int, deque[Json]]())
    """What half-open connections still carry to the hub."""
    numbers: int = 0

    def redial(self, *, half_open: bool) -> None:
        if half_open and self.numbers:
            self.old[self.numbers] = self.client.wire
        self.numbers += 1
        self.hub.open(self.numbers)
        self.client.dial(self.numbers)

    def kill(self) -> None:
        """The process dies: what was not committed is gone, and every connection with it."""
        self.hub = Hub(SessionStore(self.store._connection, lambda: "never"), self.random)
        self.old.clear()
        self.redial(half_open=False)

    def up(self, count: int) -> None:
        for _ in range(min(count, len(self.client.wire))):
            self.hub.hear(self.numbers, self.client.wire.popleft())

    def down(self, count: int) -> None:
        wire = self.hub.out[self.numbers]
        for _ in range(min(count, len(wire))):
            self.client.take(wire.popleft())

    def late(self) -> None:
        """A half-open connection delivers after all."""
        for number, wire in self.old.items():
            with contextlib.suppress(IndexError):
                self.hub.hear(number, wire.popleft())

    def acknowledge(self) -> None:
        if self.client.ready:
            self.client.wire.append({"type": "ack", "ack": self.client.recv_seq})

    def repeat(self) -> None:
        if self.client.ready and self.client.outbox:
            self.client.wire.append(self.client.outbox[0])


def new_run(seed: int) -> Run:
    random = Random(seed)
    store = SessionStore(apsw.Connection(":memory:"), lambda: "epoch")
    run = Run(random, store, Hub(store, random), Client())
    run.redial(half_open=False)
    return run


STEPS = st.one_of(
    st.tuples(st.just("say"), st.integers(1, 3)),
    st.tuples(st.just("up"), st.integers(1, 6)),
    st.tuples(st.just("down"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["cut", "half_open", "kill", "late", "acknowledge", "repeat"]), st.just(1)),
)


def step(run: Run, name: str, count: int) -> None:
    match name:
        case "say":
            for _ in range(count):
                run.client.say()
        case "up":
            run.up(count)
        case "down":
            run.down(count)
        case "cut":
            run.redial(half_open=False)
        case "half_open":
            run.redial(half_open=True)
        case "kill":
            run.kill()
        case "late":
            run.late()
        case "acknowledge":
            run.acknowledge()
        case _:
            run.repeat()


def settle(run: Run) -> None:
    """A quiet end: one good connection, and time enough."""
    run.redial(half_open=False)
    for _ in range(200):
        run.up(100)
        run.down(100)
        if len(run.client.received) == run.client.sent and not run.client.outbox:
            return
        run.acknowledge()
    raise AssertionError("the schedule never came to rest")


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60), st.integers(0, 1_000))
def test_every_message_has_its_effect_once_and_in_order_whatever_breaks(  # A2.7, D4.3
    schedule: list[tuple[str, int]], seed: int
) -> None:
    run = new_run(seed)

    for name, count in schedule:
        step(run, name, count)
    settle(run)

    expected = list(range(1, run.client.sent + 1))
    assert [effect.id for effect in run.store.effects()] == [f"m-{n}" for n in expected]
    assert run.client.received == expected


def test_frames_of_a_connection_that_was_taken_over_are_refused() -> None:
    run = new_run(1)
    run.client.say()
    run.up(1)
    run.down(10)
    run.redial(half_open=True)
    run.up(1)
    assert run.hub.evicted == [(1, 4304)]

    run.late()

    assert run.store.effects() == []
    settle(run)
    assert [effect.id for effect in run.store.effects()] == ["m-1"]


def test_a_client_that_lost_its_session_sends_again_under_the_same_ids_without_a_second_effect() -> None:
    run = new_run(1)
    run.up(1)
    run.down(10)
    for _ in range(3):
        run.client.say()
    run.up(3)  # committed, and the acknowledgement never arrives
    run.client.session, run.client.outbox = (
        None,
        [{**message, "seq": seq} for seq, message in enumerate(run.client.outbox, 1)],
    )
    run.redial(half_open=False)
    run.up(10)
    run.down(10)
    run.client.say()
    run.up(10)

    assert [effect.id for effect in run.store.effects()] == ["m-1", "m-2", "m-3", "m-4"]
    run.down(100)
    assert run.client.received == [4], "no message is echoed a second time"


def test_what_was_sent_keeps_its_number_and_id_when_it_is_sent_again() -> None:
    run = new_run(1)
    run.up(1)
    run.down(10)
    run.client.say()
    run.up(1)
    (first,) = [frame for frame in run.hub.out[1] if frame["type"] == "msg.event"]

    run.redial(half_open=False)
    run.up(1)
    welcome, again, end = run.hub.out[2]

    assert (welcome["type"], welcome["payload"]["resumed"]) == ("welcome", True)
    assert {key: again[key] for key in ("id", "seq", "re", "payload")} == {
        key: first[key] for key in ("id", "seq", "re", "payload")
    }
    assert (end["type"], end["payload"]) == ("replay.end", {"through": 1})
