"""What is different about the children of a dynamic supervisor.

They are made from one template with arguments of their own, they are named by
refs, and they are stopped all at once under one allowance (R19), because there
may be a hundred thousand of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from holdfast.runtime.behavior import Actor
from holdfast.runtime.cell import Cell
from holdfast.runtime.outcomes import Outcome
from holdfast.supervisors.errors import StartArgumentsGone

__all__ = ["Instances", "OneStart", "stop_together"]


class OneStart:
    """A factory that can be called once, and keeps nothing after that (R33).

    What a temporary child was started with may be large, and nobody needs it again.
    """

    __slots__ = ("_factory", "_path")

    def __init__(self, path: str, factory: Callable[[], Actor]) -> None:
        self._path = path
        self._factory: Callable[[], Actor] | None = factory

    def __call__(self) -> Actor:
        factory, self._factory = self._factory, None
        if factory is None:
            raise StartArgumentsGone(self._path)
        return factory()


class Instances:
    """What each child of a dynamic supervisor was started with."""

    def __init__(self) -> None:
        self._arguments: dict[str, tuple[object, ...]] = {}

    def keep(self, child: str, arguments: tuple[object, ...]) -> None:
        """Keep the arguments for the child's starts."""
        if arguments:
            self._arguments[child] = arguments

    def factory(self, child: str, factory: Callable[..., Actor], *, once: bool) -> Callable[[], Actor]:
        """Return the factory of this child; with `once` the arguments are handed out for good."""
        arguments = self._arguments.pop(child, ()) if once else self._arguments.get(child, ())
        return functools.partial(factory, *arguments) if arguments else factory

    def forget(self, child: str) -> None:
        """The child is gone."""
        self._arguments.pop(child, None)


async def stop_together(
    cells: Sequence[Cell],
    allowances: Sequence[float | None],
    *,
    kill_grace: float,
    now: Callable[[], float],
) -> list[Outcome | None]:
    """Stop all cells at once, each by its own rule, and return their outcomes; None for a wedged one (D9).

    An allowance is as in `Cell.stop`: None waits for ever, zero kills without asking.
    """
    began = now()
    for cell, allowance in zip(cells, allowances, strict=True):
        if allowance == 0:
            cell._request(final=True)
            cell.kill()
        else:
            cell.request_stop(final=True)
    # The shortest first: one that is out of time is killed then, however long others may still take.
    for cell, allowance in sorted(zip(cells, allowances, strict=True), key=_patience):
        if allowance != 0:
            await cell.wait_ended(None if allowance is None else max(0.0, began + allowance - now()))
            cell.kill()
    deadline = now() + kill_grace
    for cell in cells:
        if not cell.ended:
            await cell._wait_killed(deadline)
    return [cell.outcome for cell in cells]


def _patience(pair: tuple[Cell, float | None]) -> float:
    allowance = pair[1]
    return math.inf if allowance is None else allowance
