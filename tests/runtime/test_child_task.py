"""Child tasks end with their actor, which is not gone before they are; and what tasks are called."""

from __future__ import annotations

import asyncio

import anyio
import pytest
import sniffio
import trio
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Note, Scribe, SlowScribe, keeper

from holdfast.runtime import SHUTDOWN, on
from holdfast.runtime.testing import both_backends, settled


class Tidy(Scribe):
    """Has a child task whose clean-up takes half a second, whatever happens around it."""

    @on(Note)
    def begin(self, message: Note) -> None:
        self.context.spawn(self._work)

    async def _work(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            self.log.append("tidied up")


# Beyond OTP 10: an actor's own child tasks end with it
@every_tier
async def test_an_actor_is_gone_only_when_the_clean_up_of_its_child_tasks_is_done() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("tidy", lambda: Tidy(log))
        cell.slot.ref.tell(Note("begin"))
        await settled()
        before = system.now()

        assert await cell.stop(5, final=True) == SHUTDOWN
        assert log == ["+1", "-shutdown", "tidied up"]
        assert system.now() - before == pytest.approx(0.5)
        assert system.tasks == 1


# SEMANTICS Actors 7: child tasks are cancelled at once when the actor stops, before its stop hook
@both_backends
async def test_a_child_task_is_cancelled_at_once_when_its_actor_stops() -> None:
    class Watching(SlowScribe):
        @on(Note)
        def begin(self, message: Note) -> None:
            self.context.spawn(self._work)

        async def _work(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                self.log.append("cancelled")

        async def on_stop(self, outcome: object) -> None:
            await anyio.sleep(1)
            self.log.append(f"-{outcome}")

    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("watching", lambda: Watching(log))
        cell.slot.ref.tell(Note("begin"))
        await settled()
        await cell.stop(5, final=True)

        assert log == ["+1", "cancelled", "-shutdown"]


# SEMANTICS Actors 12: every task is named by its actor's path
@both_backends
async def test_every_actor_and_every_child_task_is_a_task_named_by_its_actors_path() -> None:
    log: list[str] = []
    async with open_system(tasks_only=True) as system:
        parent = await keeper(system)
        cell = await parent.start("tidy", lambda: Tidy(log))
        cell.slot.ref.tell(Note("begin"))
        await settled()

        names = {name for name in task_names() if name.startswith("keeper")}
        assert names == {"keeper", "keeper/tidy", "keeper/tidy#_work"}
        assert system.tasks == len(names)


def task_names() -> list[str]:
    """Return the names of all tasks of the running loop."""
    if sniffio.current_async_library() == "asyncio":
        return [task.get_name() for task in asyncio.all_tasks()]
    found: list[str] = []
    root = trio.lowlevel.current_root_task()
    assert root is not None
    nurseries = list(root.child_nurseries)
    while nurseries:
        for task in nurseries.pop().child_tasks:
            found.append(task.name)
            nurseries += task.child_nurseries
    return found
