"""Traps 1 to 4 and 16: budgets that never trip or trip wrongly, loops without a breath, numbers that fight.

Each check runs on ours, and must fail on what is naive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest
from tests.conformance.naive import ConsecutiveFailures, FixedWindow, WholeSeconds, give_up_orderly
from tests.supervisors.stage import Stage, child

from holdfast.runtime import GaveUp
from holdfast.supervisors import Budget, ChildSpec, Restart, find_contradictions, supervisor
from holdfast.supervisors.intensity import Window
from holdfast.supervisors.messages import TerminateChild


class Attempts(Protocol):
    def charge(self, now: float) -> bool: ...
    def restarted(self) -> None: ...


class Ours(Window):
    def restarted(self) -> None:
        """Nothing but time empties the window."""


def trips_on_a_child_that_starts_and_dies(window: Attempts) -> None:
    for attempt in range(100):
        if not window.charge(attempt * 0.01):
            return
        window.restarted()
    raise AssertionError("a child that starts well and dies at once is restarted for ever")


# trap 1
def test_a_restart_that_succeeds_does_not_empty_the_budget() -> None:
    trips_on_a_child_that_starts_and_dies(Ours(Budget(3, 5.0)))
    with pytest.raises(AssertionError, match="for ever"):
        trips_on_a_child_that_starts_and_dies(ConsecutiveFailures(Budget(3, 5.0)))


def never_lets_more_than_its_intensity_into_any_period(make: Callable[[Budget], Attempts]) -> None:
    # Three just before the edge of a fixed window and three just after it.
    window = make(Budget(3, 5.0))
    allowed = [now for now in (0.0, 4.8, 4.9, 5.1, 5.2, 5.3) if window.charge(now)]
    for start in allowed:
        assert sum(start <= now <= start + 5.0 for now in allowed) <= 3, "more than 3 in 5 s"


def counts_the_edge_and_nothing_beyond_it(make: Callable[[Budget], Attempts]) -> None:
    window = make(Budget(1, 1.0))
    assert window.charge(0.9)
    assert not window.charge(1.9), "exactly a period later it still counts"
    window = make(Budget(1, 1.0))
    assert window.charge(0.1)
    assert window.charge(1.9), "1.8 s later it does not"


# trap 2
def test_the_window_slides_and_is_exact() -> None:
    never_lets_more_than_its_intensity_into_any_period(Ours)
    counts_the_edge_and_nothing_beyond_it(Ours)
    with pytest.raises(AssertionError, match="more than 3"):
        never_lets_more_than_its_intensity_into_any_period(FixedWindow)
    with pytest.raises(AssertionError, match="does not"):
        counts_the_edge_and_nothing_beyond_it(WholeSeconds)


class LoopWithoutABreath:
    """Restarts until it works, and hears nothing meanwhile."""

    def __init__(self) -> None:
        self.served = False

    def child_dies_and_every_start_fails(self) -> int:
        return 1_000

    def serve_a_call(self) -> None:
        """It is in its loop."""


class OursOnStage:
    """A machine whose child never starts again."""

    def __init__(self) -> None:
        self.stage = Stage(supervisor("top", child("a"), budget=Budget(5, 60.0))).boot()
        self.served = False

    def child_dies_and_every_start_fails(self) -> int:
        self.stage.fails["a"] = range(2, 100)
        self.stage.end("a")
        return self.stage.starts["a"] - 1

    def serve_a_call(self) -> None:
        assert self.stage.states() == {"a": "restarting"}
        self.stage.call(TerminateChild("a"))
        self.served = self.stage.retry() == []


def takes_a_breath_between_attempts(supervisor: OursOnStage | LoopWithoutABreath) -> None:
    attempts = supervisor.child_dies_and_every_start_fails()
    supervisor.serve_a_call()
    assert attempts == 1, "one attempt, then whatever else waits"
    assert supervisor.served


# trap 3
def test_a_failing_restart_takes_a_breath_and_a_call_between_attempts_ends_it() -> None:
    takes_a_breath_between_attempts(OursOnStage())
    with pytest.raises(AssertionError):
        takes_a_breath_between_attempts(LoopWithoutABreath())


# trap 3: each failing attempt is charged
def test_failing_restarts_use_up_the_budget() -> None:
    stage = Stage(supervisor("top", child("a"), budget=Budget(3, 5.0))).boot()
    stage.fails["a"] = range(2, 100)
    stage.end("a")
    while stage.ended is None:
        stage.retry()
    assert stage.starts["a"] == 1 + 3


def ours_hears_of_it(restart: str) -> bool:
    stage = Stage(supervisor("top", child("a"), budget=Budget(0, 5.0)), root=False).boot()
    stage.end("a")
    assert isinstance(stage.ended, GaveUp)
    above = Stage(supervisor("above", child("top", restart=Restart(restart)))).boot()
    return "+top" in above.end("top", stage.ended)


def a_child_that_gave_up_does_not_vanish(hears: Callable[[str], bool]) -> None:
    assert hears("permanent")
    assert hears("transient"), "a transient supervisor that gave up is gone without a word"


# trap 4
def test_giving_up_never_looks_orderly() -> None:
    a_child_that_gave_up_does_not_vanish(ours_hears_of_it)
    with pytest.raises(AssertionError, match="without a word"):
        a_child_that_gave_up_does_not_vanish(give_up_orderly)


def believes_every_number(_tree: ChildSpec) -> tuple[object, ...]:
    return ()


def finds_what_cannot_add_up(find: Callable[[ChildSpec], tuple[object, ...]]) -> None:
    slow = supervisor("mid", child("a", start_timeout=10.0), budget=Budget(3, 5.0), shutdown=1.0)
    assert find(supervisor("top", slow, budget=Budget(3, 5.0))), "no failure would ever be escalated in time"


# trap 16
def test_numbers_that_contradict_each_other_are_found_when_the_tree_is_built() -> None:
    finds_what_cannot_add_up(find_contradictions)
    with pytest.raises(AssertionError, match="escalated"):
        finds_what_cannot_add_up(believes_every_number)
