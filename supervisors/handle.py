"""How to talk to a supervisor: its calls as methods, with typed answers.

A handle is a ref and a time limit; make as many as you like.  What the
supervisor refuses is raised as a `CallRefused`, what it never answered as an
`AskError` of the runtime (`ActorGone` when it is gone, R33).
"""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import attrs

from holdfast.runtime.introspection import checked_timeout
from holdfast.runtime.messages import Down
from holdfast.runtime.outcomes import describe
from holdfast.runtime.ref import Ref
from holdfast.supervisors.child_spec import ChildSpec
from holdfast.supervisors.errors import BulkStartFailed, InvalidSpec, NoSuchChild
from holdfast.supervisors.messages import (
    ChildCounts,
    ChildHandle,
    ChildInfo,
    CountChildren,
    DeleteChild,
    GetSpec,
    GetSupervision,
    Reconfigure,
    ReportFailure,
    RestartAll,
    RestartChild,
    RestartPath,
    StartChild,
    StartInstance,
    StartInstances,
    StopSupervisor,
    Supervision,
    TerminateChild,
    WhichChild,
    WhichChildren,
)

__all__ = ["CALL_TIMEOUT", "DynamicHandle", "Handle", "SupervisorHandle"]

# A call may stop and start a whole group: several times a worker's allowance and start_timeout of 5 s each.
CALL_TIMEOUT = 60.0

# Children in one question of a bulk start: some ten milliseconds of starts, beside which it costs nothing.
PORTION = 1024


@attrs.frozen
class Handle:
    """What both kinds of supervisors can be asked."""

    ref: Ref
    timeout: float = CALL_TIMEOUT

    def __attrs_post_init__(self) -> None:
        checked_timeout(self.timeout)

    @property
    def path(self) -> str:
        """The supervisor's path."""
        return self.ref.path

    async def which_children(self) -> tuple[ChildInfo, ...]:
        """List the children in start order."""
        return await self.ref.ask(WhichChildren(), timeout=self.timeout)

    async def count_children(self) -> ChildCounts:
        """Count the children."""
        return await self.ref.ask(CountChildren(), timeout=self.timeout)

    async def supervision(self) -> Supervision:
        """Describe the supervisor itself: strategy, budget left, restarts, children."""
        return await self.ref.ask(GetSupervision(), timeout=self.timeout)

    async def restart_all(self, why: str = "asked for") -> None:
        """Restart all children in an orderly way, as a full restart where one is declared; no charge."""
        await self.ref.ask(RestartAll(why), timeout=self.timeout)

    async def report_failure(self, component: str, error: object) -> None:
        """Report the failure of a component that none of its actors has noticed; it counts as one of theirs.

        Returns when it is counted; a full restart that follows is announced by its events.
        Raises `UnknownComponent`, or `NotCorrelating` where failures are handled one by one.
        """
        reason = describe(error) if isinstance(error, BaseException) else str(error)
        report = ReportFailure(component, reason, at=self.ref.slot.system.now())
        await self.ref.ask(report, timeout=self.timeout)

    async def reconfigure(self, spec: ChildSpec) -> None:
        """Take over the flags and the children of `spec`, a new declaration of this supervisor under its id.

        Nobody is stopped, started or restarted by it.  Flags hold for the next end: strategy,
        budget (the attempts made so far still count), automatic shutdown, back-off,
        `max_children`.  A child that is known takes its new spec, for its next start and stop;
        a new one is known and stopped (`restart_child` starts it); one that is not in `spec`
        stays as it is, behind the others in the start order.  A dynamic supervisor's new
        template holds for the children it has too, except temporary ones.

        It lasts as long as this incarnation: a restart of the supervisor brings back what its
        parent's spec says, which `reconfigure` of the parent changes.  `SpecError` for what
        does not fit; nothing has changed then.
        """
        await self.ref.ask(Reconfigure(spec), timeout=self.timeout)

    async def stop(self) -> None:
        """Stop the supervisor with its children, in order; returns when it is gone.

        Under a supervisor of its own it may be restarted then: it ended by itself, in an orderly way.
        It waits its turn like any call: a supervisor that is suspended stops when it is resumed.
        """
        gone = anyio.Event()

        def note(_down: Down) -> None:
            gone.set()

        # Sent, not asked: how long it takes is decided by the allowances below, which may be FOREVER.
        unwatch = self.ref.slot.watch_from_outside(note)
        try:
            await self.ref.send(StopSupervisor(), timeout=self.timeout)
            await gone.wait()
        finally:
            unwatch()


@attrs.frozen
class SupervisorHandle(Handle):
    """A supervisor whose children have ids."""

    async def start_child(self, spec: ChildSpec) -> ChildHandle:
        """Add a child at the end of the start order and start it (R28).

        Raises `AlreadyStarted`, `AlreadyPresent`, `ChildStartFailed` (the spec is
        discarded), or `SpecError` for a spec that does not fit this supervisor.
        """
        return await self.ref.ask(StartChild(spec), timeout=self.timeout)

    async def terminate_child(self, child: str) -> None:
        """Stop a child and keep its spec; a temporary one is forgotten (R29).  `NoSuchChild`."""
        await self.ref.ask(TerminateChild(child), timeout=self.timeout)

    async def restart_child(self, child: str) -> ChildHandle:
        """Start a stopped child again, just that one (R30).

        Raises `NoSuchChild`, `ChildRunning`, `ChildRestarting` or `ChildStartFailed`.
        """
        return await self.ref.ask(RestartChild(child), timeout=self.timeout)

    async def delete_child(self, child: str) -> None:
        """Forget a stopped child and its slot (R31).  `NoSuchChild`, `ChildRunning`, `ChildRestarting`."""
        await self.ref.ask(DeleteChild(child), timeout=self.timeout)

    async def restart(self, child: str) -> None:
        """Restart a child in an orderly way, with the strategy's effect on its group and no charge."""
        await self.ref.ask(RestartPath(child), timeout=self.timeout)

    async def which_child(self, child: str) -> ChildInfo:
        """Describe one child.  `NoSuchChild`."""
        return await self.ref.ask(WhichChild(child), timeout=self.timeout)

    async def get_spec(self, child: str) -> ChildSpec:
        """Return a child's spec.  `NoSuchChild`."""
        return await self.ref.ask(GetSpec(child), timeout=self.timeout)


@attrs.frozen
class DynamicHandle(Handle):
    """A dynamic supervisor; its children are named by their refs."""

    async def start_child(self, *arguments: object) -> ChildHandle:
        """Start one more child; the arguments go to the template's factory.

        Raises `TooManyChildren` or `ChildStartFailed`.
        """
        return await self.ref.ask(StartInstance(arguments), timeout=self.timeout)

    async def start_children(self, arguments: Iterable[tuple[object, ...]]) -> tuple[ChildHandle, ...]:
        """Start one child for each tuple of arguments, in order: many `start_child` at a lower price.

        Returns the handles in the order of the arguments; `ref` is None for a child that said that
        there is nothing to run.  Each child stands for itself, as if it had been asked for alone:
        those after one that fails are tried too, and those that started stay.  If any is not
        there in the end, `BulkStartFailed` is raised, whose `results` has a handle or an error
        (`TooManyChildren`, `ChildStartFailed`) at each place.

        The supervisor serves calls and notices in between, at the latest after each child whose
        start has something to wait for; `timeout` is for each portion.  If it ends or is restarted
        in the middle, what it had started is gone with it: `ActorGone`.  Cancelled in the middle,
        those that started stay, and no others follow but those of the turn in progress.
        """
        waiting = _checked(self.path, arguments)
        results: list[ChildHandle | Exception] = []
        incarnation = 0
        while len(results) < len(waiting):
            wanted = waiting[len(results) : len(results) + PORTION]
            portion = await self.ref.ask(StartInstances(wanted, incarnation), timeout=self.timeout)
            results += portion.results
            incarnation = portion.incarnation
        handles = tuple(one for one in results if isinstance(one, ChildHandle))
        if len(handles) < len(results):
            raise BulkStartFailed(self.path, results)
        return handles

    async def terminate_child(self, child: Ref) -> None:
        """Stop a child; it is gone then.  A dead one is `NoSuchChild`, like a stranger."""
        await self.ref.ask(TerminateChild(self._name(child)), timeout=self.timeout)

    async def restart(self, child: Ref) -> None:
        """Restart a child in an orderly way, with what it was started with; no charge."""
        await self.ref.ask(RestartPath(self._name(child)), timeout=self.timeout)

    async def which_child(self, child: Ref) -> ChildInfo:
        """Describe one child.  `NoSuchChild`."""
        return await self.ref.ask(WhichChild(self._name(child)), timeout=self.timeout)

    async def get_spec(self, child: Ref) -> ChildSpec:
        """Return the template of a child.  `NoSuchChild`."""
        return await self.ref.ask(GetSpec(self._name(child)), timeout=self.timeout)

    def _name(self, child: Ref) -> str:
        given: object = child
        if not isinstance(given, Ref):
            raise InvalidSpec(
                f"call of {self.ref.path}", "a child of a dynamic supervisor is named by its ref", given
            )
        above, _, name = child.path.rpartition("/")
        if above != self.ref.path or child.slot.state == "removed":
            raise NoSuchChild(self.ref.path, child.path)
        return name


def _checked(path: str, arguments: Iterable[tuple[object, ...]]) -> tuple[tuple[object, ...], ...]:
    """Return the arguments of all children, of which none is started if one is not a tuple."""
    given = tuple(arguments)
    for place, one in enumerate(given):
        item: object = one
        if not isinstance(item, tuple):
            owner = f"start_children of {path}"
            raise InvalidSpec(owner, f"it takes a tuple of arguments for each child, also at {place}", one)
    return given
