"""The errors of the supervisors: what a declaration, or a call to a supervisor, can be refused for.

Two families.  `InvalidSpec` and its kind are raised where a tree is written, at
the line that is wrong.  `CallRefused` and its kind are raised at whoever called
a supervisor (`await handle.start_child(...)`); the supervisor itself is unharmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.outcomes import Outcome
from holdfast.runtime.ref import Ref

if TYPE_CHECKING:
    from holdfast.supervisors.messages import ChildHandle

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "BulkStartFailed",
    "CallRefused",
    "ChildNotRestartable",
    "ChildRestarting",
    "ChildRunning",
    "ChildStartFailed",
    "ChildSwitchedOff",
    "ContradictoryTree",
    "FailedToStartChild",
    "InvalidSpec",
    "NoSuchChild",
    "NotCorrelating",
    "NotForDynamic",
    "NotReady",
    "PreparationFailed",
    "SpecError",
    "StartArgumentsGone",
    "TaskEnded",
    "TaskTimeout",
    "TooManyChildren",
    "UnknownComponent",
]


class SpecError(HoldfastError, ValueError):
    """A tree is declared in a way that it cannot run; raised where it is declared."""


class InvalidSpec(SpecError):
    """A field, or a combination of fields, of a child spec or a supervisor is wrong."""

    def __init__(self, owner: str, wanted: str, came: object) -> None:
        super().__init__(f"{owner}: {wanted}; got {came!r}")
        self.owner = owner
        self.wanted = wanted
        self.came = came


class ContradictoryTree(SpecError):
    """A tree declared strict has numbers that contradict each other; `contradictions` has the arithmetic."""

    def __init__(self, owner: str, contradictions: Sequence[object]) -> None:
        lines = "".join(f"\n  - {contradiction}" for contradiction in contradictions)
        super().__init__(f"{owner} is declared strict and its numbers contradict each other:{lines}")
        self.owner = owner
        self.contradictions = tuple(contradictions)


class FailedToStartChild(HoldfastError):
    """A child could not be started while its supervisor started: the whole supervisor's start fails (R2)."""

    def __init__(self, path: str, child: str, reason: BaseException) -> None:
        super().__init__(
            f"{path} could not start its child {child!r} ({type(reason).__name__}: {reason}); "
            f"the children that ran were stopped again"
        )
        self.path = path
        self.child = child
        self.reason = reason


class PreparationFailed(HoldfastError):
    """The `before_start` hook of a full restart raised or ran out of time; the attempt counts as failed."""

    def __init__(self, path: str, reason: BaseException) -> None:
        super().__init__(f"before_start of {path} failed: {type(reason).__name__}: {reason}")
        self.path = path
        self.reason = reason


class StartArgumentsGone(HoldfastError):
    """A temporary child was to be started a second time.  What it was started with is not kept (R33)."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is temporary: what it was started with is not kept, so it starts once")


class CallRefused(HoldfastError):
    """A call to a supervisor that it understood and did not carry out."""


class NoSuchChild(CallRefused):
    """The supervisor has no child of that name (`not_found`)."""

    def __init__(self, path: str, child: str) -> None:
        super().__init__(f"{path} has no child {child!r}")
        self.path = path
        self.child = child


class AlreadyStarted(CallRefused):
    """`start_child` with the id of a running child; `ref` is that child's.

    A start hook raises it too, when what it was to start runs already, elsewhere: the caller of
    `start_child` is told `ref`, which nobody adopts.
    """

    def __init__(self, path: str, child: str, ref: Ref | None) -> None:
        super().__init__(f"{path} already runs a child {child!r}; the new spec was ignored")
        self.path = path
        self.child = child
        self.ref = ref


class AlreadyPresent(CallRefused):
    """`start_child` with the id of a child that does not run: `restart_child`, or delete it first."""

    def __init__(self, path: str, child: str) -> None:
        super().__init__(
            f"{path} already knows a child {child!r}, which does not run: "
            f"restart_child({child!r}) starts it, delete_child({child!r}) makes room for another"
        )
        self.path = path
        self.child = child


class ChildRunning(CallRefused):
    """The child runs; `terminate_child` first."""

    def __init__(self, path: str, child: str) -> None:
        super().__init__(f"the child {child!r} of {path} is running: terminate_child({child!r}) first")
        self.path = path
        self.child = child


class ChildRestarting(CallRefused):
    """The child is being restarted; wait, or `terminate_child` to cancel that."""

    def __init__(self, path: str, child: str) -> None:
        super().__init__(
            f"the child {child!r} of {path} is being restarted: wait for it, or terminate_child({child!r})"
        )
        self.path = path
        self.child = child


class ChildSwitchedOff(CallRefused):
    """The child is switched off and is going to be probed; `terminate_child` ends that."""

    def __init__(self, path: str, child: str) -> None:
        super().__init__(
            f"the child {child!r} of {path} is switched off and will be probed: "
            f"terminate_child({child!r}) first, or restart_child({child!r}) to try it now"
        )
        self.path = path
        self.child = child


class ChildStartFailed(CallRefused):
    """A start that was asked for failed; no restart, no charge.  `reason` is the cause."""

    def __init__(self, path: str, child: str, reason: BaseException) -> None:
        super().__init__(f"{path} could not start {child!r}: {type(reason).__name__}: {reason}")
        self.path = path
        self.child = child
        self.reason = reason


class ChildNotRestartable(CallRefused):
    """An orderly restart was asked of a temporary child, which starts once."""

    def __init__(self, path: str, child: str) -> None:
        super().__init__(f"the child {child!r} of {path} is temporary: it is never started a second time")
        self.path = path
        self.child = child


class NotForDynamic(CallRefused):
    """A call by id to a dynamic supervisor, whose children have refs and no ids, or the other way round."""

    def __init__(self, path: str, call: str) -> None:
        super().__init__(
            f"{path} does not take {call}: children of a dynamic supervisor are named by their refs"
        )
        self.path = path
        self.call = call


class TooManyChildren(CallRefused):
    """A dynamic supervisor has as many children as it may; those being restarted count."""

    def __init__(self, path: str, max_children: int) -> None:
        super().__init__(f"{path} has {max_children} children, its max_children; stop one first")
        self.path = path
        self.max_children = max_children


class BulkStartFailed(CallRefused):
    """Of the children that one call was to start some are not there; those that started stay."""

    def __init__(self, path: str, results: Sequence[ChildHandle | Exception]) -> None:
        failures = [(place, one) for place, one in enumerate(results) if isinstance(one, Exception)]
        first, why = failures[0]
        super().__init__(
            f"{path} did not start {len(failures)} of {len(results)} children; "
            f"the first is number {first} (from 0): {type(why).__name__}: {why}"
        )
        self.path = path
        self.results = tuple(results)
        """In the order of the arguments: a handle for each that started, an error for each that did not."""


class NotReady(HoldfastError):
    """A child served, but its check did not find it ready: the start has failed, and it was stopped."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} is not ready: {why}")
        self.path = path


class TaskTimeout(HoldfastError):
    """A task's result was not there in time."""

    def __init__(self, task: str, timeout: float) -> None:
        super().__init__(f"{task} was not done within {timeout:g} s")
        self.task = task
        self.timeout = timeout


class TaskEnded(HoldfastError):
    """A task ended without a result: it was stopped, cancelled or killed.  `outcome` says which."""

    def __init__(self, task: str, outcome: Outcome) -> None:
        super().__init__(f"{task} ended without a result: {outcome}")
        self.task = task
        self.outcome = outcome


class NotCorrelating(CallRefused):
    """A failure was reported to a supervisor that does not correlate failures."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} does not correlate failures: declare it with correlate=Correlation(...)")
        self.path = path


class UnknownComponent(CallRefused, ValueError):
    """A failure was reported of a component that the supervisor does not know; nothing was counted."""

    def __init__(self, path: str, component: object, known: Sequence[str]) -> None:
        super().__init__(f"{path} knows the components {', '.join(known)}; got {component!r}")
        self.path = path
        self.component = component
