"""Many children of a dynamic supervisor in one call: what `start_children` asks for, portion by portion.

OTP has no such call: there each child is a question of its own, at the price of
two turns of the scheduler and a plan.  Here a portion is one question, and a
child costs its own start and its line in the ledger.  A start that comes to
nothing is settled by the machine, like one that `start_child` asks for.

The supervisor stays able to answer: everybody has a turn every few children, and
it hands back the rest of a portion as soon as anything else wants it (R11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.runtime.errors import ActorGone
from holdfast.supervisors.calls import instance_refused
from holdfast.supervisors.child_spec import Pool
from holdfast.supervisors.messages import ChildHandle, Portion, StartInstances
from holdfast.supervisors.plan import Cause, Refuse, Result, Start, Started

if TYPE_CHECKING:
    from holdfast.runtime.context import Context
    from holdfast.supervisors.children import Child
    from holdfast.supervisors.execution import Execution
    from holdfast.supervisors.machine import SupervisorMachine

__all__ = ["start_portion"]

# Children between two turns of the scheduler: less than a millisecond of starts.
CHILDREN_PER_TURN = 32


async def start_portion(
    context: Context, machine: SupervisorMachine, execution: Execution, call: StartInstances
) -> Portion:
    """Start children with these arguments, in order, and return what came of as many as there was time for.

    It ends early, after at least one, where somebody waits: mail for the supervisor, or a
    request that it end; or nobody waits for the answer any more.  A child whose start has to be
    waited for is the last one, so that no more than one such start stands between two calls.
    Raises `ActorGone` for the rest of what an earlier incarnation began.
    """
    if call.incarnation not in {0, context.incarnation}:
        raise ActorGone(context.path, None, "it was restarted, and what it had started is gone")
    results: list[ChildHandle | Exception] = []
    for number, arguments in enumerate(call.arguments, 1):
        refusal = instance_refused(machine, arguments)
        if refusal is not None:
            results.append(refusal)
            continue
        pool = machine.group
        assert isinstance(pool, Pool), "refused otherwise"
        child = machine.add_instance(pool)
        if arguments:
            execution.instances.keep(child.id, arguments)
        result = execution.start_at_once(child)
        at_once = result is not None
        if result is None:
            result = await execution.start_begun(child)
        results.append(_settle(context, machine, execution, child, result))
        if not at_once or (number % CHILDREN_PER_TURN == 0 and await _is_wanted_elsewhere(context)):
            break
    return Portion(tuple(results), context.incarnation)


def _settle(
    context: Context, machine: SupervisorMachine, execution: Execution, child: Child, result: Result
) -> ChildHandle | Exception:
    cell = execution.cells[child.id]
    if isinstance(result, Started):
        machine.started(child, Cause.ADDED, cell.incarnation, cell.slot.started_at)
        return ChildHandle(child.id, cell.slot.ref, execution.info)
    after = machine.settle(Start(child.id, Cause.ADDED), result, context.now())
    execution.follow(step for step in after.steps if not isinstance(step, Refuse))
    refusals = [step.error for step in after.steps if isinstance(step, Refuse)]
    return refusals[0] if refusals else ChildHandle(child.id, None)


async def _is_wanted_elsewhere(context: Context) -> bool:
    """Let everybody have a turn; whether what came meanwhile goes first."""
    cell = context.cell
    await context.system.backend.checkpoint()
    question = cell.question
    return bool(cell.slot.mailbox.depth) or cell.loop.attention or (question is not None and question.done)
