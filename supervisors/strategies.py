"""Who is concerned when one child fails: the strategies, and the orders of stopping and starting.

Pure functions over the ledger.  Groups are in start order; stopping goes
through them backwards (R7), temporary members are stopped and never come back
(R8), everybody else is started, also who had been stopped before (R9).
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.runtime.outcomes import Killed, Normal, Outcome, Shutdown
from holdfast.supervisors.child_spec import (
    KILL,
    Allowance,
    AutoShutdown,
    ChildSpec,
    Restart,
    ShutdownRule,
    Strategy,
)
from holdfast.supervisors.children import Child, Children, State

__all__ = [
    "group_of",
    "is_restarted",
    "is_silent_stop",
    "own_stop",
    "rule_in_words",
    "shuts_down_with",
    "to_start",
    "to_stop",
]


def group_of(strategy: Strategy, children: Children, trigger: Child) -> tuple[Child, ...]:
    """Return who is restarted together with `trigger`, itself included, in start order."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return (trigger,)
        case Strategy.REST_FOR_ONE:
            return children.from_on(trigger)
        case Strategy.ONE_FOR_ALL:
            return tuple(children)


def to_stop(group: Sequence[Child]) -> tuple[Child, ...]:
    """Return the running members in the order in which they are stopped."""
    return tuple([member for member in reversed(group) if member.state is State.RUNNING])


def to_start(group: Sequence[Child], *, probing: bool = False) -> tuple[Child, ...]:
    """Return the members that a group restart starts, in start order.

    One that is switched off stays out of it, unless the restart was asked for or is a full one.
    """
    return tuple(
        [
            member
            for member in group
            if member.spec.restart is not Restart.TEMPORARY
            and (probing or member.state is not State.DEGRADED)
        ]
    )


def is_restarted(restart: Restart, outcome: Outcome) -> bool:
    """Whether a child that ended so by itself is restarted (R5)."""
    match restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return not outcome.orderly
        case Restart.TEMPORARY:
            return False


def shuts_down_with(rule: AutoShutdown, ended: Child, others: Children) -> bool:
    """Whether the end of this child, which is not going to be restarted, ends the supervisor (R24, R25)."""
    if rule is AutoShutdown.NEVER or not ended.spec.significant:
        return False
    if rule is AutoShutdown.ANY_SIGNIFICANT:
        return True
    return not any(
        other.spec.significant and other is not ended and other.state is not State.STOPPED for other in others
    )


def is_silent_stop(spec: ChildSpec, outcome: Outcome | None) -> bool:
    """Whether a child that was being stopped and ended so did what a stop should do (R20, R48)."""
    match outcome:
        case Shutdown(info=None):
            # A permanent child under KILL that ended by itself a moment before was not asked to (R48).
            return spec.shutdown is not KILL or spec.restart is not Restart.PERMANENT
        case Normal() | Shutdown():
            return spec.restart is not Restart.PERMANENT
        case Killed():
            return spec.shutdown is KILL
        case _:
            return False


def rule_in_words(rule: ShutdownRule) -> str:
    """Say a shutdown rule as reports do."""
    return rule.value if isinstance(rule, Allowance) else f"{rule:g} s"


def own_stop(rule: ShutdownRule, kill_grace: float) -> float | None:
    """Return how long the stop hook of a child that ends by itself may take; None for ever.

    Who is killed at once when asked to stop has a hook all the same when nobody asked.
    """
    if rule is Allowance.FOREVER:
        return None
    return (0.0 if rule is Allowance.KILL else rule) or kill_grace
