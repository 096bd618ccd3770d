"""How a failed child is brought back: the charge, the group, the delay, the ceremony of a full restart.

Pure.  One `Recovery` per incarnation of a supervisor: its window of attempts,
its back-off, and whether a full restart is under way.  Whether to restart at
all, and what follows when the budget is spent, is decided in `machine.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from holdfast.supervisors.child_spec import Group, OnGiveUp, Pool, Restart, Strategy
from holdfast.supervisors.children import Child, Children, Slowdown, State
from holdfast.supervisors.intensity import Window
from holdfast.supervisors.plan import (
    CancelRetry,
    Cause,
    Drain,
    FinishFullRestart,
    Forget,
    Plan,
    Prepare,
    ScheduleRetry,
    ShareStopDeadline,
    Start,
    Step,
    Stop,
)
from holdfast.supervisors.reports import (
    FullRestartCompleted,
    FullRestartStarted,
    Report,
    RestartDecided,
    RestartDelayed,
)
from holdfast.supervisors.strategies import group_of, to_start, to_stop

__all__ = ["Recovery", "ids"]

_ONE_FOR_ONE = Strategy.ONE_FOR_ONE.value
_NOBODY: tuple[str, ...] = ()


class Recovery:
    """The attempts of one supervisor to bring its children back."""

    def __init__(self, path: str, group: Group | Pool, children: Children) -> None:
        self._path = path
        self._group = group
        self.children = children
        self.window = Window(group.budget)
        self.restarts = 0
        """Attempts that were charged, to the supervisor's budget or to a child's own."""
        self.full_restarts = 0
        self._slowdown = None if group.backoff is None else Slowdown(group.backoff)
        self._serial = 0
        self._full_since: float | None = None
        self.full_restart_ended_at = -math.inf
        self.for_all = False
        """Whether the next attempt answers failures that belong together: it is this supervisor's, whoever
        the trigger is, and so is the charge."""

    def group_of(self, child: Child) -> tuple[Child, ...]:
        """Return who is restarted with this child: by the strategy, or everybody in a full restart."""
        if self.full_restart_under_way:
            return tuple(self.children)
        return group_of(self._group.strategy, self.children, child)

    @property
    def _strategy(self) -> str:
        """What a restart is made by, in words: in a full restart one that restarts fewer has no say."""
        strategy = self._group.strategy
        whole = self.full_restart_under_way and strategy is not Strategy.ONE_FOR_ALL
        return "full restart" if whole else strategy.value

    def adopt(self, group: Group | Pool) -> None:
        """Go on by other flags: attempts made still count, a delay that has begun is waited out."""
        if group.backoff != self._group.backoff:
            self._slowdown = None if group.backoff is None else Slowdown(group.backoff)
            for child in self.children:
                child.slowdown = None
        self._group = group
        self.window.adopt(group.budget)

    def charge(self, child: Child, now: float) -> Window | None:
        """Charge one attempt and return the window that holds it; None when it is one too many (R15).

        A child that escalates with a budget of its own is charged as if it stood under a supervisor of
        its own: when its budget is spent, one unit of this supervisor's is, and its own begins anew.
        """
        window = self.window if self.for_all else child.window or self.window
        charged = window.charge(now)
        if not charged and child.window is window and child.spec.on_give_up is OnGiveUp.ESCALATE:
            window = self.window
            charged = window.charge(now)
            child.window = Window(child.window.budget)
        if not charged:
            return None
        self.restarts += 1
        return window

    def next_serial(self) -> int:
        """Return a number that no other timer of this supervisor has."""
        self._serial += 1
        return self._serial

    @property
    def delays(self) -> bool:
        """Whether an attempt waits for its delay before it is made."""
        return self._slowdown is not None

    def attempt(self, child: Child, now: float, why: str, window: Window) -> Plan:
        """Make an attempt charged to `window`: the whole rule, with this child as the trigger (R7, R14)."""
        if child.window is not None and window is self.window and not self.for_all:
            why = f"{why}, its own budget ({child.window.budget}) is used up"
        self.for_all = False
        announced: tuple[Report, ...] = ()
        if self._group.full_restart is not None:
            announced = self.announce_full_restart(f"{child.id} {why}", now)
        starting: tuple[str, ...]
        if self._alone(child):
            strategy, stops, starting = _ONE_FOR_ONE, _NOBODY, (child.id,)
            steps: tuple[Step, ...] = (Start(child.id, Cause.RESTART),)
        else:
            group = self.group_of(child)
            strategy, stops = self._strategy, ids(to_stop(group))
            starting = ids(to_start(group, probing=self.full_restart_under_way))
            steps = self._restart(child, group, starting, Cause.RESTART)
        report = RestartDecided(
            supervisor=self._path,
            at=now,
            child=child.id,
            why=why,
            strategy=strategy,
            stops=stops,
            starts=starting,
            budget=window.state(now),
        )
        return Plan(steps, (*announced, report))

    def _alone(self, child: Child) -> bool:
        """Whether its restart is the commonest one: nobody else's, nothing to stop or to cancel before."""
        return (
            self._group.strategy is Strategy.ONE_FOR_ONE
            and self._full_since is None
            and child.state is State.STOPPED
            and child.spec.restart is not Restart.TEMPORARY
        )

    def wait(self, child: Child, now: float, chance: float, why: str, *, up: bool = True) -> Plan:
        """Come back to the child later: after its delay, or behind whatever waits now (R13).

        `up` is false when it could not be started: then it has not been stable, however long that took.
        """
        if self._slowdown is None:
            child.state = State.RESTARTING
            return Plan((ScheduleRetry(child.id),))
        slowdown = self._slowdown_of(child)
        if up:
            slowdown.down(now)
        delay = slowdown.next_delay(chance)
        group = self.group_of(child)
        report = RestartDelayed(
            supervisor=self._path,
            at=now,
            child=child.id,
            why=why,
            attempt=slowdown.attempt,
            delay=delay,
            stops=ids(to_stop(group)),
        )
        announced = self.announce_full_restart(f"{child.id} {why}", now)
        # The members stay stopped during the delay, also those that this attempt had already started.
        pauses = self.pause(group)
        child.retry_serial = self.next_serial()
        child.state = State.RESTARTING
        return Plan((*pauses, ScheduleRetry(child.id, delay, child.retry_serial)), (*announced, report))

    def _slowdown_of(self, child: Child) -> Slowdown:
        """Return the back-off of the child, or of its group, which is restarted as one."""
        assert self._slowdown is not None
        assert self._group.backoff is not None
        if self._group.strategy is not Strategy.ONE_FOR_ONE or self.full_restart_under_way:
            return self._slowdown
        if child.slowdown is None:
            child.slowdown = Slowdown(self._group.backoff)
        return child.slowdown

    def up(self, child: Child, cause: Cause, now: float) -> None:
        """A child runs: its stable period begins, and that of its group when a restart has started it."""
        anew = cause is Cause.RESTART or cause is Cause.OPERATOR
        own, groups = child.slowdown, self._slowdown
        if own is not None and (anew or not own.steady):
            own.up(now)
        one_alone = self._group.strategy is Strategy.ONE_FOR_ONE and not self.full_restart_under_way
        if groups is None or one_alone or (groups.steady and not anew):
            return
        # One that is started by a call beside a member that waits makes no group that is up.
        if anew or not any(member.state is State.RESTARTING for member in self.children):
            groups.up(now)

    def cancel(self, child: Child) -> tuple[Step, ...]:
        """The child is no longer restarting; a retry that is queued already is void when its turn comes."""
        child.state = State.STOPPED
        delayed, child.retry_serial = child.retry_serial, None
        return () if delayed is None else (CancelRetry(child.id),)

    def restart_group(
        self, trigger: Child, group: tuple[Child, ...], cause: Cause, now: float
    ) -> tuple[Step, ...]:
        """Stop the group in reverse, then start it in order; a full restart does so with ceremony."""
        for slowdown in (self._slowdown, *(member.slowdown for member in group)):
            if slowdown is not None:
                slowdown.down(now)
        # A full restart, or one that was asked for, also tries those that are switched off.
        probing = cause is Cause.OPERATOR or self.full_restart_under_way
        return self._restart(trigger, group, ids(to_start(group, probing=probing)), cause)

    def _restart(
        self, trigger: Child, group: tuple[Child, ...], starting: tuple[str, ...], cause: Cause
    ) -> tuple[Step, ...]:
        stops = self.pause(group)
        starts = [Start(child, cause) for child in starting]
        if self._full_since is None:
            return (*stops, *starts)
        full = self._group.full_restart
        prepare = () if full is None or full.before_start is None else (Prepare(trigger.id, cause),)
        return (*stops, *prepare, *starts, FinishFullRestart())

    def pause(self, group: tuple[Child, ...]) -> tuple[Step, ...]:
        """Stop whoever runs in the group, for a restart."""
        steps: list[Step] = []
        full = self._group.full_restart
        if self._full_since is not None and full is not None and to_stop(group):
            steps += [Drain(full.drain), ShareStopDeadline(full.stop)]
        for member in reversed(group):
            if member.state is State.RUNNING:
                steps.append(Stop(member.id, final=member.temporary))
                if member.temporary:
                    # Forgotten before any start is tried, so lost even if that fails (R8, R41).
                    steps.append(Forget(member.id))
            elif member.state is State.RESTARTING:
                steps += self.cancel(member)
                if member.temporary:
                    # Made temporary while it waited: nobody starts it again, so nobody lists it.
                    steps.append(Forget(member.id))
        return tuple(steps)

    def go_on_without(self, child: Child, *, waited: bool) -> tuple[Step, ...]:
        """Start whoever is stopped and `waited` for a child that is not brought back."""
        group = self.group_of(child) if waited else ()
        starts = [
            Start(member.id, Cause.RESTART)
            for member in to_start(group)
            if member is not child and member.state is State.STOPPED
        ]
        return (*starts, FinishFullRestart()) if self.full_restart_under_way else tuple(starts)

    # -- the full restart

    @property
    def full_restart_under_way(self) -> bool:
        """Whether a full restart was announced and has not been completed."""
        return self._full_since is not None

    def announce_full_restart(self, why: str, now: float, *, asked: bool = False) -> tuple[Report, ...]:
        """Return the announcement, where a full restart is declared and none is under way.

        Under `ONE_FOR_ALL` each restart is one; else only one that is `asked` for as such.
        """
        full = self._group.full_restart
        if full is None or self.full_restart_under_way:
            return ()
        if not asked and self._group.strategy is not Strategy.ONE_FOR_ALL:
            return ()
        self._full_since = now
        return (FullRestartStarted(supervisor=self._path, at=now, why=why, drain=full.drain, stop=full.stop),)

    def finish_full_restart(self, now: float) -> tuple[Report, ...]:
        """Everything is up again."""
        assert self._full_since is not None, "only an announced one is finished"
        began, self._full_since, self.full_restart_ended_at = self._full_since, None, now
        self.full_restarts += 1
        self.for_all = False
        return (FullRestartCompleted(supervisor=self._path, at=now, seconds=now - began),)

    def abandon_full_restart(self) -> None:
        """Its recovery was cancelled by hand; the next one is another."""
        self._full_since = None
        self.for_all = False


def ids(children: Iterable[Child]) -> tuple[str, ...]:
    """Return the names of the children."""
    return tuple([child.id for child in children])
