"""What tests of tasks let run: functions, and an actor that starts them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from holdfast.runtime import (
    Actor,
    Message,
    Request,
    System,
    on,
    open_system,
)
from holdfast.runtime.testing import settled
from holdfast.supervisors import (
    Budget,
    TaskHandle,
    TaskSupervisorHandle,
    start_tree,
    supervisor,
    task_supervisor,
    worker,
)


class Boom(Exception):
    """What a task fails with."""


async def double(number: int) -> int:
    await anyio.sleep(0.1)
    return 2 * number


async def fail(text: str) -> None:
    await anyio.sleep(0.1)
    raise Boom(text)


async def forever() -> None:
    await anyio.sleep_forever()


class Call(Request[str], frozen=True):
    """Run a task that fails and say what came of it."""


class Begin(Message, frozen=True):
    """Start a task and do not wait for it."""

    linked: bool = True
    seconds: float = 0.0
    """How long the handler goes on after that."""
    collects: bool = False


class Begun(Request[bool], frozen=True):
    """Whether the task that was begun is done."""


class Caller(Actor):
    jobs: TaskSupervisorHandle
    handle: TaskHandle[None]

    def on_start(self) -> None:
        self.jobs = TaskSupervisorHandle(self.context.system.ref("app/jobs"))

    @on(Call)
    async def _call(self, _question: Call) -> str:
        try:
            await self.jobs.run(fail, "in a task")
        except Boom as error:
            return f"caught {error}"
        return "nothing came"

    @on(Begin)
    async def _begin(self, message: Begin) -> None:
        self.handle = await self.jobs.start(fail, "unawaited", linked=message.linked)
        await anyio.sleep(message.seconds)
        if message.collects:
            with pytest.raises(Boom):
                await self.handle.result()

    @on(Begun)
    def _begun(self, _question: Begun) -> bool:
        return self.handle.done


@asynccontextmanager
async def jobs_of(**options: Any) -> AsyncGenerator[tuple[System, TaskSupervisorHandle]]:
    async with open_system() as system:
        spec = task_supervisor("jobs", **options)
        await start_tree(system, supervisor("app", spec, worker("caller", Caller), budget=Budget(9, 5.0)))
        yield system, TaskSupervisorHandle(system.ref("app/jobs"))


async def running(jobs: TaskSupervisorHandle) -> int:
    await settled()
    counts = await jobs.count_children()
    assert counts.workers >= counts.active
    return counts.active
