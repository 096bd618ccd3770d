from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.hub.codec import ResumeClaim
from holdfast.actors.hub.session import Acked, Heard, Limits, Session, Why, hash_key, judge_resume
from holdfast.runtime import Secret

KEY = Secret("first-key")
NEWER = Secret("second-key")


def new_session(**changes: object) -> Session:
    limits = Limits(window_frames=4, window_bytes=100, backlog_frames=8, backlog_bytes=200)
    session = Session("s-1", "alice", "laptop", hash_key(KEY), limits=limits)
    for name, value in changes.items():
        setattr(session, name, value)
    return session


def claim(key: Secret = KEY, **changes: int | str) -> ResumeClaim:
    return ResumeClaim(**{"session": "s-1", "key": key, "epoch": "e", "recv_seq": 0, **changes})  # type: ignore[arg-type]


def why(session: Session | None, wanted: ResumeClaim, **changes: object) -> Why | None:
    given_ = {
        "epoch": "e",
        "subject": "alice",
        "client_id": "laptop",
        "wall_now": 100.0,
        "ttl": 60.0,
        **changes,
    }
    return judge_resume(session, wanted, **given_)  # type: ignore[arg-type]


# -- the receiver's rule


def test_a_number_is_applied_only_when_it_is_the_next_one() -> None:
    session = new_session()

    assert [session.hear(n) for n in (1, 2, 2, 1, 4, 3)] == [
        Heard.NEXT, Heard.NEXT, Heard.DUPLICATE, Heard.DUPLICATE, Heard.GAP, Heard.NEXT,
    ]  # fmt: skip
    assert session.recv_seq == 3


@given(st.lists(st.integers(1, 12)))
def test_what_is_applied_is_always_one_two_three_and_so_on(numbers: list[int]) -> None:
    session = new_session()

    applied = [n for n in numbers if session.hear(n) is Heard.NEXT]

    assert applied == list(range(1, len(applied) + 1))


# -- windows


def test_no_more_frames_are_on_the_wire_than_the_window_lets() -> None:
    session = new_session()
    for _ in range(6):
        session.append(10)
    session.attach(1, hash_key(KEY), claim=None, now=0)

    assert session.due() == 4
    session.sent(4, 0)
    assert session.due() == 0
    assert session.acknowledge(3, 1) is Acked.PROGRESS
    assert session.due() == 2


def test_no_more_bytes_are_on_the_wire_than_the_window_lets() -> None:
    session = new_session()
    for size in (60, 30, 20):
        session.append(size)
    session.attach(1, hash_key(KEY), claim=None, now=0)

    assert session.due() == 2
    session.sent(2, 0)
    session.acknowledge(1, 1)
    assert session.due() == 1


def test_a_message_larger_than_the_window_goes_alone() -> None:
    session = new_session()
    session.append(150)
    session.append(1)
    session.attach(1, hash_key(KEY), claim=None, now=0)

    assert session.due() == 1
    session.sent(1, 0)
    assert session.due() == 0


@given(st.lists(st.integers(1, 120), max_size=8), st.data())
def test_a_window_never_holds_more_than_its_bounds_and_always_moves_on(
    sizes: list[int], data: st.DataObject
) -> None:
    session = new_session()
    accepted = [size for size in sizes if session.append(size) is not None]
    session.attach(1, hash_key(KEY), claim=None, now=0)

    while session.acked_seq < session.sent_seq:
        session.sent(session.due(), 0)
        flying = accepted[session.acked_seq : session.wire_seq]
        assert flying, "an empty window must let something out"
        assert len(flying) <= 4
        assert sum(flying) <= 100 or len(flying) == 1
        session.acknowledge(data.draw(st.integers(session.acked_seq + 1, session.wire_seq)), 0)
        assert session.backlog_bytes == sum(accepted[session.acked_seq :])


def test_a_full_backlog_takes_no_more_by_number_nor_by_bytes() -> None:
    many, large = new_session(), new_session()

    assert [many.append(1) for _ in range(9)] == [1, 2, 3, 4, 5, 6, 7, 8, None]
    assert [large.append(150), large.append(51), large.append(50)] == [1, None, 2]


def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    session = new_session()
    session.append(1)
    session.attach(1, hash_key(KEY), claim=None, now=0)

    assert session.acknowledge(1, 0) is Acked.IMPOSSIBLE
    session.sent(1, 0)
    assert session.acknowledge(1, 0) is Acked.PROGRESS
    assert session.acknowledge(1, 0) is Acked.NOTHING_NEW


def test_a_client_is_slow_from_when_it_began_to_owe_an_acknowledgement() -> None:
    session = new_session()
    session.attach(1, hash_key(KEY), claim=None, now=0)
    assert session.stalled_at(30) is None

    for _ in range(2):
        session.append(1)
    session.sent(1, now=50)
    session.sent(1, now=60)
    assert session.stalled_at(30) == 80
    session.acknowledge(1, now=70)
    assert session.stalled_at(30) == 100


# -- resume


def test_a_client_with_the_right_key_and_numbers_gets_its_session_again() -> None:
    assert why(new_session(detached_at=50.0), claim()) is None


@pytest.mark.parametrize(
    "changes, wanted, expected",
    [
        ({}, claim(epoch="older"), Why.EPOCH),
        ({}, claim(Secret("guess")), Why.TAKEN),
        ({"subject": "bob"}, claim(), Why.UNKNOWN),
        ({"client_id": "phone"}, claim(), Why.UNKNOWN),
        ({"detached_at": 39.0}, claim(), Why.EXPIRED),
        ({"acked_seq": 3, "sent_seq": 5}, claim(recv_seq=2), Why.GAP),
        ({"sent_seq": 5}, claim(recv_seq=6), Why.GAP),
        ({"recv_seq": 3}, claim(sent_lo=5, sent_hi=7), Why.GAP),
        ({"recv_seq": 9}, claim(sent_lo=5, sent_hi=7), Why.GAP),
    ],
)
def test_a_claim_that_does_not_fit_is_answered_with_the_reason(
    changes: dict[str, object], wanted: ResumeClaim, expected: Why
) -> None:
    assert why(new_session(**changes), wanted) is expected


def test_a_session_that_nobody_knows_is_unknown() -> None:
    assert why(None, claim()) is Why.UNKNOWN


@pytest.mark.parametrize(
    "changes, wanted",
    [
        ({"detached_at": 40.0}, claim()),
        ({"acked_seq": 3, "sent_seq": 5}, claim(recv_seq=3)),
        ({"sent_seq": 5}, claim(recv_seq=5)),
        ({"recv_seq": 4}, claim(sent_lo=5, sent_hi=7)),
        ({"recv_seq": 7}, claim(sent_lo=5, sent_hi=7)),
        ({"recv_seq": 7}, claim(sent_lo=0, sent_hi=0)),
        ({"recv_seq": 7}, claim(sent_lo=8, sent_hi=7)),
    ],
)
def test_claims_at_the_edge_still_fit(changes: dict[str, object], wanted: ResumeClaim) -> None:
    assert why(new_session(**changes), wanted) is None


def test_a_resumed_session_sends_again_what_the_client_lacks_and_nothing_else() -> None:
    session = new_session()
    for _ in range(3):
        session.append(10)
    session.attach(1, hash_key(KEY), claim=None, now=0)
    session.sent(3, 0)

    session.attach(2, hash_key(NEWER), claim=claim(recv_seq=1), now=1)

    assert (session.acked_seq, session.wire_seq, session.due()) == (1, 1, 2)


def test_the_old_key_dies_when_the_client_has_shown_that_it_has_the_new_one() -> None:
    session = new_session()
    session.attach(2, hash_key(NEWER), claim=claim(KEY), now=0)

    assert why(session, claim(KEY)) is None, "the welcome may be lost"
    assert session.confirm_key()
    assert why(session, claim(KEY)) is Why.TAKEN
    assert why(session, claim(NEWER)) is None


def test_a_lost_welcome_never_costs_the_session_however_often_it_is_lost() -> None:
    session = new_session()
    for number in range(2, 6):
        assert why(session, claim(KEY)) is None
        session.attach(number, hash_key(Secret(f"lost-{number}")), claim=claim(KEY), now=0)
    assert why(session, claim(KEY)) is None


# -- fencing


def test_a_takeover_names_the_connection_that_loses_the_session() -> None:
    session = new_session()

    assert session.attach(1, hash_key(KEY), claim=None, now=0) is None
    assert session.attach(2, hash_key(NEWER), claim=claim(), now=0) == 1
    assert session.generation == 2


def test_the_end_of_a_connection_that_was_taken_over_detaches_nobody() -> None:
    session = new_session()
    session.attach(1, hash_key(KEY), claim=None, now=0)
    session.attach(2, hash_key(NEWER), claim=claim(), now=0)

    assert not session.detach(1, 10.0)
    assert (session.connection, session.detached_at) == (2, None)
    assert session.detach(2, 11.0)
    assert (session.connection, session.detached_at) == (None, 11.0)
