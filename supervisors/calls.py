"""What a supervisor does when it is asked: R28-R31, R34-R45, and the orderly restart.

Pure decisions over the machine.  A call never charges the budget (R17) and,
except for the orderly restart, never concerns a sibling (R29, R30).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from holdfast.runtime.outcomes import SHUTDOWN
from holdfast.supervisors.child_spec import ChildSpec, Pool, check_significance
from holdfast.supervisors.children import Child, State
from holdfast.supervisors.dependencies import check_dependencies, order_with
from holdfast.supervisors.errors import (
    AlreadyPresent,
    CallRefused,
    ChildNotRestartable,
    ChildRestarting,
    ChildRunning,
    ChildSwitchedOff,
    InvalidSpec,
    NoSuchChild,
    NotForDynamic,
    SpecError,
    TooManyChildren,
)
from holdfast.supervisors.machine import SupervisorMachine
from holdfast.supervisors.messages import (
    Call,
    DeleteChild,
    Reconfigure,
    RestartAll,
    RestartChild,
    RestartPath,
    StartChild,
    StartInstance,
    StopSupervisor,
    TerminateChild,
)
from holdfast.supervisors.plan import (
    Cause,
    EndSupervisor,
    Forget,
    Plan,
    Refuse,
    RefuseStarted,
    Reply,
    ReplyStarted,
    Retire,
    Start,
    Step,
    Stop,
)
from holdfast.supervisors.reconfiguration import reconfigure
from holdfast.supervisors.reports import OrderlyRestart
from holdfast.supervisors.strategies import to_start, to_stop

__all__ = ["answer_call", "instance_refused"]


def answer_call(machine: SupervisorMachine, call: Call, now: float) -> Plan:
    """Return what to do about a call; every plan ends in a reply or a refusal."""
    return _ANSWERS[type(call)](machine, call, now)


def _start_child(machine: SupervisorMachine, call: StartChild, _now: float) -> Plan:
    if machine.dynamic:
        return _refuse(NotForDynamic(machine.path, "start_child with a spec"))
    # The spec is checked before the id is looked up; with a known id it has no further effect (R43).
    try:
        check_significance(call.spec, machine.group.auto_shutdown)
        check_dependencies(call.spec, machine.children)
    except SpecError as error:
        return _refuse(error)
    known = machine.children.get(call.spec.id)
    if known is not None:
        if known.running:
            return Plan((RefuseStarted(known.id),))
        return _refuse(AlreadyPresent(machine.path, known.id))
    try:
        order = order_with(call.spec, [child.spec for child in machine.children])
    except SpecError as error:
        return _refuse(error)
    child = machine.children.add(call.spec.id, call.spec, added=True)
    machine.children.arrange(order)
    return Plan((Start(child.id, Cause.ADDED), ReplyStarted(child.id)))


def _start_instance(machine: SupervisorMachine, call: StartInstance, _now: float) -> Plan:
    refusal = instance_refused(machine, call.arguments)
    if refusal is not None:
        return _refuse(refusal)
    pool = machine.group
    assert isinstance(pool, Pool), "refused otherwise"
    try:
        child = machine.add_instance(pool, _instance_spec(pool.template, call))
    except SpecError as error:
        return _refuse(error)
    return Plan((Start(child.id, Cause.ADDED), ReplyStarted(child.id)))


def instance_refused(machine: SupervisorMachine, arguments: tuple[object, ...]) -> Exception | None:
    """Return why one more child with these arguments is not even tried; None when it is."""
    pool = machine.group
    if not isinstance(pool, Pool):
        return NotForDynamic(machine.path, "start_child with arguments")
    if arguments and pool.template.group is not None:
        owner = f"start_child of {machine.path}"
        return InvalidSpec(owner, "a template that is a supervisor takes no arguments", arguments)
    if pool.max_children is not None and len(machine.children) >= pool.max_children:
        return TooManyChildren(machine.path, pool.max_children)
    return None


def _instance_spec(template: ChildSpec, call: StartInstance) -> ChildSpec:
    """Return the template, with what the call puts in its place (T2)."""
    if call.restart is None and call.shutdown is None:
        return template
    return attrs.evolve(
        template,
        restart=template.restart if call.restart is None else call.restart,
        shutdown=template.shutdown if call.shutdown is None else call.shutdown,
    )


def _terminate_child(machine: SupervisorMachine, call: TerminateChild, _now: float) -> Plan:
    child = machine.children.get(call.child)
    if child is None:
        return _refuse(NoSuchChild(machine.path, call.child))
    steps: list[Step] = []
    if child.running:
        steps.append(Stop(child.id, final=True))
    elif child.state is State.RESTARTING:
        # This ends the recovery of its whole group: the members that wait stay stopped (R36).
        machine.recovery.abandon_full_restart()
        steps += machine.recovery.cancel(child)
    steps += machine.degradation.forget(child)
    forgotten = child.temporary or machine.dynamic
    steps.append(Forget(child.id) if forgotten else Retire(child.id))
    return Plan((*steps, Reply()))


def _restart_child(machine: SupervisorMachine, call: RestartChild, _now: float) -> Plan:
    refusal = _unless_stopped(machine, call.child, "restart_child")
    if refusal is not None:
        return _refuse(refusal)
    return Plan((Start(call.child, Cause.REVIVED), ReplyStarted(call.child)))


def _delete_child(machine: SupervisorMachine, call: DeleteChild, _now: float) -> Plan:
    refusal = _unless_stopped(machine, call.child, "delete_child")
    if refusal is not None:
        return _refuse(refusal)
    return Plan((Forget(call.child), Reply()))


def _unless_stopped(machine: SupervisorMachine, id: str, call: str) -> CallRefused | None:  # noqa: A002
    if machine.dynamic:
        return NotForDynamic(machine.path, call)
    child = machine.children.get(id)
    if child is None:
        return NoSuchChild(machine.path, id)
    if child.running:
        return ChildRunning(machine.path, id)
    if child.state is State.RESTARTING:
        return ChildRestarting(machine.path, id)
    if child.state is State.DEGRADED and call == "delete_child":
        # What the supervisor is going to start by itself is not taken away under it (as R31).
        return ChildSwitchedOff(machine.path, id)
    return None


def _restart_path(machine: SupervisorMachine, call: RestartPath, now: float) -> Plan:
    child = machine.children.get(call.child)
    if child is None:
        return _refuse(NoSuchChild(machine.path, call.child))
    if child.temporary:
        return _refuse(ChildNotRestartable(machine.path, child.id))
    if child.state is State.DEGRADED:
        # Nobody was stopped with it, so nobody is restarted with it: a probe by hand.
        return Plan((Start(child.id, Cause.REVIVED), Reply()))
    group = machine.recovery.group_of(child)
    return _orderly(machine, child, group, f"restart of {child.id} was asked for", now, whole=False)


def _restart_all(machine: SupervisorMachine, call: RestartAll, now: float) -> Plan:
    group = tuple(machine.children)
    first = next((child for child in to_start(group)), None)
    if first is None:
        return Plan((Reply(),))
    return _orderly(machine, first, group, call.why, now, whole=True)


def _orderly(
    machine: SupervisorMachine,
    trigger: Child,
    group: tuple[Child, ...],
    why: str,
    now: float,
    *,
    whole: bool,
) -> Plan:
    report = OrderlyRestart(
        supervisor=machine.path,
        at=now,
        child=None if whole else trigger.id,
        strategy=machine.group.strategy.value,
        stops=tuple(child.id for child in to_stop(group)),
        starts=tuple(child.id for child in to_start(group, probing=True)),
    )
    announced = machine.recovery.announce_full_restart(why, now, asked=whole)
    steps = machine.recovery.restart_group(trigger, group, Cause.OPERATOR, now)
    return Plan((*steps, Reply()), (*announced, report))


def _stop(machine: SupervisorMachine, _call: StopSupervisor, _now: float) -> Plan:
    stops = machine.stop(SHUTDOWN, final=False)
    return Plan((*stops.steps, Reply(), EndSupervisor(SHUTDOWN)))


def _refuse(error: Exception) -> Plan:
    return Plan((Refuse(error),))


_ANSWERS: dict[type[object], Callable[..., Plan]] = {
    StartChild: _start_child,
    StartInstance: _start_instance,
    TerminateChild: _terminate_child,
    RestartChild: _restart_child,
    DeleteChild: _delete_child,
    RestartPath: _restart_path,
    RestartAll: _restart_all,
    Reconfigure: reconfigure,
    StopSupervisor: _stop,
}
