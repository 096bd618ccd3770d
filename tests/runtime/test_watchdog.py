"""A blocked thread is noticed from outside, named while it lasts, and told as an event afterwards.

The thread is replaced by its seam: what it would see is shown to it in the middle of a handler.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import anyio
import attrs
import pytest
from tests.runtime.cast import events_of

from holdfast.runtime import (
    Actor,
    InvalidLiveness,
    Message,
    Seams,
    ThreadBlocked,
    WatchdogSpec,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.runtime.watchdog import EXIT_BLOCKED, PAUSE, REPORTS_MAX

SPEC = WatchdogSpec(blocked=1.0)


@attrs.define
class Outside:
    """The seam of the thread: time passes there when a test says so."""

    now: float = 0.0
    look: Callable[[float], None] | None = None
    interval: float = math.inf
    ended: bool = False
    exits: list[int] = attrs.field(factory=list[int])
    said: list[str] = attrs.field(factory=list[str])

    def repeat(self, fn: Callable[[float], None], interval: float, name: str) -> Callable[[], None]:
        self.look, self.interval, self.ended = fn, interval, False
        return self.end

    def end(self) -> None:
        self.ended = True

    def pass_time(self, seconds: float) -> None:
        """Let the thread have its rounds; the loop has none."""
        assert self.look is not None
        until = self.now + seconds
        while self.now < until:
            self.now += self.interval
            self.look(self.now)

    def stand_still(self, seconds: float) -> None:
        """Let no thread run at all for so long."""
        self.now += seconds

    @property
    def seams(self) -> Seams:
        return Seams(repeat=self.repeat, exit_process=self.exits.append)


class Block(Message, frozen=True):
    """Hold the thread; `secret` is nobody's business."""

    seconds: float
    secret: str = "hunter2"


class BlockLater(Message, frozen=True):
    """The same, from an async handler and a method of its own."""

    seconds: float


class Blocker(Actor):
    """Holds the thread in its handlers."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    @on(Block)
    def block(self, message: Block) -> None:
        self.outside.pass_time(message.seconds)

    @on(BlockLater)
    async def block_later(self, message: BlockLater) -> None:
        await anyio.sleep(1.0)
        self.compute(message.seconds)

    def compute(self, seconds: float) -> None:
        self.outside.pass_time(seconds)


@both_backends
async def test_whoever_blocks_the_thread_is_named_at_once_and_told_as_an_event_afterwards() -> None:
    outside = Outside()
    async with open_system(seams=outside.seams, watchdog=SPEC, say=outside.said.append) as system:
        ref = await system.start("blocker", lambda: Blocker(outside))
        with events_of(system, ThreadBlocked) as told:
            ref.tell(Block(1.9))
            await settled()
            assert told == []
            (said,) = outside.said
            await anyio.sleep(1.0)

        assert said.startswith("the event loop's thread has been blocked for 1 s; blocker (incarnation 1)")
        assert "in its handler of Block;" in said
        assert "in pass_time" in said
        assert "hunter2" not in said
        (event,) = told
        assert isinstance(event, ThreadBlocked)
        assert (event.path, event.incarnation, event.message_type) == ("blocker", 1, "Block")
        assert "blocker (incarnation 1) in its handler of Block blocked the thread" in str(event)


@both_backends
async def test_the_handler_is_found_from_a_method_that_it_calls() -> None:
    outside = Outside()
    async with open_system(seams=outside.seams, watchdog=SPEC, say=outside.said.append) as system:
        ref = await system.start("blocker", lambda: Blocker(outside))
        ref.tell(BlockLater(1.5))
        await anyio.sleep(2.0)

        (said,) = outside.said
        assert "blocker (incarnation 1) holds it in its handler of BlockLater" in said
        assert "self.compute(message.seconds)" in said


@both_backends
async def test_a_loop_that_comes_round_is_not_reported() -> None:
    outside = Outside()
    async with open_system(seams=outside.seams, watchdog=SPEC, say=outside.said.append) as system:
        with events_of(system, ThreadBlocked) as told:
            for _ in range(40):
                outside.pass_time(0.9)
                await anyio.sleep(0.3)
        assert (outside.said, told) == ([], [])


@both_backends
async def test_a_long_silence_is_reported_a_few_times_at_growing_intervals() -> None:
    outside = Outside()
    async with open_system(seams=outside.seams, watchdog=SPEC, say=outside.said.append) as system:
        ref = await system.start("blocker", lambda: Blocker(outside))
        with events_of(system, ThreadBlocked) as told:
            ref.tell(Block(100.0))
            await anyio.sleep(1.0)

        assert [said.split(" blocked for ")[1].split(";")[0] for said in outside.said] == [
            "1 s",
            "2 s",
            "4 s",
            "8 s",
        ]
        assert len(outside.said) == REPORTS_MAX
        assert len(told) == 1


@both_backends
async def test_silences_close_together_are_counted_and_not_said_one_by_one() -> None:
    outside = Outside()
    async with open_system(seams=outside.seams, watchdog=SPEC, say=outside.said.append) as system:
        ref = await system.start("blocker", lambda: Blocker(outside))
        with events_of(system, ThreadBlocked) as told:
            for _ in range(5):
                ref.tell(Block(1.5))
                await anyio.sleep(1.0)
            assert len(outside.said) == 1
            outside.now += PAUSE
            ref.tell(Block(1.5))
            await anyio.sleep(1.0)

        assert len(told) == 6
        assert "(4 more times since the last report)" in outside.said[1]


@both_backends
async def test_a_process_that_was_stopped_and_continued_is_no_silence() -> None:
    outside = Outside()
    spec = WatchdogSpec(blocked=1.0, exit_after=5.0)
    async with open_system(seams=outside.seams, watchdog=spec, say=outside.said.append):
        outside.pass_time(0.5)
        outside.stand_still(3600.0)
        outside.pass_time(0.25)
        await anyio.sleep(1.0)
        outside.pass_time(0.5)
    assert (outside.said, outside.exits) == ([], [])


# S-L2
@both_backends
async def test_a_thread_that_does_not_come_back_ends_the_process_if_that_was_asked_for() -> None:
    outside = Outside()
    spec = WatchdogSpec(blocked=1.0, exit_after=5.0)
    async with open_system(seams=outside.seams, watchdog=spec, say=outside.said.append) as system:
        ref = await system.start("blocker", lambda: Blocker(outside))
        ref.tell(Block(4.5))
        await settled()
        assert len(outside.exits) == 0
        await anyio.sleep(1.0)
        ref.tell(Block(5.25))
        await settled()
        assert outside.exits[0] == EXIT_BLOCKED
        assert "ending the process" in outside.said[-1]


@both_backends
async def test_the_watchdog_ends_with_the_system_and_there_is_none_unless_asked_for() -> None:
    outside = Outside()
    async with open_system(seams=outside.seams, watchdog=SPEC):
        assert outside.look is not None
    assert outside.ended
    unasked = Outside()
    async with open_system(seams=unasked.seams):
        assert unasked.look is None


def test_the_real_thread_runs_beside_and_ends_when_it_is_told_to() -> None:
    called = threading.Event()
    end = Seams().repeat(lambda _now: called.set(), 0.001, "test.watchdog")
    assert called.wait(10.0)
    end()
    assert "test.watchdog" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    "limits, said",
    [
        ({"blocked": 0.01}, "blocked is finite seconds of 0.05 or more, got 0.01"),
        ({"blocked": None}, "got None"),
        ({"exit_after": math.inf}, "got inf"),
        ({"blocked": 3.0, "exit_after": 2.0}, "got blocked=3 and exit_after=2"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidLiveness, match=said):
        WatchdogSpec(**limits)
