"""What the socket's machine promises whatever the hub sends, in whatever order."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.auth.messages import Token, TokenChanged
from holdfast.actors.delivery.messages import LinkDown, LinkUp, Received, ReplayEnded, Resume
from holdfast.actors.reconnect.messages import LinkFailure, LinkLost, LinkReady
from holdfast.actors.socket.codec import Rejected
from holdfast.actors.socket.decisions import (
    AbortConnection,
    Arrived,
    Decision,
    Due,
    Ended,
    Moment,
    OpenConnection,
    Overflowed,
    Oversized,
    TellDelivery,
    TellReconnect,
    Upgraded,
    Write,
)
from holdfast.actors.socket.machine import SocketMachine
from holdfast.actors.socket.messages import Dial, Frame, HangUp, Transmit
from holdfast.actors.socket.phases import Phase
from holdfast.actors.socket.settings import SocketSettings
from holdfast.runtime import Message, Secret

BODIES: list[object] = [
    {},
    {"v": 1},
    {"v": 3},
    {"v": 1, "hb_ms": 1, "caps": ["batch"]},
    {"session": "s", "key": "k", "epoch": "e", "resumed": False},
    {"session": "s", "key": "k", "epoch": "e", "resumed": True, "recv_seq": 9},
    {"through": 3},
    {"n": 1},
    {"reason": "x", "reconnect_in_ms": [5, 1]},
    {"code": "x", "message": "y", "retry_after_ms": 10},
]
KINDS = [
    "hello",
    "welcome",
    "replay.end",
    "ping",
    "pong",
    "auth.ok",
    "auth.expiring",
    "goaway",
    "error",
    "bye",
    "ack",
    "msg.event",
    "unheard.of",
]
FRAMES = st.builds(
    Frame,
    type=st.sampled_from(KINDS),
    seq=st.none() | st.integers(1, 5),
    ack=st.none() | st.integers(0, 5),
    re=st.none() | st.sampled_from(["m-1", "auth-1-2"]),
    payload=st.sampled_from(BODIES).map(lambda body: msgspec.Raw(msgspec.json.encode(body))),
)
GENERATIONS = st.integers(0, 4)
RESUMES = st.sampled_from(
    [
        Resume(client_id="c", session=None, key=None, epoch=None, recv_seq=0, sent_lo=1, sent_hi=0),
        Resume(client_id="c", session="s", key=Secret("k"), epoch="e", recv_seq=1, sent_lo=1, sent_hi=4),
    ]
)
FAILURES = st.sampled_from([LinkFailure(kind="reset"), LinkFailure(kind="closed", code=4300)])
FACTS: st.SearchStrategy[Message] = st.one_of(
    st.builds(Dial, generation=GENERATIONS, fresh_session=st.booleans(), refresh_token=st.booleans()),
    st.builds(
        HangUp, code=st.sampled_from([1000, 1001, 4004]), reason=st.just("r"), destroy_session=st.booleans()
    ),
    st.builds(Transmit, generation=GENERATIONS, frames=st.lists(FRAMES, max_size=3).map(tuple)),
    st.builds(
        TokenChanged,
        token=st.builds(
            Token, access_token=st.just(Secret("t")), generation=st.integers(1, 4), expires_at=st.just(1.0)
        ),
    ),
    st.builds(Upgraded, generation=GENERATIONS, token_generation=st.integers(1, 4), resume=RESUMES),
    st.builds(
        Arrived,
        generation=GENERATIONS,
        frames=st.lists(FRAMES, max_size=6).map(tuple),
        rejected=st.sampled_from([(), (Rejected("why", 3),)]),
        batch=st.booleans(),
    ),
    st.builds(Oversized, generation=GENERATIONS, detail=st.just("d")),
    st.builds(Overflowed, generation=GENERATIONS, what=st.just("w")),
    st.builds(Ended, generation=GENERATIONS, failure=FAILURES),
    st.builds(
        Due, generation=GENERATIONS, timer=st.sampled_from(["dial", "replay", "beat", "silence", "close"])
    ),
)
SCRIPT = st.lists(st.tuples(FACTS, st.sampled_from([0.0, 0.5, 5.0, 20.0])), max_size=40)
# The first steps of a good connection, so that the interesting phases are reached.
PRELUDE: list[tuple[Message, float]] = [
    (Dial(generation=1), 0.0),
    (Upgraded(generation=1, token_generation=1, resume=Resume("c", None, None, None, 0, 1, 0)), 0.0),
    (Arrived(generation=1, frames=(Frame("hello", payload=msgspec.Raw(b'{"v":1}')),)), 0.0),
    (
        Arrived(
            generation=1,
            frames=(
                Frame(
                    "welcome",
                    payload=msgspec.Raw(b'{"session":"s","key":"k","epoch":"e","resumed":false}'),
                ),
            ),
        ),
        0.0,
    ),
    (Arrived(generation=1, frames=(Frame("replay.end"),)), 0.0),
]
PRELUDES = st.integers(0, len(PRELUDE)).map(lambda length: PRELUDE[:length])


def run(script: list[tuple[Message, float]]) -> tuple[SocketMachine, list[list[Decision]]]:
    machine = SocketMachine(SocketSettings("wss://hub.example"))
    now = 0.0
    decided: list[list[Decision]] = []
    for fact, seconds in script:
        now += seconds
        decided.append(machine.handle(fact, Moment(now=now, wall=now, draw=0.5, heard_at=now - seconds)))
    return machine, decided


def told(decided: list[list[Decision]]) -> list[Message]:
    return [
        each.message for step in decided for each in step if isinstance(each, TellDelivery | TellReconnect)
    ]


@given(PRELUDES, SCRIPT)
def test_whatever_comes_the_machine_never_raises(
    prelude: list[tuple[Message, float]], script: list[tuple[Message, float]]
) -> None:
    # a fault of the remote is never a crash
    run(prelude + script)


@given(PRELUDES, SCRIPT)
def test_what_delivery_hears_of_a_connection_is_between_one_up_and_one_down(
    prelude: list[tuple[Message, float]], script: list[tuple[Message, float]]
) -> None:
    _, decided = run(prelude + script)
    up: int | None = None
    for message in told(decided):
        match message:
            case LinkUp(generation=generation):
                assert up is None
                up = generation
            case LinkDown(generation=generation):
                assert up == generation
                up = None
            case Received(generation=generation) | ReplayEnded(generation=generation):
                assert up == generation
            case _:
                pass


@given(PRELUDES, SCRIPT)
def test_each_generation_ends_at_most_once_and_is_ready_before_that(
    prelude: list[tuple[Message, float]], script: list[tuple[Message, float]]
) -> None:
    _, decided = run(prelude + script)
    lost: list[int] = []
    ready: list[int] = []
    for message in told(decided):
        match message:
            case LinkLost(generation=generation):
                lost.append(generation)
            case LinkReady(generation=generation):
                assert generation not in lost
                ready.append(generation)
            case _:
                pass

    assert lost == sorted(set(lost))
    assert ready == sorted(set(ready))


@given(PRELUDES, SCRIPT)
def test_there_is_never_a_second_connection_beside_an_open_one(
    prelude: list[tuple[Message, float]], script: list[tuple[Message, float]]
) -> None:
    machine = SocketMachine(SocketSettings("wss://hub.example"))
    held = False
    for fact, seconds in prelude + script:
        for decision in machine.handle(fact, Moment(now=seconds, wall=seconds, draw=0.5, heard_at=0.0)):
            match decision:
                case OpenConnection():
                    assert not held
                    held = True
                case AbortConnection():
                    held = False
                case TellReconnect(LinkLost()):
                    # The stream's own end, or the abort before it.
                    held = False
                case Write():
                    assert held
                case _:
                    pass
        if machine.phase is Phase.CLOSED:
            held = False


@given(PRELUDES, SCRIPT)
def test_control_frames_of_ours_never_carry_a_number(
    prelude: list[tuple[Message, float]], script: list[tuple[Message, float]]
) -> None:
    # REALTIME 1.2
    _, decided = run(prelude + script)
    transmitted = {id(frame) for fact, _ in script if isinstance(fact, Transmit) for frame in fact.frames}
    for step in decided:
        for decision in step:
            if isinstance(decision, Write):
                assert all(frame.seq is None for frame in decision.frames if id(frame) not in transmitted)
