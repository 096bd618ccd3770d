"""What a supervisor tells about its children: the ledger and the cells, put together.

The ledger says what the supervisor knows; only the count of active children
looks at the tasks themselves (R32, R35).
"""

from __future__ import annotations

from holdfast.runtime.identity import join
from holdfast.supervisors.child_spec import Kind
from holdfast.supervisors.children import Child, State
from holdfast.supervisors.execution import Execution
from holdfast.supervisors.machine import SupervisorMachine
from holdfast.supervisors.messages import ChildCounts, ChildInfo, Supervision

__all__ = ["count", "describe_child", "describe_supervisor"]


def describe_child(child: Child, machine: SupervisorMachine, execution: Execution, now: float) -> ChildInfo:
    """Describe one child, as the supervisor knows it at this moment."""
    cell = execution.cells.get(child.id)
    return ChildInfo(
        id=child.id,
        path=join(machine.path, child.id),
        ref=cell.slot.ref if cell is not None and child.running else None,
        state=child.state.value,
        kind=child.spec.kind.value,
        restart=child.spec.restart.value,
        incarnation=child.incarnation,
        restarts=child.restarts,
        wedged=execution.wedged(child.id),
        own_budget=None if child.window is None else child.window.state(now),
        degraded=child.on_probation,
        probe_in=_probe_in(child, now),
    )


def count(machine: SupervisorMachine, execution: Execution) -> ChildCounts:
    """Count the children: by spec for a supervisor, by child that should run for a dynamic one (R32)."""
    children = tuple(machine.children)
    if machine.dynamic:
        children = tuple(child for child in children if child.state is not State.STOPPED)
    supervisors = sum(child.spec.kind is Kind.SUPERVISOR for child in children)
    return ChildCounts(
        specs=1 if machine.dynamic else len(children),
        active=sum(child.running and execution.cells[child.id].running for child in children),
        supervisors=supervisors,
        workers=len(children) - supervisors,
        degraded=sum(child.on_probation for child in children),
        wedged=sum(execution.wedged(child.id) for child in children),
    )


def _probe_in(child: Child, now: float) -> float | None:
    due = child.breaker.probe_at if child.breaker is not None else None
    return None if due is None else max(0.0, due - now)


def describe_supervisor(machine: SupervisorMachine, execution: Execution, now: float) -> Supervision:
    """Describe the supervisor with its children."""
    return Supervision(
        path=machine.path,
        strategy=machine.group.strategy.value,
        dynamic=machine.dynamic,
        budget=machine.recovery.window.state(now),
        restarts=machine.recovery.restarts,
        full_restarts=machine.recovery.full_restarts,
        children=tuple(describe_child(child, machine, execution, now) for child in machine.children),
    )
