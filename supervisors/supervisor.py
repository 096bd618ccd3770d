"""The supervisor itself: an actor that feeds its machine and has the plans carried out.

What happens (a child ended, a retry is due, somebody calls) goes to the
machine, and the plan that comes back is executed before anything else is
handled (R11); what comes meanwhile waits in the mailbox.  It decides nothing.

Where it belongs: a supervisor's own mail is discarded when it ends, for calls
queued behind the notice that ended it have no effect on a successor (R44).
"""

from __future__ import annotations

from holdfast.runtime.asks import ReplyToken
from holdfast.runtime.behavior import Actor, StartReply, on
from holdfast.runtime.errors import ActorGone
from holdfast.runtime.identity import join, leaf
from holdfast.runtime.liveness import UNWATCHED
from holdfast.runtime.mailbox import MailboxSpec
from holdfast.runtime.messages import Ended
from holdfast.runtime.outcomes import Outcome
from holdfast.supervisors.bulk import start_portion
from holdfast.supervisors.calls import answer_call
from holdfast.supervisors.census import count, describe_child, describe_supervisor
from holdfast.supervisors.child_spec import ChildSpec, Group, Kind, Pool
from holdfast.supervisors.children import Child
from holdfast.supervisors.contradictions import find_contradictions
from holdfast.supervisors.errors import CallRefused, ContradictoryTree, NoSuchChild, NotCorrelating
from holdfast.supervisors.execution import Execution
from holdfast.supervisors.machine import SupervisorMachine
from holdfast.supervisors.messages import (
    Call,
    ChildCounts,
    ChildInfo,
    Correlate,
    CountChildren,
    DeleteChild,
    GetSpec,
    GetSupervision,
    Portion,
    Reconfigure,
    ReportFailure,
    RestartAll,
    RestartChild,
    RestartPath,
    Retry,
    StartChild,
    StartInstance,
    StartInstances,
    StopSupervisor,
    Supervision,
    TerminateChild,
    Unfinished,
    WhichChild,
    WhichChildren,
)
from holdfast.supervisors.plan import ChildEnded, Correlated, Plan, RetryDue, Start
from holdfast.supervisors.reports import ComponentFailed, ContradictionFound

__all__ = ["Supervisor"]


class Supervisor(Actor):
    """Runs the children of a spec made by `supervisor()` or `dynamic()`."""

    mailbox = MailboxSpec(on_restart="discard")
    # A long restart is no hang: each of its steps has an allowance or a time-out of its own.
    liveness = UNWATCHED

    def __init__(self, spec: ChildSpec) -> None:
        assert spec.kind is Kind.SUPERVISOR, "worker specs have a factory"
        self._spec = spec
        self._machine: SupervisorMachine
        self._execution: Execution

    async def on_start(self) -> StartReply:
        """Start all children, one after the other; one that cannot be started fails the whole (R1, R2)."""
        root = self.context.cell.parent is None
        if root:
            self._check_numbers(self._spec, self.context.path)
        self._machine = SupervisorMachine(self._spec, self.context.path, root=root)
        self._execution = Execution(self.context, self._machine, Supervisor)
        if self._machine.correlator is not None:
            self.context.cell.on_failure_below = self._failed_below
        await self._execution.carry_out(self._machine.start())
        self.context.cell.on_child_ended = self._child_ended_at_once
        return None

    async def on_stop(self, outcome: Outcome) -> None:
        """Stop all children in reverse order; for good, when this supervisor is not to come back."""
        final = self.context.ref.slot.mailbox.closed
        if self._execution.unfinished:
            await self._execution.go_on()
        await self._execution.carry_out(self._machine.stop(outcome, final=final))

    def _check_numbers(self, spec: ChildSpec, path: str, above: Group | Pool | None = None) -> None:
        contradictions = find_contradictions(spec, path)
        strict = any(isinstance(group, Group) and group.strict for group in (spec.group, above))
        if contradictions and strict:
            raise ContradictoryTree(path, contradictions)
        for found in contradictions:
            report = ContradictionFound(
                supervisor=found.path, at=self.context.now(), rule=found.rule, arithmetic=found.arithmetic
            )
            self.context.emit(report)

    def format_state(self) -> object:
        """Show what the supervisor says of itself to those who ask it: strategy, budget, children (S20)."""
        return describe_supervisor(self._machine, self._execution, self.context.now())

    # -- what happens

    @on(Ended)
    async def _child_ended(self, notice: Ended) -> None:
        await self._execution.carry_out(self._decide(notice))

    def _child_ended_at_once(self, notice: Ended) -> None:
        """Deal with an end here and now, in the task of whoever ended, while this supervisor waits for mail.

        What has to be waited for is done in its own task, before anything else is handled (R11).
        """
        if not self._execution.carry_out_at_once(self._decide(notice)):
            self.context.deliver(Unfinished())

    @on(Unfinished)
    async def _go_on(self, _message: Unfinished) -> None:
        await self._execution.go_on()

    def _decide(self, notice: Ended) -> Plan:
        child, incarnation, outcome = leaf(notice.path), notice.incarnation, notice.outcome
        cell = self._execution.cells.get(child)
        if cell is not None and cell.incarnation == incarnation:
            if cell.outcome is not None:
                outcome = cell.outcome
            elif not cell.wedged:
                # It runs: the notice is of an incarnation with the same number, of a slot that is gone.
                incarnation = 0
        now, chance = self.context.system.now(), self._execution.chance(child)
        return self._machine.decide(ChildEnded(child, incarnation, outcome), now, chance)

    def _failed_below(self, path: str, outcome: Outcome) -> bool:
        """Count it; whether this supervisor answers it, with everything else, instead of the one above it."""
        correlator, now = self._machine.correlator, self.context.now()
        assert correlator is not None, "listens only where it correlates"
        # While it starts or stops, everybody below is being started or stopped anyway.
        if not self.context.cell.running or self._is_probe(path) or not correlator.failed(path, outcome, now):
            return False
        self.context.deliver(Correlate())
        return True

    def _is_probe(self, path: str) -> bool:
        """Whether who failed is a probe, or stands below one: that is expected, and no news of a fault."""
        above: Actor | None = self
        for name in path.removeprefix(f"{self.context.path}/").split("/"):
            child = above._machine.children.get(name) if isinstance(above, Supervisor) else None
            if child is None or child.on_probation:
                return child is not None
            cell = above._execution.cells.get(name) if isinstance(above, Supervisor) else None
            above = cell.life.actor if cell is not None else None
        return False

    @on(Correlate)
    async def _correlate(self, _note: Correlate) -> None:
        now, chance = self.context.now(), self._execution.chance()
        await self._execution.carry_out(self._machine.decide(Correlated(), now, chance))

    @on(ReportFailure)
    def _report_failure(self, call: ReportFailure) -> None:
        correlator = self._machine.correlator
        try:
            if correlator is None:
                raise NotCorrelating(self.context.path)
            due = correlator.reported(call.component, call.at)
        except CallRefused as refusal:
            token = self._claim()
            if token is not None:
                token.fail(refusal)
            return
        self.context.emit(
            ComponentFailed(
                supervisor=self.context.path, at=call.at, component=call.component, error=call.error
            )
        )
        if due:
            self.context.deliver(Correlate())

    @on(Retry)
    async def _retry(self, retry: Retry) -> None:
        fact = RetryDue(retry.child, retry.serial)
        chance = self._execution.chance(retry.child, retry=True)
        await self._execution.carry_out(self._machine.decide(fact, self.context.now(), chance))

    # -- what is asked

    async def _call(self, call: Call) -> None:
        plan = answer_call(self._machine, call, self.context.now())
        if isinstance(call, StartInstance):
            for step in plan.steps:
                if isinstance(step, Start):
                    self._execution.instances.keep(step.child, call.arguments)
        await self._execution.carry_out(plan, self._claim())

    async def _call_with_spec(self, call: StartChild | Reconfigure, path: str) -> None:
        try:
            if call.spec.group is not None:
                # What is added to a strict supervisor is held to what was said of it.
                above = self._machine.group if isinstance(call, StartChild) else None
                self._check_numbers(call.spec, path, above)
        except ContradictoryTree as contradictions:
            token = self._claim()
            if token is not None:
                token.fail(contradictions)
            return
        await self._call(call)

    def _claim(self) -> ReplyToken | None:
        """Claim the question; a call that was told, not asked, has nobody to answer."""
        return self.context.reply_later() if self.context.cell.question is not None else None

    @on(StartChild)
    async def _start_child(self, call: StartChild) -> None:
        await self._call_with_spec(call, join(self.context.path, call.spec.id))

    @on(StartInstance)
    async def _start_instance(self, call: StartInstance) -> None:
        await self._call(call)

    @on(StartInstances)
    async def _start_instances(self, call: StartInstances) -> Portion | None:
        try:
            return await start_portion(self.context, self._machine, self._execution, call)
        except (CallRefused, ActorGone) as refusal:
            token = self._claim()
            if token is not None:
                token.fail(refusal)
            return None

    @on(TerminateChild)
    async def _terminate_child(self, call: TerminateChild) -> None:
        await self._call(call)

    @on(RestartChild)
    async def _restart_child(self, call: RestartChild) -> None:
        await self._call(call)

    @on(DeleteChild)
    async def _delete_child(self, call: DeleteChild) -> None:
        await self._call(call)

    @on(RestartPath)
    async def _restart_path(self, call: RestartPath) -> None:
        await self._call(call)

    @on(RestartAll)
    async def _restart_all(self, call: RestartAll) -> None:
        await self._call(call)

    @on(Reconfigure)
    async def _reconfigure(self, call: Reconfigure) -> None:
        await self._call_with_spec(call, self.context.path)

    @on(StopSupervisor)
    async def _stop_supervisor(self, call: StopSupervisor) -> None:
        await self._call(call)

    @on(WhichChildren)
    def _which_children(self, _question: WhichChildren) -> tuple[ChildInfo, ...]:
        return tuple(self._describe(child) for child in self._machine.children)

    @on(WhichChild)
    def _which_child(self, question: WhichChild) -> ChildInfo | None:
        child = self._known(question.child)
        return None if child is None else self._describe(child)

    @on(CountChildren)
    def _count_children(self, _question: CountChildren) -> ChildCounts:
        return count(self._machine, self._execution)

    @on(GetSpec)
    def _get_spec(self, question: GetSpec) -> ChildSpec | None:
        child = self._known(question.child)
        return None if child is None else child.spec

    @on(GetSupervision)
    def _get_supervision(self, _question: GetSupervision) -> Supervision:
        return describe_supervisor(self._machine, self._execution, self.context.now())

    def _describe(self, child: Child) -> ChildInfo:
        return describe_child(child, self._machine, self._execution, self.context.now())

    def _known(self, id: str) -> Child | None:  # noqa: A002 - the domain's word
        child = self._machine.children.get(id)
        token = self._claim() if child is None else None
        if token is not None:
            token.fail(NoSuchChild(self.context.path, id))
        return child
