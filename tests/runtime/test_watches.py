"""Who is told of an end: exactly once for each incarnation, after everything the dead one had sent."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Fail, Note, Scribe, SlowScribe, Wait, events_of, keeper

from holdfast.runtime import (
    KILLED,
    SHUTDOWN,
    Actor,
    Crash,
    Down,
    MailboxSpec,
    Message,
    Ref,
    StartFailed,
    on,
)
from holdfast.runtime.events import SubscriberRemoved
from holdfast.runtime.testing import both_backends, settled


class Watch(Message, frozen=True):
    """Watch, or stop watching."""

    ref: Ref
    on: bool = True


class Watcher(Scribe):
    @on(Watch)
    def watch(self, message: Watch) -> None:
        if message.on:
            self.context.watch(message.ref)
        else:
            self.context.unwatch(message.ref)


class SlowWatcher(Watcher, SlowScribe):
    """The same, able to be busy."""


# SEMANTICS Actors 9, S4
@every_tier
async def test_each_incarnation_that_ends_is_told_exactly_once() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        watcher = await system.start("watcher", lambda: Watcher(log))
        cell = await parent.start("watched", lambda: Scribe([]))
        ref = cell.slot.ref
        watcher.tell(Watch(ref))
        watcher.tell(Watch(ref))
        await settled()

        ref.tell(Fail())
        await settled()
        cell = await parent.start("watched", lambda: Scribe([]))
        await cell.stop(0, final=False)
        cell = await parent.start("watched", lambda: Scribe([]))
        await cell.stop(1, final=True)
        await settled()

        assert log[1:] == [
            "down keeper/watched 1 crash(Boom: told to)",
            f"down keeper/watched 2 {KILLED}",
            f"down keeper/watched 3 {SHUTDOWN}",
        ]


@every_tier
async def test_after_unwatch_nothing_comes_and_a_dead_slot_is_told_at_once() -> None:
    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start("watcher", lambda: Watcher(log))
        ref = await system.start("watched", lambda: Scribe([]))
        watcher.tell(Watch(ref))
        watcher.tell(Watch(ref, on=False))
        await settled()
        ref.tell(Fail())
        await settled()
        assert log == ["+1"]

        watcher.tell(Watch(ref))
        await settled()
        assert log == ["+1", "down watched 1 crash(Boom: told to)"]


# SEMANTICS Actors 3: after everything that the dead actor sent
@both_backends
async def test_down_comes_after_everything_that_the_dead_actor_sent() -> None:
    class Parting(SlowScribe):
        def __init__(self, to: Ref) -> None:
            super().__init__([])
            self.to = to

        async def on_stop(self, outcome: object) -> None:
            self.context.spawn(self._last_words)
            self.to.tell(Note("from the stop hook"))

        async def _last_words(self) -> None:
            try:
                await anyio.sleep(60)
            finally:
                self.to.tell(Note("from a child task's clean-up"))

        @on(Note)
        def note(self, message: Note) -> None:
            self.context.spawn(self._last_words)
            self.to.tell(message)

    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start("watcher", lambda: Watcher(log))
        parting = await system.start("parting", lambda: Parting(watcher))
        watcher.tell(Watch(parting))
        parting.tell(Note("from a handler"))
        await settled()
        assert parting.slot.cell is not None
        parting.slot.cell.request_stop(final=True)
        await settled()

        assert log[1] == "from a handler"
        assert log[-1] == "down parting 1 shutdown"
        assert "from the stop hook" in log
        assert "from a child task's clean-up" in log


# SEMANTICS Actors 3, 4: outside the bound, never dropped
@both_backends
async def test_down_is_outside_the_bound_and_never_dropped() -> None:
    class Tiny(Watcher):
        mailbox = MailboxSpec(capacity=2, policy="drop_oldest")

    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start("watcher", lambda: Tiny(log))
        watched = [await system.start(f"w{n}", lambda: SlowScribe([])) for n in range(5)]
        for ref in watched:
            watcher.tell(Watch(ref))
            await settled()
        watcher.tell(Wait(1))
        await settled()
        for ref in watched:
            ref.tell(Fail())
        await settled()
        for n in range(4):
            watcher.tell(Note(str(n)))
        await anyio.sleep(2)

        downs = [line for line in log if line.startswith("down")]
        assert sorted(downs) == [f"down w{n} 1 crash(Boom: told to)" for n in range(5)]
        assert [line for line in log if line in "0123"] == ["2", "3"]


# SEMANTICS Actors 2: notices carry the incarnation; stale ones are dropped and counted
@every_tier
async def test_a_watch_by_an_actor_ends_with_the_incarnation_that_made_it() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("watcher", lambda: Watcher(log))
        watched = await system.start("watched", lambda: Scribe([]))
        cell.slot.ref.tell(Watch(watched))
        await settled()
        await cell.stop(1, final=False)
        await parent.start("watcher", lambda: Watcher(log))

        watched.tell(Fail())
        await settled()

        assert not any(line.startswith("down") for line in log)
        assert watched.slot.watchers is not None
        assert len(watched.slot.watchers) == 0


@both_backends
async def test_a_down_that_waits_for_a_dead_watcher_is_dropped_and_counted() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("watcher", lambda: SlowWatcher(log))
        watched = await system.start("watched", lambda: SlowScribe([]))
        cell.slot.ref.tell(Watch(watched))
        cell.slot.ref.tell(Wait(1))
        cell.slot.ref.tell(Fail())
        await settled()
        watched.tell(Fail())
        await anyio.sleep(2)
        await parent.start("watcher", lambda: SlowWatcher(log))
        await settled()

        assert not any(line.startswith("down") for line in log)
        assert system.statistics().stale_notices == 1


# What survives what: watches of embedders are kept
@every_tier
async def test_a_watch_of_an_embedder_lasts_over_restarts_until_it_is_taken_back() -> None:
    told: list[Down] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("watched", lambda: Scribe([]))
        unwatch = system.watch(cell.slot.ref, told.append)
        for _ in range(3):
            cell.slot.ref.tell(Fail())
            await cell.wait_ended()
            cell = await parent.start("watched", lambda: Scribe([]))
        unwatch()
        cell.slot.ref.tell(Fail())
        await settled()

        assert [down.incarnation for down in told] == [1, 2, 3]
        assert all(isinstance(down.outcome, Crash) for down in told)


@every_tier
async def test_a_watching_embedder_that_raises_is_removed_and_reported_and_harms_nobody() -> None:
    told: list[Down] = []

    def broken(down: Down) -> None:
        raise ValueError("of the embedder")

    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("watched", lambda: Scribe([]))
        system.watch(cell.slot.ref, broken)
        system.watch(cell.slot.ref, told.append)
        with events_of(system, SubscriberRemoved) as removed:
            for _ in range(2):
                cell.slot.ref.tell(Fail())
                await cell.wait_ended()
                cell = await parent.start("watched", lambda: Scribe([]))

        assert len(told) == 2
        assert len(removed) == 1
        assert "of the embedder" in str(removed[0])


# SEMANTICS Actors 2, 9: the end of the slot
@every_tier
async def test_the_end_of_a_slot_ends_its_watches_and_a_new_child_is_another_slot() -> None:
    told: list[Down] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("watched", lambda: Scribe([]))
        system.watch(cell.slot.ref, told.append)
        await cell.stop(1, final=True)
        system.registry.remove(cell.slot.path)
        again = await parent.start("watched", lambda: Scribe([]))
        await again.stop(1, final=True)

        assert len(told) == 1
        assert again.slot is not cell.slot
        assert again.slot.ref != cell.slot.ref
        assert again.incarnation == 1


# SEMANTICS Actors 9: an incarnation that never started has not ended
@every_tier
async def test_a_failed_start_is_no_end_of_an_incarnation() -> None:
    class Stillborn(Actor):
        def on_start(self) -> None:
            raise ValueError("no")

    told: list[Down] = []
    async with open_system() as system:
        parent = await keeper(system)
        system.watch(system.ref("keeper/child"), told.append)
        with pytest.raises(StartFailed):
            await parent.open("child", Stillborn).start()
        await settled()

        assert told == []
        assert parent.ended == []
