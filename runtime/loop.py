"""The mail of one incarnation: messages are taken from the slot's queue and handed to handlers.

Messages are handled in batches bounded by time; each is popped immediately
before its handler, with no await between, so that a cancellation loses none and
doubles none.  What overtakes the mail (kill, stop for a restart, suspend,
drain, inspection) sets one flag that is looked at after every message.

A task awaits its `batch`.  At the pump, where all handlers are plain `def` and
nothing waits, `batch_at_once` is the same without coroutines: they would be much
of what a batch of one costs.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

from holdfast.runtime.behavior import Actor, returned
from holdfast.runtime.control_lane import ControlLane, ControlRequest
from holdfast.runtime.coroutines import run_through
from holdfast.runtime.errors import NoHandler
from holdfast.runtime.mailbox import Notice, Question, StopMark, StopRequest, Tick
from holdfast.runtime.messages import InjectedFault
from holdfast.runtime.observation import Unseen
from holdfast.runtime.outcomes import SHUTDOWN, Outcome

if TYPE_CHECKING:
    from holdfast.runtime.asks import Pending
    from holdfast.runtime.backend import Parker
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.liveness import LivenessSpec
    from holdfast.runtime.mailbox import Consumer
    from holdfast.runtime.registry import Slot
    from holdfast.runtime.system import System

__all__ = ["Loop"]

# A batch is bounded by time, because no fixed number suits handlers of 0.2 and of 50 microseconds:
# it doubles while it takes less than half the slice and shrinks when it takes more.
QUANTUM_FIRST = 8
QUANTUM_MAX = 1024

# The numbers of a batch of one, the commonest of all: a tuple costs half of what a range does.
_ONE = (1,)

Hold: TypeAlias = Literal["", "suspended", "draining", "drained"]


def _nothing(_actor: Actor, _item: object) -> Awaitable[object]:
    """Stand in for a handler until there is mail for one."""
    raise AssertionError("no message is of the type of None")


class Loop:
    """The mail of one incarnation being handled."""

    __slots__ = (
        "_drain_waiters", "_lane", "_quantum", "_rest", "_slot", "_stop_now", "_system", "attention",
        "consumer", "failure", "hold", "incarnation", "killed", "liveness", "message", "own_stop", "question",
        "stamp",
    )  # fmt: skip

    def __init__(self, system: System, slot: Slot, incarnation: int) -> None:
        self._system = system
        self._slot = slot
        self.attention = False
        """Whether something that overtakes the mail waits to be seen to."""
        self.hold: Hold = ""
        """Why the mail is held back."""
        self._stop_now = False
        self._drain_waiters: list[Parker] | None = None
        self._lane: ControlLane | None = None
        self._quantum = QUANTUM_FIRST
        self._rest: Iterator[int] = iter(())
        self.consumer: Consumer | None = None
        """Who takes the batches, to be woken; nobody before the start."""
        self.incarnation = incarnation
        self.message: object = None
        """What is being handled right now; still set when the handler failed."""
        self.question: Pending | None = None
        """The question being answered right now."""
        self.failure: BaseException | None = None
        """What a child task died of."""
        self.own_stop: Outcome | None = None
        self.killed = False
        self.liveness: LivenessSpec | None = None
        """How long a handler may take; what the child spec says until the loop serves."""
        self.stamp = 0.0
        """When the latest batch ended."""

    @property
    def cell(self) -> Cell | None:
        """The cell whose loop this is, while it has the slot."""
        cell = self._slot.cell
        return cell if cell is not None and cell.loop is self else None

    # -- what overtakes the mail

    def signal(self) -> None:
        """Have the loop look up before its next message."""
        self.look_up()
        self._slot.mailbox.consumer = None
        if self.consumer is not None:
            self.consumer.unpark()

    def look_up(self) -> None:
        """End the batch after the present handler."""
        self.attention = True
        for _ in self._rest:  # used up here, so that no message pays for being able to be the last
            pass

    def stop_now(self) -> None:
        """End after the present handler; the mail stays."""
        self._stop_now = True
        self.signal()

    def let_go(self) -> None:
        """Handle mail again: a final stop still drains it.  A drain that has not begun is called off."""
        self.hold = ""
        self.tell_drained()
        self.signal()

    def suspend(self) -> None:
        """Hold the mail back after the present handler."""
        if not self.hold:
            self.hold = "suspended"
            self.signal()

    @property
    def held(self) -> bool:
        """Whether the mail is held back."""
        return bool(self.hold)

    @property
    def suspended(self) -> bool:
        """Whether `suspend` holds the mail back, and not a drain."""
        return self.hold == "suspended"

    def control(self, request: ControlRequest[object]) -> None:
        """Have a request served before the next message, also while the mail is held back."""
        if self._lane is None:
            self._lane = ControlLane()
        self._lane.post(request)
        self.signal()

    @property
    def attended(self) -> bool:
        """Whether anybody may wait for it: for a drain, or for the answer to a request."""
        return self._lane is not None or self._drain_waiters is not None

    def close_lane(self, error: Exception) -> None:
        """Fail the requests that were not served: the cell has ended."""
        if self._lane is not None:
            self._lane.close(error)

    async def drain(self) -> None:
        """Have `on_drain` run after the present handler, then hold the mail; return when that is done."""
        if self.hold == "drained":
            return
        parker = self._system.backend.parker()
        if self._drain_waiters is None:
            self._drain_waiters = []
        self._drain_waiters.append(parker)
        self.hold = "draining"
        self.signal()
        try:
            await parker.park()
        finally:
            waiters = self._drain_waiters or ()
            self._drain_waiters = [waiter for waiter in waiters if waiter is not parker]

    def tell_drained(self) -> None:
        """Wake whoever waits for the drain: it is done, or the cell has ended."""
        for parker in self._drain_waiters or ():
            parker.unpark()
        self._drain_waiters = None

    async def attend(self, actor: Actor) -> Outcome | None:
        """See to what overtakes the mail; an outcome ends the loop, and a failed child task is raised."""
        self.attention = False
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if self.own_stop is not None:
            return self.own_stop
        if self._stop_now:
            return SHUTDOWN
        if self._lane is not None:
            self._lane.serve(actor)
            if self.attention:
                return None  # a request asked for more than itself: look again
        if self.hold == "draining":
            await self._drain(actor)
        return None

    async def _drain(self, actor: Actor) -> None:
        await returned(actor, actor.on_drain())
        if self.hold == "draining":
            self.hold = "drained"
        self.tell_drained()

    # -- the mail

    @property
    def single(self) -> bool:
        """Whether the next batch is of one message."""
        return self._quantum == 1 or len(self._slot.mailbox.queue) == 1

    async def batch(self, actor: Actor, started: float, time_slice: float) -> Outcome | None:
        """Handle what waits, as much of it as fits into the slice; an outcome ends the loop.

        It waits for nothing but `async def` handlers, and raises what a handler raised.
        How much fits is learnt: `started` is the present time, and `stamp` says when it ended.
        """
        slot = self._slot
        mailbox = slot.mailbox
        take = mailbox.queue.popleft
        # An observer switched on or off is looked at once a batch, and paid for only when on.
        observed = slot.tap is not None
        table = Unseen if observed else type(actor)
        at_once, awaited = table.at_once, table.awaited
        plain: type[object] = type(None)
        waiting: type[object] = type(None)
        function: Callable[..., object] = _nothing
        handler: Callable[..., Awaitable[object]] = _nothing
        rest = self._begin()
        item: object = None
        done = 0
        try:
            for done in rest:  # noqa: B007 - what is done is counted after the loop
                item = take()
                kind = type(item)
                # Mail comes in runs of one type: the commonest case is one comparison and one call.
                if kind is plain:
                    function(actor, item)
                    continue
                # While it waits others must see what it handles; a plain def lets nobody in.
                self.message = item
                if kind is waiting:
                    await handler(actor, item)
                elif kind in at_once:
                    plain, function = kind, at_once[kind]
                    function(actor, item)
                elif kind in awaited:
                    waiting, handler = kind, awaited[kind]
                    await handler(actor, item)
                elif isinstance(item, Question) and not observed:
                    await self._answer(actor, item)
                elif await self._open(actor, item):
                    self.message = None
                    return SHUTDOWN
                if mailbox.senders:
                    mailbox.admit_senders()  # their time runs while handlers wait
        except BaseException:
            self.message = item
            done -= 1
            raise
        finally:
            slot.handled += done
        self.message = item = None  # an idle actor keeps no message alive
        if mailbox.senders:
            mailbox.admit_senders()
        self.stamp = ended = self._system.now()
        took = ended - started
        if took > time_slice or done == self._quantum:
            self._learn(done, took, time_slice)
        return None

    def batch_at_once(self, actor: Actor, started: float, time_slice: float) -> Outcome | None:
        """Do what `batch` does for an actor that has no `async def`, without a coroutine for each turn."""
        slot = self._slot
        take = slot.mailbox.queue.popleft
        observed = slot.tap is not None
        at_once = (Unseen if observed else type(actor)).at_once
        plain: type[object] = type(None)
        function: Callable[..., object] = _nothing
        rest = self._begin()
        item: object = None
        done = 0
        try:
            for done in rest:  # noqa: B007 - what is done is counted after the loop
                item = take()
                kind = type(item)
                if kind is plain:
                    function(actor, item)
                    continue
                self.message = item
                if kind in at_once:
                    plain, function = kind, at_once[kind]
                    function(actor, item)
                elif isinstance(item, Question) and not observed:
                    self._answer_at_once(actor, item)
                elif run_through(self._open(actor, item)):
                    self.message = None
                    return SHUTDOWN
        except BaseException:
            self.message = item
            done -= 1
            raise
        finally:
            slot.handled += done
        self.message = None
        self.stamp = ended = self._system.now()
        took = ended - started
        if took > time_slice or done == self._quantum:
            self._learn(done, took, time_slice)
        return None

    def _begin(self) -> Iterator[int]:
        """Return the numbers of the messages of a batch, to be counted through."""
        mailbox = self._slot.mailbox
        # As deep as it is now: one that tells itself does not keep the others waiting for ever.
        depth = len(mailbox.queue)
        if depth > mailbox.high_water:  # noqa: PLR1730 - a call would be much of a batch of one
            mailbox.high_water = depth
        if depth == 1:
            numbers: Iterator[int] = iter(_ONE)
        else:
            numbers = iter(range(1, min(depth, self._quantum) + 1))
        self._rest = numbers
        return numbers

    def _learn(self, done: int, took: float, time_slice: float) -> None:
        """Settle how many messages the next batch takes."""
        if took > time_slice:
            self._quantum = max(1, int(self._quantum * time_slice / took))
        elif done == self._quantum and took < time_slice / 2:
            self._quantum = min(QUANTUM_MAX, done * 2)

    async def _open(self, actor: Actor, item: object) -> bool:
        """Handle what has no handler of its own, or is observed; True at the mark of a final stop."""
        tap = self._slot.tap
        if tap is None:
            return await self._unwrap(actor, item)
        return await tap.watch(item, self.incarnation, functools.partial(self._unwrap, actor, item))

    async def _unwrap(self, actor: Actor, item: object) -> bool:
        mailbox = self._slot.mailbox
        if isinstance(item, Question):
            await self._answer(actor, item)
        elif isinstance(item, Notice | Tick):
            mailbox.settle()
            if isinstance(item, Tick):
                item.waiting = False
            if item.incarnation is not None and item.incarnation != self.incarnation:
                self._system.counters.stale_notices += 1
            else:
                await self._handle(actor, item.message)
        elif isinstance(item, StopRequest):
            mailbox.settle()
            if item.incarnation == self.incarnation:
                self.own_stop = item.outcome
                self.signal()
        elif isinstance(item, StopMark):
            mailbox.settle()
            return True
        else:
            await self._handle(actor, item)
        return False

    async def _handle(self, actor: Actor, message: object) -> None:
        self.message = message
        if isinstance(message, InjectedFault):
            raise message.error
        kind = type(message)
        handler = type(actor).awaited.get(kind)
        if handler is not None:
            await handler(actor, message)
        elif kind in type(actor).at_once:
            type(actor).at_once[kind](actor, message)
        else:
            self._system.dead_letter(self._slot.path, message, "no handler")

    def _answer_at_once(self, actor: Actor, item: Question) -> None:
        pending, message = item.pending, item.message
        if not pending.wanted:
            return  # withdrawn or out of time while it waited: nobody wants it handled
        function = type(actor).at_once.get(type(message))
        if function is None:
            pending.fail(NoHandler(self._slot.path, type(message).__name__))
            return
        self.question = pending
        self._answered(pending, function(actor, message))

    async def _answer(self, actor: Actor, item: Question) -> None:
        handler = type(actor).awaited.get(type(item.message))
        if handler is None:
            self._answer_at_once(actor, item)
        elif item.pending.wanted:
            self.question = item.pending
            self._answered(item.pending, await handler(actor, item.message))

    def _answered(self, pending: Pending, value: object) -> None:
        self.question = None
        if pending.claims is not None:
            # This loop is free again: whoever waits for the token waits for no handler of this actor.
            pending.leave_graph()
        elif not pending.resolve(value):
            self._system.counters.late_replies += 1
