from __future__ import annotations

import json

import trio
import trio.testing
from tests.actors.hub.conftest import MemoryNetwork, open_world, settings_for

from holdfast.actors.hub.closing import CloseCode
from holdfast.actors.hub.connection import Connection
from holdfast.actors.hub.messages import ConnectionClosed
from holdfast.actors.hub.peer import OUTBOX_CROWDED, OUTBOX_MAX, Peer
from holdfast.runtime.testing import on_trio


def new_peer(*, batch: bool = False) -> Peer:
    ours, _ = trio.testing.memory_stream_pair()
    settings = settings_for(max_frame=1_024)
    peer = Peer(1, ours, settings, lambda: 0.0, on_arrived=lambda: None)
    peer.connection = Connection(1, settings, 0.0)
    peer.connection.batch = batch
    return peer


@on_trio
async def test_an_outbox_sheds_what_is_volatile_long_before_it_is_full() -> None:
    peer = new_peer()

    taken = 0
    while peer.send(b"{}"):
        taken += 1
        assert peer.crowded == (taken >= OUTBOX_CROWDED)

    assert taken == OUTBOX_MAX


@on_trio
async def test_nothing_is_queued_behind_a_farewell() -> None:
    peer = new_peer()
    peer.send(b"1")
    peer.close(CloseCode.DRAINING, "draining")

    assert peer.send(b"2")
    peer.close(CloseCode.NORMAL, "again")
    assert peer._next_message() == b"1"
    assert not peer._outbox
    assert peer.ended == (4003, "draining")


@on_trio
async def test_a_batch_stays_within_one_frames_size() -> None:
    peer = new_peer(batch=True)
    frames = [json.dumps({"n": n, "pad": "x" * 300}).encode() for n in range(5)]
    for each in frames:
        peer.send(each)

    messages = [peer._next_message() for _ in range(2)]

    assert [len(json.loads(message)) for message in messages] == [3, 2]
    assert all(len(message) <= 1_024 for message in messages)


@on_trio
async def test_a_client_that_stops_reading_is_cut_off_and_may_resume() -> None:
    network = MemoryNetwork()
    async with open_world(network=network) as world:
        closed = world.hub.system.events.subscribe(wanted=lambda event: isinstance(event, ConnectionClosed))
        async with world.connection() as client:
            welcome = await client.connect()
            await client.receive_until("replay.end")
            network.jam()
            for n in range(OUTBOX_MAX + 2):
                await client.send(type="ping", payload={"n": n})
            await client.closed()
            ended = await closed.get()
        assert isinstance(ended, ConnectionClosed)
        assert ended.reason == "it stopped reading"
        resume = {key: welcome[key] for key in ("session", "key", "epoch")}
        async with world.connection() as client:
            assert (await client.connect(resume={**resume, "recv_seq": 0}))["resumed"] is True


@on_trio
async def test_a_client_that_reads_nothing_does_not_hold_up_the_end() -> None:
    network = MemoryNetwork()
    async with open_world(network=network) as world, world.connection() as client:
        await client.connect()
        network.jam()
        before = trio.current_time()
        await world.hub.drain()
        assert trio.current_time() - before <= 4
        assert (await world.hub.state()).connections == 0
