from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.supervisors import Budget, InvalidSpec
from holdfast.supervisors.intensity import Window


def test_the_attempt_after_the_last_allowed_one_is_refused() -> None:
    # R15
    window = Window(Budget(2, 10.0))

    assert [window.charge(t) for t in (0.0, 1.0, 2.0)] == [True, True, False]


def test_an_intensity_of_zero_allows_no_attempt_at_all() -> None:
    # R15, X4
    assert not Window(Budget(0, 5.0)).charge(0.0)


def test_an_attempt_exactly_as_old_as_the_period_still_counts() -> None:
    # W1: the edge is inclusive
    window = Window(Budget(1, 5.0))

    assert window.charge(0.0)
    assert not window.charge(5.0)


def test_an_attempt_older_than_the_period_is_forgotten() -> None:
    # W1; OTP would count whole seconds
    window = Window(Budget(1, 5.0))

    assert window.charge(0.0)
    assert window.charge(math.nextafter(5.0, 6.0))


def test_the_window_slides_instead_of_starting_anew() -> None:
    # W2: around the edge of a fixed window, twice the intensity would pass
    window = Window(Budget(2, 10.0))

    assert [window.charge(t) for t in (0.0, 9.0, 10.5, 11.0)] == [True, True, True, False]


def test_what_is_left_and_when_it_clears_is_told() -> None:
    window = Window(Budget(3, 10.0))
    window.charge(1.0)
    window.charge(4.0)

    assert (window.left(5.0), window.clears_in(5.0)) == (1, 6.0)
    assert (window.left(12.0), window.clears_in(12.0)) == (2, 2.0)
    assert (window.left(50.0), window.clears_in(50.0)) == (3, 0.0)


@given(
    times=st.lists(st.integers(0, 60), max_size=60).map(sorted),
    intensity=st.integers(0, 5),
    period=st.integers(1, 20),
)
def test_charging_agrees_with_counting_by_hand(times: list[int], intensity: int, period: int) -> None:
    window = Window(Budget(intensity, float(period)))
    made: list[int] = []

    for now in times:
        in_window = [t for t in made if now - t <= period]
        expected = len(in_window) + 1 <= intensity
        assert window.left(now) == intensity - len(in_window)
        assert window.charge(now) == expected
        if expected:
            made.append(now)


@given(
    gaps=st.lists(st.floats(0.0, 3.0), max_size=40),
    intensity=st.integers(0, 5),
    later=st.integers(0, 5),
    period=st.floats(0.1, 5.0),
)
def test_with_any_times_no_window_of_a_period_holds_too_many_and_the_oldest_clears_on_time(
    gaps: list[float], intensity: int, later: int, period: float
) -> None:
    # W1, W2: exact with floats too, and after another budget was adopted (S-B13)
    window, made, now = Window(Budget(intensity, period)), list[float](), 1e6
    for place, gap in enumerate(gaps):
        now += gap
        if place == len(gaps) // 2:
            window.adopt(Budget(later, period))
        counting = [at for at in made if now - at <= period]
        assert window.left(now) == max(0, window.budget.intensity - len(counting))
        assert window.clears_in(now) == (max(0.0, counting[0] + period - now) if counting else 0.0)
        if window.charge(now):
            made.append(now)
            counting.append(now)
            assert len(counting) <= window.budget.intensity


@pytest.mark.parametrize("intensity", [-1, 1.5, True, None, "3"])
def test_an_intensity_that_is_no_whole_number_of_zero_or_more_is_refused(intensity: object) -> None:
    # 3.3 case 28
    with pytest.raises(InvalidSpec, match="intensity is a whole number of 0 or more"):
        Budget(intensity, 5.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("period", [0, -1.0, math.inf, math.nan, "5", True])
def test_a_period_that_is_no_finite_number_above_zero_is_refused(period: object) -> None:
    # 3.3 case 28
    with pytest.raises(InvalidSpec, match="period is a finite number of seconds above 0"):
        Budget(3, period)  # type: ignore[arg-type]
