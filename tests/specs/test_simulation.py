"""A simulated run: the same from the same seed, in any process, and ended by name when it stalls."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable

import anyio.to_thread
import pytest
import trio
import trio.to_thread

from holdfast.runtime import RefusedInSimulation
from holdfast.specs import (
    Deadlock,
    Limits,
    Livelock,
    LoopBlocked,
    NotDeterministic,
    OutOfTime,
    Scheduler,
    Setup,
    Stall,
    World,
    check_determinism,
    simulate,
)

KINDS: tuple[Scheduler, ...] = ("fifo", "shuffle", "pct")


async def _crowd(world: World) -> list[str]:
    """Five tasks that meet at the same instants; what they draw and in which order they come is the story."""
    story: list[str] = []

    async def one(name: str) -> None:
        for _ in range(4):
            await trio.sleep(random.choice([0.25, 0.5]))
            story.append(
                f"{name} {world.random.random()} {secrets.token_hex(4)} {uuid.uuid4()} {time.time()}"
            )

    async with trio.open_nursery() as nursery:
        for name in "abcde":
            nursery.start_soon(one, name, name=name)
    return story


@pytest.mark.parametrize("scheduler", KINDS)
def test_the_same_seed_gives_the_same_run_and_another_seed_another(scheduler: Scheduler) -> None:
    runs = [simulate(_crowd, Setup(seed=seed, scheduler=scheduler)) for seed in (7, 7, 8)]

    assert runs[0].result() == runs[1].result() != runs[2].result()
    assert runs[0].digest == runs[1].digest != runs[2].digest
    assert all(run.steered for run in runs)


def _digests() -> list[str]:
    kinds: tuple[Scheduler, ...] = ("shuffle", "pct")
    return [simulate(_crowd, Setup(seed=seed, scheduler=kind)).digest for seed in range(9) for kind in kinds]


def test_the_same_seed_gives_the_same_run_in_other_processes_with_other_hashes() -> None:
    script = "from tests.specs.test_simulation import _digests\nprint(_digests())"
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={
                **os.environ,
                "PYTHONHASHSEED": hashes,
                "PYTHONPATH": os.pathsep.join(["build/importroot", "."]),
            },
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hashes in ("1", "2")
    ]

    assert said[0] == said[1]
    assert said[0].strip() == str(_digests())


def test_a_run_leaves_the_process_as_it_was() -> None:
    before = (
        random.getstate(),
        os.urandom,
        time.time,
        time.monotonic,
        threading.Thread.start,
        secrets.token_hex,
    )

    async def main(world: World) -> None:
        assert world.calendar.now() == time.time()
        world.calendar.jump(-3_600)
        raise OSError("any")

    for limits in (Limits(), Limits(steps_at_one_instant=1)):
        assert simulate(main, Setup(limits=limits)).error is not None
    after = (
        random.getstate(),
        os.urandom,
        time.time,
        time.monotonic,
        threading.Thread.start,
        secrets.token_hex,
    )
    assert after == before
    assert trio.run(_in_a_thread) == 0


async def _in_a_thread() -> int:
    return await trio.to_thread.run_sync(int)


def test_what_is_real_is_refused_in_a_run_also_from_threads_that_trio_keeps() -> None:
    # anyio has taken trio's function by its name.
    async def through_anyio() -> int:
        return await anyio.to_thread.run_sync(int)

    trio.run(through_anyio)

    async def main(_world: World) -> None:
        with pytest.raises(RefusedInSimulation):
            await through_anyio()
        with pytest.raises(RefusedInSimulation):
            await _in_a_thread()

    simulate(main).result()


async def _deadlock(_world: World) -> None:
    await trio.sleep(3)
    await trio.Event().wait()


async def _livelock(_world: World) -> None:
    while True:
        await trio.lowlevel.checkpoint()


async def _endless(_world: World) -> None:
    while True:  # noqa: ASYNC110 - it is the point
        await trio.sleep(1)


async def _blocking(_world: World) -> None:
    while True:
        try:
            sum(range(1_000))
        except Exception:
            continue


SHORT = Limits(virtual_seconds=1_000, steps_at_one_instant=2_000, cpu_seconds_per_step=0.1)


@pytest.mark.parametrize(
    "main, stall, where",
    [
        (_deadlock, Deadlock, "_deadlock"),
        (_livelock, Livelock, "test_simulation.py"),
        (_endless, OutOfTime, "1000 virtual seconds"),
        (_blocking, LoopBlocked, "_blocking"),
    ],
)
def test_a_run_that_comes_to_nothing_ends_by_name(
    main: Callable[[World], Awaitable[None]], stall: type[Stall], where: str
) -> None:
    run = simulate(main, Setup(limits=SHORT))

    assert isinstance(run.error, stall)
    assert "test_simulation.py" in str(run.error)
    assert where in str(run.error) or where in main.__name__


def test_a_task_that_swallows_its_cancellation_cannot_keep_a_stalled_run_going() -> None:
    cleaned: list[str] = []

    async def main(_world: World) -> None:
        try:
            while True:
                try:
                    await trio.lowlevel.checkpoint()
                except trio.Cancelled:
                    cleaned.append("told")
        finally:
            cleaned.append("closed")

    run = simulate(main, Setup(limits=SHORT))

    assert isinstance(run.error, Livelock)
    assert "broken off" in run.error.__notes__[0]
    assert cleaned[0] == "told"
    assert cleaned[-1] == "closed"
    assert simulate(_crowd).result()  # and the next one is not disturbed


def test_a_stalled_run_is_cancelled_first_so_that_it_cleans_up() -> None:
    cleaned: list[float] = []

    async def main(world: World) -> None:
        began = world.calendar.now()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)
            cleaned.append(world.calendar.now() - began)

    run = simulate(main, Setup(limits=SHORT))

    assert isinstance(run.error, Deadlock)
    assert cleaned == [10.0]
    assert not getattr(run.error, "__notes__", [])


def test_the_check_of_determinism_says_where_two_runs_parted() -> None:
    kept: list[int] = []

    async def by_what_was_left_behind(_world: World) -> None:
        await trio.sleep(1)
        kept.append(0)
        await trio.sleep(len(kept))

    with pytest.raises(NotDeterministic) as parted:
        check_determinism(by_what_was_left_behind)
    assert parted.value.difference.step > 0
    assert "first run 2.0 " in str(parted.value)
    assert "second run 3.0 " in str(parted.value)
    assert check_determinism(_crowd) == simulate(_crowd).digest


def test_the_check_of_determinism_sees_the_machine_s_clock_and_identities() -> None:
    async def by_clock(_world: World) -> None:
        await trio.sleep(time.perf_counter())

    async def by_identity(world: World) -> None:
        world.note(str(id(object())) + str(len(kept)))
        kept.append(object())

    kept: list[object] = []
    for main in (by_clock, by_identity):
        with pytest.raises(NotDeterministic):
            check_determinism(main)


def test_names_of_tasks_that_hold_an_address_do_not_make_a_run_another() -> None:
    async def main(_world: World) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1, name=object())

    check_determinism(main)


def test_nothing_is_collected_in_the_middle_of_a_run() -> None:
    died: list[str] = []

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            died.append("")

    async def main(_world: World) -> int:
        for _ in range(20_000):
            Cycle()
        await trio.sleep(1)
        return len(died)

    assert simulate(main).result() == 0
    assert len(died) == 20_000


def test_a_world_that_sleeps_has_everything_due_when_it_wakes() -> None:
    async def main(world: World) -> tuple[float, float]:
        woken: list[float] = []
        began = trio.current_time()

        async def sleeper(seconds: float) -> None:
            await trio.sleep(seconds)
            woken.append(trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper, 1)
            nursery.start_soon(sleeper, 500)
            await trio.sleep(0.5)
            world.suspend(3_600)
        return woken[0], woken[1]

    assert simulate(main).result() == (3_600.5, 3_600.5)
