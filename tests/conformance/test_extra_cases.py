"""3.4, what OTP's own suite lacks: X1-X15."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.conformance.views import ended, incarnations, running, states
from tests.supervisors.crew import Crew, Die, Finish, Note, Work, fill, kill, pile_up, start_pool

from holdfast.runtime import KILLED, SHUTDOWN, StartFailed, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ONE_FOR_ALL,
    PERMANENT,
    REST_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    Budget,
    FailedToStartChild,
    Restart,
    Strategy,
    SupervisorHandle,
    start_tree,
    supervisor,
)

AS_OTP: dict[str, Any] = {"give_up_as": "shutdown"}


@both_backends
async def test_a_group_restart_revives_a_transient_child_that_had_finished() -> None:
    # X1
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system, crew.member("a"), crew.member("b", restart=TRANSIENT), strategy=ONE_FOR_ALL
        )
        running(system, "top/b").tell(Finish())
        await settled()
        running(system, "top/a").tell(Die())
        await settled()

        assert await incarnations(handle) == {"a": 2, "b": 2}


@both_backends
async def test_simultaneous_deaths_cost_one_unit_for_the_group() -> None:
    # X2, R10
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"), strategy=ONE_FOR_ALL, budget=Budget(1, 100.0))
        deaths = [lambda name=name: running(system, f"top/{name}").tell(Die()) for name in "bca"]
        go_on = await pile_up(system, "top", *deaths)
        await go_on()

        assert crew.take() == ["-b:crash", "-c:crash", "-a:crash", "+a", "+b", "+c"]
        assert (await handle.supervision()).budget_left == 0


@both_backends
async def test_the_notice_of_a_later_member_before_that_of_an_earlier_one_costs_two_units() -> None:
    # X3
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system, *crew.members("abc"), strategy=REST_FOR_ONE, budget=Budget(2, 100.0)
        )
        deaths = [lambda name=name: running(system, f"top/{name}").tell(Die()) for name in "ca"]
        go_on = await pile_up(system, "top", *deaths)
        await go_on()

        restarts = ["+c", "-c:shutdown", "-b:shutdown", "+a", "+b", "+c"]
        assert crew.take() == ["-c:crash", "-a:crash", *restarts]
        assert (await handle.supervision()).budget_left == 0


@both_backends
async def test_intensity_zero_gives_up_at_the_first_crash_without_an_attempt() -> None:
    # X4
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), budget=Budget(0, 100.0), **AS_OTP)
        running(system, "top/a").tell(Die())
        await settled()

        assert crew.take() == ["-a:crash", "-b:shutdown"]
        assert ended(handle.ref) == SHUTDOWN


@both_backends
async def test_a_start_that_always_fails_is_called_once_and_then_once_per_unit() -> None:
    # X5
    crew = Crew()
    crew.fails["a"] = range(2, 100)
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), budget=Budget(3, 100.0), **AS_OTP)
        running(system, "top/a").tell(Die())
        await settled()

        assert crew.starts["a"] == 1 + 3
        assert ended(handle.ref) == SHUTDOWN


@both_backends
async def test_nested_budgets_multiply() -> None:
    # X6, W3: (2 + 1) x (3 + 1) starts of the leaf
    crew = Crew()
    async with open_system() as system:
        mid = supervisor("mid", crew.member("a"), budget=Budget(2, 1000.0))
        handle = await start_tree(system, supervisor("top", mid, budget=Budget(3, 1000.0)))
        while handle.ref.slot.running:
            running(system, "top/mid/a").tell(Die())
            await settled()

        assert crew.starts["a"] == 12


@pytest.mark.parametrize("restart,left", [(PERMANENT, "running"), (TRANSIENT, "stopped"), (TEMPORARY, None)])
@both_backends
async def test_giving_up_as_a_shutdown_is_restarted_stopped_for_good_or_forgotten(
    restart: Restart, left: str | None
) -> None:
    # X7
    crew = Crew()
    async with open_system() as system:
        inner = supervisor("inner", crew.member("a"), budget=Budget(0, 1.0), restart=restart, **AS_OTP)
        handle = await start_tree(system, supervisor("top", inner))
        running(system, "top/inner/a").tell(Die())
        await settled()

        assert (await states(handle)).get("inner") == left


@both_backends
async def test_a_start_that_fails_in_the_middle_of_the_list_stops_what_ran_in_reverse() -> None:
    # X8, R2
    crew = Crew()
    crew.fails["c"] = {1}
    async with open_system() as system:
        with pytest.raises(StartFailed) as failed:
            await start_tree(system, supervisor("top", *crew.members("abcd")))

        assert isinstance(failed.value.reason, FailedToStartChild)
        assert failed.value.reason.child == "c"
        assert crew.take() == ["+a", "+b", "!c", "-b:shutdown", "-a:shutdown"]


@both_backends
async def test_five_pairs_of_terminate_and_restart_cost_nothing() -> None:
    # X9
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), budget=Budget(0, 100.0))
        for _ in range(5):
            await handle.terminate_child("a")
            await handle.restart_child("a")

        assert await incarnations(handle) == {"a": 6}


@both_backends
async def test_a_graceful_stop_handles_earlier_mail_and_drops_later_mail() -> None:
    # X10, R22
    crew = Crew()
    async with open_system() as system, anyio.create_task_group() as tasks:
        handle = await crew.start(system, crew.member("a"))
        ref = running(system, "top/a")
        ref.tell(Work(1.0))
        ref.tell(Note("earlier"))
        await settled()
        tasks.start_soon(handle.stop)
        await settled()
        ref.tell(Note("later"))

    assert crew.take() == ["a worked", "a earlier", "-a:shutdown"]


@both_backends
async def test_a_stop_during_a_hot_restart_loop_is_honoured_at_once() -> None:
    # X11
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), budget=Budget(10_000_000, 100.0))
        crew.start_takes["a"] = 0.001
        crew.fails["a"] = range(2, 10_000_000)
        running(system, "top/a").tell(Die())
        await anyio.sleep(0.1)
        before = system.now()
        await handle.stop()

        assert crew.starts["a"] > 50
        assert system.now() - before < 0.01


@both_backends
async def test_static_children_have_an_allowance_each_and_dynamic_ones_have_one_together() -> None:
    # X12, R19
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc", shutdown=0.3))
        pool = await start_pool(system, crew.pattern("d", shutdown=0.3))
        for ref in [*(running(system, f"top/{name}") for name in "abc"), *await fill(pool, 3)]:
            ref.tell(Work(1000.0))
        await settled()
        took: list[float] = []
        for each in (handle, pool):
            before = system.now()
            await each.stop()
            took.append(system.now() - before)

    assert took == [pytest.approx(0.9, abs=0.01), pytest.approx(0.3, abs=0.01)]


@both_backends
async def test_a_killed_supervisor_leaves_no_running_child() -> None:
    # X13, R23
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, supervisor("inner", *crew.members("ab")))
        refs = [running(system, f"top/inner/{name}") for name in "ab"]
        await handle.terminate_child("inner")
        await handle.restart_child("inner")
        kill(system, "top")
        await settled()

        assert ended(handle.ref) == KILLED
        assert not any(ref.slot.running for ref in refs)
        assert system.statistics().actors == 0


@pytest.mark.parametrize(
    "strategy,events",
    [
        (ONE_FOR_ALL, "-c -b +a !b -a +a +b +c"),
        (REST_FOR_ONE, "-c -b +a !b +b +c"),
    ],
)
@both_backends
async def test_a_failing_restart_in_the_middle_costs_two_units(strategy: Strategy, events: str) -> None:
    # X14
    crew = Crew()
    crew.fails["b"] = {2}
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"), strategy=strategy, budget=Budget(2, 100.0))
        running(system, "top/a").tell(Die())
        await settled()

        assert [event.partition(":")[0] for event in crew.take()[1:]] == events.split()
        assert (await handle.supervision()).budget_left == 0


@both_backends
async def test_a_significant_child_that_a_call_has_stopped_counts_as_gone() -> None:
    # X15
    crew = Crew()
    async with open_system() as system:
        children = crew.members("ab", restart=TRANSIENT, significant=True)
        handle: SupervisorHandle = await crew.start(system, *children, auto_shutdown=ALL_SIGNIFICANT)
        await handle.terminate_child("a")
        running(system, "top/b").tell(Finish())
        await settled()

        assert ended(handle.ref) == SHUTDOWN
