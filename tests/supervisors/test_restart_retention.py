"""Nothing stays of what crashed: not after thousands of restarts, in either tier, on either backend."""

from __future__ import annotations

import gc
import weakref

import anyio

from holdfast.runtime import Actor, Message, Request, System, on, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.runtime.timers import Deadline
from holdfast.supervisors import (
    TEMPORARY,
    Budget,
    DynamicHandle,
    dynamic,
    start_tree,
    supervisor,
    template,
    worker,
)

PLENTY = Budget(intensity=10_000_000, period=1.0)

# Each kind of child; the benchmarks do a hundred thousand.
CYCLES = 1_500

# Objects that a collection may find or not find, and caches that fill: far below one for each cycle.
OBJECTS_MAX = 150


class Crash(Message, frozen=True):
    """Crash, with something heavy in the frame."""


class Up(Request[int], frozen=True):
    """Which incarnation is up."""


class Heavy(ValueError):
    """What is raised; it can be referred to weakly."""


class Argument:
    """What a child was started with."""


alive: weakref.WeakSet[object] = weakref.WeakSet()


class Fragile(Actor):
    """Crashes when told to."""

    def __init__(self, argument: Argument | None = None) -> None:
        self.argument = argument
        alive.add(self)

    @on(Crash)
    def crash(self, message: Crash) -> None:
        frame = Argument()
        error = Heavy("told to")
        alive.update((frame, error))
        raise error

    @on(Up)
    def up(self, message: Up) -> int:
        return self.context.incarnation


class FragileTask(Fragile):
    tier = "task"


async def crash(system: System, times: int) -> None:
    for _ in range(times):
        for name in ("task", "taskless"):
            ref = system.ref(f"top/{name}")
            ref.tell(Crash())
            await ref.ask(Up())


def objects() -> int:
    """Count what is alive, but for the heap of deadlines, which sheds a thousand dead entries at a time."""
    gc.collect()
    return sum(type(found) not in {Deadline, tuple} for found in gc.get_objects())


# Measured, 4: no retained exceptions, tracebacks or timestamps
@both_backends
async def test_thousands_of_restarts_leave_nothing() -> None:
    async with open_system() as system:
        tree = supervisor("top", worker("task", FragileTask), worker("taskless", Fragile), budget=PLENTY)
        await start_tree(system, tree)
        await crash(system, 100)
        before = objects()
        await crash(system, CYCLES)

        assert objects() - before <= OBJECTS_MAX
        assert len(alive) == 2, "the two that run, no exception, nothing that a frame held"
        assert [system.ref(f"top/{name}").slot.incarnation for name in ("task", "taskless")] == [
            CYCLES + 101
        ] * 2
    alive.clear()


# R33: what a temporary child was started with is not kept
@both_backends
async def test_temporary_children_leave_neither_their_arguments_nor_their_crash() -> None:
    async with open_system() as system:
        spec = dynamic("pool", template("child", FragileTask, restart=TEMPORARY), budget=PLENTY)
        pool = DynamicHandle((await start_tree(system, spec)).ref)

        async def cycle() -> None:
            argument = Argument()
            alive.add(argument)
            child = (await pool.start_child(argument)).ref
            assert child is not None
            child.tell(Crash())
            await settled()

        for _ in range(50):
            await cycle()
        before = objects()
        for _ in range(CYCLES // 5):
            await cycle()

        assert objects() - before <= OBJECTS_MAX
        assert len(alive) == 0
        assert len(system.registry) == 1
        assert system.tasks == 1
    alive.clear()


# Supervision 9: reports outlive their actor, bounded
@both_backends
async def test_the_time_of_attempts_is_kept_for_the_period_alone() -> None:
    async with open_system() as system:
        tree = supervisor("top", worker("task", FragileTask), budget=Budget(intensity=100, period=0.5))
        handle = await start_tree(system, tree)
        ref = system.ref("top/task")
        for _ in range(50):
            ref.tell(Crash())
            await ref.ask(Up())
        assert (await handle.supervision()).budget.left == 50
        await anyio.sleep(1.0)
        assert (await handle.supervision()).budget.left == 100
    alive.clear()
