"""What the facade does by itself: asking again, giving up, reading messages."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import msgspec
import pytest
import trio
from tests.stories.world import open_world, until

from holdfast.actors.client.facade import Client, SendFailed
from holdfast.actors.client.messages import MessageUnreadable
from holdfast.actors.client.settings import ClientSettings
from holdfast.actors.client.topology import Siblings, siblings
from holdfast.actors.delivery.messages import Accepted, Append, Batch, Inbound, Take
from holdfast.runtime import Actor, Event, Message, Subscription, on, open_system
from holdfast.runtime.testing import on_trio, probe
from holdfast.specs import FIRST_DAY
from holdfast.supervisors import Budget, start_tree, supervisor, worker

# Valid JSON that nobody can decode: a lying hub says it, or another client through an honest one.
UNREADABLE = [
    b'{"n":1e999}',
    b'{"n":' + b"9" * 5_000 + b"}",
    b'{"n":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
]


def inbound(position: int, payload: bytes) -> Inbound:
    return Inbound(
        position=position,
        id=f"m-{position}",
        type="msg.event",
        channel="room",
        payload=msgspec.Raw(payload),
        pos=None,
        re=None,
    )


@asynccontextmanager
async def receiving(*payloads: bytes) -> AsyncGenerator[tuple[Client, list[Event]]]:
    """A client whose delivery has these messages, and the events that it publishes."""
    inbox = tuple(inbound(position, payload) for position, payload in enumerate(payloads, 1))

    def take(question: Message) -> Batch:
        assert isinstance(question, Take)
        return Batch(tuple(message for message in inbox if message.position > question.after))

    async with open_system() as system:
        root = await start_tree(system, supervisor("holdfast"))
        delivery = await probe(system, "delivery", Take)
        delivery.answers(Take, take)
        refs: Siblings = attrs.evolve(siblings(system), delivery=delivery.ref)
        heard: list[Event] = []
        system.events.call(heard.append)
        yield Client(system, root, refs, ClientSettings), heard


@pytest.mark.parametrize("poison", UNREADABLE, ids=["number", "integer", "nesting"])
@on_trio
async def test_a_message_that_nobody_can_read_is_reported_and_costs_its_neighbours_nothing(
    poison: bytes,
) -> None:
    # D4.3, bad input: one such message must not stand before all later ones
    async with receiving(b'{"n":1}', poison, b'{"n":3}') as (client, heard):
        assert [(await client.receive()).payload for _ in range(2)] == [{"n": 1}, {"n": 3}]

    unreadable = [event for event in heard if isinstance(event, MessageUnreadable)]
    assert [(event.id, event.channel) for event in unreadable] == [("m-2", "room")]


@on_trio
async def test_a_batch_is_what_can_be_read_of_it_and_never_empty() -> None:
    async with receiving(UNREADABLE[0], b"", UNREADABLE[0], b'{"n":4}') as (client, heard):
        assert [message.payload for message in await client.receive_batch()] == [{}, {"n": 4}]

    assert len([event for event in heard if isinstance(event, MessageUnreadable)]) == 2


# ---- asking again ----------------------------------------------------------------------------------


class Fragile(Actor):
    """Stands in delivery's place and dies over the first questions."""

    def __init__(self, deaths: list[int], asked: list[str]) -> None:
        self._deaths = deaths
        self._asked = asked

    @on(Append)
    def append(self, message: Append) -> Accepted:
        self._asked.append(message.id)
        if self._deaths[0]:
            self._deaths[0] -= 1
            raise RuntimeError("died over an append")
        return Accepted(len(self._asked))


@asynccontextmanager
async def fragile(deaths: int) -> AsyncGenerator[tuple[Client, list[str]]]:
    """A client whose delivery dies over its first `deaths` appends, and the ids that it was asked for."""
    left, asked = [deaths], list[str]()
    async with open_system() as system:
        worker_spec = worker("delivery", lambda: Fragile(left, asked))
        root = await start_tree(system, supervisor("holdfast", worker_spec, budget=Budget(10, 60)))
        refs = attrs.evolve(siblings(system), delivery=system.ref("holdfast/delivery"))
        yield Client(system, root, refs, ClientSettings), asked


@on_trio
async def test_a_send_that_delivery_crashes_over_is_asked_again_with_the_same_id() -> None:
    # What survives what: "asked again with the same id if delivery crashes"
    async with fragile(2) as (client, asked):
        sent = await client.send({"n": 1})
        assert asked == [sent] * 3
        assert await client.send({"n": 2}) != sent


@on_trio
async def test_a_message_that_crashes_delivery_every_time_is_given_back_with_its_id() -> None:
    # Beyond OTP 4: one bad message does not spend the budget of the tree
    async with fragile(100) as (client, asked):
        with pytest.raises(SendFailed) as failed:
            await client.send({"n": 1}, id="poison")
        assert failed.value.id == "poison"
        assert asked == ["poison"] * 3


@on_trio
async def test_a_send_that_nobody_answers_fails_in_time_with_its_id() -> None:
    # Actors 6
    async with open_system() as system:
        root = await start_tree(system, supervisor("holdfast"))
        client = Client(system, root, siblings(system), lambda: ClientSettings(send_timeout=3.0))
        began = system.now()
        with pytest.raises(SendFailed, match="not accepted within 3 s") as failed:
            await client.send({"n": 1}, id="lonely")
        assert (failed.value.id, system.now() - began) == ("lonely", 3.0)


@on_trio
async def test_an_ended_tree_is_not_asked_again() -> None:
    # Actors 5: when the actor is not coming back every question fails at once
    async with fragile(0) as (client, _asked):
        await client.root.stop()
        began = client.system.now()
        with pytest.raises(SendFailed):
            await client.send({"n": 1})
        assert client.system.now() == began


@on_trio
async def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    # REALTIME 1.2: `id`
    async with open_world() as world, world.client() as client:
        ids = [uuid.UUID(client.new_id())]
        for _ in range(50):
            await world.a_moment()
            ids.append(uuid.UUID(client.new_id()))
    assert {made.version for made in ids} == {7}
    assert {made.variant for made in ids} == {uuid.RFC_4122}
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert ids[0].int >> 80 == int(FIRST_DAY * 1000)


# ---- waiting ---------------------------------------------------------------------------------------


@on_trio
async def test_a_connect_that_is_cancelled_cancels_nobody_elses_and_not_the_link() -> None:
    # Beyond OTP 3: connectivity is state
    async with open_world() as world, world.client() as client, trio.open_nursery() as nursery:
        world.network.weather = "silent"
        nursery.start_soon(client.connect)
        with trio.move_on_after(3) as impatient:
            await client.connect()
        assert impatient.cancelled_caught
        world.network.weather = "fine"
        await until(lambda: not nursery.child_tasks)
        assert await client.is_connected()


@on_trio
async def test_what_is_worthless_later_is_dropped_and_counted_while_the_link_is_down() -> None:
    # REALTIME 1.2: volatile frames
    async with open_world() as world, world.client() as client:
        await client.connect()
        await client.subscribe("room")
        client.send_volatile({"typing": True}, type="msg.publish", channel="room")
        assert (await client.receive()).payload == {"typing": True}
        await client.disconnect()
        client.send_volatile({"typing": False}, type="msg.publish", channel="room")
        state = await client.delivery_state()
        assert (state.volatile_dropped, state.outbox_depth) == (1, 0)


@on_trio
async def test_states_are_preserved_by_name_and_the_latest_wins() -> None:
    # A2.5
    async with open_world() as world, world.client() as client:
        assert await client.preserved_state() is None
        await client.preserve_state({"a": 1})
        await client.preserve_state({"b": [1, {"c": None}]}, name="other")
        await client.preserve_state({"a": 2})
        assert await client.preserved_state() == {"a": 2}
        assert await client.preserved_state(name="other") == {"b": [1, {"c": None}]}


@on_trio
async def test_a_reader_of_events_that_falls_behind_is_told_how_many_it_missed() -> None:
    async with open_world() as world, world.client() as client:
        events = client.events(capacity=4)
        await client.connect()
        last = [event async for event in _some(events, 4)]
        assert len(last) == 4
        assert events.missed > 0


async def _some(events: Subscription, count: int) -> AsyncGenerator[Event]:
    for _ in range(count):
        event = events.get_nowait()
        if event is not None:
            yield event
