"""A hub that is opened again over its store: what it must not have forgotten, beside its sessions."""

from __future__ import annotations

from pathlib import Path

from tests.actors.hub.conftest import MemoryNetwork, open_world

from holdfast.runtime.testing import on_trio


# REALTIME 1.2: subscriptions belong to the session, and the session outlives the hub's process
@on_trio
async def test_a_session_still_hears_the_channels_that_it_had_subscribed_to(tmp_path: Path) -> None:
    path, network = tmp_path / "hub.db", MemoryNetwork()
    async with open_world(store_path=path, network=network) as world, world.connection() as client:
        welcome = await client.connect()
        await client.send(type="msg.subscribe", seq=1, id="s", payload={"channel": "room"})
        await client.receive_until("ack")
    async with open_world(store_path=path, network=network, seed=2) as world:
        async with world.connection(await world.token("other")) as other:
            await other.connect("other")
            await other.send(type="msg.publish", seq=1, id="p", ch="room", payload={"n": 1})
            await other.receive_until("ack")
        async with world.connection() as client:
            known = {key: welcome[key] for key in ("session", "key", "epoch")}
            resume = {**known, "recv_seq": 0, "sent_lo": 0, "sent_hi": 0}
            assert (await client.connect(resume=resume))["resumed"]
            assert (await client.receive_until("msg.event"))["id"] == "p"
