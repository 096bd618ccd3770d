"""Traps 12 to 15 and 17: circles of asks, lost callers, mailboxes by accident, stale handles, memory.

Each check runs on ours, and must fail on what is naive, on both backends.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable

import anyio
import pytest
from tests.conformance.naive import HandleRef, Inbox, RetainingGroup, UnboundedInbox, ask_and_wait
from tests.runtime.cast import Ask, Boom, Fail, Forward, Note, Relay, SlowScribe, Wait, keeper

from holdfast.runtime import Actor, ActorCrashed, AskCycle, MailboxFull, MailboxSpec, on, open_system
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

    with pytest.raises(AssertionError, match="by a time-out"):
        await ends_without_a_timeout(lambda: ask_and_wait(anyio.Event(), 5.0), 0.0)


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

    # Whoever would answer has ended, and its event with it: nothing tells the caller.
    with pytest.raises(AssertionError, match="by a time-out"):
        await ends_without_a_timeout(lambda: ask_and_wait(anyio.Event(), 60.0), 1.0)


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

    first, second = Inbox(), Inbox()
    handle = HandleRef(first)
    handle.tell("after the restart")
    with pytest.raises(AssertionError, match="leads nowhere"):
        reaches_the_successor(second.items)


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
