"""The breaker of a child with `on_give_up=DEGRADE`: closed, open, or tried half-open.

Closed is the rule.  It opens when the child's own budget is spent: the child is
switched off.  After a delay the child is started once, as a probe: half-open.
A probe that stays up for the stable period closes the breaker; one that ends or
cannot be started opens it again, for longer.  Pure; the decisions around it are
in `degradation.py`.
"""

from __future__ import annotations

from holdfast.runtime.backoff import Backoff

__all__ = ["PROBING", "Breaker"]

# First after as long as a budget's period by default (sooner it would be one more restart of those that
# did not help); then 10, 20, 40 s ... and every 5 min at last: one start in 5 min is no load, and who has
# repaired the cause waits 5 min at most, or starts the child by hand.  30 s up is what the link calls stable.
PROBING = Backoff(initial=5.0, multiplier=2.0, cap=300.0, stable_after=30.0)


class Breaker:
    """How far the probing of one child has gone."""

    __slots__ = ("opened_at", "probe_at", "probes", "probing", "serial")

    def __init__(self, probing: Backoff) -> None:
        self.probing = probing
        self.opened_at: float | None = None
        """Since when the child is not as it should be; None while the breaker is closed."""
        self.probes = 0
        """How many probes have failed since then; it sets the delay, and nothing is kept of each."""
        self.probe_at: float | None = None
        """When the next probe is due; None while none is scheduled."""
        self.serial = 0
        """Which of the child's timers is the valid one."""

    @property
    def closed(self) -> bool:
        """Whether the child counts as well: never switched off, or back for the stable period."""
        return self.opened_at is None

    def open(self, now: float, chance: float) -> float:
        """Open it, or open it again, and return the seconds until the next probe."""
        if self.opened_at is None:
            self.opened_at = now
        else:
            self.probes += 1
        # The upper half of the ceiling: with full jitter a child just switched off could be started at once.
        delay = self.probing.delay(self.probes, 0.5 + chance / 2)
        self.probe_at = now + delay
        return delay

    def close(self) -> None:
        """Forget it all: the child is back, was stopped for good, or has done its work."""
        self.opened_at = self.probe_at = None
        self.probes = 0
