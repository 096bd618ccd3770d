"""A network in memory behind the seams `connect` and `listen`: ports, dials, and the weather between them."""

from __future__ import annotations

import errno
from typing import Literal, TypeAlias

import attrs
import trio

from holdfast.runtime import Address, UnixAddress
from holdfast.specs.effects import Effects
from holdfast.specs.randomness import Random
from holdfast.specs.streams import Direction, Link, MemoryStream, Wire

__all__ = ["MemoryListener", "MemoryNetwork", "Weather"]

# Accepted connections that a listener holds until somebody takes them.
BACKLOG = 1_000

Weather: TypeAlias = Literal["fine", "refusing", "silent"]
"""What a dial meets: a connection, a refusal, or nothing until it gives up."""


class MemoryListener:
    """A bound port."""

    def __init__(self, address: Address, network: MemoryNetwork, owner: str = "") -> None:
        self._address = address
        self._network = network
        self.owner = owner
        """Who listens."""
        self._offer, self._taken = trio.open_memory_channel[trio.abc.Stream](BACKLOG)

    @property
    def address(self) -> Address:
        return self._address

    def offer(self, stream: MemoryStream) -> None:
        try:
            self._offer.send_nowait(stream)
        except (trio.WouldBlock, trio.BrokenResourceError):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused") from None

    async def accept(self) -> trio.abc.Stream:
        return await self._taken.receive()

    async def aclose(self) -> None:
        if self._network.listeners.get(self.address.port) is self:
            del self._network.listeners[self.address.port]
        self._taken.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class MemoryNetwork:
    """Everything between the programs of a run."""

    random: Random
    effects: Effects = attrs.field(factory=Effects)
    link: Link = attrs.field(factory=Link)
    """How fast bytes travel; change it for a slow link."""
    listeners: dict[int, MemoryListener] = attrs.field(factory=dict[int, MemoryListener])
    wires: list[Wire] = attrs.field(factory=list[Wire])
    weather: Weather = "fine"
    weather_at: dict[int, Weather] = attrs.field(factory=dict[int, Weather])
    """The weather of single ports, where it is another than the network's."""
    dials: list[float] = attrs.field(factory=list[float])
    """When somebody dialled."""
    _port: int = 50_000

    async def listen(self, address: Address | UnixAddress, *, owner: str = "") -> MemoryListener:
        """Bind a port of this network; OSError where it is taken, or no port at all."""
        if not isinstance(address, Address):
            raise OSError(errno.EAFNOSUPPORT, f"the simulated network has ports alone, got {address}")
        await trio.lowlevel.checkpoint()
        port = address.port
        if not port:
            self._port += 1
            port = self._port
        if port in self.listeners:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        listener = self.listeners[port] = MemoryListener(Address(address.host, port), self, owner)
        return listener

    async def connect(
        self, address: Address | UnixAddress, *, timeout: float | None = None, owner: str = ""
    ) -> trio.abc.Stream:
        """Dial a port; fails as a real dial does: OSError, trio.TooSlowError."""
        if not isinstance(address, Address):
            raise OSError(errno.EAFNOSUPPORT, f"the simulated network has ports alone, got {address}")
        self.dials.append(trio.current_time())
        await self.pass_weather(timeout, address.port)
        listener = self.listeners.get(address.port)
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        wire = Wire(address.port, owner, self.random, self.link, self.effects)
        listener.offer(wire.server)
        self.wires.append(wire)
        return wire.client

    async def pass_weather(self, timeout: float | None, port: int | None = None) -> None:
        """Let a dial through after a round trip, or not at all."""
        weather = self.weather if port is None else self.weather_at.get(port, self.weather)
        if weather == "silent":
            self.effects.count("network:silent")
            with trio.fail_after(float("inf") if timeout is None else timeout):
                await trio.sleep_forever()
        await trio.sleep(2 * self.link.latency)
        if weather == "refusing":
            self.effects.count("network:refuse")
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

    def reset_after(self, count: int, direction: Direction = "to client", owner: str = "") -> int:
        """Reset every connection that is up as soon as `count` more bytes have arrived; return how many."""
        wires = self.open_wires(owner)
        for wire in wires:
            wire.reset_after(count, direction)
        return len(wires)

    def half_open(self, owner: str = "", direction: Direction = "both") -> int:
        """Silence every connection that is up; return how many."""
        wires = self.open_wires(owner)
        for wire in wires:
            wire.half_open(direction)
        return len(wires)

    def stall(self, owner: str = "", direction: Direction = "both") -> int:
        """Hold back what is sent over every connection that is up; return how many."""
        wires = self.open_wires(owner)
        for wire in wires:
            wire.stall(direction)
        return len(wires)

    def resume(self, owner: str = "") -> None:
        """Let everything that was held back arrive."""
        for wire in self.open_wires(owner):
            wire.resume()

    def abandon(self, owner: str) -> None:
        """Do what a kernel does for a dead process: reset its connections, give its ports free."""
        ports = [port for port, listener in self.listeners.items() if listener.owner == owner]
        for port in ports:
            del self.listeners[port]
        for wire in self.open_wires():
            if wire.owner == owner or wire.port in ports:
                wire.reset()
