"""What others hold of an actor: a name that survives its restarts.

A ref names a slot (a path, for the life of the child's spec), never an
incarnation.  Mail sent while the actor is down waits for the next incarnation.
"""

from __future__ import annotations

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

    __slots__ = ("_mailbox", "_slot")

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._mailbox = slot.mailbox

    def tell(self, message: Message) -> None:
        """Put a message into the mailbox and go on; order is kept per sender.  At most once.

        `MailboxFull` when there is no room and the policy is `wait` or `reject`.  To an
        actor that is gone it is a dead letter, not an error.  Only from the loop's thread.
        """
        # As `Mailbox.tell`, without a call in between: this is the door that most messages come through.
        mailbox = self._mailbox
        queue = mailbox.queue
        if len(queue) < mailbox.limit:
            queue.append(message)
            if mailbox.consumer is not None:
                mailbox.call_consumer()
        else:
            mailbox.tell(message)

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
        slot, mailbox = self._slot, self._mailbox
        if not mailbox.senders and len(mailbox.queue) < mailbox.limit:
            mailbox.tell(message)
            return
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
        asked = False
        if type(self._mailbox.consumer) is PumpedLife:
            # An idle actor without a task answers here and now, in the task of the asker.
            await self._slot.system.pump.breathe()
            asked = self._answer_here(question)
        if not pending.done:
            await self._wait(pending, None if asked else question, asker)
        if pending.error is not None:
            pending.raise_error()
        return pending.value  # type: ignore[return-value]  # Request[R] types it

    def _answer_here(self, question: Question) -> bool:
        """Have the actor take a turn with the question, if it is still idle and nobody else has a turn."""
        life, pump = self._mailbox.consumer, self._slot.system.pump
        if type(life) is not PumpedLife or pump.current is not None:
            return False  # something came while others had their turns
        pump.take(life, question)
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

    async def _wait(self, pending: Pending, sent: Question | Parcel | None, asker: Cell | None) -> None:
        """Put it into the mailbox or in the line before it, and return when the pending is done.

        None has been there already, and is waited for.
        """
        slot, mailbox = self._slot, self._mailbox
        if sent is not None and mailbox.consumer is None and slot.system.backend.cancels_late:
            # Who is awake would handle it before that is known; who sleeps is woken after it.
            await slot.system.backend.checkpoint_if_cancelled()
        # Once claimed by a reply token it is no edge of the graph: the loop is free.
        waiter = Waiter(None if pending.claims is not None else asker, slot)
        pending.waiter, pending.on_done = waiter, waiter.wake
        in_line = sent is not None and mailbox.must_wait()
        try:
            if sent is not None:
                (mailbox.stand_in_line if in_line else mailbox.tell)(sent)
            if not pending.done:
                pending.deadline = slot.system.deadlines.add(pending.when, pending.expire)
                await waiter.sleep()
        except BaseException:
            pending.withdraw()
            raise
        finally:
            if sent is not None and in_line:
                mailbox.leave_line(sent)

    def __repr__(self) -> str:
        return f"<Ref {self._slot.path} {self._slot.state}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other._slot is self._slot

    def __hash__(self) -> int:
        return hash(id(self._slot))
