"""Who stands above and listens is told of each failure below, at the moment when it happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Boom

from holdfast.runtime import NORMAL, Actor, Message, Outcome, on
from holdfast.runtime.cell import Cell
from holdfast.runtime.messages import Ended
from holdfast.runtime.testing import settled

Listener = Callable[[str, Outcome], bool]


class Finish(Message, frozen=True):
    """End in an orderly way."""


class Fail(Message, frozen=True):
    """Crash."""


class Finisher(Actor):
    @on(Fail)
    def fail(self, _message: Fail) -> None:
        raise Boom

    @on(Finish)
    def finish(self, _message: Finish) -> None:
        self.context.stop(NORMAL)


class Above(Actor):
    """A supervisor of one child that only notes whom it hears of."""

    def __init__(self, child: Callable[[], Actor], heard: list[str], cells: dict[str, Cell]) -> None:
        self._child, self._heard, self._cells = child, heard, cells

    async def on_start(self) -> None:
        cell = self._cells[self.context.path] = self.context.open_cell("x", self._child)
        await cell.start(5)

    @on(Ended)
    def ended(self, notice: Ended) -> None:
        self._heard.append(notice.path)


class Family:
    """top -> x -> x: two that stand above, and a leaf; `told` is what the listeners were told."""

    def __init__(self, listeners: dict[str, bool]) -> None:
        self.heard: list[str] = []
        self.told: list[str] = []
        self.cells: dict[str, Cell] = {}
        self._listeners = listeners

    def _listener(self, name: str, answer: bool) -> Listener:
        def listen(path: str, outcome: Outcome) -> bool:
            self.told.append(f"{name} of {path}: {type(outcome).__name__}")
            return answer

        return listen

    def top(self) -> Actor:
        return Above(lambda: Above(Finisher, self.heard, self.cells), self.heard, self.cells)

    def listen(self, top: Cell | None) -> Cell:
        middle = self.cells["top"]
        assert top is not None
        for cell in (top, middle):
            if cell.slot.path in self._listeners:
                cell.on_failure_below = self._listener(cell.slot.path, self._listeners[cell.slot.path])
        return self.cells["top/x"]


@every_tier
@pytest.mark.parametrize("taken_over", [False, True])
async def test_a_failure_is_told_from_the_top_down_until_somebody_takes_it_over(taken_over: bool) -> None:
    # S-B6
    family = Family({"top": taken_over, "top/x": False})
    async with open_system() as system:
        top = await system.start("top", family.top)
        family.listen(top.slot.cell)
        system.ref("top/x/x").tell(Fail())
        await settled()

        told = ["top of top/x/x: Crash", "top/x of top/x/x: Crash"]
        assert family.told == told[: 1 if taken_over else 2]
        # Whom somebody above deals with, its own supervisor need not hear of.
        assert family.heard == ([] if taken_over else ["top/x/x"])


@every_tier
async def test_what_was_asked_for_and_what_is_orderly_is_no_failure() -> None:
    # S-B6: only what fails by itself counts
    family = Family({"top": True})
    async with open_system() as system:
        top = await system.start("top", family.top)
        leaf = family.listen(top.slot.cell)
        await leaf.stop(0.0, final=False)
        assert family.told == []

    family = Family({"top": True})
    async with open_system() as system:
        top = await system.start("top", family.top)
        family.listen(top.slot.cell)
        system.ref("top/x/x").tell(Finish())
        await settled()
        assert (family.told, family.heard) == ([], ["top/x/x"])


@every_tier
async def test_children_that_end_with_their_supervisor_are_no_failures() -> None:
    family = Family({"top": True})
    async with open_system() as system:
        top = await system.start("top", family.top)
        family.listen(top.slot.cell)
        family.cells["top"].kill()
        await settled()
        assert family.told == ["top of top/x: Killed"]
