"""The queue of a slot: its bound, its policies, and those who wait for room."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Ask, Fail, Note, Scribe, SlowScribe, Wait, dead_letters, keeper

from holdfast.runtime import (
    Actor,
    ActorGone,
    AskTimeout,
    DefinitionError,
    MailboxFull,
    MailboxSpec,
    SendTimeout,
    on,
)
from holdfast.runtime.mailbox import Mailbox, Notice, Policy
from holdfast.runtime.testing import both_backends, settled


class Small(Scribe):
    mailbox = MailboxSpec(capacity=4)


class SlowSmall(Small, SlowScribe):
    """The same, able to be busy."""


class Picky(Scribe):
    mailbox = MailboxSpec(capacity=2, policy="reject")


class Forgetful(Scribe):
    mailbox = MailboxSpec(capacity=2, policy="drop_oldest")


class SlowForgetful(Forgetful, SlowScribe):
    """The same, able to be busy."""


class Closed(Scribe):
    mailbox = MailboxSpec(capacity=2, policy="drop_newest")


# SEMANTICS Actors 4
def test_a_mailbox_is_bounded_at_1024_and_lets_senders_wait_unless_declared_otherwise() -> None:
    assert Actor.mailbox == MailboxSpec(capacity=1024, policy="wait", on_restart="keep")


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "9", None])
def test_a_capacity_that_holds_nothing_is_refused_when_it_is_written(capacity: object) -> None:
    with pytest.raises(DefinitionError, match=r"whole number of 1 or more, got"):
        MailboxSpec(capacity=capacity)  # type: ignore[arg-type]


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DefinitionError, match=r"wait, reject, drop_oldest, drop_newest, got 'block'"):
        MailboxSpec(policy="block")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"'keep' or 'discard', got 'maybe'"):
        MailboxSpec(on_restart="maybe")  # type: ignore[arg-type]


# SEMANTICS Actors 4
@every_tier
async def test_tell_on_a_full_mailbox_raises_and_loses_nothing_that_was_accepted() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("small", lambda: Small(log))
        for n in range(4):
            ref.tell(Note(str(n)))

        with pytest.raises(MailboxFull, match=r"small has 4 messages waiting, its bound"):
            ref.tell(Note("5th"))

        await settled()
        assert log == ["+1", "0", "1", "2", "3"]
        assert ref.slot.mailbox.refused == 1


@every_tier
async def test_reject_refuses_send_and_ask_at_once_too() -> None:
    async with open_system() as system:
        ref = await system.start("picky", lambda: Picky([]))
        ref.tell(Note("1"))
        ref.tell(Note("2"))

        with pytest.raises(MailboxFull):
            await ref.send(Note("3"))
        with pytest.raises(MailboxFull):
            await ref.ask(Ask())


# SEMANTICS Actors 4, 10
@every_tier
async def test_what_a_full_mailbox_drops_is_a_dead_letter_and_counted() -> None:
    old, new = list[str](), list[str]()
    async with open_system() as system:
        forgetful = await system.start("forgetful", lambda: Forgetful(old))
        closed = await system.start("closed", lambda: Closed(new))
        with dead_letters(system) as dead:
            for n in range(4):
                forgetful.tell(Note(str(n)))
                closed.tell(Note(str(n)))
            await settled()

        assert (old, new) == (["+1", "2", "3"], ["+1", "0", "1"])
        assert (
            sorted(dead)
            == [("Note", "mailbox full, the newest is dropped")] * 2
            + [("Note", "mailbox full, the oldest is dropped")] * 2
        )
        assert (forgetful.slot.mailbox.dropped, closed.slot.mailbox.dropped) == (2, 2)
        assert system.statistics().dead_letters == 4


# SEMANTICS Actors 4
@both_backends
async def test_an_ask_that_is_dropped_fails_at_once_with_the_full_mailbox() -> None:
    async with open_system() as system:
        forgetful = await system.start("forgetful", lambda: SlowForgetful([]))
        forgetful.tell(Wait(1))
        await settled()
        failures: list[BaseException] = []

        async def ask() -> None:
            try:
                await forgetful.ask(Ask())
            except MailboxFull as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await settled()
            started = system.now()
            forgetful.tell(Note("1"))
            forgetful.tell(Note("2"))
            await settled()
            assert len(failures) == 1
            assert system.now() - started < 0.1


# SEMANTICS Actors 4
@both_backends
async def test_send_waits_for_room_and_is_served_first_come_first_served() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("small", lambda: SlowSmall(log))
        ref.tell(Wait(1))
        await settled()

        async def send(n: int) -> None:
            await ref.send(Note(str(n)))

        async with anyio.create_task_group() as tasks:
            for n in range(30):
                tasks.start_soon(send, n)
                await settled()

        await settled()
        assert log == ["+1", "busy", "done", *(str(n) for n in range(30))]


# SEMANTICS Actors 4: woken in bulk
@both_backends
async def test_senders_are_let_in_together_once_the_mailbox_is_half_empty() -> None:
    class Eight(SlowScribe):
        mailbox = MailboxSpec(capacity=8)

    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("eight", lambda: Eight(log))
        ref.tell(Wait(1))
        await settled()
        for _ in range(8):
            ref.tell(Wait(1))
        arrived: list[float] = []
        start = system.now()

        async def send(n: int) -> None:
            await ref.send(Note(str(n)), timeout=60)
            arrived.append(round(system.now() - start, 3))

        async with anyio.create_task_group() as tasks:
            for n in range(4):
                tasks.start_soon(send, n)

        assert arrived == [5.0] * 4


@both_backends
async def test_a_cancelled_sender_has_sent_nothing_and_passes_its_room_on() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("small", lambda: SlowSmall(log))
        ref.tell(Wait(1))
        await settled()
        for n in range(4):
            ref.tell(Note(str(n)))
        scopes = [anyio.CancelScope() for _ in range(4)]

        async def send(n: int) -> None:
            with scopes[n]:
                await ref.send(Note(f"sent {n}"))

        async with anyio.create_task_group() as tasks:
            for n in range(4):
                tasks.start_soon(send, n)
                await settled()
            scopes[0].cancel()
            scopes[2].cancel()

        await settled()
        assert log[3:] == ["0", "1", "2", "3", "sent 1", "sent 3"]


@both_backends
async def test_a_send_finds_the_room_that_comes_free_while_a_batch_of_slow_handlers_runs() -> None:
    async with open_system() as system:
        ref = await system.start("small", lambda: SlowSmall([]))
        for _ in range(4):
            ref.tell(Wait(2))
        start = system.now()

        await ref.send(Note("let in"), timeout=5)

        assert system.now() - start == pytest.approx(4.0)


@both_backends
async def test_a_send_gives_up_when_no_room_came_in_time() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("small", lambda: SlowSmall(log))
        ref.tell(Wait(10))
        await settled()
        for _ in range(4):
            ref.tell(Note("x"))
        start = system.now()

        with pytest.raises(SendTimeout, match=r"small had no room for a message within 2 s"):
            await ref.send(Note("late"), timeout=2)
        with pytest.raises(AskTimeout, match=r"small did not answer Ask within 2 s"):
            await ref.ask(Ask("late"), timeout=2)

        assert system.now() - start == pytest.approx(4)
        assert not ref.slot.mailbox.senders, "who gave up stands in line no more"
        await anyio.sleep(20)
        assert "late" not in log


# SEMANTICS Actors 4: a send has the deadline of the question being handled
@both_backends
async def test_a_send_waits_no_longer_than_the_question_being_handled_may_take() -> None:
    class Sender(Actor):
        @on(Ask)
        async def answer(self, message: Ask) -> str:
            start = self.context.now()
            try:
                await self.context.system.ref("small").send(Note("x"), timeout=60)
            except SendTimeout:
                waited.append(self.context.now() - start)
            return "never read"

    waited: list[float] = []
    async with open_system() as system:
        small = await system.start("small", lambda: SlowSmall([]))
        sender = await system.start("sender", Sender)
        small.tell(Wait(100))
        await settled()
        for _ in range(4):
            small.tell(Note("x"))

        with pytest.raises(AskTimeout):
            await sender.ask(Ask(), timeout=1.5)
        await settled()

        assert waited == [pytest.approx(1.5)]


# SEMANTICS Actors 3, 5: closed under a waiting sender
@both_backends
async def test_a_mailbox_that_closes_under_waiting_senders_refuses_them_at_once() -> None:
    failures: list[BaseException] = []
    async with open_system() as system:
        ref = await system.start("small", lambda: SlowSmall([]))
        ref.tell(Wait(3))
        await settled()
        for _ in range(4):
            ref.tell(Note("x"))

        async def send() -> None:
            try:
                await ref.send(Note("y"), timeout=60)
            except ActorGone as error:
                failures.append(error)

        async def ask() -> None:
            try:
                await ref.ask(Ask(), timeout=60)
            except ActorGone as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            tasks.start_soon(ask)
            await settled()
            cell = ref.slot.cell
            assert cell is not None
            cell.request_stop(final=True)
            await settled()
            assert len(failures) == 2
            assert not cell.ended, "they need not wait for the drain"


@every_tier
async def test_waiting_senders_are_let_in_by_the_successor() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("small", lambda: Small(log))
        cell.slot.ref.tell(Fail())
        for n in range(3):
            cell.slot.ref.tell(Note(str(n)))

        async def send(n: int) -> None:
            await cell.slot.ref.send(Note(str(n)), timeout=60)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, 3)
            await settled()
            await parent.start("small", lambda: Small(log))

        await settled()
        assert log == ["+1", "-crash(Boom: told to)", "+2", "0", "1", "2", "3"]


@every_tier
async def test_a_tell_to_oneself_in_a_loop_does_not_starve_others() -> None:
    class Spinner(Actor):
        @on(Note)
        def spin(self, message: Note) -> None:
            spins.append(1)
            if not stop:
                self.context.ref.tell(message)

    spins: list[int] = []
    stop: list[bool] = []
    async with open_system() as system:
        spinner = await system.start("spinner", Spinner)
        scribe = await system.start("scribe", lambda: Scribe([]))
        spinner.tell(Note("round"))

        assert await scribe.ask(Ask("hello")) == "hello"
        stop.append(True)
        assert len(spins) < 5000


def mailbox(capacity: int, policy: Policy) -> tuple[Mailbox, list[object]]:
    made = Mailbox("m")
    made.configure(MailboxSpec(capacity=capacity, policy=policy))
    made.keeper = kept = Kept()
    return made, kept.dropped


class Kept:
    def __init__(self) -> None:
        self.dropped: list[object] = []

    def drop(self, item: object, why: str) -> None:
        self.dropped.append(item)


# SEMANTICS Actors 4: what the runtime posts is outside the bound
@given(
    st.lists(st.sampled_from(["tell", "post", "take", "close", "reopen"]), max_size=60),
    st.integers(1, 4),
    st.sampled_from(["reject", "drop_oldest", "drop_newest"]),
)
def test_the_bound_holds_for_users_and_never_for_the_runtime(
    steps: list[str], capacity: int, policy: Policy
) -> None:
    box, dropped = mailbox(capacity, policy)
    told = posted = refused = taken = 0
    for step in steps:
        if step == "tell":
            told += 1
            try:
                box.tell(told)
            except MailboxFull:
                refused += 1
        elif step == "post":
            posted += 1
            box.post(Notice(posted, None))
        elif step == "take" and box.queue:
            taken += 1
            if isinstance(box.queue.popleft(), Notice):
                box.settle()
        elif step == "close":
            box.close()
        elif step == "reopen":
            box.reopen()
        users = [item for item in box.queue if not isinstance(item, Notice)]
        assert len(users) <= capacity
        assert told + posted == refused + taken + len(dropped) + box.depth
        assert not any(isinstance(item, Notice) for item in dropped)
        if not box.closed:
            assert box.full == (len(users) == capacity)
