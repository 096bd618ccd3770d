"""A session from its first connect to its end: client and hub in one virtual-clock run.

Every test uses the product's own time constants; `Traffic` is the witness that
nothing is lost, doubled or reordered in either direction.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio_websocket
from tests.stories.network import LATENCY, Weather
from tests.stories.peers import accepting, instead_of_hub, welcoming
from tests.stories.story import BACK_WITHIN, running
from tests.stories.traffic import Traffic
from tests.stories.world import Recorder, flat_nursery, open_world, until

from holdfast.actors.auth.messages import AuthCleanup, TokenAcquired, TokenExpired, TokenRefreshed
from holdfast.actors.avatar.messages import SessionCreated
from holdfast.actors.client import ConnectFailed, ConnectTimeout
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
    RecoveryCompleted,
    RecoveryStarted,
)
from holdfast.actors.client.messages import SystemError as SystemFailed
from holdfast.actors.delivery.messages import ContinuityLost, OutboxFull
from holdfast.actors.hub.avatar_sessions import SANDBOX_AVATAR
from holdfast.actors.hub.messages import ConnectionClosed, ConnectionRefused
from holdfast.actors.reconnect.messages import (
    ReconnectAttempt,
    ReconnectExhausted,
    ReconnectProbe,
    StateChanged,
)
from holdfast.actors.socket.messages import Connected as LinkConnected
from holdfast.actors.socket.messages import Disconnected as LinkDisconnected
from holdfast.actors.socket.messages import HeartbeatMissed
from holdfast.runtime.testing import on_trio

HOUR = 3_600.0


# ---- up and down -----------------------------------------------------------------------------------


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
            sections = {"delivery": {"store": store}} if store is not None else {}
            async with world.client(**sections) as client:
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


# ---- outages ---------------------------------------------------------------------------------------


@on_trio
async def test_a_reset_is_resumed_in_the_same_session() -> None:
    # A2.1, A2.3, A2.7
    async with open_world() as world, running(world) as session:
        await session.traffic.send(100)
        assert world.network.reset() == 1
        await session.traffic.send(100)
        assert await session.traffic.settled() < 3
        first, second = session.heard.of(LinkConnected)
        assert (second.session, second.resumed) == (first.session, True)
        assert not session.heard.of(ContinuityLost)
        await session.untouched()


@on_trio
async def test_a_zombie_is_found_by_its_silence_and_replaced() -> None:
    # A3.2, A2.7: 10 s of heartbeat and 5 s of silence, then back-off and dial
    async with open_world() as world, running(world) as session:
        await session.traffic.send(50)
        assert world.network.half_open() == 1
        fell_silent = trio.current_time()
        await session.traffic.send(200)
        await session.traffic.settled(within=BACK_WITHIN)
        (missed,) = session.heard.of(HeartbeatMissed)
        assert 14.9 <= missed.silence <= 15.1
        assert trio.current_time() - fell_silent < BACK_WITHIN
        await session.untouched()


@on_trio
async def test_dials_that_are_refused_or_swallowed_are_repeated_until_one_works() -> None:
    # A2.1, A2.6, A2.7
    async with open_world() as world, running(world) as session:
        for weather in ("refusing", "silent"):
            world.network.weather = weather
            world.network.reset()
            await session.traffic.send(20)
            await trio.sleep(7)
            assert not await session.client.is_connected()
            world.network.weather = "fine"
            assert await session.until("connected") < BACK_WITHIN
            await session.traffic.settled()
        attempts = [event.attempt for event in session.heard.of(ReconnectAttempt)]
        assert attempts[0] == 1
        await session.untouched()


@on_trio
async def test_states_of_the_link_change_only_along_the_machine() -> None:
    # A2.4
    async with open_world() as world, running(world) as session:
        world.network.reset()
        await session.until("reconnecting")
        await session.until("connected")
        await session.client.disconnect()
        changes = [(event.previous, event.current) for event in session.heard.of(StateChanged)]
        assert changes == [
            ("disconnected", "connecting"),
            ("connecting", "connected"),
            ("connected", "reconnecting"),
            ("reconnecting", "connected"),
            ("connected", "disconnected"),
        ]


@on_trio
async def test_a_hub_killed_and_restarted_from_its_store_has_its_sessions(tmp_path: Path) -> None:
    # Hub: "comes back with its sessions"; D4.3
    async with open_world(hub_store=tmp_path / "hub.db") as world, running(world) as session:
        async with flat_nursery() as nursery:
            nursery.start_soon(lambda: session.traffic.send(300, every=1 / 64))
            await trio.sleep(1.5)
            world.kill_hub()
            await trio.sleep(1)
            await world.start_hub()
        await session.traffic.settled()
        first, *_others, last = session.heard.of(LinkConnected)
        assert (last.session, last.resumed) == (first.session, True)
        assert not session.heard.of(ContinuityLost)
        await session.untouched()


@on_trio
async def test_a_hub_that_goes_away_politely_is_waited_for_as_long_as_it_asked(tmp_path: Path) -> None:
    # REALTIME 1.2: goaway
    async with open_world(hub_store=tmp_path / "hub.db") as world, running(world) as session:
        await session.traffic.send(10)
        await session.traffic.settled()
        await world.stop_hub()
        await session.traffic.send(10)
        await world.start_hub()
        await session.traffic.settled()
        assert session.heard.of(LinkDisconnected)[0].kind == "draining"
        await session.untouched()


@on_trio
async def test_a_lost_session_is_begun_anew_with_the_same_ids_and_said_aloud() -> None:
    # REALTIME 1.2, exactly-once effect 3 and 5: the hub has lost its storage
    async with open_world() as world, running(world) as session:
        await session.traffic.send(10)
        await session.traffic.settled()
        await trio.sleep(1)
        world.network.weather = "refusing"
        world.kill_hub()
        waiting = [await session.client.send({"n": n}, id=f"late-{n}") for n in range(20)]
        await world.start_hub()
        world.network.weather = "fine"
        await session.until("connected")
        await trio.sleep(1)
        effects = world.hub.effects()
        assert [effect.id for effect in effects] == waiting
        assert [effect.seq for effect in effects] == list(range(1, 21))
        first, *_others, last = session.heard.of(LinkConnected)
        assert not last.resumed
        assert last.session != first.session
        assert len(session.heard.of(ContinuityLost)) == 1
        await session.untouched()


@on_trio
async def test_an_expired_session_costs_no_message_and_doubles_none(tmp_path: Path) -> None:
    # REALTIME 1.2, exactly-once effect 3: ids are known across sessions
    async with open_world(hub_store=tmp_path / "hub.db", session_ttl=5.0) as world, running(world) as session:
        await session.traffic.send(20)
        world.network.weather = "refusing"
        world.network.reset()
        await session.traffic.send(20)
        await trio.sleep(12)
        world.network.weather = "fine"
        await session.until("connected")
        await trio.sleep(2)
        assert session.traffic.arrived() == session.traffic.sent
        assert not session.heard.of(LinkConnected)[-1].resumed
        assert len(session.heard.of(ContinuityLost)) == 1


@on_trio
async def test_an_hour_without_network_costs_nothing_but_time() -> None:
    # A2.2, SEMANTICS "Time": exhausted, suspended, probed until back
    async with open_world() as world, running(world) as session:
        await session.client.preserve_state({"messageQueue": [1, 2, 3]})
        await session.traffic.send(10)
        world.network.weather = "refusing"
        world.network.reset()
        await session.until("suspended", within=60)
        (exhausted,) = session.heard.of(ReconnectExhausted)
        assert (exhausted.total_attempts, exhausted.max_retries, exhausted.give_up) == (6, 5, True)
        await session.traffic.send(100)
        await trio.sleep(HOUR)
        # Every 10 s, jittered by a quarter, and no attempt of the back-off any more.
        assert 250 <= len(session.heard.of(ReconnectProbe)) <= 400
        assert len(session.heard.of(ReconnectExhausted)) == 1
        assert len(session.heard.of(ReconnectAttempt)) == 5
        world.network.weather = "fine"
        assert await session.until("connected") < BACK_WITHIN
        await session.traffic.settled()
        assert session.heard.of(LinkConnected)[-1].resumed
        assert await session.client.preserved_state() == {"messageQueue": [1, 2, 3]}  # A2.5
        await session.untouched()


@on_trio
async def test_reconnect_cuts_the_wait_of_a_suspended_link_short() -> None:
    # A2.2: `reconnect()` leaves suspended
    async with open_world() as world, running(world) as session:
        world.network.weather = "refusing"
        world.network.reset()
        await session.until("suspended", within=60)
        world.network.weather = "fine"
        await session.client.reconnect()
        assert await session.until("connected") < 1


@on_trio
async def test_a_cold_start_without_network_burns_no_budget_and_comes_up_by_itself() -> None:
    # Beyond OTP 3
    async with open_world() as world:
        world.network.weather = "silent"
        async with running(world, connect=False) as session:
            await session.traffic.send(5)
            began = trio.current_time()
            with pytest.raises(ConnectTimeout, match="not ready within 30 s"):
                await session.client.connect()
            assert trio.current_time() - began == pytest.approx(30, abs=0.5)
            await trio.sleep(HOUR)
            await session.untouched()
            world.network.weather = "fine"
            assert await session.until("connected") < BACK_WITHIN
            await session.traffic.settled()
            assert (await session.client.state()).phase == "ready"
            life = (Connecting, Authenticating, Connected, Ready)
            assert session.heard.names(*life) == ["connecting", "authenticating", "connected", "ready"]


# ---- tokens ----------------------------------------------------------------------------------------


@on_trio
async def test_a_refreshed_token_reaches_the_live_connection() -> None:
    # A1.2, A1.8, D1.3
    async with open_world(token_lifetime=60.0) as world, running(world) as session:
        for _ in range(10):
            await session.traffic.send(10)
            await trio.sleep(30)
        await session.traffic.settled()
        assert len(session.heard.of(TokenRefreshed)) >= 5
        assert len(session.heard.of(LinkConnected)) == 1, "one connection, five tokens"
        assert not session.heard.of(LinkDisconnected)


@on_trio
async def test_a_refused_refresh_is_mended_by_logging_in_and_the_session_goes_on() -> None:
    # A1.4, A4.4
    async with open_world() as world, running(world) as session:
        await world.hub.refuse_next(1, 401, grant_type="refresh_token")
        await session.traffic.send(200, every=2.0)
        await session.traffic.settled()
        (expired,) = session.heard.of(TokenExpired)
        assert (expired.reason, expired.requires_reauth) == ("refresh_failed", True)
        recovery = (SystemFailed, RecoveryStarted, RecoveryCompleted)
        assert session.heard.names(*recovery) == ["error:system", "recovery:started", "recovery:completed"]
        assert len(session.heard.of(TokenAcquired)) == 2
        assert len(session.heard.of(LinkConnected)) == 1
        await session.untouched()


@on_trio
async def test_a_token_endpoint_that_is_down_until_the_token_ends_costs_no_message() -> None:
    # A1.3, D4.1, D10
    async with open_world(token_lifetime=60.0) as world, running(world) as session:
        await world.hub.refuse_next(1_000_000, 503)
        await session.traffic.send(10)
        await session.until("reconnecting", within=90)
        await session.traffic.send(10)
        await trio.sleep(20)
        assert not await session.client.is_connected()
        await world.hub.refuse_next(0, 503)
        assert await session.until("connected") < BACK_WITHIN
        await session.traffic.settled()
        assert session.heard.of(LinkConnected)[-1].resumed
        await session.untouched()


@on_trio
async def test_a_token_that_the_hub_no_longer_knows_is_refreshed_once_and_the_dial_repeated() -> None:
    # D1.2, A1.8: the hub comes back with other signing keys
    async with open_world() as world, running(world) as session:
        refused = Recorder(session.client)
        world.kill_hub()
        await world.start_hub()
        hub_heard = world.hub.system.events.subscribe(
            wanted=lambda event: isinstance(event, ConnectionRefused)
        )
        assert await session.until("connected") < BACK_WITHIN
        assert hub_heard.get_nowait() == ConnectionRefused(status=401, error="invalid_token")
        assert hub_heard.get_nowait() is None
        assert len(refused.of(TokenAcquired, TokenRefreshed)) == 1


@on_trio
async def test_a_wrong_api_key_fails_at_once_by_name() -> None:
    # A1.3: invalid_credentials is final
    async with open_world() as world, world.client(auth={"api_key": "some-other-key"}) as client:
        with pytest.raises(ConnectFailed, match=r"auth refused for good \(401\): invalid_credentials"):
            await client.connect()
        assert (await client.state()).phase == "idle"
        assert world.requests == [("POST", "/auth/token")]
        # What was sent all the same is kept for a time when it works.
        await client.send({"n": 1})
        assert (await client.delivery_state()).outbox_depth == 1


@on_trio
async def test_logout_forgets_the_tokens_and_connect_logs_in_anew() -> None:
    # A1.7
    async with open_world() as world, running(world) as session:
        await session.client.logout()
        (cleanup,) = session.heard.of(AuthCleanup)
        assert (cleanup.reason, cleanup.tokens_cleared) == ("user_logout", ("access_token", "refresh_token"))
        assert not await session.client.is_authenticated()
        assert not await session.client.validate_token()
        await session.client.disconnect()
        await session.traffic.send(3)
        await session.client.connect()
        assert await session.client.is_authenticated()
        await session.traffic.settled()


@on_trio
async def test_a_lost_token_is_found_and_mended_on_request() -> None:
    # A4.4
    async with open_world() as world, running(world) as session:
        await session.client.logout()
        session.heard.clear()
        status = await session.client.validate_system_state()
        assert status.valid
        recovery = (SystemFailed, RecoveryStarted, RecoveryCompleted)
        assert session.heard.names(*recovery) == ["error:system", "recovery:started", "recovery:completed"]
        assert [event.source for event in session.heard.of(SystemFailed)] == ["auth"]
        assert await session.client.is_authenticated()


# ---- verdicts --------------------------------------------------------------------------------------


def closing_with(code: int) -> Callable[[trio_websocket.WebSocketConnection], Awaitable[None]]:
    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.aclose(code, "for a reason")

    return talk


@on_trio
async def test_a_terminal_close_code_ends_trying_and_reconnect_begins_anew() -> None:
    # SEMANTICS "Time": failed(code), no crash, no charge
    async with open_world() as world, running(world) as session:
        async with instead_of_hub(world.network, accepting(closing_with(4301))) as dials:
            world.network.reset()
            await session.until("failed")
            state = (await session.client.state()).link
            assert (state.code, state.reason) == (4301, "closed: for a reason")
            await session.traffic.send(5)
            await trio.sleep(HOUR)
            assert len(dials) == 1, "nobody tries what cannot work"
            with pytest.raises(ConnectFailed, match=r"link refused for good \(4301\)"):
                await session.client.connect()
            assert len(dials) == 2
        await session.client.reconnect()
        assert await session.until("connected") < BACK_WITHIN
        await session.traffic.settled()
        await session.untouched()


@on_trio
@pytest.mark.parametrize("code, resumed", [(4000, True), (1012, True), (4101, False), (4200, True)])
async def test_the_range_of_a_close_code_carries_its_verdict(code: int, resumed: bool) -> None:
    # REALTIME 1.2, close codes
    async with open_world() as world, running(world) as session:
        async with instead_of_hub(world.network, accepting(closing_with(code))) as dials:
            world.network.reset()
            await until(lambda: bool(dials))
            await trio.sleep(0.25)
        assert await session.until("connected") < BACK_WITHIN
        assert session.heard.of(LinkConnected)[-1].resumed is resumed
        assert len(session.heard.of(TokenRefreshed)) == (code == 4200)
        await session.untouched()


@on_trio
async def test_a_link_that_is_ready_and_lost_for_good_in_one_moment_is_shown_as_failed() -> None:
    # A2.4: what the client shows is the link's latest state, whatever it still had to ask
    lie = accepting(welcoming(closing_with(4301)))
    async with open_world() as world, world.client() as client, instead_of_hub(world.network, lie):
        with suppress(ConnectFailed):
            await client.connect()
        await trio.sleep(1)
        state = await client.state()
        assert (state.link.state, state.link.code) == ("failed", 4301)
        with suppress(ConnectFailed):
            await client.connect()
        await trio.sleep(1)
        assert not await client.is_connected()
