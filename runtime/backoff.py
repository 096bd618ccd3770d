"""How long to wait before trying again: exponential, capped, with full jitter.

Pure: the caller brings the random number, so that a schedule can be replayed.
Full jitter (a uniform draw between zero and the ceiling) spreads a fleet best;
see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from math import inf

import attrs

from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.seconds import is_number

__all__ = ["Backoff", "InvalidBackoff"]


class InvalidBackoff(HoldfastError, ValueError):
    """A back-off whose numbers make no sense; raised when it is made."""


@attrs.frozen
class Backoff:
    """A ceiling of ``initial * multiplier ** attempt`` seconds, at most `cap`; attempt 0 is the first."""

    initial: float = 0.1
    multiplier: float = 2.0
    cap: float = 5.0
    stable_after: float = 10.0
    """Seconds without a failure after which the next failure starts from `initial` again.  A start that
    merely succeeded resets nothing: a child that starts well and dies at once would never be slowed down."""

    def __attrs_post_init__(self) -> None:
        for field in ("initial", "multiplier", "cap", "stable_after"):
            number: object = getattr(self, field)
            if not is_number(number):
                raise InvalidBackoff(f"{field} must be a number, got {number!r}")
        if not 0 < self.initial <= self.cap < inf:
            raise InvalidBackoff(
                f"initial must be above 0 and at most the cap, got initial={self.initial:g} cap={self.cap:g}"
            )
        if not 1 <= self.multiplier < inf:
            raise InvalidBackoff(f"multiplier must be 1 or more, got {self.multiplier:g}")
        if not 0 <= self.stable_after < inf:
            raise InvalidBackoff(
                f"stable_after must be a finite number of seconds of 0 or more, got {self.stable_after:g}"
            )

    def ceiling(self, attempt: int) -> float:
        """Return the longest wait before this attempt, in seconds."""
        try:
            return min(self.cap, self.initial * self.multiplier**attempt)
        except OverflowError:
            return self.cap  # 2.0 ** 1024 is no float; the cap was reached long before

    def delay(self, attempt: int, uniform: float) -> float:
        """Return the wait for a draw `uniform` in [0, 1)."""
        return self.ceiling(attempt) * uniform
