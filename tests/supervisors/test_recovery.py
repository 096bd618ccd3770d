from __future__ import annotations

import pytest
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import Backoff, GaveUp
from holdfast.supervisors import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    REST_FOR_ONE,
    STOP,
    Budget,
    ChildStartFailed,
    FullRestart,
    FullRestartCompleted,
    FullRestartStarted,
    RestartDelayed,
    Strategy,
    supervisor,
)
from holdfast.supervisors.messages import RestartAll, RestartPath, StopSupervisor, TerminateChild
from holdfast.supervisors.plan import RetryDue

# With a draw of 1.0 the delays are 1, 2, 4, 4, ...
BACKOFF = Backoff(initial=1.0, multiplier=2.0, cap=4.0, stable_after=10.0)


async def nothing() -> None:
    pass


def delayed(strategy: Strategy = ONE_FOR_ONE, *, intensity: int = 100, period: float = 60.0) -> Stage:
    spec = supervisor(
        "top",
        child("a"),
        child("b"),
        child("c"),
        strategy=strategy,
        budget=Budget(intensity, period),
        backoff=BACKOFF,
    )
    stage = Stage(spec, chance=1.0).boot()
    stage.take()
    return stage


def test_with_back_off_a_child_waits_as_restarting_before_each_attempt() -> None:
    # Beyond OTP 2
    stage = delayed()

    assert stage.end("b") == ["b in 1"]
    assert stage.states()["b"] == "restarting"
    assert stage.wait(0.9) == []
    assert stage.wait(0.1) == ["+b"]


def test_the_delay_is_a_draw_between_zero_and_a_ceiling_that_doubles_up_to_the_cap() -> None:
    # Beyond OTP 2
    stage = delayed()
    stage.fails = {"b": range(2, 5)}
    stage.chance = 0.5

    assert stage.end("b") == ["b in 0.5"]
    assert stage.wait(60.0) == ["!b", "b in 1", "!b", "b in 2", "!b", "b in 2", "+b"]


def test_the_attempt_is_charged_when_it_is_made() -> None:
    # Beyond OTP 2
    stage = delayed(intensity=1)
    stage.end("b")
    assert stage.machine.recovery.restarts == 0

    stage.wait(1.0)
    assert stage.machine.recovery.restarts == 1


def test_giving_up_comes_when_the_attempt_would_be_made() -> None:
    # Beyond OTP 2, R15
    stage = delayed(intensity=0)
    stage.end("b")
    assert stage.ended is None

    assert stage.wait(1.0) == ["-c", "-a"]
    assert stage.ended == GaveUp(("top/b", "top"))


def test_a_start_that_merely_succeeded_resets_nothing() -> None:
    # Beyond OTP 2
    stage = delayed()
    stage.end("b")
    stage.wait(1.0)
    stage.now += 9.9

    assert stage.end("b") == ["b in 2"]


def test_the_delay_starts_anew_after_a_stable_period() -> None:
    # Beyond OTP 2
    stage = delayed()
    stage.end("b")
    stage.wait(1.0)
    stage.now += 10.0

    assert stage.end("b") == ["b in 1"]


def test_each_child_has_its_own_delay_under_one_for_one_and_a_group_has_one() -> None:
    stage = delayed(ONE_FOR_ONE)
    assert stage.end("a") + stage.end("b") == ["a in 1", "b in 1"]

    stage = delayed(ONE_FOR_ALL)
    stage.end("a")
    stage.wait(1.0)
    stage.take()
    assert stage.end("b")[-1] == "b in 2"


@pytest.mark.parametrize(
    "strategy,stopped,started",
    [
        (REST_FOR_ONE, ["-c", "b in 1"], ["+b", "+c"]),
        (ONE_FOR_ALL, ["-c", "-a", "b in 1"], ["+a", "+b", "+c"]),
    ],
)
def test_the_members_of_the_group_stay_stopped_during_the_delay(
    strategy: Strategy, stopped: list[str], started: list[str]
) -> None:
    # Beyond OTP 2
    stage = delayed(strategy)

    assert stage.end("b") == stopped
    assert stage.wait(1.0) == started
    (report,) = stage.said(RestartDelayed)
    assert "attempt 1 in 1.00 s" in report.sentence()


def test_members_that_a_failed_attempt_had_started_are_stopped_for_the_next_delay() -> None:
    # Beyond OTP 2
    stage = delayed(ONE_FOR_ALL)
    stage.fails = {"c": {2}}
    stage.end("a")

    assert stage.wait(1.0) == ["+a", "+b", "!c", "-b", "-a", "c in 2"]
    assert stage.wait(2.0) == ["+a", "+b", "+c"]


def test_terminating_the_child_cancels_its_delay() -> None:
    # Beyond OTP 2, R36
    stage = delayed()
    stage.end("b")

    assert stage.call(TerminateChild("b")) is None
    stage.take()
    assert stage.wait(60.0) == []
    assert stage.states()["b"] == "stopped"


def test_an_orderly_restart_cancels_the_delay_and_starts_at_once() -> None:
    # Beyond OTP 2 and 11
    stage = delayed()
    stage.end("b")
    stage.take()
    stage.call(RestartPath("b"))

    assert stage.take() == ["+b"]
    assert stage.wait(60.0) == []


def test_a_stop_is_served_during_the_delay() -> None:
    # Beyond OTP 2
    stage = delayed()
    stage.end("b")
    stage.take()
    stage.call(StopSupervisor())

    assert stage.take() == ["-c", "-a"]


def test_a_timer_that_was_cancelled_too_late_means_nothing() -> None:
    # trap 6: a delayed retry is matched by its serial
    stage = delayed()
    stage.end("b")
    stale = stage.timers["b"][1]
    stage.call(RestartPath("b"))
    stage.end("b")

    assert stage.hear(stale) == []
    assert stage.states()["b"] == "restarting"
    assert stage.hear(RetryDue("b")) == []


def test_a_group_restart_takes_over_from_a_member_that_waits() -> None:
    # R13: its own retry is void then
    stage = delayed(REST_FOR_ONE)
    stage.end("c")
    stage.end("a")

    assert stage.wait(60.0) == ["+a", "+b", "+c"]


def full(*, intensity: int = 3, backoff: Backoff | None = None, hook: bool = False) -> Stage:
    spec = supervisor(
        "top",
        child("a"),
        child("b"),
        strategy=ONE_FOR_ALL,
        budget=Budget(intensity, 300.0),
        backoff=backoff,
        full_restart=FullRestart(drain=5.0, stop=10.0, before_start=nothing if hook else None),
    )
    stage = Stage(spec, chance=1.0).boot()
    stage.take()
    return stage


CEREMONY = ["drain 5", "stop within 10", "-b", "+a", "+b", "finish"]


def test_a_full_restart_drains_stops_in_reverse_under_one_deadline_and_starts_in_order() -> None:
    # Beyond OTP 7
    assert full().end("a") == CEREMONY


def test_a_full_restart_is_announced_before_and_after_with_the_time_it_took() -> None:
    # Beyond OTP 7
    stage = full(backoff=BACKOFF)
    stage.end("a", GaveUp(("top/a/x", "top/a")))
    assert len(stage.said(FullRestartStarted)) == 1
    assert not stage.said(FullRestartCompleted)

    stage.wait(1.0)
    (completed,) = stage.said(FullRestartCompleted)
    assert completed.sentence() == "top completed its full restart in 1.00 s"
    assert stage.machine.recovery.full_restarts == 1


def test_the_hook_runs_when_everything_is_stopped() -> None:
    # Beyond OTP 7
    assert full(hook=True).end("a") == ["drain 5", "stop within 10", "-b", "prepare", "+a", "+b", "finish"]


def test_a_failed_attempt_is_part_of_the_same_full_restart() -> None:
    # Beyond OTP 7, R14
    stage = full()
    stage.fails = {"b": {2}}
    stage.end("a")
    stage.retry()

    assert len(stage.said(FullRestartStarted)) == len(stage.said(FullRestartCompleted)) == 1
    assert stage.machine.recovery.restarts == 2


def test_a_failing_hook_counts_as_a_failed_attempt() -> None:
    stage = full(hook=True)
    stage.prepare_fails = 1

    assert stage.end("a") == ["drain 5", "stop within 10", "-b", "prepare"]
    assert stage.states()["a"] == "restarting"
    assert stage.retry() == ["prepare", "+a", "+b", "finish"]


def test_a_full_restart_has_its_own_budget_and_then_the_supervisor_gives_up() -> None:
    # Beyond OTP 7
    stage = full(intensity=1)
    stage.end("a")
    stage.end("b")

    assert stage.ended == GaveUp(("top/b", "top"))


def test_an_operators_full_restart_has_the_same_ceremony_and_no_charge() -> None:
    # Beyond OTP 7 and 11
    stage = full(intensity=0)
    assert stage.call(RestartAll("asked")) is None

    assert stage.take() == ["drain 5", "stop within 10", "-b", "-a", "+a", "+b", "finish"]
    assert stage.machine.recovery.restarts == 0


def test_an_operators_full_restart_that_cannot_start_tells_the_caller_and_goes_on() -> None:
    stage = full()
    stage.fails = {"a": {2}}

    assert isinstance(stage.call(RestartAll()), ChildStartFailed)
    assert stage.retry() == ["+a", "+b", "finish"]


def test_a_full_restart_cancelled_by_hand_is_over() -> None:
    # R36
    stage = full(backoff=BACKOFF)
    stage.end("a")
    stage.call(TerminateChild("a"))
    stage.take()
    stage.call(RestartAll())

    assert len(stage.said(FullRestartStarted)) == 2


def test_a_child_given_up_during_a_full_restart_does_not_keep_it_from_completing() -> None:
    # Beyond OTP 5 and 7
    spec = supervisor(
        "top",
        child("a", on_give_up=STOP, budget=Budget(1, 60.0)),
        child("b"),
        strategy=ONE_FOR_ALL,
        full_restart=FullRestart(),
    )
    stage = Stage(spec).boot()
    stage.fails = {"a": range(2, 9)}
    stage.end("a", CRASH)
    stage.take()

    assert stage.retry() == ["retire a", "+b", "finish"]
    assert stage.states() == {"a": "stopped", "b": "running"}
