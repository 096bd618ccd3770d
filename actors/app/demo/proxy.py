"""A TCP proxy that delays, resets and half-opens connections the way networks do.

It stands between the client and the hub's realtime endpoint.  Everything it does
to a connection is counted when it took effect: a fault that hit nothing is no
fault.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeAlias

import attrs
import trio

__all__ = ["Effects", "FaultProxy"]

CHUNK = 65_536

# Chunks on their way at a time: at 64 KiB each no more than a long fat pipe holds.
LINE_CHUNKS = 256

# SO_LINGER with a time of zero: closing sends RST instead of FIN.
_RESET = struct.pack("ii", 1, 0)

_Line: TypeAlias = "trio.MemorySendChannel[tuple[float, bytes]]"


@attrs.define
class Effects:
    """What the proxy did, counted when it happened."""

    connections: int = 0
    resets: int = 0
    """Live connections that were reset."""
    half_opened: int = 0
    """Live connections that were cut off without a sign."""
    lost: int = 0
    """Bytes that were on their way when their connection was reset or cut off."""
    swallowed_up: int = 0
    """Bytes of the client that went nowhere because the connection was half open."""
    swallowed_down: int = 0
    """Bytes of the hub that did."""


@attrs.define(eq=False)
class _Pair:
    """One connection: the client's side and the hub's."""

    client: trio.SocketStream
    hub: trio.SocketStream
    deaf: bool = False
    under_way: int = 0
    """Bytes that were taken from one side and not yet given to the other."""


class FaultProxy:
    """Forwards to `target_port` on loopback, `latency` seconds late, until told otherwise."""

    def __init__(self, target_port: int, *, latency: float = 0.0) -> None:
        self.target_port = target_port
        self.latency = latency
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
        hit = self._hit()
        for pair in hit:
            for side in (pair.client, pair.hub):
                side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                side.socket.close()
        self.effects.resets += len(hit)
        return len(hit)

    def half_open(self) -> int:
        """Stop passing bytes on every live connection without closing it; return how many."""
        hit = self._hit()
        self.effects.half_opened += len(hit)
        return len(hit)

    def _hit(self) -> list[_Pair]:
        hit = [pair for pair in self._pairs if not pair.deaf]
        for pair in hit:
            pair.deaf = True
            self.effects.lost += pair.under_way
        return hit

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
                for source, sink in ((client, hub), (hub, client)):
                    into, out = trio.open_memory_channel[tuple[float, bytes]](LINE_CHUNKS)
                    nursery.start_soon(self._take, pair, source, into)
                    nursery.start_soon(self._give, pair, out, sink, nursery.cancel_scope)
        finally:
            self._pairs.remove(pair)
            # Without waiting: this may be the end of the whole proxy, where a wait would be cut short.
            for side in (client, hub):
                side.socket.close()

    async def _take(self, pair: _Pair, source: trio.SocketStream, line: _Line) -> None:
        """Put what comes onto the line; its end goes down the line behind it."""
        async with line:
            try:
                while chunk := await source.receive_some(CHUNK):
                    if pair.deaf:
                        self._swallow(pair, source, len(chunk))
                        continue
                    pair.under_way += len(chunk)
                    await line.send((trio.current_time() + self.latency, chunk))
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                pass  # this end is gone; what it said before still arrives

    def _swallow(self, pair: _Pair, source: trio.SocketStream, size: int) -> None:
        if source is pair.client:
            self.effects.swallowed_up += size
        else:
            self.effects.swallowed_down += size

    async def _give(
        self,
        pair: _Pair,
        line: trio.MemoryReceiveChannel[tuple[float, bytes]],
        sink: trio.SocketStream,
        both: trio.CancelScope,
    ) -> None:
        """Hand on what has been on the line for long enough; the line's end is the connection's."""
        try:
            async for due, chunk in line:
                await trio.sleep_until(due)
                if not pair.deaf:
                    await sink.send_all(chunk)
                    pair.under_way -= len(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            both.cancel()
            return
        # A half-open connection tells nobody that its other side is gone.
        if not pair.deaf:
            both.cancel()
