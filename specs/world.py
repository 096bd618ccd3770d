"""The simulated world of one run: what a program reaches through its seams, and what a test does to it.

One seed decides everything in it.  Programs under test are not changed by a
line: each gets `world.seams(its name)`, and its streams of randomness, its
connections and its disk are told apart by that name.
"""

from __future__ import annotations

import functools

import attrs
import trio
import trio.testing

from holdfast.runtime import Event, Seams
from holdfast.runtime.seams import OpenStore, open_store
from holdfast.runtime.system import System
from holdfast.specs.calendar import VirtualCalendar
from holdfast.specs.disk import Disk
from holdfast.specs.effects import Effects
from holdfast.specs.http import HttpService
from holdfast.specs.network import MemoryNetwork
from holdfast.specs.randomness import Random, Seeds
from holdfast.specs.threads import InlineThreads
from holdfast.specs.trace import Trace

__all__ = ["World", "never_exit"]


def never_exit(status: int) -> None:
    """Stand in for the end of the process: nobody may get that far in a simulated run."""
    raise AssertionError(f"a simulated run ended its process with status {status}")


@attrs.define(eq=False)
class World:
    """One run's network, calendar and randomness; made by `simulate` inside the run."""

    seed: int
    trace: Trace = attrs.field(factory=Trace)
    calendar: VirtualCalendar = attrs.field(factory=VirtualCalendar)
    seeds: Seeds = attrs.field(init=False)
    random: Random = attrs.field(init=False)
    """For the test's own draws; no seam draws from it."""
    effects: Effects = attrs.field(factory=Effects)
    """What the faults of this run really did."""
    network: MemoryNetwork = attrs.field(init=False)
    disks: dict[str, Disk] = attrs.field(factory=dict[str, Disk])
    """By the name of whose they are."""
    threads_longest: float = 0.0
    """Virtual seconds that a blocking call may take, before and after it runs."""

    def __attrs_post_init__(self) -> None:
        self.seeds = Seeds(self.seed)
        self.random = self.seeds.stream("test")
        self.network = MemoryNetwork(self.seeds.stream("network"), self.effects)

    def disk(self, owner: str) -> Disk:
        """Return this owner's disk; empty when it is asked for the first time."""
        if owner not in self.disks:
            self.disks[owner] = Disk(self.seeds.stream(f"{owner}/disk"), self.calendar.now, self.effects)
        return self.disks[owner]

    def service(self, name: str, port: int | None = None) -> HttpService:
        """Return a new service of this run, still down; `port` is whose weather holds for it."""
        return HttpService(self.network, port, name)

    def close(self) -> None:
        """Let go of what outlives a run: the disks' names at SQLite."""
        for disk in self.disks.values():
            disk.close()

    def seams(self, owner: str, store: OpenStore = open_store) -> Seams:
        """Return the world as this owner's program sees it.

        `store` is the real opener unless a simulated disk's is given.
        """
        return Seams(
            connect=functools.partial(self.network.connect, owner=owner),
            listen=self.network.listen,
            wall_clock=self.calendar,
            random=self.seeds.stream(f"{owner}/random"),
            entropy=self.seeds.stream(f"{owner}/entropy").randbytes,
            store=store,
            threads=InlineThreads(self.seeds.stream(f"{owner}/threads"), self.threads_longest),
            exit_process=never_exit,
        )

    def note(self, what: str) -> None:
        """Put something into the trace that has to be the same in every run of this seed."""
        self.trace.note(trio.current_time(), what)

    def observe(self, system: System) -> None:
        """Put everything that this system tells into the trace."""
        system.events.call(lambda event: self._note_event(system, event))

    def _note_event(self, system: System, event: Event) -> None:
        self.trace.note(system.now(), str(event))

    def suspend(self, seconds: float) -> None:
        """Stand still as a sleeping machine does: clocks go on, nobody runs, all is due at once.

        It is the whole world that sleeps, so what was on its way has arrived meanwhile.
        """
        self.effects.count("time:suspend")
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(seconds)
