"""Traps 5 to 11: half-stopped groups, stale notices, cancellations, groups of exceptions, kills, orphans.

Each check runs on ours, and must fail on what is naive; where cancellation or time
is involved, on both backends.
"""

from __future__ import annotations

import anyio
import pytest
from tests.conformance.naive import PlainSupervisor, judged_by_type, stop_all
from tests.runtime.cast import events_of, keeper
from tests.supervisors.crew import Crew
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import Actor, Crash, Message, Outcome, Shutdown, System, TaskWedged, on, open_system
from holdfast.runtime.backend import current_backend
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import Budget, supervisor
from holdfast.supervisors.plan import ChildEnded


def all_are_stopped_last_first(stopped: list[str]) -> None:
    assert stopped == ["-c", "-b", "-a"], f"stopped in reverse, whatever one makes of it: {stopped}"


# trap 5
@both_backends
async def test_a_stop_that_fails_does_not_spare_the_others() -> None:
    async with open_system() as system:
        crew = Crew()
        top = await crew.start(system, *crew.members("abc"))
        crew.stop_raises.add("b")
        await top.stop()
        all_are_stopped_last_first([event.partition(":")[0] for event in crew.take()])

    stopped: list[str] = []

    async def stop(name: str) -> None:
        await anyio.sleep({"a": 3, "b": 2, "c": 1}[name])
        if name == "b":
            raise ValueError(name)
        stopped.append(f"-{name}")

    with pytest.raises(BaseExceptionGroup):
        await stop_all([lambda: stop("a"), lambda: stop("b"), lambda: stop("c")])
    with pytest.raises(AssertionError, match="in reverse"):
        all_are_stopped_last_first(stopped)


class OursByIncarnation:
    def __init__(self) -> None:
        self.stage = Stage(supervisor("top", child("a"), budget=Budget(100, 5.0))).boot()

    def ended(self, name: str, incarnation: int) -> None:
        if self.stage.running.get(name) == incarnation:
            del self.stage.running[name]
        self.stage.hear(ChildEnded(name, incarnation, CRASH))

    @property
    def starts(self) -> int:
        return self.stage.starts["a"] - 1


def one_death_is_one_restart(subject: OursByIncarnation | PlainSupervisor) -> None:
    subject.ended("a", 1)
    subject.ended("a", 1)  # the notice again, of the incarnation that is gone
    assert subject.starts == 1, "a stale notice restarted a child that runs"


# trap 6
def test_a_stale_notice_restarts_nobody() -> None:
    one_death_is_one_restart(OursByIncarnation())
    with pytest.raises(AssertionError, match="stale"):
        one_death_is_one_restart(PlainSupervisor())


class Misbehave(Message, frozen=True):
    """Wait, and make of a cancellation what `how` says; or raise."""

    how: str


class Body(Actor):
    """What actors do when they are cancelled, or cancelled by nobody."""

    @on(Misbehave)
    async def misbehave(self, message: Misbehave) -> None:
        await body(message.how)


async def body(how: str) -> None:
    if how == "group":
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
    elif how == "stray":
        raise await a_cancellation()
    elif how == "shield":
        with anyio.CancelScope(shield=True):
            await anyio.sleep(30.0)
    else:
        try:
            await anyio.sleep_forever()
        except BaseException:
            if how == "raise":
                raise KeyError(how) from None
            if how == "polite":
                raise


async def fail() -> None:
    raise ValueError("alone")


async def a_cancellation() -> BaseException:
    """Return a cancellation that somebody else was meant for."""
    stored: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except current_backend().cancelled as error:
            stored.append(error)
            raise
    return stored[0]


async def ours(how: str, *, kill: bool) -> Outcome | None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("body", Body)
        cell.slot.ref.tell(Misbehave(how))
        await settled()
        if kill:
            cell.kill()
        outcome = await cell.wait_ended(5.0)
        assert system.ref("keeper").slot.running, "nobody else is touched"
        return outcome


async def by_type(how: str, *, kill: bool) -> Outcome | None:
    caught: BaseException | None = None

    async def child_task() -> None:
        nonlocal caught
        try:
            await body(how)
        except BaseException as error:
            caught = error

    async with anyio.create_task_group() as group:
        group.start_soon(child_task)
        await settled()
        if kill:
            group.cancel_scope.cancel()
    return judged_by_type(caught, current_backend().cancelled)


def all_the_same(outcomes: list[Outcome | None]) -> None:
    names = {type(outcome).__name__ for outcome in outcomes}
    assert names == {"Killed"}, f"three bodies, one request, {names}"


# trap 7
@both_backends
async def test_an_end_is_judged_by_what_was_requested() -> None:
    all_the_same([await ours(how, kill=True) for how in ("polite", "raise", "swallow")])
    naive = [await by_type(how, kill=True) for how in ("polite", "raise", "swallow")]
    with pytest.raises(AssertionError, match="three bodies"):
        all_the_same(naive)


def is_a_crash(outcome: Outcome | None) -> None:
    assert isinstance(outcome, Crash), f"nobody had asked for that cancellation: {outcome}"


# trap 8
@both_backends
async def test_a_cancellation_that_nobody_requested_is_a_crash() -> None:
    is_a_crash(await ours("stray", kill=False))
    naive = await by_type("stray", kill=False)
    assert isinstance(naive, Shutdown)
    with pytest.raises(AssertionError, match="nobody had asked"):
        is_a_crash(naive)


def is_the_error_itself(outcome: Outcome | None) -> None:
    assert isinstance(outcome, Crash)
    assert isinstance(outcome.exception, ValueError), "a table by type of exception would miss it"


# trap 9
@both_backends
async def test_a_group_of_one_is_the_one() -> None:
    is_the_error_itself(await ours("group", kill=False))
    naive = await by_type("group", kill=False)
    with pytest.raises(AssertionError, match="would miss"):
        is_the_error_itself(naive)


def came_back(seconds: float) -> None:
    assert seconds <= 2.0, f"whoever stops is pinned for {seconds:g} s"


# trap 10
@both_backends
async def test_what_shields_itself_pins_nobody_and_is_reported() -> None:
    async with open_system(kill_grace=1.0, stop_deadline=100.0) as system:
        parent = await keeper(system)
        cell = await parent.start("body", Body)
        cell.slot.ref.tell(Misbehave("shield"))
        await settled()
        with events_of(system, TaskWedged) as wedged:
            began = system.now()
            await cell.stop(0.5, final=True)
        came_back(system.now() - began)
        assert len(wedged) == 1
        await anyio.sleep(60.0)

    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(body, "shield")
        await settled()
        group.cancel_scope.cancel()
    with pytest.raises(AssertionError, match="pinned"):
        came_back(anyio.current_time() - began)


class Tick(Message, frozen=True):
    """What a timer sends."""


class Ticker(Actor):
    """Sets a timer at its first start, in the runtime's way or with a task of its own making."""

    def __init__(self, log: list[int], outside: anyio.abc.TaskGroup | None) -> None:
        self.log = log
        self.outside = outside

    async def on_start(self) -> None:
        if self.context.incarnation > 1:
            return
        if self.outside is None:
            self.context.after(1.0, Tick())
        else:
            self.outside.start_soon(self.send_later)

    async def send_later(self) -> None:
        await anyio.sleep(1.0)
        self.context.ref.tell(Tick())

    @on(Tick)
    def tick(self, message: Tick) -> None:
        self.log.append(self.context.incarnation)


async def ticks_after_a_restart(system: System, name: str, outside: anyio.abc.TaskGroup | None) -> list[int]:
    log: list[int] = []
    parent = await keeper(system, name)
    cell = await parent.start("ticker", lambda: Ticker(log, outside))
    await cell.stop(1.0, final=False)
    await parent.start("ticker", lambda: Ticker(log, outside))
    await anyio.sleep(2.0)
    return log


def nothing_reaches_the_successor(log: list[int]) -> None:
    assert log == [], "a timer of a dead incarnation reached its successor"


# trap 11
@both_backends
async def test_what_an_incarnation_has_started_ends_with_it() -> None:
    async with open_system() as system, anyio.create_task_group() as outside:
        nothing_reaches_the_successor(await ticks_after_a_restart(system, "ours", None))
        naive = await ticks_after_a_restart(system, "naive", outside)
        with pytest.raises(AssertionError, match="dead incarnation"):
            nothing_reaches_the_successor(naive)
