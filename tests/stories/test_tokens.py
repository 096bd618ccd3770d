"""The token's life seen from the session: renewed under it, refused, lost, given up."""

from __future__ import annotations

import pytest
import trio
from tests.stories.story import BACK_WITHIN, running
from tests.stories.world import Recorder, open_world

from holdfast.actors.auth.messages import AuthCleanup, TokenAcquired, TokenExpired, TokenRefreshed
from holdfast.actors.client import ConnectFailed
from holdfast.actors.client.messages import (
    RecoveryCompleted,
    RecoveryStarted,
)
from holdfast.actors.client.messages import SystemError as SystemFailed
from holdfast.actors.hub.messages import ConnectionRefused
from holdfast.actors.socket.messages import Connected as LinkConnected
from holdfast.actors.socket.messages import Disconnected as LinkDisconnected
from holdfast.runtime.testing import on_trio

HOUR = 3_600.0


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
        assert world.http.requests == [("POST", "/auth/token")]
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
