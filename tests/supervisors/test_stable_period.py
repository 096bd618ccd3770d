"""When a delay begins anew: after a stable period, and what is one (SEMANTICS, Beyond OTP 2)."""

from __future__ import annotations

import pytest
from tests.supervisors.stage import Stage, child

from holdfast.runtime import Backoff
from holdfast.supervisors import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    REST_FOR_ONE,
    Budget,
    RestartDelayed,
    Strategy,
    supervisor,
)
from holdfast.supervisors.messages import Reconfigure, RestartChild, RestartPath, TerminateChild

# With a draw of 1.0 the delays are 1, 2, 4, 4, ...
BACKOFF = Backoff(initial=1.0, multiplier=2.0, cap=4.0, stable_after=10.0)


def delayed(strategy: Strategy = ONE_FOR_ONE) -> Stage:
    children = [child(name) for name in "abc"]
    spec = supervisor("top", *children, strategy=strategy, budget=Budget(100, 60.0), backoff=BACKOFF)
    stage = Stage(spec, chance=1.0).boot()
    stage.take()
    return stage


def test_a_start_that_takes_longer_than_the_stable_period_is_no_stable_period() -> None:
    # Beyond OTP 2: neither one that fails in the end, nor one that succeeds
    stage = delayed()
    stage.start_takes, stage.fails = {"b": 11.0}, {"b": {2}}
    stage.end("b")

    assert stage.wait(1.0) == ["!b", "b in 2"]
    assert stage.wait(2.0) == ["+b"]
    stage.now += 9.9
    assert stage.end("b") == ["b in 4"]


def test_a_slow_start_of_one_member_is_no_stable_period_of_its_group() -> None:
    stage = delayed(ONE_FOR_ALL)
    stage.start_takes, stage.fails = {"c": 11.0}, {"c": {2}}
    stage.end("a")
    stage.wait(1.0)

    assert [report.delay for report in stage.said(RestartDelayed)] == [1.0, 2.0]


@pytest.mark.parametrize("seconds, delay", [(9.9, "b in 4"), (10.0, "b in 1")])
def test_a_delay_cancelled_by_hand_is_no_part_of_the_stable_period(seconds: float, delay: str) -> None:
    # Beyond OTP 2 and 11: it counts from the start by hand, not from the attempt that was not made
    stage = delayed()
    stage.end("b")
    stage.wait(1.0)
    stage.end("b")
    stage.call(TerminateChild("b"))
    stage.call(RestartChild("b"))
    stage.now += seconds
    assert stage.end("b") == [delay]

    stage = delayed(ONE_FOR_ALL)
    stage.end("b")
    stage.wait(1.0)
    stage.end("b")
    stage.call(RestartPath("b"))
    stage.now += seconds
    assert stage.end("b")[-1] == delay


def test_a_restart_by_hand_after_a_stable_period_begins_a_new_series() -> None:
    stage = delayed()
    stage.end("b")
    stage.wait(1.0)
    stage.now += 10.0
    stage.call(RestartPath("b"))

    assert stage.end("b") == ["b in 1"]


def test_one_that_is_started_by_hand_beside_a_member_that_waits_makes_no_stable_group() -> None:
    # R38
    slow = Backoff(initial=50.0, cap=100.0, stable_after=10.0)
    spec = supervisor("top", child("a"), child("b"), strategy=REST_FOR_ONE, backoff=slow)
    stage = Stage(spec, chance=1.0).boot()
    stage.end("a")
    stage.call(RestartChild("b"))
    stage.now += 20.0

    assert stage.end("b") == ["b in 100"]


def test_reconfigured_without_back_off_a_delay_is_waited_out_and_is_the_last() -> None:
    # S-B13
    stage = delayed(ONE_FOR_ALL)
    stage.end("b")
    plain = supervisor("top", child("a"), child("b"), child("c"), strategy=ONE_FOR_ALL)
    assert stage.call(Reconfigure(plain)) is None
    stage.take()

    assert stage.wait(0.9) == []
    assert stage.wait(0.1) == ["+a", "+b", "+c"]
    assert stage.end("b") == ["-c", "-a", "+a", "+b", "+c"]
