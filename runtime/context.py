"""What an actor can do besides handling messages: its hand-hold on the runtime.

One per incarnation, set as `self.context` before the start hook runs.
Everything here is for the actor's own handlers, hooks and child tasks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from holdfast.runtime.asks import Pending, ReplyToken
from holdfast.runtime.errors import MailboxFull
from holdfast.runtime.mailbox import Notice, Question
from holdfast.runtime.messages import Message, Request
from holdfast.runtime.outcomes import NORMAL, Outcome
from holdfast.runtime.ref import ASK_TIMEOUT, Ref

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.events import Event
    from holdfast.runtime.liveness import LivenessSpec
    from holdfast.runtime.seams import Seams
    from holdfast.runtime.system import System

__all__ = ["Context"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Context:
    """Identity, time, timers, child tasks, watches and replies of one incarnation."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    # -- who and where

    @property
    def ref(self) -> Ref:
        """The actor's own ref, to hand to others."""
        return self._cell.slot.ref

    @property
    def path(self) -> str:
        """The actor's path."""
        return self._cell.slot.path

    @property
    def incarnation(self) -> int:
        """1 for the first start, one more for each restart."""
        return self._cell.incarnation

    @property
    def system(self) -> System:
        """The system that the actor lives in."""
        return self._cell.system

    @property
    def seams(self) -> Seams:
        """The ways out of the process."""
        return self._cell.system.seams

    @property
    def correlation(self) -> str | None:
        """The correlation id of the question being answered."""
        question = self._cell.question
        return None if question is None else f"{self._cell.system.name}-{question.correlation}"

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._cell.system.now()

    def emit(self, event: Event) -> None:
        """Publish an event on the system's stream."""
        self._cell.system.events.publish(event)

    # -- time

    def after(self, delay: float, message: Message, *, key: Hashable | None = None) -> None:
        """Send oneself a message after `delay` seconds; a timer with the same key is replaced.

        Timers end with the incarnation.
        """
        self._cell.holdings.set_timer(delay, message, object() if key is None else key, None)

    def every(self, period: float, message: Message, *, key: Hashable | None = None) -> None:
        """Send oneself a message every `period` seconds.

        A tick that comes while the previous one still waits in the mailbox is left out.
        """
        self._cell.holdings.set_timer(period, message, object() if key is None else key, period)

    def cancel_timer(self, key: Hashable) -> None:
        """Forget the timer with this key; its tick may already wait in the mailbox."""
        self._cell.holdings.cancel_timer(key)

    # -- work beside the loop

    def spawn(self, fn: Callable[[*Ts], Awaitable[None]], *args: *Ts, key: Hashable | None = None) -> None:
        """Run a child task; it is cancelled when the actor stops, and an exception in it crashes it."""
        self._cell.holdings.spawn(fn, args, object() if key is None else key)

    def cancel_task(self, key: Hashable) -> None:
        """Cancel the child task with this key; an ended one is nothing."""
        self._cell.holdings.cancel_task(key)

    def deliver(self, message: Message) -> None:
        """Put a message into the own mailbox, outside its bound, for this incarnation alone.

        This is how a child task hands over its result: to a later incarnation it is
        dropped and counted.
        """
        cell = self._cell
        if cell.ended or cell.slot.cell is not cell:
            cell.system.counters.stale_notices += 1
        else:
            cell.slot.post(Notice(message, cell.incarnation))

    def continue_with(self, message: Message) -> None:
        """Handle this message next, before anything that waits in the mailbox (S16: OTP's `continue`).

        From a start hook it is the first message of this incarnation, which lets the start return
        before the work is done; a handler may continue in turn, or stop.  Of two, the later one
        comes first.  To a later incarnation it is dropped and counted.
        """
        cell = self._cell
        if cell.ended or cell.slot.cell is not cell:
            cell.system.counters.stale_notices += 1
        else:
            cell.slot.mailbox.post_first(Notice(message, cell.incarnation))

    # -- others

    def watch(self, ref: Ref) -> None:
        """Be sent a `Down` for each incarnation of that actor that ends; at once when it is dead."""
        self._cell.holdings.watch(ref.slot)

    def unwatch(self, ref: Ref) -> None:
        """Be sent no more; a `Down` may already wait in the mailbox."""
        self._cell.holdings.unwatch(ref.slot)

    def ask_later(
        self, ref: Ref, request: Request[R], *, key: Hashable, timeout: float = ASK_TIMEOUT
    ) -> None:
        """Ask without waiting: the answer arrives as an `Answer` with this key, errors included (S10)."""
        cell = self._cell
        system = cell.system
        when = system.now() + timeout
        if cell.question is not None:
            when = min(when, cell.question.when)
        pending = Pending(ref.path, type(request).__name__, when - system.now(), when)
        pending.correlation = cell.question.correlation if cell.question is not None else system.correlate()
        cell.holdings.expect_answer(pending, key)
        if not when > system.now():  # said so, because NaN is no deadline either
            pending.expire()
            return
        pending.deadline = system.deadlines.add(when, pending.expire)
        try:
            ref.slot.mailbox.tell(Question(request, pending))
        except MailboxFull as error:
            pending.fail(error)

    def reply_later(self) -> ReplyToken:
        """Claim the question being handled: answer it with the token, from any later handler or child task.

        The handler's return value is ignored then.  If the actor ends first, the question fails at once.
        A request that was told, not asked, has nobody who waits: its token has expired from the
        start, and what it is given is dropped and counted.
        """
        return self._cell.holdings.take_token()

    def stop(self, outcome: Outcome = NORMAL) -> None:
        """End after this handler, with this outcome."""
        self._cell.loop.own_stop = outcome
        self._cell.loop.signal()

    # -- for supervisors

    def open_cell(
        self,
        name: str,
        factory: Callable[[], Actor],
        *,
        exclusive: tuple[str, ...] = (),
        liveness: LivenessSpec | None = None,
    ) -> Cell:
        """Return a new incarnation of a child of this actor; `await cell.start()` runs it."""
        return self._cell.open_child(name, factory, exclusive=exclusive, liveness=liveness)

    @property
    def cell(self) -> Cell:
        """The cell itself: for supervisors and introspection."""
        return self._cell
