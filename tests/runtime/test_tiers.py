"""Which tier an actor lives in, and what is special about living without a task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import anyio
import pytest
from tests.runtime.cast import Ask, Boom, Fail, Note, Relay, SlowScribe, dead_letters

from holdfast.runtime import (
    Actor,
    ActorCrashed,
    Crash,
    DefinitionError,
    Message,
    Request,
    StartFailed,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, on_asyncio, settled


class Plain(Actor):
    """Nothing of it waits."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    @on(Note)
    def note(self, message: Note) -> None:
        self.log.append(message.text)

    @on(Ask)
    def answer(self, message: Ask) -> str:
        self.log.append(message.text)
        return message.text

    @on(Fail)
    def fail(self, message: Fail) -> None:
        raise Boom("told to")


class Tasked(Plain):
    """The same with a task of its own."""

    tier = "task"


# -- the choice, made when the class is defined


def test_plain_handlers_and_hooks_need_no_task() -> None:  # S-A12
    assert Plain.taskless
    assert not Tasked.taskless

    class Below(Tasked):
        """What was asked for is inherited."""

    assert not Below.taskless


def test_one_async_handler_or_hook_makes_it_a_task() -> None:  # S-A12
    assert not Relay.taskless  # a handler
    assert not SlowScribe.taskless

    class Starts(Plain):
        async def on_start(self) -> None: ...

    assert not Starts.taskless


def test_a_class_that_must_be_task_less_refuses_what_waits() -> None:
    @on(Note)
    async def later(self: Actor, message: Note) -> None: ...

    with pytest.raises(DefinitionError, match=r"tier = 'taskless', and .*later is async def"):
        type("Waits", (Actor,), {"tier": "taskless", "later": later})


def test_a_tier_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DefinitionError, match="tier is 'task', 'taskless' or None, got 'thread'"):
        type("Threaded", (Actor,), {"tier": "thread"})


@both_backends
async def test_task_less_actors_are_no_tasks() -> None:  # S-A12
    async with open_system() as system:
        await system.start("plain", lambda: Plain([]))
        assert system.tasks == 0
        await system.start("tasked", lambda: Tasked([]))
        assert system.tasks == 1

    async with open_system(tasks_only=True) as system:
        await system.start("plain", lambda: Plain([]))
        assert system.tasks == 1


@both_backends
async def test_a_plain_hook_that_returns_something_to_wait_for_is_refused_where_nothing_waits() -> None:
    class Sly(Plain):
        def on_start(self) -> Awaitable[None]:
            return anyio.sleep(1)

    async with open_system() as system:
        with pytest.raises(StartFailed, match="returned something to wait for and is no async def"):
            await system.start("sly", lambda: Sly([]))


# -- an ask that is answered in the caller


@both_backends
async def test_an_idle_task_less_actor_answers_before_anybody_else_has_a_turn() -> None:  # S-A12
    async with open_system() as system:
        plain = await system.start("plain", lambda: Plain([]))
        turns: list[str] = []

        async def other() -> None:
            turns.append("other")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            assert await plain.ask(Ask("now")) == "now"
            assert turns == []


@both_backends
async def test_one_that_asks_without_a_pause_lets_others_have_turns() -> None:  # S-A11
    async with open_system() as system:
        plain = await system.start("plain", lambda: Plain([]))
        turns: list[str] = []

        async def other() -> None:
            turns.append("other")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            for _ in range(32):
                await plain.ask(Ask())
            assert turns == ["other"]


@both_backends
async def test_an_ask_never_overtakes_mail_that_waits() -> None:  # S-A3
    log: list[str] = []
    async with open_system() as system:
        plain = await system.start("plain", lambda: Plain(log))
        plain.tell(Note("first"))
        plain.tell(Note("second"))
        assert await plain.ask(Ask("third")) == "third"
    assert log == ["first", "second", "third"]


@both_backends
async def test_a_cancelled_asker_has_asked_nothing() -> None:  # S-A6
    log: list[str] = []
    async with open_system() as system:
        plain = await system.start("plain", lambda: Plain(log))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await plain.ask(Ask())
        assert scope.cancelled_caught
    assert log == []


@both_backends
async def test_a_crash_in_an_answer_is_the_answerers_and_never_the_askers() -> None:  # S-O6
    class Explodes(Plain):
        @on(Ask)
        def answer(self, message: Ask) -> str:
            raise Boom("over a question")

    async with open_system() as system:
        with dead_letters(system) as letters:
            ref = await system.start("explodes", lambda: Explodes([]))
            with pytest.raises(ActorCrashed, match="Boom: over a question"):
                await ref.ask(Ask())
        assert isinstance(ref.slot.outcome, Crash)
        assert letters == [("Ask", "being handled when the actor ended")]


class Later(Request[str], frozen=True):
    """Answered by a later message."""


class Settle(Message, frozen=True):
    """Answer now."""


@both_backends
async def test_an_answer_that_comes_later_is_waited_for() -> None:  # S6
    class Promises(Actor):
        @on(Later)
        def promise(self, message: Later) -> None:
            self.token = self.context.reply_later()
            self.context.after(1, Settle())

        @on(Settle)
        def settle(self, message: Settle) -> None:
            self.token.reply("kept")

    async with open_system() as system:
        ref = await system.start("promises", Promises)
        before = system.now()
        assert await ref.ask(Later()) == "kept"
        assert system.now() - before == pytest.approx(1)


# -- the pump


class Tell(Message, frozen=True):
    """Tell yourself again."""


@both_backends
async def test_one_that_tells_itself_for_ever_keeps_nobody_from_a_turn() -> None:  # S-A11
    class Restless(Actor):
        @on(Tell)
        def again(self, message: Tell) -> None:
            self.context.ref.tell(Tell())

    log: list[str] = []
    async with open_system() as system:
        restless = await system.start("restless", Restless)
        plain = await system.start("plain", lambda: Plain(log))
        restless.tell(Tell())
        plain.tell(Note("heard"))
        for _ in range(4):
            await anyio.lowlevel.checkpoint()
        assert log == ["heard"]
        cell = restless.slot.cell
        assert cell is not None
        cell.kill()


@both_backends
async def test_a_base_exception_of_a_handler_ends_its_actor_and_not_the_pump() -> None:  # S-O2
    class Odd(BaseException):
        """Nobody catches it by accident."""

    class Throws(Plain):
        @on(Fail)
        def fail(self, message: Fail) -> None:
            raise Odd

    log: list[str] = []
    async with open_system() as system:
        throws = await system.start("throws", lambda: Throws([]))
        plain = await system.start("plain", lambda: Plain(log))
        throws.tell(Fail())
        plain.tell(Note("still served"))
        await settled()
        outcome = throws.slot.outcome
        assert isinstance(outcome, Crash)
        assert isinstance(outcome.exception, Odd)
    assert log == ["still served"]


# trap 8: asyncio lets anyone cancel a task, at any moment
@on_asyncio
async def test_a_pump_that_is_cancelled_by_a_stranger_goes_on() -> None:  # S-A12
    log: list[str] = []
    async with open_system() as system:
        plain = await system.start("plain", lambda: Plain(log))
        await settled()
        for task in asyncio.all_tasks():
            if task.get_name() == f"{system.name}.pump":
                task.cancel()
        await settled()
        plain.tell(Note("heard"))
        await settled()
    assert log == ["heard"]
