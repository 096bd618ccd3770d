from __future__ import annotations

import anyio
import pytest
from tests.supervisors.crew import (
    Boom,
    Crew,
    Die,
    Finish,
    Member,
    Whoami,
    Work,
    fill,
    kill,
    start_pool,
)

from holdfast.runtime import (
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorGone,
    GaveUp,
    Killed,
    Shutdown,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    KILL,
    PERMANENT,
    TEMPORARY,
    TRANSIENT,
    Budget,
    ChildNotRestartable,
    ChildStartFailed,
    NoSuchChild,
    NotForDynamic,
    Restart,
    SupervisorHandle,
    TooManyChildren,
    supervisor,
    template,
)


@both_backends
async def test_children_are_started_with_arguments_and_named_by_refs() -> None:
    # 3.1, D3
    made: list[tuple[object, ...]] = []

    def make(*arguments: object) -> Actor:
        made.append(arguments)
        return Member(crew, "w", *arguments)

    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, template("w", make))
        first = await pool.start_child("a", 1)
        second = await pool.start_child("b", 2)

        assert made == [("a", 1), ("b", 2)]
        assert first.ref is not None
        assert first.ref.path == "pool/w-1"
        assert second.ref != first.ref
        first.ref.tell(Die())
        await settled()
        # D5: the same arguments again on each restart
        assert made[2:] == [("a", 1)]


@both_backends
async def test_a_crash_of_one_replaces_just_it_and_the_third_is_one_too_many() -> None:
    # 3.3 cases 35, 37
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"), budget=Budget(2, 5.0))
        first, second = await fill(pool, 2)
        for expected in (2, 3):
            first.tell(Die())
            assert await first.ask(Whoami()) == expected
        assert await second.ask(Whoami()) == 1

        first.tell(Die())
        assert await system.wait_ended(pool.ref) == GaveUp(("pool/w-1", "pool"))


@both_backends
async def test_a_child_that_cannot_restart_ends_the_supervisor_and_the_others() -> None:
    # 3.3 case 38, D8
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"), budget=Budget(4, 5.0))
        first, second = await fill(pool, 2)
        crew.fails = {"w": range(3, 100)}
        first.tell(Die())

        assert isinstance(await system.wait_ended(pool.ref), GaveUp)
        assert crew.starts["w"] == 2 + 4
        with pytest.raises(ActorGone):
            await second.ask(Whoami())


@pytest.mark.parametrize("restart", [PERMANENT, TRANSIENT, TEMPORARY])
@both_backends
async def test_the_restart_type_decides_who_stays(restart: Restart) -> None:
    # D6; 3.3 case 40
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w", restart=restart))
        ends = await fill(pool, 3)
        ends[0].tell(Finish(NORMAL))
        ends[1].tell(Finish(Shutdown("x")))
        kill(system, ends[2].path)
        await settled()
        left = {child.id for child in await pool.which_children()}

        wanted = {
            PERMANENT: {"w-1", "w-2", "w-3"},
            TRANSIENT: {"w-3"},
            TEMPORARY: set[str](),
        }
        assert left == wanted[restart]


@both_backends
async def test_an_ignored_or_failed_start_stores_nothing() -> None:
    # D3; 3.3 cases 6, 7, 12
    crew = Crew()
    crew.ignores, crew.fails = {"w": {1}}, {"w": {2}}
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"))
        assert (await pool.start_child()).ref is None
        with pytest.raises(ChildStartFailed) as failed:
            await pool.start_child()
        assert isinstance(failed.value.reason, Boom)
        assert await pool.which_children() == ()

        assert (await pool.start_child()).ref is not None
        await pool.stop()
        assert pool.ref.slot.outcome == SHUTDOWN


@both_backends
async def test_an_ignored_restart_removes_the_child() -> None:
    # R14b; 3.3 case 40, D7
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"))
        (ref,) = await fill(pool, 1)
        crew.ignores = {"w": {2}}
        kill(system, ref.path)
        await settled()

        assert await pool.which_children() == ()


@both_backends
async def test_counts_hold_one_spec_and_who_runs_or_is_being_restarted() -> None:
    # R32; 3.3 cases 24, 60
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"), budget=Budget(10_000, 5.0))
        refs = await fill(pool, 3)
        crew.fails, crew.start_takes = {"w": range(4, 8)}, {"w": 1.0}
        refs[0].tell(Die())
        refs[1].tell(Die())
        await settled()
        counts = await pool.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1, 1, 0, 3)

        await anyio.sleep(60.0)
        counts = await pool.count_children()
        assert (counts.specs, counts.active, counts.workers) == (1, 3, 3)
        for left, ref in zip((2, 1, 0), refs, strict=True):
            await pool.terminate_child(ref)
            assert (await pool.count_children()).active == left


@both_backends
async def test_dynamic_supervisors_are_counted_as_supervisors() -> None:
    # 3.3 case 59
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, supervisor("room", crew.member("a")))
        refs = await fill(pool, 2)
        counts = await pool.count_children()

        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1, 2, 2, 0)
        assert await system.ref(f"{refs[1].path}/a").ask(Whoami()) == 1


@both_backends
async def test_a_terminated_child_is_gone_and_its_ref_is_a_stranger_then() -> None:
    # D10, beyond OTP 12: the dead ref is not found
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"))
        first, second = await fill(pool, 2)
        await pool.terminate_child(first)
        with pytest.raises(NoSuchChild):
            await pool.terminate_child(first)
        with pytest.raises(ActorGone):
            await first.ask(Whoami())

        stranger = await system.start("stranger", Actor)
        with pytest.raises(NoSuchChild):
            await pool.terminate_child(stranger)
        assert stranger.slot.running
        assert [child.ref for child in await pool.which_children()] == [second]


@both_backends
async def test_a_child_is_looked_up_by_its_ref_and_its_spec_is_the_template() -> None:
    # 3.3 cases 14, 93
    crew = Crew()
    pattern = crew.pattern("w")
    async with open_system() as system:
        pool = await start_pool(system, pattern)
        (ref,) = await fill(pool, 1)

        assert (await pool.which_child(ref)).id == "w-1"
        assert await pool.get_spec(ref) is pattern
        await pool.terminate_child(ref)
        with pytest.raises(NoSuchChild):
            await pool.which_child(ref)


@both_backends
async def test_calls_by_id_are_refused() -> None:
    # 3.3 case 24
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"))
        await fill(pool, 1)
        by_id = SupervisorHandle(pool.ref)

        for refused in (
            by_id.start_child(crew.member("x")),
            by_id.restart_child("w-1"),
            by_id.delete_child("w-1"),
        ):
            with pytest.raises(
                NotForDynamic, match="children of a dynamic supervisor are named by their refs"
            ):
                await refused


@both_backends
async def test_max_children_holds_new_ones_off_and_kills_nobody() -> None:
    # D4
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"), max_children=2)
        refs = await fill(pool, 2)
        with pytest.raises(TooManyChildren, match="pool has 2 children, its max_children"):
            await pool.start_child()

        await pool.terminate_child(refs[0])
        assert (await pool.start_child()).ref is not None


@both_backends
async def test_all_children_stop_at_once_under_one_allowance() -> None:
    # R19, X12; 3.3 cases 18, 36
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w", shutdown=2.0))
        refs = await fill(pool, 3)
        for ref, seconds in zip(refs, (0.5, 1.0, 5.0), strict=True):
            ref.tell(Work(seconds))
        await settled()
        before = system.now()
        await pool.stop()

        assert system.now() - before == pytest.approx(2.0)
        assert crew.take()[3:] == ["w worked", "-w:shutdown"] * 2


@both_backends
async def test_children_to_be_killed_are_all_killed() -> None:
    # 3.3 case 20, D9
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w", shutdown=KILL))
        ended: list[object] = []
        for ref in await fill(pool, 10):
            ref.slot.watch_from_outside(lambda down: ended.append(down.outcome))
        await pool.stop()

        assert ended == [Killed()] * 10
        assert pool.ref.slot.outcome == SHUTDOWN


@both_backends
async def test_a_child_is_restarted_in_an_orderly_way_unless_it_is_temporary() -> None:
    # Beyond OTP 11
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w"), budget=Budget(0, 5.0))
        (ref,) = await fill(pool, 1)
        await pool.restart(ref)
        assert await ref.ask(Whoami()) == 2

    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w", restart=TEMPORARY))
        (ref,) = await fill(pool, 1)
        with pytest.raises(ChildNotRestartable):
            await pool.restart(ref)
