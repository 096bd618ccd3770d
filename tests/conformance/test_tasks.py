"""T1 to T3, T5, T6: supervised one-off tasks with results.  T4 is in `test_task_streams.py`."""

from __future__ import annotations

import anyio
import pytest
from tests.supervisors.errands import Begin, Begun, Boom, Call, double, fail, forever, jobs_of, running

from holdfast.runtime import (
    KILLED,
    Crash,
    Shutdown,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    KILL,
    PERMANENT,
    TRANSIENT,
    Budget,
    NoSuchChild,
    TaskEnded,
    TaskInfo,
    TaskSupervisorHandle,
    TaskTimeout,
    TooManyChildren,
    task_info,
)


@both_backends
async def test_a_task_is_a_child_of_its_supervisor_and_its_result_comes_to_the_caller() -> None:
    # T1
    async with jobs_of() as (_system, jobs):
        handle = await jobs.start(double, 21)
        assert [child.path for child in await jobs.which_children()] == [handle.path]
        assert await handle.result() == 42
        assert await handle.result() == 42
        assert await jobs.run(double, 4) == 8
        assert await jobs.which_children() == ()


@both_backends
async def test_what_a_task_raises_is_raised_where_it_is_awaited_with_its_traceback() -> None:
    # T1, T3
    async with jobs_of() as (system, jobs):
        with pytest.raises(Boom, match="outside") as caught:
            await jobs.run(fail, "outside")
        assert "fail" in [entry.name for entry in caught.traceback]
        assert await system.ref("app/caller").ask(Call()) == "caught in a task"
        assert system.ref("app/caller").slot.incarnation == 1


@both_backends
async def test_a_failure_that_nobody_awaits_crashes_the_linked_actor() -> None:
    # T1
    async with jobs_of() as (system, _jobs):
        caller = system.ref("app/caller")
        ends: list[object] = []
        system.watch(caller, lambda down: ends.append(down.outcome))
        caller.tell(Begin())
        await anyio.sleep(1)
        (outcome,) = ends
        assert isinstance(outcome, Crash)
        assert isinstance(outcome.exception, Boom)
        assert caller.slot.incarnation == 2


@both_backends
async def test_a_failure_that_the_handler_in_progress_collects_later_crashes_nobody() -> None:
    # T1
    async with jobs_of() as (system, _jobs):
        caller = system.ref("app/caller")
        caller.tell(Begin(seconds=1.0, collects=True))
        await anyio.sleep(2)
        assert await caller.ask(Begun())
        assert caller.slot.incarnation == 1


@both_backends
async def test_a_task_that_is_not_linked_fails_alone() -> None:
    # T1
    async with jobs_of() as (system, _jobs):
        caller = system.ref("app/caller")
        caller.tell(Begin(linked=False))
        await anyio.sleep(1)
        assert await caller.ask(Begun())
        assert caller.slot.incarnation == 1


@both_backends
async def test_start_child_is_fire_and_forget() -> None:
    # T1
    seen: list[str] = []

    async def note(text: str) -> None:
        await anyio.sleep(0.1)
        seen.append(text)

    async with jobs_of() as (_system, jobs):
        child = await jobs.start_child(note, "done")
        assert child.ref is not None
        await jobs.start_child(fail, "and nobody minds")
        await anyio.sleep(1)
        assert seen == ["done"]
        assert await jobs.which_children() == ()


@both_backends
async def test_a_task_runs_once_unless_it_is_declared_to_be_restarted() -> None:
    # T2
    runs: list[str] = []

    async def work(name: str, *, crash: bool) -> None:
        runs.append(name)
        await anyio.sleep(1)
        if crash and runs.count(name) == 1:
            raise Boom(name)

    async def crashing(name: str) -> None:
        await work(name, crash=True)

    async def returning(name: str) -> None:
        await work(name, crash=False)

    async with jobs_of(budget=Budget(50, 5.0)) as (_system, jobs):
        await jobs.start_child(crashing, "temporary")
        await jobs.start_child(crashing, "transient", restart=TRANSIENT)
        await jobs.start_child(returning, "permanent", restart=PERMANENT)
        await anyio.sleep(3.5)
        assert {name: runs.count(name) for name in runs} == {"temporary": 1, "transient": 2, "permanent": 4}


@both_backends
async def test_a_task_with_a_result_runs_once_whatever_the_supervisor_declares() -> None:
    # T2
    async with jobs_of(restart=PERMANENT) as (_system, jobs):
        assert await jobs.run(double, 1) == 2
        assert await (await jobs.start(double, 2)).result() == 4
        assert await running(jobs) == 0
        supervision = await jobs.supervision()
        assert (supervision.restarts, jobs.ref.slot.incarnation) == (0, 1)


@both_backends
async def test_each_task_is_stopped_by_its_own_rule_all_of_them_at_once() -> None:
    # T2, D9
    ends: list[str] = []

    async def cleans_up(name: str, seconds: float) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(seconds)
            ends.append(name)

    async with jobs_of(shutdown=2.0) as (system, jobs):
        polite = await jobs.start(cleans_up, "polite", 1.5)
        killed = await jobs.start(cleans_up, "killed", 0.5, shutdown=KILL)
        patient = await jobs.start(cleans_up, "patient", 3.0, shutdown=10.0)
        await settled()
        began = system.now()
        await jobs.stop()
        assert system.now() - began == pytest.approx(3.0, abs=0.1)
        assert ends == ["killed", "polite", "patient"]
        outcomes = [task.ref.slot.outcome for task in (polite, killed, patient)]
        assert outcomes == [Shutdown(), KILLED, Shutdown()]


@both_backends
async def test_one_task_too_many_is_refused_at_the_caller() -> None:
    # T2
    async with jobs_of(max_children=1) as (_system, jobs):
        handle = await jobs.start(forever)
        with pytest.raises(TooManyChildren):
            await jobs.run(double, 1)
        handle.cancel()
        with pytest.raises(TaskEnded):
            await handle.result()
        # A result means that the place is free, too.
        assert [await jobs.run(double, number) for number in range(3)] == [0, 2, 4]


@both_backends
async def test_a_result_that_is_late_is_a_timeout_and_leaves_nothing_behind() -> None:
    # T3
    async with jobs_of() as (system, jobs):
        before = system.statistics()
        with pytest.raises(TaskTimeout, match=r"forever .* within 0.5 s"):
            await jobs.run(forever, timeout=0.5)
        await settled()
        after = system.statistics()
        assert (after.tasks, after.slots, after.deadlines) == (before.tasks, before.slots, before.deadlines)


@both_backends
async def test_a_handle_may_be_asked_again_after_a_timeout() -> None:
    # T3, S10
    async with jobs_of() as (_system, jobs):
        handle = await jobs.start(double, 3)
        with pytest.raises(TaskTimeout):
            await handle.result(0)
        assert await handle.result(1.0) == 6


@both_backends
async def test_a_task_knows_its_ancestors_and_its_callers_nested_too() -> None:
    # T5
    async def tell() -> TaskInfo | None:
        return task_info()

    async def nested(jobs: TaskSupervisorHandle, depth: int) -> TaskInfo | None:
        return await jobs.run(nested, jobs, depth - 1) if depth else await jobs.run(tell)

    async with jobs_of() as (_system, jobs):
        info = await jobs.run(nested, jobs, 1)
        callers = ("app/jobs/task-2", "app/jobs/task-1")
        assert info == TaskInfo("app/jobs/task-3", ("app/jobs", "app"), callers, None)
        assert task_info() is None


@both_backends
async def test_a_terminated_task_is_gone_and_then_not_found() -> None:
    # T6
    async with jobs_of() as (_system, jobs):
        handle = await jobs.start(forever)
        await jobs.terminate_child(handle)
        assert handle.done
        with pytest.raises(NoSuchChild):
            await jobs.terminate_child(handle)
        with pytest.raises(TaskEnded, match="shutdown"):
            await handle.result()
