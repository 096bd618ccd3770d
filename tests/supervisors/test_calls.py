from __future__ import annotations

import pytest
from tests.supervisors.stage import Stage, child

from holdfast.runtime import NORMAL, SHUTDOWN
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ANY_SIGNIFICANT,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    REST_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    AlreadyPresent,
    Budget,
    ChildNotRestartable,
    ChildRestarting,
    ChildRunning,
    ChildStartFailed,
    InvalidSpec,
    NoSuchChild,
    OrderlyRestart,
    Strategy,
    supervisor,
)
from holdfast.supervisors.messages import (
    DeleteChild,
    RestartAll,
    RestartChild,
    RestartPath,
    StartChild,
    StopSupervisor,
    TerminateChild,
)


def stage_of(strategy: Strategy = ONE_FOR_ONE, *, intensity: int = 100) -> Stage:
    spec = supervisor(
        "top", child("a"), child("b"), child("c"), strategy=strategy, budget=Budget(intensity, 5.0)
    )
    stage = Stage(spec).boot()
    stage.take()
    return stage


def restarting(strategy: Strategy, name: str = "b") -> Stage:
    """Return a stage whose child `name` waits for its retry; each of its starts fails from now on."""
    stage = stage_of(strategy)
    stage.fails = {name: range(2, 100)}
    stage.end(name)
    assert stage.states()[name] == "restarting"
    return stage


def test_a_new_child_goes_to_the_end_of_the_start_order() -> None:
    # R28
    stage = stage_of(REST_FOR_ONE)

    assert stage.call(StartChild(child("0"))) == "started 0"
    assert list(stage.states()) == ["a", "b", "c", "0"]


def test_starting_the_id_of_a_running_child_names_that_child() -> None:
    # R28
    assert stage_of().call(StartChild(child("a"))) == "already started a"


def test_starting_a_known_id_that_does_not_run_says_already_present() -> None:
    # R28
    stage = stage_of()
    stage.call(TerminateChild("a"))

    assert isinstance(stage.call(StartChild(child("a"))), AlreadyPresent)
    assert isinstance(restarting(ONE_FOR_ONE).call(StartChild(child("b"))), AlreadyPresent)


def test_a_failing_start_through_the_call_discards_the_spec_and_costs_nothing() -> None:
    # R17, R28, R45
    stage = stage_of(intensity=0)
    stage.fails = {"x": {1}}
    answer = stage.call(StartChild(child("x")))

    assert isinstance(answer, ChildStartFailed)
    assert str(answer.reason) == "start 1"
    assert "x" not in stage.states()
    assert (stage.ended, stage.queue) == (None, stage.queue.__class__())
    assert stage.call(StartChild(child("x"))) == "started x"


def test_an_ignored_start_through_the_call_keeps_the_spec_unless_it_is_temporary() -> None:
    # R28, 3.3 cases 3, 5
    stage = stage_of()
    stage.ignores = {"x": {1}, "t": {1}}

    assert stage.call(StartChild(child("x"))) == "ignored x"
    assert stage.call(StartChild(child("t", restart=TEMPORARY))) == "ignored t"
    assert stage.states()["x"] == "stopped"
    assert "t" not in stage.states()


def test_the_spec_is_checked_before_the_id_is_looked_up() -> None:
    # R43
    stage = stage_of()

    assert isinstance(stage.call(StartChild(child("a", restart=TRANSIENT, significant=True))), InvalidSpec)


def test_a_terminated_child_keeps_its_spec_and_its_siblings_are_untouched() -> None:
    # R29
    stage = stage_of(ONE_FOR_ALL)

    assert stage.call(TerminateChild("b")) is None
    assert stage.take() == ["-b", "retire b"]
    assert stage.states() == {"a": "running", "b": "stopped", "c": "running"}
    assert stage.call(TerminateChild("b")) is None


def test_a_terminated_temporary_child_is_forgotten() -> None:
    # R29
    stage = stage_of()
    stage.call(StartChild(child("t", restart=TEMPORARY)))

    assert stage.call(TerminateChild("t")) is None
    assert "t" not in stage.states()


@pytest.mark.parametrize("call", [TerminateChild, RestartChild, DeleteChild, RestartPath])
def test_a_call_about_an_unknown_child_says_so(call: type[TerminateChild]) -> None:
    # R29, R30, R31
    assert isinstance(stage_of().call(call("nobody")), NoSuchChild)


def test_terminating_never_shuts_the_supervisor_down() -> None:
    # R24
    spec = supervisor("top", child("a", restart=TRANSIENT, significant=True), auto_shutdown=ANY_SIGNIFICANT)
    stage = Stage(spec).boot()
    stage.call(TerminateChild("a"))

    assert stage.ended is None


def test_a_significant_child_stopped_by_a_call_counts_as_gone() -> None:
    # R25, X15
    children = [child(name, restart=TRANSIENT, significant=True) for name in "ab"]
    stage = Stage(supervisor("top", *children, auto_shutdown=ALL_SIGNIFICANT)).boot()
    stage.call(TerminateChild("a"))
    stage.end("b", NORMAL)

    assert stage.ended == SHUTDOWN


def test_terminating_absorbs_a_death_whose_notice_still_waits() -> None:
    # R34: no restart, no charge, also under intensity 0
    stage = stage_of(intensity=0)
    notice = stage.notice("b")

    assert stage.call(TerminateChild("b")) is None
    assert stage.hear(notice) == []
    assert (stage.ended, stage.states()["b"]) == (None, "stopped")


def test_a_dead_child_whose_notice_waits_counts_as_running_for_every_call() -> None:
    # R35
    stage = stage_of()
    stage.notice("b")

    assert stage.call(StartChild(child("b"))) == "already started b"
    assert isinstance(stage.call(RestartChild("b")), ChildRunning)
    assert isinstance(stage.call(DeleteChild("b")), ChildRunning)


def test_terminating_the_restarting_member_cancels_the_recovery_of_its_group() -> None:
    # R36
    stage = restarting(REST_FOR_ONE)
    assert stage.call(TerminateChild("b")) is None
    assert stage.retry() == []
    assert stage.states() == {"a": "running", "b": "stopped", "c": "stopped"}

    stage.fails = {}
    assert stage.call(RestartChild("b")) == "started b"
    assert stage.states()["c"] == "stopped"


def test_terminating_another_member_during_the_retry_does_not_stick() -> None:
    # R37
    stage = restarting(REST_FOR_ONE)
    assert stage.call(TerminateChild("c")) is None
    stage.fails = {}
    stage.retry()

    assert stage.states() == {"a": "running", "b": "running", "c": "running"}


def test_deleting_another_member_during_the_retry_does_stick() -> None:
    # R37
    stage = restarting(REST_FOR_ONE)
    assert stage.call(DeleteChild("c")) is None
    stage.fails = {}
    stage.retry()

    assert stage.states() == {"a": "running", "b": "running"}


def test_a_stopped_member_started_by_hand_during_the_retry_is_stopped_and_restarted_by_it() -> None:
    # R38: at once and out of order
    stage = restarting(REST_FOR_ONE)
    assert stage.call(RestartChild("c")) == "started c"
    stage.fails = {}
    stage.take()

    assert stage.retry() == ["-c", "+b", "+c"]


def test_retries_are_matched_by_id_and_the_surplus_is_void_after_a_success() -> None:
    # R39
    stage = restarting(ONE_FOR_ONE)
    stage.call(TerminateChild("b"))
    stage.fails = {}
    stage.call(RestartChild("b"))
    stage.fails = {"b": {4}}
    stage.end("b")
    assert len(stage.queue) == 2
    charged = stage.machine.recovery.restarts

    assert stage.retry() == ["+b"]
    assert stage.machine.recovery.restarts == charged + 1
    assert stage.retry() == []
    assert stage.machine.recovery.restarts == charged + 1


def test_several_restarting_children_take_turns() -> None:
    # R39: first in, first out
    stage = stage_of()
    stage.fails = {"a": {2, 3}, "b": {2, 3}}
    stage.end("a")
    stage.end("b")

    assert [stage.retry() for _ in range(4)] == [["!a"], ["!b"], ["+a"], ["+b"]]


def test_starting_again_by_hand_keeps_the_childs_place_and_deleting_gives_it_up() -> None:
    # R40
    stage = stage_of()
    stage.call(TerminateChild("a"))
    stage.call(RestartChild("a"))
    assert list(stage.states()) == ["a", "b", "c"]

    stage.call(TerminateChild("a"))
    stage.call(DeleteChild("a"))
    stage.call(StartChild(child("a")))
    assert list(stage.states()) == ["b", "c", "a"]


@pytest.mark.parametrize("strategy", Strategy)
def test_restart_child_starts_just_that_one(strategy: Strategy) -> None:
    # R30: no effect on those after it
    stage = stage_of(strategy)
    stage.call(TerminateChild("a"))
    stage.take()

    assert stage.call(RestartChild("a")) == "started a"
    assert stage.take() == ["+a"]


def test_restart_child_of_a_running_or_restarting_child_is_refused() -> None:
    # R30
    stage = restarting(ONE_FOR_ONE)

    assert isinstance(stage.call(RestartChild("a")), ChildRunning)
    assert isinstance(stage.call(RestartChild("b")), ChildRestarting)


def test_a_failing_restart_child_leaves_it_stopped_and_costs_nothing() -> None:
    # R30, R17, R45, 3.3 case 11
    stage = stage_of(intensity=0)
    stage.call(TerminateChild("a"))
    stage.fails = {"a": {2}}
    answer = stage.call(RestartChild("a"))

    assert isinstance(answer, ChildStartFailed)
    assert stage.states()["a"] == "stopped"
    assert stage.ended is None


def test_only_a_stopped_child_is_deleted() -> None:
    # R31
    stage = restarting(ONE_FOR_ONE)
    assert isinstance(stage.call(DeleteChild("a")), ChildRunning)
    assert isinstance(stage.call(DeleteChild("b")), ChildRestarting)

    stage.call(TerminateChild("a"))
    assert stage.call(DeleteChild("a")) is None
    assert "a" not in stage.states()


def test_five_pairs_of_terminate_and_restart_leave_intensity_zero_alive() -> None:
    # R17, X9
    stage = stage_of(intensity=0)
    for _ in range(5):
        stage.call(TerminateChild("a"))
        stage.call(RestartChild("a"))

    assert stage.ended is None


@pytest.mark.parametrize(
    "strategy,expected",
    [
        (ONE_FOR_ONE, ["-b", "+b"]),
        (REST_FOR_ONE, ["-c", "-b", "+b", "+c"]),
        (ONE_FOR_ALL, ["-c", "-b", "-a", "+a", "+b", "+c"]),
    ],
)
def test_an_orderly_restart_has_the_strategys_effect_and_no_charge(
    strategy: Strategy, expected: list[str]
) -> None:
    # Beyond OTP 11
    stage = stage_of(strategy, intensity=0)

    assert stage.call(RestartPath("b")) is None
    assert stage.take() == expected
    assert (stage.ended, stage.machine.recovery.restarts) == (None, 0)
    (report,) = stage.said(OrderlyRestart)
    assert "was asked for" in report.sentence()


def test_an_orderly_restart_starts_a_stopped_child_and_does_not_wait_for_a_retry() -> None:
    # Beyond OTP 11
    stage = restarting(REST_FOR_ONE)
    stage.fails = {}
    assert stage.call(RestartPath("b")) is None
    assert stage.states() == {"a": "running", "b": "running", "c": "running"}
    assert stage.retry() == []


def test_an_orderly_restart_that_cannot_start_goes_on_as_a_restart() -> None:
    # Beyond OTP 11: the caller is told, the supervisor keeps trying
    stage = stage_of()
    stage.fails = {"b": {2}}

    assert isinstance(stage.call(RestartPath("b")), ChildStartFailed)
    assert stage.states()["b"] == "restarting"
    assert stage.retry() == ["+b"]


def test_a_temporary_child_is_never_started_twice() -> None:
    # R5
    stage = stage_of()
    stage.call(StartChild(child("t", restart=TEMPORARY)))

    assert isinstance(stage.call(RestartPath("t")), ChildNotRestartable)
    assert stage.states()["t"] == "running"


def test_restarting_everybody_goes_through_the_whole_group_once() -> None:
    stage = stage_of(ONE_FOR_ONE, intensity=0)

    assert stage.call(RestartAll()) is None
    assert stage.take() == ["-c", "-b", "-a", "+a", "+b", "+c"]
    assert Stage(supervisor("top")).boot().call(RestartAll()) is None


def test_a_supervisor_that_is_asked_to_stop_stops_everybody_first() -> None:
    stage = stage_of()

    assert stage.call(StopSupervisor()) is None
    assert stage.take() == ["-c", "-b", "-a"]
    assert stage.ended == SHUTDOWN
