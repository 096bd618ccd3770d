"""A thread that notices when the event loop's own thread is blocked, and says by whom.

A handler that blocks the thread stops everything, the loop's own deadlines too,
so whoever notices must stand outside. The loop counts its rounds; a thread of
its own looks whether the count goes on. When it does not, the stack of the
blocked thread says where it is, and the actor among its frames who is to blame:
said at once where it can be read although the loop is blocked, published as an
event when the loop is free again.

Time is counted in the watchdog's own rounds: a process that was stopped and
continued, or an extension that let no thread run, is no silence of the loop.
"""

from __future__ import annotations

import inspect
import math
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import TYPE_CHECKING

import attrs

from holdfast.runtime.backtrace import FRAMES_MAX
from holdfast.runtime.behavior import Actor
from holdfast.runtime.errors import InvalidLiveness
from holdfast.runtime.events import ThreadBlocked
from holdfast.runtime.loop_thread import LoopThread
from holdfast.runtime.seconds import is_seconds

if TYPE_CHECKING:
    from holdfast.runtime.system import System
    from holdfast.runtime.timers import Deadline

__all__ = ["BLOCKED_MIN", "EXIT_BLOCKED", "Culprit", "Watchdog", "WatchdogSpec", "culprit", "watched"]

# Everybody who waits for this thread waits for as long; people notice a tenth of it.
BLOCKED = 1.0

# Below this, garbage collection and a machine under load look like a blocked thread.
BLOCKED_MIN = 0.05

# Rounds in the shortest silence that is reported: it is known to a quarter.
ROUNDS = 4

# Reports about one silence, after once, twice, four and eight times the limit; then it is known.
REPORTS_MAX = 4

# Between the first reports about two silences, in seconds: a loop that is blocked again and again is told
# of six times a minute. Those between are counted, and are events all the same.
PAUSE = 10.0

# The exit status of a process that was ended because its thread was blocked: EX_SOFTWARE of sysexits.h.
EXIT_BLOCKED = 70


@attrs.frozen(kw_only=True)
class WatchdogSpec:
    """How long the event loop's thread may be blocked.  Seconds."""

    blocked: float = BLOCKED
    """After which it is reported, with its stack."""

    exit_after: float | None = None
    """After which the process is ended with status 70, without clean-up; None never."""

    def __attrs_post_init__(self) -> None:
        for name in ("blocked", "exit_after"):
            value: object = getattr(self, name)
            if value is None and name == "exit_after":
                continue
            if not is_seconds(value, BLOCKED_MIN):
                raise InvalidLiveness(f"{name} is finite seconds of {BLOCKED_MIN:g} or more, got {value!r}")
        if self.exit_after is not None and self.exit_after < self.blocked:
            raise InvalidLiveness(
                f"a blocked thread is reported before it ends the process, got blocked={self.blocked:g} "
                f"and exit_after={self.exit_after:g}"
            )


@attrs.frozen
class Culprit:
    """Who holds the thread, as far as its frames tell."""

    path: str | None
    incarnation: int | None
    message_type: str | None
    stack: str

    def __str__(self) -> str:
        if self.path is None:
            return "no actor is among its frames"
        over = f" in its handler of {self.message_type}" if self.message_type else ""
        return f"{self.path} (incarnation {self.incarnation}) holds it{over}"


class Watchdog:
    """Watches the thread that makes it; the loop calls `start` and `stop`, a thread calls `look`."""

    def __init__(self, system: System, spec: WatchdogSpec, say: Callable[[str], None]) -> None:
        self._system = system
        self._spec = spec
        self._say = say
        self._thread = LoopThread().ident
        self._interval = spec.blocked / ROUNDS
        self._end: Callable[[], None] | None = None
        # Written by the loop.
        self._rounds = 0
        self._round_at = 0.0
        self._next: Deadline | None = None
        # Written by the thread.
        self._seen = -1
        self._looked_at: float | None = None
        self._silence = 0.0
        self._reports = 0
        self._quiet_until = -math.inf
        self._untold = 0
        # Handed over, by one assignment: what the thread saw of the present silence.
        self._seen_there: Culprit | None = None

    # -- in the loop's thread

    def start(self) -> None:
        """Begin to count rounds, and to have them looked at."""
        self._round_at = self._system.now()
        self._next = self._system.deadlines.add(self._round_at + self._interval, self._round)
        self._end = self._system.seams.repeat(self.look, self._interval, f"{self._system.name}.watchdog")

    def stop(self) -> None:
        """End the thread; twice is once."""
        end, self._end = self._end, None
        if end is not None:
            end()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _round(self) -> None:
        now = self._system.now()
        self._rounds += 1
        seconds = now - self._round_at
        seen, self._seen_there = self._seen_there, None
        if seen is not None:
            event = ThreadBlocked(
                path=seen.path,
                incarnation=seen.incarnation,
                message_type=seen.message_type,
                seconds=seconds,
                stack=seen.stack,
                at=now,
            )
            self._system.events.publish(event)
        self._round_at = now
        self._next = self._system.deadlines.add(now + self._interval, self._round)

    # -- in the watchdog's thread

    def look(self, now: float) -> None:
        """See whether the loop has come round; `now` is the thread's own monotonic time."""
        # At most two rounds for one: a longer gap is this thread's own, and the loop's too.
        gap = 0.0 if self._looked_at is None else min(now - self._looked_at, 2 * self._interval)
        self._looked_at = now
        if self._rounds != self._seen:
            self._seen = self._rounds
            self._silence = 0.0
            self._reports = 0
            return
        self._silence += gap
        if self._reports < REPORTS_MAX and self._silence >= self._spec.blocked * (1 << self._reports):
            self._reports += 1
            self._report(now)
        if self._spec.exit_after is not None and self._silence >= self._spec.exit_after:
            self._say(
                f"the event loop's thread did not come back within {self._silence:.3g} s: ending the process"
            )
            self._system.seams.exit_process(EXIT_BLOCKED)

    def _report(self, now: float) -> None:
        frame = sys._current_frames().get(self._thread)
        if frame is None:
            return  # the thread has ended
        found = culprit(frame)
        self._seen_there = found
        if self._reports == 1:
            if now < self._quiet_until:
                self._untold += 1
                return
            self._quiet_until = now + PAUSE
        more = f" ({self._untold} more times since the last report)" if self._untold else ""
        self._untold = 0
        self._say(
            f"the event loop's thread has been blocked for {self._silence:.3g} s{more}; {found}; "
            f"it stands at\n{found.stack}"
        )


@contextmanager
def watched(system: System, spec: WatchdogSpec | None, say: Callable[[str], None]) -> Generator[None]:
    """Watch this thread for the length of a ``with`` body; no spec, no thread."""
    if spec is None:
        yield
        return
    watchdog = Watchdog(system, spec, say)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()


def culprit(frame: FrameType) -> Culprit:
    """Return whose code runs in a thread that stands at this frame: the innermost actor's."""
    stack = "".join(traceback.format_list(traceback.extract_stack(frame, FRAMES_MAX)))
    for actor, codes in _actors(frame):
        # It may block before it has a context: in its constructor.
        context = getattr(actor, "context", None)
        if context is not None:
            kinds = (kind for kind, row in type(actor).handlers.items() if _code(row.function) in codes)
            kind = next(kinds, None)
            return Culprit(context.path, context.incarnation, kind.__name__ if kind else None, stack)
    return Culprit(None, None, None, stack)


def _actors(frame: FrameType) -> Iterator[tuple[Actor, set[CodeType]]]:
    """Yield the actors among the frames, innermost first, with the code from there outwards."""
    outward = list(_outward(frame))
    for position, at in enumerate(outward):
        code = at.f_code
        # Frames of the kernel live for long, and reading a frame's variables keeps them in it.
        if not code.co_argcount or str(at.f_globals.get("__name__")).startswith(_KERNEL):
            continue
        first: object = at.f_locals.get(code.co_varnames[0])
        if isinstance(first, Actor):
            yield first, {outer.f_code for outer in outward[position:]}


# Whose frames are never an actor's: they live as long as the task or the loop.
_KERNEL = (
    "holdfast.runtime.loop",
    "holdfast.runtime.life",
    "holdfast.runtime.task",
    "holdfast.runtime.pump",
    "holdfast.runtime.system",
    "trio.",
    "asyncio.",
    "anyio.",
)


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _code(function: Callable[..., object]) -> CodeType | None:
    return getattr(inspect.unwrap(function), "__code__", None)
