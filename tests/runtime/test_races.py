"""The kernel under attack: tells, sends and asks race cancels, kills, stops, crashes, suspends and drains.

Whole runs are driven by one number, drawn by Hypothesis; everything in a run is
decided by it, so that a failing run is its number.  What must hold in each:

* no message is lost or doubled: what was accepted was handled once or is a dead letter;
* per sender and receiver the order is kept, over every restart;
* nothing is handled after a stop, a kill or an end, nor while the mail is held back;
* every ask ends exactly once, and not after its deadline;
* nothing is left behind: no task, no deadline, no wait, no wrong bound.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tests.runtime.cast import Boom, Keeper, keeper

from holdfast.runtime import (
    Actor,
    ActorCrashed,
    ActorGone,
    AskTimeout,
    Cell,
    DeadLetter,
    Event,
    MailboxFull,
    MailboxSpec,
    Message,
    Ref,
    Request,
    SendTimeout,
    System,
    on,
    open_system,
)
from holdfast.runtime.mailbox import Notice
from holdfast.runtime.testing import run

SENDERS = 4
ACTORS = 2


class Told(Message, frozen=True):
    """A numbered message; it may take time, crash, or swallow its own cancellation."""

    sender: int
    number: int
    seconds: float = 0
    crash: bool = False


class Asked(Request[int], frozen=True):
    """The same, with an answer."""

    sender: int
    number: int
    seconds: float = 0
    crash: bool = False


class Ledger:
    """What happened in a run."""

    def __init__(self) -> None:
        self.accepted = 0
        self.begun: list[tuple[str, int, int]] = []
        self.completed: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        self.asks = 0
        self.ends = 0

    def hear(self, event: Event) -> None:
        if isinstance(event, DeadLetter):
            self.dead[event.message_type] += 1

    def check(self) -> None:
        assert len(set(self.begun)) == len(self.begun), "a message was handled twice"
        assert self.accepted == self.completed["Told"] + self.dead["Told"], "a message was lost or doubled"
        assert self.asks == self.ends
        for path in {path for path, _, _ in self.begun}:
            for sender in range(SENDERS):
                numbers = [n for at, by, n in self.begun if (at, by) == (path, sender)]
                assert numbers == sorted(numbers), "the order of a sender was not kept"


class Target(Actor):
    """Handles what comes and checks that it may; nothing of it waits, so it lives in either tier."""

    mailbox = MailboxSpec(capacity=3)

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    @on(Told)
    def told(self, message: Told) -> Awaitable[None] | None:
        self._begin(message)
        self._complete(message)
        return None

    @on(Asked)
    def asked(self, message: Asked) -> int | Awaitable[int]:
        self._begin(message)
        self._complete(message)
        return message.number

    def _begin(self, message: Told | Asked) -> None:
        cell = self.context.cell
        assert not cell.ended, "handled after the end"
        assert not cell.loop.killed, "handled after a kill"
        assert not cell.loop._stop_now, "handled after a stop for a restart"
        assert not cell.suspended, "handled while the mail was held back"
        assert cell.slot.cell is cell, "handled by one who has left the slot"
        self.ledger.begun.append((self.context.path, message.sender, message.number))

    def _complete(self, message: Told | Asked) -> None:
        if message.crash:
            raise Boom("told to")
        self.ledger.completed[type(message).__name__] += 1


class SlowTarget(Target):
    """The same, and takes its time in every handler and for its drain."""

    @on(Told)
    async def told(self, message: Told) -> None:
        await self._handle(message)

    @on(Asked)
    async def asked(self, message: Asked) -> int:
        await self._handle(message)
        return message.number

    async def _handle(self, message: Told | Asked) -> None:
        self._begin(message)
        if message.seconds:
            await anyio.sleep(message.seconds)
        self._complete(message)

    async def on_drain(self) -> None:
        await anyio.sleep(0.01)


# A task of its own for what waits and for what does not, and none.
KINDS: dict[str, tuple[type[Target], bool]] = {
    "taskless": (Target, False),
    "task": (Target, True),
    "task that waits": (SlowTarget, False),
}


class Sender:
    """One who sends numbered messages in every way there is, and is cancelled at times."""

    def __init__(self, index: int, refs: list[Ref], ledger: Ledger, dice: random.Random) -> None:
        self.index = index
        self.refs = refs
        self.ledger = ledger
        self.dice = dice

    async def send_all(self, count: int) -> None:
        for number in range(count):
            if self.dice.random() < 0.5:
                await anyio.sleep(self.dice.choice([0, 0, 0.01, 0.1]))
            ref = self.dice.choice(self.refs)
            patience = self.dice.choice([0.0, 0.05, 0.5, 90.0])
            with anyio.move_on_after(patience):
                await self._send(ref, number)

    async def _send(self, ref: Ref, number: int) -> None:
        seconds = self.dice.choice([0, 0, 0, 0.02, 0.3])
        crash = self.dice.random() < 0.05
        told = Told(self.index, number, seconds, crash)
        way = self.dice.random()
        if way < 0.4:
            try:
                ref.tell(told)
            except MailboxFull:
                return
            self.ledger.accepted += 1
        elif way < 0.7:
            try:
                await ref.send(told, timeout=self.dice.choice([0.2, 5.0]))
            except (SendTimeout, ActorGone):
                return
            self.ledger.accepted += 1
        else:
            await self._ask(ref, Asked(self.index, number, seconds, crash))

    async def _ask(self, ref: Ref, question: Asked) -> None:
        now = ref.slot.system.now
        timeout = self.dice.choice([0.1, 2.0])
        started = now()
        self.ledger.asks += 1
        try:
            assert await ref.ask(question, timeout=timeout) == question.number
        except (AskTimeout, ActorGone, ActorCrashed):
            pass
        finally:
            self.ledger.ends += 1
            assert now() - started <= timeout + 1e-6, "an ask ended after its deadline"


async def disturb(
    parent: Keeper, name: str, factory: Callable[[], Target], dice: random.Random, rounds: int
) -> None:
    """End the actor in every way there is and start its successor, now and then for good."""
    cell = await parent.start(name, factory)
    for _ in range(rounds):
        await anyio.sleep(dice.choice([0, 0.01, 0.05, 0.4]))
        if cell.ended:
            cell = await parent.start(name, factory)
        await _one_disturbance(cell, dice)
    if cell.ended:
        cell = await parent.start(name, factory)
    cell.resume()
    await cell.wait_ended(20)
    await cell.stop(dice.choice([0, 1, 500]), final=True)


async def _one_disturbance(cell: Cell, dice: random.Random) -> None:
    match dice.choice(["kill", "restart", "final", "suspend", "resume", "drain", "none", "abandoned stop"]):
        case "kill":
            await cell.stop(0, final=False)
        case "restart":
            await cell.stop(dice.choice([0.01, 5]), final=False)
        case "final":
            await cell.stop(dice.choice([0.01, 5]), final=True)
        case "suspend":
            cell.suspend()
        case "resume":
            cell.resume()
        case "drain":
            with anyio.move_on_after(dice.choice([0, 0.005, 1])):
                await cell.drain()
            if dice.random() < 0.7:
                cell.resume()
        case "abandoned stop":
            with anyio.move_on_after(0.001):
                await cell.stop(5, final=dice.random() < 0.5)
        case _:
            pass


async def one_run(number: int, kind: str = "task that waits") -> Ledger:
    """Play the run of this number."""
    dice = random.Random(number)
    ledger = Ledger()
    target, tasks_only = KINDS[kind]
    async with open_system(tasks_only=tasks_only) as system:
        system.events.call(ledger.hear)
        parent = await keeper(system)
        names = [f"target{n}" for n in range(ACTORS)]
        refs = [system.ref(f"keeper/{name}") for name in names]
        async with anyio.create_task_group() as tasks:
            for name in names:
                dicing = random.Random(dice.random())
                tasks.start_soon(disturb, parent, name, lambda: target(ledger), dicing, 12)
            for index in range(SENDERS):
                sender = Sender(index, refs, ledger, random.Random(dice.random()))
                tasks.start_soon(sender.send_all, 25)
        await anyio.sleep(200)
        for name in names:
            cell = system.ref(f"keeper/{name}").slot.cell
            if cell is not None:
                cell.resume()
                await cell.stop(1000, final=True)
        system.registry.close_below("keeper/target0")
        system.registry.close_below("keeper/target1")
        _nothing_is_left(system, refs)
    assert system.tasks == 0
    return ledger


def _nothing_is_left(system: System, refs: list[Ref]) -> None:
    assert len(system.deadlines) == 0
    assert system.tasks == 1
    for ref in refs:
        mailbox = ref.slot.mailbox
        assert not mailbox.senders
        assert mailbox.depth == 0
        mailbox.reopen()
        notices = sum(isinstance(item, Notice) for item in mailbox.queue)
        assert mailbox.limit == mailbox.capacity + notices, "the bound has drifted"
        mailbox.close()
    for slot in system.registry:
        assert slot.cell is None or not slot.cell.waiting_for


# SEMANTICS Actors 2-7; KERNEL "Cancellation safety"; R22; traps 7, 11, 13, 15
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@seed(20261121)
@settings(max_examples=80, deadline=None, database=None)
@given(number=st.integers(0, 2**32))
def test_no_message_is_lost_doubled_or_handled_after_a_stop(backend: str, kind: str, number: int) -> None:
    async def bounded() -> Ledger:
        with anyio.fail_after(100_000):
            return await one_run(number, kind)

    run(backend, bounded, seed=number).check()


def test_a_lost_message_would_be_found() -> None:
    ledger = Ledger()
    ledger.accepted = 2
    ledger.completed["Told"] = 1

    with pytest.raises(AssertionError, match="lost"):
        ledger.check()
