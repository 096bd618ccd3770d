"""Traps 12 to 15 and 17: circles of asks, lost callers, mailboxes by accident, stale handles, memory.

Each check runs on ours, and must fail on what is naive, on both backends.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable

import anyio
import pytest
from tests.conformance.naive import RetainingGroup, UnboundedInbox
from tests.conformance.naive_actors import QueueActor, RelayActor
from tests.conformance.naive_supervisors import HandleSupervisor
from tests.runtime.cast import Ask, Boom, Fail, Forward, Note, Relay, SlowScribe, Wait, keeper

from holdfast.runtime import (
    Actor,
    ActorCrashed,
    AskCycle,
    AskTimeout,
    MailboxFull,
    MailboxSpec,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled


async def ends_without_a_timeout(asking: Callable[[], Awaitable[object]], within: float) -> None:
    began = anyio.current_time()
    await asking()
    took = anyio.current_time() - began
    assert took <= within, f"found out after {took:g} s, by a time-out"


# trap 12
@both_backends
async def test_a_circle_of_asks_is_refused_before_it_waits() -> None:
    async with open_system() as system:
        for name in ("a", "b", "c"):
            await system.start(name, Relay)

        async def round_trip() -> None:
            with pytest.raises((AskCycle, ActorCrashed)):
                await system.ref("a").ask(Forward(("b", "c", "a"), 5.0), timeout=5.0)

        await ends_without_a_timeout(round_trip, 0.0)

    async with anyio.create_task_group() as group:
        a, b, c = (RelayActor(name, group) for name in ("a", "b", "c"))
        assert await a.ask((b, c), timeout=5.0) == "c", "the control: they do answer"

        async def naive_round_trip() -> None:
            with pytest.raises(TimeoutError):
                await a.ask((b, c, a), timeout=5.0)

        with pytest.raises(AssertionError, match="by a time-out"):
            await ends_without_a_timeout(naive_round_trip, 0.0)
        group.cancel_scope.cancel()


# trap 13
@both_backends
async def test_the_death_of_the_callee_fails_its_caller_at_once() -> None:
    class Dying(SlowScribe):
        @on(Ask)
        async def answer_never(self, message: Ask) -> str:
            await anyio.sleep(1.0)
            raise Boom("dying")

    async with open_system() as system:
        ref = await system.start("dying", lambda: Dying([]))

        async def asking() -> None:
            with pytest.raises(ActorCrashed):
                await ref.ask(Ask(), timeout=60.0)

        await ends_without_a_timeout(asking, 1.0)

    async def dying(_question: str) -> str:
        await anyio.sleep(1.0)
        raise Boom("dying")

    async with QueueActor(dying) as naive:

        async def naive_asking() -> None:
            with pytest.raises(TimeoutError):
                await naive.ask("anybody?", 60.0)

        with pytest.raises(AssertionError, match="by a time-out"):
            await ends_without_a_timeout(naive_asking, 1.0)


async def a_late_answer_reaches_nobody(ask: Callable[[str, float], Awaitable[str]]) -> None:
    with pytest.raises((TimeoutError, AskTimeout)):
        await ask("slow", 1.0)
    answer = await ask("second", 10.0)
    assert answer == "second", f"the second question got the answer to another one: {answer}"


# trap 13
@both_backends
async def test_an_answer_that_comes_too_late_is_not_the_answer_to_the_next_question() -> None:
    async def answer(question: str) -> str:
        await anyio.sleep(2.0 if question == "slow" else 0.0)
        return question

    class Answering(Actor):
        @on(Ask)
        async def answer(self, message: Ask) -> str:
            return await answer(message.text)

    async with open_system() as system:
        ref = await system.start("answering", Answering)
        await a_late_answer_reaches_nobody(lambda text, timeout: ref.ask(Ask(text), timeout=timeout))

    async with QueueActor(answer) as naive:
        with pytest.raises(AssertionError, match="answer to another one: slow"):
            await a_late_answer_reaches_nobody(naive.ask)


# trap 13: what is too late reaches nobody
@both_backends
async def test_a_question_that_is_withdrawn_is_not_handled() -> None:
    async with open_system() as system:
        log: list[str] = []
        ref = await system.start("scribe", lambda: SlowScribe(log))
        ref.tell(Wait(2.0))
        with anyio.move_on_after(1.0):
            await ref.ask(Ask("withdrawn"), timeout=60.0)
        await anyio.sleep(2.0)
        assert log == ["+1", "busy", "done"]


def has_a_bound(tell: Callable[[Note], None], depth: Callable[[], int]) -> None:
    refused = False
    for number in range(200):
        try:
            tell(Note(str(number)))
        except MailboxFull:
            refused = True
    assert refused, "nobody is told that nobody keeps up"
    assert depth() <= 100


# trap 14
@both_backends
async def test_a_mailbox_has_a_bound_and_a_stop_overtakes_it() -> None:
    class Small(SlowScribe):
        mailbox = MailboxSpec(capacity=100)

    async with open_system() as system:
        log: list[str] = []
        parent = await keeper(system)
        cell = await parent.start("small", lambda: Small(log))
        ref = cell.slot.ref
        ref.tell(Wait(1.0))
        await settled()
        has_a_bound(ref.tell, lambda: ref.slot.mailbox.depth)
        await cell.stop(5.0, final=False)
        assert log == ["+1", "busy", "done", "-shutdown"], "the stop did not wait behind the mail"

    naive = UnboundedInbox()
    with pytest.raises(AssertionError, match="nobody is told"):
        has_a_bound(naive.tell, lambda: naive.depth)


# trap 14: the poison message
@both_backends
async def test_one_bad_message_crashes_one_incarnation_and_the_mail_behind_it_is_kept() -> None:
    async with open_system() as system:
        log: list[str] = []
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: SlowScribe(log))
        for message in (Fail(), Note("kept")):
            cell.slot.ref.tell(message)
        await cell.wait_ended()
        await parent.start("scribe", lambda: SlowScribe(log))
        await settled()
        assert log[-2:] == ["+2", "kept"]
        assert len(parent.ended) == 1


def reaches_the_successor(received: list[object]) -> None:
    assert received == ["after the restart"], "a handle from before the restart leads nowhere"


# trap 15
@both_backends
async def test_a_ref_from_before_a_restart_leads_to_the_successor() -> None:
    async with open_system() as system:
        log: list[str] = []
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: SlowScribe(log))
        ref = cell.slot.ref
        await cell.stop(1.0, final=False)
        successor: list[str] = []
        await parent.start("scribe", lambda: SlowScribe(successor))
        ref.tell(Note("after the restart"))
        await settled()
        reaches_the_successor([*successor[1:]])

    naive = HandleSupervisor()
    handle = naive.start()
    naive.restart()
    handle.tell("after the restart")
    with pytest.raises(AssertionError, match="leads nowhere"):
        reaches_the_successor(naive.received)


def nothing_is_kept(errors: weakref.WeakSet[Boom]) -> None:
    gc.collect()
    assert len(errors) == 0, f"{len(errors)} failures are kept, with their frames and what is in them"


# trap 17
@both_backends
async def test_failures_are_not_kept() -> None:
    errors: weakref.WeakSet[Boom] = weakref.WeakSet()

    class Failing(Actor):
        @on(Fail)
        def fail(self, message: Fail) -> None:
            error = Boom("told to")
            errors.add(error)
            raise error

    async with open_system() as system:
        parent = await keeper(system)

        async def crash_once() -> None:
            cell = await parent.start("failing", Failing)
            cell.slot.ref.tell(Fail())
            await cell.wait_ended()

        for _ in range(20):
            await crash_once()
        await parent.start("failing", Failing)
        await settled()
        parent.ended.clear()
        nothing_is_kept(errors)

    group = RetainingGroup()
    kept: weakref.WeakSet[Boom] = weakref.WeakSet()

    def fail_once() -> None:
        error = Boom("told to")
        kept.add(error)
        group.ended(error)

    for _ in range(20):
        fail_once()
    with pytest.raises(AssertionError, match="20 failures"):
        nothing_is_kept(kept)
