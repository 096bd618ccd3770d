"""Waiting until one of several tasks is done, as an edge of the graph of waits for each.

A task that asks the very actor that awaits it closes a circle, and is refused
like any other (S-A6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.runtime.asks import add_edge, check_cycle, remove_edge

if TYPE_CHECKING:
    from holdfast.runtime.backend import Parker
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.registry import Slot
    from holdfast.supervisors.jobs import Job

__all__ = ["Sleeper", "sleep_until_done"]


class Sleeper:
    """One who waits: a parker, and an edge of the graph of waits for each job."""

    __slots__ = ("_asker", "_edges", "_parker")

    def __init__(self, asker: Cell | None, parker: Parker) -> None:
        self._asker = asker
        self._edges: list[Slot] = []
        self._parker = parker

    def wait_for(self, slot: Slot) -> None:
        """Add an edge; `AskCycle` if this wait could never end."""
        if self._asker is not None:
            check_cycle(self._asker, slot)
            add_edge(self._asker, slot)
            self._edges.append(slot)

    def wake(self) -> None:
        self.leave()
        self._parker.unpark()

    def leave(self) -> None:
        """Take the edges out of the graph; twice is once."""
        while self._asker is not None and self._edges:
            remove_edge(self._asker, self._edges.pop())

    async def sleep(self) -> None:
        await self._parker.park()


async def sleep_until_done(asker: Cell | None, jobs: Sequence[Job], when: float | None = None) -> None:
    """Wait until one of these started jobs is done, or until `when`."""
    system = jobs[0].system
    sleeper = Sleeper(asker, system.backend.parker())
    deadline = None if when is None else system.deadlines.add(when, sleeper.wake)
    for job in jobs:
        job.add(sleeper)
    try:
        for job in jobs:
            assert job.cell is not None
            sleeper.wait_for(job.cell.slot)
        await sleeper.sleep()
    finally:
        for job in jobs:
            job.remove(sleeper)
        sleeper.leave()
        if deadline is not None:
            deadline.cancel()
