"""What costs no budget (R17): after all of it, the one attempt that there is can still be made.

A budget of zero would not show a charge, for nothing is ever put into its window:
so each of these has a budget of one, and ends with the crash that spends it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import NORMAL, SHUTDOWN
from holdfast.supervisors import (
    ANY_SIGNIFICANT,
    TEMPORARY,
    TRANSIENT,
    Budget,
    StartAttemptFailed,
    supervisor,
)
from holdfast.supervisors.messages import RestartAll, RestartChild, RestartPath, StartChild, TerminateChild


def start_and_fail(stage: Stage) -> None:
    stage.fails = {"x": {1}}
    stage.call(StartChild(child("x")))


def terminate_and_restart(stage: Stage) -> None:
    stage.call(TerminateChild("b"))
    stage.call(RestartChild("b"))


def restart_and_fail(stage: Stage) -> None:
    stage.fails = {"b": {2}}
    stage.call(TerminateChild("b"))
    stage.call(RestartChild("b"))


def restart_by_an_operator(stage: Stage) -> None:
    stage.call(RestartPath("b"))
    stage.call(RestartAll())


def an_orderly_end(stage: Stage) -> None:
    stage.end("transient", NORMAL)


def a_temporary_death(stage: Stage) -> None:
    stage.end("temporary", CRASH)


FREE: list[Callable[[Stage], None]] = [
    start_and_fail,
    terminate_and_restart,
    restart_and_fail,
    restart_by_an_operator,
    an_orderly_end,
    a_temporary_death,
]


@pytest.mark.parametrize("free", FREE, ids=lambda free: free.__name__)
def test_what_nobody_charges_leaves_the_whole_budget(free: Callable[[Stage], None]) -> None:
    # R17, beyond OTP 11
    children = [
        child("a"),
        child("b"),
        child("transient", restart=TRANSIENT),
        child("temporary", restart=TEMPORARY),
    ]
    stage = Stage(supervisor("top", *children, budget=Budget(1, 5.0))).boot()
    free(stage)

    assert (stage.ended, stage.machine.recovery.window.left(0.0)) == (None, 1)
    assert stage.end("a") == ["+a"]
    stage.end("a")
    assert stage.ended is not None, "the control: the second crash is one too many"


def test_a_failing_start_through_a_call_is_no_failed_restart() -> None:
    # R45: it is told to the caller, and nothing is reported that a restart would be
    stage = Stage(supervisor("top", child("b"), budget=Budget(1, 5.0))).boot()
    start_and_fail(stage)
    restart_and_fail(stage)
    assert not stage.said(StartAttemptFailed)

    stage.fails = {"b": {4}}
    stage.call(RestartChild("b"))
    stage.end("b")
    assert [report.child for report in stage.said(StartAttemptFailed)] == ["b"], "the control: a restart is"


def test_a_child_that_was_terminated_is_no_end_by_itself() -> None:
    # R24: only an end by itself can end the supervisor
    spec = supervisor("top", child("a", restart=TRANSIENT, significant=True), auto_shutdown=ANY_SIGNIFICANT)
    stage = Stage(spec).boot()
    stage.call(TerminateChild("a"))
    assert (stage.ended, stage.states()) == (None, {"a": "stopped"})

    stage.call(RestartChild("a"))
    stage.end("a", NORMAL)
    assert stage.ended == SHUTDOWN, "the control: the same child, by itself"
