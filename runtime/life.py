"""What one incarnation lives through: hooks, mail, and the taking down of what it started.

This is the part that both tiers share; who drives it is in `task.py` (a task of
its own) and in `pump.py` (the one task that all task-less actors share).

Every exception of an actor ends here and becomes an outcome; none reaches the
nursery, which all actors share, so that a task that cannot be ended pins nobody.
An end is judged in this order, by what was requested and never by the type of
an exception:

 1. it was killed                -> killed, whatever the task made of the cancellation
 2. anything was raised          -> crash; a cancellation that nobody requested counts as raised
 3. it stopped itself            -> what it said, normal by default; its own word is kept (R21)
 4. it was asked to stop         -> shutdown
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from holdfast.runtime import crash
from holdfast.runtime.asks import Caller, set_caller
from holdfast.runtime.behavior import Actor, Ignore, Info, StartReply, returned
from holdfast.runtime.errors import ActorCrashed, ActorGone, DefinitionError
from holdfast.runtime.events import ActorEnded, ActorStarted, ActorStartFailed
from holdfast.runtime.outcomes import NORMAL, Crash, Outcome, describe
from holdfast.runtime.stop_hook import limit_stop_hook

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell

__all__ = ["Life"]


class Life:
    """The life of one cell, from its factory to the notice of its end."""

    __slots__ = ("_actor", "_cell", "_reported", "announced", "leaving", "reply", "start_error")

    def __init__(self, cell: Cell, actor: Actor | None) -> None:
        self._cell = cell
        self._actor = actor
        self._reported: Crash | None = None
        self.announced = False
        """Whether the start hook has returned: only then its end is told to others than the starter."""
        self.leaving = False
        """Whether its own code has ended, and what it had started is being taken down."""
        self.reply: StartReply = None
        self.start_error: BaseException | None = None

    # -- what the two tiers do in their own ways

    def start(self) -> None:
        """Have the start hook run, and then the mail handled."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Cut short whatever waits: the cell was killed."""

    def stack(self) -> str:
        """Return where its code stands, innermost frame last; empty for what has no task."""
        return ""

    @property
    def cancel_called(self) -> bool:
        """Whether a cancellation of this very life was requested."""
        return False

    @property
    def actor(self) -> Actor | None:
        """The actor itself; None before it is made and when it has ended."""
        return self._actor

    def handles(self, message: type[object]) -> bool:
        """Whether the actor has a handler for this type; False before it is made and when it has ended."""
        return self._actor is not None and message in type(self._actor).handlers

    @property
    def waits_for_mail(self) -> bool:
        """Whether it has nothing to do until mail comes."""
        return False

    @property
    def stops_at_once(self) -> bool:
        """Whether a stop would have nothing to wait for: no handler, no hook in a task, nobody below."""
        return self.waits_for_mail and self.ends_at_once

    def end_idle(self) -> None:
        """End here and now: it was asked to stop, and nothing has to be waited for (`stops_at_once`)."""
        raise NotImplementedError

    # -- from the start to the stop hook

    def call_start_hook(self) -> StartReply | Awaitable[StartReply]:
        """Call the start hook and return what it returns, to be waited for if it is `async def`."""
        actor = self._actor
        assert actor is not None
        # A look into `__dict__` makes a dict of it: from then on each attribute costs a handler 25 ns more.
        if hasattr(actor, "context") and "context" in vars(actor):
            raise DefinitionError(
                f"the factory of {self._cell.slot.path} makes a new actor for each incarnation, "
                f"got the one that has been {actor.context.path}"
            )
        actor.context = self._cell.context
        self._cell.slot.mailbox.configure(type(actor).mailbox)
        return actor.on_start()

    def opened(self, reply: object) -> Outcome | None:
        """Announce that the start hook has returned; an outcome when there is nothing to serve."""
        if reply is not None:
            if not isinstance(reply, Ignore | Info):
                raise DefinitionError(
                    f"on_start of {self._cell.slot.path} returns None, IGNORE or Info(...), got {reply!r}"
                )
            self.reply = reply
            if isinstance(reply, Ignore):
                return NORMAL
        self._announce()
        return None

    def start_failed(self, error: BaseException) -> Outcome:
        """Take what the factory or the start hook raised as the outcome, and as the starter's to know."""
        outcome = self.judge(error)
        self.start_error = outcome.exception
        return outcome

    def crashed(self, error: BaseException) -> Outcome:
        """Take what a handler or a child task raised as the outcome."""
        outcome = self.judge(error)
        self._settle_message(outcome)
        return outcome

    def _announce(self) -> None:
        cell = self._cell
        slot = cell.slot
        slot.state = "stopping" if cell._requested else "running"
        slot.outcome = None
        slot.started_at = cell.system.now()
        slot.announce(ActorStarted(path=slot.path, incarnation=cell.incarnation, at=slot.started_at))
        cell.in_hook = False
        self.announced = True
        if cell.starter is not None:
            cell.starter.wake()

    async def finish(self, outcome: Outcome) -> Outcome:
        """Cancel the child tasks and run the stop hook; what it raises becomes the outcome (S19)."""
        assert self._actor is not None
        self._cancel_child_tasks()
        if type(self._actor).on_stop is Actor.on_stop:
            return outcome
        self._cell.in_hook = True
        overdue = limit_stop_hook(self._cell, outcome)
        try:
            await returned(self._actor, self._actor.on_stop(outcome))
        except BaseException as error:
            if self.cancel_called:
                raise
            return self.judge(error)
        finally:
            if overdue is not None:
                overdue.cancel()
        return outcome

    def judge(self, error: BaseException) -> Crash:
        return crash.judge(self._cell.system, self._cell.slot.path, error)

    def _report(self, outcome: Crash) -> None:
        if self._reported is not outcome and outcome.exception is not self.start_error:
            self._reported = outcome
            self._tell(outcome, self._cell.loop.message)

    def _tell(self, outcome: Crash, message: object) -> None:
        cell = self._cell
        crash.report(cell.system, cell.slot, cell.incarnation, outcome, message, self._actor)

    # -- the end -------------------------------------------------------------------------------------

    async def end(self, outcome: Outcome | None) -> None:
        """Take everything down that this incarnation had, then tell who must know.

        It waits for nothing where no children and no child tasks are left.
        """
        outcome = self._as_forced(outcome)
        self.leaving = True
        if not self.ends_at_once:
            try:
                await self._end_what_it_started(outcome)
            except self._cell.system.backend.cancelled:
                # asyncio lets anyone cancel a task; who has been taken down half way goes on to the end.
                self._cell.system.backend.forgive_cancellation()
                await self._end_what_it_started(outcome)
        self._depart(outcome)

    def end_at_once(self, outcome: Outcome | None) -> None:
        """The same where nothing has to be waited for (`ends_at_once`)."""
        if outcome is None or self._cell.loop.killed:
            outcome = self._as_forced(outcome)
        self.leaving = True
        self._depart(outcome)

    def _as_forced(self, outcome: Outcome | None) -> Outcome:
        forced = self._cell.forced_outcome
        if forced is not None:
            if isinstance(outcome, Crash):
                self._report(outcome)
            outcome = forced
        assert outcome is not None, "only a killed or condemned body returns nothing"
        return outcome

    def _depart(self, outcome: Outcome) -> None:
        cell = self._cell
        if cell.loop.failure is not None:
            outcome = self._count_late_failure(outcome)
        if not self.announced and self.start_error is None and not isinstance(self.reply, Ignore):
            self.start_error = ActorGone(cell.slot.path, outcome)
        self.release(outcome)
        cell.outcome = outcome
        cell.ended = True
        told = self.leave(outcome)
        if cell._wedged:
            cell.system.release_resources(cell)
        if cell.parent is None:
            cell.system.cell_ended(cell)
        cell._tell_waiters()
        self._actor = None
        if told:
            # Last, because the successor may be started before this returns.
            cell.tell_parent(outcome)

    @property
    def ends_at_once(self) -> bool:
        """Whether nothing that it started would have to be waited for."""
        holdings = self._cell._holdings
        return not self._cell.children and (holdings is None or not holdings.tasks)

    def end_soon(self, outcome: Outcome) -> None:
        """End here and now, or in a task for just that where something has to be waited for."""
        if self.ends_at_once:
            self.end_at_once(outcome)
        else:
            self.leaving = True
            self._cell.system.spawn(self._end_in_task, self._cell.slot.path, outcome)

    async def _end_in_task(self, outcome: Outcome) -> None:
        set_caller(Caller(self._cell, in_loop=True))
        await self.end(outcome)

    async def _end_what_it_started(self, outcome: Outcome) -> None:
        self._cancel_child_tasks()
        if self._cell.children:
            await self._end_children()
        await self._end_child_tasks(outcome)

    async def _end_children(self) -> None:
        """A supervisor that ends for any reason leaves no running child (R23)."""
        children = list(self._cell.children.values())
        for child in children:
            child._request(final=self._cell._final)
            child.kill()
        deadline = self._cell.system.now() + self._cell.system.kill_grace
        for child in reversed(children):
            await child._wait_killed(deadline)

    def _cancel_child_tasks(self) -> None:
        if self._cell._holdings is not None:
            self._cell._holdings.cancel_tasks()

    async def _end_child_tasks(self, outcome: Outcome) -> None:
        holdings = self._cell._holdings
        if holdings is None or not holdings.tasks:
            return
        # A task that shields itself is wedged: what waits for this cell is told so, not held up.
        grace = self._cell.system.deadlines.add(
            self._cell.system.now() + self._cell.system.kill_grace, lambda: self._cell.mark_wedged(outcome)
        )
        try:
            while holdings.tasks:  # the clean-up of one may have spawned another
                holdings.cancel_tasks()
                await holdings.tasks[0].wait_ended()
        finally:
            grace.cancel()

    def child_task_failed(self, failure: BaseException) -> None:
        """Take a child task's failure as the actor's own; a second one is reported beside it."""
        fatal = crash.fatal_in(failure)
        if fatal is not None:
            self._cell.system.abort(fatal)
        if self._cell.loop.failure is None and not self._cell.ended:
            self._cell.loop.failure = failure
            self._cell.loop.signal()
        else:
            self._tell(self.judge(failure), None)

    def _count_late_failure(self, outcome: Outcome) -> Outcome:
        """Return the outcome with what a child task made of its cancellation, as if `on_stop` had (S19)."""
        failure, self._cell.loop.failure = self._cell.loop.failure, None
        if failure is None:
            return outcome
        late = self.judge(failure)
        if outcome.orderly:
            return late
        self._tell(late, None)
        return outcome

    def release(self, outcome: Outcome) -> None:
        if self._cell._holdings is not None:
            self._cell._holdings.release(outcome)
        self._settle_message(outcome)

    def _settle_message(self, outcome: Outcome) -> None:
        """Fail the question being handled, and make a dead letter of the message: it is not handled again."""
        loop = self._cell.loop
        if self._reported is outcome and loop.message is None and loop.question is None:
            return  # a crash that was settled when it happened
        if loop.question is not None and loop.question.claims is None:
            loop.question.fail(ActorCrashed(self._cell.slot.path, outcome))
        loop.question = None
        if isinstance(outcome, Crash):
            self._report(outcome)
        if loop.message is None:
            return
        message, loop.message = crash.inner_message(loop.message), None
        if message is not None and not outcome.orderly:
            self._cell.system.dead_letter(self._cell.slot.path, message, "being handled when the actor ended")

    @property
    def discards_mail(self) -> bool:
        """Whether the mail belongs to this incarnation and is of no use to a successor."""
        return self._actor is not None and type(self._actor).mailbox.on_restart == "discard"

    def leave(self, outcome: Outcome) -> bool:
        """Give the slot free for a successor, and tell who watches; whether to tell who supervises."""
        slot, parent = self._cell.slot, self._cell.parent
        if parent is not None and parent.children.get(slot.path) is self._cell:
            del parent.children[slot.path]
        if slot.cell is not self._cell:
            return False
        slot.cell = None
        slot.state = "down"
        slot.outcome = outcome
        if self.discards_mail:
            slot.discard("discarded at the restart")
        if self._cell._final:
            self._cell.system.registry.close_below(slot.path, outcome)
        if self.start_error is not None:
            self.emit_start_failed(self.start_error)
        if not self.announced:
            return False
        at, incarnation = self._cell.system.now(), self._cell.incarnation
        slot.announce(ActorEnded(path=slot.path, incarnation=incarnation, outcome=str(outcome), at=at))
        if slot.watchers is not None:
            slot.tell_watchers()
        return (
            not self._cell._requested
            and parent is not None
            and not parent.ended
            and self._cell.system.fatal is None
            and not self._taken_over(outcome)
        )

    def _taken_over(self, outcome: Outcome) -> bool:
        """Tell those above that listen, the topmost first; what one takes over, the parent is not told.

        A call, no message: what is counted is the moment of the failure, however busy those in between are.
        """
        if outcome.orderly:
            return False
        listeners: list[Callable[[str, Outcome], bool]] = []
        above = self._cell.parent
        while above is not None:
            if above.on_failure_below is not None:
                listeners.append(above.on_failure_below)
            above = above.parent
        path = self._cell.slot.path
        return bool(listeners) and any(listener(path, outcome) for listener in reversed(listeners))

    def emit_start_failed(self, reason: BaseException) -> None:
        self._cell.slot.announce(
            ActorStartFailed(
                path=self._cell.slot.path,
                incarnation=self._cell.incarnation,
                reason=describe(reason),
                at=self._cell.system.now(),
            )
        )
