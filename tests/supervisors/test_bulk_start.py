from __future__ import annotations

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.supervisors.crew import Boom, start_pool

from holdfast.runtime import (
    IGNORE,
    Actor,
    ActorGone,
    ActorStarted,
    Ignore,
    Info,
    Message,
    Request,
    System,
    on,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    BulkStartFailed,
    ChildHandle,
    ChildStartFailed,
    DynamicHandle,
    InvalidSpec,
    NotForDynamic,
    TooManyChildren,
    dynamic,
    start_tree,
    supervisor,
    template,
)
from holdfast.supervisors.bulk import CHILDREN_PER_TURN
from holdfast.supervisors.messages import StartInstances


class Crash(Message, frozen=True):
    """Crash."""


class Who(Request[tuple[int, int]], frozen=True):
    """Answer with the number that it was made with, and the incarnation."""


class Numbered(Actor):
    """Knows its number; negative ones do not start, 0 has nothing to run, 7 passes something out."""

    def __init__(self, number: int = 1) -> None:
        self.number = number

    def on_start(self) -> Ignore | Info | None:
        if self.number < 0:
            raise Boom(f"no {self.number}")
        if self.number == 7:
            return Info("seven")
        return IGNORE if self.number == 0 else None

    @on(Who)
    def who(self, _question: Who) -> tuple[int, int]:
        return self.number, self.context.incarnation

    @on(Crash)
    def crash(self, _message: Crash) -> None:
        raise Boom("asked for")


class Slow(Actor):
    """Takes a second to start."""

    async def on_start(self) -> None:
        await anyio.sleep(1)


async def numbered(system: System, **options: object) -> DynamicHandle:
    return await start_pool(system, template("n", Numbered), **options)


def numbers(count: int) -> list[tuple[object, ...]]:
    return [(number,) for number in range(1, count + 1)]


@every_tier
async def test_children_that_are_started_together_answer_in_the_order_of_their_arguments() -> None:
    # D3
    async with open_system() as system:
        pool = await numbered(system)
        handles = await pool.start_children(numbers(3 * CHILDREN_PER_TURN))

        answers = [await handle.ref.ask(Who()) for handle in handles if handle.ref is not None]
        assert answers == [(number, 1) for number in range(1, 3 * CHILDREN_PER_TURN + 1)]
        assert [handle.id for handle in handles] == [info.id for info in await pool.which_children()]
        assert handles[6].info == "seven"
        assert handles[7].info is None
        assert (await pool.start_child(5)).id == f"n-{3 * CHILDREN_PER_TURN + 1}"


@every_tier
async def test_a_child_started_with_others_is_restarted_with_its_own_arguments() -> None:
    # D5
    async with open_system() as system:
        pool = await numbered(system)
        first, second = await pool.start_children([(3,), (4,)])
        assert first.ref is not None
        assert second.ref is not None
        second.ref.tell(Crash())
        await settled()

        assert await first.ref.ask(Who()) == (3, 1)
        assert await second.ref.ask(Who()) == (4, 2)
        await pool.terminate_child(second.ref)
        assert (await pool.count_children()).active == 1


@every_tier
async def test_of_many_children_those_that_start_stay_beside_those_that_fail() -> None:
    # D3: as with one, the one that fails is not stored
    async with open_system() as system:
        pool = await numbered(system)
        with pytest.raises(BulkStartFailed, match="2 of 5 children; the first is number 1") as failed:
            await pool.start_children([(1,), (-1,), (0,), (2, "too many"), (5,)])

        one, two, three, four, five = failed.value.results
        assert isinstance(one, ChildHandle)
        assert isinstance(two, ChildStartFailed)
        assert isinstance(two.reason, Boom)
        assert three == ChildHandle("n-3", None)
        assert isinstance(four, ChildStartFailed)
        assert isinstance(five, ChildHandle)
        assert [info.id for info in await pool.which_children()] == [one.id, five.id]
        assert system.registry.find("pool/n-2") is None
        assert system.registry.find("pool/n-3") is None


@every_tier
async def test_more_children_than_there_may_be_are_refused_one_by_one() -> None:
    # D4; one that ignores takes no place
    async with open_system() as system:
        pool = await numbered(system, max_children=3)
        with pytest.raises(BulkStartFailed) as failed:
            await pool.start_children([(1,), (0,), (2,), (3,), (4,)])

        kinds = [type(result) for result in failed.value.results]
        assert kinds == [ChildHandle, ChildHandle, ChildHandle, ChildHandle, TooManyChildren]
        assert (await pool.count_children()).active == 3


@every_tier
async def test_calls_and_notices_are_served_between_the_children_of_a_bulk_start() -> None:
    # R11
    async with open_system() as system:
        pool = await numbered(system)
        (early,) = await pool.start_children([(9,)])
        assert early.ref is not None
        counts: list[int] = []
        started: list[str] = []
        system.events.call(
            lambda event: started.append(event.path) if isinstance(event, ActorStarted) else None
        )
        many = 40 * CHILDREN_PER_TURN
        handles: tuple[ChildHandle, ...] = ()

        async def ask() -> None:
            while (active := (await pool.count_children()).active) <= many:
                counts.append(active)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.lowlevel.checkpoint()
            early.ref.tell(Crash())
            handles = await pool.start_children(numbers(many))
            assert await early.ref.ask(Who()) == (9, 2)

        # Neither the restart nor the answers waited for all of them.
        assert started.index("pool/n-1") < many / 2

        assert len({handle.id for handle in handles}) == many
        assert len(set(counts)) >= 10


@every_tier
async def test_a_supervisor_that_is_stopped_in_the_middle_of_a_bulk_start_takes_all_of_it_with_it() -> None:
    # R22, R33
    async with open_system() as system:
        pool = await numbered(system)
        gone: list[ActorGone] = []

        async def start() -> None:
            try:
                await pool.start_children(numbers(100 * CHILDREN_PER_TURN))
            except ActorGone as error:
                gone.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            while (await pool.count_children()).active < 2 * CHILDREN_PER_TURN:
                pass
            await pool.stop()

        assert len(gone) == 1
        assert [slot.path for slot in system.registry if slot.cell is not None] == []


@both_backends
async def test_a_child_whose_start_has_to_be_waited_for_ends_the_portion() -> None:
    # R11: no more than one such start stands between two calls
    async with open_system() as system:
        pool = await start_pool(system, template("s", Slow))
        portion = await pool.ref.ask(StartInstances(((), (), ())))
        assert len(portion.results) == 1
        began = system.now()

        async def ask() -> None:
            await anyio.sleep(0.5)
            await pool.count_children()
            assert system.now() - began == pytest.approx(1.0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            assert len(await pool.start_children([()] * 3)) == 3
        assert system.now() - began == pytest.approx(3.0)


@every_tier
async def test_the_rest_of_a_bulk_start_is_not_started_by_a_successor_of_the_supervisor() -> None:
    # R44: what was started by the incarnation before is gone
    async with open_system() as system:
        pool = await numbered(system)
        with pytest.raises(ActorGone, match="it was restarted"):
            await pool.ref.ask(StartInstances(((1,),), incarnation=2))
        assert (await pool.count_children()).active == 0


@every_tier
async def test_a_bulk_start_whose_caller_is_cancelled_ends_soon_and_what_started_stays() -> None:
    async with open_system() as system:
        pool = await numbered(system)
        active = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.start_children, numbers(20 * CHILDREN_PER_TURN))
            while (active := (await pool.count_children()).active) == 0:
                pass
            tasks.cancel_scope.cancel()

        await settled()
        after = (await pool.count_children()).active
        assert active <= after <= active + 6 * CHILDREN_PER_TURN


@both_backends
async def test_what_cannot_be_started_in_bulk_is_refused_before_anything_is() -> None:
    async with open_system() as system:
        pool = await numbered(system)
        with pytest.raises(InvalidSpec, match="tuple of arguments for each child, also at 1"):
            await pool.start_children([(1,), "ab"])  # type: ignore[list-item]
        assert (await pool.count_children()).active == 0
        assert await pool.start_children([]) == ()

        groups = DynamicHandle((await start_tree(system, dynamic("groups", supervisor("group")))).ref)
        with pytest.raises(BulkStartFailed) as failed:
            await groups.start_children([(1,), ()])
        assert isinstance(failed.value.results[0], InvalidSpec)
        assert isinstance(failed.value.results[1], ChildHandle)


@both_backends
async def test_a_static_supervisor_refuses_a_bulk_start() -> None:
    # 3.3 case 24
    async with open_system() as system:
        await start_tree(system, supervisor("top"))
        with pytest.raises(BulkStartFailed) as failed:
            await DynamicHandle(system.ref("top")).start_children([()])
        assert isinstance(failed.value.results[0], NotForDynamic)
