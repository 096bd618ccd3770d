"""One function that runs as a small supervised actor, and what becomes of it.

A `Job` is what the one who started it and the actor that runs it share: the
function until it is started, the result or the error when the actor has ended.
It is done only when the actor is gone and its supervisor has been told, so that
whoever has a result finds the place of the task free.

Linked means two things, as in OTP (T1): the task does not outlive the actor that
started it, and a failure that nobody awaits is that actor's crash.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING

import anyio
import attrs

from holdfast.runtime.asks import Caller, current_caller, set_caller
from holdfast.runtime.behavior import IGNORE, Actor, Ignore
from holdfast.runtime.errors import DefinitionError
from holdfast.runtime.identity import parent
from holdfast.runtime.outcomes import KILLED, NORMAL, SHUTDOWN, Crash, Outcome
from holdfast.supervisors.child_spec import Allowance, ShutdownRule
from holdfast.supervisors.errors import TaskEnded, TaskTimeout
from holdfast.supervisors.task_waits import Sleeper

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.messages import Down
    from holdfast.runtime.system import System
    from holdfast.runtime.timers import Deadline

__all__ = ["Job", "TaskActor", "TaskInfo", "task_info"]

# A chain of tasks that start tasks: deeper ones know the nearest callers only.
CALLERS_MAX = 16

_ends = itertools.count(1)


@attrs.frozen
class TaskInfo:
    """What a task knows of where it runs and on whose behalf (T5)."""

    path: str
    ancestors: tuple[str, ...]
    """Its supervisor, that one's supervisor, and so on up to the root."""

    callers: tuple[str, ...]
    """Who started it: the path of an actor or a task, then who had started that task, and so on (at most 16).
    Empty when it was started from outside."""

    correlation: str | None
    """The correlation id of the question that was being answered when it was started."""


def task_info() -> TaskInfo | None:
    """Describe the task whose code is running; None outside of one."""
    caller = current_caller()
    return None if caller is None else _info_of(caller.cell)


def _info_of(cell: Cell) -> TaskInfo | None:
    actor = cell.life._actor
    return actor.info if isinstance(actor, TaskActor) else None


class Job:
    """A function and its arguments, then its result or its error."""

    __slots__ = (
        "__weakref__", "_args", "_deadline", "_fn", "_limit", "_repeats", "_returned", "_sleepers", "_trace",
        "_value", "callers", "cell", "collected", "correlation", "done", "ended_as", "error", "linked",
        "name", "owner", "rule", "timed_out", "withdrawn",
    )  # fmt: skip

    def __init__(
        self,
        fn: Callable[..., Awaitable[object]],
        args: tuple[object, ...],
        caller: Caller | None,
        *,
        linked: bool,
        rule: ShutdownRule | None = None,
        repeats: bool = False,
    ) -> None:
        if not callable(fn):  # pyright: ignore[reportUnnecessaryComparison]
            raise DefinitionError(f"a task is an async function and its arguments, got {fn!r}")
        self._fn: Callable[..., Awaitable[object]] | None = fn
        self._args = args
        self._repeats = repeats
        self._returned = False
        self._value: object = None
        self._sleepers: list[Sleeper] = []
        self._deadline: Deadline | None = None
        self._limit: Deadline | None = None
        self._trace: TracebackType | None = None
        self.name: str = getattr(fn, "__name__", type(fn).__name__)
        self.cell: Cell | None = None
        """The actor that runs it; None until that is started."""
        self.rule = rule
        self.done = False
        self.ended_as = 0
        """The place of its end among all ends."""
        self.withdrawn = False
        self.timed_out = False
        self.collected = False
        """Whether somebody takes every failure of it: then none is the owner's crash."""
        self.error: BaseException | None = None
        self.linked = linked
        self.owner: Cell | None = None
        self.callers: tuple[str, ...] = ()
        self.correlation: str | None = None
        if caller is not None:
            self._know(caller)

    def _know(self, caller: Caller) -> None:
        cell = caller.cell
        above = _info_of(cell)
        self.callers = (cell.slot.path, *(() if above is None else above.callers))[:CALLERS_MAX]
        self.correlation = cell.context.correlation if caller.in_loop and above is None else None
        if above is not None:
            self.correlation = above.correlation
        if self.linked:
            self.owner = cell
            cell.holdings.attach(self, self._owner_ended)

    # -- the side of the actor

    def take(self) -> tuple[Callable[..., Awaitable[object]], tuple[object, ...]]:
        """Hand out what is to be run; unless it may run again, nothing of it is kept."""
        assert self._fn is not None, "a job runs once, unless it repeats"
        taken = (self._fn, self._args)
        if not self._repeats:
            self._fn, self._args = None, ()
        return taken

    def started(self, cell: Cell) -> None:
        """Note which actor runs it."""
        self.cell = cell
        if not self._repeats:
            cell.slot.watch_from_outside(self._ended)

    def returned(self, value: object) -> None:
        """Keep what the function has returned; it counts once the actor has ended in peace."""
        self._returned, self._value = True, value

    def _ended(self, down: Down) -> None:
        if self.done:
            return
        assert self.cell is not None
        self.done, self.ended_as = True, next(_ends)
        for deadline in (self._deadline, self._limit):
            if deadline is not None:
                deadline.cancel()
        self._deadline = self._limit = None
        self._unlink()
        self._judge(down.outcome)
        awaited = bool(self._sleepers)
        for sleeper in self._sleepers:
            sleeper.wake()
        if not awaited:
            self._tell_owner(down.outcome)

    def _judge(self, outcome: Outcome) -> None:
        if self.error is not None:
            return  # out of time
        if isinstance(outcome, Crash):
            self.error = outcome.exception
        elif not self._returned or not outcome.orderly:
            self.error = TaskEnded(self.title, outcome)
        if self.error is not None:
            self._value = None

    def _tell_owner(self, outcome: Outcome) -> None:
        """Take a failure that nobody awaits to the linked actor, which crashes with it (T1)."""
        owner, cell = self.owner, self.cell
        asked_for = self.withdrawn or self.collected or (cell is not None and bool(cell._requested))
        if owner is None or owner.ended or outcome.orderly or asked_for:
            return
        assert self.error is not None
        owner.life.child_task_failed(self.error)

    # -- the side of whoever started it

    @property
    def title(self) -> str:
        """What it is called in errors: the function, and the path once it has one."""
        return f"task {self.name}" + ("" if self.cell is None else f" ({self.cell.slot.path})")

    @property
    def system(self) -> System:
        assert self.cell is not None, "a started job has an actor"
        return self.cell.system

    def limit(self, timeout: float) -> None:
        """Withdraw it when it is not done after so many seconds from now; its error is `TaskTimeout` then."""

        def expire() -> None:
            if not self.done and not self.withdrawn:
                self.timed_out, self.error = True, TaskTimeout(self.title, timeout)
                self.withdraw()

        self._limit = self.system.deadlines.add(self.system.now() + timeout, expire)

    def withdraw(self) -> bool:
        """Nobody wants it any more: it is cancelled, and killed when its allowance is over.  Never waits.

        False when it was done or withdrawn before.
        """
        if self.done or self.withdrawn:
            return False
        self.withdrawn = True
        self._unlink()
        if self.cell is not None:
            self._end(self.cell)
        return True

    def _end(self, cell: Cell) -> None:
        if self.rule is Allowance.KILL or self.rule == 0:
            self._kill()
            return
        cell.context.stop(SHUTDOWN)
        if isinstance(self.rule, int | float):
            self._deadline = cell.system.deadlines.add(cell.system.now() + self.rule, self._kill)

    def _kill(self) -> None:
        cell = self.cell
        assert cell is not None
        cell.kill()
        grace = cell.system.now() + cell.system.kill_grace
        self._deadline = cell.system.deadlines.add(grace, lambda: cell.mark_wedged(KILLED))

    def _owner_ended(self) -> None:
        self.withdraw()

    def _unlink(self) -> None:
        owner = self.owner
        if owner is not None and not owner.ended:
            owner.holdings.detach(self)

    def collect(self) -> object:
        """Return the result or raise the error; who has it in hand does not crash with it later."""
        assert self.done, "collected when it is done"
        error, owner = self.error, self.owner
        if error is None:
            return self._value
        if owner is not None and owner.loop.failure is error:
            owner.loop.failure = None
        if self._trace is None:
            self._trace = error.__traceback__
        try:
            raise error.with_traceback(self._trace)  # raised twice, it tells one story
        finally:
            del error

    def add(self, sleeper: Sleeper) -> None:
        self._sleepers.append(sleeper)

    def remove(self, sleeper: Sleeper) -> None:
        self._sleepers.remove(sleeper)


class TaskActor(Actor):
    """Runs one job and ends: `normal` when it returns, a crash when it raises."""

    def __init__(self, rule: ShutdownRule, job: Job) -> None:
        self._job: Job | None = job
        self._over = anyio.Event()
        self.info: TaskInfo
        if job.rule is None:
            job.rule = rule

    def on_start(self) -> Ignore | None:
        """Begin; whoever asked for it may have gone meanwhile, then there is nothing to run."""
        assert self._job is not None
        if self._job.withdrawn:
            return IGNORE
        path = self.context.path
        ancestors: list[str] = []
        while path := parent(path):
            ancestors.append(path)
        self.info = TaskInfo(self.context.path, tuple(ancestors), self._job.callers, self._job.correlation)
        self._job.started(self.context.cell)
        self.context.spawn(self._run)
        return None

    async def _run(self) -> None:
        job, self._job = self._job, None
        assert job is not None
        # What it waits for, the task waits for: a circle through whoever awaits it is found.
        set_caller(Caller(self.context.cell, in_loop=True))
        try:
            if job.withdrawn:
                return
            fn, args = job.take()
            waiting = fn(*args)
            del args
            if not isinstance(waiting, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DefinitionError(f"a task is an async function; {job.name} returned {waiting!r}")
            job.returned(await waiting)
            self.context.stop(NORMAL)
        finally:
            job = None  # the frame lives as long as the traceback does
            self._over.set()

    async def on_stop(self, _outcome: Outcome) -> None:
        """Wait within the allowance for what the cancelled function still cleans up."""
        if not self._over.is_set():
            await self._over.wait()
