"""What a supervisor can be asked from outside, and what it answers.

These are the calls of R28-R33 as requests; `SupervisorHandle` and
`DynamicHandle` (`handle.py`) are the convenient way to send them.  What cannot
be done is raised at the caller as one of the errors of `errors.py`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from holdfast.runtime.messages import Message, Request
from holdfast.runtime.ref import Ref
from holdfast.supervisors.child_spec import ChildSpec, Restart, ShutdownRule
from holdfast.supervisors.errors import InvalidSpec
from holdfast.supervisors.reports import BudgetLeft

__all__ = [
    "Call",
    "ChildCounts",
    "ChildHandle",
    "ChildInfo",
    "Correlate",
    "CountChildren",
    "DeleteChild",
    "DependencyBack",
    "DependencyDegraded",
    "GetSpec",
    "GetSupervision",
    "Portion",
    "Reconfigure",
    "ReportFailure",
    "RestartAll",
    "RestartChild",
    "RestartPath",
    "Retry",
    "StartChild",
    "StartInstance",
    "StartInstances",
    "StopSupervisor",
    "Supervision",
    "TerminateChild",
    "Unfinished",
    "WhichChild",
    "WhichChildren",
]


@attrs.frozen
class ChildHandle:
    """A child that a call started; `ref` is None when it said that there is nothing to run."""

    id: str
    ref: Ref | None
    info: object = None
    """What the child's start hook passed out as `Info(...)`."""


@attrs.frozen
class ChildInfo:
    """One child as its supervisor sees it."""

    id: str
    path: str
    ref: Ref | None
    """None when the child does not run."""
    state: Literal["running", "stopped", "restarting", "degraded"]
    kind: Literal["worker", "supervisor"]
    restart: Literal["permanent", "transient", "temporary"]
    incarnation: int
    restarts: int
    wedged: bool = False
    """Whether a task of an earlier incarnation went on after it was killed."""
    own_budget: BudgetLeft | None = None
    """What is left of the child's own budget, for one that has its own."""
    degraded: bool = False
    """Whether it was switched off and is not back yet; it runs then only as a probe."""
    probe_in: float | None = None
    """Seconds until a child that is switched off is probed."""


@attrs.frozen
class ChildCounts:
    """How many children there are (R32)."""

    specs: int
    active: int
    """Those whose task runs at this moment."""
    supervisors: int
    workers: int
    degraded: int = 0
    """Those that are switched off, or back on probation."""
    wedged: int = 0
    """Those with a task that went on after it was killed, be a successor there or not."""


@attrs.frozen
class Supervision:
    """What a supervisor is and how it fares, for people and metrics."""

    path: str
    strategy: str
    dynamic: bool
    budget: BudgetLeft
    restarts: int
    full_restarts: int
    children: tuple[ChildInfo, ...]

    @property
    def budget_left(self) -> int:
        """How many attempts may still be made now."""
        return self.budget.left


class StartChild(Request[ChildHandle], frozen=True):
    """Add a child at the end of the start order and start it (R28)."""

    spec: ChildSpec

    def __post_init__(self) -> None:
        _check_spec("start_child", self.spec)


class StartInstance(Request[ChildHandle], frozen=True):
    """Start one more child of a dynamic supervisor; the arguments go to the template's factory."""

    arguments: tuple[object, ...] = ()
    restart: Restart | None = None
    """In place of the template's, for this child alone."""
    shutdown: ShutdownRule | None = None


@attrs.frozen
class Portion:
    """What came of the first children of a `StartInstances`; the others are to be asked for again."""

    results: tuple[ChildHandle | Exception, ...]
    incarnation: int
    """Of the supervisor: what another one started is gone."""


class StartInstances(Request[Portion], frozen=True):
    """Start children of a dynamic supervisor, one for each tuple of arguments (`start_children`)."""

    arguments: tuple[tuple[object, ...], ...]
    incarnation: int = 0
    """Which incarnation of the supervisor started the children before these; 0 where there are none."""


class TerminateChild(Request[None], frozen=True):
    """Stop a child and keep its spec; a temporary or dynamic child is forgotten (R29)."""

    child: str

    def __post_init__(self) -> None:
        _check_id("terminate_child", self.child)


class RestartChild(Request[ChildHandle], frozen=True):
    """Start a stopped child again, just that one (R30)."""

    child: str

    def __post_init__(self) -> None:
        _check_id("restart_child", self.child)


class DeleteChild(Request[None], frozen=True):
    """Forget a stopped child (R31)."""

    child: str

    def __post_init__(self) -> None:
        _check_id("delete_child", self.child)


class RestartPath(Request[None], frozen=True):
    """Restart a child in an orderly way, with the strategy's effect on its group and no charge."""

    child: str

    def __post_init__(self) -> None:
        _check_id("restart", self.child)


class RestartAll(Request[None], frozen=True):
    """Restart all children in an orderly way and without charge; where it is declared, as a full restart."""

    why: str = "asked for"


class StopSupervisor(Request[None], frozen=True):
    """Stop all children in reverse order and end; the answer comes just before the end."""


class Reconfigure(Request[None], frozen=True):
    """Take over the flags and children of a new declaration; nobody is stopped or started by it."""

    spec: ChildSpec

    def __post_init__(self) -> None:
        _check_spec("reconfigure", self.spec)


class WhichChildren(Request[tuple[ChildInfo, ...]], frozen=True):
    """List the children in start order (OTP lists newest first)."""


class WhichChild(Request[ChildInfo], frozen=True):
    """Describe one child."""

    child: str

    def __post_init__(self) -> None:
        _check_id("which_child", self.child)


class CountChildren(Request[ChildCounts], frozen=True):
    """Count the children."""


class GetSpec(Request[ChildSpec], frozen=True):
    """Return a child's spec; for a dynamic child its template."""

    child: str

    def __post_init__(self) -> None:
        _check_id("get_spec", self.child)


class GetSupervision(Request[Supervision], frozen=True):
    """Describe the supervisor itself with its children."""


class ReportFailure(Request[None], frozen=True):
    """A component has failed in a way that no actor of it has noticed: count that (A9)."""

    component: str
    error: str
    at: float
    """Monotonic seconds: when it was said, for the supervisor may be busy."""

    def __post_init__(self) -> None:
        _check_id("report_failure", self.component)


class Correlate(Message, frozen=True):
    """A supervisor's note to itself: so many failures below ask for the full restart."""


class Retry(Message, frozen=True):
    """A supervisor's note to itself: a child's start is to be tried again."""

    child: str
    serial: int | None = None


class DependencyDegraded(Message, frozen=True):
    """A sibling that this actor declared to depend on was switched off (`on_give_up=DEGRADE`).

    Told to those that run at that moment, and to those that start while it is off, if they have a
    handler for it.  Until `DependencyBack` asking it fails at once with `ActorDegraded`, except
    while it is being probed.
    """

    path: str
    why: str
    probe_in: float | None = None
    """Seconds until it is tried again; None while it is being tried."""


class DependencyBack(Message, frozen=True):
    """A sibling that had been switched off has stayed up for its stable period."""

    path: str


class Unfinished(Message, frozen=True):
    """A supervisor's note to itself: a plan that was begun in another task has steps to wait for."""


Call: TypeAlias = (
    StartChild
    | StartInstance
    | TerminateChild
    | RestartChild
    | DeleteChild
    | RestartPath
    | RestartAll
    | Reconfigure
    | StopSupervisor
)


# Refused where the call is made: a wrong argument is the caller's mistake, and no crash of a supervisor.


def _check_id(call: str, id: object) -> None:  # noqa: A002 - the domain's word
    if not isinstance(id, str):
        raise InvalidSpec(call, "it takes a name", id)


def _check_spec(call: str, spec: object) -> None:
    if not isinstance(spec, ChildSpec):
        raise InvalidSpec(call, "it takes a spec made by worker(), supervisor() or dynamic()", spec)
