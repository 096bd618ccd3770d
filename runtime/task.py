"""The tier of actors with a task of their own: whoever waits in an `async def` handler or hook.

The task lives in the system's flat nursery under a scope of its own, which is
cancelled only by a kill.  An idle one costs its parked task and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.runtime.asks import Caller, set_caller
from holdfast.runtime.life import Life

if TYPE_CHECKING:
    from holdfast.runtime.backend import Parker, TaskHandle
    from holdfast.runtime.behavior import Actor
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.outcomes import Outcome

__all__ = ["TaskLife"]

# How long a loop may hold on before it lets others have a turn.
SLICE = 0.000_4


class TaskLife(Life):
    """A life in a task of its own."""

    __slots__ = ("_parker", "_scope", "_task")

    def __init__(self, cell: Cell, actor: Actor) -> None:
        super().__init__(cell, actor)
        self._scope = cell.system.backend.scope()
        self._parker: Parker = cell.system.backend.parker()
        self._task: TaskHandle | None = None
        cell.loop.consumer = self._parker

    def start(self) -> None:
        """Start the task; it has its first turn after this."""
        self._cell.system.spawn(self.run, self._cell.slot.path)

    def cancel(self) -> None:
        """Cancel the task; it may still clean up."""
        self._scope.cancel()

    def stack(self) -> str:
        """Return where the task stands, innermost frame last."""
        return "" if self._task is None else self._task.stack()

    @property
    def cancel_called(self) -> bool:
        """Whether a kill has cancelled the task."""
        return self._scope.cancel_called

    async def run(self) -> None:
        """Live the whole life."""
        set_caller(Caller(self._cell, in_loop=True))
        self._task = self._cell.system.backend.current_task()
        outcome: Outcome | None = None
        try:
            with self._scope:
                outcome = await self._live()
        except BaseException as error:  # noqa: BLE001 - the boundary of the actor
            # A cancelled scope lets through what clean-up raised beside the cancellation.
            outcome = self.judge(error)
        await self.end(outcome)

    async def _live(self) -> Outcome:
        outcome = await self.begin()
        if outcome is not None:
            return outcome
        try:
            ended = await self._serve()
        except BaseException as error:
            if self._scope.cancel_called:
                raise
            ended = self.crashed(error)
        return await self.finish(ended)

    async def _serve(self) -> Outcome:
        """Handle mail until something ends the actor; raises what a handler or a child task raised."""
        actor = self._actor
        assert actor is not None
        loop = self._cell.loop
        system = self._cell.system
        now, checkpoint = system.now, system.backend.checkpoint
        queue = self._cell.slot.mailbox.queue
        vigil = system.vigil
        watched = vigil.watches(loop, type(actor))
        while True:
            outcome = None
            if loop.attention or loop.hold:
                outcome = await self._look_up(actor)
            elif queue:
                started = now()
                if watched:
                    vigil.note(loop, started)
                outcome = await loop.batch(actor, started, SLICE)
                if queue and outcome is None:
                    await checkpoint()  # else it parks, which is a cancel point and lets others run too
            else:
                await self._wait_for_mail()
            if outcome is not None:
                return outcome

    async def _look_up(self, actor: Actor) -> Outcome | None:
        loop = self._cell.loop
        while loop.killed:
            await self._parker.park()  # until the cancellation comes: no message is handled after a kill
        outcome = await loop.attend(actor)
        if outcome is None and loop.hold and not loop.attention:
            await self._parker.park()
        return outcome

    async def _wait_for_mail(self) -> None:
        mailbox = self._cell.slot.mailbox
        if mailbox.senders:
            mailbox.admit_senders()
            if mailbox.queue:
                return
        mailbox.consumer = self._parker
        try:
            await self._parker.park()
        finally:
            mailbox.consumer = None
