"""The seam of blocking calls in a simulated run: they run where they are made, after a drawn delay.

A real thread ends at some time of its own, between any two steps of others; the
delay before and after the call stands for that.  With a `longest` of 0 there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from holdfast.specs.randomness import Random

__all__ = ["InlineThreads"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Delays lie on a grid of eighths of the longest, so that they often end in the same instant.
GRID = 8


class InlineThreads:
    """Blocking calls run inline, nothing else runs meanwhile; virtual time passes before and after them."""

    def __init__(self, source: Random | None = None, longest: float = 0.0) -> None:
        self._random = source
        self._longest = longest
        self.calls = 0

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run it; as with a real thread, a cancellation is noticed only when the call is done."""
        await trio.lowlevel.checkpoint()
        await self._delay()
        self.calls += 1
        result = fn(*args)
        await self._delay()
        return result

    async def _delay(self) -> None:
        if self._random is not None and self._longest:
            with trio.CancelScope(shield=True):
                await trio.sleep(self._longest * self._random.randint(0, GRID) / GRID)
