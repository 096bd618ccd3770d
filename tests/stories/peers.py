"""A peer that lies: it takes the hub's place on the realtime port and does what a script says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio
import trio_websocket
from tests.stories.world import REALTIME_PORT, flat_nursery

from holdfast.runtime import Address
from holdfast.specs import MemoryNetwork

__all__ = ["HELLO", "Script", "Talk", "accepting", "instead_of_hub", "welcoming"]

HELLO: dict[str, object] = {
    "v": 1, "conn": "c-1", "hb_ms": 10_000, "auth_timeout_ms": 10_000, "max_frame": 262_144,
    "window": {"frames": 256, "bytes": 1_048_576}, "server_ts": 0,
}  # fmt: skip
WELCOME: dict[str, object] = {
    "session": "s-lie", "key": "k", "epoch": "e", "resumed": False, "why": "unknown", "recv_seq": 0,
    "session_ttl_ms": 86_400_000, "token_exp_ms": 0, "hb_ms": 10_000,
}  # fmt: skip

Script: TypeAlias = Callable[[trio.abc.Stream], Awaitable[None]]
Talk: TypeAlias = Callable[[trio_websocket.WebSocketConnection], Awaitable[None]]


@asynccontextmanager
async def instead_of_hub(network: MemoryNetwork, script: Script) -> AsyncGenerator[list[int]]:
    """Serve each connection with the script; yields a list that grows by one for each of them."""
    before = network.listeners.pop(REALTIME_PORT)
    listener = await network.listen(Address("127.0.0.1", REALTIME_PORT))
    served: list[int] = []

    async def serve(stream: trio.abc.Stream) -> None:
        served.append(len(served))
        try:
            await script(stream)
        except (trio_websocket.ConnectionClosed, trio_websocket.HandshakeError, trio.BrokenResourceError):
            return
        finally:
            await trio.aclose_forcefully(stream)

    async def accept(nursery: trio.Nursery) -> None:
        while True:
            nursery.start_soon(serve, await listener.accept())

    async with flat_nursery() as nursery:
        nursery.start_soon(accept, nursery)
        try:
            yield served
        finally:
            nursery.cancel_scope.cancel()
            network.listeners[REALTIME_PORT] = before


def accepting(talk: Talk, *, subprotocol: str | None = "rt.v1.json") -> Script:
    """Return a script that accepts the WebSocket, then talks."""

    async def script(stream: trio.abc.Stream) -> None:
        async with flat_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            connection = await request.accept(subprotocol=subprotocol)
            await talk(connection)
            nursery.cancel_scope.cancel()

    return script


def welcoming(talk: Talk) -> Talk:
    """Shake hands as the protocol wants it, with a new session, and go on with `talk`."""

    async def handshake(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.send_message(json.dumps({"type": "hello", "payload": HELLO}))
        await connection.get_message()
        await connection.send_message(json.dumps({"type": "welcome", "payload": WELCOME}))
        await connection.send_message(json.dumps({"type": "replay.end", "payload": {"through": 0}}))
        await talk(connection)

    return handshake
