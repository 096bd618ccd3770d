from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.hub.rate import KEYS_MAX, RateLimit


def test_a_burst_is_allowed_and_then_one_for_each_interval() -> None:
    limit = RateLimit(3, 30)

    assert [limit.take("k", 0) for _ in range(3)] == [None, None, None]
    assert limit.take("k", 0) == 10
    assert limit.take("k", 4) == 6
    assert limit.take("k", 10) is None
    assert limit.take("k", 10) == 10


def test_a_refused_try_costs_nothing() -> None:
    limit = RateLimit(1, 10)
    limit.take("k", 0)
    for _ in range(50):
        limit.take("k", 5)

    assert limit.take("k", 10) is None


def test_keys_do_not_pay_for_each_other() -> None:
    limit = RateLimit(1, 10)

    assert [limit.take(key, 0) for key in ("a", "b", "a")] == [None, None, 10]


def test_the_memory_is_bounded_and_forgets_whoever_was_away_longest() -> None:
    limit = RateLimit(1, 1e9)
    for number in range(KEYS_MAX):
        limit.take(str(number), 0)

    assert limit.take("0", 1) is not None, "seen again, so no longer the oldest"
    limit.take("one more", 1)
    assert limit.take("1", 2) is None
    assert limit.take("0", 2) is not None


@given(st.lists(st.floats(0, 20), max_size=60).map(sorted), st.integers(1, 5))
def test_no_window_ever_holds_more_than_twice_the_count(times: list[float], count: int) -> None:
    limit = RateLimit(count, 5.0)
    taken = [now for now in times if limit.take("k", now) is None]

    # A full bucket at the start of the window and its refill during it.
    for start in taken:
        assert sum(start <= now < start + 5.0 for now in taken) <= 2 * count
