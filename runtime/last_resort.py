"""The overall deadline of a process that was asked to end: past it, it is ended by force and says why.

An ordered stop has deadlines of its own, and they are kept by the event loop: a
handler that blocks the thread for ever keeps them all from coming.  So this one
is kept by a thread.  The signal is noted by Python's own handler, which also
runs while Python code blocks; the loop hears of it in its turn, if it has one.

Time is counted in the thread's own rounds, as the watchdog does: a process that
was stopped and continued has not used up its time meanwhile.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from holdfast.runtime.crash import inner_message
from holdfast.runtime.loop_thread import LoopThread
from holdfast.runtime.watchdog import EXIT_BLOCKED, culprit

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.seams import Seams
    from holdfast.runtime.system import System

__all__ = ["MARGIN", "WITHIN", "StopRequest"]

# Beyond the deadlines of the ordered stop: the graces of 1 s after a kill, one for each level of the
# product's tree (3), and writing the log out and closing the stores.
MARGIN = 5.0

# What holds until somebody who knows better says otherwise: drain 5 + disconnect 5 + stop 10 + the margin.
# Under the 30 s after which container platforms kill without a word.
WITHIN = 25.0

# How often the thread looks: the deadline is kept to a quarter of a second.
INTERVAL = 0.25

# For the report: whoever reads stderr may have stopped reading, and the process ends all the same.
TELLING = 1.0

# Actors named in the report, beside those that are wedged: a screen.
NAMED_MAX = 20


class StopRequest:
    """Whether this process was asked to end, and the last resort if it then does not."""

    def __init__(self, seams: Seams, within: float, say: Callable[[str], None]) -> None:
        self.within = within
        """Seconds from the first request to the end by force."""
        self._seams = seams
        self._say = say
        self._thread = LoopThread().ident
        self._event = anyio.Event()
        self._asked = False
        self._systems: list[System] = []
        # Written by whoever asks, read by the thread.
        self._armed = False
        # Written by the thread.
        self._looked_at: float | None = None
        self._spent = 0.0
        self._telling = 0.0
        self._told = False

    # -- asking

    def set(self) -> None:
        """Ask for the end; from now on it has `within` seconds.  Twice is once."""
        self._asked = True
        self.arm()
        self._event.set()

    def is_set(self) -> bool:
        """Whether somebody has asked."""
        return self._asked

    async def wait(self) -> None:
        """Wait until somebody asks."""
        await self._event.wait()

    def arm(self) -> None:
        """Bound the end although nobody has asked: the process ends by itself."""
        self._armed = True

    def signalled(self, number: int) -> bool:
        """Note a stop signal in its very handler; True for the first request, the second ends the process."""
        if self._asked:
            self._seams.exit_process(128 + number)
            return False
        self._asked = self._armed = True
        return True

    def covers(self, system: System) -> None:
        """Have the report name what is left of this system."""
        self._systems.append(system)

    # -- the thread

    @contextmanager
    def kept(self) -> Generator[None]:
        """Keep the deadline for the length of a ``with`` body."""
        end = self._seams.repeat(self.look, INTERVAL, "holdfast.last-resort")
        try:
            yield
        finally:
            end()

    def look(self, now: float) -> None:
        """See whether the time is over; `now` is the thread's own monotonic time."""
        gap = 0.0 if self._looked_at is None else min(now - self._looked_at, 2 * INTERVAL)
        self._looked_at = now
        if not self._armed:
            return
        self._spent += gap
        if self._spent < self.within:
            return
        if not self._telling:
            # In a thread of its own: a write to stderr may block for ever.
            with contextlib.suppress(RuntimeError):  # no more threads; then it ends without a word
                self._seams.repeat(self._tell, INTERVAL / 10, "holdfast.last-words")
        self._telling += INTERVAL
        if self._told or self._telling > TELLING:
            self._seams.exit_process(EXIT_BLOCKED)

    def _tell(self, _now: float) -> None:
        if self._told:
            return
        try:
            self._say(self.report())
        finally:
            self._told = True

    def report(self) -> str:
        """Return who keeps the process from ending, as far as it can be seen from another thread."""
        head = (
            f"asked to end, this process did not within {self.within:.3g} s: "
            f"ending it with status {EXIT_BLOCKED}"
        )
        lines = [head, *self._where_the_thread_stands()]
        for system in self._systems:
            lines += left_in(system)
        return "\n".join(lines)

    def _where_the_thread_stands(self) -> Iterator[str]:
        frame = sys._current_frames().get(self._thread)
        if frame is None:
            return
        found = culprit(frame)
        yield f"of the event loop's thread: {found}; it stands at\n{found.stack.rstrip()}"


def left_in(system: System) -> list[str]:
    """Return a line for each actor that has not ended: the wedged ones with their stacks, then the rest."""
    lines = [
        f"{cell.slot.path} (incarnation {cell.incarnation}) is wedged; it stands at\n{cell.stack().rstrip()}"
        for cell in tuple(system._wedged)
    ]
    running = [slot.cell for slot in system.registry if slot.cell is not None]
    lines += [_line(cell) for cell in running[:NAMED_MAX]]
    if len(running) > NAMED_MAX:
        lines.append(f"and {len(running) - NAMED_MAX} more")
    return lines


def _line(cell: Cell) -> str:
    message = inner_message(cell.loop.message)
    handles = "" if message is None else f", in its handler of {type(message).__name__}"
    return f"{cell.slot.path} (incarnation {cell.incarnation}) is {cell.slot.state}{handles}"
