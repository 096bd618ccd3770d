"""Wait until nothing can happen any more without time passing."""

from __future__ import annotations

import anyio

__all__ = ["settled"]

# Virtual: short against every time-out, long against the jitter of float addition.
_INSTANT = 1e-6


async def settled() -> None:
    """Return when every other task waits for time or for something from outside.

    Under virtual time the clock moves only when nothing can run, so a sleep of an
    instant returns exactly then.
    """
    await anyio.sleep(_INSTANT)
