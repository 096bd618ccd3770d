from __future__ import annotations

import pytest
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import KILLED, NORMAL, SHUTDOWN, Killed, Outcome, Shutdown
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ANY_SIGNIFICANT,
    KILL,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    REST_FOR_ONE,
    STOP,
    TEMPORARY,
    TRANSIENT,
    Budget,
    ChildGivenUp,
    ChildSpec,
    StopWentWrong,
    Strategy,
    dynamic,
    supervisor,
)
from holdfast.supervisors.plan import Forget, Stop

PLENTY = Budget(100, 5.0)


def abc(strategy: Strategy) -> ChildSpec:
    return supervisor("top", *[child(name) for name in "abc"], strategy=strategy)


@pytest.mark.parametrize(
    "spec,outcome,silent",
    [
        ({}, SHUTDOWN, True),
        ({}, NORMAL, False),
        ({}, Shutdown("x"), False),
        ({}, CRASH, False),
        ({}, KILLED, False),
        ({}, None, False),
        ({"restart": TRANSIENT}, SHUTDOWN, True),
        ({"restart": TRANSIENT}, NORMAL, True),
        ({"restart": TRANSIENT}, Shutdown("x"), True),
        ({"restart": TRANSIENT}, KILLED, False),
        ({"shutdown": KILL}, KILLED, True),
        ({"shutdown": KILL}, SHUTDOWN, False),
        ({"shutdown": KILL, "restart": TEMPORARY}, SHUTDOWN, True),
        ({"shutdown": KILL, "restart": TEMPORARY}, CRASH, False),
    ],
)
def test_what_a_stop_should_not_look_like_is_reported_and_changes_nothing(
    spec: dict[str, object], outcome: Outcome | None, silent: bool
) -> None:
    # R20, R48
    stage = Stage(supervisor("top", child("a"), child("b", **spec), strategy=ONE_FOR_ALL)).boot()
    stage.stops_as = {"b": outcome}
    stage.end("a")

    assert len(stage.said(StopWentWrong)) == (not silent)
    assert (stage.ended, stage.machine.recovery.restarts) == (None, 1)


def test_a_wedged_child_is_reported_as_such() -> None:
    # Beyond OTP 8
    stage = Stage(abc(ONE_FOR_ALL)).boot()
    stage.stops_as = {"b": None}
    stage.end("a")

    (report,) = stage.said(StopWentWrong)
    assert report.sentence() == ("top/b did not end when it was stopped (rule: 5 s) and killed: it is wedged")


def significant(auto_shutdown: object, *, budget: Budget = PLENTY) -> Stage:
    children = [child(name, restart=TRANSIENT, significant=True) for name in "ab"]
    spec = supervisor("top", *children, child("c"), auto_shutdown=auto_shutdown, budget=budget)  # type: ignore[arg-type]
    stage = Stage(spec).boot()
    stage.take()
    return stage


def test_any_significant_ends_the_supervisor_at_the_first_orderly_end() -> None:
    # R24, R25, R26
    stage = significant(ANY_SIGNIFICANT)

    assert stage.end("a", NORMAL) == ["retire a", "-c", "-b"]
    assert stage.ended == SHUTDOWN


def test_all_significant_waits_for_the_last_one() -> None:
    # R25
    stage = significant(ALL_SIGNIFICANT)
    stage.end("a", NORMAL)
    assert stage.ended is None

    stage.end("b", NORMAL)
    assert stage.ended == SHUTDOWN


def test_a_significant_child_that_is_restarted_ends_nothing() -> None:
    # R24
    stage = significant(ANY_SIGNIFICANT)
    stage.end("a", CRASH)

    assert stage.ended is None


def test_a_significant_child_that_is_being_restarted_counts_as_alive() -> None:
    # R25
    stage = significant(ALL_SIGNIFICANT)
    stage.fails = {"a": range(2, 10)}
    stage.end("a", CRASH)
    stage.end("b", NORMAL)

    assert stage.ended is None


def test_a_dead_significant_child_whose_notice_waits_counts_as_alive() -> None:
    # R35
    stage = significant(ALL_SIGNIFICANT)
    of_b = stage.notice("b", NORMAL)
    stage.end("a", NORMAL)
    assert stage.ended is None

    stage.hear(of_b)
    assert stage.ended == SHUTDOWN


def test_ends_caused_by_a_group_restart_shut_nothing_down() -> None:
    # R24, 3.3 case 75
    children = [child("a", restart=TRANSIENT, significant=True), child("b")]
    spec = supervisor("top", *children, strategy=ONE_FOR_ALL, auto_shutdown=ANY_SIGNIFICANT)
    stage = Stage(spec).boot()
    stage.end("b", Killed())

    assert stage.ended is None


def stopping(strategy: Strategy = ONE_FOR_ONE, **own: object) -> Stage:
    soft = child("b", on_give_up=STOP, budget=Budget(1, 5.0), **own)
    spec = supervisor("top", child("a"), soft, child("c"), strategy=strategy, budget=Budget(0, 5.0))
    stage = Stage(spec).boot()
    stage.take()
    return stage


def test_a_child_with_on_give_up_stop_has_a_budget_of_its_own() -> None:
    # Beyond OTP 1 and 5: the supervisor's own budget is 0 and is not charged
    stage = stopping()

    assert stage.end("b") == ["+b"]
    assert stage.end("b") == ["retire b"]
    assert stage.states() == {"a": "running", "b": "stopped", "c": "running"}
    assert stage.ended is None
    (report,) = stage.said(ChildGivenUp)
    assert "its siblings go on" in report.sentence()


def test_when_a_retry_gives_the_child_up_those_that_waited_for_it_go_on() -> None:
    # Beyond OTP 5
    stage = stopping(REST_FOR_ONE)
    stage.fails = {"b": range(2, 10)}

    assert stage.end("b") == ["-c", "!b"]
    assert stage.retry() == ["retire b", "+c"]


def test_a_significant_child_that_is_given_up_has_ended_for_the_automatic_shutdown() -> None:
    spec = supervisor(
        "top",
        child("a", restart=TRANSIENT, significant=True, on_give_up=STOP, budget=Budget(0, 5.0)),
        auto_shutdown=ALL_SIGNIFICANT,
    )
    stage = Stage(spec).boot()
    stage.end("a")

    assert stage.ended == SHUTDOWN


@pytest.mark.parametrize("final", [False, True])
def test_children_that_do_not_come_back_with_their_supervisor_are_stopped_for_good(final: bool) -> None:
    # Actors 2 and 3: a slot is kept only for a successor
    spec = supervisor("top", child("a"), child("t", restart=TEMPORARY))
    stage = Stage(spec, root=False).boot()
    plan = stage.machine.stop(CRASH, final=final)

    assert plan.steps == (Stop("t", final=True), Stop("a", final=final), Forget("t"))


@pytest.mark.parametrize(
    "root,restart,outcome,final",
    [
        (True, PERMANENT, CRASH, True),
        (False, PERMANENT, NORMAL, False),
        (False, TRANSIENT, CRASH, False),
        (False, TRANSIENT, SHUTDOWN, True),
        (False, TEMPORARY, CRASH, True),
    ],
)
def test_the_mail_of_children_is_kept_only_when_their_supervisor_has_a_successor(
    root: bool, restart: object, outcome: Outcome, final: bool
) -> None:
    # Actors 2 and 3
    spec = supervisor("top", child("a"), restart=restart)  # type: ignore[arg-type]
    stage = Stage(spec, root=root).boot()

    assert stage.machine.stop(outcome, final=False).steps == (Stop("a", final=final),)


def test_children_of_a_dynamic_supervisor_are_stopped_all_at_once_and_forgotten() -> None:
    # R19
    stage = Stage(dynamic("pool", child("a")))
    for _ in range(3):
        stage.machine.add_instance(stage.machine.group)  # type: ignore[arg-type]
    stage.boot()
    stage.take()
    stage.carry_out(stage.machine.stop(SHUTDOWN, final=True))

    assert stage.take() == ["-a-3", "-a-2", "-a-1", "forget a-1", "forget a-2", "forget a-3"]
