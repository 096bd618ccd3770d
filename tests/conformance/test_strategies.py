"""3.3, strategies: cases 30-43."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import pytest
from tests.conformance.views import counts, ended, incarnations
from tests.supervisors.crew import Crew, Die, fill, kill, start_pool

from holdfast.runtime import SHUTDOWN, Actor, System, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    REST_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    Budget,
    DynamicHandle,
    Restart,
    template,
)

TWICE: dict[str, Any] = {"budget": Budget(2, 3600.0), "give_up_as": "shutdown"}
FOUR_TIMES: dict[str, Any] = {"budget": Budget(4, 3600.0), "give_up_as": "shutdown"}


async def crash(system: System, path: str) -> None:
    system.ref(path).tell(Die())
    await settled()


@both_backends
async def test_one_for_one_restarts_the_failed_child_alone() -> None:
    # case 30: one_for_one
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ONE, **TWICE)
        await crash(system, "top/a")
        assert await incarnations(handle) == {"a": 2, "b": 1}
        assert await counts(handle) == (2, 2, 0, 2)
        await crash(system, "top/a")
        assert handle.ref.slot.running
        await crash(system, "top/a")

        assert ended(handle.ref) == SHUTDOWN


@both_backends
async def test_one_for_one_gives_up_when_a_child_never_starts_again() -> None:
    # case 31: one_for_one_escalation
    crew = Crew()
    crew.fails["a"] = range(2, 100)
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ONE, **FOUR_TIMES)
        await crash(system, "top/a")

        assert crew.take() == ["-a:crash", "!a", "!a", "!a", "!a", "-b:shutdown"]
        assert ended(handle.ref) == SHUTDOWN


@both_backends
async def test_one_for_all_restarts_everybody() -> None:
    # case 32: one_for_all
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ALL, **TWICE)
        await crash(system, "top/a")
        assert crew.take() == ["-a:crash", "-b:shutdown", "+a", "+b"]
        assert await incarnations(handle) == {"a": 2, "b": 2}
        await crash(system, "top/b")
        await crash(system, "top/a")

        assert ended(handle.ref) == SHUTDOWN


@both_backends
async def test_one_for_all_gives_up_when_another_member_never_starts_again() -> None:
    # case 33: one_for_all_escalation
    crew = Crew()
    crew.fails["b"] = range(2, 100)
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ALL, **FOUR_TIMES)
        await crash(system, "top/a")

        assert (crew.starts["a"], crew.starts["b"]) == (5, 5)
        assert ended(handle.ref) == SHUTDOWN
        assert crew.events[-1] == "-a:shutdown"


@both_backends
async def test_one_for_all_begins_again_when_another_members_restart_fails() -> None:
    # case 34: one_for_all_other_child_fails_restart
    crew = Crew()
    crew.fails["b"] = {2}
    async with open_system() as system:
        await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ALL, **FOUR_TIMES)
        await crash(system, "top/a")

        assert crew.take() == ["-a:crash", "-b:shutdown", "+a", "!b", "-a:shutdown", "+a", "+b"]


@pytest.mark.parametrize("extra", [None, "extra"])
@both_backends
async def test_a_crash_of_a_dynamic_child_replaces_just_it(extra: str | None) -> None:
    # case 35: simple_one_for_one; case 37: simple_one_for_one_extra
    crew = Crew()
    if extra is not None:
        crew.infos["a"] = extra
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a"), **TWICE)
        first, second = await fill(pool, 2)
        await crash(system, first.path)
        assert (first.slot.incarnation, second.slot.incarnation) == (2, 1)
        assert await counts(pool) == (1, 2, 0, 2)
        await crash(system, second.path)
        await crash(system, first.path)

        assert ended(pool.ref) == SHUTDOWN


@both_backends
async def test_dynamic_children_stop_in_parallel() -> None:
    # case 36: simple_one_for_one_shutdown
    stops = iter([1.0, 1.0, 5.0])

    class Slow(Actor):
        def __init__(self) -> None:
            self._takes = next(stops)

        async def on_stop(self, outcome: object) -> None:
            await anyio.sleep(self._takes)

    async with open_system() as system:
        pool = await start_pool(system, template("a", Slow, shutdown=2.0))
        await fill(pool, 3)
        before = system.now()
        await pool.stop()

        assert 1.0 <= system.now() - before < 5.0


@both_backends
async def test_a_dynamic_child_that_never_starts_again_ends_the_supervisor_and_the_others() -> None:
    # case 38: simple_one_for_one_escalation
    crew = Crew()
    crew.fails["a"] = range(3, 100)
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a"), **FOUR_TIMES)
        first, second = await fill(pool, 2)
        await crash(system, first.path)

        assert crew.starts["a"] == 2 + 4
        assert (ended(pool.ref), ended(second)) == (SHUTDOWN, SHUTDOWN)


class Big:
    """A start argument that is worth not keeping."""


class Holding(Actor):
    def __init__(self, big: Big) -> None:
        """Take the argument, and do not keep it."""


async def start_with_big(pool: DynamicHandle) -> weakref.ref[Big]:
    big = Big()
    await pool.start_child(big)
    return weakref.ref(big)


@both_backends
async def test_the_arguments_of_temporary_children_are_not_kept_even_after_one_has_died() -> None:
    # case 39: simple_one_for_one_corruption
    async with open_system() as system:
        pool = await start_pool(system, template("a", Holding, restart=TEMPORARY))
        first = (await pool.start_child(Big())).ref
        assert first is not None
        kill(system, first.path)
        await settled()
        kept = [await start_with_big(pool) for _ in range(3)]
        gc.collect()

        assert [reference() for reference in kept] == [None, None, None]


@pytest.mark.parametrize("restart", [TRANSIENT, PERMANENT])
@both_backends
async def test_a_dynamic_child_whose_restart_says_ignore_is_removed(restart: Restart) -> None:
    # case 40: simple_one_for_one_restart_ignore, D7
    crew = Crew()
    crew.ignores["a"] = {3}
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a", restart=restart), **FOUR_TIMES)
        (ref,) = await fill(pool, 1)
        kill(system, ref.path)
        await settled()
        assert ref.slot.incarnation == 2
        kill(system, ref.path)
        await settled()
        assert await pool.which_children() == ()
        await pool.stop()

        assert ended(pool.ref) == SHUTDOWN


@both_backends
async def test_rest_for_one_restarts_those_after_the_failed_child() -> None:
    # case 41: rest_for_one
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"), strategy=REST_FOR_ONE, **TWICE)
        await crash(system, "top/b")
        assert crew.take() == ["-b:crash", "-c:shutdown", "+b", "+c"]
        assert await incarnations(handle) == {"a": 1, "b": 2, "c": 2}
        assert await counts(handle) == (3, 3, 0, 3)
        await crash(system, "top/c")
        await crash(system, "top/b")

        assert ended(handle.ref) == SHUTDOWN


@both_backends
async def test_rest_for_one_gives_up_when_a_later_member_never_starts_again() -> None:
    # case 42: rest_for_one_escalation
    crew = Crew()
    crew.fails["b"] = range(2, 100)
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=REST_FOR_ONE, **FOUR_TIMES)
        await crash(system, "top/a")

        assert ended(handle.ref) == SHUTDOWN
        assert not system.ref("top/a").slot.running


@both_backends
async def test_rest_for_one_goes_on_from_a_later_member_whose_restart_failed() -> None:
    # case 43: rest_for_one_other_child_fails_restart
    crew = Crew()
    crew.fails["b"] = {2}
    async with open_system() as system:
        await crew.start(system, *crew.members("abc"), strategy=REST_FOR_ONE, **FOUR_TIMES)
        await crash(system, "top/a")

        assert crew.take() == ["-a:crash", "-c:shutdown", "-b:shutdown", "+a", "!b", "+b", "+c"]
