"""The system and how a program holds it: the ordered stop, however the body ends."""

from __future__ import annotations

from contextlib import nullcontext

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Ask, Boom, Fail, Note, Scribe, SlowScribe, Wait, keeper

from holdfast.runtime import (
    Actor,
    ActorGone,
    InvalidName,
    Outcome,
    Seams,
    StartFailed,
    StopDeadlineExceeded,
    SystemClosed,
)
from holdfast.runtime.testing import both_backends, settled


class Named(Scribe):
    """Writes its name and its end, into a list that all share."""

    def on_start(self) -> None:
        self.log.append(f"+{self.context.path}")

    async def on_stop(self, outcome: Outcome) -> None:
        await anyio.sleep(0.5)
        self.log.append(f"-{self.context.path} {outcome}")


# Outcomes: the nursery is shielded; a cancellation from outside becomes the ordered stop
@both_backends
async def test_however_the_body_ends_everything_is_stopped_in_reverse_order() -> None:
    async def body(log: list[str], end: str) -> None:
        async with open_system() as system:
            for name in ("a", "b", "c"):
                await system.start(name, lambda: Named(log))
            system.ref("a").tell(Note("last mail"))
            if end == "raises":
                raise Boom("of the body")
            if end == "cancelled":
                await anyio.sleep_forever()

    for end in ("returns", "raises", "cancelled"):
        log: list[str] = []
        with anyio.move_on_after(10) as scope:
            with pytest.raises(Boom, match="of the body") if end == "raises" else nullcontext():
                await body(log, end)
        assert scope.cancelled_caught == (end == "cancelled")
        assert log == ["+a", "+b", "+c", "last mail", "-c shutdown", "-b shutdown", "-a shutdown"]


@both_backends
async def test_an_actor_in_a_handler_is_not_interrupted_by_a_cancellation_from_outside() -> None:
    log: list[str] = []
    with anyio.move_on_after(1):
        async with open_system() as system:
            ref = await system.start("scribe", lambda: SlowScribe(log))
            ref.tell(Wait(5))
            await anyio.sleep_forever()
    assert log == ["+1", "busy", "done", "-shutdown"]


@both_backends
async def test_what_the_body_raises_is_raised_as_it_was() -> None:
    cause = KeyError("cause")
    with pytest.raises(Boom) as caught:
        async with open_system():
            raise Boom("plain") from cause
    assert caught.value.__cause__ is cause
    group = ExceptionGroup("of the body's own", [Boom("inside")])
    with pytest.raises(ExceptionGroup) as grouped:
        async with open_system():
            raise group
    assert (grouped.value.message, grouped.value.exceptions) == (group.message, group.exceptions)


# SEMANTICS Supervision 8, KERNEL: one overall deadline
@both_backends
async def test_what_is_not_stopped_in_time_is_killed_and_what_survives_that_is_named() -> None:
    class Stuck(Actor):
        async def on_stop(self, outcome: Outcome) -> None:
            await anyio.sleep(100)

    class Wedged(Actor):
        async def on_stop(self, outcome: Outcome) -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(100)

    async with open_system(stop_deadline=3):
        pass
    start = stopped = 0.0
    async with open_system(stop_deadline=3) as system:
        start = system.now()
        await system.start("stuck", Stuck)
    stopped = system.now()
    assert stopped - start == pytest.approx(3, abs=0.01)

    with pytest.raises(StopDeadlineExceeded, match=r"did not stop within 3 s; still running: wedged"):
        async with open_system(stop_deadline=3) as system:
            start = system.now()
            await system.start("wedged", Wedged)


@both_backends
async def test_a_wedged_system_can_end_the_process() -> None:
    statuses: list[int] = []

    class Wedged(Actor):
        async def on_stop(self, outcome: Outcome) -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(50)

    with pytest.raises(StopDeadlineExceeded):
        async with open_system(
            seams=Seams(exit_process=statuses.append), stop_deadline=1, exit_when_wedged=True
        ) as system:
            await system.start("wedged", Wedged)
    assert statuses == [70]


@every_tier
async def test_a_closed_system_refuses_starts_and_mail() -> None:
    async with open_system("mine") as system:
        ref = await system.start("scribe", lambda: Scribe([]))
    with pytest.raises(StartFailed, match="'mine' is closed") as caught:
        await system.start("late", lambda: Scribe([]))
    assert isinstance(caught.value.reason, SystemClosed)
    with pytest.raises(ActorGone):
        await ref.ask(Ask())
    ref.tell(Note("nobody there"))
    assert system.statistics().dead_letters == 1
    await system.stop()


@pytest.mark.parametrize("name", ["", "/", "a/", "/a", "a//b", "-a", "a b", "ü", "a\n", "x" * 101])
@both_backends
async def test_a_path_that_is_none_is_refused(name: str) -> None:
    async with open_system() as system:
        with pytest.raises(InvalidName, match="a name is 1 to 100 letters"):
            system.ref(name)
        with pytest.raises(InvalidName):
            await system.start(name, lambda: Scribe([]))
        assert len(system.registry) == 0


@every_tier
async def test_the_end_of_an_actor_at_the_top_can_be_waited_for() -> None:
    async with open_system() as system:
        with pytest.raises(ActorGone, match="never started"):
            await system.wait_ended(system.ref("nobody"))
        ref = await system.start("scribe", lambda: Scribe([]))
        outcomes: list[Outcome] = []

        async def wait() -> None:
            outcomes.append(await system.wait_ended(ref))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await settled()
            ref.tell(Fail())
        outcomes.append(await system.wait_ended(ref))
        assert [str(outcome) for outcome in outcomes] == ["crash(Boom: told to)"] * 2


@every_tier
async def test_a_name_at_the_top_is_free_again_after_its_actor_has_ended() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("scribe", lambda: Scribe(log))
        ref.tell(Fail())
        await system.wait_ended(ref)
        assert await system.start("scribe", lambda: Scribe(log)) == ref
        assert await ref.ask(Ask("again")) == "again"
    assert log == ["+1", "-crash(Boom: told to)", "+2", "again", "-shutdown"]


@both_backends
async def test_a_cancelled_start_leaves_nothing_running() -> None:
    class Slow(Actor):
        async def on_start(self) -> None:
            await anyio.sleep(100)

    async with open_system() as system:
        with anyio.move_on_after(1):
            await system.start("slow", Slow)
        await settled()
        assert system.tasks == 0


@both_backends
async def test_statistics_count_what_there_is() -> None:
    async with open_system(tasks_only=True) as system:
        parent = await keeper(system)
        await parent.start("scribe", lambda: Scribe([]))
        snapshot = system.statistics()
        assert (snapshot.actors, snapshot.tasks, snapshot.slots, snapshot.wedged) == (2, 2, 2, ())


# SEMANTICS Actors 2
@every_tier
async def test_a_ref_is_the_same_however_it_was_come_by() -> None:
    async with open_system() as system:
        early = system.ref("scribe")
        ref = await system.start("scribe", lambda: Scribe([]))
        assert early == ref
        assert len({early, ref}) == 1
        assert ref.path == "scribe"
        assert repr(ref) == "<Ref scribe running>"
        assert ref != system.ref("other")


# KERNEL: a failure that gets past an actor's boundary ends the system in order, never every actor at once
@every_tier
async def test_a_failure_of_the_kernel_itself_is_an_ordered_stop() -> None:
    log: list[str] = []

    async def broken() -> None:
        raise Boom("of the kernel")

    with pytest.raises(Boom, match="of the kernel"):
        async with open_system() as system:
            await system.start("scribe", lambda: Scribe(log))
            system.spawn(broken, "broken")
            await anyio.sleep(100)
    assert log == ["+1", "-shutdown"]
