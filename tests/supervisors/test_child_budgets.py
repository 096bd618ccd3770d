"""Budgets of single children: P14, and SEMANTICS, Beyond OTP 1 and 5."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.supervisors.crew import Crew, Die, Whoami, fill, start_pool
from tests.supervisors.stage import Stage, child

from holdfast.runtime import ActorGone, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import STOP, Budget, ChildGivenUp, dynamic, supervisor, template
from holdfast.supervisors.intensity import Window
from holdfast.supervisors.messages import StartInstance


def pool_of(own: Budget, budget: Budget, **spec: object) -> Stage:
    return Stage(dynamic("pool", child("p", budget=own, **spec), budget=budget)).boot()


def test_a_child_that_flaps_spends_its_own_budget_first_and_then_one_unit_of_the_pools() -> None:
    stage = pool_of(Budget(2, 5.0), Budget(1, 60.0))
    stage.call(StartInstance())
    window = stage.machine.recovery.window

    for left in (1, 1, 0, 0, 0):
        stage.end("p-1")
        assert window.left(stage.now) == left
    assert stage.ended is None
    stage.end("p-1")
    assert stage.ended is not None


def test_children_that_fail_now_and_then_do_not_spend_the_budget_of_all() -> None:
    # P14
    stage = pool_of(Budget(1, 5.0), Budget(0, 60.0))
    for number in range(1, 51):
        stage.call(StartInstance())
        stage.end(f"p-{number}")

    assert stage.ended is None


def test_a_child_of_a_pool_that_is_stopped_for_good_is_forgotten() -> None:
    stage = pool_of(Budget(1, 5.0), Budget(0, 60.0), on_give_up=STOP)
    stage.call(StartInstance())
    stage.call(StartInstance())
    stage.end("p-1")

    assert stage.end("p-1") == ["forget p-1"]
    assert stage.states() == {"p-2": "running"}
    assert len(stage.said(ChildGivenUp)) == 1


def test_a_window_weighs_nothing_while_no_attempt_counts() -> None:
    window = Window(Budget(3, 5.0))
    assert window.charge(0.0)
    assert window.left(5.0) == 2  # W1: the edge counts

    assert window.left(5.1) == 3
    assert window._times is None


# Quarters of a second are exact, so that edges are met.
GAPS = st.lists(st.tuples(st.integers(0, 12).map(lambda n: n / 4), st.sampled_from("abc")), max_size=60)
BUDGETS = st.builds(Budget, st.integers(0, 3), st.sampled_from([0.25, 1.0, 2.5, 5.0]))


@given(gaps=GAPS, shared=BUDGETS, own=st.tuples(BUDGETS, BUDGETS))
def test_windows_of_children_and_of_their_supervisor_agree_with_lists_of_times(
    gaps: list[tuple[float, str]], shared: Budget, own: tuple[Budget, Budget]
) -> None:
    # R15, W1, W2, Beyond OTP 1: `a` has none of its own, `b` escalates, `c` is stopped for good
    children = [child("a"), child("b", budget=own[0]), child("c", budget=own[1], on_give_up=STOP)]
    stage = Stage(supervisor("top", *children, budget=shared)).boot()
    made: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    budgets = {"a": shared, "b": own[0], "c": own[1]}
    stopped = False

    def fits(name: str) -> bool:
        """Whether one more attempt fits: naively, all the times that were ever kept are looked at."""
        budget = budgets[name]
        if sum(stage.now - at <= budget.period for at in made[name]) >= budget.intensity:
            return False
        made[name].append(stage.now)
        return True

    for gap, name in gaps:
        stage.now += gap
        if name not in stage.running:
            continue
        expected = fits(name)
        if not expected and name == "b":
            made["b"].clear()  # as a supervisor of its own would begin anew
            expected = fits("a")
        stage.end(name)
        stopped = stopped or (name == "c" and not expected)
        assert stage.machine.recovery.window.left(stage.now) == max(
            0, shared.intensity - sum(stage.now - at <= shared.period for at in made["a"])
        )
        assert (stage.ended is not None) == (not expected and name != "c")
        if stage.ended is not None:
            return
        assert set(stage.running) == ({"a", "b"} if stopped else {"a", "b", "c"})


@both_backends
async def test_one_that_is_stopped_for_good_is_gone_and_the_others_go_on() -> None:
    crew = Crew()
    async with open_system() as system:
        spec = crew.pattern("p", budget=Budget(1, 5.0), on_give_up=STOP)
        pool = await start_pool(system, spec, budget=Budget(0, 5.0))
        bad, good = await fill(pool, 2)
        for _ in range(2):
            bad.tell(Die())
            await settled()

        with pytest.raises(ActorGone):
            await bad.ask(Whoami())
        assert await good.ask(Whoami()) == 1
        assert (await pool.count_children()).workers == 1


def test_a_template_says_what_its_children_may_spend() -> None:
    spec = template("p", lambda: None, budget=Budget(2, 5.0), on_give_up=STOP)  # type: ignore[arg-type,return-value]

    assert (spec.budget, spec.on_give_up) == (Budget(2, 5.0), STOP)
