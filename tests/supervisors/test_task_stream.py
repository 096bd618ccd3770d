"""Streams of tasks: any order of ends, any failures, any early stop."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.supervisors.errands import Boom, double, jobs_of, running

from holdfast.runtime import Actor, InjectedFault, Message, Request, on
from holdfast.runtime.testing import both_backends, run, settled
from holdfast.supervisors import StreamItem, TaskSupervisorHandle


@attrs.frozen
class Deed:
    """What the task of one input does."""

    takes: float
    fails: bool
    in_group: bool


@attrs.frozen
class Course:
    """One whole iteration."""

    deeds: list[Deed]
    concurrency: int
    ordered: bool
    stop_after: int | None
    """How many items the consumer takes before it turns away; None takes all."""
    pause: float
    """How long the consumer does something else after each item."""


# Few different lengths, so that ties and overtaking both happen; 9 is over the limit of 5.
deeds = st.builds(Deed, st.sampled_from([0.0, 1.0, 1.0, 2.0, 4.0, 9.0]), st.booleans(), st.booleans())
courses = st.builds(
    Course,
    st.lists(deeds, max_size=8),
    st.integers(1, 5),
    st.booleans(),
    st.none() | st.integers(1, 8),
    st.sampled_from([0.0, 1.5]),
)


@given(courses, st.integers(0, 3), st.sampled_from(["trio", "asyncio"]))
@settings(max_examples=120, deadline=None)
def test_a_stream_is_bounded_ordered_whole_and_leaves_nothing_behind(
    course: Course, seed: int, backend: str
) -> None:
    # T4
    run(backend, functools.partial(follow, course), seed=seed)


async def follow(course: Course) -> None:
    taken: list[int] = []
    live: set[int] = set()
    most = 0
    ends: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(len(course.deeds)):
            taken.append(number)
            yield number

    async def work(number: int) -> int:
        nonlocal most
        deed = course.deeds[number]
        live.add(number)
        most = max(most, len(live))
        try:
            await anyio.sleep(deed.takes)
            ends.append(number)
            if deed.in_group and deed.fails:
                raise BaseExceptionGroup("one", [Boom(number)])
            if deed.fails:
                raise Boom(number)
            return -number
        finally:
            live.discard(number)

    async with jobs_of() as (system, jobs):
        before = system.statistics()
        items: list[StreamItem[int, int]] = []
        stream = jobs.stream(
            work,
            inputs(),
            concurrency=course.concurrency,
            ordered=course.ordered,
            timeout=5.0,
            on_timeout="item",
        )
        async for item in stream:
            items.append(item)
            assert len(taken) <= len(items) + course.concurrency
            await anyio.sleep(course.pause)
            if len(items) == course.stop_after:
                break
        del stream
        await settled()

        assert most <= course.concurrency
        assert not live
        assert await running(jobs) == 0
        after = system.statistics()
        assert (after.tasks, after.slots, after.deadlines) == (before.tasks, before.slots, before.deadlines)
        check(course, items, ends)


def check(course: Course, items: list[StreamItem[int, int]], ends: list[int]) -> None:
    """Compare what came with what the deeds say must come."""
    indices = [item.index for item in items]
    if course.stop_after is None:
        assert sorted(indices) == list(range(len(course.deeds)))
    if course.ordered:
        assert indices == list(range(len(items)))
    for item in items:
        deed = course.deeds[item.index]
        if deed.takes > 5.0:
            assert type(item.error).__name__ == "TaskTimeout"
        elif deed.fails:
            assert type(item.error) is Boom
        else:
            assert (item.ok, item.unwrap()) == (True, -item.index)
            assert item.index in ends


@both_backends
async def test_an_exception_of_the_consumer_or_of_the_inputs_ends_the_tasks() -> None:
    # T4
    def inputs() -> Iterator[int]:
        yield 1
        raise Boom("no more inputs")

    async with jobs_of() as (_system, jobs):
        with pytest.raises(Boom, match="no more"):
            async for _item in jobs.stream(double, inputs()):
                pass
        assert await running(jobs) == 0

        with pytest.raises(Boom, match="consumer"):
            async for _item in jobs.stream(double, range(9), concurrency=3):
                raise Boom("consumer")
        assert await running(jobs) == 0


@both_backends
async def test_a_stream_as_a_context_is_left_when_its_tasks_are_gone() -> None:
    # T4
    cleaned: list[int] = []

    async def tidy(number: int) -> int:
        try:
            await anyio.sleep(number)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            cleaned.append(number)
        return number

    async with jobs_of() as (_system, jobs):
        async with jobs.stream(tidy, [0, 100, 100], timeout=None) as stream:
            assert (await anext(stream)).value == 0
        assert cleaned == [0, 100, 100]
        assert (await jobs.count_children()).workers == 0
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


@both_backends
async def test_a_cancelled_consumer_ends_the_tasks() -> None:
    # T4
    async with jobs_of() as (_system, jobs):
        with anyio.move_on_after(1):
            async for _item in jobs.stream(anyio.sleep, [100.0] * 5, timeout=None):
                pass
        assert await running(jobs) == 0


class Consume(Message, frozen=True):
    pass


class Consumer(Actor):
    def __init__(self, jobs: TaskSupervisorHandle) -> None:
        self._jobs = jobs

    @on(Consume)
    def _consume(self, _message: Consume) -> None:
        self.context.spawn(self._take)

    async def _take(self) -> None:
        async for _item in self._jobs.stream(anyio.sleep, [0.0, 100.0, 100.0], timeout=None):
            pass


@both_backends
async def test_the_tasks_of_a_stream_end_with_the_actor_that_consumes_it() -> None:
    # T4, T1
    async with jobs_of() as (system, jobs):
        ref = await system.start("consumer", lambda: Consumer(jobs))
        ref.tell(Consume())
        assert await running(jobs) == 2
        ref.tell(InjectedFault(RuntimeError("a bug")))
        assert await running(jobs) == 0


async def fail_after(delay: float) -> None:
    await anyio.sleep(delay)
    raise Boom(delay)


class Gather(Request[list[bool]], frozen=True):
    pass


class Gatherer(Actor):
    def __init__(self, jobs: TaskSupervisorHandle) -> None:
        self._jobs = jobs

    @on(Gather)
    async def _gather(self, _question: Gather) -> list[bool]:
        got: list[bool] = []
        async for item in self._jobs.stream(fail_after, [0.1, 0.5, 0.8]):
            got.append(item.ok)
            await anyio.sleep(1)  # the others fail meanwhile, and nobody waits for them
        return got


@both_backends
async def test_a_failure_in_a_stream_crashes_no_actor_that_is_just_doing_something_else() -> None:
    # T4, T1
    async with jobs_of() as (system, jobs):
        ref = await system.start("gatherer", lambda: Gatherer(jobs))
        assert await ref.ask(Gather()) == [False, False, False]
        await settled()
        assert ref.slot.running


@both_backends
async def test_a_stream_has_one_reader_at_a_time() -> None:
    # T4
    async with jobs_of() as (_system, jobs), anyio.create_task_group() as group:
        stream = jobs.stream(double, [1])
        group.start_soon(stream.__anext__)
        await settled()
        with pytest.raises(RuntimeError, match="one reader"):
            await anext(stream)
