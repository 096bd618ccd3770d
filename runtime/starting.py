"""The start of an incarnation, as whoever starts it sees it: refused, over at once, or waited for.

The factory and a plain `def` start hook run here and now, in the task of the
starter: one that starts a thousand children takes no turn of the scheduler for each.
They see a copy of the variables of the parent, never those of a sibling; what
they set is seen by the task that the actor then has.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from holdfast.runtime.asks import Waiter, waiting_cell
from holdfast.runtime.errors import NameTaken, ResourceHeld, StartFailed, StartTimeout
from holdfast.runtime.life import Life
from holdfast.runtime.outcomes import Crash
from holdfast.runtime.tiers import come_to_life

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell

__all__ = ["begin", "wait"]


def begin(cell: Cell) -> None:
    """Start a cell as far as nothing has to be waited for; raises `StartFailed` when it is refused."""
    slot, system, parent = cell.slot, cell.system, cell.parent
    if slot.cell is not None:
        _refuse(cell, NameTaken(slot.path, slot.incarnation))
    held = system.held_resource(cell.exclusive) if cell.exclusive else None
    if held is not None:
        _refuse(cell, ResourceHeld(slot.path, *held))
    if system.closing and parent is None:
        _refuse(cell, system.closed_error())
    _take_slot(cell)
    if system.vacated is not None and system.vacated._cell.slot is slot:
        _come_to_life(cell)  # with the variables of the task that it takes over
    else:
        variables = copy_context() if parent is None else parent.variables.copy()
        variables.run(_come_to_life, cell)


async def wait(cell: Cell, timeout: float | None) -> None:
    """Wait for what the start hook waits for, up to `timeout` seconds."""
    system, life = cell.system, cell.life
    if life.announced or cell.ended:
        return
    # A supervisor waits for its child's hooks: a hook that asks the supervisor would wait for ever.
    cell.starter = starter = Waiter(waiting_cell(), cell.slot)
    deadline = None
    if timeout is not None:
        deadline = system.deadlines.add(system.now() + timeout, lambda: _expire(cell, life, timeout))
    try:
        await starter.sleep()
    finally:
        cell.starter = None
        starter.leave()
        if deadline is not None:
            deadline.cancel()


def _refuse(cell: Cell, reason: Exception) -> None:
    cell.outcome = Crash(reason)
    cell.ended = True
    Life(cell, None).emit_start_failed(reason)
    raise StartFailed(cell.slot.path, reason) from reason


def _take_slot(cell: Cell) -> None:
    slot = cell.slot
    slot.incarnation += 1
    cell.incarnation = cell.loop.incarnation = slot.incarnation
    slot.cell = cell
    slot.state = "starting"
    slot.mailbox.reopen()
    parent = cell.parent
    if parent is not None:
        if not parent.children:
            parent.children = {}  # of its own: those that have none share one
        parent.children[slot.path] = cell
    else:
        cell.system.cell_started(cell)


def _come_to_life(cell: Cell) -> None:
    life = cell._life = come_to_life(cell, cell._factory)
    if cell._killed:
        life.cancel()
    life.start()


def _expire(cell: Cell, life: Life, timeout: float) -> None:
    if life.announced or life.leaving:
        return  # the starter has been woken, its task has not had its turn yet
    life.start_error = StartTimeout(cell.slot.path, timeout)
    cell.kill()
    # A hook that shields itself must not hold up whoever waits for the start.
    cell.system.deadlines.add(cell.system.now() + cell.system.kill_grace, lambda: _outlive(cell))


def _outlive(cell: Cell) -> None:
    if not cell.ended:
        cell.mark_wedged()
