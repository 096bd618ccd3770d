"""The words in which a tree is written: `worker`, `supervisor`, `dynamic`, `template`.

They make the specs of `child_spec.py` with the defaults of each kind, so that a
tree reads as a picture of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from holdfast.runtime.backoff import Backoff
from holdfast.runtime.behavior import Actor
from holdfast.runtime.liveness import LivenessSpec
from holdfast.supervisors.child_spec import (
    BUDGET,
    FOREVER,
    START_TIMEOUT,
    WORKER_ALLOWANCE,
    AutoShutdown,
    ChildSpec,
    Group,
    OnGiveUp,
    Pool,
    Restart,
    ShutdownRule,
    Strategy,
)
from holdfast.supervisors.contradictions import find_contradictions
from holdfast.supervisors.correlation import Correlation, as_correlation
from holdfast.supervisors.correlator import check_owners
from holdfast.supervisors.errors import ContradictoryTree
from holdfast.supervisors.escalation import FullRestart, GiveUpAs
from holdfast.supervisors.intensity import Budget
from holdfast.supervisors.readiness import Readiness

__all__ = ["dynamic", "supervisor", "template", "worker"]


def worker(
    id: str,  # noqa: A002 - the domain's word
    factory: Callable[[], Actor],
    *,
    restart: Restart = Restart.PERMANENT,
    shutdown: ShutdownRule = WORKER_ALLOWANCE,
    significant: bool = False,
    depends_on: Sequence[str] = (),
    start_timeout: float = START_TIMEOUT,
    ready: Readiness | None = None,
    on_give_up: OnGiveUp = OnGiveUp.ESCALATE,
    budget: Budget | None = None,
    probing: Backoff | None = None,
    exclusive: Sequence[str] = (),
    liveness: LivenessSpec | None = None,
) -> ChildSpec:
    """Declare an actor that does the work; `factory` makes it anew for each incarnation."""
    return ChildSpec(
        id=id,
        factory=factory,
        restart=restart,
        shutdown=shutdown,
        significant=significant,
        depends_on=depends_on,
        start_timeout=start_timeout,
        ready=ready,
        on_give_up=on_give_up,
        budget=budget,
        probing=probing,
        exclusive=exclusive,
        liveness=liveness,
    )


def supervisor(
    id: str,  # noqa: A002
    *children: ChildSpec,
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    budget: Budget = BUDGET,
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
    backoff: Backoff | None = None,
    give_up_as: GiveUpAs = "gave_up",
    full_restart: FullRestart | None = None,
    strict: bool = False,
    correlate: Correlation | tuple[int, float] | None = None,
    restart: Restart = Restart.PERMANENT,
    shutdown: ShutdownRule = FOREVER,
    significant: bool = False,
    depends_on: Sequence[str] = (),
    start_timeout: float | None = None,
    on_give_up: OnGiveUp = OnGiveUp.ESCALATE,
    own_budget: Budget | None = None,
    probing: Backoff | None = None,
) -> ChildSpec:
    """Declare a supervisor of these children; `budget` is for their restarts, `own_budget` for its own.

    `strict` refuses here and now what a tree that is not strict reports when it
    is started: numbers that contradict each other anywhere below.  `correlate`, a
    `Correlation` or (failures, seconds), answers so many components that fail within
    so many seconds, anywhere below, with one full restart; off by default.
    """
    together = as_correlation(correlate)
    spec = ChildSpec(
        id=id,
        restart=restart,
        shutdown=shutdown,
        significant=significant,
        depends_on=depends_on,
        start_timeout=start_timeout,
        on_give_up=on_give_up,
        budget=own_budget,
        probing=probing,
        group=Group(
            children=children,
            strategy=strategy,
            budget=budget,
            auto_shutdown=auto_shutdown,
            backoff=backoff,
            give_up_as=give_up_as,
            full_restart=full_restart,
            correlate=together,
            strict=strict,
        ),
    )
    if together is not None:
        assert isinstance(spec.group, Group)
        check_owners(together, spec.group)
    contradictions = find_contradictions(spec) if strict else ()
    if contradictions:
        raise ContradictoryTree(f"supervisor {id!r}", contradictions)
    return spec


def template(
    id: str,  # noqa: A002
    factory: Callable[..., Actor],
    *,
    restart: Restart = Restart.PERMANENT,
    shutdown: ShutdownRule = WORKER_ALLOWANCE,
    start_timeout: float = START_TIMEOUT,
    ready: Readiness | None = None,
    on_give_up: OnGiveUp = OnGiveUp.ESCALATE,
    budget: Budget | None = None,
    probing: Backoff | None = None,
    exclusive: Sequence[str] = (),
    liveness: LivenessSpec | None = None,
) -> ChildSpec:
    """Declare the kind of a dynamic supervisor's children; `factory` takes what `start_child` is given.

    The children are named after the template, with a number: ``session-17``.  With a `budget`
    each of them has one of its own, so that one that flaps does not spend that of all.
    """
    return ChildSpec(
        id=id,
        factory=factory,
        restart=restart,
        shutdown=shutdown,
        start_timeout=start_timeout,
        ready=ready,
        on_give_up=on_give_up,
        budget=budget,
        probing=probing,
        exclusive=exclusive,
        liveness=liveness,
    )


def dynamic(
    id: str,  # noqa: A002
    children: ChildSpec,
    *,
    budget: Budget = BUDGET,
    max_children: int | None = None,
    backoff: Backoff | None = None,
    give_up_as: GiveUpAs = "gave_up",
    restart: Restart = Restart.PERMANENT,
    shutdown: ShutdownRule = FOREVER,
    significant: bool = False,
    depends_on: Sequence[str] = (),
    on_give_up: OnGiveUp = OnGiveUp.ESCALATE,
    own_budget: Budget | None = None,
    probing: Backoff | None = None,
) -> ChildSpec:
    """Declare a supervisor whose children are started on demand, all of the one kind given here."""
    return ChildSpec(
        id=id,
        restart=restart,
        shutdown=shutdown,
        significant=significant,
        depends_on=depends_on,
        start_timeout=None,
        on_give_up=on_give_up,
        budget=own_budget,
        probing=probing,
        group=Pool(
            template=children,
            budget=budget,
            max_children=max_children,
            backoff=backoff,
            give_up_as=give_up_as,
        ),
    )
