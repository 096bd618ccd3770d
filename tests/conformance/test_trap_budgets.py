"""Traps 1 to 4 and 16: budgets that never trip or trip wrongly, loops without a breath, numbers that fight.

Each check runs on ours, and must fail on what is naive.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import attrs
import pytest
from tests.conformance.naive import ConsecutiveFailures, FixedWindow, WholeSeconds
from tests.conformance.naive_supervisors import (
    BelievingSupervisor,
    Child,
    FailsWithItsChild,
    LoopsWithoutABreath,
    OrderlySupervisor,
)
from tests.runtime.cast import events_of
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import Actor, GaveUp, Outcome, open_system
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    Budget,
    ContradictionFound,
    Restart,
    find_contradictions,
    start_tree,
    supervisor,
    worker,
)
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


class Starts:
    """A child's starts, of which the second to the hundredth fail."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        if 1 < self.count <= 100:
            raise OSError("the port is taken")


class Naive:
    """One of the naive supervisors, whose child dies while a stop waits behind its end."""

    def __init__(self, make: Callable[[Callable[[], None]], FailsWithItsChild]) -> None:
        self.starts = Starts()
        self.starts()
        self.supervisor = make(self.starts)

    def child_ends_and_a_stop_waits(self) -> None:
        self.supervisor.tell("restart")
        self.supervisor.tell("stop")
        self.supervisor.serve()

    @property
    def attempts(self) -> int:
        return self.starts.count - 1


class OursOnStage:
    """A machine whose child does not start again."""

    def __init__(self) -> None:
        self.stage = Stage(supervisor("top", child("a"), budget=Budget(500, 60.0))).boot()

    def child_ends_and_a_stop_waits(self) -> None:
        self.stage.fails["a"] = range(2, 101)
        self.stage.end("a")
        assert self.stage.states() == {"a": "restarting"}
        self.stage.call(TerminateChild("a"))
        assert self.stage.retry() == []

    @property
    def attempts(self) -> int:
        return self.stage.starts["a"] - 1


def takes_a_breath_between_attempts(subject: OursOnStage | Naive) -> None:
    try:
        subject.child_ends_and_a_stop_waits()
    except OSError as error:
        raise AssertionError("a start that fails takes its supervisor along") from error
    assert subject.attempts == 1, f"{subject.attempts} attempts before the stop was heard"


# trap 3
def test_a_failing_restart_takes_a_breath_and_a_call_between_attempts_ends_it() -> None:
    takes_a_breath_between_attempts(OursOnStage())
    with pytest.raises(AssertionError, match="takes its supervisor along"):
        takes_a_breath_between_attempts(Naive(FailsWithItsChild))
    with pytest.raises(AssertionError, match="100 attempts"):
        takes_a_breath_between_attempts(Naive(LoopsWithoutABreath))


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


def the_naive_one_hears_of_it(restart: str) -> bool:
    above = OrderlySupervisor(3, {"mid": restart})
    mid = OrderlySupervisor(0, {"a": "permanent"}, parent=above, name="mid")
    mid.ended("a", CRASH)
    assert mid.outcome is not None
    return "mid" in above.running


def a_child_that_gave_up_does_not_vanish(hears: Callable[[str], bool]) -> None:
    assert hears("permanent")
    assert hears("transient"), "a transient supervisor that gave up is gone without a word"


# trap 4
def test_giving_up_never_looks_orderly() -> None:
    a_child_that_gave_up_does_not_vanish(ours_hears_of_it)
    with pytest.raises(AssertionError, match="without a word"):
        a_child_that_gave_up_does_not_vanish(the_naive_one_hears_of_it)


@attrs.frozen
class Granted:
    """A child that needs so long for its clean-up and is granted it, under an allowance of the whole."""

    needs: float
    whole: float


async def ours_stops(granted: Granted) -> tuple[bool, bool]:
    """Return whether somebody was told that it cannot work, and whether the clean-up was finished."""
    done: list[str] = []

    class Careful(Actor):
        async def on_stop(self, outcome: Outcome) -> None:
            await anyio.sleep(granted.needs)
            done.append("clean")

    mid = supervisor("mid", worker("a", Careful, shutdown=granted.needs + 1), shutdown=granted.whole)
    async with open_system() as system:
        with events_of(system, ContradictionFound) as told:
            top = await start_tree(system, supervisor("top", mid, budget=Budget(3, 60.0)))
        await top.stop()
    return bool(told), bool(done)


async def the_naive_one_stops(granted: Granted) -> tuple[bool, bool]:
    done: list[str] = []

    async def clean_up() -> None:
        await anyio.sleep(granted.needs)
        done.append("clean")

    mid = BelievingSupervisor((Child(clean_up, granted.needs + 1),), granted.whole)
    told = mid.contradictions()
    await mid.stop()
    return bool(told), bool(done)


async def what_is_granted_is_kept_or_found_out(
    stop: Callable[[Granted], Awaitable[tuple[bool, bool]]],
) -> None:
    assert await stop(Granted(needs=2.0, whole=4.0)) == (False, True)
    told, clean = await stop(Granted(needs=2.0, whole=1.0))
    assert told or clean, "a clean-up that had been granted was cut off, and nobody had said so"


# trap 16
@both_backends
async def test_an_allowance_that_cannot_be_kept_is_found_when_the_tree_is_built() -> None:
    await what_is_granted_is_kept_or_found_out(ours_stops)
    with pytest.raises(AssertionError, match="nobody had said so"):
        await what_is_granted_is_kept_or_found_out(the_naive_one_stops)


# trap 16: nor does a budget that can never be spent stay unnoticed
def test_numbers_that_contradict_each_other_are_found_when_the_tree_is_built() -> None:
    slow = supervisor("mid", child("a", start_timeout=10.0), budget=Budget(3, 5.0), shutdown=1.0)
    assert find_contradictions(supervisor("top", slow, budget=Budget(3, 5.0)))
