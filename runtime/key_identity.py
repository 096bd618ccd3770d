"""When two keys are the same key, and when a key matches a pattern.

Python says that 1, 1.0 and True are equal, and a dict takes them for one key.
Here a key is its type and its value, inside tuples too: those are three keys
(G3).  A key that is unequal to itself (NaN) or cannot be hashed is refused.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Final, cast

from holdfast.runtime.errors import HoldfastError

__all__ = ["ANY", "Anything", "InvalidKey", "identity", "matches"]


class InvalidKey(HoldfastError, TypeError):
    """A key that could not be found again."""

    def __init__(self, key: object) -> None:
        super().__init__(f"a key is hashable and equal to itself, got {type(key).__name__}: {key!r}")
        self.key = key


class Anything(Enum):
    """The type of `ANY`."""

    ANY = "any"


ANY: Final = Anything.ANY
"""In a pattern: whatever stands there."""


def identity(key: object) -> Hashable:
    """Return what a dict can tell keys apart by: the type beside the value, inside tuples too."""
    try:
        hash(key)
    except TypeError:
        raise InvalidKey(key) from None
    if key != key:  # noqa: PLR0124 - NaN
        raise InvalidKey(key)
    if type(key) is tuple:
        return (tuple, *(identity(part) for part in cast("tuple[object, ...]", key)))
    return (type(key), key)


def matches(pattern: object, value: object) -> bool:
    """Whether a value has the shape of a pattern: `ANY` fits all, tuples part by part, others exactly."""
    if pattern is ANY:
        return True
    if type(pattern) is not type(value):
        return False
    if not isinstance(pattern, tuple):
        return pattern == value
    parts, others = cast("tuple[object, ...]", pattern), cast("tuple[object, ...]", value)
    return len(parts) == len(others) and all(map(matches, parts, others))
