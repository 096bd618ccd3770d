"""How long a handler may take: reported when slow, failed when hung, on both backends in virtual time."""

from __future__ import annotations

from typing import Any, ClassVar

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.cast import Keeper, dead_letters, events_of, keeper

from holdfast.runtime import (
    UNWATCHED,
    Actor,
    ActorCrashed,
    ActorEnded,
    Crash,
    CrashReported,
    HandlerSlow,
    InvalidLiveness,
    LivenessSpec,
    Message,
    Request,
    System,
    TaskWedged,
    Unresponsive,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, run, settled
from holdfast.runtime.vigil import REPORTS_MAX, SWEEP


class Rest(Message, frozen=True):
    """Wait for so many seconds; `secret` is nobody's business."""

    seconds: float
    secret: str = "hunter2"


class Inquire(Request[str], frozen=True):
    """Answer after so many seconds."""

    seconds: float


class Stubborn(Message, frozen=True):
    """Wait for so many seconds and let nobody cut it short."""

    seconds: float


class Sleeper(Actor):
    """Sleeps in its handlers."""

    liveness: ClassVar[LivenessSpec | None] = LivenessSpec(slow=2.0, hung=10.0)

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def on_start(self) -> None:
        self.log.append(f"+{self.context.incarnation}")

    async def on_stop(self, outcome: object) -> None:
        self.log.append(f"-{outcome}")

    @on(Rest)
    async def rest(self, message: Rest) -> None:
        await anyio.sleep(message.seconds)
        self.log.append(f"rested {message.seconds:g}")

    @on(Inquire)
    async def inquire(self, message: Inquire) -> str:
        await anyio.sleep(message.seconds)
        return "answer"

    @on(Stubborn)
    async def be_stubborn(self, message: Stubborn) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(message.seconds)


@attrs.define
class Scene:
    """A sleeper under a keeper, and what is told of it."""

    system: System
    keeper: Keeper
    log: list[str]
    slow: list[HandlerSlow]

    async def sleeper(self, **limits: Any) -> None:
        cell = self.keeper.context.open_cell("sleeper", lambda: Sleeper(self.log), **limits)
        await cell.start()

    def tell(self, message: Message) -> None:
        self.system.ref("keeper/sleeper").tell(message)


async def scene(system: System) -> Scene:
    made = Scene(system, await keeper(system), [], [])

    def collect(event: object) -> None:
        if isinstance(event, HandlerSlow):
            made.slow.append(event)

    system.events.call(collect)
    return made


# S-A7
@both_backends
async def test_a_hung_handler_is_failed_exactly_at_its_limit() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        await anyio.sleep(0.7)
        began = system.now()
        with dead_letters(system) as dead, events_of(system, ActorEnded, CrashReported) as told:
            stage.tell(Rest(1000.0))
            await anyio.sleep(9.999)
            assert told == []
            await anyio.sleep(0.002)
            assert dead == [("Rest", "being handled when the actor ended")]

        report, ended = told
        assert isinstance(report, CrashReported)
        assert isinstance(ended, ActorEnded)
        assert ended.at == pytest.approx(began + 10.0, abs=1e-9)
        assert report.message_type == "Rest"
        assert "in rest" in report.traceback
        assert "hunter2" not in str(told)
        (notice,) = stage.keeper.ended
        assert isinstance(notice.outcome, Crash)
        error = notice.outcome.exception
        assert isinstance(error, Unresponsive)
        assert (error.path, error.message_type) == ("keeper/sleeper", "Rest")
        assert error.seconds == pytest.approx(10.0)
        assert stage.log == ["+1"], "no stop hook, as at a kill"


# S-A7
@both_backends
async def test_the_asker_of_a_hung_handler_fails_at_once_and_the_mail_waits_for_the_successor() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        began = system.now()

        async def ask() -> None:
            with pytest.raises(ActorCrashed, match="Inquire for 10 s"):
                await system.ref("keeper/sleeper").ask(Inquire(1000.0), timeout=100.0)
            assert system.now() - began == pytest.approx(10.0)

        async with anyio.create_task_group() as asking:
            asking.start_soon(ask)
            await settled()
            stage.tell(Rest(1.0))
        await stage.sleeper()
        await anyio.sleep(1.5)
        assert stage.log == ["+1", "+2", "rested 1"]


# S-A7
@both_backends
async def test_a_slow_handler_is_reported_with_its_stack_and_goes_on() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        stage.tell(Rest(3.9))
        await anyio.sleep(5.0)
        stage.tell(Rest(1.9))
        await anyio.sleep(5.0)

        assert stage.log == ["+1", "rested 3.9", "rested 1.9"]
        (event,) = stage.slow
        assert (event.path, event.incarnation, event.message_type) == ("keeper/sleeper", 1, "Rest")
        assert (event.report, event.limit) == (1, 10.0)
        assert event.seconds == pytest.approx(2.0)
        assert "in rest" in event.stack
        assert str(event).endswith("in rest"), "and not where the event loop waits"
        assert "hunter2" not in event.stack


# S-A7
@both_backends
async def test_a_handler_that_stays_slow_is_reported_again_at_growing_intervals_and_a_few_times_only() -> (
    None
):
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper(liveness=LivenessSpec(slow=1.0, hung=None))
        stage.tell(Rest(500.0))
        await anyio.sleep(499.0)

        assert [round(event.seconds, 6) for event in stage.slow] == [1.0, 2.0, 4.0, 8.0]
        assert len(stage.slow) == REPORTS_MAX
        await anyio.sleep(2.0)
        assert stage.log == ["+1", "rested 500"]


@both_backends
async def test_each_run_of_a_handler_has_a_clock_of_its_own() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        for _ in range(30):
            stage.tell(Rest(1.5))
        await anyio.sleep(46.0)

        assert stage.log == ["+1", *["rested 1.5"] * 30]
        assert stage.slow == []


@both_backends
async def test_one_of_several_messages_is_never_failed_early_and_one_look_late_at_most() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        with events_of(system, ActorEnded) as ended:
            for message in (Rest(0.4), Rest(1000.0)):
                stage.tell(message)
            await anyio.sleep(13.0)

        (event,) = ended
        assert isinstance(event, ActorEnded)
        assert 10.4 <= event.at - (system.now() - 13.0) <= 10.4 + SWEEP


# S-B8
@both_backends
async def test_a_hung_handler_that_shields_itself_is_wedged_and_the_parent_is_told_of_the_same_crash() -> (
    None
):
    async with open_system(kill_grace=1.0) as system:
        stage = await scene(system)
        await stage.sleeper()
        with events_of(system, TaskWedged, CrashReported) as told:
            stage.tell(Stubborn(60.0))
            await anyio.sleep(10.9)
            assert told == []
            await anyio.sleep(0.2)
        assert [type(event) for event in told] == [TaskWedged, CrashReported]
        (notice,) = stage.keeper.ended
        assert isinstance(notice.outcome, Crash)
        assert isinstance(notice.outcome.exception, Unresponsive)
        await stage.sleeper()
        await anyio.sleep(60.0)
        assert system.wedged == ()
        assert stage.log == ["+1", "+2"]
        assert len(stage.keeper.ended) == 1


@both_backends
async def test_nothing_is_armed_while_nobody_handles_anything() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        stage.tell(Rest(0.1))
        await anyio.sleep(5.0)

        assert len(system.deadlines) == 0
        assert system.vigil.busy == {}


@both_backends
async def test_who_is_not_watched_is_never_looked_at() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper(liveness=UNWATCHED)
        stage.tell(Rest(10_000.0))
        await settled()
        assert system.vigil.idle
        await anyio.sleep(10_001.0)
        assert stage.log == ["+1", "rested 10000"]


@both_backends
async def test_the_system_says_how_long_where_neither_spec_nor_class_does() -> None:
    class Plain(Sleeper):
        liveness = None

    async with open_system(liveness=LivenessSpec(slow=1.0, hung=3.0)) as system:
        log: list[str] = []
        ref = await system.start("plain", lambda: Plain(log))
        began = system.now()
        ref.tell(Rest(1000.0))
        outcome = await system.wait_ended(ref)
        assert isinstance(outcome, Crash)
        assert system.now() - began == pytest.approx(3.0)


# S-A7
@both_backends
async def test_time_in_which_the_thread_was_blocked_is_not_held_against_who_waited_meanwhile() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        stage.tell(Rest(12.0))
        await anyio.sleep(5.0)
        real = system.now

        def jumped() -> float:
            return real() + 8.0

        # As after a handler that blocked the thread for 8 s: the clock has jumped, and nobody had a turn.
        system.vigil._due -= 8.0
        system.now = jumped
        system.deadlines._now = jumped
        await anyio.sleep(7.5)

        assert stage.log == ["+1", "rested 12"]


@settings(max_examples=40, deadline=None)
@given(
    backend=st.sampled_from(["trio", "asyncio"]),
    seconds=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=8),
    gaps=st.lists(st.floats(0.0, 15.0), min_size=8, max_size=8),
)
def test_whatever_handlers_take_none_is_ended_early_and_no_hung_one_goes_on(
    backend: str, seconds: list[float], gaps: list[float]
) -> None:
    async def main() -> None:
        async with open_system() as system:
            stage = await scene(system)
            await stage.sleeper()
            for rest, gap in zip(seconds, gaps, strict=False):
                stage.tell(Rest(rest))
                await anyio.sleep(gap)
            await anyio.sleep(300.0)
            hung = next((index for index, rest in enumerate(seconds) if rest > 10.0 + SWEEP), None)
            done = len([line for line in stage.log if line.startswith("rested")])
            if hung is not None:
                assert done <= hung
                assert stage.keeper.ended
            if all(rest < 10.0 for rest in seconds):
                assert done == len(seconds)
                assert not stage.keeper.ended

    run(backend, main)


@pytest.mark.parametrize(
    "limits, said",
    [
        ({"slow": 0}, "slow is None or finite seconds of 0.05 or more, got 0"),
        ({"hung": float("inf")}, "got inf"),
        ({"hung": float("nan")}, "got nan"),
        ({"slow": True}, "got True"),
        ({"slow": "1"}, "got '1'"),
        ({"slow": 5, "hung": 5}, "slow before it is hung, got slow=5 and hung=5"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidLiveness, match=said):
        LivenessSpec(**limits)
