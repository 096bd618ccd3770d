from __future__ import annotations

import pytest
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import KILLED, NORMAL, SHUTDOWN, GaveUp, Outcome, Shutdown
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    REST_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    Budget,
    ChildNotRestarted,
    ChildSpec,
    FailedToStartChild,
    NoticeIgnored,
    RestartDecided,
    StartAttemptFailed,
    Strategy,
    SupervisorGaveUp,
    supervisor,
)
from holdfast.supervisors.plan import ChildEnded, RetryDue

PLENTY = Budget(100, 5.0)


def abc(strategy: Strategy, *, budget: Budget = PLENTY, **options: object) -> ChildSpec:
    children = [child("a"), child("b"), child("c")]
    return supervisor("top", *children, strategy=strategy, budget=budget, **options)  # type: ignore[arg-type]


def test_children_start_in_list_order() -> None:
    # R1
    assert Stage(abc(ONE_FOR_ONE)).boot().take() == ["+a", "+b", "+c"]


def test_a_failing_first_start_stops_what_ran_in_reverse_and_starts_nobody_further() -> None:
    # R2, X8: no retry, no charge
    stage = Stage(supervisor("top", *[child(name) for name in "abcd"], budget=Budget(0, 5.0)))
    stage.fails = {"c": {1}}
    stage.boot()

    assert stage.take() == ["+a", "+b", "!c", "-b", "-a"]
    assert isinstance(stage.failed_start, FailedToStartChild)
    assert stage.failed_start.child == "c"
    assert stage.machine.recovery.restarts == 0
    (report,) = stage.said(StartAttemptFailed)
    assert "the supervisor's start fails" in report.sentence()


def test_an_ignored_start_keeps_the_spec_as_stopped_and_goes_on() -> None:
    # R3
    stage = Stage(abc(ONE_FOR_ONE))
    stage.ignores = {"b": {1}}
    stage.boot()

    assert stage.take() == ["+a", "?b", "retire b", "+c"]
    assert stage.states() == {"a": "running", "b": "stopped", "c": "running"}


def test_an_ignored_start_of_a_temporary_child_drops_the_spec() -> None:
    # R3, 3.3 case 4
    stage = Stage(supervisor("top", child("a", restart=TEMPORARY), child("b")))
    stage.ignores = {"a": {1}}

    assert stage.boot().take() == ["?a", "forget a", "+b"]
    assert stage.states() == {"b": "running"}


@pytest.mark.parametrize(
    "restart,outcome,then",
    [
        (PERMANENT, NORMAL, "running"),
        (PERMANENT, SHUTDOWN, "running"),
        (PERMANENT, Shutdown("done"), "running"),
        (PERMANENT, CRASH, "running"),
        (PERMANENT, KILLED, "running"),
        (TRANSIENT, NORMAL, "stopped"),
        (TRANSIENT, SHUTDOWN, "stopped"),
        (TRANSIENT, Shutdown("done"), "stopped"),
        (TRANSIENT, CRASH, "running"),
        (TRANSIENT, KILLED, "running"),
        (TRANSIENT, GaveUp(), "running"),
        (TEMPORARY, NORMAL, None),
        (TEMPORARY, CRASH, None),
        (TEMPORARY, KILLED, None),
        (TEMPORARY, GaveUp(), None),
    ],
)
def test_the_restart_type_decides_over_each_outcome(
    restart: object, outcome: Outcome, then: str | None
) -> None:
    # R5, R6; that giving up is abnormal is beyond OTP (R47)
    stage = Stage(supervisor("top", child("a", restart=restart))).boot()
    stage.end("a", outcome)

    assert stage.states().get("a") == then


@pytest.mark.parametrize("strategy", Strategy)
def test_the_end_of_a_child_that_is_not_restarted_touches_no_sibling(strategy: Strategy) -> None:
    # R6
    spec = supervisor("top", child("a"), child("b", restart=TRANSIENT), child("c"), strategy=strategy)
    stage = Stage(spec).boot()
    stage.take()

    assert stage.end("b", NORMAL) == ["retire b"]
    (report,) = stage.said(ChildNotRestarted)
    assert report.sentence() == "top/b ended (normal); it is transient and stays listed as stopped"


@pytest.mark.parametrize(
    "strategy,victim,expected",
    [
        (ONE_FOR_ONE, "b", ["+b"]),
        (REST_FOR_ONE, "b", ["-c", "+b", "+c"]),
        (REST_FOR_ONE, "a", ["-c", "-b", "+a", "+b", "+c"]),
        (ONE_FOR_ALL, "b", ["-c", "-a", "+a", "+b", "+c"]),
    ],
)
def test_each_strategy_stops_in_reverse_and_starts_in_order(
    strategy: Strategy, victim: str, expected: list[str]
) -> None:
    # R7
    stage = Stage(abc(strategy)).boot()
    stage.take()

    assert stage.end(victim) == expected


@pytest.mark.parametrize("strategy", [REST_FOR_ONE, ONE_FOR_ALL])
def test_a_group_restart_stops_temporary_members_and_forgets_them(strategy: Strategy) -> None:
    # R8, 3.3 case 55
    spec = supervisor("top", child("a"), child("t", restart=TEMPORARY), strategy=strategy)
    stage = Stage(spec).boot()
    stage.take()

    assert stage.end("a") == ["-t", "forget t", "+a"]
    assert stage.states() == {"a": "running"}


def test_temporary_members_are_lost_even_when_the_group_restart_fails() -> None:
    # R41
    spec = supervisor("top", child("a"), child("t", restart=TEMPORARY), strategy=ONE_FOR_ALL)
    stage = Stage(spec).boot()
    stage.fails = {"a": {2}}
    stage.end("a")

    assert stage.states() == {"a": "restarting"}


@pytest.mark.parametrize("strategy", [REST_FOR_ONE, ONE_FOR_ALL])
def test_a_group_restart_revives_who_had_ended_normally(strategy: Strategy) -> None:
    # R9, X1
    spec = supervisor("top", child("a"), child("b", restart=TRANSIENT), strategy=strategy)
    stage = Stage(spec).boot()
    stage.end("b", NORMAL)
    assert stage.states()["b"] == "stopped"

    assert stage.end("a") == ["+a", "+b"]


def test_the_notice_of_a_child_that_a_group_restart_stopped_is_absorbed() -> None:
    # R10, X2: one unit however many died
    stage = Stage(abc(ONE_FOR_ALL, budget=Budget(1, 5.0))).boot()
    stage.take()
    first, second = stage.notice("a"), stage.notice("b")

    assert stage.hear(first) == ["-c", "+a", "+b", "+c"]
    assert stage.hear(second) == []
    assert stage.machine.recovery.restarts == 1
    assert len(stage.said(NoticeIgnored)) == 1


def test_simultaneous_deaths_under_one_for_one_cost_one_unit_each() -> None:
    # R10
    stage = Stage(abc(ONE_FOR_ONE)).boot()
    notices = [stage.notice("a"), stage.notice("b")]
    for notice in notices:
        stage.hear(notice)

    assert stage.machine.recovery.restarts == 2


def test_a_later_members_notice_before_an_earlier_ones_costs_two_units() -> None:
    # X3: the third is restarted, then stopped with the second and started with all
    stage = Stage(abc(REST_FOR_ONE)).boot()
    stage.take()
    of_a, of_c = stage.notice("a"), stage.notice("c")

    assert stage.hear(of_c) == ["+c"]
    assert stage.hear(of_a) == ["-c", "-b", "+a", "+b", "+c"]
    assert stage.machine.recovery.restarts == 2


def test_a_notice_of_a_stranger_is_reported_and_ignored() -> None:
    # R12
    stage = Stage(abc(ONE_FOR_ONE)).boot()
    stage.take()

    assert stage.hear(ChildEnded("nobody", 1, CRASH)) == []
    (report,) = stage.said(NoticeIgnored)
    assert "nobody" in report.sentence()


def test_a_failed_automatic_start_leaves_the_child_restarting_and_queues_a_retry() -> None:
    # R13
    stage = Stage(abc(ONE_FOR_ALL)).boot()
    stage.fails = {"b": {2}}
    stage.take()

    assert stage.end("a") == ["-c", "-b", "+a", "!b"]
    assert stage.states() == {"a": "running", "b": "restarting", "c": "stopped"}
    assert list(stage.queue) == [RetryDue("b")]


@pytest.mark.parametrize(
    "strategy,expected",
    [
        (ONE_FOR_ALL, ["-c", "-b", "+a", "!b", "-a", "+a", "+b", "+c"]),
        (REST_FOR_ONE, ["-c", "-b", "+a", "!b", "+b", "+c"]),
    ],
)
def test_a_retry_runs_the_full_rule_with_the_failed_child_as_trigger(
    strategy: Strategy, expected: list[str]
) -> None:
    # R14, X14: two units each
    stage = Stage(abc(strategy)).boot()
    stage.fails = {"b": {2}}
    stage.take()

    assert stage.end("a") + stage.retry() == expected
    assert stage.machine.recovery.restarts == 2


def test_an_earlier_member_that_fails_in_a_retry_becomes_the_one_that_is_tried_again() -> None:
    # R13, R14: the trigger of the retry waits as stopped, it has no retry of its own
    stage = Stage(abc(ONE_FOR_ALL)).boot()
    stage.fails = {"b": {2}, "a": {3}}
    stage.end("c")
    stage.retry()
    assert stage.states() == {"a": "restarting", "b": "stopped", "c": "stopped"}

    stage.take()
    assert stage.retry() == ["+a", "+b", "+c"]


def test_an_ignored_automatic_start_leaves_the_child_stopped_without_a_retry() -> None:
    # R14b
    stage = Stage(abc(ONE_FOR_ONE)).boot()
    stage.ignores = {"b": {2}}
    stage.end("b")

    assert stage.states()["b"] == "stopped"
    assert not stage.queue


def test_an_ignored_member_of_a_group_restart_lets_the_sequence_go_on() -> None:
    # R42: and it never triggers automatic shutdown
    children = [child(name, restart=TRANSIENT, significant=True) for name in "ab"]
    spec = supervisor("top", *children, strategy=ONE_FOR_ALL, auto_shutdown=ALL_SIGNIFICANT)
    stage = Stage(spec).boot()
    stage.ignores = {"a": {2}, "b": {2}}
    stage.take()

    assert stage.end("a") == ["-b", "?a", "retire a", "?b", "retire b"]
    assert stage.ended is None


def test_intensity_n_permits_n_attempts() -> None:
    # R15
    stage = Stage(abc(ONE_FOR_ONE, budget=Budget(2, 5.0))).boot()
    stage.end("a")
    stage.end("a")
    assert stage.ended is None

    stage.take()
    assert stage.end("a") == ["-c", "-b"]
    assert stage.ended == GaveUp(("top/a", "top"))


def test_intensity_zero_gives_up_at_the_first_crash_without_an_attempt() -> None:
    # R15, X4
    stage = Stage(abc(ONE_FOR_ONE, budget=Budget(0, 5.0))).boot()
    stage.take()

    assert stage.end("b") == ["-c", "-a"]
    assert stage.ended is not None


def test_a_start_that_always_fails_is_called_once_and_then_once_per_attempt() -> None:
    # X5: intensity 3: exactly 1 + 3 start calls
    stage = Stage(supervisor("top", child("a"), budget=Budget(3, 5.0))).boot()
    stage.fails = {"a": range(2, 100)}
    stage.end("a")
    while stage.ended is None:
        stage.retry()

    assert stage.starts["a"] == 4


def test_giving_up_drops_the_trigger_and_stops_the_others_in_reverse() -> None:
    # R16
    stage = Stage(abc(ONE_FOR_ALL, budget=Budget(0, 5.0))).boot()
    stage.take()

    assert stage.end("b") == ["-c", "-a"]
    assert stage.states() == {"a": "stopped", "c": "stopped"}
    (report,) = stage.said(SupervisorGaveUp)
    assert report.sentence() == (
        "top/b crashed (RuntimeError: boom); top has used up its 0 restarts in 5 s and gives up"
    )


def test_giving_up_is_abnormal_unless_declared_otherwise() -> None:
    # Outcomes; section 5.1, R49
    stage = Stage(abc(ONE_FOR_ONE, budget=Budget(0, 5.0))).boot()
    stage.end("a")
    assert stage.ended == GaveUp(("top/a", "top"))

    stage = Stage(abc(ONE_FOR_ONE, budget=Budget(0, 5.0), give_up_as="shutdown")).boot()
    stage.end("a")
    assert stage.ended == SHUTDOWN


def test_the_chain_of_giving_up_grows_from_the_first_child_up() -> None:
    # Outcomes
    spec = supervisor("top", supervisor("mid", child("a")), budget=Budget(0, 5.0))
    stage = Stage(spec).boot()
    stage.end("mid", GaveUp(("top/mid/a", "top/mid")))

    assert stage.ended == GaveUp(("top/mid/a", "top/mid", "top"))


def test_orderly_ends_and_temporary_deaths_are_never_charged() -> None:
    # R17
    spec = supervisor(
        "top", child("t", restart=TEMPORARY), child("r", restart=TRANSIENT), budget=Budget(0, 5.0)
    )
    stage = Stage(spec).boot()
    stage.end("t", CRASH)
    stage.end("r", NORMAL)

    assert (stage.ended, stage.machine.recovery.restarts) == (None, 0)


def test_old_attempts_stop_counting() -> None:
    # W1, 3.3 case 29
    stage = Stage(abc(ONE_FOR_ONE, budget=Budget(1, 1.0))).boot()
    for _ in range(4):
        stage.end("a")
        stage.now += 2.1

    assert stage.ended is None


def test_a_restart_that_succeeded_resets_nothing() -> None:
    # W2, trap 1
    stage = Stage(abc(ONE_FOR_ONE, budget=Budget(3, 10.0))).boot()
    for _ in range(4):
        stage.now += 1.0
        stage.end("a")

    assert stage.ended is not None


def test_a_report_says_who_what_why_what_was_done_and_what_is_left() -> None:
    # Beyond OTP 9
    stage = Stage(abc(REST_FOR_ONE, budget=Budget(5, 10.0))).boot()
    stage.now = 3.0
    stage.end("b")

    (report,) = stage.said(RestartDecided)
    assert report.sentence() == (
        "top/b crashed (RuntimeError: boom); rest_for_one restarts b, c; 4 of 5 restarts left in 10.0 s"
    )
