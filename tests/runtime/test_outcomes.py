"""How an end is judged, and what no supervisor may ever see."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Boom, Keeper, Note, Scribe, SlowScribe, keeper

from holdfast.runtime import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Crash,
    GaveUp,
    Killed,
    Message,
    Normal,
    Outcome,
    Shutdown,
    on,
)
from holdfast.runtime.outcomes import is_orderly, unwrap
from holdfast.runtime.testing import both_backends, on_trio, settled


# Outcomes: giving up is abnormal here (trap 4)
@pytest.mark.parametrize(
    "outcome,orderly,said",
    [
        (NORMAL, True, "normal"),
        (SHUTDOWN, True, "shutdown"),
        (Shutdown("x"), True, "shutdown('x')"),
        (Crash(Boom("b")), False, "crash(Boom: b)"),
        (KILLED, False, "killed"),
        (GaveUp(), False, "gave up"),
        (GaveUp(("a", "b")), False, "gave up (a -> b)"),
    ],
)
def test_three_ends_are_orderly_and_three_are_not(outcome: Outcome, orderly: bool, said: str) -> None:
    assert is_orderly(outcome) is orderly
    assert str(outcome) == said


def test_outcomes_are_values_and_two_crashes_are_two() -> None:
    error = Boom("one")

    assert Normal() == NORMAL
    assert Killed() == KILLED
    assert Shutdown(1) == Shutdown(1) != Shutdown(2)
    assert Crash(error) == Crash(error, raised=ExceptionGroup("", [error]))
    assert Crash(error) != Crash(Boom("one"))


# trap 9
def test_groups_of_one_are_unwrapped_and_others_are_not() -> None:
    root, second = ValueError("root"), KeyError("secondary")
    pair = ExceptionGroup("pair", [root, second])

    assert unwrap(root) is root
    assert unwrap(ExceptionGroup("", [ExceptionGroup("", [root])])) is root
    assert unwrap(ExceptionGroup("", [pair])) is pair


class Raise(Message, frozen=True):
    """Raise this."""

    error: BaseException
    nursery: bool = False


class Raiser(Scribe):
    @on(Raise)
    async def do(self, message: Raise) -> None:
        if not message.nursery:
            raise message.error
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._fail, message.error)
            tasks.start_soon(anyio.sleep_forever)

    async def _fail(self, error: BaseException) -> None:
        raise error


class Odd(BaseException):
    """A BaseException that means nothing to the runtime."""


# trap 9
@both_backends
async def test_one_failure_in_an_actors_own_nursery_is_judged_as_that_failure() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("raiser", lambda: Raiser([]))
        error = Boom("inside")
        cell.slot.ref.tell(Raise(error, nursery=True))
        outcome = await cell.wait_ended()

        assert isinstance(outcome, Crash)
        assert outcome.exception is error
        assert isinstance(outcome.raised, BaseExceptionGroup)


@pytest.mark.parametrize(
    "error", [Odd("odd"), GeneratorExit(), ExceptionGroup("two", [Boom("a"), Boom("b")])]
)
@both_backends
async def test_whatever_a_handler_raises_is_its_crash_and_nobody_elses(error: BaseException) -> None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("raiser", lambda: Raiser([]))
        cell.slot.ref.tell(Raise(error))
        outcome = await cell.wait_ended()
        await settled()

        assert isinstance(outcome, Crash)
        assert outcome.exception is error
        assert len(parent.ended) == 1


FATAL = [KeyboardInterrupt("ctrl-c"), SystemExit(3), MemoryError("full")]


each_fatal = pytest.mark.parametrize("fatal", FATAL, ids=lambda fatal: type(fatal).__name__)


async def end_by(fatal: BaseException, *, nursery: bool) -> None:
    log: list[str] = []
    parents: list[Keeper] = []
    with pytest.raises(type(fatal)) as caught:
        async with open_system() as system:
            other = await system.start("other", lambda: Scribe(log))
            other.tell(Note("before"))
            parents.append(await keeper(system))
            cell = await parents[0].start("raiser", lambda: Raiser([]))
            cell.slot.ref.tell(Raise(fatal, nursery=nursery))
            await anyio.sleep(100)
    assert caught.value is fatal, "not in a group: SystemExit says the status"
    assert log == ["+1", "before", "-shutdown"]
    assert parents[0].ended == [], "it is nobody's to restart"


# Outcomes: KeyboardInterrupt, SystemExit and MemoryError stop the runtime
@each_fatal
@every_tier
async def test_what_is_fatal_ends_the_system_in_order_and_is_raised_from_it(fatal: BaseException) -> None:
    await end_by(fatal, nursery=False)


# On asyncio a task that nobody guards lets KeyboardInterrupt and SystemExit out of the loop itself.
@each_fatal
@on_trio
async def test_what_is_fatal_is_found_inside_groups_too(fatal: BaseException) -> None:
    await end_by(fatal, nursery=True)


@both_backends
async def test_what_is_fatal_in_a_child_task_does_not_wait_for_the_handler() -> None:
    class Busy(SlowScribe):
        @on(Note)
        async def note(self, message: Note) -> None:  # type: ignore[override]
            self.context.spawn(self._exit)
            await anyio.sleep(500)

        async def _exit(self) -> None:
            raise SystemExit(4)

    start = ended = 0.0
    with pytest.raises(SystemExit):
        async with open_system(stop_deadline=10) as system:
            start = system.now()
            ref = await system.start("busy", lambda: Busy([]))
            ref.tell(Note("go"))
            try:
                await anyio.sleep(400)
            finally:
                ended = system.now()
    assert ended == start


@both_backends
async def test_what_is_fatal_is_raised_whatever_the_body_makes_of_its_cancellation() -> None:
    with pytest.raises(SystemExit) as caught:
        async with open_system() as system:
            ref = await system.start("raiser", lambda: Raiser([]))
            ref.tell(Raise(SystemExit(5)))
            try:
                await anyio.sleep(100)
            finally:
                raise ValueError("of the body")
    assert caught.value.code == 5
    assert isinstance(caught.value.__context__, ValueError)


@every_tier
async def test_what_is_fatal_in_a_start_hook_or_a_factory_ends_the_system() -> None:
    class Exits(Scribe):
        def on_start(self) -> None:
            raise SystemExit(6)

    def factory() -> Scribe:
        raise SystemExit(6)

    for make in (lambda: Exits([]), factory):
        with pytest.raises(SystemExit):
            async with open_system() as system:
                await system.start("exits", make)
