"""Running a coroutine that does not wait, where no task may be left for it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

__all__ = ["run_through"]

T = TypeVar("T")


def run_through(coroutine: Coroutine[object, None, T]) -> T:
    """Run what never waits, here and now, and return what it returned."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError(f"{coroutine!r} waits, and is run where nothing can")
