"""What counts as a number of seconds: one answer for every limit, delay and window that somebody declares.

A time is added to the clock, which is a float.  So not a number is what no float
holds: a bool, a NaN, and an integer that is too large, which compares as less than
infinity and then fails with an `OverflowError` where it is first used.
"""

from __future__ import annotations

import math
import sys
from typing import TypeGuard

__all__ = ["is_number", "is_seconds", "is_seconds_above_zero"]

# The largest float: what is larger cannot be added to a time.
LONGEST = sys.float_info.max


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is an int or a float that a float can hold; infinities and NaN are floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or -LONGEST <= value <= LONGEST


def is_seconds(value: object, least: float = 0.0) -> TypeGuard[float]:
    """Whether it is a finite number of seconds of `least` or more."""
    return is_number(value) and least <= value < math.inf


def is_seconds_above_zero(value: object) -> TypeGuard[float]:
    """Whether it is a finite number of seconds above 0."""
    return is_seconds(value) and value > 0
