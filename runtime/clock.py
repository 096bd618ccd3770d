"""Two clocks, kept apart on purpose.

`Clock` is monotonic and decides everything: deadlines, windows, back-off.
`WallClock` is for people and for protocols that carry dates; it may jump, so
nothing is ever decided by it.  Product code reads both through the seams.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemWallClock", "WallClock", "iso_timestamp", "monotonic"]


class Clock(Protocol):
    """Monotonic seconds; the origin means nothing."""

    def now(self) -> float:
        """Return the present time in seconds."""
        ...


monotonic = time.monotonic
"""The machine's monotonic seconds, for threads that run beside a loop and its clock."""


class WallClock(Protocol):
    """Unix time; may jump in both directions."""

    def now(self) -> float:
        """Return the present Unix time in seconds."""
        ...


class SystemWallClock:
    """The machine's own calendar."""

    def now(self) -> float:
        """Return the machine's Unix time in seconds."""
        return time.time()


def iso_timestamp(unix_seconds: float) -> str:
    """Return RFC 3339 in UTC with milliseconds, as in ``2026-11-20T09:30:00.125Z``."""
    moment = datetime.fromtimestamp(unix_seconds, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
