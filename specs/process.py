"""A simulated process: it can be killed, which drops its memory and keeps its disk, and started again.

A task of trio cannot be dropped without its clean-up.  So a killed process is cut
off first (its connections are reset, its ports free, its disk leads nowhere, its
dials fail), and whatever its clean-up still does reaches nobody.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
import trio

from holdfast.runtime import Seams
from holdfast.runtime.address import AnyAddress
from holdfast.runtime.seams import Listener
from holdfast.specs.disk import Disk
from holdfast.specs.world import World

__all__ = ["Process", "Program"]

Program: TypeAlias = Callable[[Seams], Awaitable[None]]
"""What a process runs, with its way to the world."""


@attrs.define(eq=False)
class _Life:
    """One start of the process."""

    name: str
    world: World
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    killed: bool = False
    over: trio.Event = attrs.field(factory=trio.Event)

    async def connect(self, address: AnyAddress, *, timeout: float | None = None) -> trio.abc.Stream:
        self._demand_alive()
        stream = await self.world.network.connect(address, timeout=timeout, owner=self.name)
        if self.killed:
            await trio.aclose_forcefully(stream)
        self._demand_alive()
        return stream

    async def listen(self, address: AnyAddress) -> Listener:
        self._demand_alive()
        return await self.world.network.listen(address, owner=self.name)

    def _demand_alive(self) -> None:
        if self.killed:
            raise OSError(errno.ENETDOWN, f"the process {self.name} was killed")


class Process:
    """A program under a name, with a disk that outlives it."""

    def __init__(self, world: World, name: str, program: Program) -> None:
        self.world = world
        self.name = name
        self.disk: Disk = world.disk(name)
        self.exit_status: int | None = None
        """What the program ended itself with; None when it did not."""
        self._program = program
        self._life: _Life | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._life is not None and not self._life.killed and not self._life.over.is_set()

    def start(self, nursery: trio.Nursery) -> None:
        """Start it, for the first time or again; what it raises is raised in the nursery."""
        assert not self.alive, f"the process {self.name} runs already"
        self._life = _Life(self.name, self.world)
        nursery.start_soon(self._run, self._life, name=self.name)

    async def _run(self, life: _Life) -> None:
        seams = attrs.evolve(
            self.world.seams(self.name, self.disk.open_store),
            connect=life.connect,
            listen=life.listen,
            exit_process=functools.partial(self._exit, life),
        )
        try:
            with life.scope:
                await self._program(seams)
        except Exception:
            if not life.killed:
                raise  # a dead one's clean-up has met closed doors, and nobody hears of it
        finally:
            if not life.killed:
                self.world.network.abandon(self.name)  # what it left open ends with it
            life.over.set()

    def _exit(self, life: _Life, status: int) -> None:
        if not life.killed:
            self.exit_status = status
            self._cut_off(life)

    def kill(self) -> None:
        """End it as ``kill -9`` does: nobody says goodbye, the disk keeps what was written."""
        life = self._life
        if life is None or not self.alive:
            return
        self.world.effects.count("process:kill")
        self._cut_off(life)

    def cut_power(self) -> None:
        """End it and its machine: what was written and not synced is lost in part."""
        self.kill()
        self.disk.cut_power()

    def _cut_off(self, life: _Life) -> None:
        life.killed = True
        self.world.network.abandon(self.name)
        self.disk.kill()
        life.scope.cancel()

    async def stop(self) -> None:
        """End it in an orderly way, as a termination signal does, and wait until it has ended."""
        if self._life is not None and self.alive:
            self._life.scope.cancel()
            await self._life.over.wait()
