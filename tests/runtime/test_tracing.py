"""The one stream of events: bounded for every reader, and nobody who watches can fail what it watches."""

from __future__ import annotations

import anyio
import msgspec
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Fail, Note, Scribe, events_of, keeper

from holdfast.runtime import ActorStarted, DeadLetter, Event, EventStream, event_name
from holdfast.runtime.events import SubscriberRemoved
from holdfast.runtime.testing import both_backends, settled
from holdfast.runtime.tracing import InvalidSubscription


class Numbered(Event, frozen=True):
    number: int


class LinkWentUp(Event, frozen=True):
    """Three words."""


class Renamed(Event, frozen=True, tag="link:up"):
    """One whose name is given."""


def numbers(events: list[Event | None]) -> list[int]:
    return [event.number for event in events if isinstance(event, Numbered)]


def test_an_event_is_named_after_its_class_or_its_tag() -> None:
    assert event_name(ActorStarted) == "actor:started"
    assert event_name(LinkWentUp()) == "link:went_up"
    assert event_name(Renamed) == "link:up"
    assert event_name(Numbered(1)) == "numbered"
    assert msgspec.json.encode(Numbered(1)) == b'{"type":"numbered","number":1}'


# SEMANTICS Supervision 9: bounded; a slow subscription drops its oldest and counts
@both_backends
async def test_a_slow_reader_loses_the_oldest_and_knows_how_many() -> None:
    stream = EventStream()
    slow, fast = stream.subscribe(capacity=3), stream.subscribe(capacity=100)
    for n in range(10):
        stream.publish(Numbered(n))

    assert numbers([slow.get_nowait() for _ in range(4)]) == [7, 8, 9]
    assert slow.missed == 7
    assert fast.missed == 0
    stream.publish(Numbered(10))
    assert await slow.get() == Numbered(10)


@both_backends
async def test_a_reader_waits_for_the_next_event_and_ends_with_the_stream() -> None:
    stream = EventStream()
    subscription = stream.subscribe()
    read: list[int] = []

    async def reader() -> None:
        async for event in subscription:
            assert isinstance(event, Numbered)
            read.append(event.number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)
        for n in range(3):
            stream.publish(Numbered(n))
            await settled()
        stream.publish(Numbered(3))
        stream.close()

    assert read == [0, 1, 2, 3], "what was published before the end is read"
    assert await subscription.get() is None
    assert await stream.subscribe().get() is None


@both_backends
async def test_a_cancelled_wait_loses_no_event_and_a_broken_off_loop_leaves_nothing_behind() -> None:
    stream = EventStream()
    subscription = stream.subscribe()
    with anyio.move_on_after(1):
        await subscription.get()
    stream.publish(Numbered(1))
    stream.publish(Numbered(2))
    async for event in subscription:
        assert event == Numbered(1)
        break
    assert await subscription.get() == Numbered(2)


@both_backends
async def test_a_subscription_has_one_reader() -> None:
    stream = EventStream()
    subscription = stream.subscribe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subscription.get)
        await settled()
        with pytest.raises(RuntimeError, match="one reader"):
            await subscription.get()
        subscription.close()


def test_a_filter_comes_before_the_bound() -> None:
    stream = EventStream()
    even = stream.subscribe(
        capacity=2, wanted=lambda event: isinstance(event, Numbered) and event.number % 2 == 0
    )
    for n in range(5):
        stream.publish(Numbered(n))
    assert numbers([even.get_nowait(), even.get_nowait()]) == [2, 4]
    assert even.missed == 1


@pytest.mark.parametrize("capacity", [0, -5])
def test_a_subscription_that_could_keep_nothing_is_refused(capacity: int) -> None:
    with pytest.raises(InvalidSubscription, match="keeps 1 event or more"):
        EventStream().subscribe(capacity)


# STYLE 27: a subscriber that raises is removed and reported
def test_a_subscriber_that_raises_is_removed_and_reported() -> None:
    stream = EventStream()
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise ValueError("of the watcher")

    def leaves_and_breaks(event: Event) -> None:
        stream.remove(leaves_and_breaks)
        raise ValueError("on its way out")

    def wants_nothing(event: Event) -> bool:
        raise ValueError("of the filter")

    stream.call(broken)
    stream.call(leaves_and_breaks)
    stream.subscribe(wanted=wants_nothing)
    stream.call(heard.append)

    stream.publish(Numbered(1))
    stream.publish(Numbered(2))

    removed = [event for event in heard if isinstance(event, SubscriberRemoved)]
    assert sorted(event.reason for event in removed) == [
        "ValueError: of the filter",
        "ValueError: of the watcher",
        "ValueError: on its way out",
    ]
    assert [event for event in heard if isinstance(event, Numbered)] == [Numbered(1), Numbered(2)]
    stream.remove(broken)


@every_tier
async def test_a_broken_watcher_fails_nobody_it_watches() -> None:
    log: list[str] = []

    def broken(event: Event) -> None:
        raise ValueError("of the watcher")

    async with open_system() as system:
        parent = await keeper(system)
        with events_of(system, SubscriberRemoved) as removed:
            for _ in range(3):
                system.events.call(broken)
                cell = await parent.start("scribe", lambda: Scribe(log))
                system.events.call(broken)
                cell.slot.ref.tell(Fail())
                await cell.wait_ended()
        assert len(removed) == 6
        assert log == [line for n in range(1, 4) for line in (f"+{n}", "-crash(Boom: told to)")]


# What survives what: event subscriptions of embedders are kept over everything, and end with the system
@every_tier
async def test_a_subscription_sees_every_incarnation_and_the_end() -> None:
    async with open_system() as system:
        subscription = system.events.subscribe()
        ref = await system.start("scribe", lambda: Scribe([]))
        ref.tell(Fail())
        await settled()
        ref.tell(Note("nobody there"))

    names = [event_name(event) async for event in subscription]
    assert names == [
        "actor:started", "crash:reported", "dead:letter", "actor:ended", "dead:letter",
    ]  # fmt: skip


# SEMANTICS Actors 10: observable, counted; and a secret in a message is not shown
@every_tier
async def test_a_dead_letter_tells_the_type_and_never_the_content() -> None:
    async with open_system() as system:
        ref = await system.start("scribe", lambda: Scribe([]))
        assert ref.slot.cell is not None
        await ref.slot.cell.stop(1, final=True)
        with events_of(system, DeadLetter) as dead:
            ref.tell(Note("hunter2"))
        assert len(dead) == 1
        assert "hunter2" not in str(dead[0])
        assert system.statistics().dead_letters == 1
