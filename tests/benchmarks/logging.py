"""What logging costs: the caller (A5.4 allows 10 us), a filtered call, and the logger's work per record."""

from __future__ import annotations

import time
from collections.abc import Callable

from holdfast.actors.logger.machine import fill_batch
from holdfast.actors.logger.messages import Backlog, Level, Logger
from holdfast.actors.logger.settings import LoggerSettings

__all__ = ["Row", "cases"]

Row = tuple[str, float, str]
"""Name, value, unit."""

CALLS = 50_000

# The best of a few rounds: what the machine does meanwhile only ever adds.
ROUNDS = 5

PARTS: dict[str, object] = {
    f"part{number}": {"name": "some value", "count": number, "address": "https://host.example/path"}
    for number in range(9)
}
NESTED = {**PARTS, "apiKey": "never shown"}


def cases() -> list[Row]:
    """Measure, and return a row for each case."""
    small: dict[str, object] = {"index": 1, "name": "two"}
    return [
        ("log: filtered call", _calls(Level.ERROR, small), "us"),
        ("log: accepted call", _calls(Level.DEBUG, small), "us"),
        ("log: accepted call, nested data", _calls(Level.DEBUG, NESTED), "us"),
        ("log: redact and encode, small data", _rendering(small), "us/record"),
        ("log: redact and encode, nested data", _rendering(NESTED), "us/record"),
    ]


def _calls(level: Level, data: dict[str, object]) -> float:
    def work() -> None:
        front = Logger(Backlog(level=level, now=time.time, capacity=CALLS))
        for _ in range(CALLS):
            front.info("Rapid log", data)

    return _best(work, CALLS)


def _rendering(data: dict[str, object]) -> float:
    count = CALLS // 10
    settings = LoggerSettings()

    def work() -> None:
        backlog = Backlog(level=Level.DEBUG, now=time.time, capacity=count)
        front = Logger(backlog)
        for _ in range(count):
            front.info("Rapid log", data)
        while fill_batch(backlog, settings) is not None:
            pass

    return _best(work, count)


def _best(work: Callable[[], None], count: int) -> float:
    def once() -> float:
        # CPU time of this thread: other programs on the machine are not our cost.
        start = time.thread_time()
        work()
        return time.thread_time() - start

    return min(once() for _ in range(ROUNDS)) / count * 1e6
