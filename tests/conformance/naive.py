"""What comes to mind first, and falls into the traps: the same checks must fail on these.

Each class or function here is a plausible way to write one part of a supervisor, an
actor or a mailbox, and is wrong in the one way that its trap is about.
"""

from __future__ import annotations

import queue
from collections.abc import Awaitable, Callable

import anyio
import attrs

from holdfast.runtime import NORMAL, SHUTDOWN, Crash, Outcome
from holdfast.supervisors import Budget

__all__ = [
    "ConsecutiveFailures",
    "FixedWindow",
    "HandleRef",
    "PlainSupervisor",
    "RetainingGroup",
    "UnboundedInbox",
    "WholeSeconds",
    "ask_and_wait",
    "give_up_orderly",
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


def give_up_orderly(restart: str) -> bool:
    """Return whether a parent hears of a child that gave up, when giving up is a shutdown (trap 4)."""
    outcome: Outcome = SHUTDOWN
    return restart == "permanent" or not outcome.orderly


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


@attrs.define
class Inbox:
    """An inbox that whoever holds it may fill."""

    items: list[object] = attrs.field(factory=list[object])


@attrs.define
class HandleRef:
    """Names an incarnation: its inbox is gone with it (trap 15)."""

    inbox: Inbox

    def tell(self, item: object) -> None:
        self.inbox.items.append(item)


class UnboundedInbox:
    """Takes everything, and the request to stop behind it (trap 14)."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[object] = queue.SimpleQueue()

    def tell(self, item: object) -> None:
        self.queue.put(item)

    @property
    def depth(self) -> int:
        return self.queue.qsize()


async def ask_and_wait(answered: anyio.Event, timeout: float) -> str:
    """Ask and wait for the answer, whoever waits for whom and whether or not anybody is there (12, 13)."""
    with anyio.move_on_after(timeout):
        await answered.wait()
        return "answered"
    return "timeout"


class RetainingGroup:
    """Keeps what its children died of (trap 17)."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []

    def ended(self, error: BaseException) -> None:
        self.failures.append(error)
