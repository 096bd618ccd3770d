"""The start of a life: the factory runs, and the class of what it makes says in which tier the actor lives.

The factory runs here and now, in the task of whoever starts the actor: only
then is it known whether a task is needed at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast.runtime.behavior import Actor
from holdfast.runtime.errors import DefinitionError
from holdfast.runtime.life import Life
from holdfast.runtime.pump import PumpedLife
from holdfast.runtime.task import TaskLife

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell

__all__ = ["come_to_life"]


def come_to_life(cell: Cell, factory: Callable[[], Actor]) -> Life:
    """Make the actor of a cell, and the life that it is going to have; nothing of it runs yet."""
    try:
        actor = factory()
        if not isinstance(actor, Actor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(
                f"the factory of {cell.slot.path} returns an Actor, got {type(actor).__name__}: {actor!r}"
            )
    except BaseException as error:  # noqa: BLE001 - the boundary of the actor
        return StillBorn(cell, error)
    taskless = type(actor).taskless and not cell.system.tasks_only
    return PumpedLife(cell, actor) if taskless else TaskLife(cell, actor)


class StillBorn(Life):
    """A life that ended before it began: the factory failed."""

    __slots__ = ("_reason",)

    def __init__(self, cell: Cell, reason: BaseException) -> None:
        super().__init__(cell, None)
        self._reason = reason

    def start(self) -> None:
        """End, and let the starter know why."""
        self.end_at_once(self.start_failed(self._reason))
