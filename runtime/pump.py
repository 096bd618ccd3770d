"""The tier of task-less actors: one task, the pump, gives all of them their turns.

An actor whose handlers and hooks are all plain `def` never waits, so it needs no
task: its turn is one batch of its mail, run through in the pump's task.  A
message from one to another costs no turn of the scheduler, an idle actor holds
no stack, and a crash is an end and a new start, nothing more.

Fairness is by time: an actor hands on after a slice, the pump after a tick.
Newly woken actors come first; one that used up its quantum goes to the back,
and the back gets at least one turn in each tick.

What it starts may outlive the turn: where children or child tasks have to be
waited for, the end of a task-less actor is run in a task for just that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from holdfast.runtime.behavior import returned
from holdfast.runtime.coroutines import run_through
from holdfast.runtime.life import Life
from holdfast.runtime.outcomes import SHUTDOWN, Outcome

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.mailbox import Question
    from holdfast.runtime.system import System

__all__ = ["Pump", "PumpedLife"]

# How long one actor may hold on, and how long all may before other tasks have their turns.
SLICE = 0.000_1
TICK = 0.000_2

# Turns in a tick, for when no time passes (in simulation): what a tick holds of the shortest ones.
TURNS_MAX = 256

# What is done in place of a turn of the scheduler is followed by a real one every so often.
BREATH = 16


class Pump:
    """The task that gives task-less actors their turns."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._parker = system.backend.parker()
        self._asleep = False
        self._woken: deque[PumpedLife] = deque()
        self._back: deque[PumpedLife] = deque()
        self.current: PumpedLife | None = None
        """Who has a turn right now; a handler is never entered from inside a handler."""
        self._closed = False
        self._breath = 0
        self._checkpoint = system.backend.checkpoint
        self._checkpoint_if_cancelled = system.backend.checkpoint_if_cancelled

    def wake(self, life: PumpedLife) -> None:
        """Give an actor a turn soon, ahead of those that used up their last one."""
        self._woken.append(life)
        if self._asleep:
            self._asleep = False
            self._parker.unpark()

    def take(self, life: PumpedLife, question: Question) -> None:
        """Give an idle actor its turn here and now, in the task of who asks it; only while nobody has one.

        It does not wait: no handler of a task-less actor does.
        """
        self.current = life
        try:
            life.take_mail(question)
            self._turn(life, self._system.now())
        except BaseException:
            self._rescue()
            raise
        if self._back and self._asleep:
            self._asleep = False
            self._parker.unpark()

    def breathe(self) -> Awaitable[None]:
        """Stand for a turn of the scheduler where something was done without one: a cancel point.

        Every 16th is a real one, so that who never has to wait does not keep others waiting.
        """
        self._breath += 1
        if self._breath >= BREATH:
            self._breath = 0
            return self._checkpoint()
        return self._checkpoint_if_cancelled()

    def close(self) -> None:
        """End the task; every actor has ended."""
        self._closed = True
        self._asleep = False
        self._parker.unpark()

    async def run(self) -> None:
        """Give turns until the system has ended."""
        backend = self._system.backend
        while not self._closed:
            try:
                if self._woken or self._back:
                    await backend.checkpoint()
                else:
                    self._asleep = True
                    await self._parker.park()
                self._tick()
            except backend.cancelled:
                if not backend.is_stray_cancellation():
                    raise
                backend.forgive_cancellation()  # asyncio lets anyone cancel any task
            except BaseException as error:  # noqa: BLE001 - Ctrl-C in the middle of the kernel, or a bug of it
                self._rescue()
                self._system.abort(error)

    def _tick(self) -> None:
        """Give turns for the time of a tick; nothing in it waits."""
        woken, back = self._woken, self._back
        present = self._system.now()
        end = present + TICK
        queue = back or woken
        for _ in range(TURNS_MAX):
            if present >= end or not queue:
                return
            self.current = life = queue[0]  # before it is taken out: Ctrl-C in between loses nobody
            queue.popleft()
            present = self._turn(life, present)
            queue = woken or back

    def _turn(self, life: PumpedLife, present: float) -> float:
        """Give a turn to the `current` one."""
        if life.turn(present):
            self._back.append(life)
        self.current = None
        return life.loop.stamp

    def _rescue(self) -> None:
        """Have who had a turn have another: what was raised is not the actor's, who is judged in its turn.

        It is Ctrl-C in the middle of the kernel, and the end of the system needs every actor.  A turn
        too many is nothing.
        """
        life, self.current = self.current, None
        if life is not None:
            life.queued = True
            self._back.append(life)
            if self._asleep:
                self._asleep = False
                self._parker.unpark()


class PumpedLife(Life):
    """A life in turns; it is the consumer of its mailbox itself."""

    __slots__ = ("_mailbox", "_pump", "loop", "queued")

    def __init__(self, cell: Cell, actor: Actor) -> None:
        super().__init__(cell, actor)
        self.loop = cell.loop
        self.loop.consumer = self
        self._mailbox = cell.slot.mailbox
        self._pump = cell.system.pump
        self.queued = False
        """Whether it has a turn, or waits for one."""

    def start(self) -> None:
        """Run the start hook, in the task of the starter."""
        try:
            reply: object = self.call_start_hook()
            if reply is not None:
                assert self._actor is not None, "it is there until the end"
                reply = run_through(returned(self._actor, reply))
            outcome = self.opened(reply)
        except BaseException as error:  # noqa: BLE001 - the boundary of the actor
            outcome = self.start_failed(error)
        if outcome is not None:
            self.end_soon(outcome)
        elif self._due():
            self.unpark()

    @property
    def waits_for_mail(self) -> bool:
        """Whether it has nothing to do until mail comes."""
        return self._cell.slot.mailbox.consumer is self

    def end_idle(self) -> None:
        """End here and now: it was asked to stop, and nothing has to be waited for."""
        self._cell.slot.mailbox.consumer = None
        self.end_at_once(run_through(self.finish(SHUTDOWN)))

    def unpark(self) -> None:
        """There is something to do: have a turn, one at a time."""
        if not self.queued:
            self._pump.wake(self)
            self.queued = True

    def take_mail(self, question: Question) -> None:
        """Put a question into the mailbox that nobody need be woken for: the turn follows at once."""
        self.queued = True
        self._mailbox.consumer = None
        self._mailbox.tell(question)

    def turn(self, present: float) -> bool:
        """Take one batch, or see to what overtakes the mail; True when another turn is due at once."""
        actor, loop = self._actor, self.loop
        if actor is None or self.leaving:
            return False
        outcome: Outcome | None = None
        try:
            if loop.attention or loop.hold:
                loop.stamp = present
                outcome = self._cell.forced_outcome if loop.killed else run_through(loop.attend(actor))
            else:
                outcome = loop.batch_at_once(actor, present, SLICE)
        except BaseException as error:  # noqa: BLE001 - the boundary of the actor
            outcome = self.crashed(error)
        if outcome is None:
            mailbox = self._mailbox
            if loop.attention or loop.hold or mailbox.queue or mailbox.senders:
                self.queued = due = self._due()
                return due
            self.queued = False
            mailbox.consumer = self
            return False
        self.end_soon(outcome if loop.killed else run_through(self.finish(outcome)))
        return False

    def _due(self) -> bool:
        """Whether there is something to do; if not, the next message or signal says so."""
        loop, mailbox = self.loop, self._mailbox
        if loop.attention:
            return True
        if loop.hold:
            return False
        if mailbox.senders:
            mailbox.admit_senders()
        if mailbox.queue:
            return True
        mailbox.consumer = self
        return False
