"""The tier of actors with a task of their own: whoever waits in an `async def` handler or hook.

The task lives in the system's flat nursery under a scope of its own, which is
cancelled only by a kill.  An idle one costs its parked task and nothing else.
"""

from __future__ import annotations

import inspect
from contextvars import Context as Variables
from contextvars import copy_context
from typing import TYPE_CHECKING

from holdfast.runtime.asks import Caller, set_caller
from holdfast.runtime.behavior import Actor
from holdfast.runtime.life import Life
from holdfast.runtime.outcomes import SHUTDOWN

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from holdfast.runtime.backend import Parker, Scope, TaskHandle
    from holdfast.runtime.behavior import StartReply
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.outcomes import Outcome

__all__ = ["TaskLife"]

# Restarts in one turn of a task: a third of a millisecond, then others have theirs.
RESTARTS_PER_TURN = 8

# How long a loop may hold on before it lets others have a turn.
SLICE = 0.000_4


class TaskLife(Life):
    """A life in a task of its own."""

    __slots__ = (
        "_caller", "_cancelled", "_left_with", "_opening", "_parker", "_scope", "_successor", "_task",
        "_untouched",
    )  # fmt: skip

    def __init__(self, cell: Cell, actor: Actor) -> None:
        super().__init__(cell, actor)
        self._scope: Scope | None = None
        self._parker: Parker
        self._cancelled = False
        self._task: TaskHandle | None = None
        self._opening: Awaitable[StartReply] | None = None
        self._untouched: Variables | None = None
        """The variables that the task began with."""
        self._caller: Caller
        self._successor: TaskLife | None = None
        self._left_with: Outcome | None = None
        """How its own code ended, where the end has something to wait for."""

    def start(self) -> None:
        """Call the start hook here and now; what it waits for and the mail are the task's.

        It sees the variables that it and the task run with: a copy of its starter's, or those
        of the task that its predecessor leaves to it.
        """
        system = self._cell.system
        before = system.vacated
        if before is not None and before._cell.slot is self._cell.slot:
            system.vacated = None
            self._take_over(before)
        else:
            before = None
            self._enter_a_new_task()
        try:
            reply = self.call_start_hook()
            if reply is not None and inspect.isawaitable(reply):
                self._opening = reply
                outcome = None
            else:
                outcome = self.opened(reply)
        except BaseException as error:  # noqa: BLE001 - the boundary of the actor
            outcome = self.start_failed(error)
        if outcome is not None:
            self.end_soon(outcome)
        elif before is not None:
            before._successor = self
        else:
            system.spawn(_live_in_turn, self._cell.slot.path, self)

    def _enter_a_new_task(self) -> None:
        backend = self._cell.system.backend
        self._scope, self._parker = backend.scope(), backend.parker()
        self._caller = Caller(self._cell, in_loop=True)
        set_caller(self._caller)
        self._cell.loop.consumer = self._parker
        if self._cancelled:
            self._scope.cancel()

    def _take_over(self, before: TaskLife) -> None:
        """Go on in the task of the predecessor, which has ended in this very turn."""
        self._scope, self._parker, self._task = before._scope, before._parker, before._task
        self._untouched, self._caller = before._untouched, before._caller
        self._cell.loop.consumer = self._parker
        self._caller.cell = self._cell

    @property
    def waits_for_mail(self) -> bool:
        """Whether its task is parked until mail comes."""
        return self._cell.slot.mailbox.consumer is self._parker

    @property
    def stops_at_once(self) -> bool:
        """Whether a stop would have nothing to wait for: the stop hook of a task runs in the task."""
        kind = type(self._actor)
        return self.waits_for_mail and getattr(kind, "on_stop", None) is Actor.on_stop and self.ends_at_once

    def end_idle(self) -> None:
        """End here and now; the task finds it ended when it has its turn, and ends too."""
        self._cell.slot.mailbox.consumer = None
        self.end_at_once(SHUTDOWN)
        self._cell.loop.signal()

    def cancel(self) -> None:
        """Cancel the task; it may still clean up."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def stack(self) -> str:
        """Return where the task stands, innermost frame last."""
        return "" if self._task is None else self._task.stack()

    @property
    def cancel_called(self) -> bool:
        """Whether a kill has cancelled the task."""
        return self._cancelled

    async def live(self) -> TaskLife | None:
        """Live the whole life under the scope, and return the successor that goes on in the task."""
        outcome = await self._live()
        if outcome is None or self._cancelled or not self.ends_at_once:
            self._left_with = outcome
            return None
        # A successor finds the variables as they were, or a task of its own.
        self._cell.system.vacated = self if copy_context() == self._untouched else None
        try:
            self.end_at_once(outcome)
        finally:
            self._cell.system.vacated = None
        successor, self._successor = self._successor, None
        return successor

    async def _live(self) -> Outcome | None:
        if self._opening is not None:
            outcome = await self._open(self._opening)
            if outcome is not None:
                return outcome
        try:
            ended = await self._serve()
        except BaseException as error:
            if self._cancelled:
                raise
            ended = self.crashed(error)
        if self._cell.ended:
            return None  # while it waited for mail
        actor = self._actor
        if self._cell._holdings is None and actor is not None and type(actor).on_stop is Actor.on_stop:
            return ended  # nothing to finish
        return await self.finish(ended)

    async def _open(self, opening: Awaitable[StartReply]) -> Outcome | None:
        """Wait for the start hook; an outcome when there is nothing to serve."""
        self._opening = None
        try:
            return self.opened(await opening)
        except BaseException as error:
            if self._cancelled:
                raise
            return self.start_failed(error)

    async def _serve(self) -> Outcome:
        """Handle mail until something ends the actor; raises what a handler or a child task raised."""
        actor = self._actor
        assert actor is not None
        loop = self._cell.loop
        system = self._cell.system
        now, checkpoint = system.now, system.backend.checkpoint
        mailbox, parker = self._cell.slot.mailbox, self._parker
        vigil = system.vigil
        watched = vigil.watches(loop, type(actor))
        while True:
            outcome = None
            if loop.attention or loop.hold:
                outcome = await self._look_up(actor)
            elif mailbox.queue:
                started = now()
                if watched:
                    vigil.note(loop, started)
                outcome = await loop.batch(actor, started, SLICE)
                if mailbox.queue and outcome is None:
                    await checkpoint()  # else it parks, which is a cancel point and lets others run too
            else:
                if mailbox.senders:
                    mailbox.admit_senders()
                    if mailbox.queue:
                        continue
                mailbox.consumer = parker
                try:
                    await parker.park()
                finally:
                    if mailbox.consumer is parker:  # it may be a successor's by now
                        mailbox.consumer = None
            if outcome is not None:
                return outcome

    async def _look_up(self, actor: Actor) -> Outcome | None:
        loop = self._cell.loop
        if self._cell.ended:
            return self._cell.outcome
        while loop.killed:
            await self._parker.park()  # until the cancellation comes: no message is handled after a kill
        outcome = await loop.attend(actor)
        if outcome is None and loop.hold and not loop.attention:
            await self._parker.park()
        return outcome


async def _live_in_turn(life: TaskLife) -> None:
    """Be the task of a life, and of its successors as long as each takes over at once.

    No method, for the task would keep the first of them.
    """
    backend, scope = life._cell.system.backend, life._scope
    assert scope is not None, "it enters a new task before that is spawned"
    life._task = backend.current_task()
    life._untouched = copy_context()
    restarts = 0
    try:
        with scope:
            while (successor := await life.live()) is not None:
                life = successor
                restarts += 1
                if restarts % RESTARTS_PER_TURN == 0:
                    await backend.checkpoint()
    except BaseException as error:  # noqa: BLE001 - the boundary of the actor
        # A cancelled scope lets through what clean-up raised beside the cancellation.
        life._left_with = life.judge(error)
    if not life._cell.ended:
        await life.end(life._left_with)
