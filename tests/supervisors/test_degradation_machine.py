"""`on_give_up=DEGRADE` in the pure machine: SEMANTICS, Beyond OTP 5."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import NORMAL, Backoff
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    DEGRADE,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    REST_FOR_ONE,
    TRANSIENT,
    Budget,
    ChildBack,
    ChildDegraded,
    ChildSpec,
    ChildStartFailed,
    ChildSwitchedOff,
    FullRestart,
    ProbeDecided,
    ProbeFailed,
    Restart,
    Strategy,
    supervisor,
)
from holdfast.supervisors.breaker import PROBING
from holdfast.supervisors.messages import (
    DeleteChild,
    RestartAll,
    RestartChild,
    RestartPath,
    StopSupervisor,
    TerminateChild,
)

# With a draw of 1.0 the delays are their ceilings: 10, 20, 40, 40, ...
PROBES = Backoff(initial=10.0, multiplier=2.0, cap=40.0, stable_after=30.0)


def soft(name: str, **spec: object) -> ChildSpec:
    return child(name, **{"on_give_up": DEGRADE, "budget": Budget(1, 5.0), "probing": PROBES, **spec})


def stage_of(strategy: Strategy = ONE_FOR_ONE, *, chance: float = 1.0, restart: Restart = PERMANENT) -> Stage:
    children = (child("a"), soft("b", restart=restart), child("c", depends_on=("b",)))
    spec = supervisor("top", *children, strategy=strategy, budget=Budget(0, 5.0))
    stage = Stage(spec, chance=chance).boot()
    stage.take()
    return stage


def degraded(strategy: Strategy = ONE_FOR_ONE, *, chance: float = 1.0, restart: Restart = PERMANENT) -> Stage:
    stage = stage_of(strategy, chance=chance, restart=restart)
    stage.end("b")
    stage.end("b")
    stage.take()
    assert stage.states()["b"] == "degraded"
    return stage


def on_probation(stage: Stage) -> bool:
    return stage.machine.children["b"].on_probation


@pytest.mark.parametrize("strategy", Strategy)
def test_a_child_whose_own_budget_is_spent_is_switched_off_and_its_siblings_go_on(strategy: Strategy) -> None:
    stage = stage_of(strategy)

    stage.end("b")
    assert stage.end("b") == ["off b", "b in 10", "tell c DependencyDegraded"]

    assert stage.states() == {"a": "running", "b": "degraded", "c": "running"}
    assert stage.ended is None
    (report,) = stage.said(ChildDegraded)
    assert (report.intensity, report.period, report.probe_in, report.told) == (1, 5.0, 10.0, ("c",))


def test_it_is_probed_after_its_delay_alone_and_without_charge() -> None:
    stage = degraded(ONE_FOR_ALL)
    charged = stage.machine.recovery.restarts

    assert stage.wait(9.9) == []
    assert stage.wait(0.1) == ["+b", "b in 30"]
    assert stage.machine.recovery.restarts == charged
    assert [report.probe for report in stage.said(ProbeDecided)] == [1]


def test_a_probe_that_stays_up_for_the_stable_period_brings_it_back() -> None:
    stage = degraded()
    stage.wait(10.0)

    assert stage.wait(29.9) == []
    assert on_probation(stage)
    assert stage.wait(0.1) == ["tell c DependencyBack"]
    assert not on_probation(stage)
    (report,) = stage.said(ChildBack)
    assert (report.degraded_for, report.stable_for) == (40.0, 30.0)


def test_a_child_that_is_back_has_its_budget_and_its_first_delay_again() -> None:
    stage = degraded()
    stage.wait(10.0)
    stage.end("b")
    stage.wait(20.0)
    stage.wait(30.0)

    assert stage.end("b") == ["+b"]
    assert stage.end("b") == ["off b", "b in 10", "tell c DependencyDegraded"]


def test_probes_that_cannot_be_started_come_at_growing_distances_up_to_the_cap() -> None:
    stage = degraded()
    stage.fails = {"b": range(3, 7)}

    assert stage.wait(10.0) == ["!b", "off b", "b in 20"]
    assert stage.wait(20.0) == ["!b", "off b", "b in 40"]
    assert stage.wait(80.0) == ["!b", "off b", "b in 40", "!b", "off b", "b in 40"]
    assert [report.failed for report in stage.said(ProbeFailed)] == [1, 2, 3, 4]
    assert len(stage.said(ChildDegraded)) == 1
    assert stage.ended is None  # the supervisor's own budget is 0


def test_a_probe_that_ends_within_the_stable_period_has_failed() -> None:
    stage = degraded()
    stage.wait(10.0)
    stage.wait(29.0)

    assert stage.end("b") == ["off b", "b in 20"]
    assert stage.wait(19.0) == []
    assert stage.wait(1.0) == ["+b", "b in 30"]


def test_at_least_half_of_the_delay_is_waited_whatever_the_draw() -> None:
    stage = degraded(chance=0.0)

    assert stage.wait(4.9) == []
    assert stage.wait(0.1) == ["+b", "b in 30"]


def test_the_default_probes_begin_after_five_seconds_and_end_at_five_minutes() -> None:
    assert [PROBING.ceiling(attempt) for attempt in (0, 1, 6, 1000)] == [5.0, 10.0, 300.0, 300.0]


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, REST_FOR_ONE])
def test_a_group_restart_around_it_leaves_it_switched_off_and_its_probe_scheduled(strategy: Strategy) -> None:
    children = (child("a"), soft("b"), child("c"))
    stage = Stage(supervisor("top", *children, strategy=strategy), chance=1.0).boot()
    stage.end("b")
    stage.end("b")

    assert stage.end("a") == ["-c", "+a", "+c"]
    assert stage.states()["b"] == "degraded"
    assert stage.wait(10.0) == ["+b", "b in 30"]


def test_a_member_on_probation_is_restarted_with_its_group_and_its_stable_period_begins_anew() -> None:
    children = (child("a"), soft("b"), child("c"))
    stage = Stage(supervisor("top", *children, strategy=ONE_FOR_ALL), chance=1.0).boot()
    stage.end("b")
    stage.end("b")
    stage.wait(10.0)
    stage.wait(20.0)

    assert stage.end("a") == ["-c", "-b", "+a", "+b", "b in 30", "+c"]
    stage.wait(29.0)
    assert on_probation(stage)
    stage.wait(1.0)
    assert not on_probation(stage)


def test_a_member_on_probation_that_cannot_be_restarted_with_its_group_does_not_fail_the_group() -> None:
    children = (child("a"), soft("b"), child("c"))
    stage = Stage(supervisor("top", *children, strategy=ONE_FOR_ALL), chance=1.0).boot()
    stage.end("b")
    stage.end("b")
    stage.wait(10.0)
    stage.fails = {"b": {stage.starts["b"] + 1}}

    assert stage.end("a") == ["-c", "-b", "+a", "!b", "off b", "b in 20", "+c"]
    assert stage.machine.recovery.window.left(stage.now) == 2  # one unit, for a


def test_a_dependant_that_starts_while_it_is_switched_off_is_told_at_its_start() -> None:
    children = (soft("b"), child("c", depends_on=("b",)))
    stage = Stage(supervisor("top", *children), chance=1.0).boot()
    stage.end("b")
    stage.end("b")

    assert stage.end("c") == ["+c", "tell c DependencyDegraded"]


def test_one_that_cannot_be_started_at_all_is_switched_off_and_the_supervisor_starts() -> None:
    children = (child("a"), soft("b"), child("c", depends_on=("b",)))
    stage = Stage(supervisor("top", *children), chance=1.0)
    stage.fails = {"b": {1}}
    stage.boot()

    assert stage.take() == ["+a", "!b", "off b", "b in 10", "+c", "tell c DependencyDegraded"]
    assert stage.failed_start is None
    assert stage.wait(10.0) == ["+b", "b in 30"]


def test_the_members_that_waited_for_it_are_started_when_it_is_switched_off() -> None:
    stage = stage_of(REST_FOR_ONE)
    stage.fails = {"b": {2}}
    assert stage.end("b") == ["-c", "!b"]

    assert stage.retry() == ["off b", "b in 10", "+c", "tell c DependencyDegraded"]


@pytest.mark.parametrize("order", ["abb", "bba"])
def test_it_is_not_gone_for_an_automatic_shutdown(order: str) -> None:
    # R25: like one that is being restarted
    children = (
        child("a", restart=TRANSIENT, significant=True),
        soft("b", restart=TRANSIENT, significant=True),
    )
    stage = Stage(supervisor("top", *children, auto_shutdown=ALL_SIGNIFICANT)).boot()
    for name in order:
        stage.end(name, NORMAL if name == "a" else CRASH)

    assert stage.ended is None
    assert stage.states() == {"a": "stopped", "b": "degraded"}


def test_a_transient_probe_whose_work_is_done_is_stopped_and_not_probed_any_more() -> None:
    stage = degraded(restart=TRANSIENT)
    stage.wait(10.0)

    assert stage.end("b", NORMAL) == ["retire b"]
    assert stage.states()["b"] == "stopped"
    assert stage.timers == {}


# -- calls


def test_terminate_child_ends_the_probing_and_restart_child_starts_it_as_if_nothing_had_been() -> None:
    stage = degraded()

    assert stage.call(TerminateChild("b")) is None
    assert stage.states()["b"] == "stopped"
    assert stage.timers == {}
    assert stage.take() == ["retire b"]
    assert stage.wait(1000.0) == []
    assert stage.call(RestartChild("b")) == "started b"
    assert not on_probation(stage)


def test_terminate_child_of_a_probe_stops_it_for_good() -> None:
    stage = degraded()
    stage.wait(10.0)

    assert stage.call(TerminateChild("b")) is None
    assert stage.take() == ["-b", "retire b"]
    assert stage.wait(1000.0) == []


@pytest.mark.parametrize("call", [RestartChild("b"), RestartPath("b")])
def test_a_start_by_hand_is_a_probe_and_concerns_nobody_else(call: RestartChild | RestartPath) -> None:
    stage = degraded(ONE_FOR_ALL)

    assert stage.call(call) in {"started b", None}
    assert stage.take() == ["+b", "b in 30"]
    assert on_probation(stage)


@pytest.mark.parametrize("call", [RestartChild("b"), RestartPath("b")])
def test_a_start_by_hand_that_fails_is_refused_and_counts_as_a_failed_probe(
    call: RestartChild | RestartPath,
) -> None:
    stage = degraded()
    stage.fails = {"b": {3}}

    assert isinstance(stage.call(call), ChildStartFailed)
    assert stage.take() == ["!b", "off b", "b in 20"]
    assert stage.states()["b"] == "degraded"


def test_delete_child_is_refused_until_it_is_terminated() -> None:
    # R31: like one that is being restarted
    stage = degraded()

    assert isinstance(stage.call(DeleteChild("b")), ChildSwitchedOff)
    stage.call(TerminateChild("b"))
    assert stage.call(DeleteChild("b")) is None
    assert "b" not in stage.states()


def test_a_restart_of_everything_by_hand_probes_it_in_its_place() -> None:
    stage = degraded()

    stage.call(RestartAll())
    assert stage.take() == ["-c", "-a", "+a", "+b", "b in 30", "+c", "tell c DependencyDegraded"]


def test_a_full_restart_probes_it_and_is_not_failed_by_it() -> None:
    children = (child("a"), soft("b", budget=Budget(0, 5.0)), child("c"))
    spec = supervisor("top", *children, strategy=ONE_FOR_ALL, full_restart=FullRestart())
    stage = Stage(spec, chance=1.0).boot()
    stage.end("b")
    stage.fails = {"b": {2}}

    assert stage.end("a")[-6:] == ["+a", "!b", "off b", "b in 20", "+c", "finish"]
    assert not stage.queue


def test_a_stop_of_the_supervisor_leaves_nothing_running_and_probes_nobody() -> None:
    stage = degraded()

    stage.call(StopSupervisor())
    assert stage.take() == ["-c", "-a"]
    assert stage.ended is not None


@given(st.lists(st.tuples(st.floats(0.0, 60.0), st.booleans()), max_size=12), st.floats(0.0, 0.99))
def test_whatever_happens_to_it_nothing_is_charged_and_it_is_probed_again(
    story: list[tuple[float, bool]], chance: float
) -> None:
    stage = degraded()
    stage.chance = chance
    charged = stage.machine.recovery.restarts
    for seconds, crashes in story:
        stage.wait(seconds)
        if crashes and "b" in stage.running and stage.machine.children["b"].on_probation:
            stage.end("b", CRASH)

    assert stage.ended is None
    assert stage.machine.recovery.restarts == charged
    assert stage.states()["a"] == stage.states()["c"] == "running"
    # One timer at most, and one for as long as it is not back.
    assert len(stage.timers) == stage.machine.children["b"].on_probation
