"""One incarnation of an actor as its supervisor sees it: started, asked to stop, killed, waited for.

What the incarnation itself does between its start and its end is in `life.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context as Variables
from contextvars import copy_context
from typing import TYPE_CHECKING, Literal

from holdfast.runtime import starting
from holdfast.runtime.asks import Waiter, waiting_cell
from holdfast.runtime.behavior import Actor, Ignore, Info
from holdfast.runtime.context import Context
from holdfast.runtime.errors import (
    ActorGone,
    StartFailed,
)
from holdfast.runtime.events import TaskWedged
from holdfast.runtime.holdings import Holdings
from holdfast.runtime.identity import join
from holdfast.runtime.life import Life
from holdfast.runtime.loop import Loop
from holdfast.runtime.mailbox import Notice, StopMark
from holdfast.runtime.messages import Ended
from holdfast.runtime.outcomes import KILLED, Crash, Outcome

if TYPE_CHECKING:
    from holdfast.runtime.asks import Pending
    from holdfast.runtime.liveness import LivenessSpec
    from holdfast.runtime.registry import Slot
    from holdfast.runtime.system import System

__all__ = ["Cell"]


_CHILDLESS: dict[str, Cell] = {}  # stands for the children of nearly every cell: it never had one


class Cell:
    """An incarnation: start it, ask it to stop, wait for its end, kill it."""

    __slots__ = (
        "_factory", "_holdings", "_killed", "_life", "_requested", "_sentence", "_variables",
        "_waiters", "_wedged", "children", "context", "ended", "exclusive", "in_hook", "incarnation", "loop",
        "on_child_ended", "on_failure_below", "outcome", "parent", "slot", "starter", "stop_allowance",
        "system", "waiting_for",
    )  # fmt: skip

    def __init__(
        self,
        system: System,
        slot: Slot,
        factory: Callable[[], Actor],
        parent: Cell | None,
        exclusive: tuple[str, ...],
        liveness: LivenessSpec | None = None,
    ) -> None:
        self.system = system
        self.slot = slot
        self.parent = parent
        self.incarnation = slot.incarnation + 1
        self.exclusive = exclusive
        self.outcome: Outcome | None = None
        """How it ended; None while it runs."""
        self.ended = False
        self.children: dict[str, Cell] = _CHILDLESS
        """The running cells that this actor opened, by path; only supervisors have any."""
        self.in_hook = True
        """Whether a start or stop hook runs, where waiting for others may never end."""
        self.waiting_for: tuple[Slot, ...] = ()
        """Whom this actor's loop waits for: the edges of the graph that asks are checked against."""
        self.on_failure_below: Callable[[str, Outcome], bool] | None = None
        """Told of each abnormal end by itself anywhere below, at once; True takes it over (see `Life`)."""
        self.on_child_ended: Callable[[Ended], None] | None = None
        """Called in place of an `Ended` in the mail, where this actor waits for mail: none is before it."""
        self.stop_allowance: float | None = system.stop_deadline
        """How long the stop hook may take when nobody asked for the stop; None for ever."""
        self.context = Context(self)
        self.loop = Loop(system, slot, self.incarnation)
        self.loop.liveness = liveness
        self._holdings: Holdings | None = None
        self._factory = factory
        self._life: Life | None = None
        self._requested: Literal["", "restart", "final"] = ""
        self._killed = False
        self._sentence: Crash | None = None
        self._wedged = False
        self._variables: Variables | None = None
        self.starter: Waiter | None = None
        """Who waits for its start hook."""
        self._waiters: list[Waiter] | None = None

    @property
    def running(self) -> bool:
        """Whether its start hook has returned and it has not been asked to end."""
        return self.slot.cell is self and self.slot.running

    @property
    def life(self) -> Life:
        """What it lives through, from its start on."""
        assert self._life is not None, "it was never started"
        return self._life

    @property
    def question(self) -> Pending | None:
        """The question being answered right now."""
        return self.loop.question

    @property
    def holdings(self) -> Holdings:
        """Timers, claimed questions, watches and child tasks."""
        if self.ended:
            raise ActorGone(self.slot.path, self.outcome)
        if self._holdings is None:
            self._holdings = Holdings(self)
        return self._holdings

    def open_child(
        self,
        name: str,
        factory: Callable[[], Actor],
        *,
        exclusive: tuple[str, ...] = (),
        liveness: LivenessSpec | None = None,
    ) -> Cell:
        """Return a new incarnation under this actor; nothing runs until `start`."""
        registry = self.system.registry
        # A name that has a slot was checked when that was made.
        slot = registry.find(f"{self.slot.path}/{name}") or registry.slot(join(self.slot.path, name))
        return Cell(self.system, slot, factory, self, exclusive, liveness)

    # -- the start -----------------------------------------------------------------------------------

    async def start(self, timeout: float | None = None) -> Info | Ignore | None:
        """Run it, and return when its start hook has: None, `Info`, or `IGNORE` (nothing runs then).

        Raises `StartFailed` with the reason: the factory or the hook raised, the
        hook took longer than `timeout`, another incarnation runs there (it goes on), or
        a wedged task holds an exclusive resource.  Cancelled while it waits, the
        incarnation is left to its parent's end.
        """
        if self.begin():
            await self.system.pump.breathe()
        else:
            await self.wait_started(timeout)
        return self.start_reply()

    def begin(self) -> bool:
        """Start it as far as nothing has to be waited for; True when the start is over, well or not."""
        starting.begin(self)
        return self.ended or self.life.announced

    async def wait_started(self, timeout: float | None) -> None:
        """Wait for what the start hook waits for, up to `timeout` seconds."""
        await starting.wait(self, timeout)

    def start_reply(self) -> Info | Ignore | None:
        """Return what the start hook returned, or raise `StartFailed`."""
        life = self.life
        if life.start_error is not None:
            raise StartFailed(self.slot.path, life.start_error) from life.start_error
        return life.reply

    @property
    def variables(self) -> Variables:
        """The context variables that its children start with: those of the time when the first was opened."""
        if self._variables is None:
            self._variables = copy_context()
        return self._variables

    # -- the stop ------------------------------------------------------------------------------------

    def stop_at_once(self, *, final: bool) -> bool:
        """Stop it here and now; False when that would have something to wait for, and nothing was done.

        An idle actor without a stop hook of its own ends so, and its successor can follow it at once.
        """
        if self.ended:
            return True
        if self._life is None or not self._life.stops_at_once or self._wedged:
            return False
        self._request(final=final)
        self._life.end_idle()
        return True

    async def stop(self, allowance: float | None, *, final: bool) -> Outcome | None:
        """Ask it to stop, wait up to `allowance` seconds, then kill it and wait for the end (R18).

        None as the allowance waits for ever; zero kills without asking.  Returns None
        when the task is wedged: it went on after the kill and its grace; it is
        reported then, and its exclusive resources stay held.
        """
        if allowance != 0:
            self.request_stop(final=final)
            await self.wait_ended(allowance)
        elif not self.ended:
            self._request(final=final)
        self.kill()
        return await self._wait_killed(self.system.now() + self.system.kill_grace)

    async def _wait_killed(self, deadline: float) -> Outcome | None:
        """Wait until a killed cell has ended; past the deadline it is wedged."""
        await self.wait_ended(max(0.0, deadline - self.system.now()))
        if self.life.leaving:
            # Its own code has ended.  What it had started is given graces of its own: a task that
            # is wedged there does not make this one so.
            await self.wait_ended()
        if not self.ended:
            self.mark_wedged()
        return self.outcome

    def request_stop(self, *, final: bool) -> None:
        """Ask it to stop.  Nothing happens when it has ended.

        A final stop closes the mailbox at once and still handles what came before
        (R22).  A stop for a restart does neither: the mail stays for the next
        incarnation, and the handler in progress is the last one to run.  Nor does
        one of a suspended actor whose mail does not outlive its incarnation: calls
        that wait at a suspended supervisor have no effect (R44).
        """
        if self.ended or self._wedged or self._requested == "final":
            return
        self._request(final=final)
        if final and not (self.loop.suspended and self.life.discards_mail):
            self.slot.mailbox.post(StopMark())
            self.loop.let_go()
        else:
            self.loop.stop_now()

    def _request(self, *, final: bool) -> None:
        if self._requested != "final":
            self._requested = "final" if final else "restart"
        slot = self.slot
        if slot.cell is not self:
            return  # a wedged one has left the slot to its successor
        if final:
            slot.mailbox.close()
        if slot.running:
            slot.state = "stopping"

    def kill(self) -> None:
        """End it at once: no stop hook.  What shields itself or blocks the thread goes on (see `stop`)."""
        if self.ended:
            return
        self._killed = True
        self.loop.killed = True
        self.loop.signal()
        if self._life is not None:
            self._life.cancel()

    def condemn(self, reason: BaseException) -> None:
        """End it because it has failed without raising: as by a kill, but the outcome is a crash.

        Past its grace it is wedged, and its supervisor is told of the same crash.
        """
        if self.ended or self.asked_to_end:
            return
        self._sentence = Crash(reason)
        self.loop.killed = True
        self.loop.signal()
        self.life.cancel()
        self.system.deadlines.add(self.system.now() + self.system.kill_grace, self._outlived)

    def _outlived(self) -> None:
        if not self.ended and not self.life.leaving and self._sentence is not None:
            self.mark_wedged(self._sentence)

    @property
    def forced_outcome(self) -> Outcome | None:
        """The outcome that it has whatever its code makes of the end: it was killed or condemned."""
        return KILLED if self._killed else self._sentence

    @property
    def asked_to_end(self) -> bool:
        """Whether its end was requested, or forced: it is judged by its allowance from then on."""
        return bool(self._requested) or self._killed or self._sentence is not None or self._wedged

    async def wait_ended(self, timeout: float | None = None) -> Outcome | None:
        """Wait for its end and return the outcome; None when it still runs after `timeout`, or is wedged."""
        if not self.ended and not self._wedged:
            await self._sleep_until_ended(timeout)
        return self.outcome

    async def _sleep_until_ended(self, timeout: float | None) -> None:
        system = self.system
        waiter = Waiter(waiting_cell(), self.slot)
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        deadline = None
        if timeout is not None:
            deadline = system.deadlines.add(system.now() + timeout, waiter.wake)
        try:
            await waiter.sleep()
        finally:
            self._waiters.remove(waiter)
            waiter.leave()
            if deadline is not None:
                deadline.cancel()

    # -- wedged --------------------------------------------------------------------------------------

    @property
    def wedged(self) -> bool:
        """Whether it went on after it was killed."""
        return self._wedged and not self.ended

    def mark_wedged(self, outcome: Outcome = KILLED) -> None:
        """Report a task that cannot be ended, and hold its exclusive resources until it does end.

        The slot is free for a successor from now on; what the task still does concerns nobody.
        """
        if self._wedged or self.ended:
            return
        self._wedged = True
        self.system.hold_resources(self)
        event = TaskWedged(
            path=self.slot.path,
            incarnation=self.incarnation,
            stack=self.stack(),
            resources=self.exclusive,
            at=self.system.now(),
        )
        self.slot.record(event)
        self.system.events.publish(event)
        for child in self.children.values():
            child._request(final=self._final)
            child.kill()
        self.life.release(outcome)
        if self.life.leave(outcome):
            self.tell_parent(outcome)
        self._tell_waiters()

    def stack(self) -> str:
        """Return where its task and its child tasks stand, innermost frame last."""
        tasks = self._holdings.tasks if self._holdings is not None else ()
        return "\n".join([self.own_stack(), *(task.stack() for task in tasks)])

    def own_stack(self) -> str:
        """Return where its own task stands, innermost frame last; empty for what has no task."""
        return self.life.stack()

    # -- control, ahead of the mail ------------------------------------------------------------------

    def suspend(self) -> None:
        """Stop handling mail after the present handler; mail waits.  Twice is once (S22)."""
        self.loop.suspend()

    def resume(self) -> None:
        """Go on where `suspend` or a drain stopped; on a running actor this is nothing."""
        if self.loop.held:
            self.loop.let_go()

    @property
    def suspended(self) -> bool:
        """Whether it holds its mail back."""
        return self.loop.held

    async def drain(self) -> None:
        """Let the present handler finish, run `on_drain`, then hold the mail until a stop or `resume`.

        Returns when that is done or the cell has ended; a cancelled wait leaves the cell draining.
        """
        if not self.ended:
            await self.loop.drain()

    def tell_parent(self, outcome: Outcome) -> None:
        """Tell who supervises that it ended by itself: at once when that one waits for mail, else by mail."""
        parent = self.parent
        assert parent is not None, "leave() found one"
        ended = Ended(self.slot.path, self.incarnation, outcome)
        if parent.on_child_ended is None or not parent.life.waits_for_mail:
            parent.slot.post(Notice(ended, parent.incarnation))
            return
        try:
            parent.on_child_ended(ended)
        except BaseException as error:  # noqa: BLE001 - it ran in the name of the parent, whose crash it is
            parent.life.child_task_failed(error)

    @property
    def _final(self) -> bool:
        """Whether nobody is going to start a successor: it was said so, or there is nobody who could."""
        return self._requested == "final" or (self.parent is None and not self._requested)

    def _tell_waiters(self) -> None:
        if self.starter is not None:
            self.starter.wake()
        loop = self.loop
        if loop.attended:
            loop.tell_drained()
            loop.close_lane(ActorGone(self.slot.path, self.outcome))
        if self._waiters:
            for waiter in self._waiters:
                waiter.wake()

    def __repr__(self) -> str:
        return f"<Cell {self.slot.path} incarnation={self.incarnation} {self.outcome or self.slot.state}>"
