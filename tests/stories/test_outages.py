"""What a session goes through and comes out of: cuts, silence, restarts of the hub, verdicts.

With the product's own time constants; `Traffic` is the witness that nothing is
lost, doubled or reordered in either direction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio_websocket
from tests.stories.peers import accepting, instead_of_hub, welcoming
from tests.stories.story import BACK_WITHIN, running
from tests.stories.world import flat_nursery, open_world, until

from holdfast.actors.auth.messages import TokenRefreshed
from holdfast.actors.client import ConnectFailed, ConnectTimeout
from holdfast.actors.client.messages import (
    Authenticating,
    Connected,
    Connecting,
    Ready,
)
from holdfast.actors.delivery.messages import ContinuityLost
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
from holdfast.specs import LATENCY

HOUR = 3_600.0


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
        # They take effect at the hub, and its acknowledgements are lost on their way.
        await trio.sleep(1.5 * LATENCY)
        assert session.traffic.arrived() == session.traffic.sent
        world.network.weather = "refusing"
        world.network.reset()
        assert (await session.client.delivery_state()).outbox_depth == 20
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
