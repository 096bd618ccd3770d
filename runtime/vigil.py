"""Who is in a handler right now, and for how long: limits looked after without a cost for each message.

A loop whose class has `async def` handlers notes itself once for each batch;
one deadline of the system then looks at those that are in a handler, and only
what it finds there is followed more closely.  Nothing is armed while nobody
handles anything.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from holdfast.runtime.backtrace import innermost
from holdfast.runtime.crash import inner_message
from holdfast.runtime.errors import Unresponsive
from holdfast.runtime.events import HandlerSlow
from holdfast.runtime.liveness import UNWATCHED, LivenessSpec

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.loop import Loop
    from holdfast.runtime.system import System

__all__ = ["Vigil"]

# How often those who handle something are looked at, at most; a shorter limit makes it that often.
SWEEP = 1.0

# One report when the handler is slow, then after twice, four and eight times that: the fourth at 80 s.
# While somebody waits for the actor to stop they go on, at growing intervals: the 12th after 5.7 hours.
REPORTS_MAX = 4

# Frames in the crash report of a hung handler, whose text is bounded: the handler's and what it waits in.
NOTE_FRAMES = 8

# A deadline that comes later than this was held up by a blocked thread: a turn of a loaded loop is shorter.
LATE = 0.1


@attrs.define
class _Run:
    """One handler that was found at work."""

    cell: Cell
    serial: int
    spec: LivenessSpec
    began: float
    wait: float
    """After how many seconds in the handler the next report is due; infinite for none at all."""
    reports: int = 0

    @property
    def stopping(self) -> bool:
        """Whether the actor has been asked to stop: its allowance says how long that may take."""
        return self.cell.asked_to_end

    @property
    def hung_at(self) -> float:
        """When it has failed; infinite for one that is being stopped, and never is killed by its liveness."""
        return math.inf if self.spec.hung is None or self.stopping else self.began + self.spec.hung

    @property
    def slow_at(self) -> float:
        """When it is reported next."""
        told_enough = self.reports >= REPORTS_MAX and not self.stopping
        return math.inf if told_enough else self.began + self.wait

    @property
    def due(self) -> float:
        """When the next thing happens to it."""
        return min(self.hung_at, self.slow_at)

    def reported(self, now: float) -> None:
        """Count a report, and wait twice as long for the next: a stop asked for late makes up for none."""
        self.reports += 1
        self.wait *= 2
        while self.began + self.wait <= now:
            self.wait *= 2


class Vigil:
    """Who handles a message right now, and for how long; one for each system."""

    def __init__(self, system: System, spec: LivenessSpec) -> None:
        self._system = system
        self._spec = spec
        self._runs: dict[Loop, _Run] = {}
        self._interval = SWEEP
        self._due = 0.0
        self._sweep_at = 0.0
        self.idle = True
        """Whether nothing is armed: the next batch arms it."""
        self.busy: dict[Loop, float] = {}
        """The loops that began a batch, with the time; infinite for one of several messages, in which
        the present handler may have begun later.  Taken out by the look that finds them idle."""

    def watches(self, loop: Loop, kind: type[Actor]) -> bool:
        """Whether this loop has to note its batches; settles its limits."""
        spec = loop.liveness or kind.liveness or self._spec
        loop.liveness = spec
        if not kind.awaited or spec == UNWATCHED:
            return False
        self._interval = min(self._interval, spec.shortest)
        return True

    def note(self, loop: Loop, now: float) -> None:
        """A loop begins a batch."""
        self.busy[loop] = now if loop.single else math.inf
        if self.idle:
            self._arm()

    def _arm(self) -> None:
        self.idle = False
        self._sweep_at = self._system.now() + self._interval
        self._set(self._sweep_at)

    def _set(self, when: float) -> None:
        self._due = when
        self._system.deadlines.add(when, self._look)

    def _look(self) -> None:
        now = self._system.now()
        late = now - self._due
        if late > LATE:
            self._forgive(late)
        for loop, since in tuple(self.busy.items()):
            self._look_at(loop, since, now)
        if not self.busy:
            self._runs.clear()
            self.idle = True
            return
        if now >= self._sweep_at:
            self._sweep_at = now + self._interval
        self._set(min(self._sweep_at, *(run.due for run in self._runs.values()), math.inf))

    def _forgive(self, late: float) -> None:
        """The thread was blocked for that long: no handler that waited meanwhile is to blame."""
        for run in self._runs.values():
            run.began += late
        for loop, since in self.busy.items():
            if loop not in self._runs and since <= self._due:
                self.busy[loop] = since + late

    def _look_at(self, loop: Loop, since: float, now: float) -> None:
        cell = loop.cell
        if loop.message is None or cell is None or cell.forced_outcome is not None or cell.wedged:
            self.busy.pop(loop, None)
            self._runs.pop(loop, None)
            return
        run = self._runs.get(loop)
        if run is None or run.serial != cell.slot.handled:
            run = self._runs[loop] = self._found(loop, cell, since, now)
        # Whether its mail is held back makes no difference: a suspension or a drain begins when this
        # handler is over, and nobody but its limits looks after one that never is.
        if run.due <= now:
            self._judge(run, loop, now)

    def _found(self, loop: Loop, cell: Cell, since: float, now: float) -> _Run:
        assert loop.liveness is not None, "settled when it began to serve"
        if since > now:
            # One of several: when it began is not known, so it counts from now, and the next one
            # begins a batch of its own.
            loop.look_up()
        spec = loop.liveness
        return _Run(cell, cell.slot.handled, spec, min(since, now), spec.slow or math.inf)

    def _judge(self, run: _Run, loop: Loop, now: float) -> None:
        cell = run.cell
        seconds = now - run.began
        message_type = type(inner_message(loop.message)).__name__
        stack = innermost(cell.own_stack())
        if run.hung_at <= now:
            del self._runs[loop], self.busy[loop]
            error = Unresponsive(cell.slot.path, seconds, message_type)
            error.add_note(f"it stood at\n{innermost(stack, NOTE_FRAMES)}")
            cell.condemn(error)
            return
        run.reported(now)
        event = HandlerSlow(
            path=cell.slot.path,
            incarnation=cell.incarnation,
            message_type=message_type,
            seconds=seconds,
            limit=None if run.stopping else run.spec.hung,
            report=run.reports,
            stack=stack,
            at=now,
            stopping=run.stopping,
        )
        cell.slot.record(event)
        self._system.events.publish(event)
