"""Bad input: each a clear error of what was wanted and what came; the session goes on, nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import apsw
import attrs
import httpx2
import pytest
import trio
import trio_websocket
from tests.stories.peers import HELLO, Script, Talk, accepting, instead_of_hub, welcoming
from tests.stories.story import BACK_WITHIN, Story, running
from tests.stories.world import (
    API_KEY,
    REALTIME_PORT,
    Recorder,
    budgets,
    flat_nursery,
    incarnations,
    open_world,
    until,
)

from holdfast.actors.auth.messages import AuthError, TokenRefreshed
from holdfast.actors.avatar.messages import AvatarValueRefused
from holdfast.actors.client import ConnectTimeout, InvalidArgument, SendFailed, open_client
from holdfast.actors.client.messages import UnknownRecovery
from holdfast.actors.config.messages import ConfigRejected, ConfigurationError
from holdfast.actors.delivery.messages import MessageInvalid, MessageTooLarge, StateRefused
from holdfast.actors.hub.avatar_sessions import SANDBOX_AVATAR
from holdfast.actors.reconnect.messages import ErrorClassified
from holdfast.actors.socket.messages import Connected as LinkConnected
from holdfast.actors.socket.messages import Disconnected as LinkDisconnected
from holdfast.actors.socket.messages import FrameRejected
from holdfast.runtime import CrashReported, HoldfastError, StartFailed
from holdfast.runtime.seams import StoreUnreadable
from holdfast.runtime.testing import on_trio
from holdfast.specs import LATENCY
from holdfast.supervisors import CallRefused, restart_path

# ---- configuration ---------------------------------------------------------------------------------


@on_trio
async def test_every_wrong_key_is_named_with_what_was_wanted_and_what_came() -> None:
    # A7.1, A7.3: all at once; the url has no default
    wrong = {
        "connection": {"timout": 5},
        "reconnect": {"max_retries": "many", "max_delay": -1},
        "auth": {"api_key": API_KEY},
    }
    with pytest.raises(ConfigurationError) as refused:
        async with open_client(wrong):
            pytest.fail("nothing opens with such a configuration")
    said = str(refused.value)
    for wanted in (
        "connection.timout",
        "did you mean connection.timeout",
        "reconnect.max_retries",
        "many",
        "connection.url",
        "auth.api_endpoint",
    ):
        assert wanted in said, said
    assert API_KEY.reveal() not in said


@on_trio
async def test_a_configuration_that_speaks_plainly_to_strangers_is_refused() -> None:
    # A3.1
    wrong = {"connection": {"url": "ws://hub.example"}, "auth": {"api_endpoint": "http://hub.example"}}
    with pytest.raises(ConfigurationError) as refused:
        async with open_client(wrong):
            pytest.fail("nothing opens with such a configuration")
    said = str(refused.value)
    assert "wss://" in said
    assert "https" in said


@on_trio
async def test_a_file_that_was_broken_while_running_keeps_the_last_good_configuration(tmp_path: Path) -> None:
    # Beyond OTP 7, A7.3
    file = tmp_path / "holdfast.toml"
    good = (
        f'[connection]\nurl = "ws://127.0.0.1:{REALTIME_PORT}/realtime"\n'
        f'[auth]\napi_endpoint = "http://127.0.0.1:8001"\napi_key = "{API_KEY.reveal()}"\n'
        '[logging]\nlevel = "ERROR"\n'
    )
    file.write_text(good)
    async with open_world() as world, world.client_of(file) as client:
        heard = Recorder(client)
        await client.connect()
        file.write_text(good + "lvel = 1\n")
        await restart_path(client.system, "holdfast/foundation/config")
        (rejected,) = heard.of(ConfigRejected)
        assert "logging.lvel" in rejected.problems[0]
        await client.echo({"n": 1})
        assert (await client.receive()).payload == {"n": 1}


@on_trio
@pytest.mark.parametrize("content", [b"this is no database at all, not even nearly" * 100, None])
async def test_a_store_that_is_none_of_ours_is_named_and_left_as_it_is(
    content: bytes | None, tmp_path: Path
) -> None:
    # Bad input: nothing is thrown away unasked
    file = tmp_path / "client.db"
    if content is None:
        with apsw.Connection(str(file)) as other:
            other.execute("create table recipes (name text)")
        other.close()
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    async with open_world() as world:
        with pytest.raises((StoreUnreadable, StartFailed), match=r"database") as refused:
            async with world.client(delivery={"store": file}):
                pytest.fail("nothing opens on such a store")
        assert "database" in str(refused.value)
    assert file.read_bytes()[: len(before)] == before


# ---- calls -----------------------------------------------------------------------------------------


@attrs.frozen
class Wrong:
    """A call of the facade that its types would not allow, and what is said about it."""

    verb: str
    arguments: tuple[object, ...]
    error: type[HoldfastError]
    said: str
    named: Mapping[str, object] = attrs.field(factory=dict[str, object])


WRONG: dict[str, Wrong] = {
    "an object in a payload": Wrong(
        "send", ({"x": object()},), InvalidArgument, "a mapping that JSON can hold"
    ),
    "a list for a payload": Wrong("send", ([1],), InvalidArgument, "payload must be a mapping.*got list"),
    "half a character": Wrong("send", ({"x": "\ud800"},), InvalidArgument, "payload must be"),
    "a number for a type": Wrong(
        "send", ({},), InvalidArgument, "type must be a string, got int 5", {"type": 5}
    ),
    "a number for a channel": Wrong(
        "send", ({},), InvalidArgument, "channel must be a string", {"channel": 5}
    ),
    "a number for an id": Wrong("send", ({},), InvalidArgument, "id must be a string, got int 5", {"id": 5}),
    "a type of the protocol": Wrong("send", ({},), MessageInvalid, "got 'hello'", {"type": "hello"}),
    "no type": Wrong("send", ({},), MessageInvalid, "1 to 256 characters, got 0", {"type": ""}),
    "too large a payload": Wrong("send", ({"x": "y" * 300_000},), MessageTooLarge, "at most 262144 bytes"),
    "a list for a state": Wrong("preserve_state", ([1],), InvalidArgument, "state must be a mapping"),
    "too large a state": Wrong("preserve_state", ({"x": "y" * 1_100_000},), StateRefused, "at most 1048576"),
    "a number for a name": Wrong(
        "preserved_state", (), InvalidArgument, "name must be a string", {"name": 5}
    ),
    "an unknown recovery": Wrong("recover_from_error", ("all",), UnknownRecovery, "got 'all'"),
    "another sample rate": Wrong(
        "synchronize_with_voice", ("v", bytes(4)), AvatarValueRefused, "24000 Hz", {"sample_rate": 16_000}
    ),
    "text for audio": Wrong(
        "synchronize_with_voice", ("v", "text"), InvalidArgument, "audio_data must be bytes"
    ),
    "a number for an avatar": Wrong("initialize_avatar", (5,), InvalidArgument, "avatar_id must be a string"),
}


@on_trio
@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_call_is_refused_by_name_and_crashes_nobody(what: str) -> None:
    # Bad input; SEMANTICS "Supervision beyond OTP" 4: crashes are for our own bugs
    wrong = WRONG[what]
    avatar = {"enabled": True, "avatar_id": SANDBOX_AVATAR, "is_sandbox": True}
    async with open_world() as world, running(world, avatar=avatar) as story:
        with pytest.raises(wrong.error, match=wrong.said):
            await getattr(story.client, wrong.verb)(*wrong.arguments, **wrong.named)
        await story.untouched()
        await story.traffic.send(1)
        await story.traffic.settled()


@on_trio
async def test_a_message_that_crashes_delivery_every_time_does_not_take_the_tree_with_it(
    tmp_path: Path,
) -> None:
    # Actors 5: a message over which an actor crashed is not asked for ever
    async with open_world() as world, running(world, delivery={"store": tmp_path / "client.db"}) as story:
        store = world.stores[0]
        changed: list[str] = []

        def undo_appends() -> bool:
            poisoned = "outbox" in changed
            changed.clear()
            return poisoned

        store.set_update_hook(lambda kind, database, table, row: changed.append(table))
        store.set_commit_hook(undo_appends)
        with pytest.raises(SendFailed, match="sending it again with the same id cannot double it"):
            await story.client.send({"n": -1}, id="poison")
        store.set_commit_hook(None)
        store.set_update_hook(None)
        assert (await incarnations(story.client))["session/delivery"] == 4
        assert (await budgets(story.client))["holdfast"] == (3, 3)
        await story.traffic.send(5)
        await story.traffic.settled()


@on_trio
@pytest.mark.parametrize(
    "path", ["holdfast/session/nobody", "holdfast/nowhere/auth", "nobody", "", "holdfast/session/auth/child"]
)
async def test_a_restart_of_a_path_that_does_not_exist_is_refused_by_name(path: str) -> None:
    # Bad input: a control command
    async with open_world() as world, running(world) as story:
        with pytest.raises(CallRefused) as refused:
            await restart_path(story.client.system, path)
        assert repr(path) in str(refused.value) or repr(path.rpartition("/")[2]) in str(refused.value)
        await story.untouched()


@on_trio
@pytest.mark.parametrize("path", ["session/auth", "session/delivery", "session/link", "session", ""])
async def test_a_restart_by_an_operator_is_orderly_and_costs_no_budget(path: str) -> None:
    # Beyond OTP 11
    async with open_world() as world, running(world) as story:
        async with flat_nursery() as nursery:
            nursery.start_soon(lambda: story.traffic.send(100, every=1 / 64))
            await trio.sleep(0.5)
            await restart_path(story.client.system, f"holdfast/{path}".rstrip("/"))
        await story.traffic.settled()
        await story.until("connected")
        assert not story.heard.of(CrashReported)
        assert all(left == whole for left, whole in (await budgets(story.client)).values())


# ---- lying peers -----------------------------------------------------------------------------------


async def _garbage(stream: trio.abc.Stream) -> None:
    await stream.receive_some()
    await stream.send_all(bytes(range(256)) * 8)
    await trio.sleep(1)


async def _html(stream: trio.abc.Stream) -> None:
    await stream.receive_some()
    body = b"<html>Please log in to the hotel's network</html>"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
    await stream.send_all(head.encode() + body)
    await trio.sleep(1)


async def _endless(stream: trio.abc.Stream) -> None:
    await stream.receive_some()
    while True:
        await stream.send_all(b"x" * 4_096)


async def _silent(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def _gone(stream: trio.abc.Stream) -> None:
    await trio.lowlevel.checkpoint()


async def _listen(connection: trio_websocket.WebSocketConnection) -> None:
    while True:
        await connection.get_message()


def _saying(*texts: str | bytes) -> Talk:
    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        for text in texts:
            await connection.send_message(text)
        await _listen(connection)

    return talk


def _hello(**changes: object) -> str:
    return json.dumps({"type": "hello", "payload": {**HELLO, **changes}})


# What each of them is taken for; none of them is anybody's crash, and all are tried again.
PASSING: dict[str, tuple[Script, str]] = {
    "bytes that are no HTTP": (_garbage, "protocol"),
    "a page instead of an upgrade": (_html, "rejected"),
    "an answer without end": (_endless, "protocol"),
    "no answer at all": (_silent, "timeout"),
    "a stream that ends": (_gone, "reset"),
    "no hello": (accepting(_listen), "timeout"),
    "a hello that is no JSON": (accepting(_saying("<hello/>", b"\x00\x01")), "timeout"),
    "a hello without its fields": (accepting(_saying('{"type":"hello","payload":{"v":"one"}}')), "timeout"),
    "a welcome before the hello": (accepting(_saying('{"type":"welcome","payload":{}}')), "timeout"),
    "a welcome that is a list": (
        accepting(_saying(_hello(), '{"type":"welcome","payload":[]}')),
        "timeout",
    ),
}


async def _meet(story: Story, script: Script) -> None:
    """Cut the link and have the peer answer one dial."""
    async with instead_of_hub(story.world.network, script) as served:
        story.world.network.reset()
        await until(lambda: bool(served))
        await story.traffic.send(5)
        known = len(story.heard.of(LinkDisconnected))
        await until(lambda: len(story.heard.of(LinkDisconnected)) > known)


@on_trio
@pytest.mark.parametrize("lie", PASSING)
async def test_a_peer_that_talks_nonsense_is_named_and_tried_again(lie: str) -> None:
    # Bad input: unreachable or lying peers; A2.6, A2.7
    script, kind = PASSING[lie]
    async with open_world() as world, running(world) as story:
        await story.traffic.send(5)
        await _meet(story, script)
        assert kind in {event.classification for event in story.heard.of(ErrorClassified)}
        assert all(event.error for event in story.heard.of(ErrorClassified))
        assert await story.until("connected") < BACK_WITHIN
        await story.traffic.settled()
        await story.untouched()


# Those that trying again cannot cure: the state says why, and `reconnect()` tries again.
TERMINAL: dict[str, tuple[Script, int, str]] = {
    "no subprotocol": (accepting(_listen, subprotocol=None), 4303, "does not speak rt.v1.json"),
    "another version": (
        accepting(_saying(_hello(v=2))),
        4303,
        "speaks version 2 of the protocol, we speak 1",
    ),
    "a frame beyond every bound": (
        accepting(welcoming(_saying('{"type":"msg.event","payload":{"x":"' + "y" * 300_000 + '"}}'))),
        4306,
        "262144",
    ),
}


@on_trio
@pytest.mark.parametrize("lie", TERMINAL)
async def test_a_peer_that_cannot_be_talked_to_leaves_the_link_failed_with_the_reason(lie: str) -> None:
    # SEMANTICS "Time": terminal verdicts
    script, code, said = TERMINAL[lie]
    async with open_world() as world, running(world) as story:
        await story.traffic.send(5)
        await story.traffic.settled()
        async with instead_of_hub(world.network, script):
            world.network.reset()
            await story.until("failed")
        state = (await story.client.state()).link
        assert state.code == code
        assert said in state.reason
        await story.untouched()
        await story.client.reconnect()
        assert await story.until("connected") < BACK_WITHIN
        await story.traffic.send(5)
        await story.traffic.settled()


def _frame(text: bytes, opcode: int = 1) -> bytes:
    """Return a WebSocket frame as a server sends it."""
    assert len(text) < 126
    return bytes([0x80 | opcode, len(text)]) + text


MALFORMED = {
    "no JSON": _frame(b"{{{{"),
    "no object": _frame(b'"text"'),
    "no type": _frame(b'{"payload":{}}'),
    "a type that is a number": _frame(b'{"type":7}'),
    "a sequence number of nothing": _frame(b'{"type":"msg.event","seq":0,"payload":{}}'),
    "a payload that is a list": _frame(b'{"type":"msg.event","payload":[1]}'),
    "bytes": _frame(b"\x00\xff", opcode=2),
    "a pong of nothing": _frame(b'{"type":"pong","payload":{"n":"x"}}'),
}


@on_trio
@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_frame_is_named_and_the_connection_goes_on(what: str) -> None:
    # A3.3
    async with open_world() as world, running(world) as story:
        (wire,) = world.network.open_wires(port=REALTIME_PORT)
        await wire.inject(MALFORMED[what])
        await story.traffic.send(5)
        await story.traffic.settled()
        (rejected,) = story.heard.of(FrameRejected)
        assert rejected.why
        assert len(story.heard.of(LinkConnected)) == 1
        await story.untouched()


@on_trio
async def test_an_unknown_frame_is_ignored_and_an_unknown_message_handed_on() -> None:
    # REALTIME 1.2: unknown types
    async with open_world() as world, world.client() as client:
        heard = Recorder(client)
        await client.connect()
        (wire,) = world.network.open_wires(port=REALTIME_PORT)
        await wire.inject(_frame(b'{"type":"weather.report","payload":{"sun":1}}'))
        await client.echo({"n": 1})
        got = [await client.receive() for _ in range(2)]
        assert [message.type for message in got] == ["weather.report", "msg.event"]
        assert len(heard.of(LinkConnected)) == 1


@on_trio
async def test_a_gap_in_the_numbers_is_never_applied_but_resumed() -> None:
    # REALTIME 1.2, receiver rule: 4004
    async with open_world() as world, running(world) as story:
        (wire,) = world.network.open_wires(port=REALTIME_PORT)
        await wire.inject(_frame(b'{"type":"msg.event","id":"x","seq":7,"payload":{"n":7}}'))
        await story.traffic.send(5)
        await story.traffic.settled()
        assert story.heard.of(LinkDisconnected)[0].code == 4004
        assert all(event.resumed for event in story.heard.of(LinkConnected)[1:])
        await story.untouched()


# ---- lying token endpoints -------------------------------------------------------------------------


def _answer(
    status: int, body: bytes, kind: str = "application/json"
) -> Callable[[httpx2.Request], httpx2.Response]:
    return lambda request: httpx2.Response(
        status, content=body, headers={"Content-Type": kind}, request=request
    )


LIES: dict[str, tuple[Callable[[httpx2.Request], httpx2.Response], str, str]] = {
    "a page": (_answer(200, b"<html>hello</html>", "text/html"), "malformed_answer", "no token answer"),
    "a page with an error": (_answer(502, b"<html>Bad gateway</html>", "text/html"), "server_error", ""),
    "no fields": (_answer(200, b"{}"), "malformed_answer", "access_token"),
    "a negative lifetime": (
        _answer(200, b'{"access_token":"a.b.c","expires_in":-1}'),
        "malformed_answer",
        "expires_in",
    ),
    "megabytes": (_answer(200, b"[" * 2_000_000), "malformed_answer", "at most 65536 bytes"),
    "another kind of token": (
        _answer(200, b'{"access_token":"a.b.c","expires_in":300,"token_type":"mac"}'),
        "malformed_answer",
        "'mac'",
    ),
}


@on_trio
@pytest.mark.parametrize("lie", LIES)
async def test_a_token_endpoint_that_lies_is_named_and_asked_again(lie: str) -> None:
    # A1.3, Bad input: a token endpoint that answers HTML
    answer, error, said = LIES[lie]
    async with open_world() as world, running(world, connect=False) as story:
        world.http.instead = answer
        await story.traffic.send(3)
        with pytest.raises(ConnectTimeout):
            await story.client.connect()
        refused = story.heard.of(AuthError)[0]
        assert refused.error == error
        assert said in refused.description
        assert refused.retryable
        world.http.instead = None
        assert await story.until("connected") < BACK_WITHIN
        await story.traffic.settled()
        await story.untouched()


@on_trio
async def test_a_token_that_expired_while_the_calendar_jumped_is_refused_and_replaced() -> None:
    # D1.2, D1: an expired token at the next handshake
    async with open_world() as world, running(world) as story:
        await story.traffic.send(3)
        await story.traffic.settled()
        world.calendar.offset += 10_000
        world.network.reset()
        await story.traffic.send(3)
        await trio.sleep(LATENCY)
        assert await story.until("connected") < BACK_WITHIN
        await story.traffic.settled()
        assert len(story.heard.of(TokenRefreshed)) == 1
        await story.untouched()
