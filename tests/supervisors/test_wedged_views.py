"""A task that could not be killed is seen in every view, for as long as it goes on and no longer."""

from __future__ import annotations

import anyio
import pytest
from tests.supervisors.crew import Crew, Die
from tests.supervisors.limpet import Limpet, Rock, cling

from holdfast.runtime import Actor, StartTimeout, System, TaskWedged, open_system
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    KILL,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    REST_FOR_ONE,
    TEMPORARY,
    ChildStartFailed,
    DynamicHandle,
    Strategy,
    SupervisorHandle,
    dynamic,
    render_tree,
    snapshot,
    start_tree,
    supervisor,
    template,
    worker,
)


async def seen(system: System, handle: SupervisorHandle, child: str) -> list[bool]:
    """Return what each view says about a child of the root."""
    path = f"top/{child}"
    (listed,) = [info for info in await handle.which_children() if info.id == child]
    root = await snapshot(system, handle.ref)
    (node,) = [node for node in root.children if node.path == path]
    (line,) = [line for line in render_tree(root).splitlines() if f" {child} " in line]
    return [
        (await handle.which_child(child)).wedged,
        listed.wedged,
        (await handle.count_children()).wedged == 1,
        node.wedged,
        "wedged" in line,
        path in system.statistics().wedged,
    ]


# S-B8
@both_backends
async def test_every_view_shows_it_beside_its_successor_until_it_has_ended() -> None:
    rock, crew = Rock(), Crew()
    async with open_system() as system:
        limpet = worker("limpet", lambda: Limpet(rock), shutdown=KILL)
        handle = await start_tree(system, supervisor("top", limpet, crew.member("b")))
        assert await seen(system, handle, "limpet") == [False] * 6

        await cling(system.ref("top/limpet"))
        await handle.restart("limpet")
        assert (await handle.which_child("limpet")).incarnation == 2
        assert await seen(system, handle, "limpet") == [True] * 6
        assert (await handle.count_children()).active == 2, "the successor runs"

        await rock.let_go()
        assert await seen(system, handle, "limpet") == [False] * 6


# S-B8
@both_backends
async def test_of_two_wedged_incarnations_the_first_is_seen_when_the_second_has_ended() -> None:
    rock = Rock()
    async with open_system() as system:
        limpet = worker("limpet", lambda: Limpet(rock), shutdown=KILL)
        handle = await start_tree(system, supervisor("top", limpet, worker("b", Actor)))
        for _ in range(2):
            await cling(system.ref("top/limpet"))
            await handle.restart("limpet")
        await rock.let_go(1)
        assert await seen(system, handle, "limpet") == [True] * 6
        await rock.let_go()
        assert await seen(system, handle, "limpet") == [False] * 6


class SlowToStart(Actor):
    """Its start hook shields itself."""

    def __init__(self, rock: Rock, *, slow: bool) -> None:
        self._rock, self._slow = rock, slow

    async def on_start(self) -> None:
        if self._slow:
            await self._rock.hold()


# S-B8
@both_backends
async def test_a_start_hook_that_goes_on_after_its_time_limit_is_seen_too() -> None:
    rock = Rock()
    async with open_system() as system:
        slow_now = False
        slow = worker("slow", lambda: SlowToStart(rock, slow=slow_now), start_timeout=1.0)
        handle = await start_tree(system, supervisor("top", slow, worker("b", Actor)))
        await handle.terminate_child("slow")
        slow_now = True
        with pytest.raises(ChildStartFailed) as failed:
            await handle.restart_child("slow")
        assert isinstance(failed.value.reason, StartTimeout)
        assert await seen(system, handle, "slow") == [True] * 6
        await rock.let_all_go()
        assert await seen(system, handle, "slow") == [False] * 6


# S-B8
@both_backends
async def test_one_whose_place_is_gone_is_shown_below_where_it_was() -> None:
    rock = Rock()
    async with open_system() as system:
        pool = dynamic("pool", template("job", lambda: Limpet(rock), shutdown=KILL, restart=TEMPORARY))
        handle = await start_tree(system, supervisor("top", pool))
        jobs = DynamicHandle(system.ref("top/pool"))
        ref = (await jobs.start_child()).ref
        assert ref is not None
        await cling(ref)
        await jobs.terminate_child(ref)

        root = await snapshot(system, handle.ref)
        (gone,) = root.children[0].children
        assert (gone.path, gone.state, gone.wedged) == (ref.path, "gone", True)
        assert f"└─ {ref.path}  gone wedged" in render_tree(root)
        assert system.statistics().wedged == (ref.path,)

        await rock.let_go()
        assert (await snapshot(system, handle.ref)).children[0].children == ()


# S-B8
@both_backends
async def test_a_supervisor_of_a_wedged_child_is_not_wedged_itself() -> None:
    rock = Rock()
    async with open_system() as system:
        inner = supervisor("inner", worker("limpet", lambda: Limpet(rock), shutdown=KILL))
        pool = dynamic("pool", template("x", Actor))
        handle = await start_tree(system, supervisor("top", inner, pool))
        wedged = system.events.subscribe(wanted=lambda event: isinstance(event, TaskWedged))
        await cling(system.ref("top/inner/limpet"))
        await handle.terminate_child("inner")

        event = wedged.get_nowait()
        assert isinstance(event, TaskWedged)
        assert event.path == "top/inner/limpet"
        assert wedged.get_nowait() is None
        node, _pool = (await snapshot(system, handle.ref)).children
        assert (node.path, node.state, node.wedged) == ("top/inner", "stopped", False)
        assert [(child.path, child.wedged) for child in node.children] == [("top/inner/limpet", True)]
        await rock.let_all_go()


# S-B8, R18
@pytest.mark.parametrize("allowance, held", [(2.0, 3.0), (KILL, 1.0)])
@pytest.mark.parametrize("strategy", [ONE_FOR_ONE, REST_FOR_ONE, ONE_FOR_ALL])
@both_backends
async def test_a_wedged_member_of_any_group_holds_it_for_its_allowance_and_the_grace_and_no_longer(
    strategy: Strategy, allowance: float, held: float
) -> None:
    rock, crew = Rock(), Crew()
    async with open_system(kill_grace=1.0) as system:
        limpet = worker("limpet", lambda: Limpet(rock), shutdown=allowance)
        members = (crew.member("a"), limpet, crew.member("c"))
        await start_tree(system, supervisor("top", *members, strategy=strategy))
        slots = [system.ref(f"top/{name}").slot for name in ("a", "limpet", "c")]
        before = system.now()
        await cling(slots[1].ref)
        slots[0].ref.tell(Die())
        await anyio.sleep(20.0)

        waited = 0.0 if strategy is ONE_FOR_ONE else held
        assert slots[0].incarnation == 2
        assert slots[0].started_at - before == pytest.approx(waited, abs=0.001)
        others = 1 if strategy is ONE_FOR_ONE else 2
        assert [slot.incarnation for slot in slots[1:]] == [others, others]
        assert all(slot.started_at - before == pytest.approx(waited, abs=0.001) for slot in slots[1:])
        await rock.let_all_go()
