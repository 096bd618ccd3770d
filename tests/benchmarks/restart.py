"""What supervision costs: a restart, a group restart, a hundred thousand static children, and what stays.

Everything on trio, through the public API, with the specs' defaults, in CPU time,
and for actors of either tier.  Reports are on: each crash and each decision is
recorded in the flight recorders, with the frames and the events before it.

* A restart is from the moment at which the handler raises to the moment at which
  the successor handles the next message, both read in the handlers.  The turn of the
  scheduler that wakes the actor for the message is not in it (see `kernel.py`).
* It is compared with the least that trio needs without us: a task that raises in
  a nursery, and the next one in the next nursery; measured in turns with it.
* A group restart is from the crash of one to the start hook of the last of a thousand;
  the measuring task sleeps meanwhile.
* Starting and stopping is linear when a child of a hundred thousand costs what a child
  of a thousand does.  Garbage collection is part of it, as it is for users.
* What stays is counted in objects and in resident memory, after the first
  cycles have filled every recorder: cycles of a permanent child, and of temporary
  ones with an argument of ten kilobytes each.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import trio
from tests.benchmarks.kernel import Result

from holdfast.runtime import Actor, Message, Ref, on, open_system
from holdfast.runtime.backend import new_parker
from holdfast.supervisors import (
    TEMPORARY,
    Budget,
    ChildSpec,
    DynamicHandle,
    Strategy,
    dynamic,
    start_tree,
    supervisor,
    template,
    worker,
)

__all__ = ["measure"]

REPEATS = 7
CRASHES = 200
GROUP = 1_000
GROUPS = 9
FEW, MANY = 1_000, 100_000
CYCLES = 100_000
PASSING = 5_000
WARM_UP = 2_000

# What an allocator keeps or gives back as it likes, and the objects of one collection to the next.
OBJECTS_MAX = 200
KIB_MAX = 1_024

PLENTY = Budget(intensity=10_000_000, period=1.0)
STATM = Path("/proc/self/statm")


class Crash(Message, frozen=True):
    """Crash."""


class Mark(Message, frozen=True):
    """Say that it is handled."""


class Clock:
    """What the handlers write down, outside the actors, which are made anew each time."""

    def __init__(self) -> None:
        self.crashed = self.handled = 0.0
        self.marks = self.starts = 0
        self.parker = new_parker()

    async def wait(self) -> None:
        """Sleep until the next mark is handled."""
        marks = self.marks
        while self.marks == marks:
            await self.parker.park()


class Fragile(Actor):
    """Crashes when told to; lives task-less."""

    def __init__(self, clock: Clock, _argument: bytes = b"") -> None:
        self.clock = clock

    @on(Crash)
    def crash(self, message: Crash) -> None:
        self.clock.crashed = time.thread_time()
        raise ValueError("told to")

    @on(Mark)
    def mark(self, message: Mark) -> None:
        self.clock.handled = time.thread_time()
        self.clock.marks += 1
        self.clock.parker.unpark()


class Member(Fragile):
    """One of the group: the last one to start is written down as a mark."""

    def on_start(self) -> None:
        self.clock.starts += 1
        if self.clock.starts % GROUP == 0:
            self.mark(Mark())


class MemberTask(Member):
    """The same with a task of its own."""

    tier = "task"


class FragileTask(Fragile):
    """The same with a task of its own."""

    tier = "task"


KINDS: tuple[tuple[str, type[Fragile], type[Member]], ...] = (
    ("with a task", FragileTask, MemberTask),
    ("task-less", Fragile, Member),
)


def _children(kind: type[Fragile], clock: Clock, count: int) -> list[ChildSpec]:
    return [worker(f"child{n}", partial(kind, clock)) for n in range(count)]


def _one_of_each(clock: Clock) -> list[ChildSpec]:
    return [worker(f"child{n}", partial(kind, clock)) for n, (_, kind, _) in enumerate(KINDS)]


def measure() -> list[Result]:
    """Measure on trio; about a minute."""
    return [
        *anyio.run(_restarts, backend="trio"),
        *anyio.run(_group_restarts, backend="trio"),
        *anyio.run(_linear, backend="trio"),
        *anyio.run(_what_stays, backend="trio"),
    ]


# ---- one child -------------------------------------------------------------------------------------


async def _restarts() -> list[Result]:
    taken: dict[str, list[float]] = {name: [] for name, _, _ in KINDS}
    floor: list[float] = []
    async with open_system("bench") as system:
        clock = Clock()
        await start_tree(system, supervisor("top", *_one_of_each(clock), budget=PLENTY))
        for _ in range(REPEATS):
            floor.append(await _bare_restarts())
            for number, (name, _, _) in enumerate(KINDS):
                taken[name].append(await _crashes(system.ref(f"top/child{number}"), clock))
    bare = statistics.median(floor)
    results = [
        _result(f"restart: crash to first message handled, {name}", taken[name], "us", f"<= {most} us")
        for (name, _, _), most in zip(KINDS, (40, 10), strict=True)
    ]
    task = statistics.median(taken[KINDS[0][0]])
    results.append(_result("restart: the same of a bare task in a trio nursery", floor, "us", "the measure"))
    results.append(
        _result("restart: ours in times of that", [task / bare], "x", "the measure"),
    )
    return results


async def _crashes(ref: Ref, clock: Clock) -> float:
    """Return the median microseconds from crash to first message handled."""
    taken: list[float] = []
    for _ in range(CRASHES):
        ref.tell(Crash())
        ref.tell(Mark())
        await clock.wait()
        taken.append((clock.handled - clock.crashed) * 1e6)
    return statistics.median(taken)


async def _bare_restarts() -> float:
    """Return the same for a task that raises in a nursery, started again in the next one."""
    taken: list[float] = []
    crashed = handled = 0.0

    async def child(first: bool) -> None:
        nonlocal crashed, handled
        if first:
            crashed = time.thread_time()
            raise ValueError("told to")
        handled = time.thread_time()

    for _ in range(CRASHES):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, True)
        except* ValueError:
            pass
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, False)
        taken.append((handled - crashed) * 1e6)
    return statistics.median(taken)


# ---- a thousand ------------------------------------------------------------------------------------


async def _group_restarts() -> list[Result]:
    results: list[Result] = []
    for (name, _, kind), most in zip(KINDS, (60, 9), strict=True):
        taken: list[float] = []
        async with open_system("bench") as system:
            clock = Clock()
            tree = supervisor(
                "top", *_children(kind, clock, GROUP), strategy=Strategy.ONE_FOR_ALL, budget=PLENTY
            )
            await start_tree(system, tree)
            middle = system.ref(f"top/child{GROUP // 2}")
            for _ in range(GROUPS):
                await anyio.sleep(0.01)  # all of them sleep
                middle.tell(Crash())
                await clock.wait()
                taken.append((clock.handled - clock.crashed) * 1e3)
        target = f"<= {most} ms, with reports"
        results.append(_result(f"one_for_all of {GROUP:,}, {name}", taken, "ms", target))
    return results


# ---- a hundred thousand ----------------------------------------------------------------------------


async def _linear() -> list[Result]:
    results: list[Result] = []
    for name, kind, _ in KINDS:
        few = statistics.median([await _start_and_stop(kind, FEW) for _ in range(REPEATS)])
        many = await _start_and_stop(kind, MANY)
        told = f"<= 1.5 x ({few:.0f} us of {FEW:,})"
        results.append(_result(f"start and stop {MANY:,} static children, {name}", [many], "us each", ""))
        results.append(_result(f"a child of {MANY:,} to one of {FEW:,}, {name}", [many / few], "x", told))
    return results


async def _start_and_stop(kind: type[Fragile], count: int) -> float:
    """Return the microseconds for each child."""
    gc.collect()
    async with open_system("bench") as system:
        clock = Clock()
        tree = supervisor("top", *_children(kind, clock, count))
        started = time.thread_time()
        await start_tree(system, tree)
        await system.stop()
        return (time.thread_time() - started) / count * 1e6


# ---- what stays ------------------------------------------------------------------------------------


async def _what_stays() -> list[Result]:
    results: list[Result] = []
    async with open_system("bench") as system:
        clock = Clock()
        await start_tree(system, supervisor("top", *_one_of_each(clock), budget=PLENTY))
        kind = template("child", Fragile, restart=TEMPORARY)
        pool = DynamicHandle((await start_tree(system, dynamic("pool", kind, budget=PLENTY))).ref)
        refs = [system.ref(f"top/child{n}") for n in range(len(KINDS))]

        async def permanent(cycle: int) -> None:
            ref = refs[cycle % len(refs)]
            ref.tell(Crash())
            ref.tell(Mark())
            await clock.wait()

        async def temporary(_cycle: int) -> None:
            child = (await pool.start_child(clock, bytes(10_000))).ref
            assert child is not None
            child.tell(Mark())
            await clock.wait()
            child.tell(Crash())
            await anyio.lowlevel.checkpoint()

        cases = ((CYCLES, "crash-restart cycles", permanent), (PASSING, "temporary children", temporary))
        for cycles, name, cycle in cases:
            for number in range(WARM_UP):
                await cycle(number)
            objects, resident = _objects(), _resident()
            for number in range(cycles):
                await cycle(number)
            kept, grown = float(_objects() - objects), _resident() - resident
            said = f"of {cycles:,} {name}"
            results.append(_result(f"objects kept {said}", [kept], "objects", f"<= {OBJECTS_MAX:g}"))
            results.append(_result(f"memory kept {said}", [grown], "KiB", f"<= {KIB_MAX:g} KiB"))
    return results


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def _resident() -> float:
    """Return the resident set in KiB."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def _result(name: str, values: list[float], unit: str, target: str) -> Result:
    value = statistics.median(values)
    most = target.removeprefix("<= ").split(" ")[0] if target.startswith("<=") else ""
    met = not most or value <= float(most)
    named = f"{name} (trio)"
    return Result(
        named,
        round(value, 2),
        round(min(values), 2),
        round(max(values), 2),
        unit,
        target or "the measure",
        met,
    )
