"""The loop of one incarnation: it takes messages from the slot's queue and hands them to handlers.

Messages are handled in batches bounded by time; each is popped immediately
before its handler, with no await between, so that a cancellation loses none and
doubles none.  What overtakes the mail (kill, stop for a restart, suspend,
drain, inspection) sets one flag that is looked at after every message.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from holdfast.runtime.behavior import Actor
from holdfast.runtime.control_lane import ControlLane, ControlRequest
from holdfast.runtime.errors import NoHandler
from holdfast.runtime.mailbox import Notice, Question, StopMark, StopRequest, Tick
from holdfast.runtime.messages import InjectedFault
from holdfast.runtime.observation import Tap, Unseen
from holdfast.runtime.outcomes import SHUTDOWN, Outcome

if TYPE_CHECKING:
    from holdfast.runtime.asks import Pending
    from holdfast.runtime.backend import Parker
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.liveness import LivenessSpec
    from holdfast.runtime.registry import Slot
    from holdfast.runtime.system import System

__all__ = ["Loop"]

# A batch is bounded by time, because no fixed number suits handlers of 0.2 and of 50 microseconds:
# it doubles while it takes less than half the slice and shrinks when it takes more.
QUANTUM_FIRST = 8
QUANTUM_MAX = 1024
SLICE = 0.000_4

Hold: TypeAlias = Literal["", "suspended", "draining", "drained"]


class Loop:
    """The mail of one incarnation being handled."""

    __slots__ = (
        "_attention", "_drain_waiters", "_hold", "_lane", "_parker", "_slot", "_stop_now", "_system",
        "failure", "incarnation", "killed", "liveness", "message", "own_stop", "question",
    )  # fmt: skip

    def __init__(self, system: System, slot: Slot, incarnation: int) -> None:
        self._system = system
        self._slot = slot
        self._parker: Parker = system.backend.parker()
        self._attention = False
        self._hold: Hold = ""
        self._stop_now = False
        self._drain_waiters: list[Parker] | None = None
        self._lane: ControlLane | None = None
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

    @property
    def cell(self) -> Cell | None:
        """The cell whose loop this is, while it has the slot."""
        cell = self._slot.cell
        return cell if cell is not None and cell.loop is self else None

    # -- what overtakes the mail

    def signal(self) -> None:
        """Have the loop look up before its next message."""
        self._attention = True
        self._slot.mailbox.consumer = None
        self._parker.unpark()

    def look_up(self) -> None:
        """End the batch after the present handler."""
        self._attention = True

    def stop_now(self) -> None:
        """End after the present handler; the mail stays."""
        self._stop_now = True
        self.signal()

    def let_go(self) -> None:
        """Handle mail again: a final stop still drains it.  A drain that has not begun is called off."""
        self._hold = ""
        self.tell_drained()
        self.signal()

    def suspend(self) -> None:
        """Hold the mail back after the present handler."""
        if not self._hold:
            self._hold = "suspended"
            self.signal()

    @property
    def held(self) -> bool:
        """Whether the mail is held back."""
        return bool(self._hold)

    @property
    def suspended(self) -> bool:
        """Whether `suspend` holds the mail back, and not a drain."""
        return self._hold == "suspended"

    def control(self, request: ControlRequest[object]) -> None:
        """Have a request served before the next message, also while the mail is held back."""
        if self._lane is None:
            self._lane = ControlLane()
        self._lane.post(request)
        self.signal()

    def close_lane(self, error: Exception) -> None:
        """Fail the requests that were not served: the cell has ended."""
        if self._lane is not None:
            self._lane.close(error)

    async def drain(self) -> None:
        """Have `on_drain` run after the present handler, then hold the mail; return when that is done."""
        if self._hold == "drained":
            return
        parker = self._system.backend.parker()
        if self._drain_waiters is None:
            self._drain_waiters = []
        self._drain_waiters.append(parker)
        self._hold = "draining"
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

    # -- the loop

    async def serve(self, actor: Actor) -> Outcome:
        """Handle mail until something ends the actor; raises what a handler or a child task raised."""
        backend = self._system.backend
        now = self._system.now
        checkpoint = backend.checkpoint
        slot = self._slot
        mailbox = slot.mailbox
        queue = mailbox.queue
        at_once = type(actor).at_once.get
        awaited = type(actor).awaited.get
        tap: Tap | None = None
        item: object = None
        latest: type[object] = type(None)
        function: Callable[..., object] | None = None
        handler: Callable[..., Awaitable[object]] | None = None
        quantum = QUANTUM_FIRST
        vigil = self._system.vigil
        busy = vigil.busy if vigil.watches(self, type(actor)) else None
        while True:
            attention = self._attention
            if attention:
                outcome = await self._attend(actor)
                if outcome is not None:
                    return outcome
                continue
            depth = len(queue)
            if not depth:
                await self._wait_for_mail()
                continue
            mailbox.high_water = max(mailbox.high_water, depth)
            if slot.tap is not tap:  # switched on or off: looked at once a batch, and paid for only when on
                tap, latest = slot.tap, type(None)
                table = type(actor) if tap is None else Unseen
                at_once, awaited = table.at_once.get, table.awaited.get
            batch = min(depth, quantum)
            started = now()
            if busy is not None:  # once for a batch: see vigil.py
                busy[self] = started if batch == 1 else math.inf
                if vigil.idle:
                    vigil.arm()
            try:
                for done in range(1, batch + 1):
                    item = queue.popleft()
                    kind = type(item)
                    if kind is not latest:  # mail comes in runs of one type
                        latest, function, handler = kind, at_once(kind), awaited(kind)
                    if function is not None:
                        function(actor, item)
                    else:
                        # While it waits others must see what it handles; a plain def lets nobody in.
                        self.message = item
                        if handler is not None:
                            await handler(actor, item)
                            if mailbox.senders:
                                mailbox.admit_senders()  # their time runs while handlers wait
                        elif await self._open(actor, item):
                            self.message = None
                            slot.handled += done
                            return SHUTDOWN
                    if self._attention:
                        batch = done
                        break
            except BaseException:
                self.message = item
                raise
            self.message = item = None  # an idle actor keeps no message alive
            slot.handled += batch
            if mailbox.senders:
                mailbox.admit_senders()
            took = now() - started
            if took > SLICE:
                quantum = max(1, int(quantum * SLICE / took))
            elif batch == quantum and took < SLICE / 2:
                quantum = min(QUANTUM_MAX, quantum * 2)
            if queue:
                await checkpoint()  # else it parks, which is a cancel point and lets others run too

    async def _wait_for_mail(self) -> None:
        mailbox = self._slot.mailbox
        if mailbox.senders:
            mailbox.admit_senders()
            if mailbox.queue:
                return
        mailbox.consumer = self._parker
        try:
            await self._parker.park()
        finally:
            mailbox.consumer = None

    async def _attend(self, actor: Actor) -> Outcome | None:
        """See to what overtakes the mail; an outcome ends the loop."""
        self._attention = False
        while self.killed:
            await self._parker.park()  # until the cancellation comes: no message is handled after a kill
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if self.own_stop is not None:
            return self.own_stop
        if self._stop_now:
            return SHUTDOWN
        if self._lane is not None:
            self._lane.serve(actor)
            if self._attention:
                return None  # a request asked for more than itself: look again
        if self._hold == "draining":
            await self._drain(actor)
        elif self._hold:
            await self._parker.park()
            self._attention = True
        return None

    async def _drain(self, actor: Actor) -> None:
        waiting = actor.on_drain()
        if inspect.isawaitable(waiting):
            await waiting
        if self._hold == "draining":
            self._hold = "drained"
        self.tell_drained()
        self._attention = True

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

    async def _answer(self, actor: Actor, item: Question) -> None:
        pending, message = item.pending, item.message
        if not pending.wanted:
            return  # withdrawn or out of time while it waited: nobody wants it handled
        kind = type(message)
        if kind not in type(actor).handlers:
            pending.fail(NoHandler(self._slot.path, kind.__name__))
            return
        self.question = pending
        function = type(actor).at_once.get(kind)
        if function is not None:
            value = function(actor, message)
        else:
            value = await type(actor).awaited[kind](actor, message)
        self.question = None
        if pending.claimed:
            # This loop is free again: whoever waits for the token waits for no handler of this actor.
            pending.leave_graph()
        elif not pending.resolve(value):
            self._system.counters.late_replies += 1
