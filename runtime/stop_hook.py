"""How long a stop hook may take when nobody asked for the stop.

Whoever asks an actor to stop waits for its allowance and kills it then.  Nobody
waits for one that ends by itself, and a hook that hangs would keep its place in
the tree occupied for ever: dead, and not restarted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.runtime import crash
from holdfast.runtime.errors import StopHookOverdue
from holdfast.runtime.outcomes import Crash, Outcome

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.timers import Deadline

__all__ = ["limit_stop_hook"]


def limit_stop_hook(cell: Cell, outcome: Outcome) -> Deadline | None:
    """Cancel the hook of an actor that ends by itself at its allowance; past the grace it is wedged.

    A crash stays the crash that it was; an orderly end becomes one.  None, and no limit,
    where somebody has asked for the end, or the allowance is for ever.
    """
    seconds, system = cell.stop_allowance, cell.system
    if seconds is None or cell.asked_to_end:
        return None

    def overdue() -> None:
        if cell.asked_to_end:
            return  # asked to stop meanwhile: judged by whoever asked
        late = StopHookOverdue(cell.slot.path, seconds)
        if isinstance(outcome, Crash):
            crash.report(system, cell.slot, cell.incarnation, Crash(late), None, None)
        cell.condemn(outcome.exception if isinstance(outcome, Crash) else late)

    return system.deadlines.add(system.now() + seconds, overdue)
