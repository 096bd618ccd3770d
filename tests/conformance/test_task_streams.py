"""T4: bounded, ordered streams of tasks."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.supervisors.errands import Boom, double, jobs_of, running

from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    InvalidSpec,
    StreamItem,
    TaskTimeout,
)


@both_backends
async def test_results_come_in_input_order_whatever_the_finish_order() -> None:
    # T4
    async def after(delay: float) -> float:
        await anyio.sleep(delay)
        return delay

    async with jobs_of() as (_system, jobs):
        stream = jobs.stream(after, [3.0, 1.0, 2.0], concurrency=3)
        assert [item.unwrap() async for item in stream] == [3.0, 1.0, 2.0]
        stream = jobs.stream(after, [3.0, 1.0, 2.0], concurrency=3, ordered=False)
        assert [item.unwrap() async for item in stream] == [1.0, 2.0, 3.0]


@both_backends
async def test_a_failure_is_an_item_and_the_others_go_on() -> None:
    # T4
    async def odd(number: int) -> int:
        if number % 2 == 0:
            raise Boom(str(number))
        return number

    async with jobs_of() as (_system, jobs):
        items = [item async for item in jobs.stream(odd, range(4))]
    assert [item.value for item in items] == [None, 1, None, 3]
    assert [str(item.error) for item in items if not item.ok] == ["0", "2"]


@both_backends
async def test_a_consumer_that_stops_early_shuts_the_unused_tasks_down() -> None:
    # T4
    taken: list[int] = []

    def inputs() -> Any:
        for number in range(1000):
            taken.append(number)
            yield number

    async def quick_at_first(number: int) -> int:
        if number:
            await anyio.sleep_forever()
        return number

    async with jobs_of() as (system, jobs):
        before = system.statistics()
        async for item in jobs.stream(quick_at_first, inputs(), concurrency=4, timeout=None):
            assert item == StreamItem(0, 0)
            assert await running(jobs) == 3
            break
        assert await running(jobs) == 0
        after = system.statistics()
        assert (after.tasks, after.slots, after.deadlines) == (before.tasks, before.slots, before.deadlines)
        assert taken == [0, 1, 2, 3]


@both_backends
async def test_a_slow_task_of_a_stream_is_its_item_or_the_end_as_declared() -> None:
    # T4
    async def slow_second(number: int) -> int:
        await anyio.sleep(100 if number == 1 else 1)
        return number

    async with jobs_of() as (_system, jobs):
        stream = jobs.stream(slow_second, range(3), timeout=5.0, on_timeout="item", with_input=True)
        first, second, third = [item async for item in stream]
        assert (first.value, third.value) == (0, 2)
        assert isinstance(second.error, TaskTimeout)
        assert second.input == 1

        seen: list[int] = []
        with pytest.raises(TaskTimeout):
            async for item in jobs.stream(slow_second, range(3), timeout=5.0):
                seen.append(item.index)  # noqa: PERF401 - those before the end count
        assert seen == [0]
        assert await running(jobs) == 0


@both_backends
async def test_what_a_stream_or_a_task_cannot_be_is_refused_by_name() -> None:
    async with jobs_of() as (_system, jobs):
        cases: list[Any] = [{"concurrency": 0}, {"timeout": 0}, {"on_timeout": "ignore"}]
        for wrong in cases:
            with pytest.raises(InvalidSpec, match="stream of app/jobs"):
                jobs.stream(double, [1], **wrong)
        with pytest.raises(InvalidSpec, match="shutdown"):
            await jobs.start(double, 1, shutdown=-1.0)
        assert await running(jobs) == 0
