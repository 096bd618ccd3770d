from __future__ import annotations

import pytest
from tests.supervisors.crew import Boom, Crew, Whoami

from holdfast.runtime import (
    Actor,
    ActorGone,
    DefinitionError,
    StartFailed,
    StartTimeout,
    open_system,
)
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    TEMPORARY,
    Budget,
    ChildSpec,
    ContradictionFound,
    ContradictoryTree,
    FailedToStartChild,
    InvalidSpec,
    Supervisor,
    start_tree,
    supervisor,
    worker,
)
from holdfast.supervisors.child_spec import Group


@both_backends
async def test_a_supervisor_without_children_starts_and_stops() -> None:
    # 3.3 case 1
    async with open_system() as system:
        handle = await start_tree(system, supervisor("top"))
        assert await handle.which_children() == ()

        await handle.stop()
        assert str(handle.ref.slot.outcome) == "shutdown"


@both_backends
async def test_children_start_one_after_the_other_and_the_start_returns_after_the_last() -> None:
    # R1
    crew = Crew()
    crew.start_takes = {"a": 2.0, "b": 1.0}
    async with open_system() as system:
        before = system.now()
        await start_tree(system, supervisor("top", *crew.members("abc")))

        assert crew.events == ["+a", "+b", "+c"]
        assert system.now() - before == pytest.approx(3.0)


@both_backends
async def test_the_start_order_follows_the_dependencies_and_the_stop_goes_backwards() -> None:
    # Beyond OTP 3
    crew = Crew()
    async with open_system() as system:
        children = [
            crew.member("client", depends_on=["auth", "delivery"]),
            crew.member("auth", depends_on=["config"]),
            crew.member("config"),
            crew.member("delivery"),
        ]
        handle = await start_tree(system, supervisor("top", *children))
        assert crew.take() == ["+config", "+auth", "+delivery", "+client"]

        await handle.stop()
        assert crew.take() == ["-client:shutdown", "-delivery:shutdown", "-auth:shutdown", "-config:shutdown"]


@both_backends
async def test_a_single_restart_does_not_wait_for_its_dependencies() -> None:
    # Beyond OTP 3
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), crew.member("b", depends_on=["a"]))
        await handle.terminate_child("a")
        await handle.terminate_child("b")
        crew.take()

        await handle.restart_child("b")
        assert crew.take() == ["+b"]


@both_backends
async def test_a_child_that_cannot_start_fails_the_supervisors_start() -> None:
    # R2, X8, 3.3 case 51: what ran is stopped in reverse, the cause comes through
    crew = Crew()
    crew.fails = {"c": {1}}
    async with open_system() as system:
        with pytest.raises(StartFailed) as failed:
            await start_tree(system, supervisor("top", *crew.members("abcd")))

        assert crew.events == ["+a", "+b", "!c", "-b:shutdown", "-a:shutdown"]
        reason = failed.value.reason
        assert isinstance(reason, FailedToStartChild)
        assert (reason.child, type(reason.reason)) == ("c", Boom)
        assert "top could not start its child 'c' (Boom: start 1 of c)" in str(failed.value)
        assert system.tasks == 0


@both_backends
async def test_a_fault_deep_in_the_tree_names_the_way_down() -> None:
    # 3.3 case 51
    crew = Crew()
    crew.fails = {"leaf": {1}}
    async with open_system() as system:
        with pytest.raises(StartFailed) as failed:
            await start_tree(system, supervisor("top", supervisor("mid", crew.member("leaf"))))

        outer = failed.value.reason
        assert isinstance(outer, FailedToStartChild)
        inner = outer.reason
        assert isinstance(inner, FailedToStartChild)
        assert (outer.child, inner.child, type(inner.reason)) == ("mid", "leaf", Boom)


@both_backends
async def test_an_ignored_child_is_kept_as_stopped_and_a_temporary_one_is_not_kept() -> None:
    # R3, 3.3 cases 3, 4
    crew = Crew()
    crew.ignores = {"a": {1}, "t": {1}}
    async with open_system() as system:
        handle = await crew.start(
            system, crew.member("a"), crew.member("t", restart=TEMPORARY), crew.member("b")
        )

        assert [(child.id, child.state) for child in await handle.which_children()] == [
            ("a", "stopped"),
            ("b", "running"),
        ]


@both_backends
async def test_a_start_hook_that_takes_too_long_is_a_failed_start() -> None:
    # 3.1: a wait that never signals "started"
    crew = Crew()
    crew.start_takes = {"a": 100.0}
    async with open_system() as system:
        with pytest.raises(StartFailed) as failed:
            await start_tree(system, supervisor("top", crew.member("a", start_timeout=2.0)))

        reason = failed.value.reason
        assert isinstance(reason, FailedToStartChild)
        assert isinstance(reason.reason, StartTimeout)


@both_backends
async def test_a_factory_that_returns_no_actor_is_refused_by_its_path() -> None:
    # 3.3 cases 8, 10
    async with open_system() as system:
        spec = supervisor("top", worker("a", lambda: "no actor"))  # type: ignore[arg-type, return-value]
        with pytest.raises(StartFailed, match="the factory of top/a returns an Actor, got str") as failed:
            await start_tree(system, spec)

        assert isinstance(failed.value.reason, FailedToStartChild)
        assert isinstance(failed.value.reason.reason, DefinitionError)


@both_backends
async def test_a_ref_taken_before_the_start_reaches_the_child() -> None:
    # Actors 2
    crew = Crew()
    async with open_system() as system:
        ref = system.ref("top/a")
        await crew.start(system, crew.member("a"))

        assert await ref.ask(Whoami()) == 1


@both_backends
async def test_numbers_that_contradict_each_other_are_reported_when_the_tree_is_built() -> None:
    # Beyond OTP 1
    crew = Crew()
    async with open_system() as system:
        events = system.events.subscribe(wanted=lambda event: isinstance(event, ContradictionFound))
        child = supervisor("child", crew.member("a", start_timeout=0.1), budget=Budget(3, 10.0))
        await start_tree(system, supervisor("top", child, budget=Budget(3, 5.0)))

        found = events.get_nowait()
        assert isinstance(found, ContradictionFound)
        assert (found.supervisor, found.rule) == ("top", "nested_period")
        assert "(3 + 1) x 10 s = 40 s" in found.sentence()
        assert events.get_nowait() is None


@both_backends
async def test_a_strict_subtree_with_contradictions_is_refused_when_it_is_added() -> None:
    # Beyond OTP 1: `Group` can be made without the words of `declarations.py`
    strict = ChildSpec(id="top", start_timeout=None, group=Group(children=(worker("a", Actor),), strict=True))
    async with open_system() as system:
        with pytest.raises(StartFailed) as failed:
            await start_tree(system, strict)

        assert isinstance(failed.value.reason, ContradictoryTree)


@both_backends
async def test_the_top_of_a_tree_is_a_supervisor() -> None:
    async with open_system() as system:
        with pytest.raises(InvalidSpec, match="the top of a tree is made by"):
            await start_tree(system, worker("a", Actor))


@both_backends
async def test_calls_to_a_supervisor_that_is_gone_raise_at_once() -> None:
    # R33
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))
        await handle.stop()
        before = system.now()

        with pytest.raises(ActorGone):
            await handle.which_children()
        with pytest.raises(ActorGone):
            await handle.start_child(crew.member("b"))
        assert system.now() == before


@both_backends
async def test_a_supervisor_is_an_actor_and_can_be_started_like_one() -> None:
    crew = Crew()
    async with open_system() as system:
        spec = supervisor("any", crew.member("a"))
        await system.start("top", lambda: Supervisor(spec))

        assert await system.ref("top/a").ask(Whoami()) == 1
