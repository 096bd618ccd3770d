"""Orders of tasks: which bugs each kind finds, and what is done when trio cannot be steered any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio

from holdfast.runtime.testing import scheduler as seam
from holdfast.specs import Random, Scheduler, SchedulerSeamLost, SerialPct, Setup, World, simulate

SEEDS = 60


async def _lost_update(_world: World) -> bool:
    """Two tasks add one to the same number, each over a checkpoint; True when both are counted."""
    counted = [0]

    async def add() -> None:
        await trio.lowlevel.checkpoint()
        before = counted[0]
        await trio.lowlevel.checkpoint()
        counted[0] = before + 1

    async def late() -> None:
        await trio.lowlevel.checkpoint()
        await add()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(late)
        nursery.start_soon(add)
    return counted[0] == 2


async def _overtaken(_world: World) -> bool:
    """One task makes six steps; True unless another that could run made none meanwhile."""
    began = False

    async def other() -> None:
        nonlocal began
        began = True

    async def six() -> bool:
        for _ in range(6):
            await trio.lowlevel.checkpoint()
        return began

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        return await six()


def _found(main: Callable[[World], Awaitable[bool]], scheduler: Scheduler) -> int:
    runs = [simulate(main, Setup(seed=seed, scheduler=scheduler)) for seed in range(SEEDS)]
    return sum(not run.result() for run in runs)


def test_an_order_that_trio_never_makes_is_found_by_serial_priorities_alone() -> None:
    # a task overtaken six times: where input holds a task up, it happens
    assert _found(_overtaken, "fifo") == 0
    assert _found(_overtaken, "shuffle") == 0
    assert SEEDS * 0.2 < _found(_overtaken, "pct") < SEEDS


def test_an_update_lost_over_a_checkpoint_is_found_by_shuffling_and_not_in_order_of_age() -> None:
    assert _found(_lost_update, "fifo") in (0, SEEDS)
    assert 0 < _found(_lost_update, "shuffle") < SEEDS


def test_a_loop_of_checkpoints_does_not_starve_the_others_for_ever() -> None:
    async def main(_world: World) -> bool:
        over = False

        async def spin() -> None:
            while not over:
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(spin)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            over = True
        return over

    for seed in range(SEEDS):
        assert simulate(main, Setup(seed=seed, scheduler="pct", steps=50)).result()


def test_priorities_change_in_the_middle_of_a_run() -> None:
    # fewer steps than anybody is patient for, so that nothing but a change makes another one run
    changed = 0
    for seed in range(20):
        order = SerialPct(Random(seed), steps=100)
        ready = cast("list[trio.lowlevel.Task]", [object(), object()])
        changed += len({id(order.choose(list(ready))[0]) for _ in range(100)}) == 2

    assert changed == 20


def test_trio_obeys_the_seam() -> None:
    seam.seam_holds.cache_clear()

    assert seam.seam_holds()


def _nothing(*_names: object) -> None:
    pass


def test_where_trio_cannot_be_steered_runs_work_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if trio no longer looked at the names that are set.
    monkeypatch.setattr(seam, "_put", _nothing)
    seam.seam_holds.cache_clear()
    try:
        with pytest.warns(SchedulerSeamLost):
            run = simulate(_lost_update)
        assert not run.steered
        assert run.result() in (True, False)
    finally:
        monkeypatch.undo()
        seam.seam_holds.cache_clear()


def test_another_order_than_the_three_is_refused() -> None:
    with pytest.raises(ValueError, match="fifo, shuffle, pct"):
        simulate(_lost_update, Setup(scheduler=cast("Scheduler", "lifo")))
