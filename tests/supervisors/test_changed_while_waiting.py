"""A child that is made temporary while it waits for a restart: it is forgotten, and costs nothing."""

from __future__ import annotations

import pytest
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.supervisors import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    REST_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    Backoff,
    Budget,
    ChildNotRestarted,
    ChildSpec,
    RestartDecided,
    Strategy,
    supervisor,
)
from holdfast.supervisors.messages import Reconfigure
from holdfast.supervisors.plan import ChildEnded

LATER = Backoff(initial=1.0, cap=1.0)


def group(strategy: Strategy, **b: object) -> ChildSpec:
    children = (child("a"), child("b", **b), child("c"))
    return supervisor("top", *children, strategy=strategy, budget=Budget(1, 60.0), backoff=LATER)


# S-B13
@pytest.mark.parametrize(
    "strategy, restarted",
    [
        (ONE_FOR_ONE, ["forget b"]),
        (REST_FOR_ONE, ["forget b", "+c"]),
        (ONE_FOR_ALL, ["forget b", "+a", "+c"]),
    ],
)
def test_one_that_is_made_temporary_while_it_waits_is_forgotten_uncharged_and_its_group_goes_on(
    strategy: Strategy, restarted: list[str]
) -> None:
    stage = Stage(group(strategy)).boot()
    stage.end("b")
    assert stage.states()["b"] == "restarting"
    stage.call(Reconfigure(group(strategy, restart=TEMPORARY)))
    assert stage.wait(2.0) == restarted
    assert stage.states() == {"a": "running", "c": "running"}
    assert stage.said(RestartDecided) == []
    assert [str(report).split("; ")[-1] for report in stage.said(ChildNotRestarted)] == [
        "it is temporary and is forgotten"
    ]
    stage.end("c")
    stage.wait(2.0)
    assert len(stage.said(RestartDecided)) == 1, "the budget of one is still whole"


# S-B13
def test_one_that_is_made_temporary_while_it_waits_is_forgotten_when_another_takes_its_group_along() -> None:
    stage = Stage(supervisor("top", child("a"), child("b"), child("c"), strategy=REST_FOR_ONE)).boot()
    stage.fails = {"b": {2}}
    stage.end("b")
    assert stage.states()["b"] == "restarting"
    made = supervisor("top", child("a"), child("b", restart=TEMPORARY), child("c"), strategy=REST_FOR_ONE)
    stage.call(Reconfigure(made))
    stage.hear(ChildEnded("a", stage.running.pop("a"), CRASH))
    assert stage.states() == {"a": "running", "c": "running"}


# S-B13
def test_one_that_was_significant_and_is_made_temporary_while_it_waits_ends_its_group() -> None:
    def spec(**b: object) -> ChildSpec:
        children = (child("a"), child("b", significant=True, **b))
        rule = AutoShutdown.ANY_SIGNIFICANT
        return supervisor("top", *children, auto_shutdown=rule, strategy=ONE_FOR_ALL, backoff=LATER)

    stage = Stage(spec(restart=TRANSIENT)).boot()
    stage.end("b")
    stage.call(Reconfigure(spec(restart=TEMPORARY)))
    stage.wait(2.0)
    assert stage.ended is not None
    assert stage.running == {}
