"""The receiver rule, and a slow application."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.delivery.inbox import AckDue, Inbox, Trouble
from holdfast.actors.socket.messages import Frame

NOBODY: frozenset[str] = frozenset()


def inbox(
    *, recv_seq: int = 0, messages_max: int = 100, size_max: int = 10_000, ack_every: int = 16
) -> Inbox:
    made = Inbox(
        recv_seq=recv_seq,
        position=0,
        depth=0,
        size=0,
        messages_max=messages_max,
        size_max=size_max,
        ack_every=ack_every,
    )
    made.open_window(4, 1_000)
    return made


def event(seq: int, name: str | None = None, size: int = 2) -> Frame:
    return Frame(type="msg.event", id=name, seq=seq, payload=msgspec.Raw(b"{" + b" " * (size - 2) + b"}"))


# D4.3
def test_the_next_number_is_stored_and_advances_the_cursor() -> None:
    intake = inbox(recv_seq=6).weigh((event(7), event(8)), NOBODY)

    assert [frame.seq for frame in intake.stored] == [7, 8]
    assert (intake.recv_seq, intake.advanced, intake.reliable) == (8, True, 2)


# D4.3
def test_a_number_seen_before_is_dropped_and_acknowledged_again() -> None:
    intake = inbox(recv_seq=6).weigh((event(5), event(6)), NOBODY)

    assert (intake.stored, intake.recv_seq, intake.duplicates) == ((), 6, 2)
    assert intake.reliable == 2, "the hub asked again, so it has not heard"


# D4.3
def test_a_number_beyond_the_next_is_never_applied() -> None:
    intake = inbox(recv_seq=6).weigh((event(7), event(9), event(8)), NOBODY)

    assert [frame.seq for frame in intake.stored] == [7]
    assert (intake.recv_seq, intake.trouble) == (7, Trouble.GAP)


def test_an_id_known_from_an_older_session_is_not_stored_but_its_number_counts() -> None:
    intake = inbox().weigh((event(1, "a"), event(2, "b")), frozenset({"a"}))

    assert [frame.id for frame in intake.stored] == ["b"]
    assert (intake.recv_seq, intake.duplicates) == (2, 1)


def test_an_id_repeated_within_one_batch_is_stored_once() -> None:
    intake = inbox().weigh((event(1, "a"), event(2, "a")), NOBODY)

    assert [frame.seq for frame in intake.stored] == [1]
    assert intake.recv_seq == 2


def test_control_frames_acknowledge_and_are_no_messages() -> None:
    intake = inbox().weigh((Frame(type="pong", ack=3), Frame(type="ack", ack=4)), NOBODY)

    assert (intake.stored, intake.ack, intake.changes) == ((), 4, False)


def test_a_volatile_message_is_handed_on_without_a_number() -> None:
    intake = inbox(recv_seq=3).weigh((Frame(type="typing"),), NOBODY)

    assert [frame.type for frame in intake.stored] == ["typing"]
    assert (intake.recv_seq, intake.reliable) == (3, 0)


# A3.4
def test_frames_beyond_the_inbox_wait_unacknowledged_in_order() -> None:
    full = inbox(messages_max=1)

    intake = full.weigh((event(1), event(2), event(3)), NOBODY)

    assert ([f.seq for f in intake.stored], [f.seq for f in intake.parked]) == ([1], [2, 3])
    assert intake.recv_seq == 1, "what is parked is not acknowledged"


# A3.4
def test_room_in_bytes_counts_like_room_in_messages() -> None:
    intake = inbox(size_max=10).weigh((event(1, size=6), event(2, size=6)), NOBODY)

    assert ([f.seq for f in intake.stored], [f.seq for f in intake.parked]) == ([1], [2])


def test_parked_frames_are_stored_first_when_room_comes_free() -> None:
    full = inbox(messages_max=1)
    full.took_in(full.weigh((event(1), event(2)), NOBODY))
    assert full.stuck

    full.processed(1, 2)
    intake = full.weigh((event(3),), NOBODY)

    assert ([f.seq for f in intake.stored], [f.seq for f in intake.parked]) == ([2], [3])
    assert intake.first_position == 2


def test_a_known_id_does_not_overtake_parked_frames() -> None:
    full = inbox(messages_max=1)

    intake = full.weigh((event(1), event(2), event(3, "known")), frozenset({"known"}))

    assert intake.recv_seq == 1
    assert [f.seq for f in intake.parked] == [2, 3]


def test_a_hub_that_goes_on_beyond_the_window_is_hung_up() -> None:
    full = inbox(messages_max=1)

    intake = full.weigh(tuple(event(seq) for seq in range(1, 8)), NOBODY)

    assert intake.trouble is Trouble.OVERRUN
    assert intake.recv_seq == 1


def test_a_volatile_message_is_shed_when_the_inbox_is_full() -> None:
    intake = inbox(messages_max=1).weigh((event(1), Frame(type="typing")), NOBODY)

    assert (len(intake.stored), intake.shed) == (1, 1)


def test_what_was_parked_is_forgotten_with_the_link() -> None:
    full = inbox(messages_max=1)
    full.took_in(full.weigh((event(1), event(2)), NOBODY))

    full.close_window()

    assert (full.contiguous, full.parked) == (1, ())


def test_every_sixteenth_frame_is_acknowledged_at_once_and_fewer_after_a_delay() -> None:
    made = inbox()

    made.took_in(made.weigh((event(1),), NOBODY))
    assert made.ack_due() is AckDue.LATER
    made.took_in(made.weigh((event(2),), NOBODY))
    assert made.ack_due() is AckDue.NOT, "one delay is running"
    made.took_in(made.weigh(tuple(event(seq) for seq in range(3, 17)), NOBODY))
    assert made.ack_due() is AckDue.NOW

    made.acknowledged()
    assert made.ack_due() is AckDue.NOT
    assert not made.ack_delay_passed(), "something has carried it meanwhile"


@given(st.lists(st.integers(1, 12), max_size=60))
def test_the_cursor_agrees_with_counting_by_hand(numbers: list[int]) -> None:
    made = inbox()
    expected: list[int] = []

    for number in numbers:
        intake = made.weigh((event(number),), NOBODY)
        made.took_in(intake)
        if number == len(expected) + 1:
            expected.append(number)
            assert [frame.seq for frame in intake.stored] == [number]
        else:
            assert not intake.stored
        assert made.recv_seq == len(expected)
