"""Byte streams in memory that split, delay, break and fall silent on command.

Bytes travel for the link's latency of virtual time and arrive in pieces of random
size, so that a cut really loses what is on its way and nobody can rely on where a
read ends.  Within one stream nothing is lost, doubled or reordered: that is TCP.
"""

from __future__ import annotations

import errno
from collections import deque
from math import inf
from typing import Literal, TypeAlias

import attrs
import trio

from holdfast.specs.effects import Effects
from holdfast.specs.randomness import Random

__all__ = ["LATENCY", "Direction", "Link", "MemoryStream", "Wire"]

# One way; dyadic, so that sums of it are exact.
LATENCY = 1 / 64

# What one direction holds before its writer waits, as a socket's buffers do.
BUFFER_BYTES = 262_144

# How often a read gets all there is; otherwise any part.  Both have to work.
WHOLE = 0.75

Direction: TypeAlias = Literal["both", "to server", "to client"]
"""Which way a fault works, seen from who dialled."""


@attrs.define(eq=False)
class Link:
    """How fast bytes travel; read for every write, so a change reaches streams that are open."""

    latency: float = LATENCY
    """Virtual seconds one way."""
    rate: float = inf
    """Bytes a second, for each direction of each stream."""


class _Pipe:
    """One direction."""

    def __init__(self, source: Random, link: Link, effects: Effects) -> None:
        self._random = source
        self._link = link
        self._effects = effects
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._changed = trio.Event()
        self._free_at = 0.0
        self.wire: Wire
        self.ended = False
        """The writer has closed: what is on its way still arrives, then nothing."""
        self.deserted = False
        """The reader has closed: what is sent meets a reset, as soon as anybody can tell."""
        self.broken = False
        self.stalled = False
        """Nothing arrives any more, and nobody is told."""
        self.cut_after: int | None = None
        """How many more bytes arrive before the connection is reset."""
        self.moved = 0

    def change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def wipe(self) -> None:
        self._pieces.clear()
        self._size = 0

    @property
    def _lost(self) -> bool:
        return self.broken or (self.deserted and not self.stalled)

    async def put(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        while self._size >= BUFFER_BYTES and not self._lost and not self.ended:
            await self._changed.wait()
        if self.ended:
            raise trio.ClosedResourceError
        if self._lost:
            raise trio.BrokenResourceError from ConnectionResetError(errno.ECONNRESET, "Connection reset")
        if self.stalled:
            self._effects.count("network:stall")
        self._pieces.append((self._due(len(data)), data))
        self._size += len(data)
        self.change()

    def _due(self, count: int) -> float:
        now = trio.current_time()
        sent = max(now, self._free_at) + count / self._link.rate
        if sent > now:
            self._effects.count("network:slow_link")
        self._free_at = sent
        return sent + self._link.latency

    async def get(self, limit: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            if self.deserted:
                raise trio.ClosedResourceError
            if self.broken:
                raise trio.BrokenResourceError from ConnectionResetError(errno.ECONNRESET, "Connection reset")
            if self._pieces and not self.stalled:
                due, data = self._pieces[0]
                if due <= trio.current_time():
                    return self._take(data, limit)
                with trio.move_on_at(due):
                    await self._changed.wait()
            elif self.ended and not self.stalled:
                return b""
            else:
                await self._changed.wait()

    def _take(self, data: bytes, limit: int) -> bytes:
        most = min(limit, len(data) if self.cut_after is None else min(len(data), self.cut_after))
        count = most if self._random.random() < WHOLE else self._random.randint(min(1, most), most)
        if count < len(data):
            self._effects.count("network:split")
        due, _data = self._pieces.popleft()
        if count < len(data):
            self._pieces.appendleft((due, data[count:]))
        self._size -= count
        self.moved += count
        self.change()
        if self.cut_after is not None:
            self.cut_after -= count
            if not self.cut_after:
                self._effects.count("network:reset_mid_frame")
                self.wire.reset()
        return data[:count]


class MemoryStream(trio.abc.Stream):
    """One end of a connection."""

    def __init__(self, wire: Wire, outgoing: _Pipe, incoming: _Pipe) -> None:
        self.wire = wire
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._outgoing.put(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._incoming.get(max_bytes or 65_536)

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._outgoing.ended = True
        self._outgoing.change()
        self._incoming.deserted = True
        self._incoming.change()
        self.wire.left += 1


class Wire:
    """A connection: what can be done to it from outside."""

    def __init__(self, port: int, owner: str, source: Random, link: Link, effects: Effects) -> None:
        self.port = port
        self.owner = owner
        """Who dialled."""
        self.left = 0
        """Ends that were closed."""
        self._effects = effects
        self._there, self._back = _Pipe(source, link, effects), _Pipe(source, link, effects)
        self._there.wire = self._back.wire = self
        self.client = MemoryStream(self, self._there, self._back)
        self.server = MemoryStream(self, self._back, self._there)

    @property
    def open(self) -> bool:
        return self.left == 0 and not self._there.broken

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes that arrived: at the server, at the client."""
        return self._there.moved, self._back.moved

    def _pipes(self, direction: Direction) -> list[_Pipe]:
        found = {"to server": [self._there], "to client": [self._back]}
        return found.get(direction, [self._there, self._back])

    def reset(self) -> None:
        """Break it: both ends are told at once, what was on its way is lost."""
        if self.open:
            self._effects.count("network:reset")
        for pipe in self._pipes("both"):
            pipe.wipe()
            pipe.broken = True
            pipe.change()

    def reset_after(self, count: int, direction: Direction = "to client") -> None:
        """Break it when `count` more bytes have arrived, most likely in the middle of a frame."""
        if count < 1:
            raise ValueError(f"a reset in mid-frame comes after at least one byte, got {count}")
        for pipe in self._pipes(direction):
            pipe.cut_after = count

    async def inject(self, data: bytes) -> None:
        """Have the client read this between two frames of the server."""
        await self._back.put(data)

    def half_open(self, direction: Direction = "both") -> None:
        """Let it fall silent for good, without a word."""
        self.stall(direction)
        self._effects.count("network:half_open")

    def stall(self, direction: Direction = "both") -> None:
        """Hold back what is sent until `resume`; the writers notice when the buffers are full."""
        for pipe in self._pipes(direction):
            pipe.stalled = True

    def resume(self) -> None:
        """Let everything that was held back arrive."""
        for pipe in self._pipes("both"):
            pipe.stalled = False
            pipe.change()
