"""Supervised one-off tasks: a function run under a supervisor of its own, with its result (T1-T6).

`task_supervisor` declares one anywhere in a tree; it is a dynamic supervisor
whose children are tasks, so that budgets, reports, census and stop rules are
those of every other supervisor.  `TaskSupervisorHandle` is how tasks are
started: from handlers, child tasks and other tasks, and from outside.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, Literal, TypeVar, TypeVarTuple, cast

import attrs

from holdfast.runtime.asks import current_caller, waiting_cell
from holdfast.runtime.identity import leaf, parent
from holdfast.runtime.ref import ASK_TIMEOUT, Ref
from holdfast.supervisors.child_spec import (
    BUDGET,
    KILL,
    WORKER_ALLOWANCE,
    ChildSpec,
    OnGiveUp,
    Restart,
    ShutdownRule,
)
from holdfast.supervisors.declarations import dynamic, template
from holdfast.supervisors.errors import InvalidSpec, NoSuchChild, TaskTimeout
from holdfast.supervisors.handle import Handle
from holdfast.supervisors.intensity import Budget
from holdfast.supervisors.jobs import Job, TaskActor
from holdfast.supervisors.messages import ChildHandle, StartInstance, TerminateChild
from holdfast.supervisors.task_stream import CONCURRENCY, TaskStream
from holdfast.supervisors.task_waits import sleep_until_done

__all__ = ["TaskHandle", "TaskSupervisorHandle", "task_supervisor"]

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - the type of an input
Ts = TypeVarTuple("Ts")

# A task is an actor with a task of its own, about 20 KB: 200 MB of tasks is a mistake, not a load.
MAX_TASKS = 10_000


def task_supervisor(
    id: str,  # noqa: A002 - the domain's word
    *,
    max_children: int | None = MAX_TASKS,
    restart: Restart = Restart.TEMPORARY,
    shutdown: ShutdownRule = WORKER_ALLOWANCE,
    budget: Budget = BUDGET,
    depends_on: Sequence[str] = (),
    on_give_up: OnGiveUp = OnGiveUp.ESCALATE,
    own_budget: Budget | None = None,
) -> ChildSpec:
    """Declare a supervisor of tasks; talk to it through `TaskSupervisorHandle(system.ref(path))`.

    `restart` is for tasks begun with `start_child`; a task with a result runs once
    (T2).  `shutdown` is how long a task that is cancelled may clean up before it is
    killed; each task may be given another.  `budget` is for restarts of tasks.
    """
    pattern = template("task", functools.partial(TaskActor, shutdown), restart=restart, shutdown=shutdown)
    return dynamic(
        id,
        pattern,
        max_children=max_children,
        budget=budget,
        depends_on=depends_on,
        on_give_up=on_give_up,
        own_budget=own_budget,
    )


class TaskHandle(Generic[T]):
    """One task that was started, for whoever wants its result."""

    __slots__ = ("_job",)

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def path(self) -> str:
        """Its path, as in ``app/jobs/task-17``."""
        return self.ref.path

    @property
    def ref(self) -> Ref:
        """The ref of the actor that runs it: watch it, or terminate it through its supervisor."""
        assert self._job.cell is not None, "handles are made of started jobs"
        return self._job.cell.slot.ref

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._job.done

    async def result(self, timeout: float | None = None) -> T:
        """Wait for the end of the task and return its result, or raise what it raised (T1, T3).

        `TaskEnded` when it was stopped, cancelled or killed; `TaskTimeout` when it is not
        done after `timeout` seconds: it goes on, and may be waited for again (S10).  A
        handler never waits longer than the question that it is answering may take.
        Cancelled while it waits, a linked task is cancelled too.  `AskCycle` when the
        task waits for this very actor.
        """
        job = self._job
        if not job.done:
            when, limit = _deadline(job.system.now(), timeout)
            try:
                await sleep_until_done(waiting_cell(), [job], when)
            except BaseException:
                if job.linked:
                    job.withdraw()
                raise
            if not job.done:
                raise TaskTimeout(job.title, limit)
        return cast("T", job.collect())

    def cancel(self) -> bool:
        """Cancel the task and go on; False when it is over or cancelled already.

        It may clean up within its allowance and is killed then; `result` raises `TaskEnded`.
        """
        return self._job.withdraw()

    def __repr__(self) -> str:
        return f"<TaskHandle {self.path} {'done' if self.done else 'running'}>"


@attrs.frozen
class TaskSupervisorHandle(Handle):
    """A supervisor of tasks.  All of this works in handlers, child tasks, other tasks, and from outside."""

    async def run(
        self, fn: Callable[[*Ts], Awaitable[T]], *args: *Ts, timeout: float | None = ASK_TIMEOUT
    ) -> T:
        """Run `await fn(*args)` as a task and return its result, or raise what it raised (T1, T3).

        `TaskTimeout` after `timeout` seconds, the start included: the task is cancelled,
        and nothing of it arrives later.  So it is when the caller is cancelled, or
        ends.  `TooManyChildren` when `max_children` tasks run; nothing was started then.
        """
        system = self.ref.slot.system
        when, limit = _deadline(system.now(), timeout)
        job = Job(fn, args, current_caller(), linked=True)
        job.collected = True
        await self._start(job, self.timeout if when is None else min(self.timeout, when - system.now()))
        try:
            if not job.done:
                await sleep_until_done(waiting_cell(), [job], when)
        finally:
            job.withdraw()
        if not job.done:
            raise TaskTimeout(job.title, limit)
        return cast("T", job.collect())

    async def start(
        self,
        fn: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        linked: bool = True,
        shutdown: ShutdownRule | None = None,
    ) -> TaskHandle[T]:
        """Start `fn(*args)` as a task and return its handle at once (T1).

        Linked to an actor it ends with that actor, and the actor crashes with a failure
        of it that nobody awaits by the end of the handler in progress.  A task that is
        not linked is known by its handle alone.  From outside there is nobody to link to.
        `TooManyChildren`; `InvalidSpec` for an allowance that is none.
        """
        job = Job(fn, args, current_caller(), linked=linked, rule=_checked(Restart.TEMPORARY, shutdown))
        await self._start(job, self.timeout, shutdown=shutdown)
        return TaskHandle(job)

    async def start_child(
        self,
        fn: Callable[[*Ts], Awaitable[object]],
        *args: *Ts,
        restart: Restart | None = None,
        shutdown: ShutdownRule | None = None,
    ) -> ChildHandle:
        """Start `fn(*args)` and forget it: no result, no link (T1).

        `restart` in place of the supervisor's: a permanent task is run again whenever it
        ends, a transient one when it fails, both charged to the budget (T2); their
        arguments are kept, those of a temporary task are not.
        """
        _checked(restart or Restart.TEMPORARY, shutdown)
        job = Job(fn, args, current_caller(), linked=False, rule=shutdown, repeats=True)
        return await self._start(job, self.timeout, restart=restart, shutdown=shutdown)

    def stream(
        self,
        fn: Callable[[I], Awaitable[T]],
        inputs: Iterable[I],
        *,
        concurrency: int = CONCURRENCY,
        ordered: bool = True,
        timeout: float | None = ASK_TIMEOUT,
        on_timeout: Literal["fail", "item"] = "fail",
        with_input: bool = False,
    ) -> TaskStream[I, T]:
        """Run `fn` over the inputs, so many at once, and iterate over what became of each (T4).

            async for item in jobs.stream(fetch, urls, concurrency=8):
                print(item.index, item.value if item.ok else item.error)

        A failure is an item, and the others go on.  See `TaskStream` for order, bounds and the end.
        """
        return TaskStream(
            functools.partial(self._start, timeout=self.timeout),
            fn,
            inputs,
            owner=self.ref.path,
            caller=current_caller(),
            concurrency=concurrency,
            ordered=ordered,
            timeout=timeout,
            on_timeout=on_timeout,
            with_input=with_input,
        )

    async def terminate_child(self, task: TaskHandle[T] | Ref) -> None:
        """Stop a task by its rule; it is gone then.  One that has ended is `NoSuchChild` (T6)."""
        ref = task if isinstance(task, Ref) else task.ref
        if parent(ref.path) != self.ref.path or ref.slot.state == "removed":
            raise NoSuchChild(self.ref.path, ref.path)
        await self.ref.ask(TerminateChild(leaf(ref.path)), timeout=self.timeout)

    async def _start(
        self,
        job: Job,
        timeout: float,
        *,
        restart: Restart | None = Restart.TEMPORARY,
        shutdown: ShutdownRule | None = None,
    ) -> ChildHandle:
        try:
            return await self.ref.ask(StartInstance((job,), restart, shutdown), timeout=timeout)
        except BaseException:
            # It may have been started an instant ago, or may be yet: it ends at once then, or is not begun.
            job.withdraw()
            raise


def _deadline(now: float, timeout: float | None) -> tuple[float | None, float]:
    """Return until when to wait, and how long that is: no longer than the question being answered (S-A6)."""
    given: object = timeout
    if given is not None and (type(given) not in {int, float} or not given >= 0):  # type: ignore[operator]
        raise InvalidSpec("task", "timeout is None or seconds of 0 or more", given)
    asker = waiting_cell()
    question = None if asker is None else asker.loop.question
    ends = [] if timeout is None else [now + timeout]
    if question is not None:
        ends.append(question.when)
    return (min(ends), min(ends) - now) if ends else (None, 0.0)


def _checked(restart: Restart, shutdown: ShutdownRule | None) -> ShutdownRule | None:
    """Refuse at the caller what no task can have."""
    ChildSpec(id="task", factory=TaskActor, restart=restart, shutdown=KILL if shutdown is None else shutdown)
    return shutdown
