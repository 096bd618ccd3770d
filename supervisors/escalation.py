"""What happens when restarting does not help: giving up, and the coordinated full restart.

Giving up is abnormal here, so that it always reaches the parent as a failure
(`give_up_as="shutdown"` is OTP's way, where a transient subtree then vanishes
silently).  A supervisor with a `FullRestart` answers the failure of a child by
restarting everything in an orderly way; beyond its own budget it gives up too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Literal, TypeAlias

import anyio
import attrs

from holdfast.runtime.cell import Cell
from holdfast.runtime.outcomes import SHUTDOWN, GaveUp, Outcome
from holdfast.runtime.seconds import is_seconds
from holdfast.supervisors.errors import InvalidSpec

__all__ = ["FullRestart", "GiveUpAs", "drain_below", "outcome_of_giving_up"]

GiveUpAs: TypeAlias = Literal["gave_up", "shutdown"]


@attrs.frozen(kw_only=True)
class FullRestart:
    """How a supervisor restarts its whole group: drain, stop in reverse, prepare, start in order."""

    drain: float = 5.0
    """Seconds for all children together to finish what they handle and to write out what they hold."""

    stop: float = 10.0
    """Seconds for all of them together to stop; then what is left is killed."""

    before_start: Callable[[], Awaitable[None]] | None = attrs.field(default=None, repr=False)
    """Runs while everything is stopped, for instance to read the configuration again."""

    prepare: float = 5.0
    """Seconds that `before_start` may take; raising or taking longer makes the attempt a failed one."""

    def __attrs_post_init__(self) -> None:
        for field in ("drain", "stop", "prepare"):
            seconds: object = getattr(self, field)
            if not is_seconds(seconds):
                raise InvalidSpec(
                    "full_restart", f"{field} is a finite number of seconds of 0 or more", seconds
                )
        if self.before_start is not None and not callable(self.before_start):
            raise InvalidSpec("full_restart", "before_start is an async callable", self.before_start)

    @property
    def longest(self) -> float:
        """The seconds that it adds to the start of the children, at most."""
        return self.drain + self.stop + (self.prepare if self.before_start is not None else 0.0)


def outcome_of_giving_up(give_up_as: GiveUpAs, path: str, trigger: str, below: tuple[str, ...]) -> Outcome:
    """Return how a supervisor at `path` ends when the child at `trigger` has used up its budget.

    The chain of names grows from the child that failed first up to this supervisor;
    `below` is what the trigger's own chain was, when it had given up itself.
    """
    return SHUTDOWN if give_up_as == "shutdown" else GaveUp((*(below or (trigger,)), path))


async def drain_below(cell: Cell, within: float) -> None:
    """Let those at the leaves, who hold what must not be lost, finish; those in between stay able to act."""
    with anyio.move_on_after(within):
        async with anyio.create_task_group() as draining:
            for leaf in _leaves(cell):
                draining.start_soon(leaf.drain)


def _leaves(cell: Cell) -> Iterator[Cell]:
    for child in tuple(cell.children.values()):
        if child.children:
            yield from _leaves(child)
        else:
            yield child
