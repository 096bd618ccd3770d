"""A session from its first connect to its end: client and hub in one virtual-clock run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from tests.stories.story import running
from tests.stories.traffic import Traffic
from tests.stories.world import Recorder, flat_nursery, open_world

from holdfast.actors.auth.messages import TokenAcquired
from holdfast.actors.avatar.messages import SessionCreated
from holdfast.actors.client.messages import (
    Authenticating,
    CleanupAuth,
    CleanupSession,
    Connected,
    Connecting,
    Disconnected,
    Disconnecting,
    OutboxAbandoned,
    Ready,
)
from holdfast.actors.delivery.messages import OutboxFull
from holdfast.actors.hub.avatar_sessions import SANDBOX_AVATAR
from holdfast.actors.hub.messages import ConnectionClosed
from holdfast.actors.reconnect.messages import (
    StateChanged,
)
from holdfast.actors.socket.messages import Connected as LinkConnected
from holdfast.runtime.testing import on_trio
from holdfast.specs import LATENCY, Weather

HOUR = 3_600.0


@on_trio
async def test_connect_announces_connecting_authenticating_connected_ready() -> None:
    # A4.1
    async with open_world() as world, world.client() as client:
        heard = Recorder(client)
        assert not await client.is_connected()
        assert not await client.is_authenticated()
        await client.connect()
        life = (Connecting, Authenticating, Connected, Ready)
        assert heard.names(*life) == ["connecting", "authenticating", "connected", "ready"]
        assert await client.is_connected()
        assert await client.is_authenticated()
        names = heard.names(TokenAcquired, StateChanged, LinkConnected, Connected, Ready)
        # A4.2: first the token, then the link, then the session.
        assert names[0] == "token:acquired"
        assert names[-2:] == ["connected", "ready"]
        assert heard.of(Connected)[0].session == heard.of(LinkConnected)[0].session


@on_trio
async def test_the_avatar_opens_after_the_session_and_before_ready() -> None:
    # A4.2, A6.1
    async with open_world() as world:
        avatar = {"enabled": True, "avatar_id": SANDBOX_AVATAR, "is_sandbox": True}
        async with world.client(avatar=avatar) as client:
            heard = Recorder(client)
            await client.connect()
            assert heard.names(Connected, SessionCreated, Ready) == ["connected", "session:created", "ready"]
            assert (await client.state()).avatar == "open"
            await client.disconnect()
            # A6.4: closed with the session, not left for the service to find out.
            assert not world.hub.avatars.active


@on_trio
async def test_a_failing_avatar_does_not_keep_the_session_from_being_ready() -> None:
    # A6.3, A4.2
    async with open_world() as world:
        world.hub.avatars.fail_next(100, status=503, code=5030, message="no avatars today")
        async with world.client(avatar={"enabled": True, "avatar_id": SANDBOX_AVATAR}) as client:
            await client.connect()
            state = await client.state()
            assert (state.phase, state.avatar) == ("ready", "voice_only")


@on_trio
async def test_messages_go_both_ways_in_order() -> None:
    # D4.3, A3.3
    async with open_world() as world, running(world) as session:
        await session.traffic.send(700)
        await session.traffic.settled()
        await session.untouched()
        state = await session.client.delivery_state()
        await trio.sleep(1)
        assert (state.outbox_depth, state.unacked_frames) == (0, 0)


@on_trio
async def test_a_channel_reaches_its_subscribers_and_nobody_else() -> None:
    # Contract of the hub: publish goes to the sessions of a channel
    async with open_world() as world, world.client("alice") as alice, world.client("bob") as bob:
        await alice.connect()
        await bob.connect()
        await bob.subscribe("room:7")
        await bob.echo({"subscribed": True})
        assert (await bob.receive()).payload == {"subscribed": True}
        ids = [await alice.send({"n": n}, channel="room:7") for n in range(50)]
        await alice.send({"n": -1}, channel="room:8")
        got = [await bob.receive() for _ in ids]
        assert [message.payload["n"] for message in got] == list(range(50))
        assert {message.channel for message in got} == {"room:7"}
        await bob.unsubscribe("room:7")
        await bob.echo({"unsubscribed": True})
        await bob.receive()
        await alice.send({"n": 99}, channel="room:7")
        await alice.echo({"done": True})
        assert (await alice.receive()).payload == {"done": True}, "the sender was not subscribed itself"
        with trio.move_on_after(60) as waiting:
            await bob.receive()
        assert waiting.cancelled_caught


@on_trio
async def test_disconnect_says_what_it_does_closes_with_a_close_frame_and_leaves_nothing() -> None:
    # A4.3
    async with open_world() as world, running(world) as session:
        hub_heard = world.hub.system.events.subscribe(
            wanted=lambda event: isinstance(event, ConnectionClosed)
        )
        await session.client.disconnect()
        life = (Disconnecting, CleanupAuth, CleanupSession, Disconnected)
        assert session.heard.names(*life) == [
            "disconnecting", "cleanup:auth", "cleanup:session", "disconnected",
        ]  # fmt: skip
        await trio.sleep(5)
        closed = hub_heard.get_nowait()
        assert isinstance(closed, ConnectionClosed)
        assert closed.code == 1001, "going away: the session can be resumed"
        assert not world.network.open_wires()
        # Clean-up releases, it does not log out.
        assert await session.client.is_authenticated()
        await session.untouched()


@on_trio
async def test_what_is_sent_after_a_disconnect_waits_for_the_next_connect_in_the_same_session() -> None:
    # A3.4, A4.3: the session is resumed
    async with open_world() as world, running(world) as session:
        await session.traffic.send(5)
        await session.traffic.settled()
        await session.client.disconnect()
        await session.traffic.send(5)
        await trio.sleep(HOUR)
        assert len(session.traffic.received) == 5, "nobody asked for a link meanwhile"
        await session.client.connect()
        await session.traffic.settled()
        first, second = session.heard.of(LinkConnected)
        assert (second.session, second.resumed) == (first.session, True)


@on_trio
async def test_what_was_sent_before_the_end_arrives_before_the_end() -> None:
    # A3.4, A4.3: `disconnect` lets the outbox run dry first
    async with open_world() as world:
        async with world.client() as client:
            await client.connect()
            for n in range(500):
                await client.send({"n": n})
        assert [json.loads(effect.payload)["n"] for effect in world.hub.effects()] == list(range(500))


@on_trio
async def test_what_cannot_arrive_before_the_end_is_reported_if_no_store_keeps_it(tmp_path: Path) -> None:
    # A3.4: never silently dropped
    async with open_world() as world:
        for store, told in ((None, [3]), (tmp_path / "client.db", [])):
            sections: dict[str, dict[str, object]] = {} if store is None else {"delivery": {"store": store}}
            async with world.client("teller", **sections) as client:
                heard = Recorder(client)
                world.network.weather = "refusing"
                for n in range(3):
                    await client.send({"n": n})
                assert not await client.flush(1.0)
            assert [event.messages for event in heard.of(OutboxAbandoned)] == told


@on_trio
@pytest.mark.parametrize("weather", ["refusing", "silent"])
async def test_a_client_is_left_in_time_whatever_the_network_does(weather: Weather) -> None:
    # A4.3, Beyond OTP 7: the end is bounded
    async with open_world() as world:
        avatar = {"enabled": True, "avatar_id": SANDBOX_AVATAR, "is_sandbox": True}
        async with world.client(avatar=avatar) as client:
            await client.connect()
            world.network.half_open()
            world.network.weather = weather
            await client.send({"n": 1})
            began = trio.current_time()
        assert trio.current_time() - began <= 10


@on_trio
async def test_a_jump_of_the_calendar_neither_cuts_the_link_nor_costs_a_message() -> None:
    # ARCHITECTURE 7: nothing is decided by the wall clock
    async with open_world() as world, running(world) as session:
        for jump in (100_000, -50_000, 31):
            world.calendar.offset += jump
            await trio.sleep(60)
            await session.traffic.send(5)
            await session.traffic.settled()
        assert len(session.heard.of(LinkConnected)) == 1


@on_trio
async def test_a_full_outbox_refuses_by_name_and_what_it_holds_arrives() -> None:
    # A3.4: a bounded outbox
    async with open_world() as world, running(world, delivery={"outbox_messages": 50}) as session:
        world.network.weather = "refusing"
        world.network.reset()
        await trio.sleep(1)
        await session.traffic.send(50)
        with pytest.raises(OutboxFull, match="holds 50 of 50 messages"):
            await session.traffic.send(1)
        world.network.weather = "fine"
        await session.traffic.settled()
        await session.traffic.send(5)
        await session.traffic.settled()
        await session.untouched()


@on_trio
async def test_an_application_that_does_not_read_for_minutes_gets_everything_once_when_it_does() -> None:
    # A3.4: backpressure up to the hub, whose patience of 30 s ends connections and no session
    async with open_world() as world, world.client() as client:
        await client.connect()
        traffic = Traffic(world, client)
        await traffic.send(2_500)
        await trio.sleep(120)
        state = await client.delivery_state()
        assert state.inbox_depth == 1_024
        async with flat_nursery() as nursery:
            nursery.start_soon(traffic.receive)
            await traffic.settled()
            nursery.cancel_scope.cancel()


@on_trio
async def test_leaving_the_client_disconnects_in_order_by_itself() -> None:
    # A4.3, Beyond OTP 10
    async with open_world() as world:
        async with world.client() as client:
            heard = Recorder(client)
            await client.connect()
        assert heard.names(Disconnecting, Disconnected) == ["disconnecting", "disconnected"]
        await trio.sleep(1)
        assert not world.network.open_wires()


@on_trio
async def test_a_connect_that_meets_a_disconnect_comes_up_after_it() -> None:
    # A4.1, A4.3: neither waits for its time-out
    async with open_world() as world:
        avatar = {"enabled": True, "avatar_id": SANDBOX_AVATAR, "is_sandbox": True}
        async with world.client(avatar=avatar) as client:
            await client.connect()
            heard = Recorder(client)
            began = trio.current_time()
            async with flat_nursery() as nursery:
                nursery.start_soon(client.disconnect)
                await trio.sleep(LATENCY)
                assert (await client.state()).phase == "disconnecting", "the avatar's session is being closed"
                await client.connect()
            assert trio.current_time() - began < 5
            assert await client.is_connected()
            life = (Disconnecting, Disconnected, Connecting, Ready)
            assert heard.names(*life) == ["disconnecting", "disconnected", "connecting", "ready"]


@on_trio
async def test_everything_received_can_be_committed_while_somebody_waits_for_more() -> None:
    # A5 of the facade: `commit` waits for no message
    async with open_world() as world, running(world) as session:
        await session.traffic.send(3)
        await session.traffic.settled()
        with trio.fail_after(1):
            await session.client.commit()
        assert (await session.client.delivery_state()).inbox_depth == 0
