"""Exponential back-off with full jitter: pure numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.runtime import Backoff, InvalidBackoff


# SEMANTICS Supervision 2
def test_the_ceiling_doubles_up_to_the_cap() -> None:
    backoff = Backoff(initial=1, multiplier=2, cap=8)
    assert [backoff.ceiling(attempt) for attempt in range(6)] == [1, 2, 4, 8, 8, 8]


@given(
    st.floats(0.001, 10), st.floats(1, 100), st.floats(0, 1000), st.integers(0, 10**6), st.floats(0, 0.999)
)
def test_a_delay_is_never_above_its_ceiling_nor_the_cap(
    initial: float, multiplier: float, more: float, attempt: int, uniform: float
) -> None:
    backoff = Backoff(initial=initial, multiplier=multiplier, cap=initial + more)
    assert 0 <= backoff.delay(attempt, uniform) <= backoff.ceiling(attempt) <= backoff.cap
    assert backoff.ceiling(attempt) <= backoff.ceiling(attempt + 1)


@pytest.mark.parametrize(
    "numbers",
    [
        {"initial": 0},
        {"initial": -1},
        {"initial": 6, "cap": 5},
        {"initial": float("nan")},
        {"cap": float("inf")},
        {"cap": float("nan")},
        {"multiplier": 0.5},
        {"multiplier": float("nan")},
        {"multiplier": float("inf")},
        {"stable_after": -1},
        {"stable_after": float("nan")},
    ],
)
def test_numbers_that_make_no_sense_are_refused_when_they_are_written(numbers: dict[str, float]) -> None:
    with pytest.raises(InvalidBackoff, match="must be"):
        Backoff(**numbers)
