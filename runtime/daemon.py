"""How a process that runs a system ends: by a signal, by its root, or by force.

The first SIGTERM or SIGINT asks for the ordered stop.  A second one ends the
process at once: whoever sends it twice does not want to wait for a deadline.
A process that does not end is ended (`last_resort.py`).
The statuses are those of sysexits.h where it has one, so that a service manager
can tell what a restart may cure.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from enum import IntEnum
from types import FrameType

import anyio

from holdfast.runtime.last_resort import WITHIN, StopRequest
from holdfast.runtime.outcomes import Crash, GaveUp, Killed, Outcome
from holdfast.runtime.seams import Seams, say_at_once

__all__ = ["ExitStatus", "describe_end", "exit_status", "stop_signals"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ExitStatus(IntEnum):
    """What the process says when it ends."""

    CLEAN = 0
    """Asked to stop, drained, stopped in order."""
    FAILED = 1
    """The command could not do what was asked; the message says why."""
    USAGE = 2
    """The command line was wrong."""
    UNAVAILABLE = 69
    """No daemon answers on the control socket (EX_UNAVAILABLE)."""
    WEDGED = 70
    """A task could not be stopped within the overall deadline, or the root itself failed (EX_SOFTWARE)."""
    GAVE_UP = 75
    """The budget of full restarts is spent; starting again later may help (EX_TEMPFAIL)."""
    CONFIGURATION = 78
    """The configuration is wrong; starting again will not help (EX_CONFIG)."""


def exit_status(outcome: Outcome) -> ExitStatus:
    """Return the status for an end of the root that nobody asked for."""
    if isinstance(outcome, GaveUp):
        return ExitStatus.GAVE_UP
    if isinstance(outcome, Crash | Killed):
        return ExitStatus.WEDGED
    return ExitStatus.FAILED


def describe_end(outcome: Outcome) -> str:
    """Say what an end of the root means that nobody asked for, and what to do."""
    match outcome:
        case GaveUp():
            chain = f" ({' -> '.join(outcome.chain)})" if outcome.chain else ""
            return f"the tree gave up{chain}: its budget is spent; starting again later may help"
        case Crash():
            return f"the tree's root failed: {outcome}; this is a bug, please report it"
        case Killed():
            return "the tree's root did not stop in time and was killed; the log says what held it up"
        case _:
            return f"the tree ended ({outcome}) though nobody asked for it; starting again may help"


@asynccontextmanager
async def stop_signals(
    seams: Seams, *, within: float = WITHIN, say: Callable[[str], None] = say_at_once
) -> AsyncGenerator[StopRequest]:
    """Yield what the first stop signal sets; the second one ends the process.

    From the first request on the process has `within` seconds, to the end of this body:
    then a thread ends it with status 70 and says on stderr who held it up, also when the
    event loop's thread is blocked.  The signal is noticed where the blocked thread runs
    Python handlers: in Python code, and in calls that a signal interrupts.

    Only in the main thread: Python delivers signals nowhere else.
    """
    asked = StopRequest(seams, within, say)
    listening = anyio.Event()

    async def listen() -> None:
        with anyio.open_signal_receiver(*STOP_SIGNALS) as received, _noted_at_once(asked):
            listening.set()
            async for _number in received:
                asked.set()

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(listen, name="holdfast.signals")
        await listening.wait()
        try:
            with asked.kept():
                yield asked
        finally:
            nursery.cancel_scope.cancel()


@contextmanager
def _noted_at_once(asked: StopRequest) -> Generator[None]:
    """Note signals in their handlers, before the loop's: it may never have its turn."""
    loops = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        loop = loops[signal.Signals(number)]
        if asked.signalled(number) and callable(loop):
            loop(number, frame)

    for number in STOP_SIGNALS:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, loop in loops.items():
            signal.signal(number, loop)
