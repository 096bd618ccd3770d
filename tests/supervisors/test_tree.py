from __future__ import annotations

import msgspec
import pytest
from tests.supervisors.crew import PLENTY, Crew, Die, Whoami

from holdfast.runtime import Actor, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    REST_FOR_ONE,
    TRANSIENT,
    Budget,
    DynamicHandle,
    NoSuchChild,
    NoSuchPath,
    OnGiveUp,
    SupervisorHandle,
    TreeNode,
    dynamic,
    restart_path,
    snapshot,
    supervisor,
)


@both_backends
async def test_a_snapshot_shows_the_whole_tree_in_start_order() -> None:
    # Beyond OTP 12
    crew = Crew()
    async with open_system() as system:
        link = supervisor("link", *crew.members("rs"), strategy=REST_FOR_ONE, budget=Budget(5, 10.0))
        handle = await crew.start(
            system,
            crew.member("z"),
            link,
            crew.member("a", restart=TRANSIENT),
            dynamic("pool", crew.pattern("w")),
        )
        await DynamicHandle(system.ref("top/pool")).start_child()
        system.ref("top/link/r").tell(Die())
        await settled()
        await handle.terminate_child("a")
        root = await snapshot(system, handle.ref)

        assert [child.path for child in root.children] == ["top/z", "top/link", "top/a", "top/pool"]
        assert (root.strategy, root.budget_left, root.intensity) == ("one_for_one", 100, 100)
        shown = root.children[1]
        assert (shown.strategy, shown.budget_left, shown.intensity, shown.period) == (
            "rest_for_one",
            4,
            5,
            10.0,
        )
        assert [(child.state, child.incarnation, child.restarts) for child in shown.children] == [
            ("running", 2, 1),
            ("running", 2, 1),
        ]
        assert (root.children[2].state, root.children[2].restart) == ("stopped", "transient")
        assert [child.path for child in root.children[3].children] == ["top/pool/w-1"]


@both_backends
async def test_a_snapshot_shows_what_is_left_of_every_budget_and_when_it_is_whole_again() -> None:
    crew = Crew()
    async with open_system() as system:
        link = supervisor("link", *crew.members("r"), budget=Budget(5, 10.0))
        own = crew.member("own", on_give_up=OnGiveUp.STOP, budget=Budget(2, 30.0))
        handle = await crew.start(system, link, own, crew.member("plain"))
        system.ref("top/link/r").tell(Die())
        system.ref("top/own").tell(Die())
        await settled()
        shown, with_own, plain = (await snapshot(system, handle.ref)).children

        assert (shown.budget_left, shown.intensity, shown.period, shown.clears_in) == (4, 5, 10.0, 10.0)
        assert (with_own.budget_left, with_own.intensity, with_own.period) == (1, 2, 30.0)
        assert (plain.budget_left, plain.intensity) == (None, None)


@both_backends
async def test_a_snapshot_is_plain_data_and_comes_back_from_json() -> None:
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), supervisor("s", crew.member("b")))
        root = await snapshot(system, handle.ref)

        assert msgspec.json.decode(msgspec.json.encode(root), type=TreeNode) == root


@both_backends
async def test_a_supervisor_that_is_busy_hides_its_own_part_alone() -> None:
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system, supervisor("busy", crew.member("a"), budget=PLENTY), supervisor("idle", crew.member("b"))
        )
        crew.start_takes = {"a": 4.9}
        system.ref("top/busy/a").tell(Die())
        await settled()
        root = await snapshot(system, handle.ref)

        assert (root.children[0].busy, root.children[0].children) == (True, ())
        assert [child.path for child in root.children[1].children] == ["top/idle/b"]


@both_backends
async def test_a_path_is_restarted_in_an_orderly_way() -> None:
    # Beyond OTP 11
    crew = Crew()
    async with open_system() as system:
        await crew.start(
            system, supervisor("s", *crew.members("abc"), strategy=REST_FOR_ONE), crew.member("d")
        )
        await restart_path(system, "top/s/b")
        assert crew.take() == ["-c:shutdown", "-b:shutdown", "+b", "+c"]

        await restart_path(system, "top/s")
        assert crew.take() == [*(f"-{name}:shutdown" for name in "cba"), "+a", "+b", "+c"]

        await restart_path(system, "top")
        assert crew.take()[:1] == ["-d:shutdown"]
        assert await system.ref("top/s/b").ask(Whoami()) == 4


@both_backends
async def test_a_path_that_does_not_exist_is_refused_by_name_and_leaves_no_trace() -> None:
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, crew.member("a"))
        await system.start("lonely", Actor)
        before = len(system.registry)

        for path, why in (
            ("nobody", "no such supervisor runs"),
            ("nobody/a", "no supervisor runs above it"),
            ("top/a/b", "top/a is no supervisor"),
            ("lonely", "lonely is no supervisor"),
        ):
            with pytest.raises(NoSuchPath, match=why):
                await restart_path(system, path)
        with pytest.raises(NoSuchChild):
            await restart_path(system, "top/x")
        assert len(system.registry) == before


@both_backends
async def test_restart_counts_are_told_by_the_supervisor() -> None:
    crew = Crew()
    async with open_system() as system:
        handle: SupervisorHandle = await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ALL)
        system.ref("top/a").tell(Die())
        await settled()
        supervision = await handle.supervision()

        assert supervision.restarts == 1
        assert [child.restarts for child in supervision.children] == [1, 1]


@both_backends
async def test_the_tree_shows_who_is_suspended() -> None:
    # S-N1: who forgets to resume sees it
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"))
        await system.inspect("top/a").suspend()

        assert [child.suspended for child in (await snapshot(system, handle.ref)).children] == [True, False]
