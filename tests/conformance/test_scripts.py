"""Random scripts of up to 15 steps: the real supervisors do what the reference says, on both backends.

Faults, queued calls, failing and ignored starts, over a single supervisor and over trees of two and
three levels with `give_up_as="shutdown"`.  Thousands more are run by changing `FIRST`.
"""

from __future__ import annotations

import functools

import pytest
from tests.conformance.composer import compose
from tests.conformance.plans import Leaf, TeamPlan
from tests.conformance.script import Calls, Fault, Hold, Release, Script, play

from holdfast.runtime.testing import both_backends, run

FIRST = 0
# About two seconds for each level and backend.
SCRIPTS = 150


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_random_script_has_the_events_answers_and_states_that_the_rules_say(
    backend: str, levels: int
) -> None:
    # All rules but those of time; W3, X2
    for seed in range(FIRST, FIRST + SCRIPTS):
        script, wanted = compose(seed, levels)
        assert run(backend, functools.partial(play, script)) == wanted, (seed, script)


TRIO = TeamPlan(id="top", children=(Leaf(id="a"), Leaf(id="b"), Leaf(id="c")), strategy="one_for_all")


@both_backends
async def test_what_was_queued_while_the_supervisor_was_suspended_is_served_in_the_order_of_arrival() -> None:
    # R11, R34, R35: two deaths and seven calls before the supervisor reacts to any
    came = await play(
        Script(
            tree=TRIO,
            deeds=(
                Hold("top"),
                Calls("top", "count"),
                Fault("c", "crash"),
                Calls("top", "count"),
                Calls("top", "delete_child", "c"),
                Calls("top", "terminate_child", "c"),
                Fault("a", "killed"),
                Calls("top", "which"),
                Calls("top", "restart_child", "c"),
                Calls("top", "start_child", Leaf(id="d")),
                Release("top"),
                Calls("top", "count"),
            ),
        )
    )
    assert came.answers == {
        1: (3, 1, 0, 3),  # active looks at the tasks themselves: c and a are dead when it is served
        3: (3, 3, 0, 3),  # the death of c was served before: its group restart has dealt with a too
        4: "running",
        5: "ok",
        7: (("a", "running"), ("b", "running"), ("c", "stopped")),
        8: "ok",
        9: "ok",
        11: (4, 4, 0, 4),
    }
    assert came.events[3:] == ["-c:crash", "-b:shutdown", "+a", "+b", "+c", "-c:shutdown", "+c", "+d"]


@both_backends
async def test_a_retry_is_queued_behind_the_calls_that_wait() -> None:
    # R13, R30, R36: the calls see the failed child as restarting; one cancels the recovery of its group
    came = await play(
        Script(
            tree=TRIO,
            fails={"b": {2}},
            deeds=(
                Hold("top"),
                Fault("a", "crash"),
                Calls("top", "which"),
                Calls("top", "restart_child", "b"),
                Calls("top", "terminate_child", "b"),
                Calls("top", "restart_child", "b"),
            ),
        )
    )
    assert came.answers == {
        2: (("a", "running"), ("b", "restarting"), ("c", "stopped")),
        3: "restarting",
        4: "ok",
        5: "ok",
    }
    assert came.final == {"top/a": 2, "top/b": 3, "top/c": "stopped"}


@both_backends
async def test_calls_that_wait_at_a_suspended_supervisor_have_no_effect_when_it_is_stopped() -> None:
    # R44: its parent gives up meanwhile and stops it
    inner = TeamPlan(id="inner", children=(Leaf(id="b"),))
    came = await play(
        Script(
            tree=TeamPlan(id="top", children=(Leaf(id="a"), inner), intensity=0),
            deeds=(
                Hold("top/inner"),
                Calls("top/inner", "start_child", Leaf(id="c")),
                Fault("a", "crash"),
            ),
        )
    )
    assert came.answers == {1: "gone"}
    assert came.events == ["+a", "+b", "-a:crash", "-b:shutdown"]
    assert came.fate == "exited:shutdown"


@both_backends
async def test_calls_of_many_tasks_are_served_in_the_order_in_which_they_were_made() -> None:
    # R11: more of them than one turn of the loop serves
    names = [f"c{number}" for number in range(100)]
    calls = tuple(Calls("top", "start_child", Leaf(id=name)) for name in reversed(names))
    came = await play(Script(tree=TeamPlan(id="top", children=()), deeds=(Hold("top"), *calls)))

    assert came.events == [f"+{name}" for name in reversed(names)]
