"""Runs that come to nothing: deadlocks, livelocks, endless runs, and code that never lets go of the loop.

In virtual time nothing of this ends by itself: with every task blocked and no
deadline the clock has nowhere to jump and the loop spins for ever.  A watch
counts steps and ticks, says what it found, cancels the run, and has it broken off
where that does not end it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from math import inf
from traceback import StackSummary
from types import FrameType

import attrs
import trio

from holdfast.runtime import HoldfastError
from holdfast.runtime.testing.scheduler import RunAborted, Steering
from holdfast.specs.trace import Trace

__all__ = ["Deadlock", "Limits", "Livelock", "LoopBlocked", "OutOfTime", "Stall", "Watch", "cpu_watched"]

# Ticks of the loop in which nobody ran and no deadline was set: one is ordinary after each jump of the
# clock, three were the most seen; whoever could still wake somebody (a thread, a socket) is refused.
IDLE_TICKS = 50

# How many tasks an error names; the first few tell the story, and a tree has hundreds.
TASKS_NAMED = 20

# Virtual seconds that a cancelled run has: a tree stops within its ten, and what is around it after that.
CLEAN_UP = 60.0


@attrs.frozen
class Limits:
    """When a run is given up."""

    virtual_seconds: float = 10_000_000.0
    """A third of a year; a run still going then waits for something that never comes."""
    steps_at_one_instant: int = 100_000
    """Steps without virtual time passing; a busy story has some hundred, a loop of checkpoints no end."""
    cpu_seconds_per_step: float = 5.0
    """Of the machine: a step takes microseconds, a loop that never waits for anything for ever."""


class Stall(HoldfastError):
    """A simulated run came to nothing."""


class Deadlock(Stall):
    """Every task waits, and nothing can ever wake one."""

    def __init__(self, now: float, tasks: str) -> None:
        super().__init__(
            f"deadlock after {now:g} virtual seconds: all tasks wait, no deadline is set:\n{tasks}"
        )


class Livelock(Stall):
    """Tasks run and run, and no virtual time passes."""

    def __init__(self, now: float, steps: int, tasks: str) -> None:
        super().__init__(f"livelock at {now:g} virtual seconds: {steps} steps without time passing:\n{tasks}")


class OutOfTime(Stall):
    """The run has had all the virtual time that it was given."""

    def __init__(self, limit: float, tasks: str) -> None:
        super().__init__(f"still running after {limit:g} virtual seconds:\n{tasks}")


class LoopBlocked(Stall):
    """One step of one task took seconds of the machine's time."""

    def __init__(self, seconds: float, stack: str) -> None:
        super().__init__(
            f"the event loop was held for over {seconds:g} s of the machine's time, at:\n{stack}"
        )


class _LetGo(BaseException):
    """Raised into code that holds the loop; no Exception, so that `except Exception` does not keep it."""


class Watch(trio.abc.Instrument):
    """Sees every tick and every step of one run, and keeps the trace."""

    def __init__(self, trace: Trace, limits: Limits, steering: Steering) -> None:
        self._trace = trace
        self._limits = limits
        self._steering = steering
        self._clock = trio.lowlevel.current_clock().current_time
        self._began = self._clock()
        self._instant = self._began
        self._steps_here = 0
        self._idle = 0
        self._latest = self._began + limits.virtual_seconds
        self.scope = trio.CancelScope()
        """Around the run's main function; cancelled at a stall."""
        self.stall: Stall | None = None
        """What was found."""

    @property
    def steps(self) -> int:
        return self._trace.steps

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = self._clock()
        self._idle = 0
        if now == self._instant:
            self._steps_here += 1
            if self._steps_here > self._limits.steps_at_one_instant:
                self._found(Livelock(now, self._steps_here, standing()))
        else:
            self._instant, self._steps_here = now, 1
            if now > self._latest:
                self._found(OutOfTime(self._limits.virtual_seconds, standing()))
        self._trace.step(now, task.name)

    def after_io_wait(self, timeout: float) -> None:
        self._idle += 1
        if self._idle > IDLE_TICKS and trio.lowlevel.current_statistics().seconds_to_next_deadline == inf:
            self._found(Deadlock(self._clock(), standing()))

    def _found(self, stall: Stall) -> None:
        self._idle = self._steps_here = 0
        self._latest = self._clock() + CLEAN_UP
        if self.stall is None:
            self.stall = stall
            self.scope.cancel()
        else:
            self._steering.abort(RunAborted(str(stall)))

    def hold(self, frame: FrameType | None, seconds: float) -> None:
        """Somebody holds the loop: have the run broken off, and say where that was."""
        stack = "".join(StackSummary.extract(_frames(frame)).format()[:TASKS_NAMED])
        if self.stall is None:
            self.stall = LoopBlocked(seconds, stack)
        self._steering.abort(RunAborted(str(self.stall)))
        raise _LetGo


def _frames(frame: FrameType | None) -> Generator[tuple[FrameType, int]]:
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


@contextmanager
def cpu_watched(watch: Watch, limits: Limits) -> Generator[None]:
    """Look every few seconds of the machine's time whether the run still makes steps; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread alone
        return
    seen = -1

    def look(_number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen == watch.steps:
            watch.hold(frame, limits.cpu_seconds_per_step)
        seen = watch.steps

    before = signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, limits.cpu_seconds_per_step, limits.cpu_seconds_per_step)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def standing() -> str:
    """Return where every task of the run stands: a line each, name and innermost line of code."""
    lines: list[str] = []
    root = trio.lowlevel.current_root_task()
    if root is not None:
        _stand(root, lines)
    surplus = len(lines) - TASKS_NAMED
    if surplus > 0:
        lines[TASKS_NAMED:] = [f"  ... and {surplus} more"]
    return "\n".join(lines)


def _stand(task: trio.lowlevel.Task, lines: list[str]) -> None:
    frames = list(task.iter_await_frames())
    # The last ones are trio's own; what is looked for is the code that waits.
    own = [each for each in frames if "/trio/" not in each[0].f_code.co_filename] or frames
    at = f"{own[-1][0].f_code.co_filename}:{own[-1][1]}" if own else "running"
    if not task.name.startswith("<"):  # trio's own
        lines.append(f"  {task.name} at {at}")
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda child: child.name):
            _stand(child, lines)
