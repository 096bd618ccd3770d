"""Other threads come in through the portal: in order, bounded, and never left waiting.

Real threads and a real clock: virtual time would jump while a thread computes.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future

import anyio
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holdfast.runtime.portal
from holdfast.runtime import (
    Actor,
    ActorGone,
    AskTimeout,
    DeadLetter,
    MailboxSpec,
    Message,
    PortalFull,
    ReplyToken,
    Request,
    System,
    SystemClosed,
    WrongThread,
    on,
    open_system,
)
from holdfast.runtime.errors import ActorCrashed, SendTimeout

BACKENDS = ("trio", "asyncio")


def on_a_real_loop(test: Callable[[System], Awaitable[None]]) -> Callable[[str], None]:
    """Run the test on both backends, in real time, in a system of its own."""

    @pytest.mark.parametrize("backend", BACKENDS)
    @functools.wraps(test)
    def synchronous(backend: str) -> None:
        async def main() -> None:
            with anyio.fail_after(20):
                async with open_system() as system:
                    await test(system)

        anyio.run(main, backend=backend)

    del synchronous.__wrapped__
    return synchronous


class Said(Message, frozen=True):
    by: int
    number: int


class HowMany(Request[int], frozen=True):
    pass


class Slow(Request[int], frozen=True):
    pass


class Fail(Request[int], frozen=True):
    pass


class Listener(Actor):
    mailbox = MailboxSpec(capacity=64)

    def __init__(self) -> None:
        self.heard: list[Said] = []
        self.tokens: list[ReplyToken] = []

    @on(Said)
    def hear(self, said: Said) -> None:
        self.heard.append(said)

    @on(HowMany)
    def count(self, _question: HowMany) -> int:
        return len(self.heard)

    @on(Slow)
    def slow(self, _question: Slow) -> None:
        self.tokens.append(self.context.reply_later())

    @on(Fail)
    def fail(self, _question: Fail) -> int:
        raise RuntimeError("a bug")


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=5, deadline=None)
@given(counts=st.lists(st.integers(0, 300), min_size=1, max_size=4))
def test_each_threads_messages_arrive_once_and_in_its_order(backend: str, counts: list[int]) -> None:
    listener = Listener()

    async def main() -> None:
        async with open_system() as system:
            ref = await system.start("listener", lambda: listener)

            def speak(by: int) -> None:
                for number in range(counts[by]):
                    system.portal.send(ref, Said(by, number))

            async with anyio.create_task_group() as group:
                for by in range(len(counts)):
                    group.start_soon(anyio.to_thread.run_sync, speak, by)
            assert await ref.ask(HowMany()) == sum(counts)

    anyio.run(main, backend=backend)

    for by, count in enumerate(counts):
        assert [said.number for said in listener.heard if said.by == by] == list(range(count))


@on_a_real_loop
async def test_a_thread_asks_after_what_it_told_and_gets_the_answer(system: System) -> None:
    ref = await system.start("listener", Listener)

    def body() -> int:
        system.portal.tell(ref, Said(0, 0))
        system.portal.tell(ref, Said(0, 1))
        return system.portal.ask(ref, HowMany())

    assert await anyio.to_thread.run_sync(body) == 2


@on_a_real_loop
async def test_a_thread_is_raised_what_an_asker_on_the_loop_would_be(system: System) -> None:
    ref = await system.start("listener", Listener)
    portal = system.portal

    def body() -> None:
        with pytest.raises(AskTimeout, match=r"listener did not answer Slow within 0\.01 s"):
            portal.ask(ref, Slow(), timeout=0.01)
        with pytest.raises(AskTimeout):
            portal.ask(ref, HowMany(), timeout=float("nan"))
        with pytest.raises(ActorCrashed, match="a bug"):
            portal.ask(ref, Fail())
        with pytest.raises(ActorGone):
            portal.ask(ref, HowMany())
        with pytest.raises(ActorGone):
            portal.send(ref, Said(0, 0))

    await anyio.to_thread.run_sync(body)


@on_a_real_loop
async def test_a_send_waits_for_room_and_a_tell_without_room_is_a_dead_letter(system: System) -> None:
    ref = await system.start("listener", Listener)
    await system.inspect(ref).suspend()
    dead: list[DeadLetter] = []
    system.events.call(lambda event: dead.append(event) if isinstance(event, DeadLetter) else None)
    portal = system.portal

    def fill() -> None:
        for number in range(64):
            portal.send(ref, Said(0, number))
        portal.tell(ref, Said(1, 0))
        with pytest.raises(SendTimeout):
            portal.send(ref, Said(2, 0), timeout=0.01)

    def send_more() -> None:
        portal.send(ref, Said(3, 0))

    await anyio.to_thread.run_sync(fill)
    assert [letter.why for letter in dead] == ["the mailbox was full for a message from a thread"]
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, send_more)
        while not ref.slot.mailbox.senders:
            await anyio.lowlevel.checkpoint()
        await system.inspect(ref).resume()
    assert await ref.ask(HowMany()) == 65


@on_a_real_loop
async def test_a_cancelled_future_withdraws_its_question(system: System) -> None:
    ref = await system.start("listener", Listener)
    await system.inspect(ref).suspend()

    def ask_and_leave() -> Future[int]:
        future = system.portal.ask_future(ref, Slow())
        system.portal.send(ref, Said(0, 0))  # the question is in the mailbox when this returns
        assert future.cancel()
        return future

    future = await anyio.to_thread.run_sync(ask_and_leave)
    await anyio.to_thread.run_sync(lambda: system.portal.send(ref, Said(0, 1)))
    await system.inspect(ref).resume()

    assert await ref.ask(HowMany()) == 2
    actor_saw = system.statistics().late_replies
    assert actor_saw == 0
    with pytest.raises(CancelledError):
        future.result(0)


@on_a_real_loop
async def test_the_loops_own_thread_is_refused_what_would_block_it(system: System) -> None:
    ref = await system.start("listener", Listener)

    with pytest.raises(WrongThread, match=r"await ref\.ask"):
        system.portal.ask(ref, HowMany())
    with pytest.raises(WrongThread):
        system.portal.send(ref, Said(0, 0))

    system.portal.tell(ref, Said(0, 0))
    future = system.portal.ask_future(ref, HowMany())
    while not future.done():
        await anyio.lowlevel.checkpoint()
    assert future.result() == 1


@on_a_real_loop
async def test_a_loop_that_does_not_keep_up_is_said_so(system: System) -> None:
    ref = await system.start("listener", Listener)
    full = threading.Event()

    def flood() -> None:
        with pytest.raises(PortalFull, match="65536 messages"):
            while True:
                system.portal.tell(ref, Said(0, 0))
        full.set()

    flooding = threading.Thread(target=flood)
    flooding.start()
    assert full.wait(20)  # on purpose: the loop's thread is blocked
    flooding.join()
    assert await ref.ask(HowMany()) >= 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_thread_is_left_waiting_when_the_system_ends(backend: str) -> None:
    ends: list[str] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            asked = anyio.Event()
            async with open_system() as system:
                ref = await system.start("listener", Listener)
                loop_says = functools.partial(anyio.from_thread.run_sync, asked.set)

                def ask_for_ever() -> None:
                    loop_says()
                    try:
                        while True:
                            system.portal.ask(ref, HowMany(), timeout=30)
                    except (SystemClosed, ActorGone) as error:
                        ends.append(type(error).__name__)

                for _ in range(4):
                    group.start_soon(anyio.to_thread.run_sync, ask_for_ever)
                await asked.wait()
                for _ in range(100):
                    await ref.ask(HowMany())

    anyio.run(main, backend=backend)

    assert len(ends) == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_after_the_end_of_the_system_everything_is_refused(backend: str) -> None:
    kept: list[System] = []

    async def main() -> None:
        async with open_system("gone") as system:
            await system.start("listener", Listener)
            kept.append(system)

    anyio.run(main, backend=backend)
    (system,) = kept

    with pytest.raises(SystemClosed, match="'gone' is closed"):
        system.portal.tell(system.registry.slot("listener").ref, Said(0, 0))


def test_the_bound_says_where_it_comes_from() -> None:
    assert holdfast.runtime.portal.PORTAL_CAPACITY == 64 * 1024
