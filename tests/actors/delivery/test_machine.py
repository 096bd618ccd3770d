"""What a new link, an acknowledgement and a lying hub mean."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.actors.delivery.machine import LinkPhase, Machine, Memory
from holdfast.actors.delivery.messages import AppendVolatile, LinkUp
from holdfast.actors.delivery.outbox import Entry
from holdfast.actors.delivery.settings import DeliverySettings
from holdfast.actors.socket.messages import Frame
from holdfast.runtime import Secret

NOBODY: frozenset[str] = frozenset()
SETTINGS = DeliverySettings(message_age=60.0, inbox_messages=1)


def entries(*sizes: int, numbered: int = 0) -> tuple[Entry, ...]:
    return tuple(Entry(n, size, 0.0, n if n <= numbered else None) for n, size in enumerate(sizes, 1))


def machine(*sizes: int, numbered: int = 0, recv_seq: int = 0, restarted: bool = False) -> Machine:
    """Make one that has a session `s` in epoch `e`."""
    memory = Memory(
        client_id="c",
        session="s",
        key=Secret("k"),
        epoch="e",
        sent_seq=numbered,
        recv_seq=recv_seq,
        last_position=len(sizes),
        entries=entries(*sizes, numbered=numbered),
    )
    return Machine(SETTINGS, memory, restarted=restarted)


def welcome(
    *,
    generation: int = 1,
    resumed: bool = True,
    recv_seq: int = 0,
    session: str = "s",
    epoch: str = "e",
    frames: int = 10,
    max_frame: int = 1_000,
) -> LinkUp:
    return LinkUp(
        generation=generation,
        session=session,
        key=Secret("k2"),
        epoch=epoch,
        resumed=resumed,
        why=None,
        recv_seq=recv_seq,
        session_ttl=60.0,
        window_frames=frames,
        window_bytes=10_000,
        max_frame=max_frame,
    )


def join(made: Machine, fact: LinkUp, wall_now: float = 0.0) -> None:
    opening = made.weigh_link(fact, wall_now)
    assert opening is not None
    assert opening.hang_up is None
    made.link_opened(opening)


# D4.3
def test_a_resumed_link_drops_what_the_hub_has_and_holds_new_sends_until_the_replay_ended() -> None:
    made = machine(10, 10, 10, numbered=2)

    join(made, welcome(recv_seq=1))
    assert made.next_batch() == ()
    assert made.replay_ended(1, 0) is None

    assert [(e.position, e.seq) for e in made.next_batch()] == [(2, 2), (3, 3)]


# D4.3
def test_a_new_session_sends_everything_again_from_one_at_once() -> None:
    made = machine(10, 10, numbered=2, recv_seq=7)

    opening = made.weigh_link(welcome(resumed=False, session="t"), 0.0)
    assert opening is not None
    assert opening.continuity_lost
    made.link_opened(opening)

    assert [(e.position, e.seq) for e in made.next_batch()] == [(1, 1), (2, 2)]
    assert made.inbox.recv_seq == 0


def test_continuity_is_not_lost_where_nothing_was_received() -> None:
    opening = machine(recv_seq=0).weigh_link(welcome(resumed=False, session="t"), 0.0)

    assert opening is not None
    assert not opening.continuity_lost


@pytest.mark.parametrize("generation", [1, 2])
def test_a_link_that_is_not_newer_is_dropped_and_counted(generation: int) -> None:
    made = machine()
    join(made, welcome(generation=2))

    assert made.weigh_link(welcome(generation=generation), 0.0) is None
    assert made.state().stale_facts == 1


def test_facts_of_an_older_generation_are_dropped_and_counted() -> None:
    made = machine(10)
    join(made, welcome(generation=2))

    assert not made.current(1)
    assert made.replay_ended(1, 0) is None
    assert not made.link_down(1)

    assert (made.phase, made.state().stale_facts) == (LinkPhase.REPLAYING, 3)


def test_after_the_socket_ended_generations_may_start_anew() -> None:
    made = machine()
    join(made, welcome(generation=7))

    made.socket_ended()
    join(made, welcome(generation=1))

    assert made.linked


def test_a_restarted_incarnation_believes_no_mail_that_was_said_to_the_last_one() -> None:
    made = machine(restarted=True)

    assert made.weigh_link(welcome(generation=3), 0.0) is None
    assert not made.current(3)
    made.socket_ended()
    assert made.weigh_link(welcome(generation=3), 0.0) is None, "a Down does not change that"

    made.past_read()
    join(made, welcome(generation=4))


@pytest.mark.parametrize(
    "lie,reason",
    [
        (welcome(session="other"), "resumed a session that is not ours"),
        (welcome(epoch="other"), "resumed in another epoch"),
        (welcome(recv_seq=3), "welcome: recv_seq 3, possible is 0 to 2"),
        (welcome(max_frame=9), "a numbered frame exceeds the new limit"),
    ],
)
def test_a_resume_that_cannot_be_is_ended_with_the_session(lie: LinkUp, reason: str) -> None:
    opening = machine(10, 10, 10, numbered=2).weigh_link(lie, 0.0)

    assert opening is not None
    assert opening.hang_up is not None
    assert (opening.hang_up.reason, opening.hang_up.destroy_session) == (reason, True)
    assert 4100 <= opening.hang_up.code < 4200, "reconnect, with a new session"


def test_a_hub_that_has_forgotten_what_it_acknowledged_is_not_resumed() -> None:
    made = machine(10, 10, numbered=2)
    join(made, welcome(recv_seq=2))

    opening = made.weigh_link(welcome(generation=2, recv_seq=1), 0.0)

    assert opening is not None
    assert opening.hang_up is not None


def test_an_acknowledgement_of_what_was_never_sent_ends_the_session() -> None:
    made = machine(10, 10, numbered=1)
    join(made, welcome())

    end = made.took_in(made.weigh_frames((Frame(type="ack", ack=2),), NOBODY))

    assert end is not None
    assert (end.reason, end.destroy_session) == ("acknowledged 2, only 1 were sent", True)


def test_an_acknowledgement_is_cumulative_and_an_older_one_is_nothing() -> None:
    made = machine(10, 10, 10, numbered=3)
    join(made, welcome())

    for ack in (2, 1):
        assert made.took_in(made.weigh_frames((Frame(type="ack", ack=ack),), NOBODY)) is None

    assert (len(made.outbox), made.outbox.acked_seq) == (1, 2)


# D4.3
def test_a_gap_hangs_up_with_4004_and_keeps_the_session() -> None:
    made = machine()
    join(made, welcome())

    end = made.took_in(made.weigh_frames((Frame(type="msg.event", seq=2),), NOBODY))

    assert end is not None
    assert (end.code, end.reason, end.destroy_session) == (4004, "seq gap", False)
    assert made.state().gaps == 1


def test_a_replay_that_ends_beyond_what_came_is_a_gap() -> None:
    made = machine(recv_seq=3)
    join(made, welcome())

    end = made.replay_ended(1, 4)

    assert end is not None
    assert end.code == 4004


def test_parked_frames_count_as_replayed() -> None:
    made = machine()
    join(made, welcome())
    frames = tuple(Frame(type="msg.event", seq=seq) for seq in (1, 2, 3))

    assert made.took_in(made.weigh_frames(frames, NOBODY)) is None

    assert made.state().parked_frames == 2
    assert made.replay_ended(1, 3) is None


def test_frames_beyond_the_window_while_the_inbox_is_full_hang_up_to_be_resumed() -> None:
    made = machine()
    join(made, welcome(frames=2))
    frames = tuple(Frame(type="msg.event", seq=seq) for seq in range(1, 5))

    end = made.took_in(made.weigh_frames(frames, NOBODY))

    assert end is not None
    assert (end.code, end.destroy_session) == (4002, False)


def test_an_abandoned_link_is_not_believed_any_more() -> None:
    made = machine(10)
    join(made, welcome())
    made.replay_ended(1, 0)

    made.abandoned()

    assert not made.current(1)
    assert made.next_batch() == ()
    assert made.link_down(1)
    assert made.phase is LinkPhase.DOWN


# A3.4
def test_what_is_too_old_is_given_up_only_while_the_link_is_down() -> None:
    made = machine(10, 10, numbered=1)
    old = [removal.position for removal in made.expired(61.0)]
    assert old == [2], "the hub may have what has a number"

    join(made, welcome())
    assert made.expired(61.0) == ()


# A3.4
def test_a_new_session_gives_up_what_is_too_old_or_too_large_with_the_reason() -> None:
    made = machine(10, 2_000, numbered=2)

    opening = made.weigh_link(welcome(resumed=False, session="t"), 61.0)

    assert opening is not None
    assert [(r.position, r.reason) for r in opening.removals] == [
        (2, "2000 bytes as a frame, the hub takes at most 1000"),
        (1, "not acknowledged within 60 s"),
    ]


def test_a_volatile_message_is_dropped_and_counted_unless_the_link_is_ready() -> None:
    made = machine()
    typing = AppendVolatile("typing", "c", msgspec.Raw(b"{}"))

    assert made.volatile_frame(typing) is None
    join(made, welcome())
    assert made.volatile_frame(typing) is None
    made.replay_ended(1, 0)

    frame = made.volatile_frame(typing)
    assert frame is not None
    assert (frame.type, frame.ch, frame.seq) == ("typing", "c", None)
    assert made.state().volatile_dropped == 2


def test_the_resume_presents_what_is_committed() -> None:
    resume = machine(10, 10, 10, numbered=2, recv_seq=5).resume()

    assert (resume.client_id, resume.session, resume.epoch, resume.recv_seq) == ("c", "s", "e", 5)
    assert (resume.sent_lo, resume.sent_hi) == (1, 2)
    assert "k" not in repr(resume.key)
