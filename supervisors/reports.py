"""What a supervisor decided, and why: one typed event for each decision.

Each report is plain data (it goes onto the event stream, into the flight
recorder and over the control socket as it is) and says itself in one line:
who, what, why, what was done, what is left of the budget.
"""

from __future__ import annotations

import msgspec

from holdfast.runtime.events import Event

__all__ = [
    "AutoShutdownDecided",
    "BudgetLeft",
    "ChildGivenUp",
    "ChildNotRestarted",
    "ComponentFailed",
    "ContradictionFound",
    "FullRestartCompleted",
    "FullRestartStarted",
    "NoticeIgnored",
    "OrderlyRestart",
    "Report",
    "RestartDecided",
    "RestartDelayed",
    "StartAttemptFailed",
    "StopWentWrong",
    "SupervisorGaveUp",
    "SystemFailure",
]

# How many names a sentence spells out; the fields of the report hold them all.
NAMES_SHOWN = 6


class BudgetLeft(msgspec.Struct, frozen=True):
    """What is left of a restart budget at the moment of the decision."""

    left: int
    intensity: int
    period: float
    clears_in: float
    """Seconds until the oldest attempt stops counting."""

    def __str__(self) -> str:
        return f"{self.left} of {self.intensity} restarts left in {self.clears_in:.1f} s"


class Report(Event, frozen=True, kw_only=True):
    """The base of all reports."""

    supervisor: str
    """The path of the supervisor that decided."""
    at: float

    def sentence(self) -> str:
        """Say it in one line."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.sentence()

    def _of(self, child: str) -> str:
        return f"{self.supervisor}/{child}"


class RestartDecided(Report, frozen=True, kw_only=True, tag="supervisor:restart"):
    """A child failed, or a retry's turn came; the restart was charged and begins now (R7, R15)."""

    child: str
    why: str
    strategy: str
    stops: tuple[str, ...]
    starts: tuple[str, ...]
    budget: BudgetLeft

    def sentence(self) -> str:
        done = f"{self.strategy} restarts {_names(self.starts)}"
        return f"{self._of(self.child)} {self.why}; {done}; {self.budget}"


class RestartDelayed(Report, frozen=True, kw_only=True, tag="supervisor:restart_delayed"):
    """A child failed, or a start did; the next attempt waits, and is charged when it is made."""

    child: str
    why: str
    attempt: int
    delay: float
    stops: tuple[str, ...]

    def sentence(self) -> str:
        stopped = f", {_names(self.stops)} stopped meanwhile" if self.stops else ""
        then = f"restart attempt {self.attempt} in {self.delay:.2f} s"
        return f"{self._of(self.child)} {self.why}; {then}{stopped}"


class StartAttemptFailed(Report, frozen=True, kw_only=True, tag="supervisor:start_failed"):
    """A start of a child failed: during the supervisor's own start, or during a restart (R2, R13)."""

    child: str
    cause: str
    reason: str
    done: str

    def sentence(self) -> str:
        return f"{self._of(self.child)} could not be started ({self.cause}): {self.reason}; {self.done}"


class ChildNotRestarted(Report, frozen=True, kw_only=True, tag="supervisor:not_restarted"):
    """A child ended by itself and is left in peace (R6)."""

    child: str
    outcome: str
    restart: str
    kept: bool

    def sentence(self) -> str:
        then = "stays listed as stopped" if self.kept else "is forgotten"
        return f"{self._of(self.child)} ended ({self.outcome}); it is {self.restart} and {then}"


class ChildGivenUp(Report, frozen=True, kw_only=True, tag="supervisor:child_given_up"):
    """A child with `on_give_up=STOP` has used up its own budget; its siblings go on."""

    child: str
    why: str
    intensity: int
    period: float

    def sentence(self) -> str:
        return (
            f"{self._of(self.child)} {self.why}; its {self.intensity} restarts in {self.period:g} s "
            f"are used up: it is stopped, its siblings go on"
        )


class SupervisorGaveUp(Report, frozen=True, kw_only=True, tag="supervisor:gave_up"):
    """The budget is spent: everything is stopped and the supervisor ends (R16)."""

    child: str
    why: str
    intensity: int
    period: float
    stops: tuple[str, ...]

    def sentence(self) -> str:
        return (
            f"{self._of(self.child)} {self.why}; {self.supervisor} has used up its {self.intensity} restarts "
            f"in {self.period:g} s and gives up"
        )


class AutoShutdownDecided(Report, frozen=True, kw_only=True, tag="supervisor:auto_shutdown"):
    """A significant child ended by itself, and that ends the supervisor (R26)."""

    child: str
    rule: str
    stops: tuple[str, ...]

    def sentence(self) -> str:
        return f"{self._of(self.child)} is significant and ended; {self.supervisor} shuts down ({self.rule})"


class StopWentWrong(Report, frozen=True, kw_only=True, tag="supervisor:stop_went_wrong"):
    """A child did not end the way a stop should; the stop went on and changes nothing else (R20)."""

    child: str
    outcome: str
    rule: str
    wedged: bool

    def sentence(self) -> str:
        child = self._of(self.child)
        if self.wedged:
            return f"{child} did not end when it was stopped (rule: {self.rule}) and killed: it is wedged"
        return f"{child} ended as {self.outcome} while it was being stopped (rule: {self.rule})"


class NoticeIgnored(Report, frozen=True, kw_only=True, tag="supervisor:notice_ignored"):
    """An exit notice of no present child: of one already dealt with, or of a stranger (R10, R12)."""

    child: str
    incarnation: int
    outcome: str

    def sentence(self) -> str:
        who = f"{self._of(self.child)}, incarnation {self.incarnation}"
        return f"the end of {who} ({self.outcome}) had been dealt with already; nothing is done"


class OrderlyRestart(Report, frozen=True, kw_only=True, tag="supervisor:orderly_restart"):
    """Somebody asked for a restart; it is orderly and costs no budget."""

    child: str | None
    """Whose restart was asked for; None for everybody's."""
    strategy: str
    stops: tuple[str, ...]
    starts: tuple[str, ...]

    def sentence(self) -> str:
        if self.child is None:
            return f"restart of all of {self.supervisor} was asked for: {_names(self.starts)}, no charge"
        done = f"{self.strategy} restarts {_names(self.starts)}"
        return f"restart of {self._of(self.child)} was asked for; {done}, no charge"


class FullRestartStarted(Report, frozen=True, kw_only=True, tag="supervisor:full_restart_started"):
    """A coordinated full restart begins: drain, stop everything, start everything."""

    why: str
    drain: float
    stop: float

    def sentence(self) -> str:
        return f"{self.supervisor} begins a full restart: {self.why}"


class FullRestartCompleted(Report, frozen=True, kw_only=True, tag="supervisor:full_restart_completed"):
    """Everything is up again."""

    seconds: float

    def sentence(self) -> str:
        return f"{self.supervisor} completed its full restart in {self.seconds:.2f} s"


class SystemFailure(Report, frozen=True, kw_only=True, tag="system:failure"):
    """Several components failed together: one coordinated full restart answers them all (A4.5)."""

    failed_components: tuple[str, ...]
    """In the order of their failures, by the latest of each."""
    recovery_strategy: str
    can_recover: bool
    """Whether the budget has a full restart left; without one the supervisor gives up when all is stopped."""
    window: float

    def sentence(self) -> str:
        names = _names(self.failed_components)
        then = "full restart" if self.can_recover else "the budget of full restarts is spent"
        return f"{self.supervisor}: {names} failed within {self.window:g} s; {then}"


class ComponentFailed(Report, frozen=True, kw_only=True, tag="component:failed"):
    """Somebody outside the tree reported a failure of a component; it counts like one of its actors'."""

    component: str
    error: str

    def sentence(self) -> str:
        return f"{self.supervisor} was told that {self.component} failed: {self.error}"


class ContradictionFound(Report, frozen=True, kw_only=True, tag="supervisor:contradiction"):
    """Two numbers of the tree contradict each other; found when the tree was built."""

    rule: str
    arithmetic: str

    def sentence(self) -> str:
        return f"{self.supervisor}: {self.arithmetic}"


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    hidden = len(names) - NAMES_SHOWN
    return f"{shown} and {hidden} more" if hidden > 0 else shown or "nothing"
