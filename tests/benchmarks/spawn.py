"""What an actor costs that does nothing: a hundred thousand children of a dynamic supervisor, in either tier.

Through the public API: in bulk with `start_children`, and one `start_child` after the
other, each a question to the supervisor, whose two turns of the scheduler are in the
figure.  CPU time; resident memory with everything that the supervisor knows of a
child.  The settings of the garbage collector are left alone, except in the rows that
say so: what a daemon may do.  Each size is one run of it: the spread is that of the
ten thousands within the run, the value their mean.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path

import anyio
import attrs
from tests.benchmarks.kernel import Item, Result

from holdfast.runtime import Actor, on, open_system
from holdfast.supervisors import DynamicHandle, dynamic, start_tree, template

__all__ = ["measure"]

CHILDREN = 100_000
PORTION = 10_000
PAGE = 4096
# What a daemon with many actors may set: a collection walks everything that is alive.
RAISED = (50_000, 20, 100)


class Idle(Actor):
    """Needs no task."""

    @on(Item)
    def item(self, message: Item) -> None:
        """Nothing happens."""


class IdleTask(Idle):
    """Has one all the same."""

    tier = "task"


@attrs.frozen
class Way:
    """How the children are started, and what the row is called."""

    title: str
    kind: type[Actor]
    target: float
    bulk: bool = True
    raised: bool = False
    memory: float | None = None


WAYS = (
    Way("task-less, in bulk", Idle, 4, memory=2),
    Way("task-less, in bulk, GC thresholds raised", Idle, 4, raised=True),
    Way("task-less, one by one", Idle, 4, bulk=False),
    Way("tasks, in bulk", IdleTask, 20, memory=6),
    Way("tasks, in bulk, GC thresholds raised", IdleTask, 20, raised=True),
    Way("tasks, one by one", IdleTask, 20, bulk=False),
)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def _spawn(way: Way) -> tuple[list[float], float]:
    """Return the seconds for each child, portion by portion, and the bytes that each keeps."""
    seconds: list[float] = []
    async with open_system("spawn") as system:
        await start_tree(system, dynamic("pool", template("idle", way.kind)))
        pool = DynamicHandle(system.ref("pool"))
        await pool.start_child()
        gc.collect()
        before = _resident()
        for _ in range(CHILDREN // PORTION):
            started = time.thread_time()
            if way.bulk:
                await pool.start_children([()] * PORTION)
            else:
                for _ in range(PORTION):
                    await pool.start_child()
            seconds.append((time.thread_time() - started) / PORTION)
        kept = (_resident() - before) / CHILDREN
    return seconds, kept


def _run(way: Way) -> tuple[list[float], float]:
    before = gc.get_threshold()
    if way.raised:
        gc.set_threshold(*RAISED)
    try:
        return anyio.run(_spawn, way, backend="trio")
    finally:
        gc.set_threshold(*before)


def measure() -> list[Result]:
    """Spawn a hundred thousand in each way on trio; about a minute and a half."""
    if not Path("/proc/self/statm").exists():
        return []
    results: list[Result] = []
    for way in WAYS:
        seconds, kept = _run(way)
        each = [1e6 * one for one in seconds]
        mean = sum(each) / len(each)
        results.append(
            Result(
                f"spawn 100,000, {way.title}",
                round(mean, 1),
                round(min(each), 1),
                round(max(each), 1),
                "us",
                f"<= {way.target:g} us",
                mean <= way.target,
            )
        )
        if way.memory is None:
            continue
        size = round(kept / 1024, 2)
        results.append(
            Result(
                f"memory of an idle actor, {way.title.partition(',')[0]}",
                size,
                size,
                size,
                "KB",
                f"<= {way.memory:g} KB",
                size <= way.memory,
            )
        )
    return results
