"""Numbers of a tree that contradict each other, found before anything runs.

A budget can be such that it is never spent: then a fault restarts for ever and
nobody hears of it (trap 2).  An allowance can be such that it is never granted:
then a child is killed in the middle of a clean-up that it was promised (trap
16).  Both are plain arithmetic over the specs, done here and shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import attrs

from holdfast.runtime.identity import join
from holdfast.supervisors.child_spec import (
    BUDGET,
    START_TIMEOUT,
    Allowance,
    ChildSpec,
    Group,
    OnGiveUp,
    Pool,
    Restart,
    Strategy,
)
from holdfast.supervisors.intensity import Budget
from holdfast.supervisors.readiness import CHECK_TIMEOUT

__all__ = ["Contradiction", "Rule", "find_contradictions", "longest_start", "longest_stop"]

# As many terms of a sum as one line can hold.
SHOWN = 4

Rule: TypeAlias = Literal["nested_period", "cycle", "allowance"]


@attrs.frozen
class Contradiction:
    """Two numbers that cannot both hold, and the arithmetic that shows it."""

    path: str
    rule: Rule
    arithmetic: str

    def __str__(self) -> str:
        return f"{self.path}: {self.arithmetic}"


def find_contradictions(spec: ChildSpec, path: str | None = None) -> tuple[Contradiction, ...]:
    """Return everything in the tree under `spec` that cannot work as declared, top down.

    A `start_timeout` or a limit of a readiness check that nobody wrote down says nothing about how long a
    start takes: it counts only where `spec` is declared strict.
    """
    strict = isinstance(spec.group, Group) and spec.group.strict
    return tuple(_find(spec, path or spec.id, declared=not strict))


def _find(spec: ChildSpec, path: str, *, declared: bool) -> Iterator[Contradiction]:
    group = spec.group
    if group is None:
        return
    children = _children(group)
    for child in children:
        below = join(path, child.id)
        if child.group is not None and child.restart is not Restart.TEMPORARY:
            yield from _nested_period(path, group.budget, child, below)
        if child.on_give_up is not OnGiveUp.ESCALATE:
            own = longest_start(child, declared=declared)
            cycle = _back_off_cap(group) + own
            yield from _cycle(below, child.budget or BUDGET, cycle, _parts(group, own, 0.0))
        elif child.budget is not None:
            yield from _own_period(path, group.budget, child.id, child.budget)
    start = _longest_restart(group, declared=declared)
    if start is not None:
        ceremony = group.full_restart.longest if group.full_restart is not None else 0.0
        cycle = _back_off_cap(group) + start + ceremony
        yield from _cycle(path, group.budget, cycle, _parts(group, start, ceremony))
    yield from _allowances(spec, group, path)
    for child in children:
        yield from _find(child, join(path, child.id), declared=declared)


def _nested_period(path: str, budget: Budget, child: ChildSpec, below: str) -> Iterator[Contradiction]:
    """A child supervisor that gives up once per its period must be able to spend its parent's budget."""
    assert child.group is not None
    if child.on_give_up is not OnGiveUp.ESCALATE:
        path, budget = below, child.budget or BUDGET
    # Intensity 0 is spent by the first failure, whatever the period.
    needed = (budget.intensity + 1) * child.group.budget.period
    if budget.intensity and budget.period < needed:
        yield Contradiction(
            path,
            "nested_period",
            f"its budget ({budget}) can never be spent by {child.id!r} giving up ({child.group.budget}): "
            f"the period must be at least "
            f"({budget.intensity} + 1) x {child.group.budget.period:g} s = {needed:g} s",
        )


def _own_period(path: str, budget: Budget, child: str, own: Budget) -> Iterator[Contradiction]:
    """A child that escalates with a budget of its own spends its supervisor's once per period of its own."""
    needed = (budget.intensity + 1) * own.period
    if budget.intensity and budget.period < needed:
        yield Contradiction(
            path,
            "nested_period",
            f"its budget ({budget}) can never be spent by {child!r} alone, whose own is {own}: "
            f"the period must be at least ({budget.intensity} + 1) x {own.period:g} s = {needed:g} s",
        )


def _cycle(path: str, budget: Budget, cycle: float, parts: str) -> Iterator[Contradiction]:
    """So many cycles at their longest must fit into the period."""
    needed = (budget.intensity + 1) * cycle
    if budget.intensity and budget.period < needed:
        yield Contradiction(
            path,
            "cycle",
            f"its budget ({budget}) may never be spent: "
            f"({budget.intensity} + 1) x {cycle:g} s = {needed:g} s do not fit into {budget.period:g} s; "
            f"one cycle is at most {parts}",
        )


def _parts(group: Group | Pool, start: float, ceremony: float) -> str:
    parts = [f"{start:g} s of start time-outs and readiness checks"] if start else []
    if group.backoff is not None:
        parts.insert(0, f"{group.backoff.cap:g} s of back-off")
    full = group.full_restart
    if full is not None and ceremony:
        parts += [f"{full.drain:g} s of drain", f"{full.stop:g} s of stop deadline"]
        if full.before_start is not None:
            parts.append(f"{full.prepare:g} s of before_start")
    return " + ".join(parts)


def _allowances(spec: ChildSpec, group: Group | Pool, path: str) -> Iterator[Contradiction]:
    granted = 0.0 if spec.shutdown is Allowance.KILL else spec.shutdown
    if not isinstance(granted, Allowance) and (needed := _stop_of_children(group)) > granted:
        yield Contradiction(
            path,
            "allowance",
            f"its allowance for stopping is {granted:g} s"
            f"{' (KILL)' if spec.shutdown is Allowance.KILL else ''}, and its children, stopped "
            f"{'one after another' if isinstance(group, Group) else 'together'}, may take "
            f"{_sum(group)}{_seconds(needed)}",
        )
    full = group.full_restart
    for child in _children(group) if full is not None else ():
        assert full is not None
        worst = _longest_allowance(child)
        if worst > full.stop:
            yield Contradiction(
                join(path, child.id),
                "allowance",
                f"an allowance of {_seconds(worst)} at or below it is longer than the stop deadline "
                f"of the full restart, {full.stop:g} s",
            )


def longest_start(spec: ChildSpec, *, declared: bool = False) -> float:
    """Return how long the start of a child may take; a supervisor starts its children one after another.

    With `declared` a limit that nobody wrote down does not count.
    """
    if spec.start_timeout is not None:
        # The default itself, not a time that happens to be as long: who writes 5.0 has declared it.
        start = 0.0 if declared and spec.start_timeout is START_TIMEOUT else spec.start_timeout
        if spec.ready is None or (declared and spec.ready.timeout is CHECK_TIMEOUT):
            return start
        return start + spec.ready.timeout
    if spec.group is None:
        return math.inf
    return sum(longest_start(child, declared=declared) for child in spec.group.children)


def longest_stop(spec: ChildSpec) -> float:
    """Return how long the stop of a child may take, by its own rule and those below it."""
    if spec.shutdown is Allowance.KILL:
        return 0.0
    if not isinstance(spec.shutdown, Allowance):
        return spec.shutdown
    return math.inf if spec.group is None else _stop_of_children(spec.group)


def _stop_of_children(group: Group | Pool) -> float:
    if isinstance(group, Pool):
        return longest_stop(group.template)
    return sum(longest_stop(child) for child in group.children)


def _longest_allowance(spec: ChildSpec) -> float:
    """Return the longest single allowance at or below a child."""
    if spec.shutdown is Allowance.KILL:
        return 0.0
    if not isinstance(spec.shutdown, Allowance):
        return spec.shutdown
    if spec.group is None:
        return math.inf
    return max((_longest_allowance(child) for child in _children(spec.group)), default=0.0)


def _longest_restart(group: Group | Pool, *, declared: bool) -> float | None:
    """Return how long the starts of one restart may take, of one child or of the group; None without any."""
    starts = [
        longest_start(child, declared=declared)
        for child in _children(group)
        if child.restart is not Restart.TEMPORARY and child.on_give_up is OnGiveUp.ESCALATE
    ]
    if not starts:
        return None
    alone = isinstance(group, Pool) or group.correlate is None
    if group.strategy is Strategy.ONE_FOR_ONE and alone:
        return max(starts)
    # Whoever fails, the members that do not escalate are started with it.
    members = [child for child in group.children if child.restart is not Restart.TEMPORARY]
    return sum(longest_start(child, declared=declared) for child in members)


def _back_off_cap(group: Group | Pool) -> float:
    return group.backoff.cap if group.backoff is not None else 0.0


def _children(group: Group | Pool) -> tuple[ChildSpec, ...]:
    return (group.template,) if isinstance(group, Pool) else group.children


def _sum(group: Group | Pool) -> str:
    """Say what each child adds, those that take longest first."""
    terms = {child.id: longest_stop(child) for child in group.children}
    longest = sorted(filter(terms.__getitem__, terms), key=terms.__getitem__, reverse=True)
    if len(longest) < 2:
        return ""
    shown = [f"{_seconds(terms[name])} ({name})" for name in longest[:SHOWN]]
    rest = [] if len(longest) <= SHOWN else [f"those of {len(longest) - SHOWN} more"]
    return " + ".join([*shown, *rest]) + " = "


def _seconds(seconds: float) -> str:
    return "for ever" if seconds == math.inf else f"{seconds:g} s"
