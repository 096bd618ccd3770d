"""Changing a supervisor while it runs: OTP's code change (3.3 cases 77-87, D11).

Pure decisions over the machine.  What is declared anew holds from now on: flags for the
next end, specs for the next start or stop of each child.  Nobody is stopped, started or
restarted by it, and a change that cannot be made changes nothing at all.
"""

from __future__ import annotations

from holdfast.supervisors.child_spec import Group, Pool
from holdfast.supervisors.errors import InvalidSpec, SpecError
from holdfast.supervisors.machine import SupervisorMachine
from holdfast.supervisors.messages import Reconfigure
from holdfast.supervisors.plan import Plan, Refuse, Reply

__all__ = ["reconfigure"]


def reconfigure(machine: SupervisorMachine, call: Reconfigure, _now: float) -> Plan:
    """Take over the flags and the children of a new declaration of this supervisor."""
    try:
        group = _checked(machine, call)
    except SpecError as error:
        return Plan((Refuse(error),))
    machine.group = group
    machine.recovery.adopt(group)
    if isinstance(group, Pool):
        _adopt_template(machine, group)
    else:
        _adopt_children(machine, group)
    return Plan((Reply(),))


def _checked(machine: SupervisorMachine, call: Reconfigure) -> Group | Pool:
    owner, group = f"reconfigure of {machine.path}", call.spec.group
    if group is None or isinstance(group, Pool) is not machine.dynamic:
        wanted = "a spec made by dynamic()" if machine.dynamic else "a spec made by supervisor()"
        raise InvalidSpec(owner, wanted, call.spec)
    if call.spec.id != machine.spec.id:
        raise InvalidSpec(owner, f"a new declaration of {machine.spec.id!r}", call.spec.id)
    for option in ("correlate", "full_restart"):
        # What watches over the whole tree below is set up with the incarnation.
        if getattr(group, option, None) != getattr(machine.group, option, None):
            raise InvalidSpec(owner, f"{option} stays as it is while the supervisor runs", call.spec)
    for new in group.children:
        known = machine.children.get(new.id)
        if known is not None and known.spec.kind is not new.kind:
            # The running incarnation is of the other kind, and the calls of its handle would not fit.
            raise InvalidSpec(owner, f"child {new.id!r} stays a {known.spec.kind.value}", new.kind.value)
    return group


def _adopt_children(machine: SupervisorMachine, group: Group) -> None:
    """New children are known and stopped, known ones have their new spec, others stay as they are."""
    for spec in group.children:
        known = machine.children.get(spec.id)
        if known is None:
            machine.children.add(spec.id, spec)
        else:
            known.adopt(spec)
            known.added = False
    declared = [spec.id for spec in group.children]
    machine.children.arrange(declared)


def _adopt_template(machine: SupervisorMachine, pool: Pool) -> None:
    """The children that run are restarted and stopped as the new template says."""
    for child in machine.children:
        if not child.temporary:  # what a temporary one was started with is not kept (R33): it stays one
            child.adopt(pool.template)
