"""Carrying out a plan over kernel cells: one step after another, nothing decided here.

Each step's result goes back to the machine, which may answer with a plan that
takes the place of the rest.  One `Execution` per incarnation of a supervisor;
it also knows the cell of each child, which the machine does not.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import anyio

from holdfast.runtime.asks import ReplyToken
from holdfast.runtime.behavior import Actor, Ignore, Info
from holdfast.runtime.cell import Cell
from holdfast.runtime.context import Context
from holdfast.runtime.errors import StartFailed
from holdfast.runtime.identity import join
from holdfast.runtime.mailbox import Notice
from holdfast.supervisors.child_spec import Allowance, ChildSpec, ShutdownRule
from holdfast.supervisors.children import Child
from holdfast.supervisors.dynamic import Instances, OneStart, stop_together
from holdfast.supervisors.errors import AlreadyStarted, PreparationFailed
from holdfast.supervisors.escalation import drain_below
from holdfast.supervisors.machine import SupervisorMachine
from holdfast.supervisors.messages import ChildHandle, Retry
from holdfast.supervisors.plan import (
    DONE,
    NOTHING,
    BringBack,
    CancelRetry,
    Drain,
    EndSupervisor,
    Failed,
    FailStart,
    FinishFullRestart,
    Forget,
    Ignored,
    Plan,
    Prepare,
    Refuse,
    RefuseStarted,
    Reply,
    ReplyStarted,
    Result,
    Retire,
    ScheduleRetry,
    ShareStopDeadline,
    Start,
    Started,
    Step,
    Stop,
    Stopped,
    StoppedTogether,
    StopTogether,
    SwitchOff,
    Tell,
)
from holdfast.supervisors.reports import Report
from holdfast.supervisors.strategies import own_stop

__all__ = ["Execution"]

# Steps without waiting between two turns of the scheduler: a third of a millisecond of starts and stops.
STEPS_PER_TURN = 16


class Execution:
    """The hands of one supervisor."""

    def __init__(
        self, context: Context, machine: SupervisorMachine, make_supervisor: Callable[[ChildSpec], Actor]
    ) -> None:
        self.cells: dict[str, Cell] = {}
        """The latest cell of each child."""
        self.instances = Instances()
        self._context = context
        self._cell = context.cell
        self._now = context.system.now
        self._machine = machine
        self._make_supervisor = make_supervisor
        self._steps: deque[Step] = deque()
        self.unfinished = False
        """Whether a plan that was begun in another task has more steps."""
        self._waiting: Step | None = None
        """The step that has to be waited for, in the supervisor's own task."""
        self._token: ReplyToken | None = None
        self.info: object = None
        """What the latest start passed out."""
        self._stop_by: float | None = None

    async def carry_out(self, plan: Plan, token: ReplyToken | None = None) -> None:
        """Execute the steps in order; `token` is the call that the plan answers."""
        self._take_on(plan, token)
        await self.go_on()

    def carry_out_at_once(self, plan: Plan) -> bool:
        """Execute what needs no waiting; False when there is more, for `go_on` in the own task."""
        self._take_on(plan, None)
        self.unfinished = self._advance() is not None or bool(self._steps)
        return not self.unfinished

    async def go_on(self) -> None:
        """Execute the rest of a plan; without one this is nothing."""
        self.unfinished = False
        while True:
            step = self._waiting or self._advance()
            self._waiting = None
            if step is not None:
                self._settle(step, await _PERFORM[type(step)](self, step))
            elif self._steps:
                await self._context.system.backend.checkpoint()
            else:
                return

    def _take_on(self, plan: Plan, token: ReplyToken | None) -> None:
        self._token, self._stop_by, self.info = token, None, None
        self._waiting = None
        self._publish(plan.reports)
        self._steps.clear()
        self._steps.extend(plan.steps)

    def _advance(self) -> Step | None:
        """Execute steps, as many as one turn should hold; return the first that has to be waited for."""
        for _ in range(STEPS_PER_TURN):
            if not self._steps:
                return None
            step = self._steps.popleft()
            at_once = _AT_ONCE.get(type(step))
            result = None if at_once is None else at_once(self, step)
            if result is None:
                self._waiting = step
                return step
            self._settle(step, result)
        return None

    def follow(self, steps: Iterable[Step]) -> None:
        """Execute steps that need no waiting, and that the machine has nothing to say about."""
        for step in steps:
            _AT_ONCE[type(step)](self, step)

    def _settle(self, step: Step, result: Result) -> None:
        """Tell the machine what came of a step, and take up what follows from it."""
        draws = isinstance(result, Failed) or isinstance(step, BringBack)
        chance = self.chance(getattr(step, "child", "")) if draws else 0.0
        after = self._machine.settle(step, result, self._now(), chance)
        if after is NOTHING:
            return
        self._publish(after.reports)
        if after.replaces:
            self._steps = deque(after.steps)
        else:
            self._steps.extendleft(reversed(after.steps))

    def chance(self, child: str = "", *, retry: bool = False) -> float:
        """Draw for the jitter of a back-off or of a probe; nothing is drawn where there is none."""
        line = self._machine.children.get(child)
        # A retry that is due has had its delay: it draws only for being switched off, which may follow.
        drawn = line is not None and line.breaker is not None and not (retry and line.on_probation)
        drawn = drawn or (self._machine.group.backoff is not None and not retry)
        return self._context.seams.random.random() if drawn else 0.0

    def _publish(self, reports: tuple[Report, ...]) -> None:
        for report in reports:
            # Into the flight recorders of both: of who decided, and of whom it concerns.
            concerned = self.cells.get(getattr(report, "child", None) or "")
            if concerned is not None:
                concerned.slot.record(report)
            self._cell.slot.announce(report)

    def wedged(self, child: str) -> bool:
        """Whether a task of this child, of whatever incarnation, went on after it was killed."""
        return join(self._machine.path, child) in self._context.system.wedged

    # -- starting

    def _start_at_once(self, step: Start) -> Result | None:
        return self.start_at_once(self._machine.children[step.child])

    def start_at_once(self, child: Child) -> Result | None:
        """Start a child; None when its start hook, or its check, is to be waited for with `start_begun`."""
        spec, make = child.spec, self._factory(child)
        cell = self._cell.open_child(child.id, make, exclusive=spec.exclusive, liveness=spec.liveness)
        cell.stop_allowance = own_stop(spec.shutdown, cell.system.kill_grace)
        self.cells[child.id] = cell
        try:
            over = cell.begin()
            if not over or spec.ready is not None:
                return None
            return self._started(cell, cell.start_reply())
        except StartFailed as failed:
            return Failed(failed.reason)

    async def _start(self, step: Start) -> Result:
        return await self.start_begun(self._machine.children[step.child])

    async def start_begun(self, child: Child) -> Result:
        """Wait for what has begun: the start hook, and the check whether it is ready."""
        cell = self.cells[child.id]
        try:
            await cell.wait_started(child.spec.start_timeout)
            reply = cell.start_reply()
        except StartFailed as failed:
            return Failed(failed.reason)
        if child.spec.ready is not None and not isinstance(reply, Ignore):
            failure = await child.spec.ready.failure(cell.slot.ref)
            if failure is not None:
                await self._stop_unready(child, cell)
                return Failed(failure)
        return self._started(cell, reply)

    def _started(self, cell: Cell, reply: Info | Ignore | None) -> Result:
        if isinstance(reply, Ignore):
            return Ignored()
        self.info = reply.value if reply is not None else None
        return Started(cell.incarnation)

    async def _stop_unready(self, child: Child, cell: Cell) -> None:
        """Stop what served and was not ready; its mail stays for the next attempt."""
        await cell.stop(self._allowance(child.spec.shutdown), final=False)

    def _factory(self, child: Child) -> Callable[[], Actor]:
        spec = child.spec
        if spec.factory is None:
            return functools.partial(self._make_supervisor, spec)
        if not child.added:
            return spec.factory  # only what was added has arguments of its own
        once = child.temporary
        factory = self.instances.factory(child.id, spec.factory, once=once)
        return OneStart(join(self._machine.path, child.id), factory) if once else factory

    # -- stopping

    def _stop_at_once(self, step: Stop) -> Result | None:
        rule = self._machine.children[step.child].spec.shutdown
        cell = self.cells[step.child]
        if rule is Allowance.KILL or not cell.stop_at_once(final=step.final):
            return None
        return Stopped(cell.outcome)

    async def _stop(self, step: Stop) -> Result:
        cell = self.cells[step.child]
        allowance = self._allowance(self._machine.children[step.child].spec.shutdown)
        return Stopped(await cell.stop(allowance, final=step.final))

    def _allowance(self, rule: ShutdownRule) -> float | None:
        """Return the seconds that a stop may take, in the kernel's words: 0 kills, None waits for ever."""
        if rule is Allowance.KILL:
            return 0.0
        allowance = None if isinstance(rule, Allowance) else rule
        if self._stop_by is None:
            return allowance
        left = max(0.0, self._stop_by - self._context.now())
        return left if allowance is None else min(allowance, left)

    async def _stop_together(self, step: StopTogether) -> Result:
        cells = [self.cells[child] for child in step.children]
        rules = [self._machine.children[child].spec.shutdown for child in step.children]
        system = self._context.system
        allowances = [self._allowance(rule) for rule in rules]
        outcomes = await stop_together(cells, allowances, kill_grace=system.kill_grace, now=self._context.now)
        return StoppedTogether(dict(zip(step.children, outcomes, strict=True)))

    def _retire(self, step: Retire) -> Result:
        cell = self.cells.get(step.child)
        outcome = cell.outcome if cell is not None else None
        self._context.system.registry.close_below(join(self._machine.path, step.child), outcome)
        return DONE

    def _switch_off(self, step: SwitchOff) -> Result:
        cell = self.cells.get(step.child)
        self._context.system.registry.close_below(
            join(self._machine.path, step.child),
            cell.outcome if cell is not None else None,
            probe_at=self._context.now() + step.probe_in,
        )
        return DONE

    def _tell(self, step: Tell) -> Result:
        cell = self.cells.get(step.child)
        if cell is not None and cell.life.handles(type(step.message)):
            cell.slot.post(Notice(step.message, cell.incarnation))
        return DONE

    def _forget(self, step: Forget) -> Result:
        self.cells.pop(step.child, None)
        self.instances.forget(step.child)
        self._context.cancel_timer(_retry_key(step.child))
        self._context.system.registry.remove(join(self._machine.path, step.child))
        return DONE

    # -- waiting and trying again

    def _schedule_retry(self, step: ScheduleRetry) -> Result:
        retry = Retry(step.child, step.serial)
        if step.delay is None:
            self._context.deliver(retry)
        else:
            self._context.after(step.delay, retry, key=_retry_key(step.child))
        return DONE

    def _cancel_retry(self, step: CancelRetry) -> Result:
        self._context.cancel_timer(_retry_key(step.child))
        return DONE

    # -- the full restart

    async def _drain(self, step: Drain) -> Result:
        await drain_below(self._context.cell, step.within)
        return DONE

    def _share_stop_deadline(self, step: ShareStopDeadline) -> Result:
        self._stop_by = self._context.now() + step.within
        return DONE

    async def _prepare(self, _step: Prepare) -> Result:
        full = self._machine.group.full_restart
        assert full is not None
        assert full.before_start is not None, "planned only where it is declared"
        try:
            with anyio.fail_after(full.prepare):
                await full.before_start()
        except Exception as error:  # noqa: BLE001 - a user's hook; the attempt counts as failed
            return Failed(PreparationFailed(self._machine.path, error))
        return DONE

    # -- answering and ending

    def _reply(self, step: Reply) -> Result:
        if self._token is not None:
            self._token.reply(step.value)
        return DONE

    def _reply_started(self, step: ReplyStarted) -> Result:
        if self._token is not None:
            child = self._machine.children.get(step.child)
            runs = child is not None and child.running
            ref = self.cells[step.child].slot.ref if runs else None
            self._token.reply(ChildHandle(step.child, ref, self.info if runs else None))
        return DONE

    def _refuse(self, step: Refuse) -> Result:
        if self._token is not None:
            self._token.fail(step.error)
        return DONE

    def _refuse_started(self, step: RefuseStarted) -> Result:
        ref = self.cells[step.child].slot.ref
        return self._refuse(Refuse(AlreadyStarted(self._machine.path, step.child, ref)))

    def _fail_start(self, step: FailStart) -> Result:
        raise step.error

    def _end_supervisor(self, step: EndSupervisor) -> Result:
        self._context.stop(step.outcome)
        return DONE

    def _noted(self, _step: FinishFullRestart | BringBack) -> Result:
        return DONE  # the machine says what follows


# What may have to be waited for.
_PERFORM: dict[type[object], Callable[..., Awaitable[Result]]] = {
    Start: Execution._start,
    Stop: Execution._stop,
    StopTogether: Execution._stop_together,
    Drain: Execution._drain,
    Prepare: Execution._prepare,
}

# What is done here and now, or tried to be: None is for `_PERFORM`.
_AT_ONCE: dict[type[object], Callable[..., Result | None]] = {
    Start: Execution._start_at_once,
    Stop: Execution._stop_at_once,
    Retire: Execution._retire,
    SwitchOff: Execution._switch_off,
    Tell: Execution._tell,
    Forget: Execution._forget,
    ScheduleRetry: Execution._schedule_retry,
    CancelRetry: Execution._cancel_retry,
    ShareStopDeadline: Execution._share_stop_deadline,
    FinishFullRestart: Execution._noted,
    BringBack: Execution._noted,
    Reply: Execution._reply,
    ReplyStarted: Execution._reply_started,
    Refuse: Execution._refuse,
    RefuseStarted: Execution._refuse_started,
    FailStart: Execution._fail_start,
    EndSupervisor: Execution._end_supervisor,
}


def _retry_key(child: str) -> tuple[str, str]:
    return ("retry", child)
