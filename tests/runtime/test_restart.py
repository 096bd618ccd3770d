"""What survives what: the cells of the table that the kernel alone decides, and memory over many restarts.

The columns "actor restart" and "group / supervisor restart" are told apart by
who ends the incarnation: the actor by a crash, or its parent by a stop for a
restart, or the end of the parent itself.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Ask, Boom, Fail, Keeper, Note, Scribe, SlowScribe, Wait, dead_letters, keeper

from holdfast.runtime import (
    Actor,
    ActorCrashed,
    Cell,
    Crash,
    Down,
    MailboxSpec,
    Message,
    Ref,
    on,
)
from holdfast.runtime.testing import both_backends, settled


class Stage:
    """An actor under a parent under the test, and the ways to end it for a restart."""

    def __init__(self, top: Keeper, middle: list[Keeper], log: list[str]) -> None:
        self.top = top
        self.middle = middle
        self.log = log
        self.kind: type[Scribe] = Scribe
        self.parent: Cell
        self.cell: Cell

    async def begin(self) -> Ref:
        def factory() -> Keeper:
            self.middle.append(Keeper())
            return self.middle[-1]

        self.parent = await self.top.start("parent", factory)
        self.cell = await self.middle[-1].start("actor", lambda: self.kind(self.log))
        return self.cell.slot.ref

    async def crash(self) -> None:
        self.cell.slot.ref.tell(Fail())
        await self.cell.wait_ended()

    async def stop_for_restart(self) -> None:
        await self.cell.stop(5, final=False)

    async def end_of_parent(self) -> None:
        await self.parent.stop(0, final=False)


End = Callable[[Stage], Awaitable[None]]
ENDS: list[End] = [Stage.crash, Stage.stop_for_restart, Stage.end_of_parent]
each_end = pytest.mark.parametrize("end", ENDS, ids=["actor restart", "group restart", "supervisor restart"])


async def restart(stage: Stage) -> Ref:
    """Start the successor, with a new parent where the old one has ended."""
    if stage.parent.ended:
        return await stage.begin()
    stage.cell = await stage.middle[-1].start("actor", lambda: stage.kind(stage.log))
    return stage.cell.slot.ref


# What survives what: queued mail of a slot is kept; SEMANTICS Actors 3, 5
@each_end
@every_tier
async def test_queued_mail_is_kept_in_order_and_later_mail_joins_it(end: End) -> None:
    async with open_system() as system:
        stage = Stage(await keeper(system), [], [])
        ref = await stage.begin()
        if end is Stage.crash:
            ref.tell(Fail())
        else:
            stage.cell.suspend()
        for n in range(20):
            ref.tell(Note(str(n)))
        if end is Stage.crash:
            await stage.cell.wait_ended()
        else:
            await end(stage)
        ref.tell(Note("while down"))

        assert await restart(stage) == ref
        await settled()

        heard = [line for line in stage.log if not line.startswith(("+", "-"))]
        assert heard == [*(str(n) for n in range(20)), "while down"]


# SEMANTICS Actors 5: the other choice
@each_end
@every_tier
async def test_a_mailbox_that_belongs_to_a_connection_is_discarded_and_that_is_said(end: End) -> None:
    class Connected(Scribe):
        mailbox = MailboxSpec(on_restart="discard")

    async with open_system() as system:
        stage = Stage(await keeper(system), [], [])
        stage.kind = Connected
        ref = await stage.begin()
        failures: list[str] = []

        async def ask() -> None:
            try:
                await ref.ask(Ask(), timeout=50)
            except Exception as error:
                failures.append(str(error))

        with dead_letters(system) as dead:
            async with anyio.create_task_group() as tasks:
                stage.cell.suspend()
                if end is Stage.crash:
                    ref.tell(Fail())
                ref.tell(Note("queued"))
                tasks.start_soon(ask)
                await settled()
                if end is Stage.crash:
                    stage.cell.resume()
                    await stage.cell.wait_ended()
                else:
                    await end(stage)
                await settled()
                assert len(failures) == 1, "a discarded question fails at once"
        assert ("Note", "discarded at the restart") in dead
        assert failures == ["keeper/parent/actor is gone (discarded at the restart)"]

        await restart(stage)
        ref.tell(Note("new"))
        await settled()
        assert stage.log[-2:] == ["+2", "new"]


# What survives what: the handler's message in flight is a dead letter
@both_backends
async def test_the_message_in_flight_is_a_dead_letter_and_not_handled_again() -> None:
    async with open_system() as system:
        stage = Stage(await keeper(system), [], [])
        stage.kind = SlowScribe
        ref = await stage.begin()
        with dead_letters(system) as dead:
            await stage.crash()
            await restart(stage)
            ref.tell(Wait(60))
            await settled()
            await stage.cell.stop(2, final=False)
            await restart(stage)
            ref.tell(Wait(60))
            await settled()
            await stage.end_of_parent()
            await restart(stage)
            await settled()
        why = "being handled when the actor ended"
        assert dead == [("Fail", why), ("Wait", why), ("Wait", why)]
        assert stage.log.count("busy") == 2
        assert system.statistics().dead_letters == 3


# What survives what: asks, queued and in flight
@each_end
@both_backends
async def test_a_queued_question_is_answered_by_the_successor_and_one_in_flight_fails(end: End) -> None:
    class Slow(SlowScribe):
        @on(Wait)
        async def wait(self, message: Wait) -> None:
            await anyio.sleep(message.seconds)
            raise Boom("at the end")

    async with open_system() as system:
        stage = Stage(await keeper(system), [], [])
        stage.kind = Slow
        ref = await stage.begin()
        answers: list[object] = []

        async def ask(text: str) -> None:
            try:
                answers.append(await ref.ask(Ask(text), timeout=20))
            except ActorCrashed as error:
                answers.append(error.outcome)

        async with anyio.create_task_group() as tasks:
            ref.tell(Wait(1))
            await settled()
            tasks.start_soon(ask, "queued")
            await settled()
            if end is Stage.crash:
                await stage.cell.wait_ended()
            elif end is Stage.stop_for_restart:
                await stage.cell.stop(0.5, final=False)
            else:
                await end(stage)
            await settled()
            assert answers == []
            await restart(stage)

        assert answers == ["queued"]


# What survives what: refs, watches, event subscriptions of embedders
@each_end
@every_tier
async def test_refs_watches_and_subscriptions_of_embedders_are_kept(end: End) -> None:
    told: list[Down] = []
    async with open_system() as system:
        stage = Stage(await keeper(system), [], [])
        ref = await stage.begin()
        system.watch(ref, told.append)
        subscription = system.events.subscribe()
        for n in range(1, 4):
            await end(stage)
            assert [down.incarnation for down in told] == list(range(1, n + 1))
            await restart(stage)
            assert await ref.ask(Ask("hello")) == "hello"
            assert ref == system.ref("keeper/parent/actor")
        assert ref.slot.incarnation == 4
        assert subscription.missed == 0
        assert subscription.get_nowait() is not None


# What survives what: timers are lost
@each_end
@every_tier
async def test_timers_are_lost_and_the_successor_sets_its_own(end: End) -> None:
    class Ticking(Scribe):
        def on_start(self) -> None:
            super().on_start()
            self.context.every(1, Note(f"tick of {self.context.incarnation}"))

    async with open_system() as system:
        stage = Stage(await keeper(system), [], [])
        stage.kind = Ticking
        await stage.begin()
        await anyio.sleep(1.5)
        await end(stage)
        await anyio.sleep(5)
        await restart(stage)
        await anyio.sleep(2.5)

        assert [line for line in stage.log if line.startswith("tick")] == [
            "tick of 1", "tick of 2", "tick of 2",
        ]  # fmt: skip


# SEMANTICS Actors 2: the slot ends with the spec
@every_tier
async def test_the_end_of_a_parent_for_good_ends_the_waiting_of_everyone_below() -> None:
    async with open_system() as system:
        stage = Stage(await keeper(system), [], [])
        ref = await stage.begin()
        await stage.crash()
        failures: list[str] = []

        async def ask() -> None:
            try:
                await ref.ask(Ask(), timeout=60)
            except Exception as error:
                failures.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await settled()
            start = system.now()
            await stage.parent.stop(1, final=True)
            await settled()
            assert len(failures) == 1
            assert system.now() - start < 0.1


# trap 17
@both_backends
async def test_nothing_is_retained_over_many_crashes() -> None:
    class Heavy(SlowScribe):
        def __init__(self, log: list[str]) -> None:
            super().__init__(log)
            actors.add(self)

        @on(Ask)
        async def crash(self, message: Ask) -> str:
            error = Boom("heavy")
            errors.add(error)
            raise error

    actors: weakref.WeakSet[Heavy] = weakref.WeakSet()
    errors: weakref.WeakSet[Boom] = weakref.WeakSet()
    cells: weakref.WeakSet[_Referable] = weakref.WeakSet()

    class _Referable:
        """A mark that lives as long as the factory that a cell holds."""

    async with open_system() as system:
        parent = await keeper(system)

        async def cycle() -> None:
            mark = _Referable()
            cells.add(mark)

            def factory(mark: _Referable = mark) -> Actor:
                return Heavy([])

            cell = await parent.start("heavy", factory)
            with pytest.raises(ActorCrashed):
                await cell.slot.ref.ask(Ask())
            await cell.wait_ended()

        for _ in range(30):
            await cycle()
        await parent.start("heavy", lambda: SlowScribe([]))
        await settled()
        assert len(parent.ended) == 30
        parent.ended.clear()
        gc.collect()

        assert len(actors) == 0
        assert len(errors) == 0, "not even the latest, once a successor runs"
        assert len(cells) == 0
        assert system.tasks == 2
        assert len(system.registry) == 2
        assert len(system.registry.slot("keeper/heavy").recorder or ()) <= 32


# trap 17: by reference counts alone
@every_tier
async def test_a_failed_ask_leaves_no_circle_of_references() -> None:
    class Refuser(Actor):
        @on(Ask)
        def refuse(self, message: Ask) -> str:
            error = Boom("no")
            errors.add(error)
            self.context.reply_later().fail(error)
            return ""

    errors: weakref.WeakSet[Boom] = weakref.WeakSet()
    async with open_system() as system:
        ref = await system.start("refuser", Refuser)
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                with pytest.raises(Boom):
                    await ref.ask(Ask())
            assert len(errors) <= 2
        finally:
            gc.enable()


class Swallow(Message, frozen=True):
    """Crash, with something heavy in the frame."""


@every_tier
async def test_the_latest_crash_is_kept_only_until_a_successor_runs() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: Scribe([]))
        cell.slot.ref.tell(Fail())
        await cell.wait_ended()
        assert isinstance(cell.slot.outcome, Crash)
        await parent.start("scribe", lambda: Scribe([]))
        assert cell.slot.outcome is None
