"""3.3, trees, introspection and retention: cases 56-65 (61 is OTP's release handler's and left out)."""

from __future__ import annotations

import gc
import time
import weakref

import anyio
import pytest
from tests.conformance.views import counts, incarnations, running, states
from tests.supervisors.crew import Crew, Die, Finish, fill, kill, start_pool

from holdfast.runtime import Actor, Message, System, on, open_system
from holdfast.runtime.testing import both_backends, on_trio, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    TEMPORARY,
    TRANSIENT,
    AlreadyPresent,
    AlreadyStarted,
    Backoff,
    Budget,
    DynamicHandle,
    Restart,
    Strategy,
    SupervisorHandle,
    start_tree,
    supervisor,
    template,
    worker,
)


class Cling(Message, frozen=True):
    """Hold on, whoever cancels."""


class Limpet(Actor):
    @on(Cling)
    async def _cling(self, _message: Cling) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(100.0)


@both_backends
async def test_a_child_that_detaches_itself_does_not_hang_its_supervisor() -> None:
    # case 56: child_unlink
    async with open_system() as system:
        handle = await start_tree(system, supervisor("top", worker("limpet", Limpet, shutdown=1.0)))
        running(system, "top/limpet").tell(Cling())
        await settled()
        before = system.now()
        await handle.terminate_child("limpet")
        assert await counts(handle) == (1, 0, 0, 1)

        assert system.now() - before < 5.0
        await anyio.sleep(200.0)


@both_backends
async def test_a_subtree_that_gives_up_takes_the_group_above_it_through_a_restart() -> None:
    # case 57: tree; children added at run time are forgotten, who was stopped by hand runs again (R9)
    crew = Crew()
    crew.fails["c3"] = range(2, 100)
    budget = Budget(4, 3600.0)
    async with open_system() as system:
        s1 = supervisor("s1", *(crew.member(name) for name in ("c1", "c2")), budget=budget)
        s2, s3 = supervisor("s2", budget=budget), supervisor("s3", restart=TRANSIENT)
        top = await start_tree(system, supervisor("top", s1, s2, s3, strategy=ONE_FOR_ALL, budget=budget))
        inner = SupervisorHandle(system.ref("top/s2"))
        for name in ("c3", "c4"):
            await inner.start_child(crew.member(name))
        await top.terminate_child("s3")
        assert await counts(top) == (3, 2, 3, 0)
        crew.take()

        running(system, "top/s2/c4").tell(Die())
        await settled()
        assert crew.take() == ["-c4:crash", "+c4"]
        running(system, "top/s2/c3").tell(Die())
        await settled()

        assert await incarnations(top) == {"s1": 2, "s2": 2, "s3": 2}
        assert await counts(top) == (3, 3, 3, 0)
        assert await states(SupervisorHandle(system.ref("top/s1"))) == {"c1": "running", "c2": "running"}
        assert await states(inner) == {}


@pytest.mark.parametrize("kind", ["worker", "supervisor"])
@both_backends
async def test_hundreds_of_dynamic_children_are_counted_and_listed_alike(kind: str) -> None:
    # case 58: count_children; case 59: count_children_supervisor; smaller numbers than OTP's 3,000
    many = 300
    children = (
        template("a", Actor, restart=TEMPORARY) if kind == "worker" else supervisor("a", restart=TEMPORARY)
    )
    async with open_system() as system:
        pool = await start_pool(system, children)
        refs = await fill(pool, many)
        supervisors, workers = (0, many) if kind == "worker" else (many, 0)
        for _ in range(2):
            assert await counts(pool) == (1, many, supervisors, workers)
            assert [child.ref for child in await pool.which_children()] == refs
        for ref in refs:
            kill(system, ref.path)
        await settled()

        assert await counts(pool) == (1, 0, 0, 0)


class Choosy(Actor):
    """Starts as long as the test lets it."""

    may_start = True

    def on_start(self) -> None:
        if not type(self).may_start:
            raise RuntimeError("not now")

    @on(Die)
    def _die(self, _message: Die) -> None:
        raise RuntimeError("dies")


@both_backends
async def test_children_that_are_being_restarted_are_counted_as_workers_and_not_as_active() -> None:
    # case 60: count_restarting_children, D7
    class OfThisTest(Choosy):
        pass

    def make() -> Actor:
        return OfThisTest()

    async with open_system() as system:
        # Without a back-off the retries would be a busy loop of no time at all.
        pool = await start_pool(system, template("a", make), backoff=BACKOFF)
        refs = await fill(pool, 3)
        OfThisTest.may_start = False
        for ref in refs[:2]:
            ref.tell(Die())
        await anyio.sleep(5.0)
        assert await counts(pool) == (1, 1, 0, 3)
        OfThisTest.may_start = True
        await anyio.sleep(50.0)
        assert await counts(pool) == (1, 3, 0, 3)
        for left in (2, 1, 0):
            await pool.terminate_child(refs[left])
            assert await counts(pool) == (1, left, 0, left)


BACKOFF = Backoff(initial=1.0, cap=4.0)


class Big:
    """A start argument that is worth not keeping."""


@pytest.mark.parametrize("strategy", [*Strategy, None])
@both_backends
async def test_what_temporary_children_were_started_with_is_garbage_once_they_run(
    strategy: Strategy | None,
) -> None:
    # case 62: do_not_save_start_parameters_for_temporary_children; None is a dynamic supervisor
    async with open_system() as system:
        if strategy is None:
            pool = await start_pool(system, template("a", holding, restart=TEMPORARY))
            kept = [await start_dynamic_with_big(pool) for _ in range(10)]
        else:
            handle = await start_tree(system, supervisor("top", strategy=strategy))
            kept = [await start_with_big(handle, f"a{number}") for number in range(10)]
        gc.collect()

        assert [reference() for reference in kept] == [None] * 10


def holding(_big: Big) -> Actor:
    return Actor()


async def start_dynamic_with_big(pool: DynamicHandle) -> weakref.ref[Big]:
    big = Big()
    await pool.start_child(big)
    return weakref.ref(big)


async def start_with_big(handle: SupervisorHandle, name: str) -> weakref.ref[Big]:
    big = Big()

    def make(argument: Big = big) -> Actor:
        assert isinstance(argument, Big)
        return Actor()

    await handle.start_child(worker(name, make, restart=TEMPORARY))
    return weakref.ref(big)


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("restart", list(Restart))
@both_backends
async def test_the_spec_of_a_temporary_child_can_be_started_again_after_every_end(
    strategy: Strategy, restart: Restart
) -> None:
    # case 63: do_not_save_child_specs_for_temporary_children
    crew = Crew()
    spec = crew.member("a", restart=restart)
    async with open_system() as system:
        handle = await crew.start(system, strategy=strategy)
        await handle.start_child(spec)
        for end in ("kill", "normal", "abnormal", "call"):
            await let_end(system, handle, end)
            if restart is TEMPORARY:
                await handle.start_child(spec)
                continue
            orderly = end == "call" or (end == "normal" and restart is TRANSIENT)
            with pytest.raises(AlreadyPresent if orderly else AlreadyStarted):
                await handle.start_child(spec)
            if orderly:
                await handle.restart_child("a")


async def let_end(system: System, handle: SupervisorHandle, end: str) -> None:
    if end == "kill":
        kill(system, "top/a")
    elif end == "call":
        await handle.terminate_child("a")
    else:
        running(system, "top/a").tell(Finish() if end == "normal" else Die())
    await settled()


@on_trio
async def test_terminating_ten_times_as_many_dynamic_children_costs_about_ten_times_as_much() -> None:
    # case 64: simple_one_for_one_scale_many_temporary_children; a fifth of OTP's numbers
    async with open_system() as system:
        pool = await start_pool(system, template("a", Actor, restart=TEMPORARY))

        async def cost(many: int) -> float:
            refs = await fill(pool, many)
            before = time.thread_time()
            for ref in refs:
                await pool.terminate_child(ref)
            return time.thread_time() - before

        few = await cost(200)
        assert await cost(2000) < 50 * few


@both_backends
async def test_the_names_of_a_nested_supervisor_and_its_worker_lead_to_the_new_ones() -> None:
    # case 65: simple_global_supervisor; names are paths here
    crew = Crew()
    async with open_system() as system:
        nested = supervisor("nested", crew.member("worker"))
        top = await crew.start(system, nested, strategy=ONE_FOR_ALL)
        names = ("top/nested", "top/nested/worker")
        expected = dict.fromkeys(names, 1)

        for deed, renewed in (
            ("kill supervisor", names),
            ("kill worker", names[1:]),
            ("error", names[1:]),
            ("by name", names),
        ):
            if deed == "by name":
                await top.terminate_child("nested")
                await top.restart_child("nested")
            elif deed == "error":
                running(system, names[1]).tell(Die())
            else:
                kill(system, names[0] if deed == "kill supervisor" else names[1])
            await anyio.sleep(0.2)
            for name in renewed:
                expected[name] += 1
            assert {name: running(system, name).slot.incarnation for name in names} == expected, deed

        kill(system, "top")
        await settled()
        assert not any(system.ref(name).slot.running for name in names)
