"""A hub for tests, a network in memory, and a client that speaks `rt.v1.json` by hand.

The client uses plain `json`, not the hub's codec: a codec cannot be judged by itself.
"""

from __future__ import annotations

import itertools
import json
import urllib.parse
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import attrs
import httpx2
import pytest
import trio
import trio.testing
import trio_websocket

from holdfast.actors.hub.settings import HubSettings
from holdfast.actors.hub.topology import Hub, open_hub
from holdfast.runtime import Address, Seams, Secret, UnixAddress

API_KEY = "a-test-api-key"
ADMIN_KEY = "a-test-admin-key"

Json = dict[str, Any]
StapledStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class VirtualCalendar:
    """Unix time that runs with the loop's clock, from a fixed day on; `jump` moves it alone."""

    def __init__(self) -> None:
        self.offset = 1_795_000_000.0

    def now(self) -> float:
        return self.offset + trio.current_time()


class MemoryListener:
    def __init__(self, address: Address, network: MemoryNetwork) -> None:
        self.address = address
        self._network = network
        self.offer, self._taken = trio.open_memory_channel[trio.abc.Stream](1_000)

    async def accept(self) -> trio.abc.Stream:
        return await self._taken.receive()

    async def aclose(self) -> None:
        self._network.listeners.pop(self.address.port, None)
        self._taken.close()


@attrs.define
class MemoryNetwork:
    """`connect` and `listen` without sockets."""

    listeners: dict[int, MemoryListener] = attrs.field(factory=lambda: dict[int, MemoryListener]())
    accepted: list[StapledStream] = attrs.field(factory=lambda: list[StapledStream]())
    """The hub's ends, oldest first."""
    ports: itertools.count[int] = attrs.field(factory=lambda: itertools.count(40_000))

    async def listen(self, address: Address | UnixAddress) -> MemoryListener:
        assert isinstance(address, Address)
        port = address.port or next(self.ports)
        if port in self.listeners:
            raise OSError(98, "Address already in use")
        listener = MemoryListener(Address(address.host, port), self)
        self.listeners[port] = listener
        return listener

    async def connect(
        self, address: Address | UnixAddress, *, timeout: float | None = None
    ) -> trio.abc.Stream:
        assert isinstance(address, Address)
        listener = self.listeners.get(address.port)
        if listener is None:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        self.accepted.append(theirs)
        await listener.offer.send(theirs)
        return ours

    def jam(self) -> None:
        """Let the hub's next send on its newest connection wait until the stream is closed."""
        outgoing, closed = self.accepted[-1].send_stream, trio.Event()
        close = outgoing.close_hook
        assert close is not None

        async def wait_closed() -> None:
            await closed.wait()
            raise trio.ClosedResourceError

        def close_and_tell() -> None:
            closed.set()
            close()  # carries over what was stuck
            close()  # and this the end of the stream

        outgoing.send_all_hook, outgoing.close_hook = wait_closed, close_and_tell


@attrs.define
class Client:
    """One connection of a client."""

    socket: trio_websocket.WebSocketConnection
    stream: trio.abc.Stream
    _batch: deque[Json] = attrs.field(factory=lambda: deque[Json]())

    async def send(self, **frame: object) -> None:
        await self.socket.send_message(json.dumps(frame))

    async def send_raw(self, message: str | bytes) -> None:
        await self.socket.send_message(message)

    async def receive(self) -> Json:
        if not self._batch:
            with trio.fail_after(60):
                message = await self.socket.get_message()
            frames: list[Json] = json.loads(message if message[0] == "[" else f"[{message!s}]")
            self._batch.extend(frames)
        return self._batch.popleft()

    async def receive_until(self, kind: str) -> Json:
        """Return the next frame of this type; others are passed over."""
        while True:
            found = await self.receive()
            if found["type"] == kind:
                return found

    async def connect(self, client_id: str = "tester", resume: Json | None = None, **more: object) -> Json:
        """Say `connect` and return the payload of the welcome."""
        await self.receive_until("hello")
        await self.send(type="connect", payload={"client_id": client_id, "resume": resume, **more})
        welcome: Json = (await self.receive_until("welcome"))["payload"]
        return welcome

    async def closed(self) -> tuple[int, str | None]:
        """Read to the end, and return the close code and reason."""
        with trio.fail_after(60), pytest.raises(trio_websocket.ConnectionClosed) as closed:
            while True:
                await self.socket.get_message()
        reason = closed.value.reason
        assert reason is not None
        return reason.code, reason.reason


@attrs.define
class World:
    """A hub and the ways to it."""

    hub: Hub
    seams: Seams
    calendar: VirtualCalendar

    def http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(self.hub.app), base_url="http://hub")

    async def token(self, client_id: str = "tester") -> str:
        """Sign in, and return the access token."""
        async with self.http() as http:
            answer = await http.post(
                "/auth/token",
                json={"grant_type": "client_credentials", "client_id": client_id},
                headers={"Authorization": f"Bearer {API_KEY}"},
            )
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    @asynccontextmanager
    async def connection(
        self,
        token: str | None = None,
        *,
        subprotocols: tuple[str, ...] = ("rt.v1.json",),
        path: str = "/realtime",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> AsyncGenerator[Client]:
        """Upgrade a connection; the stream is dropped at the end, without a farewell."""
        if headers is None:
            shown = token if token is not None else await self.token()
            headers = [(b"Authorization", f"Bearer {shown}".encode())]
        port = urllib.parse.urlsplit(self.hub.realtime_url).port
        assert port is not None
        address = Address("127.0.0.1", port)
        stream = await self.seams.connect(address, timeout=5)
        async with trio.open_nursery() as nursery:
            try:
                socket = await trio_websocket.wrap_client_stream(
                    nursery,
                    stream,  # type: ignore[arg-type]
                    "hub",
                    path,
                    subprotocols=subprotocols,
                    extra_headers=headers,
                    message_queue_size=1_000,
                )
                yield Client(socket, stream)
            finally:
                await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel()


def settings_for(**changes: Any) -> HubSettings:
    """Return settings for a test."""
    given: dict[str, Any] = {"api_keys": (Secret(API_KEY),), "admin_key": Secret(ADMIN_KEY), **changes}
    return HubSettings(**given)


@asynccontextmanager
async def open_world(
    *, store_path: Path | None = None, network: MemoryNetwork | None = None, seed: int = 1, **changes: Any
) -> AsyncGenerator[World]:
    """Open a hub in memory: virtual time, no sockets, entropy from a seed."""
    network = network if network is not None else MemoryNetwork()
    random = Random(seed)
    calendar = VirtualCalendar()
    seams = Seams(
        connect=network.connect,
        listen=network.listen,
        wall_clock=calendar,
        random=random,
        entropy=random.randbytes,
    )
    async with open_hub(settings_for(store_path=store_path, **changes), seams=seams, serve_http=False) as hub:
        yield World(hub, seams, calendar)
