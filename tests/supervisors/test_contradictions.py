from __future__ import annotations

from typing import Any

import pytest

from holdfast.runtime import Actor, Backoff
from holdfast.supervisors import (
    FOREVER,
    KILL,
    ONE_FOR_ALL,
    REST_FOR_ONE,
    STOP,
    TEMPORARY,
    Budget,
    ChildSpec,
    ContradictoryTree,
    FullRestart,
    Readiness,
    dynamic,
    find_contradictions,
    supervisor,
    template,
    worker,
)
from holdfast.supervisors.contradictions import longest_start, longest_stop


async def nothing() -> None:
    pass


async def check(_ref: object) -> bool:
    return True


def quick(name: str, **spec: Any) -> ChildSpec:
    return worker(name, Actor, start_timeout=0.1, **spec)


def rules(spec: ChildSpec) -> list[tuple[str, str]]:
    return [(found.path, found.rule) for found in find_contradictions(spec)]


@pytest.mark.parametrize("period,contradicts", [(40.0, False), (39.9, True)])
def test_a_parents_period_must_hold_one_period_of_its_child_for_each_attempt_and_one_more(
    period: float, contradicts: bool
) -> None:
    # Beyond OTP 1: (3 + 1) x 10 s
    child = supervisor("child", quick("a"), budget=Budget(3, 10.0))
    tree = supervisor("top", child, budget=Budget(3, period))

    assert rules(tree) == ([("top", "nested_period")] if contradicts else [])


def test_the_arithmetic_is_shown() -> None:
    child = supervisor("child", quick("a"), budget=Budget(3, 10.0))
    (found,) = find_contradictions(supervisor("top", child, budget=Budget(2, 20.0)))

    assert str(found) == (
        "top: its budget (2 in 20 s) can never be spent by 'child' giving up (3 in 10 s): "
        "the period must be at least (2 + 1) x 10 s = 30 s"
    )


@pytest.mark.parametrize("start,contradicts", [(1.25, False), (1.26, True)])
def test_so_many_starts_at_their_longest_must_fit_into_the_period(start: float, contradicts: bool) -> None:
    # Beyond OTP 1: (3 + 1) x 1.25 s = 5 s
    tree = supervisor("top", worker("a", Actor, start_timeout=start), budget=Budget(3, 5.0))

    assert rules(tree) == ([("top", "cycle")] if contradicts else [])


def test_a_cycle_of_one_for_one_is_its_longest_start_and_of_a_group_their_sum() -> None:
    children = [quick("a"), quick("b"), quick("c")]

    assert rules(supervisor("top", *children, budget=Budget(3, 0.5))) == []
    for strategy in (ONE_FOR_ALL, REST_FOR_ONE):
        assert rules(supervisor("top", *children, strategy=strategy, budget=Budget(3, 0.5))) == [
            ("top", "cycle")
        ]


def test_the_cap_of_the_back_off_belongs_to_the_cycle() -> None:
    # Beyond OTP 1
    tree = supervisor("top", quick("a"), budget=Budget(3, 5.0), backoff=Backoff(initial=1.0, cap=2.0))

    assert rules(tree) == [("top", "cycle")]


@pytest.mark.parametrize("period,contradicts", [(60.4, False), (60.3, True)])
def test_drain_and_stop_deadline_belong_to_the_cycle_of_a_full_restart(
    period: float, contradicts: bool
) -> None:
    # Beyond OTP 1: (3 + 1) x (5 + 10 + 0.1) s = 60.4 s
    tree = supervisor(
        "top", quick("a"), strategy=ONE_FOR_ALL, budget=Budget(3, period), full_restart=FullRestart()
    )

    assert rules(tree) == ([("top", "cycle")] if contradicts else [])


def test_the_time_of_the_hook_belongs_to_it_where_there_is_one() -> None:
    tree = supervisor(
        "top",
        quick("a"),
        strategy=ONE_FOR_ALL,
        budget=Budget(3, 61.0),
        full_restart=FullRestart(before_start=nothing),
    )

    (found,) = find_contradictions(tree)
    assert "5 s of before_start" in found.arithmetic


def test_a_budget_of_zero_is_spent_by_the_first_failure_and_never_contradicts() -> None:
    child = supervisor("child", worker("a", Actor), budget=Budget(0, 100.0))

    assert rules(supervisor("top", child, budget=Budget(0, 1.0))) == []


def test_temporary_children_are_never_restarted_and_do_not_count() -> None:
    tree = supervisor("top", worker("a", Actor, restart=TEMPORARY, start_timeout=60.0))

    assert rules(tree) == []


def test_a_child_that_does_not_escalate_is_held_against_its_own_budget() -> None:
    # Beyond OTP 1 and 5
    slow = worker("slow", Actor, start_timeout=5.0, on_give_up=STOP, budget=Budget(3, 19.0))

    assert rules(supervisor("top", quick("a"), slow)) == [("top/slow", "cycle")]


def test_a_supervisor_that_does_not_escalate_is_held_against_its_own_budget() -> None:
    child = supervisor(
        "child", quick("a"), budget=Budget(3, 10.0), on_give_up=STOP, own_budget=Budget(3, 39.0)
    )

    assert rules(supervisor("top", child, budget=Budget(3, 1.0))) == [("top/child", "nested_period")]


@pytest.mark.parametrize("allowance,contradicts", [(10.0, False), (9.9, True)])
def test_an_allowance_must_hold_those_of_the_children_one_after_another(
    allowance: float, contradicts: bool
) -> None:
    # Beyond OTP 8, trap 16
    child = supervisor("child", quick("a", shutdown=4.0), quick("b", shutdown=6.0), shutdown=allowance)

    assert rules(supervisor("top", child, budget=Budget(3, 60.0))) == (
        [("top/child", "allowance")] if contradicts else []
    )


def test_the_children_of_a_dynamic_supervisor_stop_together_under_one_allowance() -> None:
    # R19
    pool = dynamic("pool", template("a", Actor, shutdown=4.0, start_timeout=0.1), shutdown=4.0)

    assert rules(supervisor("top", pool, budget=Budget(3, 60.0))) == []


def test_the_sum_of_the_allowances_is_shown_with_those_that_take_longest_first() -> None:
    # Beyond OTP 8
    children = [quick(name, shutdown=float(seconds)) for seconds, name in enumerate("abcdef")]
    child = supervisor("child", *children, shutdown=14.0)

    (found,) = find_contradictions(supervisor("top", child, budget=Budget(3, 60.0)))
    assert str(found) == (
        "top/child: its allowance for stopping is 14 s, and its children, stopped one after another, may "
        "take 5 s (f) + 4 s (e) + 3 s (d) + 2 s (c) + those of 1 more = 15 s"
    )


def test_allowances_below_a_supervisor_that_is_killed_are_never_granted() -> None:
    # Beyond OTP 8, R18
    tree = supervisor("top", supervisor("child", quick("a", shutdown=2.0), shutdown=KILL))
    (found,) = [one for one in find_contradictions(tree) if one.rule == "allowance"]

    assert "is 0 s (KILL), and its children, stopped one after another, may take 2 s" in found.arithmetic
    assert rules(supervisor("top", supervisor("child", quick("a", shutdown=KILL), shutdown=KILL))) == [
        ("top", "nested_period")
    ]


@pytest.mark.parametrize("allowance, contradicts", [(7.0, False), (6.9, True)])
def test_instances_stop_together_and_the_children_of_each_one_after_another(
    allowance: float, contradicts: bool
) -> None:
    # R19: max over the instances, sum inside of one
    one = supervisor("one", quick("a", shutdown=3.0), quick("b", shutdown=4.0), budget=Budget(3, 1.0))
    pool = dynamic("pool", one, shutdown=allowance, budget=Budget(3, 60.0))

    found = [path for path, rule in rules(pool) if rule == "allowance"]
    assert found == (["pool"] if contradicts else [])


def test_the_limit_of_a_check_counts_where_somebody_wrote_it_down() -> None:
    # Beyond OTP 1 and 3
    quiet = worker("a", Actor, ready=Readiness(check))
    said = worker("a", Actor, ready=Readiness(check, timeout=2.0))

    assert rules(supervisor("top", quiet)) == []
    (found,) = find_contradictions(supervisor("top", said))
    assert found.arithmetic.endswith("one cycle is at most 2 s of start time-outs and readiness checks")


def test_a_child_that_may_take_for_ever_contradicts_any_allowance_of_its_supervisor() -> None:
    child = supervisor("child", quick("a", shutdown=FOREVER), shutdown=100.0)

    (found,) = find_contradictions(supervisor("top", child, budget=Budget(3, 60.0)))
    assert "may take for ever" in found.arithmetic


def test_an_allowance_longer_than_the_stop_deadline_of_the_full_restart_is_found() -> None:
    tree = supervisor(
        "top",
        quick("a", shutdown=11.0),
        supervisor("s", quick("b", shutdown=KILL), quick("c", shutdown=12.0), quick("d")),
        dynamic("pool", template("e", Actor, shutdown=FOREVER, start_timeout=0.1)),
        strategy=ONE_FOR_ALL,
        budget=Budget(3, 300.0),
        full_restart=FullRestart(),
    )

    assert rules(tree) == [("top/a", "allowance"), ("top/s", "allowance"), ("top/pool", "allowance")]


def test_a_tree_declared_strict_is_refused_where_it_is_written() -> None:
    # Beyond OTP 1
    with pytest.raises(ContradictoryTree, match=r"declared strict.*\n  - top: its budget") as refused:
        supervisor("top", worker("a", Actor), strict=True)

    assert len(refused.value.contradictions) == 1


def test_a_strict_tree_looks_all_the_way_down() -> None:
    deep = supervisor("deep", worker("a", Actor, start_timeout=30.0), budget=Budget(3, 5.0))
    middle = supervisor("middle", deep, budget=Budget(3, 200.0))

    with pytest.raises(ContradictoryTree, match="top/middle/deep: its budget"):
        supervisor("top", middle, budget=Budget(3, 1000.0), strict=True)


def test_a_default_is_a_limit_and_no_declared_time_so_a_tree_of_defaults_is_quiet() -> None:
    # Beyond OTP 1: (3 + 1) x 5 s of start_timeout in 5 s would say that no default budget is ever spent
    assert rules(supervisor("top", worker("a", Actor), worker("b", Actor), strategy=ONE_FOR_ALL)) == []
    assert rules(supervisor("top", worker("a", Actor, start_timeout=5.0))) == [("top", "cycle")]


def test_supervisors_in_each_other_with_default_budgets_are_reported() -> None:
    # Beyond OTP 1: 3 in 5 s under 3 in 5 s, where (3 + 1) x 5 s are needed
    below = supervisor("below", worker("a", Actor))

    (found,) = find_contradictions(supervisor("top", below))
    assert found.arithmetic.endswith("(3 + 1) x 5 s = 20 s")
    assert rules(supervisor("top", below, budget=Budget(3, 20.0))) == []


def test_the_back_off_of_a_tree_of_defaults_still_counts() -> None:
    slow = Backoff(initial=1.0, cap=2.0)

    (found,) = find_contradictions(supervisor("top", worker("a", Actor), backoff=slow))
    assert found.arithmetic.endswith("one cycle is at most 2 s of back-off")


def test_a_budget_of_each_child_that_escalates_is_held_against_that_of_the_supervisor() -> None:
    # Beyond OTP 1, P14: each spends one unit of the pool's at most once per period of its own
    pool = dynamic("pool", template("a", Actor, budget=Budget(2, 10.0)), budget=Budget(1, 19.0))

    assert rules(pool) == [("pool", "nested_period")]
    assert rules(dynamic("pool", template("a", Actor, budget=Budget(2, 10.0)), budget=Budget(1, 20.0))) == []


def test_the_products_tree_has_no_contradiction() -> None:
    # ARCHITECTURE section 3, with the start limits that its periods leave room for
    link = supervisor(
        "link", quick("reconnect"), quick("socket"), strategy=REST_FOR_ONE, budget=Budget(5, 10.0)
    )
    session = supervisor("session", quick("auth"), link, quick("client"), budget=Budget(5, 60.0))
    foundation = supervisor(
        "foundation", quick("config"), quick("logger"), strategy=REST_FOR_ONE, budget=Budget(5, 60.0)
    )
    tree = supervisor(
        "holdfast",
        foundation,
        session,
        strategy=ONE_FOR_ALL,
        budget=Budget(3, 300.0),
        backoff=Backoff(initial=0.5, cap=8.0),
        full_restart=FullRestart(drain=5.0, stop=10.0),
        strict=True,
    )

    assert find_contradictions(tree) == ()


def test_the_longest_start_and_stop_of_a_tree_are_sums_over_it() -> None:
    tree = supervisor(
        "top",
        worker("a", Actor, start_timeout=1.0, shutdown=2.0),
        supervisor("s", worker("b", Actor, start_timeout=3.0, shutdown=KILL), shutdown=7.0),
        dynamic("pool", template("c", Actor, shutdown=4.0)),
    )

    # A dynamic supervisor starts empty.
    assert longest_start(tree) == 4.0
    assert longest_stop(tree) == 2.0 + 7.0 + 4.0
    assert longest_stop(worker("a", Actor, shutdown=FOREVER)) == float("inf")
