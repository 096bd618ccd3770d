"""What counts as seconds, the same wherever a time is declared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.runtime import (
    Actor,
    Backoff,
    HoldfastError,
    InvalidSystem,
    InvalidTimeout,
    LivenessSpec,
    WatchdogSpec,
    open_system,
)
from holdfast.runtime.introspection import checked_timeout
from holdfast.runtime.seconds import is_number, is_seconds, is_seconds_above_zero
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import Budget, Correlation, FullRestart, Readiness, worker

HUGE = 10**400


async def ready(_ref: object) -> bool:
    return True


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text()))
def test_what_counts_as_seconds_can_be_added_to_a_time(value: object) -> None:
    if is_seconds(value):
        assert 0.0 <= float(value) < float("inf")
        assert is_number(value)
    assert is_seconds_above_zero(value) == (is_seconds(value) and value != 0)


@pytest.mark.parametrize("value", [HUGE, -HUGE, True, float("nan"), float("inf"), "1", None, -1])
def test_what_no_clock_can_hold_is_no_number_of_seconds(value: object) -> None:
    assert not is_seconds(value)


# S-I7
@pytest.mark.parametrize(
    "declare",
    [
        lambda: Backoff(initial=HUGE, cap=HUGE),
        lambda: Backoff(multiplier=HUGE),
        lambda: Backoff(stable_after=-HUGE),
        lambda: LivenessSpec(slow=HUGE),
        lambda: LivenessSpec(hung=HUGE),
        lambda: WatchdogSpec(exit_after=HUGE),
        lambda: Budget(3, HUGE),
        lambda: Correlation(3, HUGE),
        lambda: FullRestart(drain=HUGE),
        lambda: Readiness(ready, HUGE),
        lambda: worker("a", Actor, shutdown=HUGE),
        lambda: worker("a", Actor, start_timeout=HUGE),
    ],
)
def test_an_integer_that_no_float_holds_is_refused_where_it_is_declared(
    declare: Callable[[], object],
) -> None:
    with pytest.raises(HoldfastError, match="00000000000000000000"):
        declare()


# S-I7
@both_backends
async def test_a_system_and_an_inspection_refuse_it_too() -> None:
    with pytest.raises(InvalidSystem):
        async with open_system(kill_grace=HUGE):
            pass
    with pytest.raises(InvalidTimeout):
        checked_timeout(HUGE)
