"""Timers of actors, and the one heap of deadlines behind them."""

from __future__ import annotations

import random

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Ask, Fail, Note, Scribe, SlowScribe, Wait, keeper

from holdfast.runtime import Actor, AskTimeout, Crash, DefinitionError, Message, on
from holdfast.runtime.testing import both_backends, settled
from holdfast.runtime.timers import Deadline, DeadlineHeap


class After(Message, frozen=True):
    """Set a one-shot timer."""

    delay: float
    text: str
    key: str | None = None


class Every(Message, frozen=True):
    """Set a periodic timer."""

    period: float
    text: str
    key: str | None = None


class Cancel(Message, frozen=True):
    """Forget a timer."""

    key: str


class Sleeper(Scribe):
    """Writes down when its ticks come."""

    def __init__(self, log: list[str], ticks: list[tuple[float, str]]) -> None:
        super().__init__(log)
        self.ticks = ticks

    def on_start(self) -> None:
        self.started = self.context.now()

    @on(After)
    def after(self, message: After) -> None:
        self.context.after(message.delay, Note(message.text), key=message.key)

    @on(Every)
    def every(self, message: Every) -> None:
        self.context.every(message.period, Note(message.text), key=message.key)

    @on(Cancel)
    def cancel(self, message: Cancel) -> None:
        self.context.cancel_timer(message.key)

    @on(Note)
    def note(self, message: Note) -> None:
        self.ticks.append((round(self.context.now() - self.started, 6), message.text))


class SlowSleeper(Sleeper, SlowScribe):
    """The same, able to be busy."""


# SEMANTICS Actors 8
@every_tier
async def test_a_one_shot_timer_fires_once_and_a_periodic_one_until_it_is_cancelled() -> None:
    ticks: list[tuple[float, str]] = []
    async with open_system() as system:
        ref = await system.start("sleeper", lambda: Sleeper([], ticks))
        ref.tell(After(2, "once"))
        ref.tell(Every(1, "again", "beat"))
        await anyio.sleep(3.5)
        ref.tell(Cancel("beat"))
        ref.tell(Cancel("unknown"))
        await anyio.sleep(5)

        assert sorted(ticks) == [(1, "again"), (2, "again"), (2, "once"), (3, "again")]
        assert system.statistics().deadlines == 0


# SEMANTICS Actors 8
@every_tier
async def test_a_timer_with_the_same_key_is_replaced() -> None:
    ticks: list[tuple[float, str]] = []
    async with open_system() as system:
        ref = await system.start("sleeper", lambda: Sleeper([], ticks))
        ref.tell(After(1, "old", "k"))
        ref.tell(Every(1, "older", "k"))
        ref.tell(After(3, "new", "k"))
        ref.tell(After(3, "other", "l"))
        await anyio.sleep(9)

        assert ticks == [(3, "new"), (3, "other")]


# SEMANTICS Actors 4, 8
@both_backends
async def test_ticks_coalesce_while_one_waits_and_do_not_drift() -> None:
    ticks: list[tuple[float, str]] = []
    async with open_system() as system:
        ref = await system.start("sleeper", lambda: SlowSleeper([], ticks))
        ref.tell(Every(1, "beat"))
        await anyio.sleep(1.5)
        ref.tell(Wait(4.2))
        await anyio.sleep(6.9)

        assert [at for at, _ in ticks] == [1, 5.7, 6, 7, 8]
        assert system.statistics().coalesced_ticks == 3


@every_tier
async def test_a_rhythm_survives_a_loop_that_was_blocked() -> None:
    """Time passes without the loop running: what was missed is left out, and the beat stays the same."""
    ticks: list[tuple[float, str]] = []
    async with open_system() as system:
        ref = await system.start("sleeper", lambda: Sleeper([], ticks))
        ref.tell(Every(1, "beat"))
        await settled()
        real = system.deadlines._now
        jump = real() + 3.25

        system.deadlines._now = system.now = lambda: max(real(), jump)
        system.deadlines.fire()
        system.deadlines._now = system.now = real
        await settled()
        assert len(ticks) == 1
        assert system.statistics().coalesced_ticks == 2
        await anyio.sleep(5.5)
        assert [at for at, _ in ticks][1:] == [4, 5]


# SEMANTICS Actors 8, trap 11; What survives what: timers are lost
@every_tier
async def test_timers_belong_to_the_incarnation() -> None:
    ticks: list[tuple[float, str]] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("sleeper", lambda: Sleeper([], ticks))
        cell.slot.ref.tell(After(1, "of the first"))
        cell.slot.ref.tell(Every(1, "of the first"))
        cell.slot.ref.tell(Fail())
        await settled()
        await parent.start("sleeper", lambda: Sleeper([], ticks))
        await anyio.sleep(5)

        assert ticks == []
        assert system.statistics().deadlines == 0


# SEMANTICS Actors 2: a stale tick is dropped and counted
@both_backends
async def test_a_tick_that_waits_for_a_dead_incarnation_is_dropped_and_counted() -> None:
    ticks: list[tuple[float, str]] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("sleeper", lambda: SlowSleeper([], ticks))
        cell.slot.ref.tell(After(1, "stale"))
        cell.slot.ref.tell(Wait(2))
        cell.slot.ref.tell(Fail())
        await anyio.sleep(3)
        await parent.start("sleeper", lambda: SlowSleeper([], ticks))
        await settled()

        assert ticks == []
        assert system.statistics().stale_notices == 1


@pytest.mark.parametrize("delay", [-1.0, float("nan"), float("inf")])
@every_tier
async def test_a_delay_that_is_none_is_refused(delay: float) -> None:
    async with open_system() as system:
        for message in (After(delay, "x"), Every(delay, "x")):
            parent = await keeper(system, f"keeper-{type(message).__name__}")
            cell = await parent.start("sleeper", lambda: Sleeper([], []))
            cell.slot.ref.tell(message)
            outcome = await cell.wait_ended()
            assert isinstance(outcome, Crash)
            assert isinstance(outcome.exception, DefinitionError)


@every_tier
async def test_a_period_of_zero_is_refused_instead_of_spinning_for_ever() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("sleeper", lambda: Sleeper([], []))
        cell.slot.ref.tell(Every(0, "x"))

        assert "a timer's period is more than 0" in str(await cell.wait_ended())


@every_tier
async def test_an_ended_incarnation_sets_no_timer_any_more() -> None:
    actors: list[Actor] = []

    def factory() -> Actor:
        actors.append(Sleeper([], []))
        return actors[-1]

    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("sleeper", factory)
        await cell.stop(1, final=True)

        with pytest.raises(Exception, match="sleeper is gone"):
            actors[0].context.every(1, Note("x"))
        assert system.statistics().deadlines == 0


class _Alarm:
    """Keeps what it was set to."""

    def __init__(self) -> None:
        self.when = float("inf")

    def set(self, when: float) -> None:
        self.when = when

    def close(self) -> None:
        pass


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=80), st.floats(0, 100))
def test_deadlines_fire_in_order_once_and_never_when_cancelled(
    entries: list[tuple[float, bool]], now: float
) -> None:
    time = [0.0]
    heap = DeadlineHeap(lambda: time[0])
    alarm = _Alarm()
    heap.attach(alarm)
    fired: list[int] = []
    made = [heap.add(when, lambda n=n: fired.append(n)) for n, (when, _) in enumerate(entries)]  # type: ignore[misc]
    for deadline, (_, cancelled) in zip(made, entries, strict=True):
        if cancelled:
            deadline.cancel()

    time[0] = now
    alarm.when = float("inf")  # it has gone off
    heap.fire()

    kept = [(when, n) for n, (when, cancelled) in enumerate(entries) if not cancelled]
    assert fired == [n for when, n in sorted(kept) if when <= now]
    assert len(heap) == len(kept) - len(fired)
    later = [when for when, _ in kept if when > now]
    assert alarm.when == (min(later) if later else float("inf"))


# Memory over months (trap 17): bounded by count, not timed
def test_cancelled_deadlines_do_not_pile_up() -> None:
    heap = DeadlineHeap(lambda: 0.0)
    dice = random.Random(7)
    live: list[Deadline] = []
    for n in range(50_000):
        live.append(heap.add(1000 + n, lambda: None))
        if len(live) > 100:
            live.pop(dice.randrange(len(live))).cancel()

    assert len(heap) == 100
    assert len(heap._heap) <= 2 * 100 + 1024 + 1


@every_tier
async def test_a_million_answered_asks_would_leave_no_deadline_behind() -> None:
    async with open_system() as system:
        ref = await system.start("scribe", lambda: Scribe([]))
        for _ in range(3000):
            await ref.ask(Ask(), timeout=1000)
        with pytest.raises(AskTimeout):
            await system.ref("never").ask(Ask(), timeout=1)

        assert len(system.deadlines) == 0
        assert len(system.deadlines._heap) <= 1100
