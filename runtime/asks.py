"""Questions that wait for an answer, and the graph of who waits for whom.

A question ends exactly once: answered, failed, out of time, or withdrawn by a
cancelled asker.  What comes after that reaches nobody and is counted.

The graph refuses, before it happens, a circle of waits of any length.  Only
waits of handlers and hooks count: a child task that asks while its actor's
loop is free blocks nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from holdfast.runtime.errors import AskCycle, AskTimeout, SendTimeout

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.registry import Slot
    from holdfast.runtime.system import Counters
    from holdfast.runtime.timers import Deadline

__all__ = [
    "Caller",
    "Pending",
    "ReplyToken",
    "Waiter",
    "add_edge",
    "check_cycle",
    "current_caller",
    "remove_edge",
    "waiting_cell",
]


class Caller:
    """Whose code is running: set once per task, never per message."""

    __slots__ = ("cell", "in_loop")

    def __init__(self, cell: Cell, *, in_loop: bool) -> None:
        self.cell = cell
        self.in_loop = in_loop


_caller: ContextVar[Caller | None] = ContextVar("holdfast_caller", default=None)
current_caller = _caller.get
set_caller = _caller.set


def waiting_cell() -> Cell | None:
    """Return the cell whose handler or hook runs here; None for embedders and child tasks."""
    caller = _caller.get()
    return caller.cell if caller is not None and caller.in_loop else None


def add_edge(asker: Cell, slot: Slot) -> None:
    """The loop of `asker` waits for that actor now."""
    asker.waiting_for = (*asker.waiting_for, slot)


def remove_edge(asker: Cell, slot: Slot) -> None:
    """One of its waits for that actor is over."""
    left = list(asker.waiting_for)
    left.remove(slot)
    asker.waiting_for = tuple(left)


class Waiter:
    """One who sleeps until something happens at a slot: a parker, and an edge of the graph of waits.

    Waking takes the edge away at once: until the sleeper's task has its turn others
    may ask it, and it does not wait any more.
    """

    __slots__ = ("_asker", "_slot", "parker")

    def __init__(self, asker: Cell | None, slot: Slot) -> None:
        self._asker = asker
        self._slot = slot
        self.parker = slot.system.backend.parker()
        if asker is not None:
            add_edge(asker, slot)

    def wake(self) -> None:
        """Wake the sleeper; twice is once."""
        if self._asker is not None:
            self.leave()
        self.parker.unpark()

    @property
    def sleep(self) -> Callable[[], Awaitable[None]]:
        """`await waiter.sleep()` until `wake`.  A cancel point."""
        return self.parker.park

    def leave(self) -> None:
        """Take the edge out of the graph; twice is once."""
        asker, self._asker = self._asker, None
        if asker is not None:
            remove_edge(asker, self._slot)


class Pending:
    """The asker's side of a question, or the sender's side of a message that waits for room."""

    __slots__ = (
        "claims", "correlation", "deadline", "done", "error", "on_done", "path", "question", "timeout",
        "value", "waiter", "when",
    )  # fmt: skip

    def __init__(self, path: str, question: str | None, timeout: float, when: float) -> None:
        self.path = path
        self.question = question
        """The name of the question; None for a send."""
        self.timeout = timeout
        self.when = when
        self.done = False
        self.claims: dict[Pending, None] | None = None
        """Where a reply token was taken: the handler's return value is not the answer then."""
        self.value: object = None
        self.error: BaseException | None = None
        self.deadline: Deadline | None = None
        self.correlation = 0
        """The number of the chain of questions that this one belongs to."""
        self.on_done: Callable[[], None] | None = None
        self.waiter: Waiter | None = None
        """Who sleeps until it is done; nobody for a question that was asked without waiting."""

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits: a cancelled sleeper does not, even while its task awaits its turn."""
        return not self.done and (self.waiter is None or self.waiter.parker.asleep)

    def resolve(self, value: object) -> bool:
        """Answer; False when it came too late."""
        if self.done:
            return False
        self.value = value
        self._finish()
        return True

    def fail(self, error: BaseException) -> bool:
        """Fail; False when it came too late."""
        if self.done:
            return False
        self.error = error
        self._finish()
        return True

    def leave_graph(self) -> None:
        """The answer comes later, from anywhere: the asker's wait is no edge of the graph any more."""
        if self.waiter is not None:
            self.waiter.leave()

    def withdraw(self) -> None:
        """The asker is gone: the question is not handled any more if it still waits."""
        if not self.done:
            self._finish()

    def expire(self) -> None:
        """The deadline has come."""
        self.fail(self.too_late())

    def raise_error(self) -> None:
        """Raise the error that it failed with."""
        error, self.error = self.error, None
        assert error is not None, "only what has failed raises"
        try:
            raise error
        finally:
            del error  # held by a frame of its own traceback, it would live until the next collection

    def too_late(self) -> AskTimeout | SendTimeout:
        """Return the error for a deadline that has come."""
        if self.question is None:
            return SendTimeout(self.path, self.timeout)
        return AskTimeout(self.path, self.question, self.timeout)

    def _finish(self) -> None:
        self.done = True
        if self.claims is not None:
            self.claims.pop(self, None)
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        on_done, self.on_done = self.on_done, None
        if on_done is not None:
            on_done()


class ReplyToken:
    """The right to answer one question later, from any handler or child task of the incarnation.

    When the incarnation ends first, the question fails at once.
    """

    __slots__ = ("_counters", "_pending")

    def __init__(self, counters: Counters, pending: Pending) -> None:
        self._counters = counters
        self._pending = pending

    @property
    def expired(self) -> bool:
        """Whether nobody waits any more: answered, out of time or withdrawn."""
        return self._pending.done

    def reply(self, value: object) -> None:
        """Answer the question; an answer that nobody waits for is dropped and counted."""
        if not self._pending.resolve(value):
            self._counters.late_replies += 1

    def fail(self, error: BaseException) -> None:
        """Fail the question with an error, raised at the asker."""
        if not self._pending.fail(error):
            self._counters.late_replies += 1


def check_cycle(asker: Cell, target: Slot) -> None:
    """Raise `AskCycle` if waiting for `target` would close a circle that comes back to the asker.

    The graph has one edge per wait in progress, so the search is as long as the
    chain of waits, and a circle is found at the moment that would close it.
    """
    home = asker.slot
    if target is not home and (target.cell is None or not target.cell.waiting_for):
        return  # nearly always: whoever is asked waits for nobody
    trail: list[tuple[Slot, list[str]]] = [(target, [home.path])]
    seen: set[Slot] = set()
    while trail:
        slot, chain = trail.pop()
        if slot is home:
            raise AskCycle([*chain, slot.path])
        if slot in seen or slot.cell is None:
            continue
        seen.add(slot)
        trail.extend((waited_for, [*chain, slot.path]) for waited_for in slot.cell.waiting_for)
