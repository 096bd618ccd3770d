"""Switching a child off and probing it until it is back: `on_give_up=DEGRADE`.

Pure.  The machine asks here what a spent budget, a probe that is due, and the
start or end of a child under probation mean.  Nothing of it is charged to the
supervisor, and nothing of it concerns a sibling, except that those that
declared to depend on the child are told.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.runtime.identity import join
from holdfast.supervisors.breaker import Breaker
from holdfast.supervisors.children import Child, Children, State
from holdfast.supervisors.messages import DependencyBack, DependencyDegraded
from holdfast.supervisors.plan import CancelRetry, Cause, Plan, ScheduleRetry, Start, Step, SwitchOff, Tell
from holdfast.supervisors.probe_reports import ChildBack, ChildDegraded, ProbeDecided, ProbeFailed
from holdfast.supervisors.reports import Report

__all__ = ["Degradation"]


class Degradation:
    """The breakers of one supervisor's children."""

    def __init__(self, path: str, children: Children, next_serial: Callable[[], int]) -> None:
        self._path = path
        self._children = children
        self._next_serial = next_serial

    # -- off

    def switch_off(self, child: Child, now: float, chance: float, why: str) -> Plan:
        """Its budget is spent, or its probe failed: off it goes, until the next probe."""
        breaker = _breaker_of(child)
        again = not breaker.closed
        delay = breaker.open(now, chance)
        child.state = State.DEGRADED
        told: tuple[Step, ...] = () if again else self._tell_dependants(child, now, why)
        steps = (SwitchOff(child.id, delay), self._schedule(child, delay), *told)
        return Plan(steps, (self._off_report(child, now, why, delay, again=again),))

    def _off_report(self, child: Child, now: float, why: str, delay: float, *, again: bool) -> Report:
        breaker = _breaker_of(child)
        assert breaker.opened_at is not None, "it was just opened"
        if again:
            return ProbeFailed(
                supervisor=self._path,
                at=now,
                child=child.id,
                why=why,
                failed=breaker.probes,
                probe_in=delay,
                degraded_for=now - breaker.opened_at,
            )
        assert child.window is not None, "a child that can be switched off has a budget of its own"
        return ChildDegraded(
            supervisor=self._path,
            at=now,
            child=child.id,
            why=why,
            intensity=child.window.budget.intensity,
            period=child.window.budget.period,
            probe_in=delay,
            told=tuple(dependant.id for dependant in self._dependants(child)),
        )

    # -- half-open

    def is_due(self, child: Child, serial: int | None) -> bool:
        """Whether a timer that has run out is this child's probe, or the end of its probation."""
        return child.on_probation and _breaker_of(child).serial == serial

    def due(self, child: Child, now: float) -> Plan:
        """Start the child as a probe; if it runs, its stable period is over, and it is back."""
        if child.running:
            return self._back(child, now)
        if child.state is not State.DEGRADED:
            return Plan()  # its group is stopped just now; the next start of it begins the probation anew
        breaker = _breaker_of(child)
        assert breaker.opened_at is not None, "a probe that is due is one of an open breaker"
        breaker.probe_at = None
        report = ProbeDecided(
            supervisor=self._path,
            at=now,
            child=child.id,
            probe=breaker.probes + 1,
            degraded_for=now - breaker.opened_at,
        )
        return Plan((Start(child.id, Cause.PROBE),), (report,))

    def started(self, child: Child, now: float) -> tuple[Step, ...]:
        """A child runs: tell it of dependencies that are switched off; its own stable period begins."""
        if child.breaker is None and not child.spec.depends_on:
            return ()
        news = [
            Tell(child.id, self._news_of(other, now, "was switched off before this start"))
            for other in map(self._children.get, child.spec.depends_on)
            if other is not None and other.on_probation
        ]
        if not child.on_probation:
            return tuple(news)
        breaker = _breaker_of(child)
        breaker.probe_at = None
        return (*news, self._schedule(child, breaker.probing.stable_after))

    # -- back, or not wanted any more

    def _back(self, child: Child, now: float) -> Plan:
        breaker = _breaker_of(child)
        assert breaker.opened_at is not None, "only an open breaker is closed"
        report = ChildBack(
            supervisor=self._path,
            at=now,
            child=child.id,
            degraded_for=now - breaker.opened_at,
            stable_for=breaker.probing.stable_after,
        )
        breaker.close()
        path = join(self._path, child.id)
        told = (Tell(dependant.id, DependencyBack(path)) for dependant in self._dependants(child))
        return Plan(tuple(told), (report,))

    def forget(self, child: Child) -> tuple[Step, ...]:
        """The child was stopped by a call, or its work is done: no probe any more."""
        if not child.on_probation:
            return ()
        _breaker_of(child).close()
        if child.state is State.DEGRADED:
            child.state = State.STOPPED
        return (CancelRetry(child.id),)

    # -- the dependants

    def _dependants(self, child: Child) -> tuple[Child, ...]:
        return tuple(other for other in self._children if other.running and child.id in other.spec.depends_on)

    def _tell_dependants(self, child: Child, now: float, why: str) -> tuple[Step, ...]:
        news = self._news_of(child, now, why)
        return tuple(Tell(dependant.id, news) for dependant in self._dependants(child))

    def _news_of(self, child: Child, now: float, why: str) -> DependencyDegraded:
        due = _breaker_of(child).probe_at
        return DependencyDegraded(
            join(self._path, child.id), why, None if due is None else max(0.0, due - now)
        )

    def _schedule(self, child: Child, delay: float) -> ScheduleRetry:
        breaker = _breaker_of(child)
        breaker.serial = self._next_serial()
        return ScheduleRetry(child.id, delay, breaker.serial)


def _breaker_of(child: Child) -> Breaker:
    assert child.breaker is not None, f"{child.id} is never switched off"
    return child.breaker
