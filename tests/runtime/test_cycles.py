"""The graph of waits: a circle is refused before it closes, and nothing else is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tests.runtime.both_tiers import TIERS, open_system
from tests.runtime.cast import Ask, Forward, Keeper, Note, Relay, SlowScribe, Wait

from holdfast.runtime import (
    Actor,
    ActorCrashed,
    AskCycle,
    AskError,
    Crash,
    MailboxSpec,
    Message,
    Request,
    on,
)
from holdfast.runtime.testing import both_backends, run, settled
from holdfast.runtime.testing.harness import BACKENDS


async def crash_of(call: Callable[[], Awaitable[object]]) -> BaseException:
    """Return what the actor that answers crashed with, at the end of a chain of crashes."""
    with pytest.raises(ActorCrashed) as caught:
        await call()
    cause: BaseException = caught.value
    while isinstance(cause, ActorCrashed) and isinstance(cause.outcome, Crash):
        cause = cause.outcome.exception
    return cause


# SEMANTICS Actors 6, trap 12: of any length
@both_backends
async def test_a_circle_of_any_length_is_refused_at_once_with_the_chain_named() -> None:
    for length in range(1, 9):
        names = [f"a{n}" for n in range(length)]
        async with open_system() as system:
            for name in names:
                await system.start(name, Relay)
            start = system.now()
            route = (*names[1:], names[0])

            cause = await crash_of(lambda route=route: system.ref("a0").ask(Forward(route)))  # type: ignore[misc]

            assert isinstance(cause, AskCycle)
            assert cause.chain[0] == cause.chain[-1] == names[-1]
            assert len(cause.chain) == length + 1
            assert system.now() == start, "not by a time-out"


# SEMANTICS Actors 6: no false alarm
@both_backends
async def test_a_chain_without_a_circle_is_answered() -> None:
    async with open_system() as system:
        for n in range(8):
            await system.start(f"a{n}", Relay)

        assert await system.ref("a0").ask(Forward(tuple(f"a{n}" for n in range(1, 8)))) == "a7"


class AskAt(Request[str], frozen=True):
    """Ask the path, from the loop or from a child task."""

    path: str
    beside: bool = False


class Asker(Actor):
    """Asks from where it is told to."""

    def __init__(self, answers: list[object]) -> None:
        self.answers = answers

    @on(AskAt)
    async def ask_at(self, message: AskAt) -> str:
        if message.beside:
            self.context.spawn(self._ask, message.path)
            return "begun"
        await self._ask(message.path)
        return "done"

    async def _ask(self, path: str) -> None:
        try:
            self.answers.append(await self.context.system.ref(path).ask(Forward(("asker",))))
        except AskError as error:
            self.answers.append(type(error).__name__)

    @on(Forward)
    async def forward(self, message: Forward) -> str:
        return "asker answers"


# SEMANTICS Actors 6: a child task that asks while the handler loop is free is no deadlock
@both_backends
async def test_a_circle_through_a_child_task_is_none() -> None:
    answers: list[object] = []
    async with open_system() as system:
        asker = await system.start("asker", lambda: Asker(answers))
        await system.start("relay", Relay)

        await asker.ask(AskAt("relay", beside=True))
        await settled()

        assert answers == ["asker answers"]


@both_backends
async def test_an_answered_asker_is_waiting_no_more_even_before_its_turn() -> None:
    outcomes: list[object] = []

    class Server(Actor):
        @on(Wait)
        async def wait(self, message: Wait) -> None:
            await gate.wait()

        @on(Ask)
        def answer(self, message: Ask) -> str:
            return "here"

        @on(Note)
        async def ask_back(self, message: Note) -> None:
            outcomes.append(await self.context.system.ref("client").ask(Ask()))

    class Client(Actor):
        @on(Note)
        async def ask(self, message: Note) -> None:
            outcomes.append(await self.context.system.ref("server").ask(Ask()))

        @on(Ask)
        def answer(self, message: Ask) -> str:
            return "client"

    gate = anyio.Event()
    async with open_system() as system:
        server = await system.start("server", Server)
        client = await system.start("client", Client)
        server.tell(Wait(1))
        client.tell(Note("go"))
        await settled()
        server.tell(Note("ask back"))  # in one batch with the answer to the client
        gate.set()
        await settled()

        assert outcomes == ["here", "client"]


@both_backends
async def test_a_child_may_ask_its_parent_as_soon_as_it_has_started() -> None:
    class Parent(Keeper):
        @on(Note)
        async def start_child(self, message: Note) -> None:
            await self.start("child", Child)

        @on(Ask)
        def answer(self, message: Ask) -> str:
            return "parent"

    class Child(Actor):
        @on(Note)
        async def ask(self, message: Note) -> None:
            answers.append(await self.context.system.ref("parent").ask(Ask()))

    answers: list[str] = []
    async with open_system() as system:
        parent = await system.start("parent", Parent)
        system.ref("parent/child").tell(Note("waits for the start"))
        parent.tell(Note("start"))
        await settled()

        assert answers == ["parent"]


@both_backends
async def test_a_hook_that_asks_the_parent_that_waits_for_it_is_refused_at_once() -> None:
    failures: list[BaseException] = []

    class Parent(Keeper):
        @on(Note)
        async def start_child(self, message: Note) -> None:
            await self.start("child", Child)

    class Child(Actor):
        async def on_start(self) -> None:
            try:
                await self.context.system.ref("parent").ask(Ask(), timeout=60)
            except AskCycle as error:
                failures.append(error)

    async with open_system() as system:
        start = system.now()
        parent = await system.start("parent", Parent)
        parent.tell(Note("start"))
        await settled()

        assert len(failures) == 1
        assert "would never end: parent/child -> parent -> parent/child; use tell" in str(failures[0])
        assert system.now() - start < 1


@both_backends
async def test_waiting_for_a_cell_from_outside_is_no_wait_of_its_parent() -> None:
    class Parent(Keeper):
        @on(Ask)
        def answer(self, message: Ask) -> str:
            return "parent"

    class Child(Relay):
        @on(Note)
        async def ask(self, message: Note) -> None:
            answers.append(await self.context.system.ref("parent").ask(Ask()))

    answers: list[str] = []
    made: list[Parent] = []

    def factory() -> Parent:
        made.append(Parent())
        return made[0]

    async with open_system() as system:
        await system.start("parent", factory)
        cell = await made[0].start("child", Child)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cell.wait_ended)
            await settled()
            cell.slot.ref.tell(Note("ask"))
            await settled()
            tasks.cancel_scope.cancel()

        assert answers == ["parent"]


# SEMANTICS Actors 4: a send that waits joins the graph
@both_backends
async def test_a_circle_that_a_waiting_send_would_close_is_refused() -> None:
    class Tiny(SlowScribe):
        mailbox = MailboxSpec(capacity=1)

        @on(Forward)
        async def ask_sender(self, message: Forward) -> str:
            return await self.context.system.ref("sender").ask(Ask(), timeout=60)

    class Sender(Actor):
        @on(Wait)
        async def send(self, message: Wait) -> None:
            await anyio.sleep(message.seconds)
            try:
                await self.context.system.ref("tiny").send(Note("x"), timeout=60)
            except AskCycle as error:
                chains.append(error.chain)

        @on(Ask)
        def answer(self, message: Ask) -> str:
            return "sender"

    chains: list[tuple[str, ...]] = []
    async with open_system() as system:
        tiny = await system.start("tiny", lambda: Tiny([]))
        sender = await system.start("sender", Sender)
        sender.tell(Wait(1))
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await tiny.ask(Forward(()), timeout=60))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await settled()
            tiny.tell(Note("fills it"))

        assert chains == [("sender", "tiny", "sender")]
        assert answers == ["sender"]


class Sit(Message, frozen=True):
    """Stay in this handler and do what comes through the channel."""


class Sitter(Actor):
    """Sits in one handler for as long as the test wants, and asks from there whom it is told to ask."""

    def __init__(self, orders: MemoryObjectReceiveStream[tuple[int, str]], said: dict[int, str]) -> None:
        self.orders = orders
        self.said = said

    @on(Sit)
    async def sit(self, message: Sit) -> None:
        with self.orders:
            async for number, target in self.orders:
                try:
                    self.said[number] = await self.context.system.ref(target).ask(Ask(), timeout=100)
                except AskError as error:
                    self.said[number] = type(error).__name__

    @on(Ask)
    def answer(self, message: Ask) -> str:
        return "answered"


SITTERS = 8

# Who answers at once, in whichever tier: asking it is no wait that lasts.
SPEEDY = 2


class Speedy(Actor):
    """Answers at once."""

    @on(Ask)
    def answer(self, message: Ask) -> str:
        return "answered"


# SEMANTICS Actors 6: no deadlock missed, no false alarm; chains of up to eight
@pytest.mark.parametrize("tier", TIERS)
@seed(20261121)
@settings(max_examples=80, deadline=None, database=None)
@given(
    waits=st.lists(
        st.tuples(st.integers(0, SITTERS - 1), st.integers(0, SITTERS + SPEEDY - 1)), min_size=1, max_size=16
    )
)
def test_in_any_graph_of_waits_no_deadlock_is_missed_and_no_alarm_is_false(
    tier: str, waits: list[tuple[int, int]]
) -> None:
    expected = _by_brute_force(waits)
    for backend in BACKENDS:
        assert run(backend, lambda: _begin_all(waits, tasks_only=tier == "task")) == expected, backend


def _by_brute_force(waits: list[tuple[int, int]]) -> dict[int, str]:
    edges: dict[int, int] = {}
    said: dict[int, str] = {}
    for number, (asker, target) in enumerate(waits):
        if asker in edges:
            continue  # it waits already
        at: int | None = target
        while at is not None and at != asker:
            at = edges.get(at)
        said[number] = "AskCycle" if at == asker else "answered"
        if at != asker and target < SITTERS:
            edges[asker] = target
    return said


async def _begin_all(waits: list[tuple[int, int]], *, tasks_only: bool) -> dict[int, str]:
    said: dict[int, str] = {}
    async with open_system(tasks_only=tasks_only) as system:
        for n in range(SITTERS, SITTERS + SPEEDY):
            await system.start(f"a{n}", Speedy)
        orders: list[MemoryObjectSendStream[tuple[int, str]]] = []
        for n in range(SITTERS):
            send, receive = anyio.create_memory_object_stream[tuple[int, str]](20)
            orders.append(send)
            sitter = await system.start(f"a{n}", lambda receive=receive: Sitter(receive, said))  # type: ignore[misc]
            sitter.tell(Sit())
        await settled()
        waiting: set[int] = set()
        for number, (asker, target) in enumerate(waits):
            if asker not in waiting:
                orders[asker].send_nowait((number, f"a{target}"))
                await settled()
                if number not in said:
                    waiting.add(asker)
        for send in orders:
            send.close()
        await settled()
        assert not any(slot.cell and slot.cell.waiting_for for slot in system.registry)
    return said
