"""Orders in which the runnable tasks of a simulated run go: three kinds, each drawn from a seed.

No kind finds every bug, so a campaign mixes them.  `OldestFirst` and `Shuffled`
are orders that trio itself can produce.  `SerialPct` (probabilistic concurrency
testing) runs one task at a time by priorities: legal for cooperative tasks, but
trio never does it, so what it alone finds is a bug where input and output can
hold a task up for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import trio

from holdfast.runtime.testing.scheduler import Order
from holdfast.specs.randomness import Random

__all__ = ["CHANGES", "OldestFirst", "Scheduler", "SerialPct", "Shuffled", "order_of"]

Task = trio.lowlevel.Task

Scheduler: TypeAlias = Literal["fifo", "shuffle", "pct"]
"""The kinds of orders, as they are named on a command line and in a replay file."""

# How often priorities change in a run: two changes expose nearly every bug found by one more, and a
# change costs a factor of the run's steps in the chance of hitting the right moment.
CHANGES = 2

# A task passed over so often is run: a loop of checkpoints in another would starve it for ever.
PATIENCE = 200


class OldestFirst:
    """First in, first out, by the age of the tasks: no draws at all."""

    def choose(self, ready: list[Task]) -> Sequence[Task]:
        return ready


class Shuffled:
    """Every tick in an order of its own."""

    def __init__(self, source: Random) -> None:
        self._shuffle = source.shuffle

    def choose(self, ready: list[Task]) -> Sequence[Task]:
        if len(ready) > 1:
            self._shuffle(ready)
        return ready


class SerialPct:
    """One task at a time, by priorities drawn at first sight and lowered at a few drawn steps.

    `steps` is how many steps the run will have, about: measure it in a run of
    `OldestFirst`.  Far above the truth the changes fall behind the end of the run.
    """

    def __init__(self, source: Random, steps: int, changes: int = CHANGES) -> None:
        self._random = source
        self._priority: dict[Task, float] = {}
        self._passed: dict[Task, int] = {}
        self._changes = sorted(source.randint(1, max(1, steps)) for _ in range(changes))
        self._lowest = 0.0
        self._step = 0

    def choose(self, ready: list[Task]) -> Sequence[Task]:
        self._step += 1
        for task in ready:
            if task not in self._priority:
                self._priority[task] = self._random.random()
        if self._changes and self._step >= self._changes[0]:
            self._changes.pop(0)
            # Below everybody so far: whoever would have gone on now waits for all the others.
            self._lowest -= 1.0
            self._priority[max(ready, key=self._priority.__getitem__)] = self._lowest
        chosen = max(ready, key=self._priority.__getitem__)
        for task in ready:
            passed = self._passed[task] = 0 if task is chosen else self._passed.get(task, 0) + 1
            if passed > PATIENCE:
                chosen, self._passed[task] = task, 0
        return (chosen,)

    def forget(self, task: Task) -> None:
        """Drop what is kept of a task that has ended."""
        self._priority.pop(task, None)
        self._passed.pop(task, None)


def order_of(kind: Scheduler, source: Random, steps: int | None) -> Order:
    """Return the order of this kind; `steps` is needed by "pct" alone.  ValueError for another kind."""
    if kind == "fifo":
        return OldestFirst()
    if kind == "shuffle":
        return Shuffled(source)
    if kind == "pct":
        if steps is None:
            raise ValueError("pct needs the number of steps of the run: measure it with fifo first")
        return SerialPct(source, steps)
    raise ValueError(f"a scheduler is one of fifo, shuffle, pct, got {kind!r}")
