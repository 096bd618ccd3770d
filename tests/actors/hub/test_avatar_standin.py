"""The stand-in against what the avatar service documents (REALTIME 3.2 and 3.3)."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import pytest
import trio
import trio_websocket
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from tests.actors.hub.conftest import API_KEY, MemoryNetwork

from holdfast.actors.hub.avatar_api import avatar_routes
from holdfast.actors.hub.avatar_playback import BYTES_PER_SECOND, Playback
from holdfast.actors.hub.avatar_sessions import (
    RESERVED_MAX,
    SANDBOX_AVATAR,
    AvatarStandinSettings,
    InvalidStandinSettings,
    StandinSessions,
)
from holdfast.actors.hub.avatar_standin import AvatarStandin
from holdfast.runtime import ActorEnded, Address, Event, InjectedFault, Seams, Secret, open_system
from holdfast.runtime.testing import on_trio, run, settled
from holdfast.supervisors import start_tree, supervisor, worker

AVATAR = "0f0d5b5e-6a3c-4a53-9a51-3b7a2d9c7a10"
KEY = {"X-API-KEY": API_KEY}
LITE: dict[str, Any] = {"mode": "LITE", "avatar_id": AVATAR}

Json = dict[str, Any]


class Socket:
    """A LITE WebSocket by hand."""

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self.connection = connection

    async def send(self, kind: str, **fields: object) -> None:
        await self.connection.send_message(json.dumps({"type": kind, "event_id": "e", **fields}))

    async def speak(self, audio: bytes, event_id: str = "e") -> None:
        await self.send("agent.speak", event_id=event_id, audio=base64.b64encode(audio).decode())

    async def receive(self) -> Json:
        with trio.fail_after(1_000):
            found: Json = json.loads(await self.connection.get_message())
        return found

    async def until(self, kind: str) -> Json:
        while (found := await self.receive())["type"] != kind:
            pass
        return found

    async def connected(self) -> None:
        while (await self.until("session.state_updated"))["state"] != "connected":
            pass


class Standin:
    """The stand-in, and the ways to it."""

    def __init__(self, sessions: StandinSessions, seams: Seams) -> None:
        self.sessions = sessions
        self.seams = seams
        self.events: list[Event] = []
        self.app = Starlette(routes=avatar_routes(sessions))
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url="http://standin")

    async def post(self, path: str, body: Json | None = None, **headers: str) -> tuple[int, Json]:
        answer = await self.http.post(f"/v1/sessions/{path}", json=body, headers=headers)
        return answer.status_code, answer.json()

    async def get(self, path: str) -> tuple[int, Json]:
        answer = await self.http.get(f"/v1/sessions{path}", headers=KEY)
        return answer.status_code, answer.json()

    async def reserve(self, **changes: Any) -> Json:
        status, answer = await self.post("token", {**LITE, **changes}, **KEY)
        assert (status, answer["code"]) == (200, 1000), answer
        data: Json = answer["data"]
        return data

    async def start(self, **changes: Any) -> Json:
        reserved = await self.reserve(**changes)
        bearer = f"Bearer {reserved['session_token']}"
        status, answer = await self.post("start", Authorization=bearer)
        assert (status, answer["code"]) == (201, 1000), answer
        return {**answer["data"], "bearer": bearer}

    async def knock(self, url: str) -> trio.abc.Stream:
        """Connect to the WebSocket's port, and say nothing."""
        return await self.seams.connect(Address("127.0.0.1", urlsplit(url).port or 0), timeout=5)

    @asynccontextmanager
    async def dial(self, url: str) -> AsyncGenerator[Socket, None]:
        parts = urlsplit(url)
        stream = await self.knock(url)
        async with trio.open_nursery() as nursery:
            try:
                connection = await trio_websocket.wrap_client_stream(
                    nursery, cast("trio.SocketStream", stream), "standin", f"{parts.path}?{parts.query}"
                )
                yield Socket(connection)
            finally:
                await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def talking(self, **changes: Any) -> AsyncGenerator[Socket, None]:
        """A started session whose WebSocket is connected."""
        async with self.dial((await self.start(**changes))["ws_url"]) as socket:
            await socket.connected()
            yield socket


@asynccontextmanager
async def open_standin(seams: Seams | None = None, **changes: Any) -> AsyncGenerator[Standin, None]:
    network = MemoryNetwork()
    if seams is None:
        seams = Seams(connect=network.connect, listen=network.listen, entropy=Random(1).randbytes)
    given: Json = {"api_keys": (Secret(API_KEY),), **changes}
    sessions = StandinSessions(AvatarStandinSettings(**given), seams)
    async with open_system(seams=seams) as system:
        await start_tree(system, supervisor("hub", worker("standin", lambda: AvatarStandin(sessions))))
        standin = Standin(sessions, seams)
        system.events.call(standin.events.append)
        yield standin


# -- who may


@on_trio
async def test_the_key_reserves_and_the_token_starts() -> None:
    async with open_standin() as standin:
        assert (await standin.start())["ws_url"].startswith("ws://127.0.0.1:")


@pytest.mark.parametrize(
    "path, headers, status, code",
    [
        ("token", {}, 403, 4003),
        ("token", {"X-API-KEY": "wrong"}, 403, 4003),
        ("token", {"Authorization": "Bearer x"}, 401, 4001),
        ("start", {}, 403, 4003),
        ("start", {"Authorization": "Bearer wrong"}, 403, 4003),
        ("start", KEY, 401, 4001),
    ],
)
@on_trio
async def test_each_call_takes_one_kind_of_credential(
    path: str, headers: dict[str, str], status: int, code: int
) -> None:
    async with open_standin() as standin:
        answered, answer = await standin.post(path, LITE, **headers)
        assert (answered, answer["code"], answer["data"]) == (status, code, None)


@pytest.mark.parametrize(
    "changes, place",
    [
        ({"mode": "CUSTOM"}, ["body", "mode"]),
        ({"mode": None}, ["body", "mode"]),
        ({"mode": "FULL"}, ["body", "mode"]),
        ({"avatar_id": "avatar-456"}, ["body", "avatar_id"]),
        ({"avatar_id": None}, ["body", "avatar_id"]),
        ({"is_sandbox": True}, ["body", "avatar_id"]),
        ({"is_sandbox": "yes"}, ["body", "is_sandbox"]),
        ({"video_settings": {"quality": "ultra"}}, ["body", "video_settings", "quality"]),
        ({"video_settings": {"encoding": "AV1"}}, ["body", "video_settings", "encoding"]),
        ({"video_settings": 7}, ["body", "video_settings"]),
        ({"max_session_duration": 0}, ["body", "max_session_duration"]),
    ],
)
@on_trio
async def test_a_request_that_is_wrong_is_a_422_that_says_where(changes: Json, place: list[str]) -> None:
    async with open_standin() as standin:
        status, answer = await standin.post("token", {**LITE, **changes}, **KEY)
        assert (status, answer["code"]) == (422, 4000)
        assert [problem["loc"] for problem in answer["data"]] == [place]
        assert "Request validation errors" in answer["message"]


@on_trio
async def test_a_body_that_is_no_object_or_too_large_is_refused() -> None:
    async with open_standin() as standin:
        for content, status in [(b"[]", 422), (b"\xff", 422), (b" " * 20_000, 413)]:
            answer = await standin.http.post("/v1/sessions/token", content=content, headers=KEY)
            assert answer.status_code == status


@on_trio
async def test_a_body_of_unknown_length_is_read_up_to_its_bound() -> None:
    async with open_standin() as standin:
        statuses: list[int] = []
        read: list[int] = []

        async def receive() -> Json:
            read.append(1_000)
            return {"type": "http.request", "body": b" " * 1_000, "more_body": True}

        async def send(message: MutableMapping[str, Any]) -> None:
            statuses.append(message.get("status", 0))

        scope: Json = {
            "type": "http", "method": "POST", "path": "/v1/sessions/token", "query_string": b"",
            "headers": [(b"x-api-key", API_KEY.encode())],
        }  # fmt: skip
        await standin.app(scope, receive, send)
        assert statuses[0] == 413
        assert sum(read) < 20_000


@on_trio
async def test_too_many_at_once_is_a_403_that_may_pass() -> None:
    async with open_standin(concurrency_limit=1) as standin:
        first = await standin.start()
        second = await standin.reserve()
        bearer = f"Bearer {second['session_token']}"
        status, answer = await standin.post("start", Authorization=bearer)
        assert (status, answer["code"]) == (403, 4032)
        await standin.post("stop", {"session_id": first["session_id"]}, **KEY)
        assert (await standin.post("start", Authorization=bearer))[0] == 201


# -- the life of a session


@on_trio
async def test_a_session_is_listed_while_it_is_active_and_historic_after() -> None:
    async with open_standin() as standin:
        session = await standin.start()
        _, listed = await standin.get("?type=active")
        assert [found["id"] for found in listed["data"]["results"]] == [session["session_id"]]
        stopped, _ = await standin.post(
            "stop", {"session_id": session["session_id"], "reason": "USER_CLOSED"}, **KEY
        )
        assert stopped == 200
        assert (await standin.get("?type=active"))[1]["data"]["count"] == 0
        _, historic = await standin.get("?type=historic")
        assert historic["data"]["results"][0]["end_reason"] == "USER_CLOSED"
        _, one = await standin.get(f"/{session['session_id']}")
        assert one["data"]["id"] == session["session_id"]


@on_trio
async def test_lists_come_in_pages() -> None:
    async with open_standin(concurrency_limit=5) as standin:
        for _ in range(5):
            await standin.start()
        _, first = await standin.get("?type=active&page_size=2")
        _, last = await standin.get("?type=active&page_size=2&page=3")
        assert (len(first["data"]["results"]), first["data"]["next"] is not None) == (2, True)
        assert (len(last["data"]["results"]), last["data"]["next"]) == (1, None)


@pytest.mark.parametrize("query", ["", "?type=all", "?type=active&page=0", "?type=active&page_size=101"])
@on_trio
async def test_a_list_needs_a_type_and_a_small_page(query: str) -> None:
    async with open_standin() as standin:
        assert (await standin.get(query))[0] == 422


@on_trio
async def test_a_token_starts_one_session_once() -> None:
    async with open_standin() as standin:
        session = await standin.start()
        assert (await standin.post("start", Authorization=session["bearer"]))[0] == 400


@on_trio
async def test_a_session_stops_and_lives_on_with_its_own_token_too() -> None:
    async with open_standin() as standin:
        session = await standin.start()
        assert (await standin.post("keep-alive", {}, Authorization=session["bearer"]))[0] == 200
        assert (await standin.post("stop", {}, Authorization=session["bearer"]))[0] == 200
        assert (await standin.post("keep-alive", {}, Authorization=session["bearer"]))[0] == 404


@on_trio
async def test_stopping_needs_a_known_session_and_a_known_reason() -> None:
    async with open_standin() as standin:
        assert (await standin.post("stop", {}, **KEY))[0] == 422
        assert (await standin.post("stop", {"session_id": "nobody"}, **KEY))[0] == 404
        session = await standin.start()
        for reason in ("BORED", ["BORED"], {"BORED": 1}, 5):
            wrong: Json = {"session_id": session["session_id"], "reason": reason}
            assert (await standin.post("stop", wrong, **KEY))[0] == 422


@on_trio
async def test_a_session_that_was_stopped_before_its_start_cannot_be_started() -> None:
    async with open_standin() as standin:
        reserved = await standin.reserve()
        await standin.post("stop", {"session_id": reserved["session_id"]}, **KEY)
        bearer = f"Bearer {reserved['session_token']}"
        assert (await standin.post("start", Authorization=bearer))[0] == 400


@on_trio
async def test_an_idle_session_ends_after_five_minutes() -> None:
    async with open_standin() as standin, standin.talking() as socket:
        session = standin.sessions.active[0]
        await trio.sleep(299)
        assert session.active
        stopped = await socket.until("session.stopped")
        assert stopped["end_reason"] == session.end_reason == "IDLE_TIMEOUT"
        assert session.ended_at is not None
        assert session.started_at is not None
        assert session.ended_at - session.started_at == pytest.approx(300.0)


@pytest.mark.parametrize("over", ["websocket", "http"])
@on_trio
async def test_a_keep_alive_begins_the_idle_window_anew(over: str) -> None:
    async with open_standin() as standin, standin.talking() as socket:
        (session,) = standin.sessions.active
        for _ in range(10):
            await trio.sleep(200)
            if over == "http":
                await standin.post("keep-alive", {"session_id": session.id}, **KEY)
            else:
                await socket.send("session.keep_alive")
        assert session.active


@on_trio
async def test_a_session_without_a_websocket_goes_idle_too() -> None:
    async with open_standin() as standin:
        await standin.start()
        await trio.sleep(301)
        assert standin.sessions.active == []


@on_trio
async def test_a_sandbox_session_ends_after_a_minute_whatever_happens() -> None:
    sandbox: Json = {"avatar_id": SANDBOX_AVATAR, "is_sandbox": True}
    async with open_standin() as standin, standin.talking(**sandbox) as socket:
        await trio.sleep(50)
        await socket.send("session.keep_alive")
        assert (await socket.until("session.stopped"))["end_reason"] == "MAX_DURATION_REACHED"
        assert trio.current_time() == pytest.approx(60.0, abs=0.1)


@on_trio
async def test_reservations_and_ended_sessions_are_bounded() -> None:
    async with open_standin() as standin:
        first = await standin.reserve()
        for _ in range(RESERVED_MAX):
            await standin.reserve()
        assert standin.sessions.get(first["session_id"]) is None


# -- the WebSocket


@on_trio
async def test_what_comes_before_connected_is_dropped_without_a_word() -> None:
    async with (
        open_standin(connect_delay=1.0) as standin,
        standin.dial((await standin.start())["ws_url"]) as socket,
    ):
        assert (await socket.receive())["state"] == "connecting"
        await socket.speak(bytes(100))
        await socket.connected()
        (session,) = standin.sessions.active
        assert (session.early, len(session.audio)) == (1, 0)
        await socket.speak(bytes(100))
        assert (await socket.receive())["type"] == "agent.speak_started"


@on_trio
async def test_a_packet_beyond_a_megabyte_is_dropped() -> None:
    async with open_standin() as standin, standin.talking() as socket:
        await socket.speak(bytes(800_000))
        await socket.speak(bytes(600_000))
        await socket.until("agent.speak_started")
        (session,) = standin.sessions.active
        assert (session.oversize, len(session.audio)) == (1, 600_000)


@on_trio
async def test_a_packet_beyond_a_megabyte_may_close_the_connection() -> None:
    async with open_standin(oversize_closes=True) as standin, standin.talking() as socket:
        await socket.speak(bytes(800_000))
        with pytest.raises(trio_websocket.ConnectionClosed, match="1009"):
            await socket.receive()


@on_trio
async def test_speech_lasts_as_long_as_its_samples() -> None:
    async with open_standin() as standin, standin.talking() as socket:
        began = trio.current_time()
        await socket.speak(bytes(28_800), "u-1")
        await socket.speak(bytes(48_000), "u-1")
        await socket.send("agent.speak_end", event_id="u-1")
        started = await socket.receive()
        ended = await socket.receive()
        assert (started["type"], started["event_id"]) == ("agent.speak_started", "u-1")
        assert (ended["type"], ended["event_id"], ended["task"]["id"]) == (
            "agent.speak_ended",
            "u-1",
            "task-u-1",
        )
        assert trio.current_time() - began == pytest.approx(1.6, abs=0.01)


@on_trio
async def test_an_interrupt_clears_what_is_scheduled() -> None:
    async with open_standin() as standin, standin.talking() as socket:
        began = trio.current_time()
        await socket.speak(bytes(480_000))
        await socket.send("agent.speak_end")
        await socket.until("agent.speak_started")
        await socket.send("agent.interrupt")
        assert (await socket.receive())["type"] == "agent.speak_interrupted"
        assert trio.current_time() - began < 0.1


@on_trio
async def test_what_cannot_be_read_is_an_error_event_and_ends_nothing() -> None:
    async with open_standin() as standin, standin.talking() as socket:
        for wrong in (
            "no json",
            '{"type":"agent.dance"}',
            '{"type":"agent.speak","audio":"?"}',
            '{"type":"agent.speak","audio":"é"}',
            "[" * 10_000,
        ):
            await socket.connection.send_message(wrong)
            assert (await socket.receive())["error"]["type"] == "invalid_request_error"
        await socket.send("agent.start_listening")
        await settled()
        assert [packet.type for packet in standin.sessions.active[0].packets] == ["agent.start_listening"]


@on_trio
async def test_a_stop_is_told_over_the_websocket_and_closes_it() -> None:
    async with open_standin() as standin, standin.talking() as socket:
        standin.sessions.end(standin.sessions.active[0], "NO_CREDITS")
        told = [await socket.receive() for _ in range(3)]
        assert [message.get("state", message["type"]) for message in told] == [
            "closing",
            "session.stopped",
            "closed",
        ]
        with pytest.raises(trio_websocket.ConnectionClosed):
            await socket.receive()


@pytest.mark.parametrize(
    "change, status", [("?key=wrong", 403), ("", 403), ("x?key=1", 404)], ids=["wrong", "none", "other"]
)
@on_trio
async def test_a_websocket_needs_the_key_of_its_session(change: str, status: int) -> None:
    async with open_standin() as standin:
        url = (await standin.start())["ws_url"].partition("?")[0] + change
        refusal = pytest.RaisesExc(trio_websocket.ConnectionRejected, match=str(status))
        with pytest.RaisesGroup(refusal, flatten_subgroups=True):
            async with standin.dial(url):
                pass


@on_trio
async def test_a_session_has_one_websocket_at_a_time_and_may_get_another() -> None:
    async with open_standin() as standin:
        url = (await standin.start())["ws_url"]
        async with standin.dial(url) as socket:
            await socket.connected()
            with pytest.RaisesGroup(trio_websocket.ConnectionRejected, flatten_subgroups=True):
                async with standin.dial(url):
                    pass
        await settled()
        async with standin.dial(url) as again:
            await again.connected()


@on_trio
async def test_a_restart_of_the_actor_keeps_sessions_and_the_port() -> None:
    network = MemoryNetwork()
    seams = Seams(connect=network.connect, listen=network.listen)
    sessions = StandinSessions(AvatarStandinSettings(api_keys=(Secret(API_KEY),)), seams)
    async with open_system(seams=seams) as system:
        await start_tree(system, supervisor("hub", worker("standin", lambda: AvatarStandin(sessions))))
        standin = Standin(sessions, seams)
        url = (await standin.start())["ws_url"]
        system.ref("hub/standin").tell(InjectedFault(RuntimeError("a bug")))
        await settled()
        async with standin.dial(url) as socket:
            await socket.connected()


@on_trio
async def test_without_the_websocket_nothing_is_started() -> None:
    async with open_standin() as standin:
        standin.sessions.listening = False
        reserved = await standin.reserve()
        status, _ = await standin.post("start", Authorization=f"Bearer {reserved['session_token']}")
        assert status == 503


@on_trio
async def test_more_connections_than_its_bound_are_turned_away() -> None:
    async with open_standin(connections_max=1) as standin, standin.talking():
        stream = await standin.knock((await standin.start())["ws_url"])
        assert await stream.receive_some(100) == b""


@on_trio
async def test_a_target_that_is_no_address_is_refused_and_ends_nothing() -> None:
    async with open_standin() as standin:
        stream = await standin.knock((await standin.start())["ws_url"])
        await stream.send_all(
            b"GET //[ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 404")
        await settled()
        assert not [event for event in standin.events if isinstance(event, ActorEnded)]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_no_bytes_of_a_client_crash_it(garbage: bytes, upgrade_first: bool) -> None:
    run("trio", functools.partial(_throw, garbage, upgrade_first))


async def _throw(garbage: bytes, upgrade_first: bool) -> None:
    async with open_standin() as standin:
        address: str = (await standin.start())["ws_url"]
        stream = await standin.knock(address)
        request = f"GET /{address.split('/', 3)[3]} HTTP/1.1\r\nHost: a\r\n"
        request += "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        await stream.send_all((request.encode() if upgrade_first else b"") + garbage)
        await trio.sleep(10)
        await trio.aclose_forcefully(stream)
        await settled()
        async with standin.talking():
            assert not [event for event in standin.events if isinstance(event, ActorEnded)]


# -- faults, playback, settings, loopback


@on_trio
async def test_faults_are_used_up_by_the_calls_that_they_are_for() -> None:
    async with open_standin() as standin:
        standin.sessions.fail_next(1, status=500, operation="start")
        standin.sessions.fail_next(2, status=503, code=7, message="tired")
        reserved = [await standin.post("token", LITE, **KEY) for _ in range(3)]
        assert [status for status, _ in reserved] == [503, 503, 200]
        assert reserved[0][1] == {"code": 7, "data": None, "message": "tired"}
        bearer = f"Bearer {reserved[2][1]['data']['session_token']}"
        assert [(await standin.post("start", Authorization=bearer))[0] for _ in range(2)] == [500, 201]


def test_without_speak_end_the_avatar_never_leaves_speaking() -> None:
    playback = Playback()
    playback.speak("u", 48_000, 0.0)
    assert [told.type for told in playback.due(1e9)] == ["agent.speak_started"]
    assert playback.next_at == float("inf")


def test_a_new_id_for_each_chunk_is_one_utterance() -> None:
    playback = Playback()
    for number in range(3):
        playback.speak(f"chunk-{number}", 48_000, 0.0)
    playback.end("chunk-2", 0.0)
    assert [(told.type, told.at) for told in playback.due(10.0)] == [
        ("agent.speak_started", 0.0),
        ("agent.speak_ended", 3.0),
    ]


@given(st.lists(st.tuples(st.integers(1, 96_000), st.booleans(), st.floats(0, 5))))
def test_utterances_never_overlap(story: list[tuple[int, bool, float]]) -> None:
    playback, now, told = Playback(), 0.0, list[tuple[str, float]]()
    for size, ends, pause in story:
        now += pause
        told += [(event.type, event.at) for event in playback.due(now)]
        playback.speak("u", size, now)
        if ends:
            playback.end("u", now)
    told += [(event.type, event.at) for event in playback.due(float("inf"))]
    kinds = [kind for kind, _ in told]
    assert (
        kinds
        == ["agent.speak_started", "agent.speak_ended"] * (len(kinds) // 2) + kinds[len(kinds) // 2 * 2 :]
    )
    assert [at for _, at in told] == sorted(at for _, at in told)
    assert playback.until >= sum(size for size, _, _ in story) / BYTES_PER_SECOND - 1e-6


@pytest.mark.parametrize(
    "changes", [{"concurrency_limit": 0}, {"connect_delay": -1.0}, {"port": 70_000}, {"idle_timeout": 0.0}]
)
def test_a_setting_that_cannot_be_used_is_named(changes: Json) -> None:
    with pytest.raises(InvalidStandinSettings, match=next(iter(changes))):
        AvatarStandinSettings(**changes)


def test_it_serves_a_real_socket_on_loopback() -> None:
    async def main() -> None:
        with trio.fail_after(10):
            async with open_standin(Seams(), connect_delay=0.0) as standin, standin.talking() as socket:
                await socket.speak(bytes(960))
                await socket.send("agent.speak_end")
                await socket.until("agent.speak_ended")
                assert standin.sessions.berth.port > 0

    trio.run(main)
