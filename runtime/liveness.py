"""How long one handler may take: a slow one is reported with its stack, a hung one has failed.

What counts is the time in one handler, and nothing else: hooks have allowances
and time-outs of their own, questions have deadlines, and time in which the thread
itself was blocked is nobody's.  An actor that is being stopped is not failed, its
allowance decides; but it is reported, for somebody waits for it.  A suspension or
a drain begins after the present handler, which is judged as ever.  Supervisors are
not watched: what they do is bounded by the allowances of others.  Who looks, and
when, is in `vigil.py`.
"""

from __future__ import annotations

import math

import attrs

from holdfast.runtime.errors import InvalidLiveness
from holdfast.runtime.seconds import is_seconds

__all__ = ["UNWATCHED", "LivenessSpec"]

# Twice the default time-out of an ask: whoever had asked has given up, and nobody else may have noticed.
SLOW = 10.0

# Twelve times the default time-out of an ask, and longer than any wait of the product's recovery (30 s).
HUNG = 60.0

# The shortest limit: below it the turns of a busy loop decide, and not the handler.
LIMIT_MIN = 0.05


def _limit(name: str, value: float | None) -> None:
    if value is None:
        return
    if not is_seconds(value, LIMIT_MIN):
        raise InvalidLiveness(f"{name} is None or finite seconds of {LIMIT_MIN:g} or more, got {value!r}")


@attrs.frozen(kw_only=True)
class LivenessSpec:
    """How long one handler may take; declared on the class as ``liveness = LivenessSpec(...)``.

    A child spec's goes before the class's, and the class's before the system's.  Only
    `async def` handlers can be watched: a plain one lets nobody look before it is over
    (see `WatchdogSpec`).
    """

    slow: float | None = SLOW
    """Seconds after which a handler is reported with its stack, `handler:slow`; None never."""

    hung: float | None = HUNG
    """Seconds after which the actor has failed: `Crash(Unresponsive(...))`; None never.

    It is ended as by a kill, without its stop hook: a task that does not come back cannot
    be asked to clean up.  Its supervisor restarts it and charges it like any crash.
    """

    def __attrs_post_init__(self) -> None:
        _limit("slow", self.slow)
        _limit("hung", self.hung)
        if self.slow is not None and self.hung is not None and self.slow >= self.hung:
            raise InvalidLiveness(
                f"a handler is slow before it is hung, got slow={self.slow:g} and hung={self.hung:g}"
            )

    @property
    def shortest(self) -> float:
        """The shorter limit in seconds; infinite when there is none."""
        return min(self.slow or math.inf, self.hung or math.inf)


UNWATCHED = LivenessSpec(slow=None, hung=None)
