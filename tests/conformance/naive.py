"""What comes to mind first, and falls into the traps: the same checks must fail on these.

Each class or function here is a plausible way to write one part of a supervisor, an
actor or a mailbox, and is wrong in the one way that its trap is about.  Supervisors that
restart, give up and stop are in `naive_supervisors`, actors that ask in `naive_actors`.
"""

from __future__ import annotations

import queue
from collections.abc import Awaitable, Callable

import anyio

from holdfast.runtime import NORMAL, SHUTDOWN, Crash, Outcome
from holdfast.supervisors import Budget

__all__ = [
    "ConsecutiveFailures",
    "FixedWindow",
    "PlainSupervisor",
    "RetainingGroup",
    "UnboundedInbox",
    "WholeSeconds",
    "judged_by_type",
    "stop_all",
]


class ConsecutiveFailures:
    """Counts failures in a row; a restart that succeeds begins anew (trap 1)."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._failures = 0

    def charge(self, now: float) -> bool:
        self._failures += 1
        return self._failures <= self._budget.intensity

    def restarted(self) -> None:
        self._failures = 0


class FixedWindow:
    """Counts from the first failure, and begins anew when the period is over (trap 2)."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._since = float("-inf")
        self._count = 0

    def charge(self, now: float) -> bool:
        if now - self._since > self._budget.period:
            self._since, self._count = now, 0
        self._count += 1
        return self._count <= self._budget.intensity

    def restarted(self) -> None:
        """A fixed window does not care."""


class WholeSeconds(FixedWindow):
    """Slides, and compares whole seconds (trap 2)."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._times: list[int] = []

    def charge(self, now: float) -> bool:
        self._times = [time for time in self._times if int(now) - time <= self._budget.period]
        self._times.append(int(now))
        return len(self._times) <= self._budget.intensity


async def stop_all(stops: list[Callable[[], Awaitable[None]]]) -> None:
    """Stop a group at once, as `gather` does: the first that fails cancels the rest (trap 5)."""
    async with anyio.create_task_group() as group:
        for stop in stops:
            group.start_soon(_awaited, stop)


async def _awaited(stop: Callable[[], Awaitable[None]]) -> None:
    await stop()


class PlainSupervisor:
    """Matches the notice of an end by the child's id (trap 6)."""

    def __init__(self) -> None:
        self.running = {"a": 1}
        self.starts = 0

    def ended(self, child: str, incarnation: int) -> None:
        if child in self.running:
            self.running[child] += 1
            self.starts += 1


def judged_by_type(error: BaseException | None, cancelled: type[BaseException]) -> Outcome:
    """Judge an end by the exception that came, groups as they are (traps 7, 8, 9)."""
    if error is None:
        return NORMAL
    if isinstance(error, cancelled):
        return SHUTDOWN
    return Crash(error)


class UnboundedInbox:
    """Takes everything, and the request to stop behind it (trap 14)."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[object] = queue.SimpleQueue()

    def tell(self, item: object) -> None:
        self.queue.put(item)

    @property
    def depth(self) -> int:
        return self.queue.qsize()


class RetainingGroup:
    """Keeps what its children died of (trap 17)."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []

    def ended(self, error: BaseException) -> None:
        self.failures.append(error)
