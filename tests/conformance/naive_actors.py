"""Small actors that ask, as one writes them first: circles wait, answers get lost and mixed up (12, 13).

Each has a loop that handles one question after another, like an actor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
import attrs
from anyio.abc import TaskGroup

__all__ = ["Question", "QueueActor", "RelayActor"]


Item = TypeVar("Item")


class Queue(Generic[Item]):
    """First in, first out; whoever takes waits for something to come."""

    def __init__(self) -> None:
        self._items = deque[Item]()
        self._came = anyio.Event()

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._came.set()

    async def take(self) -> Item:
        while not self._items:
            self._came = anyio.Event()
            await self._came.wait()
        return self._items.popleft()


@attrs.define(eq=False)
class Question:
    """What is asked, and where the answer goes."""

    what: tuple[RelayActor, ...]
    answered: anyio.Event = attrs.field(factory=anyio.Event)
    answer: str = ""


class RelayActor:
    """Asks the next one of a route, each with a time-out of its own, whoever waits for it (trap 12)."""

    def __init__(self, name: str, group: TaskGroup) -> None:
        self.name = name
        self._questions = Queue[Question]()
        group.start_soon(self._loop)

    async def ask(self, route: tuple[RelayActor, ...], timeout: float) -> str:
        question = Question(route)
        self._questions.put(question)
        with anyio.fail_after(timeout):
            await question.answered.wait()
        return question.answer

    async def _loop(self) -> None:
        while True:
            question = await self._questions.take()
            question.answer = await self._handle(question.what)
            question.answered.set()

    async def _handle(self, route: tuple[RelayActor, ...]) -> str:
        if not route:
            return self.name
        return await route[0].ask(route[1:], timeout=60.0)


class QueueActor:
    """Answers into one queue of its caller, and ends when its handler raises (trap 13).

    The first answer in the queue is the answer: also one to a question that was given up.  What waits
    when the loop ends is forgotten, with whoever waits for it.
    """

    def __init__(self, handler: Callable[[str], Awaitable[str]]) -> None:
        self._handler = handler
        self._questions = Queue[str]()
        self._answers = Queue[str]()
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._group.start_soon(self._loop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(kind, error, trace)

    async def ask(self, what: str, timeout: float) -> str:
        self._questions.put(what)
        with anyio.fail_after(timeout):
            return await self._answers.take()

    async def _loop(self) -> None:
        while True:
            question = await self._questions.take()
            try:
                answer = await self._handler(question)
            except Exception:
                return
            self._answers.put(answer)
