from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.socket.heartbeat import PROBE_DEADLINE, ROUNDING, Alive, Dead, Heartbeat, Probe


def heart() -> Heartbeat:
    return Heartbeat(interval=10.0, dead_after=5.0)


@pytest.mark.parametrize("draw,delay", [(0.0, 0.0), (0.5, 5.0)])
def test_the_first_beat_is_spread_over_an_interval(draw: float, delay: float) -> None:
    # REALTIME 1.2: first at hb x U(0, 1)
    assert heart().first_beat(draw) == delay


def test_silence_for_the_interval_and_five_seconds_more_is_death() -> None:
    # A3.2, SEMANTICS "Time"
    beats = heart()

    assert beats.check(now=14.0, wall=14.0, heard_at=0.0) == Alive(1.0)
    assert beats.check(now=15.0, wall=15.0, heard_at=0.0) == Dead(15.0)


def test_any_byte_puts_death_off() -> None:
    # REALTIME 1.2: any inbound frame counts as alive
    beats = heart()

    assert beats.check(now=15.0, wall=15.0, heard_at=6.0) == Alive(6.0)


def test_the_round_trip_is_measured_from_ping_to_pong() -> None:
    # A3.2
    beats = heart()
    number = beats.ping(now=3.0)

    assert beats.pong(number, now=3.25) == 0.25
    assert beats.latency == 0.25


def test_a_pong_that_nobody_asked_for_measures_nothing() -> None:
    beats = heart()
    number = beats.ping(now=3.0)
    beats.pong(number, now=4.0)

    assert beats.pong(number, now=9.0) is None
    assert beats.pong(99, now=9.0) is None
    assert beats.latency == 1.0


def test_pings_that_stay_without_answer_are_not_kept_for_ever() -> None:
    beats = heart()
    numbers = [beats.ping(now=float(n)) for n in range(100)]

    assert beats.pong(numbers[0], now=100.0) is None
    assert beats.pong(numbers[-1], now=100.0) == 1.0


def test_after_a_sleep_of_the_machine_one_probe_decides() -> None:
    # REALTIME 1.2: after a jump > 2 x hb a probe ping with a 3 s deadline
    beats = heart()
    beats.check(now=0.0, wall=1000.0, heard_at=0.0)

    assert beats.check(now=9.0, wall=1030.0, heard_at=0.0) == Probe(PROBE_DEADLINE)
    assert beats.check(now=11.0, wall=1032.0, heard_at=0.0) == Alive(1.0)
    assert beats.check(now=12.0, wall=1033.0, heard_at=0.0) == Dead(12.0)


def test_a_probe_that_is_answered_is_forgotten() -> None:
    beats = heart()
    beats.check(now=0.0, wall=1000.0, heard_at=0.0)
    beats.check(now=9.0, wall=1030.0, heard_at=0.0)

    assert beats.check(now=12.0, wall=1033.0, heard_at=10.0) == Alive(13.0)


def test_a_process_that_was_stopped_does_not_take_its_own_absence_for_silence() -> None:
    # A stopped process: both clocks went on, and nobody looked.
    beats = heart()
    beats.check(now=0.0, wall=0.0, heard_at=0.0)

    assert beats.check(now=600.0, wall=600.0, heard_at=0.0) == Probe(PROBE_DEADLINE)


@pytest.mark.parametrize("wall", [-5000.0, 25.0])
def test_a_small_or_backward_step_of_the_wall_clock_is_no_jump(wall: float) -> None:
    beats = heart()
    beats.check(now=0.0, wall=0.0, heard_at=0.0)

    assert beats.check(now=10.0, wall=wall, heard_at=9.0) == Alive(14.0)


@given(st.floats(0.0, 1e6), st.floats(0.0, 15.0))
def test_a_check_made_when_it_was_due_never_asks_for_one_at_the_same_instant(
    start: float, heard: float
) -> None:
    # In virtual time that would stand still for ever.
    beats = heart()
    now = start + heard
    for _ in range(10):
        health = beats.check(now, now, start)
        if not isinstance(health, Alive):
            return
        assert now + health.next_check > now
        now += health.next_check
    raise AssertionError("never came to an end")


@given(st.lists(st.tuples(st.floats(0.01, 10), st.booleans()), max_size=50))
def test_a_connection_that_is_heard_within_every_interval_never_dies(
    steps: list[tuple[float, bool]],
) -> None:
    beats = heart()
    now = heard = 0.0
    for seconds, listened in steps:
        now += seconds
        if listened or now - heard >= 10.0:
            heard = now
        assert isinstance(beats.check(now, now, heard), Alive)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=50))
def test_a_silent_connection_is_dead_at_fifteen_seconds_and_not_before(steps: list[float]) -> None:
    beats = heart()
    now = 0.0
    for seconds in steps:
        now += seconds
        health = beats.check(now, now, heard_at=0.0)
        assert isinstance(health, Dead) == (now >= 15.0 - ROUNDING)
