"""What an incarnation has and loses at its end: timers, claimed questions, watches, child tasks, keys.

Each kind is made on first use: most of a hundred thousand idle actors have none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING

from holdfast.runtime.asks import Pending, ReplyToken
from holdfast.runtime.child_task import ChildTask
from holdfast.runtime.errors import ActorCrashed, DefinitionError
from holdfast.runtime.mailbox import Tick
from holdfast.runtime.messages import Answer
from holdfast.runtime.seconds import is_seconds

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.outcomes import Outcome
    from holdfast.runtime.registry import Slot
    from holdfast.runtime.timers import Deadline

__all__ = ["Holdings"]


class Holdings:
    """The belongings of one incarnation."""

    __slots__ = ("_asked", "_attached", "_cell", "_tasks", "_timers", "_tokens", "_watched")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._timers: dict[Hashable, Deadline] = {}
        self._tokens: dict[Pending, None] = {}
        self._asked: dict[Pending, None] = {}
        self._watched: dict[Slot, None] = {}
        self._tasks: dict[Hashable, ChildTask] = {}
        self._attached: dict[Hashable, Callable[[], None]] = {}

    # -- what others keep in its name: keys of a registry, tasks that must not outlive it

    def attach(self, key: Hashable, release: Callable[[], None]) -> None:
        """Have `release` called when the incarnation ends, before anybody is told; it must not raise."""
        self._attached[key] = release

    def detach(self, key: Hashable) -> None:
        """There is nothing to release any more; an unknown key is nothing."""
        self._attached.pop(key, None)

    # -- timers

    def set_timer(self, delay: float, message: object, key: Hashable, period: float | None) -> None:
        """Send the actor a message after `delay` and then every `period`; the same key replaces."""
        if not is_seconds(delay) or (period is not None and period == 0):
            what = "delay is 0 or more" if period is None else "period is more than 0"
            raise DefinitionError(f"a timer's {what}, in seconds, and not infinite; got {delay!r}")
        self.cancel_timer(key)
        cell = self._cell
        tick = Tick(message, cell.incarnation)
        deadlines = cell.system.deadlines

        def fire() -> None:
            fired = self._timers.pop(key)
            if period is not None:
                # From the set time, not from now: a periodic timer does not drift.  What a blocked
                # loop has missed is left out, and the rhythm stays.
                missed = max(0, int((cell.system.now() - fired.when) / period))
                cell.system.counters.coalesced_ticks += missed
                self._timers[key] = deadlines.add(fired.when + (missed + 1) * period, fire)
            if tick.waiting:
                cell.system.counters.coalesced_ticks += 1
            else:
                tick.waiting = True
                cell.slot.post(tick)

        self._timers[key] = deadlines.add(cell.system.now() + delay, fire)

    def cancel_timer(self, key: Hashable) -> None:
        """Forget a timer; one that has fired is nothing."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    # -- claimed questions

    def take_token(self) -> ReplyToken:
        """Claim the question being answered: the answer comes later."""
        cell = self._cell
        pending = cell.question
        if pending is None:
            # The question was told, not asked: it is handled all the same, and its answer reaches nobody.
            return ReplyToken(cell.system.counters, _nobodys(cell.slot.path))
        if pending.claims is not None:
            raise DefinitionError(
                f"reply_later() is called once for a question; {cell.slot.path} is answering one "
                f"that is claimed already"
            )
        pending.claims = self._tokens
        self._tokens[pending] = None
        return ReplyToken(cell.system.counters, pending)

    # -- questions asked without waiting

    def expect_answer(self, pending: Pending, key: Hashable) -> None:
        """Deliver what comes of a question as an `Answer`; withdraw it when the incarnation ends first."""
        self._asked[pending] = None

        def on_done() -> None:
            self._asked.pop(pending, None)
            self._cell.context.deliver(Answer(key=key, value=pending.value, error=pending.error))

        pending.on_done = on_done

    # -- watches

    def watch(self, slot: Slot) -> None:
        """Have the actor told of each end of an incarnation of `slot`."""
        cell = self._cell
        self._watched[slot] = None
        slot.watch((cell.slot, cell.incarnation), cell.slot, cell.incarnation)

    def unwatch(self, slot: Slot) -> None:
        """Have it told no more."""
        self._watched.pop(slot, None)
        slot.unwatch((self._cell.slot, self._cell.incarnation))

    # -- child tasks

    def spawn(self, fn: Callable[..., Awaitable[None]], args: tuple[object, ...], key: Hashable) -> None:
        """Run a task of the actor beside its loop."""
        cell = self._cell
        if key in self._tasks:
            raise DefinitionError(f"{cell.slot.path} already runs a task {key!r}: cancel_task it first")
        task = ChildTask(cell, fn, args, lambda: self._forget(task))
        task.key = key
        self._tasks[key] = task
        cell.system.spawn(task.run, f"{cell.slot.path}#{getattr(fn, '__name__', 'task')}")

    def cancel_task(self, key: Hashable) -> None:
        """Cancel a child task; it ends on its own time, and its key is free at once."""
        task = self._tasks.pop(key, None)
        if task is not None:
            # Kept under a name of its own until it ends: the actor ends only after it.
            task.key = task
            self._tasks[task] = task
            task.cancel()

    def _forget(self, task: ChildTask) -> None:
        self._tasks.pop(task.key, None)

    def cancel_tasks(self) -> None:
        """Cancel every child task."""
        for task in tuple(self._tasks.values()):
            task.cancel()

    @property
    def tasks(self) -> tuple[ChildTask, ...]:
        """The child tasks that have not ended."""
        return tuple(self._tasks.values())

    # -- the end

    def release(self, outcome: Outcome) -> None:
        """Forget all timers and watches, fail what was claimed and not answered, withdraw what was asked."""
        while self._attached:
            self._attached.popitem()[1]()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for slot in tuple(self._watched):
            self.unwatch(slot)
        for pending in tuple(self._tokens):
            pending.fail(ActorCrashed(self._cell.slot.path, outcome))
        for pending in tuple(self._asked):
            pending.on_done = None
            pending.withdraw()
        self._asked.clear()


def _nobodys(path: str) -> Pending:
    """Return a question that nobody waits for."""
    pending = Pending(path, None, 0.0, 0.0)
    pending.withdraw()
    return pending
