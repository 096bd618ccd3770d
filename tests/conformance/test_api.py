"""3.3, calls: cases 23-29."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from tests.conformance.views import counts, ended, incarnations, states
from tests.supervisors.crew import Crew, Die, fill, kill, start_pool

from holdfast.runtime import SHUTDOWN, Actor, ActorGone, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ANY_SIGNIFICANT,
    FOREVER,
    KILL,
    NEVER,
    PERMANENT,
    AlreadyPresent,
    AlreadyStarted,
    AutoShutdown,
    Budget,
    ChildRunning,
    InvalidSpec,
    NoSuchChild,
    NotForDynamic,
    Restart,
    dynamic,
    start_tree,
    supervisor,
    template,
    worker,
)
from holdfast.supervisors.messages import DeleteChild, RestartChild, TerminateChild


@both_backends
async def test_the_whole_life_of_a_child_through_calls() -> None:
    # case 23: child_adm
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))
        ref = system.ref("top/a")
        with pytest.raises(AlreadyStarted) as running:
            await handle.start_child(crew.member("a"))
        assert running.value.ref == ref
        for call in (handle.terminate_child, handle.delete_child, handle.restart_child):
            with pytest.raises(NoSuchChild):
                await call("nobody")

        await handle.terminate_child("a")
        assert ended(ref) == SHUTDOWN
        assert (await states(handle), await counts(handle)) == ({"a": "stopped"}, (1, 0, 0, 1))
        await handle.terminate_child("a")
        with pytest.raises(AlreadyPresent):
            await handle.start_child(crew.member("a"))

        await handle.restart_child("a")
        assert await incarnations(handle) == {"a": 2}
        for refused in (handle.restart_child, handle.delete_child):
            with pytest.raises(ChildRunning):
                await refused("a")
        with pytest.raises(NoSuchChild):
            await handle.terminate_child("top/a")  # by its path, as a dynamic child is by its ref
        assert (await states(handle)) == {"a": "running"}

        await handle.terminate_child("a")
        await handle.delete_child("a")
        assert await counts(handle) == (0, 0, 0, 0)
        with pytest.raises(NoSuchChild):
            await handle.restart_child("a")

        await handle.stop()
        with pytest.raises(ActorGone):
            await handle.count_children()


@both_backends
async def test_the_life_of_a_dynamic_child_through_calls() -> None:
    # case 24: child_adm_simple; case 93: which_children_simple_one_for_one
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a"))
        stranger = await crew.start(system, crew.member("b"))
        assert await counts(pool) == (1, 0, 0, 0)
        first, second = await fill(pool, 2)
        assert (await pool.which_child(first)).ref == first

        await pool.terminate_child(first)
        assert not first.slot.running
        assert await counts(pool) == (1, 1, 0, 1)
        # OTP says ok to a dead handle; here it is a stranger's (D10).
        with pytest.raises(NoSuchChild):
            await pool.terminate_child(first)
        with pytest.raises(NoSuchChild):
            await pool.which_child(first)
        with pytest.raises(NoSuchChild):
            await pool.terminate_child(system.ref("top/b"))
        assert system.ref("top/b").slot.running

        name = second.path.rpartition("/")[2]
        for question in (RestartChild(name), DeleteChild(name)):
            with pytest.raises(NotForDynamic):
                await pool.ref.ask(question)
        with pytest.raises(NoSuchChild):
            await pool.ref.ask(TerminateChild("a"))
        await stranger.stop()


@both_backends
async def test_what_a_start_tells_besides_is_handed_to_the_caller_unchanged() -> None:
    # case 25: extra_return
    crew = Crew()
    extra = {"port": 4711}
    crew.infos["a"] = extra
    async with open_system() as system:
        handle = await crew.start(system)
        started = await handle.start_child(crew.member("a"))
        assert started.info is extra
        kill(system, "top/a")
        await settled()
        assert await incarnations(handle) == {"a": 2}

        await handle.terminate_child("a")
        again = await handle.restart_child("a")
        assert again.info is extra
        assert again.ref == started.ref
        assert await counts(handle) == (1, 1, 0, 1)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"factory": "no callable"}, "factory is a callable"),
    ({"restart": "sometimes"}, "restart is one of"),
    ({"shutdown": -1}, "shutdown is KILL, FOREVER or seconds"),
    ({"shutdown": "brutal"}, "shutdown is KILL, FOREVER or seconds"),
    ({"significant": "yes"}, "significant is True or False"),
    ({"id": ""}, "name"),
]


def make(**fields: Any) -> None:
    worker(fields.pop("id", "a"), **fields)


@pytest.mark.parametrize("wrong,wanted", WRONG)
def test_each_wrong_field_of_a_spec_is_refused_with_an_error_of_its_own(
    wrong: dict[str, Any], wanted: str
) -> None:
    # case 26: child_specs.  Specs are checked where they are made, so that is the dry run too.
    with pytest.raises(Exception, match=wanted):
        make(**{"factory": Actor, **wrong})


@pytest.mark.parametrize("restart", list(Restart))
@pytest.mark.parametrize("shutdown", [KILL, 0, 2.5, FOREVER])
def test_every_valid_combination_passes(restart: Restart, shutdown: Any) -> None:
    # case 26: child_specs; a shutdown of 0 is valid
    made = supervisor("top", worker("a", Actor, restart=restart, shutdown=shutdown))
    nested = supervisor("b", restart=restart, shutdown=shutdown)
    assert made.group is not None
    assert (made.group.children[0].restart, nested.shutdown) == (restart, shutdown)


def test_ids_are_unique_and_a_dynamic_supervisor_has_exactly_one_template() -> None:
    # case 26: child_specs
    with pytest.raises(InvalidSpec, match="unique"):
        supervisor("top", worker("a", Actor), worker("a", Actor))
    with pytest.raises(InvalidSpec, match="template is made by"):
        dynamic("pool", (template("a", Actor), template("b", Actor)))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        dynamic("pool")  # type: ignore[call-arg]


@pytest.mark.parametrize("auto", list(AutoShutdown))
@pytest.mark.parametrize("restart", [*Restart, None])
@pytest.mark.parametrize("significant", [True, False])
def test_significance_passes_exactly_where_it_has_an_effect(
    auto: AutoShutdown, restart: Restart | None, significant: bool
) -> None:
    # case 27: child_specs_map; without a restart it is permanent
    fields: dict[str, Any] = {} if restart is None else {"restart": restart}

    def make() -> None:
        supervisor("top", worker("a", Actor, significant=significant, **fields), auto_shutdown=auto)

    if significant and (auto is NEVER or restart in {PERMANENT, None}):
        with pytest.raises(InvalidSpec, match="significant child"):
            make()
    else:
        make()


@pytest.mark.parametrize(
    "flags",
    [
        {"strategy": "one_for_some"},
        {"auto_shutdown": "sometimes"},
        {"budget": (3, 5.0)},
        {"auto_shutdown": 1},
    ],
)
def test_a_flag_that_is_none_is_refused(flags: dict[str, Any]) -> None:
    # case 28: sup_flags
    with pytest.raises(InvalidSpec):
        supervisor("top", **flags)


@pytest.mark.parametrize(
    "budget", [(-1, 5), (1.5, 5), (math.inf, 5), (True, 5), (1, 0), (1, math.inf), (1, "5")]
)
def test_a_budget_that_is_none_is_refused(budget: tuple[Any, Any]) -> None:
    # case 28: sup_flags
    with pytest.raises(InvalidSpec, match="budget"):
        Budget(*budget)


def test_an_unknown_flag_is_refused_by_python_itself() -> None:
    # case 28: sup_flags; OTP tolerates it, a declared difference
    with pytest.raises(TypeError):
        supervisor("top", colour="red")  # type: ignore[call-arg]
    assert {ANY_SIGNIFICANT, ALL_SIGNIFICANT, NEVER} == set(AutoShutdown)


@both_backends
async def test_crashes_farther_apart_than_the_period_are_all_survived() -> None:
    # case 29: multiple_restarts, W1
    crew = Crew()
    async with open_system() as system:
        handle = await start_tree(system, supervisor("top", crew.member("a"), budget=Budget(1, 1.0)))
        for _ in range(4):
            system.ref("top/a").tell(Die())
            await anyio.sleep(2.1)

        assert await incarnations(handle) == {"a": 5}
