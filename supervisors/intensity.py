"""Restart intensity: how many failures are too many.

A supervisor that restarts a broken child for ever turns one fault into a busy
loop and hides it from whoever could do something about it.  The rule is
Erlang's (R15, W1, W2): more than ``intensity`` attempts inside ``period``
seconds is too many; the window slides, and nothing but time empties it, least
of all a restart that merely succeeded.

Unlike OTP, which counts whole seconds, the window is exact.
"""

from __future__ import annotations

from collections import deque

import attrs

from holdfast.runtime.seconds import is_seconds_above_zero
from holdfast.supervisors.errors import InvalidSpec
from holdfast.supervisors.reports import BudgetLeft

__all__ = ["Budget", "Window"]


@attrs.frozen
class Budget:
    """At most `intensity` attempts to restart in any `period` seconds."""

    intensity: int = 3
    period: float = 5.0

    def __attrs_post_init__(self) -> None:
        if type(self.intensity) is not int or self.intensity < 0:
            raise InvalidSpec("budget", "intensity is a whole number of 0 or more", self.intensity)
        if not is_seconds_above_zero(self.period):
            raise InvalidSpec("budget", "period is a finite number of seconds above 0", self.period)

    def __str__(self) -> str:
        return f"{self.intensity} in {self.period:g} s"


class Window:
    """The attempts that still count, oldest first."""

    __slots__ = ("_times", "budget")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        # The attempt that is one too many is not made, so not kept: no longer than the largest intensity yet.
        # None while none counts: an empty deque weighs 760 bytes, and each dynamic child may have a window.
        self._times: deque[float] | None = None

    def adopt(self, budget: Budget) -> None:
        """Judge by another budget from now on; the attempts that were made still count."""
        self.budget = budget

    def charge(self, now: float) -> bool:
        """Count one attempt at `now`; false when it is one too many and must not be made."""
        self._forget_old(now)
        times = self._times
        if (0 if times is None else len(times)) >= self.budget.intensity:
            return False
        if times is None:
            times = self._times = deque()
        times.append(now)
        return True

    def left(self, now: float) -> int:
        """Return how many attempts may still be made at `now`."""
        self._forget_old(now)
        counting = 0 if self._times is None else len(self._times)
        return max(0, self.budget.intensity - counting)

    def clears_in(self, now: float) -> float:
        """Return the seconds until the oldest attempt stops counting; 0 when none counts."""
        self._forget_old(now)
        # Of floats the difference may be a hair below 0 at the edge, where it still counts.
        return max(0.0, self._times[0] + self.budget.period - now) if self._times else 0.0

    def state(self, now: float) -> BudgetLeft:
        """Return what is left at `now`, as plain data."""
        self._forget_old(now)
        times, budget = self._times, self.budget
        if times is None:
            return BudgetLeft(budget.intensity, budget.intensity, budget.period, 0.0)
        left = max(0, budget.intensity - len(times))
        return BudgetLeft(left, budget.intensity, budget.period, times[0] + budget.period - now)

    def _forget_old(self, now: float) -> None:
        # An attempt exactly `period` seconds old still counts: Erlang keeps it, and so do we.
        times = self._times
        if times is None:
            return
        period = self.budget.period
        while times and now - times[0] > period:
            times.popleft()
        if not times:
            self._times = None
