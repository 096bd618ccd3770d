"""What a supervisor decides: R5-R17, R24-R26, R34-R42, and what goes beyond OTP.

Pure.  `decide` takes a fact and returns a plan; `settle` takes what came of one
step and returns what follows from it, which is usually nothing.  The ledger
changes with what happened, not with what was intended: a child is `RUNNING`
when its start came back, `STOPPED` when its stop did.  Time and randomness are
arguments.  Calls from outside are decided in `calls.py`, over the same machine.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.runtime.identity import join
from holdfast.runtime.outcomes import SHUTDOWN, GaveUp, Outcome, describe, in_words
from holdfast.supervisors.child_spec import ChildSpec, Group, OnGiveUp, Pool
from holdfast.supervisors.children import Child, Children, State
from holdfast.supervisors.correlator import Correlator
from holdfast.supervisors.degradation import Degradation
from holdfast.supervisors.errors import AlreadyStarted, ChildStartFailed, FailedToStartChild
from holdfast.supervisors.escalation import outcome_of_giving_up
from holdfast.supervisors.plan import (
    NOTHING,
    BringBack,
    Cause,
    ChildEnded,
    Correlated,
    EndSupervisor,
    Fact,
    Failed,
    FailStart,
    FinishFullRestart,
    Forget,
    Ignored,
    Plan,
    Prepare,
    Refuse,
    Result,
    Retire,
    RetryDue,
    Start,
    Started,
    Step,
    Stop,
    Stopped,
    StoppedTogether,
    StopTogether,
)
from holdfast.supervisors.recovery import Recovery, ids
from holdfast.supervisors.reports import (
    AutoShutdownDecided,
    ChildGivenUp,
    ChildNotRestarted,
    NoticeIgnored,
    Report,
    StartAttemptFailed,
    StopWentWrong,
    SupervisorGaveUp,
)
from holdfast.supervisors.strategies import (
    is_restarted,
    is_silent_stop,
    rule_in_words,
    shuts_down_with,
    to_stop,
)

__all__ = ["SupervisorMachine"]


class SupervisorMachine:
    """The state of one incarnation of a supervisor, and every decision over it."""

    def __init__(self, spec: ChildSpec, path: str, *, root: bool = False) -> None:
        assert spec.group is not None, "a supervisor has a group or a pool"
        self.spec = spec
        self.path = path
        self.root = root
        """Whether nobody stands above that could restart this supervisor."""
        self.group: Group | Pool = spec.group
        self.children = Children()
        for child in self.group.children:
            self.children.add(child.id, child)
        self.recovery = Recovery(path, self.group, self.children)
        self.correlator: Correlator | None = None
        if isinstance(self.group, Group) and self.group.correlate is not None:
            self.correlator = Correlator(self.group.correlate, path, self.group, self.recovery)
        self.degradation = Degradation(path, self.children, self.recovery.next_serial)
        self._instances = 0

    @property
    def dynamic(self) -> bool:
        """Whether the children are of one kind, named by refs."""
        return isinstance(self.group, Pool)

    def add_instance(self, pool: Pool, spec: ChildSpec | None = None) -> Child:
        """Put one more child of a dynamic supervisor into the ledger, under a name that none had before."""
        self._instances += 1
        return self.children.add(f"{pool.template.id}-{self._instances}", spec or pool.template, added=True)

    # -- the life of the supervisor

    def start(self) -> Plan:
        """Start everybody, one after the other (R1)."""
        return Plan(tuple(Start(child.id, Cause.BOOT) for child in self.children))

    def stop(self, outcome: Outcome, *, final: bool) -> Plan:
        """Stop everybody: the supervisor was asked to stop, for good when `final`, or has crashed."""
        return Plan(self._stop_everybody(final=final or self._is_last(outcome)))

    def _is_last(self, outcome: Outcome) -> bool:
        """Whether no incarnation of this supervisor follows one that ended so: then no mail needs keeping."""
        return self.root or not is_restarted(self.spec.restart, outcome)

    def _stop_everybody(self, *, final: bool) -> tuple[Step, ...]:
        """Stop everybody in reverse start order; the children of a dynamic supervisor all at once (R19)."""
        running = to_stop(tuple(self.children))
        steps: list[Step] = []
        if self.dynamic:
            steps += [StopTogether(ids(running), final=True)] if running else []
        else:
            steps += [Stop(child.id, final=final or child.passing) for child in running]
        # Whom a restart of this supervisor does not bring back has no successor to keep a slot for.
        steps += [Forget(child.id) for child in self.children if child.passing]
        return tuple(steps)

    def _end_with(self, outcome: Outcome) -> tuple[Step, ...]:
        return (*self._stop_everybody(final=self._is_last(outcome)), EndSupervisor(outcome))

    # -- facts

    def decide(self, fact: Fact, now: float, chance: float = 0.0) -> Plan:
        """Return what follows from a fact; `chance` in [0, 1) is the draw for the jitter."""
        if self.correlator is not None and self.correlator.due:
            instead = self.correlator.pre_empt(now)
            if instead is not None:
                return instead
        if isinstance(fact, Correlated):
            return NOTHING  # a fact that came before it has brought the full restart about
        if isinstance(fact, RetryDue):
            return self._retry_due(fact, now, chance)
        return self._ended(fact, now, chance)

    def _ended(self, fact: ChildEnded, now: float, chance: float) -> Plan:
        child = self.children.get(fact.child)
        if child is None or child.state is not State.RUNNING or child.incarnation != fact.incarnation:
            # Dead before a group restart or a call stopped it: absorbed (R10, R34).  Or a stranger (R12).
            report = NoticeIgnored(
                supervisor=self.path,
                at=now,
                child=fact.child,
                incarnation=fact.incarnation,
                outcome=str(fact.outcome),
            )
            return Plan(reports=(report,))
        child.state = State.STOPPED
        child.chain = fact.outcome.chain if isinstance(fact.outcome, GaveUp) else ()
        if not is_restarted(child.spec.restart, fact.outcome):
            return self._leave(child, str(fact.outcome), now)
        why = in_words(fact.outcome)
        if child.on_probation:
            return self.degradation.switch_off(child, now, chance, why)
        if self.recovery.delays:
            return self.recovery.wait(child, now, chance, why)
        return self._attempt(child, now, chance, why)

    def _leave(self, child: Child, ended: str, now: float) -> Plan:
        """Leave it in peace; the siblings are not touched, whatever the strategy (R6)."""
        kept = not (child.temporary or self.dynamic)
        report = ChildNotRestarted(
            supervisor=self.path,
            at=now,
            child=child.id,
            outcome=ended,
            restart=child.spec.restart.value,
            kept=kept,
        )
        if not kept:
            self.children.remove(child.id)
        probes = self.degradation.forget(child)
        left = Plan((*probes, Retire(child.id) if kept else Forget(child.id)), (report,))
        return _joined(left, self._after_an_end(child, now))

    def _after_an_end(self, child: Child, now: float) -> Plan:
        """It ended by itself and is not coming back: the only end that can end the supervisor (R24)."""
        if not shuts_down_with(self.group.auto_shutdown, child, self.children):
            return NOTHING
        report = AutoShutdownDecided(
            supervisor=self.path,
            at=now,
            child=child.id,
            rule=self.group.auto_shutdown.value,
            stops=ids(to_stop(tuple(self.children))),
        )
        return Plan(self._end_with(SHUTDOWN), (report,))

    def _retry_due(self, fact: RetryDue, now: float, chance: float) -> Plan:
        child = self.children.get(fact.child)
        if child is not None and self.degradation.is_due(child, fact.serial):
            return self.degradation.due(child, now)
        if child is None or child.state is not State.RESTARTING or child.retry_serial != fact.serial:
            return NOTHING  # terminated, or up again meanwhile: void (R14, R36, R39)
        child.retry_serial = None
        if child.temporary:
            return self._give_up_waiting(child, now)
        return self._attempt(child, now, chance, "is still down")

    def _give_up_waiting(self, child: Child, now: float) -> Plan:
        """It was made temporary while it waited: it is forgotten, free of charge, and its group goes on."""
        others = self.recovery.go_on_without(child, waited=True)
        child.state = State.STOPPED
        left = self._leave(child, "while it waited for a restart", now)
        ends = any(isinstance(step, EndSupervisor) for step in left.steps)
        return left if ends else Plan((*left.steps, *others), left.reports)

    def _attempt(self, child: Child, now: float, chance: float, why: str) -> Plan:
        charged = self.recovery.charge(child, now)
        if charged is not None:
            return self.recovery.attempt(child, now, why, charged)
        if child.spec.on_give_up is OnGiveUp.ESCALATE or self.recovery.for_all:
            return self._give_up(child, now, why)
        return self._give_up_on(child, now, chance, why)

    # -- giving up

    def _give_up(self, child: Child, now: float, why: str) -> Plan:
        """The budget is spent: the trigger is dropped, all others are stopped, the supervisor ends (R16)."""
        self.children.remove(child.id)
        report = SupervisorGaveUp(
            supervisor=self.path,
            at=now,
            child=child.id,
            why=why,
            intensity=self.group.budget.intensity,
            period=self.group.budget.period,
            stops=ids(to_stop(tuple(self.children))),
        )
        trigger = join(self.path, child.id)
        outcome = outcome_of_giving_up(self.group.give_up_as, self.path, trigger, child.chain)
        dropped = (Forget(child.id),) if child.passing else ()
        return Plan((*dropped, *self._end_with(outcome)), (report,))

    def _give_up_on(self, child: Child, now: float, chance: float, why: str) -> Plan:
        """Its own budget is spent: the child stays off, and whoever waited for it goes on without it."""
        waited = child.state is State.RESTARTING
        cancelled = self.recovery.cancel(child)
        degrades = child.spec.on_give_up is OnGiveUp.DEGRADE
        off = (
            self.degradation.switch_off(child, now, chance, why)
            if degrades
            else self._stop_for_good(child, now, why)
        )
        others = self.recovery.go_on_without(child, waited=waited)
        plan = Plan((*cancelled, *off.steps, *others), off.reports)
        # Who is switched off is to come back: for an automatic shutdown it is not gone.
        return plan if degrades else _joined(plan, self._after_an_end(child, now))

    def _stop_for_good(self, child: Child, now: float, why: str) -> Plan:
        assert child.window is not None, "a child that does not escalate has a budget of its own"
        report = ChildGivenUp(
            supervisor=self.path,
            at=now,
            child=child.id,
            why=why,
            intensity=child.window.budget.intensity,
            period=child.window.budget.period,
        )
        # A dynamic supervisor has no stopped children: nobody could start them again.
        return Plan((Forget(child.id) if self.dynamic else Retire(child.id),), (report,))

    # -- what came of a step

    def settle(self, step: Step, result: Result, now: float, chance: float = 0.0) -> Plan:
        """Take note of what came of a step; a plan with `replaces` takes the place of the rest."""
        handler = _SETTLE.get(type(step))
        return NOTHING if handler is None else handler(self, step, result, now, chance)

    def _settle_start(self, step: Start, result: Result, now: float, chance: float) -> Plan:
        child = self.children[step.child]
        if isinstance(result, Started):
            return self.started(child, step.cause, result.incarnation, now)
        if isinstance(result, Ignored):
            return self._ignored(child)
        assert isinstance(result, Failed)
        return self._start_failed(child, step.cause, result.error, now, chance)

    def started(self, child: Child, cause: Cause, incarnation: int, now: float) -> Plan:
        """Take note of a start that came back well."""
        child.state, child.incarnation = State.RUNNING, incarnation
        child.restarts += cause is Cause.RESTART or cause is Cause.PROBE
        if self.recovery.delays:
            self.recovery.up(child, cause, now)
        if child.temporary and child.added and not self.dynamic:
            child.spec = child.spec.without_factory()  # what it was started with is not kept (R33)
        told = self.degradation.started(child, now)
        return Plan(told) if told else NOTHING

    def _ignored(self, child: Child) -> Plan:
        """It said that there is nothing to run: no error, no retry, no automatic shutdown (R3, R14b, R42)."""
        child.state = State.STOPPED
        if child.temporary or self.dynamic:
            self.children.remove(child.id)
            return Plan((Forget(child.id),))
        return Plan((*self.degradation.forget(child), Retire(child.id)))

    def _start_failed(
        self, child: Child, cause: Cause, error: BaseException, now: float, chance: float
    ) -> Plan:
        # A start may say that what it was to start runs already, elsewhere: the caller is told where.
        told = error if isinstance(error, AlreadyStarted) else ChildStartFailed(self.path, child.id, error)
        refusal = Refuse(told)
        if cause is Cause.ADDED:
            self.children.remove(child.id)
            return Plan((Forget(child.id), refusal), replaces=True)
        if child.on_probation or (cause is Cause.BOOT and child.breaker is not None):
            # Switched off again, or from the start: whoever else is being started goes on.
            off = self.degradation.switch_off(child, now, chance, f"could not be started ({describe(error)})")
            revived = cause is Cause.REVIVED
            return Plan((*off.steps, refusal) if revived else off.steps, off.reports, replaces=revived)
        if cause is Cause.REVIVED:
            return Plan((Retire(child.id), refusal), replaces=True)
        if cause is not Cause.BOOT:
            return self._try_again(child, cause, error, now, chance)
        failure = FailStart(FailedToStartChild(self.path, child.id, error))
        report = self._attempt_failed(child, cause, error, now, "the supervisor's start fails")
        return Plan((*self._stop_everybody(final=False), failure), (report,), replaces=True)

    def _try_again(self, child: Child, cause: Cause, error: BaseException, now: float, chance: float) -> Plan:
        child.chain = ()
        report = self._attempt_failed(child, cause, error, now, "it will be tried again")
        retry = self.recovery.wait(child, now, chance, "could not be started", up=False)
        refusal = Refuse(ChildStartFailed(self.path, child.id, error))
        refusals = (refusal,) if cause is Cause.OPERATOR else ()
        return Plan((*refusals, *retry.steps), (report, *retry.reports), replaces=True)

    def _attempt_failed(
        self, child: Child, cause: Cause, error: BaseException, now: float, done: str
    ) -> StartAttemptFailed:
        return StartAttemptFailed(
            supervisor=self.path, at=now, child=child.id, cause=cause.value, reason=describe(error), done=done
        )

    def _settle_prepare(self, step: Prepare, result: Result, now: float, chance: float) -> Plan:
        if not isinstance(result, Failed):
            return NOTHING
        # Nothing was started yet; the attempt counts as one whose first start failed.
        return self._try_again(self.children[step.child], step.cause, result.error, now, chance)

    def _settle_stop(self, step: Stop, result: Result, now: float, _chance: float) -> Plan:
        assert isinstance(result, Stopped)
        reports = self._stopped(self.children[step.child], result.outcome, now)
        return Plan(reports=reports) if reports else NOTHING

    def _settle_stop_together(self, step: StopTogether, result: Result, now: float, _chance: float) -> Plan:
        assert isinstance(result, StoppedTogether)
        stopped = (self._stopped(self.children[name], result.outcomes[name], now) for name in step.children)
        return Plan(reports=tuple(report for reports in stopped for report in reports))

    def _stopped(self, child: Child, outcome: Outcome | None, now: float) -> tuple[Report, ...]:
        child.state = State.STOPPED
        if is_silent_stop(child.spec, outcome):
            return ()
        report = StopWentWrong(
            supervisor=self.path,
            at=now,
            child=child.id,
            outcome=str(outcome),
            rule=rule_in_words(child.spec.shutdown),
            wedged=outcome is None,
        )
        return (report,)

    def _settle_forget(self, step: Forget, _result: Result, _now: float, _chance: float) -> Plan:
        if step.child in self.children:
            self.children.remove(step.child)
        return NOTHING

    def _settle_bring_back(self, step: BringBack, _result: Result, now: float, chance: float) -> Plan:
        child = self.children[step.child]
        if self.recovery.delays:
            return self.recovery.wait(child, now, chance, step.why)
        return self._attempt(child, now, chance, step.why)

    def _settle_full_restart(self, _step: Step, _result: Result, now: float, _chance: float) -> Plan:
        return Plan(reports=self.recovery.finish_full_restart(now))


_SETTLE: dict[type[object], Callable[..., Plan]] = {
    Start: SupervisorMachine._settle_start,
    Stop: SupervisorMachine._settle_stop,
    StopTogether: SupervisorMachine._settle_stop_together,
    Forget: SupervisorMachine._settle_forget,
    Prepare: SupervisorMachine._settle_prepare,
    BringBack: SupervisorMachine._settle_bring_back,
    FinishFullRestart: SupervisorMachine._settle_full_restart,
}


def _joined(first: Plan, second: Plan) -> Plan:
    return Plan((*first.steps, *second.steps), (*first.reports, *second.reports))
