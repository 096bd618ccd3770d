"""The realtime service over memory streams, in virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
import trio
import trio_websocket
from joserfc.jwk import OKPKey
from tests.actors.hub.conftest import Client, Json, MemoryNetwork, World, open_world

from holdfast.actors.hub.messages import (
    ConnectionClosed,
    ConnectionRefused,
    FrameRefused,
    SessionEnded,
    SessionStarted,
)
from holdfast.actors.hub.tokens import TokenSigner
from holdfast.actors.hub.topology import ROOT
from holdfast.runtime import Address, InjectedFault, Secret
from holdfast.runtime.testing import on_trio


async def connected(client: Client, **more: object) -> Json:
    welcome = await client.connect(**more)  # type: ignore[arg-type]
    await client.receive_until("replay.end")
    return welcome


def resume_of(welcome: Json, **cursors: int) -> Json:
    known = {key: welcome[key] for key in ("session", "key", "epoch")}
    return {**known, "recv_seq": 0, "sent_lo": 0, "sent_hi": 0, **cursors}


async def refused(world: World, token: str | None = None, **how: object) -> tuple[int, Json, dict[str, str]]:
    """Try to upgrade, and return the HTTP answer."""
    with pytest.RaisesGroup(
        pytest.RaisesExc(trio_websocket.ConnectionRejected), allow_unwrapped=True, flatten_subgroups=True
    ) as caught:
        async with world.connection(token, **how):  # type: ignore[arg-type]
            pass
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, trio_websocket.ConnectionRejected)
    headers = {name.decode().lower(): value.decode() for name, value in error.headers}
    assert headers["content-type"] == "application/json"
    return error.status_code, json.loads(error.body or b"null"), headers


# -- D1: before the upgrade


@on_trio
async def test_a_valid_token_is_accepted_and_greeted() -> None:  # D1
    async with open_world() as world, world.connection() as client:
        assert client.socket.subprotocol == "rt.v1.json"
        welcome = await connected(client)

    assert welcome["resumed"] is False
    assert (welcome["why"], welcome["recv_seq"], welcome["hb_ms"]) == (None, 0, 10_000)
    assert welcome["token_exp_ms"] == 1_795_000_300_000


@on_trio
async def test_no_token_is_refused_before_anything_is_upgraded() -> None:  # D1
    async with open_world() as world:
        seen = world.hub.system.events.subscribe(wanted=lambda event: isinstance(event, ConnectionRefused))
        status, body, headers = await refused(world, headers=[])
        assert seen.get_nowait() == ConnectionRefused(401, "invalid_token")

    assert (status, body["error"]) == (401, "invalid_token")
    assert headers["www-authenticate"].startswith("Bearer ")


@on_trio
async def test_an_expired_token_is_refused_by_that_name() -> None:  # D1
    async with open_world() as world:
        token = await world.token()
        await trio.sleep(300)
        status, body, _ = await refused(world, token)

    assert (status, body["error"], body["error_description"]) == (401, "invalid_token", "token expired")


@pytest.mark.parametrize("kind", ["foreign", "none", "hmac", "audience", "garbage"])
@on_trio
async def test_a_token_that_the_identity_service_did_not_issue_is_refused(kind: str) -> None:  # D1
    async with open_world() as world:
        good = await world.token()
        head, body, _ = good.split(".")
        seed = b"another key of 32 bytes........."
        stranger = TokenSigner(seed, issuer="holdfast-hub", audience="holdfast-realtime")
        elsewhere = TokenSigner(seed, issuer="holdfast-hub", audience="elsewhere")
        now = world.calendar.now()
        shown = {
            "foreign": stranger.issue("tester", token_id="t", wall_now=now, lifetime=60).reveal(),
            "audience": elsewhere.issue("tester", token_id="t", wall_now=now, lifetime=60).reveal(),
            "none": f"eyJhbGciOiJub25lIn0.{body}.",
            "hmac": f"eyJhbGciOiJIUzI1NiJ9.{body}.{head}",
            "garbage": "not a token",
        }[kind]
        status, answer, _ = await refused(world, shown)

    assert (status, answer["error"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    "headers, status, error",
    [
        ([(b"Authorization", b"Basic abc")], 401, "invalid_token"),
        ([(b"Authorization", b"Bearer a"), (b"Authorization", b"Bearer b")], 400, "invalid_request"),
        ([(b"Authorization", b"Bearer \xff\xfe")], 401, "invalid_token"),
    ],
)
@on_trio
async def test_other_kinds_of_authorization_are_refused(
    headers: list[tuple[bytes, bytes]], status: int, error: str
) -> None:
    async with open_world() as world:
        found, body, _ = await refused(world, headers=headers)

    assert (found, body["error"]) == (status, error)


@on_trio
async def test_the_subprotocol_and_the_path_are_demanded() -> None:
    async with open_world() as world:
        status, body, _ = await refused(world, subprotocols=("other",))
        assert (status, body["error"]) == (400, "unsupported_subprotocol")
        status, body, _ = await refused(world, path="/elsewhere")
        assert (status, body["error"]) == (404, "not_found")


@on_trio
async def test_a_denied_client_and_one_too_many_are_told_so() -> None:
    async with open_world(denied_clients=("eve",), connections_max=3, connections_per_client=2) as world:
        tokens = {name: await world.token(name) for name in ("alice", "bob", "carol")}
        # Eve was denied after she had signed in.
        seed_row = world.hub._parts.grants.signing_seed(0)
        signer = TokenSigner(seed_row, issuer="holdfast-hub", audience="holdfast-realtime")
        eve = signer.issue("eve", token_id="t", wall_now=world.calendar.now(), lifetime=60).reveal()
        assert (await refused(world, eve))[0] == 403

        async with world.connection(tokens["alice"]), world.connection(tokens["alice"]):
            status, body, headers = await refused(world, tokens["alice"])
            assert (status, body["error"], headers["retry-after"]) == (429, "connection_limit", "5")
            async with world.connection(tokens["bob"]):
                status, body, headers = await refused(world, tokens["carol"])
                assert (status, body["error"], headers["retry-after"]) == (503, "connection_limit", "5")


@on_trio
async def test_a_client_that_dials_in_haste_is_told_to_wait() -> None:
    async with open_world(upgrades=3, upgrade_window=30.0) as world:
        token = await world.token()
        for _ in range(3):
            async with world.connection(token):
                pass
        status, body, headers = await refused(world, token)
        assert (status, body["error"], headers["retry-after"]) == (429, "rate_limited", "10")
        await trio.sleep(10)
        async with world.connection(token):
            pass


@on_trio
async def test_while_the_identity_service_does_not_answer_upgrades_are_put_off() -> None:
    async with open_world() as world:
        token = await world.token()
        identity = world.hub.system.ref(f"{ROOT}/identity")
        cell = identity.slot.cell
        assert cell is not None
        cell.suspend()
        status, body, headers = await refused(world, token)
        cell.resume()

    assert (status, body["error"], headers["retry-after"]) == (503, "temporarily_unavailable", "1")


@on_trio
async def test_somebody_who_never_asks_to_be_upgraded_is_hung_up_on() -> None:
    async with open_world() as world:
        port = int(world.hub.realtime_url.rpartition(":")[2].partition("/")[0])
        silent = await world.seams.connect(Address("127.0.0.1", port))
        garbage = await world.seams.connect(Address("127.0.0.1", port))
        await garbage.send_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        with trio.fail_after(6):
            while await garbage.receive_some():
                pass
            assert await silent.receive_some() == b""
        async with world.connection() as client:
            await connected(client)


@on_trio
async def test_a_browser_may_bring_its_token_in_connect_where_that_is_allowed() -> None:
    async with open_world(connect_token=True) as world:
        token = await world.token()
        async with world.connection(headers=[]) as client:
            await connected(client, token=token)
        async with world.connection(headers=[]) as client:
            await client.receive_until("hello")
            await client.send(type="connect", payload={"client_id": "x", "token": "forged"})
            assert (await client.receive())["payload"]["code"] == "invalid_token"
            assert (await client.closed())[0] == 4200


# -- messages


@on_trio
async def test_what_is_published_reaches_every_subscriber_and_not_the_others() -> None:
    async with open_world() as world:
        tokens = [await world.token(name) for name in ("alice", "bob", "carol")]
        async with (
            world.connection(tokens[0]) as alice,
            world.connection(tokens[1]) as bob,
            world.connection(tokens[2]) as carol,
        ):
            for client in (alice, bob, carol):
                await connected(client)
            for client in (alice, bob):
                await client.send(type="msg.subscribe", seq=1, id="s", payload={"channel": "room"})
                await client.receive_until("ack")
            await alice.send(type="msg.publish", seq=2, id="p-1", ch="room", payload={"text": "hi"})
            for client in (alice, bob):
                event = await client.receive_until("msg.event")
                assert (event["ch"], event["id"], event["seq"]) == ("room", "p-1", 1)
                assert event["payload"] == {"text": "hi"}
            await bob.send(type="msg.unsubscribe", seq=2, id="u", payload={"channel": "room"})
            await bob.receive_until("ack")
            await alice.send(type="msg.publish", seq=3, id="p-2", ch="room", payload={})
            await alice.receive_until("msg.event")
            for quiet in (bob, carol):
                await quiet.send(type="ping", payload={"n": 1})
                assert (await quiet.receive())["type"] == "pong"

        assert [effect.id for effect in world.hub.effects()] == ["s", "s", "p-1", "u", "p-2"]


@on_trio
async def test_an_echo_comes_back_reliably_and_names_what_it_answers() -> None:
    async with open_world() as world, world.connection() as client:
        await connected(client)
        await client.send(type="msg.echo", seq=1, id="m-1", payload={"n": 1})
        event = await client.receive_until("msg.event")

    assert (event["re"], event["seq"], event["ack"], event["payload"]) == ("m-1", 1, 1, {"n": 1})
    assert event["id"] not in {"m-1", None}


@on_trio
async def test_volatile_messages_are_passed_on_to_those_present_and_never_logged() -> None:  # D7
    async with open_world() as world, world.connection() as client:
        await connected(client)
        await client.send(type="msg.subscribe", seq=1, id="s", payload={"channel": "room"})
        await client.receive_until("ack")
        await client.send(type="msg.publish", ch="room", payload={"typing": True})
        event = await client.receive_until("msg.event")
        assert "seq" not in event
        assert event["payload"] == {"typing": True}
        assert [effect.id for effect in world.hub.effects()] == ["s"]


@on_trio
async def test_unknown_types_are_acknowledged_counted_and_otherwise_ignored() -> None:
    async with open_world() as world, world.connection() as client:
        await connected(client)
        await client.send(type="future.thing", seq=1, id="f", payload={})
        await client.send(type="future.volatile")
        assert (await client.receive_until("ack"))["ack"] == 1
        assert (await world.hub.state()).ignored == 2


@on_trio
async def test_a_batch_is_understood_and_answered_in_kind() -> None:
    async with open_world() as world, world.connection() as client:
        assert (await connected(client, caps=["batch"]))["caps"] == ["batch"]
        batch: list[Json] = [
            {"type": "msg.echo", "seq": n, "id": f"m-{n}", "payload": {}} for n in range(1, 40)
        ]
        await client.send_raw(json.dumps(batch))
        found = [await client.receive_until("msg.event") for _ in range(39)]

    assert [frame["re"] for frame in found] == [f"m-{n}" for n in range(1, 40)]


# -- bad input


@on_trio
async def test_bad_frames_are_answered_and_the_session_goes_on() -> None:  # A3.3
    async with open_world() as world, world.connection() as client:
        refusals = world.hub.system.events.subscribe(wanted=lambda event: isinstance(event, FrameRefused))
        await connected(client)
        for message in ("no json", b"\x00\x01", "[]", '{"type": 7}', '{"type":"x","payload":[]}'):
            await client.send_raw(message)
            error = await client.receive_until("error")
            assert set(error["payload"]) >= {"code", "message", "retryable"}
            assert refusals.get_nowait() is not None
        await client.send(type="msg.echo", seq=1, id="m", payload={})
        assert (await client.receive_until("msg.event"))["re"] == "m"


@on_trio
async def test_a_subscription_without_a_channel_is_answered_and_acknowledged() -> None:
    async with open_world(channels_max=1) as world, world.connection() as client:
        await connected(client)
        await client.send(type="msg.subscribe", seq=1, id="a", payload={})
        error = await client.receive_until("error")
        assert (error["re"], error["payload"]["code"]) == ("a", "bad_payload")
        await client.send(type="msg.subscribe", seq=2, id="b", payload={"channel": "one"})
        await client.send(type="msg.subscribe", seq=3, id="c", payload={"channel": "two"})
        error = await client.receive_until("error")
        assert (error["re"], error["payload"]["code"]) == ("c", "too_many_channels")


@pytest.mark.parametrize("size, code", [(2_100, 4306), (20_000, 1009)])
@on_trio
async def test_an_oversized_frame_closes_the_connection_and_loses_nothing(size: int, code: int) -> None:
    async with open_world(max_frame=2_048, window_bytes=4_096) as world:
        async with world.connection() as client:
            welcome = await connected(client)
            await client.send(type="msg.publish", seq=1, id="m-1", payload={})
            await client.receive_until("ack")
            await client.send(type="msg.publish", seq=2, id="m-2", payload={"pad": "x" * size})
            assert (await client.closed())[0] == code
        async with world.connection() as client:
            again = await connected(client, resume=resume_of(welcome))
            assert (again["resumed"], again["recv_seq"]) == (True, 1)


@on_trio
async def test_a_payload_that_would_not_fit_into_its_event_is_refused_by_name() -> None:
    async with open_world(max_frame=2_048, window_bytes=4_096) as world, world.connection() as client:
        await connected(client)
        text = json.dumps({"type": "msg.echo", "seq": 1, "id": "m", "payload": {"pad": "x" * 1_960}})
        assert len(text) <= 2_048
        await client.send_raw(text)
        error = await client.receive_until("error")

    assert (error["re"], error["payload"]["code"]) == ("m", "payload_too_big")


@on_trio
async def test_noise_of_any_kind_ends_one_connection_and_nothing_else() -> None:
    random = Random(5)
    async with open_world(connections_per_client=100) as world:
        token = await world.token()
        for _ in range(30):
            async with world.connection(token) as client:
                await connected(client)
                await client.stream.send_all(random.randbytes(random.randrange(1, 300)))
                await trio.sleep(0.01)
        assert world.hub.system.ref(f"{ROOT}/realtime").slot.incarnation == 1
        async with world.connection() as client:
            await connected(client)


# -- resume


@on_trio
async def test_a_client_that_comes_back_gets_what_it_missed_with_the_same_numbers() -> None:  # D4.3
    async with open_world() as world:
        async with world.connection() as client:
            welcome = await connected(client)
            await client.send(type="msg.subscribe", seq=1, id="s", payload={"channel": "room"})
            await client.receive_until("ack")
        async with world.connection(await world.token("other")) as other:
            await connected(other)
            for n in range(1, 4):
                await other.send(type="msg.publish", seq=n, id=f"p-{n}", ch="room", payload={"n": n})
            await other.receive_until("ack")
        async with world.connection() as client:
            again = await client.connect(resume=resume_of(welcome, recv_seq=0))
            frames = [await client.receive() for _ in range(4)]

    assert (again["resumed"], again["session"], again["recv_seq"]) == (True, welcome["session"], 1)
    assert again["key"] != welcome["key"]
    assert [(frame["type"], frame.get("seq"), frame.get("id")) for frame in frames] == [
        ("msg.event", 1, "p-1"), ("msg.event", 2, "p-2"), ("msg.event", 3, "p-3"), ("replay.end", None, None),
    ]  # fmt: skip
    assert frames[-1]["payload"] == {"through": 3}


@on_trio
async def test_a_backlog_beyond_the_window_follows_as_the_client_acknowledges() -> None:
    async with open_world(window_frames=4) as world, world.connection() as client:
        await connected(client)
        for n in range(1, 11):
            await client.send(type="msg.echo", seq=n, id=f"m-{n}", payload={"n": n})
        seen = [(await client.receive_until("msg.event"))["payload"]["n"] for _ in range(4)]
        with pytest.raises(trio.TooSlowError), trio.fail_after(5):
            await client.receive_until("msg.event")
        await client.send(type="ack", ack=2)
        seen += [(await client.receive_until("msg.event"))["payload"]["n"] for _ in range(2)]
        await client.send(type="ack", ack=6)
        seen += [(await client.receive_until("msg.event"))["payload"]["n"] for _ in range(4)]

    assert seen == list(range(1, 11))


@on_trio
async def test_a_half_open_connection_loses_its_session_to_the_newer_one() -> None:
    async with open_world() as world, world.connection() as older:
        welcome = await connected(older)
        async with world.connection() as newer:
            again = await connected(newer, resume=resume_of(welcome))
            assert again["resumed"] is True
            assert (await older.closed())[0] == 4304
            state = await world.hub.state()
            assert (state.sessions, state.attached) == (1, 1)


@pytest.mark.parametrize(
    "change, why",
    [
        ({"session": "s-invented"}, "unknown"),
        ({"key": "guess"}, "taken"),
        ({"epoch": "older"}, "epoch"),
        ({"recv_seq": 9}, "gap"),
        ({"sent_lo": 7, "sent_hi": 9}, "gap"),
    ],
)
@on_trio
async def test_a_claim_that_does_not_fit_gets_a_new_session_and_the_reason(change: Json, why: str) -> None:
    async with open_world() as world:
        async with world.connection() as client:
            welcome = await connected(client)
        async with world.connection() as client:
            again = await connected(client, resume={**resume_of(welcome), **change})

    assert (again["resumed"], again["why"], again["recv_seq"]) == (False, why, 0)
    assert again["session"] != welcome["session"]


@on_trio
async def test_nobody_resumes_a_session_of_somebody_else() -> None:  # D5
    async with open_world() as world:
        async with world.connection(await world.token("alice")) as client:
            welcome = await connected(client)
        async with world.connection(await world.token("mallory")) as client:
            again = await connected(client, resume=resume_of(welcome))

    assert (again["resumed"], again["why"]) == (False, "unknown")


@on_trio
async def test_a_session_that_waited_too_long_is_gone() -> None:
    async with open_world(session_ttl=100.0, token_lifetime=10_000.0) as world:
        ended = world.hub.system.events.subscribe(wanted=lambda event: isinstance(event, SessionEnded))
        async with world.connection() as client:
            welcome = await connected(client)
        await trio.sleep(99)
        async with world.connection() as client:
            welcome = await connected(client, resume=resume_of(welcome))
            assert welcome["resumed"] is True
        await trio.sleep(161)
        gone = ended.get_nowait()
        assert isinstance(gone, SessionEnded)
        assert gone.reason == "expired"
        async with world.connection() as client:
            assert (await connected(client, resume=resume_of(welcome)))["why"] == "unknown"


@on_trio
async def test_bye_gives_the_session_up() -> None:
    async with open_world() as world, world.connection() as client:
        await connected(client)
        await client.send(type="bye", payload={"reason": "done"})
        assert (await client.closed())[0] == 1000
        assert (await world.hub.state()).sessions == 0


@on_trio
async def test_a_client_that_forgets_its_sessions_does_not_fill_the_hub() -> None:
    async with open_world(sessions_per_client=2) as world:
        for _ in range(5):
            async with world.connection() as client:
                await connected(client)
            await trio.sleep(0.1)
        assert (await world.hub.state()).sessions == 2


@on_trio
async def test_a_hub_that_holds_no_more_sessions_asks_to_come_back_later() -> None:
    async with open_world(sessions_max=1) as world:
        tokens = [await world.token(name) for name in ("alice", "bob")]
        async with world.connection(tokens[0]) as alice, world.connection(tokens[1]) as bob:
            await connected(alice)
            await bob.receive_until("hello")
            await bob.send(type="connect", payload={"client_id": "bob"})
            assert (await bob.closed())[0] == 1013
        await trio.sleep(0.1)
        async with world.connection(tokens[1]) as bob:
            assert (await connected(bob))["resumed"] is False, "alice's detached session made room"


@on_trio
async def test_strangers_are_bounded_before_they_have_said_a_word() -> None:
    async with open_world(connections_max=1) as world:
        port = int(world.hub.realtime_url.rpartition(":")[2].partition("/")[0])
        silent = [await world.seams.connect(Address("127.0.0.1", port)) for _ in range(130)]
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(1):
            assert await silent[-1].receive_some() == b""
        with trio.move_on_after(1) as patience:
            await silent[0].receive_some()
        assert patience.cancelled_caught


@on_trio
async def test_a_backlog_that_overflows_ends_the_session_and_says_so() -> None:
    async with open_world(backlog_frames=3) as world:
        ended = world.hub.system.events.subscribe(wanted=lambda event: isinstance(event, SessionEnded))
        async with world.connection() as client:
            welcome = await connected(client)
            for n in range(1, 5):
                await client.send(type="msg.echo", seq=n, id=f"m-{n}", payload={})
            assert (await client.closed())[0] == 4104
        gone = ended.get_nowait()
        assert isinstance(gone, SessionEnded)
        assert gone.undelivered == 3
        async with world.connection() as client:
            assert (await connected(client, resume=resume_of(welcome)))["why"] == "unknown"


# -- time


@on_trio
async def test_a_silent_client_is_dropped_and_may_resume() -> None:
    async with open_world() as world:
        closed = world.hub.system.events.subscribe(wanted=lambda event: isinstance(event, ConnectionClosed))
        async with world.connection() as client:
            welcome = await connected(client)
            await trio.sleep(14.9)
            assert closed.get_nowait() is None
            await trio.sleep(0.2)
            ended = closed.get_nowait()
            assert isinstance(ended, ConnectionClosed)
            assert "nothing heard" in ended.reason
        async with world.connection() as client:
            assert (await connected(client, resume=resume_of(welcome)))["resumed"] is True


@on_trio
async def test_a_client_that_pings_stays() -> None:
    async with open_world(token_lifetime=10_000.0) as world, world.connection() as client:
        await connected(client)
        for n in range(20):
            await trio.sleep(10)
            await client.send(type="ping", payload={"n": n})
            assert (await client.receive_until("pong"))["payload"] == {"n": n}


@on_trio
async def test_a_token_that_ends_is_announced_and_then_closes_with_4200() -> None:  # D1
    async with open_world(token_lifetime=60.0, heartbeat=1_000.0) as world, world.connection() as client:
        await connected(client)
        with trio.fail_after(48.1):
            assert (await client.receive_until("auth.expiring"))["payload"] == {"in_ms": 12_000}
        assert (await client.closed())[0] == 4200


@on_trio
async def test_a_refreshed_token_keeps_the_connection_beyond_the_old_ones_end() -> None:  # A1.8, D1
    async with open_world(token_lifetime=60.0, heartbeat=1_000.0) as world, world.connection() as client:
        await connected(client)
        await trio.sleep(50)
        await client.send(type="auth.refresh", id="r-1", payload={"token": await world.token()})
        answer = await client.receive_until("auth.ok")
        assert (answer["re"], answer["payload"]["exp_ms"]) == ("r-1", 1_795_000_110_000)
        await trio.sleep(40)
        await client.send(type="msg.echo", seq=1, id="m", payload={})
        assert (await client.receive_until("msg.event"))["re"] == "m"
        assert (await client.closed())[0] == 4200


@on_trio
async def test_a_forged_refresh_is_refused_and_changes_nothing() -> None:
    async with open_world() as world, world.connection() as client:
        await connected(client)
        await client.send(type="auth.refresh", id="r", payload={"token": "forged"})
        error = await client.receive_until("error")
        assert (error["re"], error["payload"]["code"]) == ("r", "invalid_token")
        await client.send(type="msg.echo", seq=1, id="m", payload={})
        assert (await client.receive_until("msg.event"))["re"] == "m"


@on_trio
async def test_a_client_that_never_says_connect_is_closed_with_4202() -> None:
    async with open_world() as world, world.connection() as client:
        with trio.fail_after(10.1):
            assert (await client.closed())[0] == 4202


@on_trio
async def test_a_client_that_acknowledges_nothing_is_a_slow_consumer() -> None:
    async with open_world(heartbeat=1_000.0) as world, world.connection() as client:
        await connected(client)
        await client.send(type="msg.echo", seq=1, id="m", payload={})
        with trio.fail_after(30.1):
            assert (await client.closed())[0] == 4002


# -- what survives


@on_trio
async def test_a_crash_of_the_realtime_actor_loses_no_session_and_keeps_the_port() -> None:
    async with open_world() as world:
        url = world.hub.realtime_url
        async with world.connection() as client:
            welcome = await connected(client)
            await client.send(type="msg.subscribe", seq=1, id="s", payload={"channel": "room"})
            await client.receive_until("ack")
            world.hub.system.ref(f"{ROOT}/realtime").tell(InjectedFault(RuntimeError("on purpose")))
            await client.closed()
        await trio.testing.wait_all_tasks_blocked()
        assert world.hub.realtime_url == url
        async with world.connection() as client:
            again = await connected(client, resume=resume_of(welcome))
            assert (again["resumed"], again["recv_seq"]) == (True, 1)
            await client.send(type="msg.publish", seq=2, id="p", ch="room", payload={})
            assert (await client.receive_until("msg.event"))["id"] == "p"


@on_trio
async def test_a_hub_that_is_opened_again_over_its_store_has_its_sessions(tmp_path: Path) -> None:
    path, network = tmp_path / "hub.db", MemoryNetwork()
    async with open_world(store_path=path, network=network) as world, world.connection() as client:
        welcome = await connected(client)
        await client.send(type="msg.echo", seq=1, id="m-1", payload={"n": 1})
        await client.receive_until("msg.event")
    async with open_world(store_path=path, network=network, seed=2) as world, world.connection() as client:
        again = await client.connect(resume=resume_of(welcome))
        event = await client.receive()
        assert (again["resumed"], again["recv_seq"]) == (True, 1)
        assert (event["re"], event["seq"]) == ("m-1", 1)


@on_trio
async def test_a_hub_that_stops_asks_its_clients_to_come_back_later() -> None:
    network = MemoryNetwork()
    async with open_world(network=network) as world, world.connection() as client:
        started = world.hub.system.events.subscribe(wanted=lambda event: isinstance(event, SessionStarted))
        await connected(client)
        assert started.get_nowait() is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.hub.drain)
            goaway = await client.receive_until("goaway")
            assert goaway["payload"]["reconnect_in_ms"] == [500, 5_000]
            assert (await client.closed())[0] == 4003
        assert network.listeners.keys() != {}
        with pytest.raises(OSError, match="refused"):
            async with world.connection():
                pass


def test_the_signing_key_never_leaves_the_identity_service_in_plain() -> None:
    signer = TokenSigner(b"s" * 32, issuer="i", audience="a")

    assert b"PRIVATE" not in signer.public_key
    assert OKPKey.import_key(signer.public_key).is_private is False
    assert "s" * 32 not in repr(Secret("s" * 32))
