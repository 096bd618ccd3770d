"""What an actor costs that does nothing: a hundred thousand children of a dynamic supervisor, in either tier.

Through the public API, one `start_child` after the other, each a question to the
supervisor: its two turns of the scheduler are in the figure.  CPU time; resident
memory with everything that the supervisor knows of a child.  The settings of the
garbage collector are left alone.  Each size is one process's one run of it: the
spread is that of the thousands within the run, the value their mean.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path

import anyio
from tests.benchmarks.kernel import Item, Result

from holdfast.runtime import Actor, on, open_system
from holdfast.supervisors import DynamicHandle, dynamic, start_tree, template

__all__ = ["measure"]

CHILDREN = 100_000
PORTION = 10_000
PAGE = 4096


class Idle(Actor):
    """Needs no task."""

    @on(Item)
    def item(self, message: Item) -> None:
        """Nothing happens."""


class IdleTask(Idle):
    """Has one all the same."""

    tier = "task"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def _spawn(kind: type[Actor]) -> tuple[list[float], float]:
    """Return the seconds for each child, portion by portion, and the bytes that each keeps."""
    seconds: list[float] = []
    async with open_system("spawn") as system:
        await start_tree(system, dynamic("pool", template("idle", kind)))
        pool = DynamicHandle(system.ref("pool"))
        await pool.start_child()
        gc.collect()
        before = _resident()
        for _ in range(CHILDREN // PORTION):
            started = time.thread_time()
            for _ in range(PORTION):
                await pool.start_child()
            seconds.append((time.thread_time() - started) / PORTION)
        kept = (_resident() - before) / CHILDREN
    return seconds, kept


def measure() -> list[Result]:
    """Spawn a hundred thousand of each tier on trio; about a minute."""
    if not Path("/proc/self/statm").exists():
        return []
    results: list[Result] = []
    for name, kind, microseconds, kilobytes in (("task-less", Idle, 4, 2), ("tasks", IdleTask, 20, 6)):
        seconds, kept = anyio.run(_spawn, kind, backend="trio")
        each = [1e6 * one for one in seconds]
        mean = sum(each) / len(each)
        target = f"<= {microseconds} us"
        lowest, highest = round(min(each), 1), round(max(each), 1)
        results.append(
            Result(
                f"spawn 100,000, {name}", round(mean, 1), lowest, highest, "us", target, mean <= microseconds
            )
        )
        size = round(kept / 1024, 2)
        results.append(
            Result(
                f"memory of an idle actor, {name}",
                size,
                size,
                size,
                "KB",
                f"<= {kilobytes} KB",
                size <= kilobytes,
            )
        )
    return results
