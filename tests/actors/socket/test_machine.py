from __future__ import annotations

from typing import TypeVar

import attrs
import msgspec
import pytest

from holdfast.actors.auth.messages import Token, TokenChanged
from holdfast.actors.delivery.messages import LinkDown, LinkUp, Received, ReplayEnded, Resume
from holdfast.actors.reconnect.messages import LinkFailure, LinkLost, LinkReady
from holdfast.actors.socket.codec import Rejected
from holdfast.actors.socket.decisions import (
    AbortConnection,
    Arrived,
    AskFreshToken,
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
from holdfast.actors.socket.machine import SocketMachine
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
from holdfast.actors.socket.phases import CONTROL_TABLE, Phase
from holdfast.actors.socket.settings import SocketSettings
from holdfast.runtime import Message, Secret

D = TypeVar("D")

SETTINGS = SocketSettings("wss://hub.example/rt")
GONE = LinkFailure(kind="reset", detail="gone")


def resume(session: str | None = "s-1") -> Resume:
    key = Secret("k-1") if session else None
    epoch = "e-1" if session else None
    return Resume(client_id="c-1", session=session, key=key, epoch=epoch, recv_seq=7, sent_lo=3, sent_hi=9)


def frame(kind: str, body: object = None, **fields: object) -> Frame:
    payload = msgspec.Raw(msgspec.json.encode({} if body is None else body))
    return msgspec.structs.replace(Frame(type=kind, payload=payload), **fields)


def token(generation: int) -> TokenChanged:
    return TokenChanged(token=Token(Secret(f"t-{generation}"), generation=generation, expires_at=1e9))


HELLO = {"v": 1, "hb_ms": 20_000, "max_frame": 100_000, "window": {"frames": 64, "bytes": 65_536}}
WELCOME = {
    "session": "s-1",
    "key": "k-2",
    "epoch": "e-1",
    "resumed": True,
    "why": None,
    "recv_seq": 5,
    "session_ttl_ms": 120_000,
    "hb_ms": 20_000,
}


@attrs.define
class Bench:
    """The machine with a clock, and the decisions of the last fact."""

    settings: SocketSettings = SETTINGS
    now: float = 100.0
    wall: float = 1_000_000.0
    heard_at: float = 100.0
    draw: float = 0.5
    decisions: list[Decision] = attrs.field(factory=list[Decision])
    machine: SocketMachine = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.machine = SocketMachine(self.settings)

    def tell(self, fact: Message) -> list[Decision]:
        at = Moment(now=self.now, wall=self.wall, draw=self.draw, heard_at=self.heard_at)
        self.decisions = self.machine.handle(fact, at)
        return self.decisions

    def came(self, *frames: Frame, generation: int = 1, batch: bool = False) -> list[Decision]:
        return self.tell(Arrived(generation=generation, frames=frames, batch=batch))

    def due(self, timer: Timer, generation: int = 1) -> list[Decision]:
        return self.tell(Due(generation=generation, timer=timer))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def of(self, kind: type[D]) -> list[D]:
        """What was decided of this kind, the wrapped messages and events included."""
        inner = [getattr(each, "message", getattr(each, "event", None)) for each in self.decisions]
        return [each for each in [*self.decisions, *inner] if isinstance(each, kind)]

    def written(self) -> list[Frame]:
        return [each for write in self.of(Write) for each in write.frames]

    @property
    def phase(self) -> Phase:
        return self.machine.phase

    @property
    def batch(self) -> object:
        """Whether batches were agreed; an `object`, for mypy would think it settled by the first look."""
        return self.machine.handshake is not None and self.machine.handshake.batch


def dialled() -> Bench:
    bench = Bench()
    bench.tell(Dial(generation=1))
    return bench


def upgraded(claim: Resume | None = None) -> Bench:
    bench = dialled()
    bench.tell(Upgraded(generation=1, token_generation=4, resume=claim or resume()))
    return bench


def greeted() -> Bench:
    bench = upgraded()
    bench.came(frame("hello", HELLO))
    return bench


def welcomed() -> Bench:
    bench = greeted()
    bench.came(frame("welcome", WELCOME))
    return bench


def ready() -> Bench:
    bench = welcomed()
    bench.came(frame("replay.end", {"through": 7}))
    return bench


# The way up.


def test_a_dial_opens_a_connection_and_starts_its_clock() -> None:
    bench = dialled()

    assert bench.decisions == [OpenConnection(1, None), StartTimer("dial", 5.0, 1)]
    assert bench.phase is Phase.CONNECTING


def test_the_same_dial_twice_is_one() -> None:
    bench = ready()

    assert bench.tell(Dial(generation=1)) == []
    assert bench.phase is Phase.READY
    assert bench.machine.stale == 1


def test_a_newer_dial_aborts_what_an_older_one_holds_without_further_news_of_it() -> None:
    bench = ready()
    bench.tell(Dial(generation=2))

    assert bench.decisions[0] == AbortConnection()
    assert bench.of(LinkDown) == [LinkDown(generation=1)]
    assert bench.of(LinkLost) == []
    assert bench.of(OpenConnection) == [OpenConnection(2, None)]
    assert bench.phase is Phase.CONNECTING


def test_the_hello_is_answered_with_a_claim_on_the_session_and_without_the_token() -> None:
    # REALTIME 1.2; (a): the token was presented in the upgrade
    bench = greeted()
    [connect] = bench.written()

    assert connect.type == "connect"
    assert connect.seq is None
    assert msgspec.json.decode(connect.payload) == {
        "client_id": "c-1",
        "client": {"name": "holdfast", "ver": "0.1.0"},
        "caps": ["batch"],
        "resume": {"session": "s-1", "key": "k-1", "epoch": "e-1", "recv_seq": 7, "sent_lo": 3, "sent_hi": 9},
    }


def test_without_a_session_nothing_is_claimed() -> None:
    bench = upgraded(resume(None))
    bench.came(frame("hello", HELLO))

    assert msgspec.json.decode(bench.written()[0].payload)["resume"] is None


def test_a_dial_for_a_fresh_session_claims_none() -> None:
    # 41xx: reconnect, new session
    bench = Bench()
    bench.tell(Dial(generation=1, fresh_session=True))
    bench.tell(Upgraded(generation=1, token_generation=4, resume=resume()))
    bench.came(frame("hello", HELLO))

    assert msgspec.json.decode(bench.written()[0].payload)["resume"] is None


def test_the_welcome_tells_delivery_what_was_agreed() -> None:
    bench = welcomed()

    assert bench.phase is Phase.RESUMING
    assert bench.of(LinkUp) == [
        LinkUp(
            generation=1,
            session="s-1",
            key=Secret("k-2"),
            epoch="e-1",
            resumed=True,
            why=None,
            recv_seq=5,
            session_ttl=120.0,
            window_frames=64,
            window_bytes=65_536,
            max_frame=100_000,
        )
    ]
    assert bench.of(LinkReady) == []
    assert bench.of(StopTimers) == [StopTimers(("dial",))]


def test_the_end_of_the_replay_makes_the_link_ready() -> None:
    bench = welcomed()
    bench.wait(0.5)
    bench.came(frame("replay.end", {"through": 7}))

    assert bench.phase is Phase.READY
    assert bench.of(ReplayEnded) == [ReplayEnded(generation=1, through=7)]
    assert bench.of(LinkReady) == [LinkReady(generation=1, session="s-1", resumed=True)]
    assert bench.of(Connected) == [Connected(1, "s-1", resumed=True, seconds=0.5)]


def test_replayed_frames_reach_delivery_before_the_end_of_the_replay_does() -> None:
    bench = welcomed()
    replayed = Frame(type="msg.event", seq=6)
    bench.came(replayed, frame("replay.end", {"through": 6}), Frame(type="msg.event", seq=7))

    order = [decision.message for decision in bench.decisions if isinstance(decision, TellDelivery)]
    assert order == [
        Received(generation=1, frames=(replayed,)),
        ReplayEnded(generation=1, through=6),
        Received(generation=1, frames=(Frame(type="msg.event", seq=7),)),
    ]


def test_everything_up_to_the_welcome_shares_one_limit() -> None:
    # SEMANTICS "Time": refresh, upgrade, welcome share the 5 s
    for bench in (dialled(), upgraded(), greeted()):
        bench.due("dial")

        assert bench.of(AbortConnection)
        assert bench.of(LinkLost)[0].failure.kind == "timeout"
        assert bench.phase is Phase.CLOSED


def test_a_replay_without_an_end_is_given_up() -> None:
    bench = welcomed()
    bench.due("replay")

    assert bench.of(LinkLost)[0].failure.kind == "timeout"
    assert bench.of(LinkDown) == [LinkDown(generation=1)]


def test_a_hub_of_another_version_is_refused_for_good() -> None:
    bench = upgraded()
    bench.came(frame("hello", HELLO | {"v": 2}))

    assert bench.of(CloseConnection)[0].code == 4303
    bench.tell(Ended(generation=1, failure=GONE))
    assert bench.of(LinkLost)[0].failure.code == 4303


@pytest.mark.parametrize(
    "frames",
    [
        [frame("welcome", WELCOME)],
        [frame("hello", HELLO), frame("hello", HELLO)],
        [frame("hello", HELLO), frame("replay.end")],
        [frame("hello", HELLO), Frame(type="msg.event", seq=1)],
        [frame("hello", HELLO), frame("auth.ok")],
        [frame("hello", HELLO), frame("welcome", WELCOME), frame("welcome", WELCOME)],
    ],
)
def test_a_frame_in_the_wrong_phase_is_rejected_and_the_connection_goes_on(frames: list[Frame]) -> None:
    # A3.3
    bench = upgraded()
    bench.came(*frames)

    assert len(bench.of(FrameRejected)) == 1
    assert bench.of(CloseConnection) == []


def test_a_session_resumed_that_nobody_claimed_is_not_believed() -> None:
    bench = upgraded(resume(None))
    bench.came(frame("hello", HELLO), frame("welcome", WELCOME))

    assert bench.of(LinkUp) == []
    assert "nobody asked for" in bench.of(FrameRejected)[0].why


def test_the_table_has_a_row_for_each_control_frame() -> None:
    for phases in CONTROL_TABLE.values():
        assert phases
        assert Phase.CONNECTING not in phases
        assert Phase.DRAINING not in phases


# Limits.


@pytest.mark.parametrize(
    "hello_ms,welcome_ms,interval",
    [(20_000, 20_000, 10.0), (4_000, 20_000, 4.0), (20_000, 3_000, 3.0), (1, 1, 1.0)],
)
def test_the_hub_may_shorten_the_heartbeat_and_never_lengthen_it(
    hello_ms: int, welcome_ms: int, interval: float
) -> None:
    # SEMANTICS "Time"
    bench = upgraded()
    bench.came(frame("hello", HELLO | {"hb_ms": hello_ms}), frame("welcome", WELCOME | {"hb_ms": welcome_ms}))

    assert [t for t in bench.of(StartTimer) if t.timer == "beat"] == [StartTimer("beat", interval / 2, 1)]
    assert [t for t in bench.of(StartTimer) if t.timer == "silence"] == [
        StartTimer("silence", interval + 5.0, 1)
    ]


@pytest.mark.parametrize("hub,agreed", [(50_000, 50_000), (10_000_000, 262_144)])
def test_of_two_frame_limits_the_smaller_holds(hub: int, agreed: int) -> None:
    bench = upgraded()
    bench.came(frame("hello", HELLO | {"max_frame": hub}), frame("welcome", WELCOME))

    assert bench.of(LinkUp)[0].max_frame == agreed


def test_batches_are_sent_to_a_hub_that_takes_them() -> None:
    bench = upgraded()
    bench.came(frame("hello", HELLO | {"caps": ["batch"]}))
    assert bench.batch

    bench = greeted()
    assert not bench.batch
    bench.came(frame("welcome", WELCOME | {"caps": ["batch"]}))
    assert bench.batch

    bench = welcomed()
    assert not bench.batch
    bench.came(frame("ping"), batch=True)
    assert bench.batch


# Frames in and out.


def test_frames_of_the_application_go_to_delivery_whatever_their_type() -> None:
    # unknown types with a number must be acknowledged, and delivery does that
    bench = ready()
    frames = (Frame(type="msg.event", seq=8), Frame(type="brand.new", seq=9), Frame(type="typing"))
    bench.came(*frames)

    assert bench.of(Received) == [Received(generation=1, frames=frames)]


def test_an_acknowledgement_on_a_control_frame_reaches_delivery_as_one() -> None:
    bench = ready()
    bench.came(frame("pong", {"n": 1}, ack=12), Frame(type="ack", ack=13))

    assert bench.of(Received) == [
        Received(generation=1, frames=(Frame(type="ack", ack=12),)),
        Received(generation=1, frames=(Frame(type="ack", ack=13),)),
    ]


def test_an_acknowledgement_on_the_welcome_says_nothing_new() -> None:
    bench = greeted()
    bench.came(frame("welcome", WELCOME, ack=5))

    assert bench.of(Received) == []
    assert bench.of(FrameRejected) == []


def test_a_malformed_frame_is_told_with_reason_and_size_and_kills_nothing() -> None:
    # A3.3
    bench = ready()
    bench.tell(
        Arrived(generation=1, frames=(Frame(type="ping", seq=3),), rejected=(Rejected("nonsense", 8),))
    )

    assert [event.why for event in bench.of(FrameRejected)] == [
        "nonsense",
        "a ping frame with a sequence number: control frames carry none",
    ]
    assert bench.of(FrameRejected)[0].size == 8
    assert bench.phase is Phase.READY


def test_an_oversized_message_closes_the_connection_with_4306() -> None:
    # REALTIME 1.2: 4306 frame_too_big
    bench = ready()
    bench.tell(Oversized(generation=1, detail="too big"))

    assert bench.of(CloseConnection) == [CloseConnection(4306, "too big")]
    assert bench.of(LinkDown) == [LinkDown(generation=1)]


def test_what_delivery_transmits_is_written_in_its_order() -> None:
    for bench in (welcomed(), ready()):
        frames = (Frame(type="msg.publish", seq=1), Frame(type="msg.publish", seq=2))
        bench.tell(Transmit(generation=1, frames=frames))

        assert bench.decisions == [Write(frames)]


def test_frames_for_a_connection_that_is_not_there_are_dropped_and_volatile_ones_counted() -> None:
    # A3.4: the outbox keeps what is reliable
    bench = ready()
    frames = (Frame(type="msg.publish", seq=1), Frame(type="typing"))
    assert bench.tell(Transmit(generation=0, frames=frames)) == []
    bench.tell(Ended(generation=1, failure=GONE))
    assert bench.tell(Transmit(generation=1, frames=frames)) == []

    assert bench.machine.shed == 2
    assert bench.machine.stale == 2


def test_a_ping_of_the_hub_is_answered_with_its_number_and_our_acknowledgement() -> None:
    # REALTIME 1.2: ping and pong both carry ack
    bench = ready()
    bench.tell(Transmit(generation=1, frames=(Frame(type="ack", ack=9), Frame(type="ack", ack=8))))
    bench.came(frame("ping", {"n": 77}))

    assert bench.written() == [frame("pong", {"n": 77}, ack=9)]


def test_an_error_about_a_message_is_for_delivery() -> None:
    bench = ready()
    error = frame("error", {"code": "x", "message": "y"}, re="m-1")
    bench.came(error)

    assert bench.of(Received) == [Received(generation=1, frames=(error,))]


def test_an_error_about_nothing_of_ours_is_told() -> None:
    bench = ready()
    bench.came(frame("error", {"code": 4006, "message": "slow down", "retry_after_ms": 3000}))

    assert bench.of(PeerError) == [PeerError(1, "4006", "slow down")]


def test_the_time_that_an_error_asked_for_is_told_when_the_link_is_lost() -> None:
    # Retry-After in band, for 4006 and 1013
    bench = ready()
    bench.came(frame("error", {"code": "rate", "message": "slow down", "retry_after_ms": 3000}))
    bench.tell(Ended(generation=1, failure=LinkFailure(kind="closed", code=4006)))

    assert bench.of(LinkLost)[0].failure.retry_after == 3.0


def test_a_queue_over_its_bound_ends_the_connection_to_be_resumed() -> None:
    # A3.4
    bench = ready()
    bench.tell(Overflowed(generation=1, what="too much"))

    assert bench.of(AbortConnection)
    assert bench.of(LinkLost)[0].failure.kind == "overflow"


# The heartbeat (A3.2).


def test_each_beat_sends_a_ping_and_plans_the_next() -> None:
    # A3.2
    bench = ready()
    bench.wait(5.0)
    bench.heard_at = bench.now
    bench.due("beat")

    assert bench.written() == [frame("ping", {"n": 1})]
    assert StartTimer("beat", 10.0, 1) in bench.decisions
    assert StartTimer("silence", 15.0, 1) in bench.decisions


def test_a_pong_measures_the_round_trip() -> None:
    # A3.2
    bench = ready()
    bench.due("beat")
    bench.wait(0.25)
    bench.came(frame("pong", {"n": 1}))

    assert bench.of(Latency) == [Latency(1, 0.25)]


def test_a_pong_for_no_ping_is_nothing() -> None:
    assert ready().came(frame("pong", {"n": 5})) == []
    assert greeted().came(frame("pong", {"n": 5})) == []


def test_a_zombie_is_aborted_without_waiting_for_its_close_and_reported() -> None:
    # A3.2: silent for heartbeat + 5 s
    bench = ready()
    bench.wait(15.0)
    bench.due("silence")

    assert bench.of(HeartbeatMissed) == [HeartbeatMissed(1, 15.0)]
    assert bench.of(AbortConnection)
    assert bench.of(CloseConnection) == []
    assert bench.of(LinkLost)[0].failure.kind == "zombie"
    assert bench.of(LinkDown) == [LinkDown(generation=1)]


def test_a_connection_that_was_heard_lately_only_has_its_check_moved() -> None:
    bench = ready()
    bench.wait(15.0)
    bench.heard_at = bench.now - 4.0
    bench.due("silence")

    assert bench.decisions == [StartTimer("silence", 11.0, 1)]


def test_after_a_sleep_of_the_machine_a_probe_goes_out_at_once() -> None:
    # REALTIME 1.2
    bench = ready()
    bench.due("silence")
    bench.wait(1.0)
    bench.wall += 3600.0
    bench.due("silence")

    assert bench.written() == [frame("ping", {"n": 1})]
    assert StartTimer("silence", 3.0, 1) in bench.decisions
    bench.wait(3.0)
    bench.due("silence")
    assert bench.of(LinkLost)[0].failure.kind == "zombie"


def test_a_check_that_comes_after_the_close_began_checks_nothing() -> None:
    bench = ready()
    bench.tell(HangUp(code=1001, reason=""))
    bench.wait(100.0)

    assert bench.due("silence") == []
    assert bench.due("beat") == []


# Tokens in band (A1.8, D1).


def test_a_new_token_reaches_a_live_connection_without_dropping_it() -> None:
    # A1.8, D1
    bench = ready()
    bench.tell(token(5))

    [refresh] = bench.written()
    assert (refresh.type, refresh.id) == ("auth.refresh", "auth-1-5")
    assert msgspec.json.decode(refresh.payload) == {"token": "t-5"}
    assert bench.phase is Phase.READY
    assert bench.came(frame("auth.ok", {"exp_ms": 1}, re="auth-1-5")) == []


def test_a_token_that_the_hub_has_seen_is_not_sent_again() -> None:
    # REALTIME pain 16: a refresh that spans a reconnect
    bench = ready()
    assert bench.tell(token(4)) == []
    bench.tell(token(6))
    bench.came(frame("auth.ok"))

    assert bench.tell(token(5)) == []
    assert bench.tell(token(6)) == []


def test_a_token_that_changes_during_the_handshake_is_sent_when_the_link_is_ready() -> None:
    bench = greeted()
    assert bench.tell(token(5)) == []
    bench.came(frame("welcome", WELCOME))
    assert bench.written() == []
    bench.came(frame("replay.end"))

    assert [each.id for each in bench.written()] == ["auth-1-5"]


def test_a_token_that_changes_before_the_upgrade_and_is_presented_there_is_not_sent_again() -> None:
    bench = dialled()
    bench.tell(token(5))
    bench.tell(Upgraded(generation=1, token_generation=5, resume=resume()))
    bench.came(frame("hello", HELLO), frame("welcome", WELCOME), frame("replay.end"))

    assert [each.type for each in bench.written()] == ["connect"]


def test_a_token_without_a_connection_waits_for_the_next_dial_to_ask_for_it() -> None:
    assert Bench().tell(token(5)) == []


def test_a_refused_refresh_is_told_and_the_connection_goes_on() -> None:
    bench = ready()
    bench.tell(token(5))
    bench.came(frame("error", {"code": "bad_token", "message": "no"}, re="auth-1-5"))

    assert bench.of(TokenRefreshRefused) == [TokenRefreshRefused(1, "bad_token: no")]
    assert bench.phase is Phase.READY


def test_an_answer_to_the_refresh_of_an_older_connection_is_not_taken_for_this_ones() -> None:
    # REALTIME pain 16
    bench = ready()
    bench.tell(token(5))
    bench.came(frame("error", {"code": "late"}, re="auth-0-5"))

    assert bench.of(TokenRefreshRefused) == []


@pytest.mark.parametrize(
    "answer", [frame("auth.ok", {"exp_ms": 1}), frame("error", {"code": "x"}, re="auth-1-5")]
)
def test_one_refresh_is_in_flight_at_a_time_and_the_newest_token_goes_next(answer: Frame) -> None:
    bench = ready()
    bench.tell(token(5))
    assert bench.tell(token(6)) == []
    assert bench.tell(token(7)) == []
    bench.came(answer)

    assert [each.id for each in bench.written()] == ["auth-1-7"]


def test_an_expiring_token_is_replaced_once() -> None:
    # auth.expiring
    bench = ready()
    bench.came(frame("auth.expiring", {"in_ms": 30_000}))
    assert bench.decisions == [AskFreshToken(4)]
    bench.tell(token(5))

    assert bench.came(frame("auth.expiring", {"in_ms": 30_000})) == []


def test_a_dial_that_is_to_refresh_names_the_token_that_was_refused() -> None:
    # 42xx: refresh credentials, then resume
    bench = ready()
    bench.tell(Ended(generation=1, failure=GONE))
    bench.tell(Dial(generation=2, refresh_token=True))

    assert bench.of(OpenConnection) == [OpenConnection(2, 4)]


# The way down.


def test_a_goaway_drains_the_connection_and_names_the_time_to_come_back() -> None:
    # goaway -> drain and reconnect
    bench = ready()
    bench.draw = 0.25
    bench.came(frame("goaway", {"reason": "deploy", "reconnect_in_ms": [1000, 5000], "deadline_ms": 9000}))
    assert bench.phase is Phase.DRAINING
    assert bench.of(CloseConnection) == [CloseConnection(1001, "told to go away")]
    bench.tell(Ended(generation=1, failure=GONE))

    [lost] = bench.of(LinkLost)
    assert (lost.failure.kind, lost.failure.detail, lost.failure.retry_after) == ("draining", "deploy", 2.0)


def test_a_range_turned_round_is_a_range() -> None:
    bench = ready()
    bench.came(frame("goaway", {"reconnect_in_ms": [5000, 1000]}))
    bench.tell(Ended(generation=1, failure=GONE))

    assert bench.of(LinkLost)[0].failure.retry_after == 3.0


def test_a_bye_of_the_hub_ends_the_session() -> None:
    bench = ready()
    bench.came(frame("bye", {"reason": "logged out elsewhere"}))
    bench.tell(Ended(generation=1, failure=GONE))

    failure = bench.of(LinkLost)[0].failure
    assert (failure.kind, failure.code, failure.detail) == ("closed", 1000, "logged out elsewhere")


@pytest.mark.parametrize("destroy", [True, False])
def test_a_bye_is_said_only_when_the_session_is_to_be_destroyed(*, destroy: bool) -> None:
    # REALTIME 1.2: shutdown sends bye only if the session must be destroyed
    bench = ready()
    bench.tell(HangUp(code=1000, reason="done", destroy_session=destroy))

    assert [each.type for each in bench.written()] == (["bye"] if destroy else [])
    assert bench.of(CloseConnection) == [CloseConnection(1000, "done")]


def test_hanging_up_for_a_gap_is_a_lost_link_with_its_code() -> None:
    # delivery: HangUp(4004, "seq gap")
    bench = ready()
    bench.tell(HangUp(code=4004, reason="seq gap"))
    assert bench.tell(HangUp(code=4004, reason="seq gap")) == []
    bench.tell(Ended(generation=1, failure=GONE))

    assert bench.of(LinkLost)[0].failure == LinkFailure(kind="closed", code=4004, detail="seq gap")


def test_hanging_up_during_the_dial_drops_it() -> None:
    bench = dialled()
    bench.tell(HangUp(code=1001, reason="enough"))

    assert bench.of(AbortConnection)
    assert bench.phase is Phase.CLOSED


def test_hanging_up_without_a_connection_is_nothing() -> None:
    assert Bench().tell(HangUp(code=1001, reason="")) == []


def test_a_close_that_hangs_is_cut_off() -> None:
    # REALTIME 1.2: close bounded
    bench = ready()
    bench.tell(HangUp(code=4004, reason="seq gap"))
    assert StartTimer("close", 2.0, 1) in bench.decisions
    bench.due("close")

    assert bench.of(AbortConnection)
    assert bench.of(LinkLost)[0].failure.code == 4004


def test_what_comes_in_while_draining_is_not_looked_at() -> None:
    bench = ready()
    bench.tell(HangUp(code=1001, reason=""))

    assert bench.came(Frame(type="msg.event", seq=1), frame("ping"), frame("goaway")) == []
    assert bench.tell(Oversized(generation=1, detail="")) == []


def test_an_ended_connection_is_told_to_everybody_once() -> None:
    bench = ready()
    bench.tell(Ended(generation=1, failure=GONE))

    assert bench.decisions == [
        TellDelivery(LinkDown(generation=1)),
        StopTimers(("dial", "replay", "beat", "silence", "close")),
        Emit(Disconnected(1, "reset", "gone", None)),
        TellReconnect(LinkLost(generation=1, failure=GONE)),
    ]
    assert bench.tell(Ended(generation=1, failure=GONE)) == []


def test_delivery_is_not_told_of_the_end_of_what_it_never_heard_of() -> None:
    bench = greeted()
    bench.tell(Ended(generation=1, failure=GONE))

    assert bench.of(LinkDown) == []
    assert len(bench.of(LinkLost)) == 1


@pytest.mark.parametrize(
    "fact",
    [
        Upgraded(generation=1, token_generation=9, resume=resume()),
        Arrived(generation=1, frames=(frame("bye"),)),
        Ended(generation=1, failure=GONE),
        Due(generation=1, timer="dial"),
        Oversized(generation=1, detail=""),
        Overflowed(generation=1, what=""),
    ],
)
def test_facts_of_an_older_generation_are_dropped_and_counted(fact: Message) -> None:
    # SEMANTICS "Actors" 2
    bench = ready()
    bench.tell(Dial(generation=2))

    assert bench.tell(fact) == []
    assert bench.machine.stale == 1
    assert bench.phase is Phase.CONNECTING


def test_an_upgrade_told_twice_is_one() -> None:
    bench = ready()

    assert bench.tell(Upgraded(generation=1, token_generation=9, resume=resume())) == []
    assert bench.phase is Phase.READY


def test_a_fact_of_nobody_is_a_bug_of_ours() -> None:
    with pytest.raises(AssertionError, match="facts of this machine only"):
        Bench().tell(Message())
