"""3.3, restarts that hang and starts that find their child elsewhere: cases 66-69."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.conformance.views import counts, ended, incarnations, running, states
from tests.supervisors.crew import PLENTY, Crew, Die, fill, start_pool

from holdfast.runtime import SHUTDOWN, Actor, Info, Ref, open_system
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    REST_FOR_ONE,
    AlreadyPresent,
    AlreadyStarted,
    Budget,
    ChildRestarting,
    NotForDynamic,
    start_tree,
    supervisor,
    worker,
)
from holdfast.supervisors.messages import DeleteChild, RestartChild

HANGING: dict[str, Any] = {"budget": Budget(8, 10.0)}


@both_backends
async def test_while_a_start_hangs_and_fails_calls_are_served_and_the_supervisor_stops() -> None:
    # case 66: hanging_restart_loop
    crew = Crew()
    crew.start_takes["a"] = 2.0
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), **HANGING)
        crew.fails["a"] = range(2, 100)
        running(system, "top/a").tell(Die())
        await anyio.sleep(1.0)

        with pytest.raises(AlreadyPresent):
            await handle.start_child(crew.member("a"))
        for call in (handle.restart_child, handle.delete_child):
            with pytest.raises(ChildRestarting):
                await call("a")
        assert await states(handle) == {"a": "restarting"}
        assert await counts(handle) == (1, 0, 0, 1)
        await handle.terminate_child("a")
        assert await states(handle) == {"a": "stopped"}

        crew.fails["a"] = set()
        await handle.restart_child("a")
        crew.fails["a"] = range(crew.starts["a"] + 1, 100)
        running(system, "top/a").tell(Die())
        await anyio.sleep(3.0)
        before = system.now()
        await handle.stop()
        assert system.now() - before < 3.0
        assert await start_tree(system, supervisor("top")), "the name is free"


@both_backends
async def test_a_hanging_restart_in_the_middle_leaves_those_before_it_running_and_those_after_stopped() -> (
    None
):
    # case 67: hanging_restart_loop_rest_for_one
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"), strategy=REST_FOR_ONE, **HANGING)
        crew.start_takes["b"] = 2.0
        crew.fails["b"] = range(2, 100)
        running(system, "top/b").tell(Die())
        await anyio.sleep(1.0)

        assert await states(handle) == {"a": "running", "b": "restarting", "c": "stopped"}
        assert await counts(handle) == (3, 1, 0, 3)
        await handle.terminate_child("b")
        assert await states(handle) == {"a": "running", "b": "stopped", "c": "stopped"}
        assert (await incarnations(handle))["a"] == 1


@both_backends
async def test_a_dynamic_child_whose_restart_hangs_is_terminated_by_its_old_ref() -> None:
    # case 68: hanging_restart_loop_simple, D10
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a"), **HANGING)
        (ref,) = await fill(pool, 1)
        crew.start_takes["a"] = 2.0
        crew.fails["a"] = range(2, 100)
        ref.tell(Die())
        await anyio.sleep(1.0)

        assert [child.state for child in await pool.which_children()] == ["restarting"]
        name = ref.path.rpartition("/")[2]
        for question in (RestartChild(name), DeleteChild(name)):
            with pytest.raises(NotForDynamic):
                await pool.ref.ask(question)
        await pool.terminate_child(ref)
        assert await pool.which_children() == ()

        crew.fails["a"] = set()
        (ref,) = await fill(pool, 1)
        crew.fails["a"] = range(crew.starts["a"] + 1, 100)
        ref.tell(Die())
        await anyio.sleep(1.0)
        await pool.stop()
        assert ended(pool.ref) == SHUTDOWN


class Elsewhere(Actor):
    """What it is to start runs already."""

    def __init__(self, there: Ref) -> None:
        self._there = there

    def on_start(self) -> Info:
        raise AlreadyStarted(self.context.path, "elsewhere", self._there)


@both_backends
async def test_a_start_that_finds_its_child_running_elsewhere_tells_where_and_adopts_nobody() -> None:
    # case 69: already_started_outside_supervisor
    async with open_system() as system:
        there = await system.start("elsewhere", Actor)
        handle = await start_tree(system, supervisor("top", budget=PLENTY))
        with pytest.raises(AlreadyStarted) as found:
            await handle.start_child(worker("a", lambda: Elsewhere(there)))

        assert found.value.ref == there
        assert await states(handle) == {}
        await handle.stop()
        assert there.slot.running
