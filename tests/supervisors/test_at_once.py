"""What takes no turn of the scheduler: starts, stops of the idle, a successor in the same task."""

from __future__ import annotations

from contextvars import ContextVar

import anyio
import anyio.lowlevel
from tests.runtime.cast import Fail, Note, Scribe, keeper

from holdfast.runtime import KILLED, SHUTDOWN, Actor, Message, Request, System, on, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    Budget,
    Strategy,
    SupervisorHandle,
    start_tree,
    supervisor,
    worker,
)

PLENTY = Budget(intensity=1_000_000, period=1.0)

color: ContextVar[str] = ContextVar("color", default="none")


class Paint(Message, frozen=True):
    """Set the variable."""

    name: str


class Color(Request[str], frozen=True):
    """What the variable says."""


class Where(Request[int], frozen=True):
    """Which task it is."""


class Painter(Actor):
    """Sees and sets a context variable, in a task of its own."""

    tier = "task"

    @on(Paint)
    def paint(self, message: Paint) -> None:
        color.set(message.name)

    @on(Color)
    def which(self, message: Color) -> str:
        return color.get()

    @on(Where)
    def where(self, message: Where) -> int:
        return anyio.get_current_task().id

    @on(Fail)
    def fail(self, message: Fail) -> None:
        raise ValueError("told to")


class Hooked(Scribe):
    """Has a stop hook, which a task of its own runs."""

    tier = "task"


class Primed(Painter):
    """Sets the variable in its start hook."""

    def on_start(self) -> None:
        color.set("primed")


class SlowStarter(Painter):
    """Takes a second to start, save the first time."""

    started = 0

    async def on_start(self) -> None:
        type(self).started += 1
        if type(self).started > 1:
            await anyio.sleep(1.0)


async def painters(system: System, *kinds: type[Actor]) -> SupervisorHandle:
    children = [worker(f"child{number}", kind) for number, kind in enumerate(kinds)]
    return await start_tree(system, supervisor("top", *children, budget=PLENTY))


@both_backends
async def test_a_successor_goes_on_in_the_task_of_its_predecessor() -> None:
    async with open_system() as system:
        await painters(system, Painter)
        ref = system.ref("top/child0")
        first = await ref.ask(Where())
        ref.tell(Fail())

        assert await ref.ask(Where()) == first
        assert ref.slot.incarnation == 2
        assert system.tasks == 2


@both_backends
async def test_a_successor_finds_no_variable_that_its_predecessor_has_set() -> None:
    async with open_system() as system:
        await painters(system, Painter)
        ref = system.ref("top/child0")
        first = await ref.ask(Where())
        ref.tell(Paint("red"))
        assert await ref.ask(Color()) == "red"
        ref.tell(Fail())

        assert await ref.ask(Color()) == "none"
        assert await ref.ask(Where()) != first


@both_backends
async def test_what_a_start_hook_sets_is_seen_by_its_handlers_and_by_nobody_else() -> None:
    async with open_system() as system:
        await painters(system, Primed, Painter)
        primed, sibling = system.ref("top/child0"), system.ref("top/child1")
        for _ in range(3):
            assert await primed.ask(Color()) == "primed"
            assert await sibling.ask(Color()) == "none"
            primed.tell(Fail())
            sibling.tell(Fail())
        assert color.get() == "none"


# R11: what has begun is done before anything else is handled
@both_backends
async def test_mail_of_the_supervisor_waits_for_a_restart_that_takes_its_time() -> None:
    SlowStarter.started = 0
    async with open_system() as system:
        handle = await painters(system, SlowStarter)
        system.ref("top/child0").tell(Fail())
        await settled()
        assert system.ref("top/child0").slot.state == "starting"
        before = system.now()
        (child,) = await handle.which_children()

        assert system.now() - before > 0.9
        assert (child.state, child.incarnation) == ("running", 2)


# S-A11
@both_backends
async def test_a_crash_loop_leaves_others_their_turns() -> None:
    async with open_system() as system:
        await painters(system, Painter)
        ref = system.ref("top/child0")
        turns = 0
        for _ in range(800):
            ref.tell(Fail())
        while ref.slot.mailbox.queue:
            await anyio.lowlevel.checkpoint()
            turns += 1

        assert ref.slot.incarnation == 801
        assert turns >= 100


@both_backends
async def test_an_idle_actor_ends_at_once_and_its_mail_reaches_the_successor() -> None:
    log: list[str] = []

    class Idle(Scribe):
        on_stop = Actor.on_stop

    async with open_system() as system:
        parent = await keeper(system)
        first = await parent.start("idle", lambda: Idle(log))
        await settled()
        tasks = system.tasks
        assert first.stop_at_once(final=False)
        assert first.outcome == SHUTDOWN
        second = await parent.start("idle", lambda: Idle(log))
        await settled()
        second.slot.ref.tell(Note("late"))
        await settled()

        assert log[-1] == "late"
        assert system.tasks == tasks, "the task of the first has ended"
        assert not parent.ended, "it was asked to"


@both_backends
async def test_one_with_mail_or_a_stop_hook_is_asked_and_waited_for() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        hooked = await parent.start("hooked", lambda: Hooked([]))
        await settled()
        assert not hooked.stop_at_once(final=False)

        busy = await parent.start("busy", Painter)
        await settled()
        busy.slot.ref.tell(Paint("red"))
        assert not busy.stop_at_once(final=True)
        assert await busy.stop(1.0, final=True) == SHUTDOWN
        assert busy.slot.handled == 2, "R22: what came before is handled, and the mark of the stop"


@both_backends
async def test_one_that_is_killed_before_its_task_had_a_turn_handles_nothing() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = parent.context.open_cell("victim", Painter)
        assert cell.begin()
        cell.slot.ref.tell(Paint("red"))
        cell.kill()

        assert await cell.wait_ended() == KILLED
        assert cell.slot.handled == 0


# R11
@both_backends
async def test_an_end_while_the_supervisor_is_busy_waits_for_its_turn() -> None:
    SlowStarter.started = 0
    async with open_system() as system:
        await painters(system, SlowStarter, Painter)
        system.ref("top/child0").tell(Fail())
        await settled()
        system.ref("top/child1").tell(Fail())
        await settled()
        assert system.ref("top/child0").slot.state == "starting"
        assert system.ref("top/child1").slot.state == "down"

        await anyio.sleep(1.5)
        assert [system.ref(f"top/child{n}").slot.incarnation for n in (0, 1)] == [2, 2]
        assert system.ref("top/child0").slot.running


# S-A11
@both_backends
async def test_a_large_group_restart_leaves_others_their_turns() -> None:
    async with open_system() as system:
        children = [worker(f"child{number}", Painter) for number in range(320)]
        await start_tree(system, supervisor("top", *children, strategy=Strategy.ONE_FOR_ALL, budget=PLENTY))
        await settled()
        last = system.ref("top/child319").slot
        system.ref("top/child0").tell(Fail())
        turns = 0
        while not (last.incarnation == 2 and last.running):
            await anyio.lowlevel.checkpoint()
            turns += 1

        assert turns >= 2 * 320 // 16
        assert system.ref("top/child0").slot.incarnation == 2


@both_backends
async def test_no_task_is_left_of_those_that_ended_at_once() -> None:
    for _ in range(20):  # trio gives its turns in random order
        async with open_system() as system:
            await painters(system, *[Painter] * 5)
            await settled()
        assert system.tasks_left == 0
