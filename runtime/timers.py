"""One heap for every deadline of a system: timers, asks, allowances.

A cancel scope per ask costs 10 to 14 microseconds (measured); an entry in a
heap costs half of one.  Entries are cancelled by mark, and the heap is rebuilt
when more than half of it is dead, so that it stays as small as what it serves.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.runtime.backend import Alarm

__all__ = ["Deadline", "DeadlineHeap"]

# Below this many dead entries a rebuild costs more than it frees.
_DEAD_MIN = 1024


class Deadline:
    """Something that happens once at `when`, unless it is cancelled first."""

    __slots__ = ("_heap", "callback", "when")

    def __init__(self, heap: DeadlineHeap, when: float, callback: Callable[[], None]) -> None:
        self._heap = heap
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Keep it from happening; after it happened this is nothing."""
        if self.callback is not None:
            self.callback = None
            self._heap.bury()


class DeadlineHeap:
    """Deadlines in order of time; those of one instant fire in the order in which they were set."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heap: list[tuple[float, int, Deadline]] = []
        self._sequence = 0
        self._dead = 0
        self._armed_for = float("inf")
        self._alarm: Alarm | None = None

    def attach(self, alarm: Alarm) -> None:
        """Use this alarm to be called at the earliest deadline."""
        self._alarm = alarm
        self._arm()

    def add(self, when: float, callback: Callable[[], None]) -> Deadline:
        """Call `callback` at `when`, from no task in particular; it must not wait and must not raise."""
        deadline = Deadline(self, when, callback)
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, deadline))
        if when < self._armed_for:
            self._arm()
        return deadline

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def bury(self) -> None:
        """Account for a cancelled entry; rebuild when most are dead."""
        self._dead += 1
        if self._dead > _DEAD_MIN and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._dead = 0

    def fire(self) -> None:
        """Run everything that is due; the alarm calls this."""
        self._armed_for = float("inf")
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            deadline = heapq.heappop(self._heap)[2]
            callback, deadline.callback = deadline.callback, None
            if callback is None:
                self._dead -= 1
            else:
                callback()
        self._arm()

    def _arm(self) -> None:
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
            self._dead -= 1
        earliest = self._heap[0][0] if self._heap else float("inf")
        if earliest != self._armed_for and self._alarm is not None:
            self._armed_for = earliest
            self._alarm.set(earliest)
