"""The finer points of supervised tasks: links, cancellation, circles, and what is left behind."""

from __future__ import annotations

import gc
import weakref

import anyio
import pytest
from tests.supervisors.errands import Boom, double, fail, forever, jobs_of, running

from holdfast.runtime import (
    Actor,
    ActorCrashed,
    ActorStarted,
    Crash,
    InjectedFault,
    Message,
    Ref,
    Request,
    StartFailed,
    System,
    on,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    TaskEnded,
    TaskHandle,
    TaskInfo,
    TaskSupervisorHandle,
    TaskTimeout,
    TooManyChildren,
    task_info,
)


class Go(Message, frozen=True):
    """Start a task that runs for ever, or run one in the handler."""

    waits: bool = False


class Ping(Request[str], frozen=True):
    after: float = 0.0
    """How long the task does something else before it asks back."""


class Holder(Actor):
    def __init__(self, jobs: TaskSupervisorHandle, *, in_child_task: bool = False) -> None:
        self._jobs = jobs
        self._in_child_task = in_child_task

    @on(Go)
    async def _go(self, message: Go) -> None:
        if self._in_child_task:
            self.context.spawn(self._run)
        elif message.waits:
            await self._run()
        else:
            await self._jobs.start(forever)

    async def _run(self) -> None:
        await self._jobs.run(forever, timeout=None)

    @on(Ping)
    async def _ping(self, question: Ping) -> str:
        return await self._jobs.run(ask_back, self.context.ref, question.after, timeout=None)


async def ask_back(ref: Ref, after: float) -> str:
    await anyio.sleep(after)
    return await ref.ask(Ping())


async def holder(system: System, jobs: TaskSupervisorHandle, *, in_child_task: bool = False) -> Ref:
    return await system.start("holder", lambda: Holder(jobs, in_child_task=in_child_task))


@pytest.mark.parametrize("end", ["stop", "crash", "kill"])
@pytest.mark.parametrize("how", ["start", "run", "child task"])
@both_backends
async def test_a_linked_task_ends_with_the_actor_that_started_it(how: str, end: str) -> None:
    # T1, trap 11
    async with jobs_of() as (system, jobs):
        ref = await holder(system, jobs, in_child_task=how == "child task")
        ref.tell(Go(waits=how == "run"))
        assert await running(jobs) == 1
        cell = ref.slot.cell
        assert cell is not None
        if end == "stop":
            await cell.stop(0.5, final=True)
        elif end == "crash":
            ref.tell(InjectedFault(RuntimeError("a bug")))
            await settled()
            if how == "run":  # its handler waits for the task: the fault's turn never comes
                cell.kill()
        else:
            cell.kill()
        assert await running(jobs) == 0
        assert system.ref("holder").slot.cell is None


@both_backends
async def test_a_task_of_a_start_hook_that_fails_is_no_orphan() -> None:
    # T1, trap 11
    async with jobs_of() as (system, jobs):

        class Failing(Actor):
            async def on_start(self) -> None:
                await jobs.start(forever)
                raise Boom("after that")

        with pytest.raises(StartFailed):
            await system.start("failing", Failing)
        assert await running(jobs) == 0


@both_backends
async def test_a_cancelled_caller_takes_its_task_with_it_at_any_moment() -> None:
    # T3
    async with jobs_of() as (system, jobs):
        cell = jobs.ref.slot.cell
        assert cell is not None
        for suspended in (True, False):
            if suspended:
                cell.suspend()  # the request to start waits in the supervisor's mailbox
            with anyio.move_on_after(1):
                await jobs.run(forever, timeout=None)
            cell.resume()
            assert await running(jobs) == 0
        before = system.statistics()
        with anyio.move_on_after(1):
            await (await jobs.start(forever)).result()
        assert await running(jobs) == 0
        assert system.statistics().slots == before.slots


@both_backends
async def test_a_start_that_ran_out_of_time_begins_nothing_later() -> None:
    # T3, trap 13
    began: list[int] = []

    async def work() -> None:
        began.append(1)

    async with jobs_of() as (_system, jobs):
        cell = jobs.ref.slot.cell
        assert cell is not None
        cell.suspend()
        with pytest.raises(Exception, match="within 1 s"):
            await jobs.run(work, timeout=1.0)
        cell.resume()
        assert await running(jobs) == 0
        assert began == []


@pytest.mark.parametrize("after", [0.0, 1.0])
@both_backends
async def test_a_task_that_asks_whoever_awaits_it_is_refused_at_once(after: float) -> None:
    # S-A6, trap 12
    async with jobs_of() as (system, jobs):
        ref = await holder(system, jobs)
        began = system.now()
        # Its handler does not catch it.
        with pytest.raises(ActorCrashed, match=r"AskCycle.*holder -> "):
            await ref.ask(Ping(after))
        assert system.now() - began == pytest.approx(after, abs=0.001)


@both_backends
async def test_a_handler_waits_for_a_task_no_longer_than_its_own_question_may_take() -> None:
    # S-A6
    class Asked(Actor):
        @on(Ping)
        async def _ping(self, _question: Ping) -> str:
            try:
                await jobs.run(forever, timeout=None)
            except TaskTimeout as error:
                said.append(error.timeout)
            return "late"

    said: list[float] = []
    async with jobs_of() as (system, jobs):
        ref = await system.start("asked", Asked)
        with pytest.raises(Exception, match="within 2 s"):
            await ref.ask(Ping(), timeout=2.0)
        assert await running(jobs) == 0
        assert said == [pytest.approx(2.0, abs=0.001)]


@both_backends
async def test_a_task_that_starts_a_failing_one_and_looks_away_fails_with_it() -> None:
    # T1
    async def parent(jobs: TaskSupervisorHandle) -> None:
        await jobs.start(fail, "inner")
        await anyio.sleep_forever()

    async with jobs_of() as (_system, jobs):
        with pytest.raises(Boom, match="inner"):
            await jobs.run(parent, jobs)
        assert await running(jobs) == 0


@both_backends
async def test_a_cancelled_task_that_will_not_end_is_killed_when_its_allowance_is_over() -> None:
    # R18, S-B8
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(30)

    async with jobs_of(shutdown=1.0) as (system, jobs):
        handle = await jobs.start(stubborn)
        await settled()
        began = system.now()
        assert handle.cancel()
        assert not handle.cancel()
        with pytest.raises(TaskEnded, match="killed"):
            await handle.result()
        # The allowance, then the grace of a kill.
        assert system.now() - began == pytest.approx(1.0 + system.kill_grace, abs=0.001)
        assert system.statistics().wedged == (handle.path,)
        assert await running(jobs) == 0
        await anyio.sleep(30)
        assert system.statistics().wedged == ()


@both_backends
async def test_a_caller_that_is_cancelled_while_its_task_starts_leaves_no_orphan() -> None:
    # T3, trap 11
    def cancel(event: object) -> None:
        if isinstance(event, ActorStarted) and event.path.startswith("app/jobs/"):
            scope.cancel()

    async with jobs_of() as (system, jobs):
        system.events.call(cancel)
        for linked in (True, False):
            with anyio.CancelScope() as scope:
                await jobs.start(forever, linked=linked)
            assert scope.cancelled_caught
            assert await running(jobs) == 0


@both_backends
async def test_a_supervisor_that_crashes_ends_its_tasks_and_tells_those_who_wait() -> None:
    # R23
    async with jobs_of() as (_system, jobs):
        handle = await jobs.start(forever)
        jobs.ref.tell(InjectedFault(RuntimeError("a bug")))
        with pytest.raises(TaskEnded):
            await handle.result()
        await settled()
        assert await jobs.run(double, 1) == 2


@both_backends
async def test_nothing_of_a_finished_task_is_kept() -> None:
    # R33, trap 17
    class Large:
        pass

    async def look(_large: Large) -> int:
        await anyio.sleep(0.1)
        return 1

    async with jobs_of() as (_system, jobs):
        large = [Large(), Large(), Large()]
        kept = [weakref.ref(one) for one in large]
        assert await jobs.run(look, large[0]) == 1
        handle: TaskHandle[int] = await jobs.start(look, large[1])
        assert await handle.result() == 1
        await jobs.start_child(look, large[2])
        await anyio.sleep(1)
        large.clear()
        gc.collect()
        assert [ref() for ref in kept] == [None, None, None]


@both_backends
async def test_a_task_asked_for_by_a_question_knows_its_correlation() -> None:
    # T5
    class Asked(Actor):
        @on(Ping)
        async def _ping(self, _question: Ping) -> str:
            info = await jobs.run(tell)
            assert info == TaskInfo(
                "app/jobs/task-1", ("app/jobs", "app"), ("asked",), self.context.correlation
            )
            return "ok"

    async def tell() -> TaskInfo | None:
        return task_info()

    async with jobs_of() as (system, jobs):
        assert await (await system.start("asked", Asked)).ask(Ping()) == "ok"


@both_backends
async def test_what_is_no_async_function_fails_by_name() -> None:
    def plain() -> int:
        return 1

    async with jobs_of() as (_system, jobs):
        with pytest.raises(TypeError, match="plain returned 1"):
            await jobs.run(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(TypeError, match="an async function"):
            await jobs.run(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@both_backends
async def test_a_stray_cancellation_in_a_task_is_its_failure() -> None:
    # trap 8
    async def stray() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep(1)
            except BaseException as error:
                kept.append(error)
                raise
        raise kept[0]

    kept: list[BaseException] = []
    async with jobs_of() as (_system, jobs):
        handle = await jobs.start(stray, linked=False)
        with pytest.raises(Exception, match="cancelled from a place"):
            await handle.result()
        assert isinstance(handle.ref.slot.outcome, Crash)


@both_backends
async def test_a_stream_of_more_than_the_supervisor_takes_ends_with_its_refusal() -> None:
    # T2, T4
    async with jobs_of(max_children=2) as (_system, jobs):
        stream = jobs.stream(double, range(9), concurrency=3)
        with pytest.raises(TooManyChildren):
            await anext(stream)
        assert await running(jobs) == 0
        items = [item.value async for item in jobs.stream(double, range(4), concurrency=2)]
        assert items == [0, 2, 4, 6]
