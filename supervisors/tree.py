"""A whole tree: starting it, looking at it, restarting a part of it by path.

A snapshot asks every supervisor for its own part; one that does not answer in
time is shown as busy, and its part is missing rather than the whole.
"""

from __future__ import annotations

import functools

import msgspec

from holdfast.runtime.errors import AskError, NoHandler
from holdfast.runtime.identity import parent
from holdfast.runtime.ref import Ref
from holdfast.runtime.registry import Slot
from holdfast.runtime.system import System
from holdfast.supervisors.child_spec import ChildSpec, Kind
from holdfast.supervisors.errors import CallRefused, InvalidSpec
from holdfast.supervisors.handle import CALL_TIMEOUT, SupervisorHandle
from holdfast.supervisors.messages import (
    ChildInfo,
    GetSupervision,
    RestartAll,
    RestartPath,
    Supervision,
)
from holdfast.supervisors.reports import BudgetLeft
from holdfast.supervisors.supervisor import Supervisor

__all__ = ["NoSuchPath", "TreeNode", "restart_path", "snapshot", "start_tree"]

# A supervisor in the middle of a restart may be busy for seconds; people wait for a picture about as long.
SNAPSHOT_TIMEOUT = 2.0


class NoSuchPath(CallRefused):
    """The system has no running supervisor that knows this path."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path!r} cannot be restarted: {why}; 'holdfast tree' lists the paths")
        self.path = path


class TreeNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One actor of a tree, as plain data."""

    path: str
    kind: str
    state: str
    restart: str | None = None
    incarnation: int = 0
    restarts: int = 0
    uptime: float | None = None
    mailbox: int = 0
    """How many messages wait."""
    wedged: bool = False
    strategy: str | None = None
    intensity: int | None = None
    period: float | None = None
    budget_left: int | None = None
    clears_in: float = 0.0
    """Seconds until the budget has one more restart to give; 0 while it is whole."""
    full_restarts: int = 0
    degraded: bool = False
    """Switched off, or running as a probe and not back yet."""
    probe_in: float | None = None
    """Seconds until one that is switched off is probed."""
    suspended: bool = False
    """Its mail is held back until it is resumed."""
    busy: bool = False
    """The supervisor did not answer in time; its children are not shown."""
    children: tuple[TreeNode, ...] = ()


async def start_tree(system: System, spec: ChildSpec) -> SupervisorHandle:
    """Start a supervisor at the top of the system, under its own id, with everything below.

    Raises what kept it from starting: `ContradictoryTree` for a strict tree, else
    `StartFailed`, whose reason names the child.
    """
    if spec.kind is not Kind.SUPERVISOR:
        raise InvalidSpec(f"tree {spec.id!r}", "the top of a tree is made by supervisor() or dynamic()", spec)
    ref = await system.start(spec.id, functools.partial(Supervisor, spec))
    return SupervisorHandle(ref)


async def restart_path(system: System, path: str, *, timeout: float = CALL_TIMEOUT) -> None:
    """Restart the actor at `path` in an orderly way, with its strategy's effect and no charge.

    The root restarts everything below it: the full restart, where one is declared.
    `NoSuchPath` when there is no such child.
    """
    above = parent(path)
    slot = system.registry.find(above or path)
    if slot is None or slot.cell is None:
        raise NoSuchPath(path, "no supervisor runs above it" if above else "no such supervisor runs")
    request = RestartPath(path.rpartition("/")[2]) if above else RestartAll("restart was asked for")
    try:
        await slot.ref.ask(request, timeout=timeout)
    except NoHandler as error:
        raise NoSuchPath(path, f"{slot.path} is no supervisor") from error


async def snapshot(system: System, root: Ref) -> TreeNode:
    """Return the tree under `root` as it is now, with what is wedged there and has no place any more."""
    supervision = await _ask(root)
    top = _measured(root.slot, system, TreeNode(path=root.path, kind="supervisor", state=root.slot.state))
    return _with_wedged(await _with_children(system, top, supervision), system.wedged)


def _with_wedged(node: TreeNode, wedged: tuple[str, ...]) -> TreeNode:
    """Add the wedged tasks below that have no place in the tree any more: nobody else would show them."""
    below = tuple(path for path in wedged if path.startswith(f"{node.path}/"))
    if not below:
        return node
    children = tuple(_with_wedged(child, below) for child in node.children)
    places = {child.path for child in children}
    lost = (path for path in below if not any(path == at or path.startswith(f"{at}/") for at in places))
    gone = tuple(
        TreeNode(path=path, kind="worker", state="gone", wedged=True) for path in dict.fromkeys(lost)
    )
    return msgspec.structs.replace(node, children=children + gone)


async def _ask(ref: Ref) -> Supervision | None:
    try:
        return await ref.ask(GetSupervision(), timeout=SNAPSHOT_TIMEOUT)
    except AskError:
        return None


async def _with_children(system: System, node: TreeNode, supervision: Supervision | None) -> TreeNode:
    if supervision is None:
        return msgspec.structs.replace(node, busy=True)
    children = [await _child(system, info) for info in supervision.children]
    return msgspec.structs.replace(
        _with_budget(node, supervision.budget),
        strategy="dynamic" if supervision.dynamic else supervision.strategy,
        full_restarts=supervision.full_restarts,
        children=tuple(children),
    )


async def _child(system: System, info: ChildInfo) -> TreeNode:
    node = TreeNode(
        path=info.path,
        kind=info.kind,
        state=info.state,
        restart=info.restart,
        incarnation=info.incarnation,
        restarts=info.restarts,
        wedged=info.wedged,
        degraded=info.degraded,
        probe_in=None if info.probe_in is None else round(info.probe_in, 3),
    )
    if info.own_budget is not None:
        node = _with_budget(node, info.own_budget)
    if info.ref is None:
        return node
    node = _measured(info.ref.slot, system, node)
    if info.kind == "worker":
        return node
    return await _with_children(system, node, await _ask(info.ref))


def _measured(slot: Slot, system: System, node: TreeNode) -> TreeNode:
    uptime = round(system.now() - slot.started_at, 3) if slot.running else None
    return msgspec.structs.replace(
        node,
        incarnation=slot.incarnation,
        uptime=uptime,
        mailbox=slot.mailbox.depth,
        suspended=slot.cell is not None and slot.cell.loop.suspended,
    )


def _with_budget(node: TreeNode, budget: BudgetLeft) -> TreeNode:
    return msgspec.structs.replace(
        node,
        intensity=budget.intensity,
        period=budget.period,
        budget_left=budget.left,
        clears_in=round(budget.clears_in, 3),
    )
