"""A network in memory: byte streams that split, delay, break and fall silent on command.

It stands behind the seams `connect` and `listen`.  Bytes travel for `LATENCY`
virtual seconds and arrive in pieces of random size, so that a cut really loses
what is on its way and nobody can rely on where a read ends.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Literal

import attrs
import trio

from holdfast.runtime import Address, UnixAddress
from holdfast.specs.randomness import Random

__all__ = ["LATENCY", "MemoryListener", "MemoryNetwork", "MemoryStream", "Weather"]

# One way; dyadic, so that sums of it are exact.
LATENCY = 1 / 64

# What one direction holds before its writer waits, as a socket's buffers do.
BUFFER_BYTES = 262_144

Weather = Literal["fine", "refusing", "silent"]
"""What a dial meets: a connection, a refusal, or nothing until it gives up."""


class _Pipe:
    """One direction."""

    def __init__(self, source: Random) -> None:
        self._random = source
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._changed = trio.Event()
        self.ended = False
        """The writer has closed: what is on its way still arrives, then nothing."""
        self.deserted = False
        """The reader has closed: what is sent meets a reset, as soon as anybody can tell."""
        self.broken = False
        self.stalled = False
        """Half-open: nothing arrives any more, and nobody is told."""
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
        self._pieces.append((trio.current_time() + LATENCY, data))
        self._size += len(data)
        self.change()

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
        # Mostly whole, sometimes split anywhere: both have to work.
        most = min(limit, len(data))
        count = most if self._random.random() < 0.75 else self._random.randint(1, most)
        due, _data = self._pieces.popleft()
        if count < len(data):
            self._pieces.appendleft((due, data[count:]))
        self._size -= count
        self.moved += count
        self.change()
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

    def __init__(self, port: int, owner: str, source: Random) -> None:
        self.port = port
        self.owner = owner
        self.left = 0
        """Ends that were closed."""
        self._there, self._back = _Pipe(source), _Pipe(source)
        self.client = MemoryStream(self, self._there, self._back)
        self.server = MemoryStream(self, self._back, self._there)

    @property
    def open(self) -> bool:
        return self.left == 0 and not self._there.broken

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes that arrived: at the server, at the client."""
        return self._there.moved, self._back.moved

    def reset(self) -> None:
        """Break it: both ends are told at once, what was on its way is lost."""
        for pipe in (self._there, self._back):
            pipe.wipe()
            pipe.broken = True
            pipe.change()

    async def inject(self, data: bytes) -> None:
        """Have the client read this between two frames of the server."""
        await self._back.put(data)

    def half_open(self) -> None:
        """Let both directions fall silent without a word."""
        for pipe in (self._there, self._back):
            pipe.stalled = True


class MemoryListener:
    """A bound port."""

    def __init__(self, address: Address, network: MemoryNetwork) -> None:
        self._address = address
        self._network = network
        self._offer, self._taken = trio.open_memory_channel[trio.abc.Stream](1_000)

    @property
    def address(self) -> Address:
        return self._address

    def offer(self, stream: MemoryStream) -> None:
        self._offer.send_nowait(stream)

    async def accept(self) -> trio.abc.Stream:
        return await self._taken.receive()

    async def aclose(self) -> None:
        if self._network.listeners.get(self.address.port) is self:
            del self._network.listeners[self.address.port]
        self._taken.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class MemoryNetwork:
    """Everything between the client and the hub."""

    random: Random
    listeners: dict[int, MemoryListener] = attrs.field(factory=dict[int, MemoryListener])
    wires: list[Wire] = attrs.field(factory=list[Wire])
    weather: Weather = "fine"
    dials: list[float] = attrs.field(factory=list[float])
    _port: int = 50_000

    async def listen(self, address: Address | UnixAddress) -> MemoryListener:
        assert isinstance(address, Address)
        await trio.lowlevel.checkpoint()
        port = address.port
        if not port:
            self._port += 1
            port = self._port
        if port in self.listeners:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        listener = self.listeners[port] = MemoryListener(Address(address.host, port), self)
        return listener

    async def connect(
        self, address: Address | UnixAddress, *, timeout: float | None = None, owner: str = ""
    ) -> trio.abc.Stream:
        assert isinstance(address, Address)
        self.dials.append(trio.current_time())
        await self.pass_weather(timeout)
        listener = self.listeners.get(address.port)
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        wire = Wire(address.port, owner, self.random)
        self.wires.append(wire)
        listener.offer(wire.server)
        return wire.client

    async def pass_weather(self, timeout: float | None) -> None:
        """Let a dial through after the latency, or not at all."""
        if self.weather == "silent":
            with trio.fail_after(float("inf") if timeout is None else timeout):
                await trio.sleep_forever()
        await trio.sleep(2 * LATENCY)
        if self.weather == "refusing":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    def open_wires(self, owner: str = "", port: int | None = None) -> list[Wire]:
        """Return the connections that are up, of one owner or port where named."""
        self.wires = [wire for wire in self.wires if wire.open]
        return [
            wire
            for wire in self.wires
            if (not owner or wire.owner == owner) and (port is None or wire.port == port)
        ]

    def reset(self, owner: str = "") -> int:
        """Reset every connection that is up; return how many."""
        wires = self.open_wires(owner)
        for wire in wires:
            wire.reset()
        return len(wires)

    def half_open(self, owner: str = "") -> int:
        """Silence every connection that is up; return how many."""
        wires = self.open_wires(owner)
        for wire in wires:
            wire.half_open()
        return len(wires)
