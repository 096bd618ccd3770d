"""How often somebody may do something: a token bucket for each key, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["RateLimit"]

# Keys remembered at once.  The one not seen for longest is forgotten first; it starts with a full
# bucket when it comes back, which costs an attacker with that many identities one burst each.
KEYS_MAX = 4_096


class RateLimit:
    """At most `count` in any burst, refilled evenly over `window` seconds."""

    def __init__(self, count: int, window: float) -> None:
        self._count = count
        self._interval = window / count
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When each key's bucket will be full again."""

    def take(self, key: str, now: float) -> float | None:
        """Take one; None when that is allowed, else the seconds until it will be."""
        full_at = max(self._full_at.pop(key, now), now) + self._interval
        wait = full_at - now - self._count * self._interval
        # The tolerance is for sums of floats, not for callers.
        allowed = wait <= 1e-9
        self._full_at[key] = full_at if allowed else full_at - self._interval
        if len(self._full_at) > KEYS_MAX:
            self._full_at.popitem(last=False)
        return None if allowed else wait
