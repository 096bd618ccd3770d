"""What is counted together, and within how long: the pure half of correlated failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import KILLED, NORMAL, SHUTDOWN, GaveUp, Outcome
from holdfast.supervisors import (
    DEGRADE,
    ONE_FOR_ALL,
    STOP,
    TEMPORARY,
    Backoff,
    Budget,
    ChildNotRestarted,
    ChildSpec,
    Correlation,
    FullRestart,
    FullRestartCompleted,
    FullRestartStarted,
    InvalidSpec,
    RestartDecided,
    SupervisorGaveUp,
    SystemFailure,
    UnknownComponent,
    dynamic,
    supervisor,
    template,
)
from holdfast.supervisors.correlator import Correlator
from holdfast.supervisors.messages import DeleteChild, RestartAll, TerminateChild
from holdfast.supervisors.plan import Correlated

THREE = Budget(3, 300.0)
TABLE = {"auth": ("session/auth",), "link": ("session/link",), "voice": ("session/auth",)}


def tree(correlate: Correlation | tuple[int, float] = (3, 5.0), **options: object) -> ChildSpec:
    options.setdefault("budget", THREE)
    return supervisor(
        "root",
        supervisor("foundation", child("log")),
        supervisor(
            "session",
            child("auth"),
            supervisor("link", child("dial"), child("wire")),
            dynamic("pool", template("p", lambda: None)),  # type: ignore[arg-type, return-value]
        ),
        correlate=correlate,
        **options,  # type: ignore[arg-type]
    )


def correlator(stage: Stage) -> Correlator:
    assert stage.machine.correlator is not None
    return stage.machine.correlator


def fail(stage: Stage, *paths: str, outcome: Outcome = CRASH) -> bool:
    """Let these actors fail, one right after the other; whether the last asks for the full restart."""
    due = [correlator(stage).failed(f"root/{path}", outcome, stage.now) for path in paths]
    return due[-1]


def answer(stage: Stage) -> list[str]:
    stage.events.clear()
    stage.carry_out(stage.machine.decide(Correlated(), stage.now, stage.chance))
    return stage.take()


A, B, C, D = "session/auth", "foundation/log", "session/link/dial", "session/link/wire"


@pytest.mark.parametrize("seconds, due", [(0.0, True), (5.0, True), (5.001, False)])
def test_the_window_is_exact_and_its_edge_counts(seconds: float, due: bool) -> None:
    # S-B6
    stage = Stage(tree()).boot()
    fail(stage, A)
    stage.now = min(seconds, 2.5)
    fail(stage, B)
    stage.now = seconds
    assert fail(stage, C) is due


def test_two_components_are_no_correlation_however_often_they_fail() -> None:
    # S-B6: the same component failing twice counts once
    stage = Stage(tree()).boot()
    assert not any(fail(stage, path) for path in (A, B) * 10)
    assert fail(stage, C)


def test_what_failed_again_counts_from_its_latest_failure() -> None:
    stage = Stage(tree()).boot()
    fail(stage, A)
    stage.now = 3.0
    fail(stage, B)
    stage.now = 4.0
    fail(stage, A)
    stage.now = 8.0
    assert fail(stage, C), "3.0 to 8.0 is five seconds"
    answer(stage)
    assert stage.said(SystemFailure)[0].failed_components == (B, A, C)


@pytest.mark.parametrize("outcome", [NORMAL, SHUTDOWN, GaveUp(("root/session/auth", "root/session"))])
def test_orderly_ends_and_giving_up_never_count(outcome: Outcome) -> None:
    # S-B6: a supervisor gives up over children that have counted
    stage = Stage(tree()).boot()
    assert not any(fail(stage, path, outcome=outcome) for path in (A, B, C, D))


def test_a_kill_that_nobody_asked_for_counts() -> None:
    stage = Stage(tree()).boot()
    assert fail(stage, A, B, C, outcome=KILLED)


def test_a_table_says_what_is_one_component() -> None:
    # SEMANTICS "Components and actors"
    stage = Stage(tree(Correlation(3, 5.0, components=TABLE))).boot()
    assert not fail(stage, C, D, "session/link", A)
    assert fail(stage, B)
    answer(stage)
    assert stage.said(SystemFailure)[0].failed_components == ("link", "auth", B)


def test_children_of_a_dynamic_supervisor_are_one_component() -> None:
    # S-B6: a thousand of a kind that fail are one kind that fails
    stage = Stage(tree()).boot()
    assert not fail(stage, *[f"session/pool/p-{n}" for n in range(1000)], A)
    assert fail(stage, B)
    answer(stage)
    assert stage.said(SystemFailure)[0].failed_components == ("session/pool", A, B)


def test_the_answer_is_one_event_and_one_full_restart() -> None:
    # A4.5, S-B6
    stage = Stage(tree(strategy=ONE_FOR_ALL)).boot()
    fail(stage, A, B, C)
    assert answer(stage) == [
        *["drain 5", "stop within 10", "-session", "-foundation", "+foundation", "+session", "finish"]
    ]
    (failure,) = stage.said(SystemFailure)
    assert failure.failed_components == (A, B, C)
    assert (failure.recovery_strategy, failure.can_recover) == ("full_restart", True)
    assert failure.sentence() == (
        "root: session/auth, foundation/log, session/link/dial failed within 5 s; full restart"
    )
    assert len(stage.said(FullRestartStarted)) == len(stage.said(FullRestartCompleted)) == 1
    assert stage.machine.recovery.window.left(stage.now) == 2
    assert not answer(stage), "the note that comes after it means nothing"


def test_a_strategy_that_restarts_fewer_has_no_say_in_it_even_when_a_start_fails() -> None:
    # S-B6: the strategy is pre-empted; R13 in the full restart
    stage = Stage(tree()).boot()
    stage.fails = {"foundation": {2}}
    fail(stage, A, B, C)
    assert answer(stage)[-1] == "!foundation"
    assert stage.retry() == ["+foundation", "+session", "finish"]
    # And afterwards it has: one for one.
    assert stage.end("session") == ["+session"]


def test_who_waits_for_a_back_off_is_restarted_with_all_others() -> None:
    stage = Stage(tree(backoff=Backoff(initial=4.0, cap=4.0))).boot()
    stage.end("foundation")
    fail(stage, A, B, C)
    assert answer(stage) == ["drain 5", "stop within 10", "-session", "foundation in 2"]
    assert stage.wait(2.0) == ["+foundation", "+session", "finish"]


def test_a_notice_that_waits_is_absorbed_by_the_full_restart() -> None:
    # R10, S-B6: whatever the supervisor hears first
    stage = Stage(tree()).boot()
    notice = stage.notice("foundation")
    fail(stage, A, B, C)
    assert stage.hear(notice) == [
        *["drain 5", "stop within 10", "-session", "+foundation", "+session", "finish"]
    ]
    assert answer(stage) == []
    assert len(stage.said(SystemFailure)) == 1


def test_failures_during_a_full_restart_do_not_count_and_what_it_cured_counts_no_more() -> None:
    # S-B6
    stage = Stage(tree(backoff=Backoff(initial=4.0, cap=4.0))).boot()
    fail(stage, A, B, C)
    assert not fail(stage, A, B, C), "it is due already"
    answer(stage)
    assert not fail(stage, A, B, C, D), "it is under way"
    stage.wait(2.0)
    assert not fail(stage, A, B)
    assert fail(stage, C)
    answer(stage)
    assert len(stage.said(SystemFailure)) == 2


def test_two_failures_before_a_full_restart_and_one_after_it_are_none() -> None:
    stage = Stage(tree(strategy=ONE_FOR_ALL)).boot()
    fail(stage, A, B)
    stage.end("session")
    assert len(stage.said(FullRestartCompleted)) == 1
    assert not fail(stage, C)


def test_a_spent_budget_says_so_and_ends_the_supervisor() -> None:
    # S-B7: beyond it the process ends
    stage = Stage(tree(budget=Budget(0, 300.0))).boot()
    fail(stage, A, B, C)
    answer(stage)
    (failure,) = stage.said(SystemFailure)
    assert not failure.can_recover
    assert failure.sentence().endswith("the budget of full restarts is spent")
    assert isinstance(stage.ended, GaveUp)
    assert stage.ended.chain == ("root/session/link/dial", "root")
    assert not stage.running
    assert len(stage.said(SupervisorGaveUp)) == 1


def test_it_is_charged_to_the_supervisor_and_not_to_a_child_with_a_budget_of_its_own() -> None:
    spec = supervisor(
        "root",
        *[child("x", on_give_up=STOP), child("y"), child("z"), child("t", restart=TEMPORARY)],
        correlate=(3, 5.0),
        budget=THREE,
    )
    stage = Stage(spec).boot()
    assert fail(stage, "x", "y", "z")
    assert answer(stage)[-4:] == ["+x", "+y", "+z", "finish"]
    assert stage.machine.recovery.window.left(stage.now) == 2
    assert "t" not in stage.states(), "R8: it was temporary"


@pytest.mark.parametrize("backoff", [None, Backoff(initial=4.0, cap=4.0)])
def test_where_every_child_has_a_budget_of_its_own_everybody_comes_back_all_the_same(
    backoff: Backoff | None,
) -> None:
    # S-B6: that budget is spent, and it is not the one that pays
    children = [child(name, on_give_up=STOP, budget=Budget(0, 60.0)) for name in "xyz"]
    stage = Stage(supervisor("root", *children, correlate=(2, 5.0), budget=THREE, backoff=backoff)).boot()
    assert fail(stage, "x", "y")
    came = answer(stage) if backoff is None else [*answer(stage), *stage.wait(2.0)]
    assert came[-4:] == ["+x", "+y", "+z", "finish"]
    assert stage.machine.recovery.window.left(stage.now) == 2
    assert "its own budget" not in stage.said(RestartDecided)[-1].sentence()


def test_a_restart_on_request_during_the_delay_leaves_the_next_failure_to_the_childs_own_budget() -> None:
    children = [child(name, on_give_up=STOP, budget=Budget(1, 60.0)) for name in "xyz"]
    delays = Backoff(initial=4.0, cap=4.0)
    stage = Stage(supervisor("root", *children, correlate=(2, 5.0), budget=THREE, backoff=delays)).boot()
    fail(stage, "x", "y")
    answer(stage)
    stage.call(RestartAll())
    assert stage.take()[-1] == "finish"
    stage.end("x")
    assert stage.wait(2.0) == ["+x"]
    assert stage.machine.recovery.window.left(stage.now) == 3, "nothing is the supervisor's to pay"


def test_a_spent_budget_ends_the_supervisor_also_where_every_child_has_one_of_its_own() -> None:
    children = [child(name, on_give_up=DEGRADE, budget=Budget(5, 60.0)) for name in "xyz"]
    stage = Stage(supervisor("root", *children, correlate=(2, 5.0), budget=Budget(0, 300.0))).boot()
    assert fail(stage, "x", "y")
    answer(stage)
    assert isinstance(stage.ended, GaveUp)


# ---- reports from outside ---------------------------------------------------------------------------


def test_a_reported_failure_counts_like_one_of_an_actor() -> None:
    # A9: handle_component_failure
    stage = Stage(tree(Correlation(3, 5.0, components=TABLE))).boot()
    assert not correlator(stage).reported("voice", 0.0)
    assert not correlator(stage).reported("auth", 0.0), "another name of the same component"
    fail(stage, B)
    assert correlator(stage).reported("link", 5.0)
    answer(stage)
    assert stage.said(SystemFailure)[0].failed_components == ("auth", B, "link")


def test_an_unknown_component_is_refused_with_the_known_ones_named() -> None:
    stage = Stage(tree(Correlation(3, 5.0, components=TABLE))).boot()
    with pytest.raises(
        UnknownComponent, match="auth, link, voice, foundation/log, session/pool; got 'audio'"
    ):
        correlator(stage).reported("audio", 0.0)


def test_a_report_from_before_the_end_of_a_full_restart_does_not_count() -> None:
    stage = Stage(tree()).boot()
    stage.now = 3.0
    fail(stage, A, B, C)
    answer(stage)
    stage.now = 3.5
    fail(stage, A, B)
    assert not correlator(stage).reported(C, 2.9)
    assert correlator(stage).reported(C, 3.4)


# ---- declarations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda: Correlation(1), "failures is a whole number of 2 or more; got 1"),
        (lambda: Correlation(True), "failures is a whole number"),
        (lambda: Correlation(3, 0.0), "window is a finite number of seconds above 0; got 0.0"),
        (lambda: Correlation(3, float("nan")), "window is a finite number"),
        (lambda: Correlation(components={"a": "session"}), "'a' has a sequence of one path or more"),
        (lambda: Correlation(components={"a": ()}), "'a' has a sequence of one path or more"),
        (lambda: Correlation(components={"a": ("/x",)}), "'a' names paths below the supervisor; got '/x'"),
        (lambda: tree(Correlation(components={"a": ("nobody",)})), "foundation/log.*got 'nobody'"),
        (lambda: tree((3, 5.0, 1)), r"correlate is a Correlation, \(failures, seconds\) or None"),  # type: ignore[arg-type]
        (lambda: tree(3), r"correlate is a Correlation, \(failures, seconds\) or None; got 3"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(wrong: object, said: str) -> None:
    assert callable(wrong)
    with pytest.raises(InvalidSpec, match=said):
        wrong()


def test_the_ceremony_is_the_declared_one_and_else_that_of_a_full_restart() -> None:
    stage = Stage(tree(full_restart=FullRestart(drain=1.0, stop=2.0))).boot()
    fail(stage, A, B, C)
    assert answer(stage)[:2] == ["drain 1", "stop within 2"]
    # A restart of one child alone is made without.
    assert stage.end("session") == ["+session"]


# ---- for all orders ---------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from([A, B, C, D]), st.sampled_from([0.0, 0.5, 1.0, 2.5])), max_size=60),
    st.integers(2, 4),
)
def test_it_is_due_exactly_when_so_many_components_failed_within_the_window(
    failures: list[tuple[str, float]], needed: int
) -> None:
    # S-B6, against the plain definition: the latest failure and all within the window before it
    stage = Stage(tree((needed, 2.5))).boot()
    history: list[tuple[float, str]] = []
    for path, gap in failures:
        stage.now += gap
        history.append((stage.now, path))
        within = {name for at, name in history if stage.now - at <= 2.5}
        due = fail(stage, path)
        assert due is (len(within) >= needed)
        if due:
            stage.machine.recovery.window.__init__(THREE)  # type: ignore[misc]  # this is not about budgets
            answer(stage)
            history.clear()


def test_a_correlation_with_nobody_left_to_bring_back_swallows_no_end() -> None:
    children = (child("x"), child("y"), child("t", restart=TEMPORARY))
    stage = Stage(supervisor("root", *children, correlate=(2, 5.0), budget=THREE)).boot()
    assert fail(stage, "x", "y")
    for name in ("x", "y"):
        stage.call(TerminateChild(name))
        stage.call(DeleteChild(name))
    stage.end("t")
    assert stage.states() == {}
    assert [report.child for report in stage.said(ChildNotRestarted)] == ["t"]
    assert stage.said(SystemFailure) == []
