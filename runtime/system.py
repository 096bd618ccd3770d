"""The system: what all actors share, and the flat nursery that they run in.

A supervisor's children are not in a nursery of its own: a task that cannot be
ended pins nobody but the system itself.  `embed.open_system` makes one.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVarTuple

import attrs

from holdfast.runtime.backend import Nursery, current_backend
from holdfast.runtime.cell import Cell
from holdfast.runtime.errors import ActorGone, NoSuchActor, SystemClosed
from holdfast.runtime.events import DeadLetter
from holdfast.runtime.identity import check_name, check_path
from holdfast.runtime.introspection import Inspection
from holdfast.runtime.liveness import LivenessSpec
from holdfast.runtime.mailbox import Question
from holdfast.runtime.messages import Down
from holdfast.runtime.outcomes import Outcome
from holdfast.runtime.portal import Portal
from holdfast.runtime.pump import Pump
from holdfast.runtime.ref import Ref
from holdfast.runtime.registry import Registry
from holdfast.runtime.seams import Seams
from holdfast.runtime.timers import DeadlineHeap
from holdfast.runtime.tracing import EventStream
from holdfast.runtime.vigil import Vigil

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor
    from holdfast.runtime.task import TaskLife

__all__ = ["Counters", "Statistics", "System"]

Ts = TypeVarTuple("Ts")


@attrs.define
class Counters:
    """What happened that nobody was told about; each is a sum since the system was opened."""

    dead_letters: int = 0
    late_replies: int = 0
    stale_notices: int = 0
    coalesced_ticks: int = 0


@attrs.frozen
class Statistics:
    """A snapshot of a system for people and metrics."""

    actors: int
    tasks: int
    slots: int
    deadlines: int
    dead_letters: int
    late_replies: int
    stale_notices: int
    coalesced_ticks: int
    wedged: tuple[str, ...]


class System:
    """A running actor system; open one with `open_system`."""

    def __init__(
        self,
        name: str,
        seams: Seams,
        nursery: Nursery,
        *,
        stop_deadline: float,
        kill_grace: float,
        liveness: LivenessSpec,
    ) -> None:
        self.name = name
        self.seams = seams
        self.backend = current_backend()
        self.now: Callable[[], float] = self.backend.clock()
        self.stop_deadline = stop_deadline
        self.kill_grace = kill_grace
        self.events = EventStream()
        self.counters = Counters()
        self.deadlines = DeadlineHeap(self.now)
        self.vigil = Vigil(self, liveness)
        self.registry = Registry(self)
        self.tasks_only = False
        """Whether every actor has a task of its own, also one that needs none."""
        self.closing = False
        self.tasks_left = 0
        """Tasks of actors that still ran when everything had been stopped: leaks, until they end."""
        self._nursery = nursery
        self._roots: dict[str, Cell] = {}
        self._live = 0
        self.correlate: Callable[[], int] = itertools.count(1).__next__
        """Return a new correlation number, for a question that starts a chain."""
        self._wedged: dict[Cell, None] = {}
        self.vacated: TaskLife | None = None
        """Who is ending right now and leaves its task to a successor that is started in this very turn."""
        self.fatal: BaseException | None = None
        self.on_fatal: Callable[[], None] | None = None
        self.alarm = self.backend.alarm(self.deadlines.fire, nursery)
        self.deadlines.attach(self.alarm)
        self.pump = Pump(self)
        nursery.start_soon(self.pump.run, name=f"{name}.pump")
        self.portal = Portal(self)
        """The way in for code on other threads."""

    # -- what embedders use

    async def start(self, name: str, factory: Callable[[], Actor], *, timeout: float | None = None) -> Ref:
        """Start an actor at the top of the system and return its ref.

        Raises `StartFailed`.  It is nobody's child: when it ends it stays ended, and its
        mail is refused.  Everything that others must rely on belongs under a supervisor.
        """
        cell = Cell(self, self.registry.slot(check_name(name)), factory, None, ())
        try:
            await cell.start(timeout)
        except BaseException:
            cell.kill()
            raise
        return cell.slot.ref

    def ref(self, path: str) -> Ref:
        """Return the ref of a path.  What is sent before the actor is started waits for it."""
        return self.registry.slot(check_path(path)).ref

    def inspect(self, target: Ref | str) -> Inspection:
        """Return what can be asked of an actor from outside: suspended, looked at, observed (S21-S23).

        Named by its ref or its path; `NoSuchActor` for a path that nobody has named yet.
        """
        if isinstance(target, Ref):
            return Inspection(target.slot)
        slot = self.registry.find(target)
        if slot is None:
            raise NoSuchActor(target)
        return Inspection(slot)

    async def wait_ended(self, ref: Ref) -> Outcome:
        """Wait until the actor at the top of the system that `ref` names has ended, and return how."""
        cell = ref.slot.cell
        outcome = await cell.wait_ended() if cell is not None else None
        # A wedged task goes on; what its slot says is how it counts.
        outcome = outcome or ref.slot.outcome
        if outcome is None:
            raise ActorGone(ref.path, why="it was never started")
        return outcome

    def watch(self, ref: Ref, tell: Callable[[Down], None]) -> Callable[[], None]:
        """Call `tell` for each incarnation of the actor that ends; returns what takes the watch back."""
        return ref.slot.watch_from_outside(tell)

    async def stop(self) -> None:
        """Stop everything in reverse order of start, under the overall deadline.

        What still runs then is killed; what survives that is wedged and raised as
        `StopDeadlineExceeded`.  Called by the end of `open_system`; calling it twice is once.
        """
        self.closing = True
        deadline = self.now() + self.stop_deadline
        for cell in reversed(tuple(self._roots.values())):
            await cell.stop(max(0.001, deadline - self.now()), final=True)
        self._roots.clear()
        self.portal.close()
        for slot in self.registry:
            slot.close()
        # The tasks of those that ended at once have their last turn: what is left then is a leak.
        await self.backend.checkpoint()

    def statistics(self) -> Statistics:
        """Return a snapshot."""
        counters = self.counters
        return Statistics(
            actors=sum(slot.cell is not None for slot in self.registry),
            tasks=self._live,
            slots=len(self.registry),
            deadlines=len(self.deadlines) - (not self.vigil.idle),
            dead_letters=counters.dead_letters,
            late_replies=counters.late_replies,
            stale_notices=counters.stale_notices,
            coalesced_ticks=counters.coalesced_ticks,
            wedged=self.wedged,
        )

    @property
    def wedged(self) -> tuple[str, ...]:
        """The paths of tasks that went on after they were killed."""
        return tuple(cell.slot.path for cell in self._wedged)

    # -- what cells use

    def spawn(self, fn: Callable[[*Ts], Awaitable[None]], name: str, *args: *Ts) -> None:
        """Run a task in the flat nursery, under the name of its actor's path."""
        self._live += 1
        self._nursery.start_soon(self._counted, fn, args, name=name)

    async def _counted(self, fn: Callable[..., Awaitable[None]], args: tuple[object, ...]) -> None:
        running = fn(*args)
        del args  # not kept for as long as the task lives
        try:
            await running
        except BaseException as error:  # noqa: BLE001 - let out, it would cancel every actor at once
            # Every failure of an actor has become an outcome before it comes here: this is Ctrl-C in
            # the middle of the kernel, or a bug of it.
            self.abort(error)
        finally:
            self._live -= 1

    @property
    def tasks(self) -> int:
        """How many tasks of actors run now; zero after a clean stop."""
        return self._live

    def cell_started(self, cell: Cell) -> None:
        """Take a cell at the top of the system among those that the end of the system stops."""
        self._roots[cell.slot.path] = cell

    def cell_ended(self, cell: Cell) -> None:
        """Forget an ended incarnation.  One at the top is nobody's to restart: it and all below are gone."""
        if self._roots.get(cell.slot.path) is cell:
            del self._roots[cell.slot.path]
            self.registry.close_below(cell.slot.path, cell.outcome)

    def dead_letter(self, path: str, message: object, why: str) -> None:
        """Count and announce a message that nobody handles."""
        self.counters.dead_letters += 1
        if not self.events.heard:
            return
        inner = message.message if isinstance(message, Question) else message
        self.events.publish(DeadLetter(path=path, message_type=type(inner).__name__, why=why, at=self.now()))

    def abort(self, error: BaseException) -> None:
        """End the whole runtime: KeyboardInterrupt, SystemExit and MemoryError are nobody's to restart."""
        if self.fatal is None:
            self.fatal = error
            if self.on_fatal is not None:
                self.on_fatal()

    def held_resource(self, wanted: tuple[str, ...]) -> tuple[str, str] | None:
        """Return the first wanted resource that a wedged task holds, and the task's path."""
        for holder in self._wedged:
            for resource in wanted:
                if resource in holder.exclusive:
                    return resource, holder.slot.path
        return None

    def hold_resources(self, cell: Cell) -> None:
        """Keep a wedged task's exclusive resources from its successors."""
        self._wedged[cell] = None

    def release_resources(self, cell: Cell) -> None:
        """A wedged task has ended after all."""
        self._wedged.pop(cell, None)

    def closed_error(self) -> SystemClosed:
        """Return the refusal of a start in a system that ends."""
        return SystemClosed(self.name)
