"""Everything random in a simulated run, drawn from its one seed.

Product code draws from its seams, and those are streams of the seed, one for
each user, so that one more draw here changes nothing there.  Libraries draw
where they like (masks of WebSocket frames, identifiers): for the length of a run
the module-wide generator and the system's entropy are streams of the seed, too.
"""

from __future__ import annotations

import os
import random
from collections.abc import Generator
from contextlib import contextmanager
from random import Random

import attrs

from holdfast.specs.patches import replaced

__all__ = ["Random", "Seeds", "seeded"]


@attrs.frozen
class Seeds:
    """Streams of randomness by name: the same seed and name give the same stream, on any machine."""

    seed: int

    def stream(self, name: str) -> Random:
        """Return a new generator for this name."""
        # A string is hashed by the generator itself, with no part of PYTHONHASHSEED in it.
        return Random(f"{self.seed}/{name}")  # noqa: S311 - to be repeated is the point


@contextmanager
def seeded(seeds: Seeds) -> Generator[None]:
    """Have `random`, `secrets`, `uuid4` and `os.urandom` draw from the seed for the length of the body."""
    entropy = seeds.stream("entropy").randbytes
    before = random.getstate()
    random.seed(f"{seeds.seed}/random")
    try:
        # The second is the same function under the name by which `secrets` reaches it.
        with replaced((os, "urandom", entropy), (random, "_urandom", entropy)):
            yield
    finally:
        random.setstate(before)
