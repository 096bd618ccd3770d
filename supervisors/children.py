"""The ledger of a supervisor: which children it has, in start order, and what each is doing.

The ledger is what the supervisor knows, not what is so: a child that is dead
while its exit notice still waits is `RUNNING` here (R35).  Pure; changed only
by the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

import attrs

from holdfast.runtime.backoff import Backoff
from holdfast.supervisors.breaker import PROBING, Breaker
from holdfast.supervisors.child_spec import ChildSpec, OnGiveUp, Restart
from holdfast.supervisors.intensity import Budget, Window

__all__ = ["Child", "Children", "Slowdown", "State"]


class State(Enum):
    """What a child is doing, as seen from outside; `absent` is not being in the ledger."""

    RUNNING = "running"
    STOPPED = "stopped"
    RESTARTING = "restarting"
    DEGRADED = "degraded"
    """Switched off, until a probe (`on_give_up=DEGRADE`)."""


class Slowdown:
    """How far the back-off of one child, or of one group, has gone."""

    __slots__ = ("_backoff", "_up_since", "attempt")

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self.attempt = 0
        self._up_since: float | None = None

    def next_delay(self, chance: float) -> float:
        """Return the seconds to wait before the next attempt, for a draw `chance` in [0, 1)."""
        delay = self._backoff.delay(self.attempt, chance)
        self.attempt += 1
        self._up_since = None
        return delay

    @property
    def steady(self) -> bool:
        """Whether a stable period has begun."""
        return self._up_since is not None

    def up(self, now: float) -> None:
        """Note a start: the stable period begins with it."""
        self._up_since = now

    def down(self, now: float) -> None:
        """Note an end, or a stop for a restart; after a stable period the next delay is the first again.

        A start that merely succeeded resets nothing, nor do the seconds that a start took, or a delay.
        """
        if self._up_since is not None and now - self._up_since >= self._backoff.stable_after:
            self.attempt = 0
        self._up_since = None


@attrs.define(eq=False)
class Child:
    """One line of the ledger."""

    id: str
    spec: ChildSpec
    added: bool = False
    """Whether it came through `start_child`; a restart of the supervisor forgets it."""

    state: State = State.STOPPED
    incarnation: int = 0
    chain: tuple[str, ...] = ()
    """Who failed below it, when it gave up; keeping the outcome would keep tracebacks alive."""

    window: Window | None = None
    """Its own budget, when it has one."""

    breaker: Breaker | None = None
    """Whether it is switched off, for one that can be."""

    slowdown: Slowdown | None = None
    retry_serial: int | None = None
    """Which delayed retry is the valid one."""

    restarts: int = 0
    """How often it was started by a restart since the supervisor started."""

    @property
    def running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def on_probation(self) -> bool:
        """Whether it was switched off and has not been up for its stable period since."""
        return self.breaker is not None and not self.breaker.closed

    @property
    def temporary(self) -> bool:
        return self.spec.restart is Restart.TEMPORARY

    def adopt(self, spec: ChildSpec) -> None:
        """Take a new spec: it decides from the next start, end or stop on."""
        if (spec.on_give_up, spec.budget) != (self.spec.on_give_up, self.spec.budget):
            self.window = own_window(spec)
        breaker = own_breaker(spec)
        if self.breaker is not None and breaker is not None:
            self.breaker.probing = breaker.probing
        elif not self.on_probation:  # who is switched off is brought back first, whatever the new spec says
            self.breaker = breaker
        self.spec = spec

    @property
    def passing(self) -> bool:
        """Whether a restart of its supervisor does not bring it back."""
        return self.added or self.temporary


class Children:
    """The children in start order, which is the order of the specs, not of the starts (R40)."""

    __slots__ = ("_children",)

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def add(self, id: str, spec: ChildSpec, *, added: bool = False) -> Child:  # noqa: A002 - the domain's word
        """Put a new child at the end of the order."""
        assert id not in self._children, "ids are unique"
        child = Child(id, spec, added=added, window=own_window(spec), breaker=own_breaker(spec))
        self._children[id] = child
        return child

    def get(self, id: str) -> Child | None:  # noqa: A002
        """Return the child, or None when it is absent."""
        return self._children.get(id)

    def __getitem__(self, id: str) -> Child:  # noqa: A002
        return self._children[id]

    def arrange(self, first: Iterable[str]) -> None:
        """Put these children first, in this order, and the others behind them in theirs."""
        self._children = {name: self._children.pop(name) for name in first} | self._children

    def remove(self, id: str) -> None:  # noqa: A002
        """Forget a child."""
        del self._children[id]

    def from_on(self, child: Child) -> tuple[Child, ...]:
        """Return the child and those after it."""
        everybody = tuple(self._children.values())
        return everybody[everybody.index(child) :]

    def __iter__(self) -> Iterator[Child]:
        return iter(tuple(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    def __contains__(self, id: object) -> bool:  # noqa: A002
        return id in self._children


def own_window(spec: ChildSpec) -> Window | None:
    """Return the budget that a child has for itself, if its spec gives it one."""
    if spec.budget is None and spec.on_give_up is OnGiveUp.ESCALATE:
        return None
    return Window(spec.budget or Budget())


def own_breaker(spec: ChildSpec) -> Breaker | None:
    """Return the breaker of a child that can be switched off."""
    return Breaker(spec.probing or PROBING) if spec.on_give_up is OnGiveUp.DEGRADE else None
