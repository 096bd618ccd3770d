from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from tests.supervisors.crew import Crew, Die, Whoami, fill, kill, start_pool

from holdfast.runtime import (
    Actor,
    ActorGone,
    System,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    TEMPORARY,
    Budget,
    DynamicHandle,
    StartArgumentsGone,
    dynamic,
    start_tree,
    supervisor,
    template,
)
from holdfast.supervisors.dynamic import OneStart


@both_backends
async def test_what_temporary_children_were_started_with_is_garbage_once_they_run() -> None:
    # R33; 3.3 cases 39, 62
    class Big:
        pass

    def make(big: Big) -> Actor:
        assert big is not None
        return Actor()

    async with open_system() as system:
        pool = await start_pool(system, template("w", make, restart=TEMPORARY))
        kept = await start_pool_of_permanent(system, make)
        seen: list[weakref.ref[Big]] = []
        for handle in (pool, pool, kept):
            big = Big()
            seen.append(weakref.ref(big))
            await handle.start_child(big)
            del big
        await pool.which_children()
        await kept.which_children()
        gc.collect()

        assert [alive() is not None for alive in seen] == [False, False, True]


async def start_pool_of_permanent(system: System, make: Any) -> DynamicHandle:
    return DynamicHandle((await start_tree(system, dynamic("kept", template("w", make)))).ref)


def test_a_start_that_may_happen_once_is_refused_the_second_time() -> None:
    # R33
    factory = OneStart("pool/w-1", Actor)
    assert isinstance(factory(), Actor)

    with pytest.raises(StartArgumentsGone, match="pool/w-1 is temporary"):
        factory()


@both_backends
async def test_children_added_at_run_time_are_forgotten_by_a_restart_of_their_supervisor() -> None:
    # 3.3 case 57
    crew = Crew()
    async with open_system() as system:
        await start_tree(system, supervisor("top", dynamic("pool", crew.pattern("w"), budget=Budget(0, 5.0))))
        pool = DynamicHandle(system.ref("top/pool"))
        first, second = await fill(pool, 2)
        first.tell(Die())
        await settled()

        assert await pool.which_children() == ()
        assert pool.ref.slot.incarnation == 2
        for gone in (first, second):
            with pytest.raises(ActorGone):
                await gone.ask(Whoami())
        # The names begin anew, and they are new slots.
        (again,) = await fill(pool, 1)
        assert (again.path, again == first) == (first.path, False)


@both_backends
async def test_a_thousand_children_are_counted_listed_and_ended() -> None:
    # 3.3 cases 58, 64
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("w", restart=TEMPORARY))
        refs = await fill(pool, 1000)
        assert (await pool.count_children()).workers == len(await pool.which_children()) == 1000

        for ref in refs[:500]:
            await pool.terminate_child(ref)
        for ref in refs[500:]:
            kill(system, ref.path)
        await settled()
        counts = await pool.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1, 0, 0, 0)
        assert len(system.registry) == 1
