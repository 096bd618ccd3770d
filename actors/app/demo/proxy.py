"""A TCP proxy that breaks connections the way networks do.

It stands between the client and the hub's realtime endpoint.  Everything it does
to a connection is counted when it took effect: a fault that hit nothing is no
fault.
"""

from __future__ import annotations

import socket
import struct

import attrs
import trio

__all__ = ["Effects", "FaultProxy"]

CHUNK = 65_536

# SO_LINGER with a time of zero: closing sends RST instead of FIN.
_RESET = struct.pack("ii", 1, 0)


@attrs.define
class Effects:
    """What the proxy did, counted when it happened."""

    connections: int = 0
    resets: int = 0
    """Live connections that were reset."""
    half_opened: int = 0
    """Live connections that were cut off without a sign."""
    swallowed: int = 0
    """Bytes that went nowhere because their connection was half open."""


@attrs.define(eq=False)
class _Pair:
    """One connection: the client's side and the hub's."""

    client: trio.SocketStream
    hub: trio.SocketStream
    deaf: bool = False


class FaultProxy:
    """Forwards to `target_port` on loopback until told otherwise."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.effects = Effects()
        self.port = 0
        self._pairs: list[_Pair] = []

    async def serve(self, *, task_status: trio.TaskStatus[int]) -> None:
        """Accept connections until cancelled; reports the port when it listens."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started(self.port)
        await trio.serve_listeners(self._forward, listeners)

    @property
    def live(self) -> int:
        """Connections that pass bytes on now."""
        return sum(not pair.deaf for pair in self._pairs)

    def reset(self) -> int:
        """Reset every live connection, both sides; return how many."""
        hit = [pair for pair in self._pairs if not pair.deaf]
        for pair in hit:
            for side in (pair.client, pair.hub):
                side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                side.socket.close()
        self.effects.resets += len(hit)
        return len(hit)

    def half_open(self) -> int:
        """Stop passing bytes on every live connection without closing it; return how many."""
        hit = [pair for pair in self._pairs if not pair.deaf]
        for pair in hit:
            pair.deaf = True
        self.effects.half_opened += len(hit)
        return len(hit)

    async def _forward(self, client: trio.SocketStream) -> None:
        try:
            hub = await trio.open_tcp_stream("127.0.0.1", self.target_port)
        except OSError:
            await trio.aclose_forcefully(client)
            return
        pair = _Pair(client, hub)
        self._pairs.append(pair)
        self.effects.connections += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, pair, client, hub, nursery.cancel_scope)
                nursery.start_soon(self._pump, pair, hub, client, nursery.cancel_scope)
        finally:
            self._pairs.remove(pair)
            await trio.aclose_forcefully(client)
            await trio.aclose_forcefully(hub)

    async def _pump(
        self, pair: _Pair, source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope
    ) -> None:
        try:
            while chunk := await source.receive_some(CHUNK):
                if pair.deaf:
                    self.effects.swallowed += len(chunk)
                else:
                    await sink.send_all(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the other end is gone; the pair goes with it
        if not pair.deaf:
            both.cancel()
