"""What others hold of an actor: a name that survives its restarts.

A ref names a slot (a path, for the life of the child's spec), never an
incarnation.  Mail sent while the actor is down waits for the next incarnation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from holdfast.runtime.asks import Pending, Waiter, check_cycle, waiting_cell
from holdfast.runtime.errors import NotRunning
from holdfast.runtime.mailbox import Parcel, Question
from holdfast.runtime.messages import Message, Request
from holdfast.runtime.pump import PumpedLife

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.registry import Slot

__all__ = ["ASK_TIMEOUT", "Ref"]

R = TypeVar("R")

# OTP's default for a call: long for anything local, short enough that a person is still looking.
ASK_TIMEOUT = 5.0


class Ref:
    """The address of one actor, before, during and after any of its incarnations."""

    __slots__ = ("_slot", "tell")

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self.tell: Callable[[Message], None] = slot.mailbox.tell
        """Put a message into the mailbox and go on; order is kept per sender.  At most once.

        `MailboxFull` when there is no room and the policy is `wait` or `reject`.  To an
        actor that is gone it is a dead letter, not an error.  Only from the loop's thread.
        """

    @property
    def path(self) -> str:
        """The path, as in ``holdfast/session/auth``."""
        return self._slot.path

    @property
    def slot(self) -> Slot:
        """The slot behind the name, for supervisors and introspection."""
        return self._slot

    async def send(self, message: Message, *, timeout: float = ASK_TIMEOUT) -> None:
        """Put a message into the mailbox, waiting for room if need be: first come, first served.

        `SendTimeout` when no room came free in time, `ActorGone` when the actor is
        gone, `AskCycle` when waiting could never end.  Cancelled while it waits,
        it has sent nothing.
        """
        slot = self._slot
        mailbox = slot.mailbox
        if mailbox.closed:
            raise slot.gone()
        if not mailbox.must_wait():
            mailbox.tell(message)
            return
        asker = waiting_cell()
        pending = self._pending(None, timeout, asker)
        await self._wait(pending, Parcel(message, pending), asker)
        if pending.error is not None:
            pending.raise_error()

    async def ask(self, request: Request[R], *, timeout: float = ASK_TIMEOUT) -> R:
        """Ask and wait for the answer, never longer than the question being handled here may take.

        Raises what the handler passed to `ReplyToken.fail`, or an `AskError`: out of
        time, gone, crashed over this very question, no handler, or a circle of waits;
        `MailboxFull` when the policy of a full mailbox is not to wait.  A cancelled
        asker withdraws the question.  An actor that is just restarting is waited for,
        except from a start or stop hook.
        """
        asker = waiting_cell()
        pending = self._pending(type(request).__name__, timeout, asker)
        question = Question(request, pending)
        # An idle actor without a task answers here and now, in the task of the asker.
        if not (isinstance(self._slot.mailbox.consumer, PumpedLife) and await self._answered(question)):
            await self._wait(pending, question, asker)
        if pending.error is not None:
            pending.raise_error()
        return pending.value  # type: ignore[return-value]  # Request[R] types it

    async def _answered(self, question: Question) -> bool:
        """Have an idle task-less actor take its turn with the question; False when it was not asked.

        It may answer later all the same (`reply_later`): that is waited for as always.
        """
        slot = self._slot
        await slot.system.pump.breathe()
        life = slot.mailbox.consumer
        if not isinstance(life, PumpedLife) or not slot.system.pump.free:
            return False  # something came while others had their turns
        slot.mailbox.consumer = None
        slot.mailbox.queue.append(question)
        slot.system.pump.take(life)
        pending = question.pending
        if not pending.done:
            # Claimed by a reply token: its loop is free, and the wait is no edge of the graph.
            waiter = Waiter(None if pending.claims is not None else waiting_cell(), slot)
            pending.waiter, pending.on_done = waiter, waiter.wake
            await self._sleep(pending, waiter)
        return True

    def _pending(self, question: str | None, timeout: float, asker: Cell | None) -> Pending:
        """Return what waits until the deadline, or refuse a wait that could never end."""
        slot = self._slot
        now = slot.system.now()
        when = now + timeout
        correlation = 0
        if asker is not None:
            answered = asker.loop.question
            if answered is not None:
                when = min(when, answered.when)
                correlation = answered.correlation
            if question is not None and asker.in_hook and not slot.running:
                raise NotRunning(slot.path, asker.slot.path)
            check_cycle(asker, slot)
        pending = Pending(slot.path, question, when - now, when)
        if not when > now:  # said so, because NaN is no deadline either
            raise pending.too_late()
        pending.correlation = correlation or slot.system.correlate()
        return pending

    async def _wait(self, pending: Pending, sent: Question | Parcel, asker: Cell | None) -> None:
        """Put it into the mailbox or in the line before it, and return when the pending is done."""
        slot = self._slot
        mailbox = slot.mailbox
        waiter = Waiter(asker, slot)
        pending.waiter, pending.on_done = waiter, waiter.wake
        in_line = mailbox.must_wait()
        try:
            if in_line:
                mailbox.stand_in_line(sent)
            else:
                mailbox.tell(sent)
            if not pending.done:
                await self._sleep(pending, waiter)
        except BaseException:
            pending.withdraw()
            raise
        finally:
            if in_line:
                mailbox.leave_line(sent)

    async def _sleep(self, pending: Pending, waiter: Waiter) -> None:
        """Wait until it is done, at its deadline at the latest."""
        pending.deadline = self._slot.system.deadlines.add(pending.when, pending.expire)
        try:
            await waiter.sleep()
        except BaseException:
            pending.withdraw()
            raise

    def __repr__(self) -> str:
        return f"<Ref {self._slot.path} {self._slot.state}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other._slot is self._slot

    def __hash__(self) -> int:
        return hash(id(self._slot))
