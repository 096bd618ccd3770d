"""Whether a run depends on its seed alone: run it twice, compare the traces, say where they part.

Found are differences of identity, of the machine's clock, of real randomness and of
what one run leaves behind for the next.  What differs from process to process
alone (the hashes of strings, where sets of them are walked) needs two processes with
two PYTHONHASHSEEDs: compare the digests of their runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from holdfast.runtime import HoldfastError
from holdfast.specs.simulation import Setup, simulate
from holdfast.specs.trace import Difference
from holdfast.specs.world import World

__all__ = ["NotDeterministic", "check_determinism"]


class NotDeterministic(HoldfastError):
    """Two runs of one seed were not the same."""

    def __init__(self, seed: int, difference: Difference) -> None:
        super().__init__(
            f"two runs of seed {seed} parted at {difference}; look for time, randomness, order by id or by "
            f"set, or something kept from one run to the next"
        )
        self.difference = difference


def check_determinism(main: Callable[[World], Awaitable[object]], setup: Setup | None = None) -> str:
    """Run it twice with this setup and return the digest that both had.

    Raises `NotDeterministic` where they parted.  How a run ends does not matter here:
    two that fail in the same way at the same step are the same.
    """
    setup = attrs.evolve(setup if setup is not None else Setup(), keep_trace=True)
    first, second = simulate(main, setup), simulate(main, setup)
    difference = first.trace.difference(second.trace)
    if difference is None and repr(first.error) != repr(second.error):
        difference = Difference(first.steps, repr(first.error), repr(second.error))
    if difference is not None:
        raise NotDeterministic(setup.seed, difference)
    return first.digest
