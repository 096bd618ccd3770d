"""The wall clock of a simulated run: unix time that runs with the virtual clock and can be set.

Product code reads it through its seams.  For libraries that ask the machine, `shown`
lets `time.time` and `time.monotonic` answer in virtual time; `datetime.now` is
written in C and cannot be reached, the determinism check finds who depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

import trio

from holdfast.specs.patches import replaced

__all__ = ["FIRST_DAY", "VirtualCalendar", "shown"]

# 2026-11-18: dates in tokens have to be after the libraries' idea of the past.
FIRST_DAY = 1_795_000_000.0

NANO = 1_000_000_000


class VirtualCalendar:
    """Unix time that runs with the loop's clock; `offset` makes it jump."""

    def __init__(self) -> None:
        self.offset = FIRST_DAY

    def now(self) -> float:
        """Return unix seconds; only inside a run."""
        return self.offset + trio.current_time()

    def jump(self, seconds: float) -> None:
        """Set it forward, or back: as an operator does.  The loop's clock never jumps back."""
        self.offset += seconds


@contextmanager
def shown(calendar: VirtualCalendar) -> Generator[None]:
    """Have the machine's clocks show virtual time for the length of the body; entered inside a run."""

    def nanoseconds() -> int:
        return int(calendar.now() * NANO)

    def monotonic_nanoseconds() -> int:
        return int(trio.current_time() * NANO)

    with replaced(
        (time, "time", calendar.now),
        (time, "time_ns", nanoseconds),
        (time, "monotonic", trio.current_time),
        (time, "monotonic_ns", monotonic_nanoseconds),
    ):
        yield
