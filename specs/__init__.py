"""Simulation of whole programs from a seed; reference models, recorded facts and numbered guarantees.

`simulate` runs an unmodified program in a simulated world: one trio run that is
the same whenever its seed is.  The guarantees that the tests cite are in semantics.md.
"""

from __future__ import annotations

from holdfast.specs.calendar import FIRST_DAY, VirtualCalendar
from holdfast.specs.determinism import NotDeterministic, check_determinism
from holdfast.specs.disk import Disk
from holdfast.specs.effects import Effects
from holdfast.specs.guards import nothing_real
from holdfast.specs.http import App, HttpFault, HttpService, HttpTransport
from holdfast.specs.network import MemoryListener, MemoryNetwork, Weather
from holdfast.specs.orders import OldestFirst, Scheduler, SerialPct, Shuffled
from holdfast.specs.process import Process, Program
from holdfast.specs.randomness import Random, Seeds
from holdfast.specs.simulation import Run, SchedulerSeamLost, Setup, simulate
from holdfast.specs.stalls import Deadlock, Limits, Livelock, LoopBlocked, OutOfTime, Stall
from holdfast.specs.streams import LATENCY, Direction, Link, MemoryStream, Wire
from holdfast.specs.threads import InlineThreads
from holdfast.specs.trace import Difference, Trace
from holdfast.specs.world import World, never_exit

__all__ = [
    "FIRST_DAY",
    "LATENCY",
    "App",
    "Deadlock",
    "Difference",
    "Direction",
    "Disk",
    "Effects",
    "HttpFault",
    "HttpService",
    "HttpTransport",
    "InlineThreads",
    "Limits",
    "Link",
    "Livelock",
    "LoopBlocked",
    "MemoryListener",
    "MemoryNetwork",
    "MemoryStream",
    "NotDeterministic",
    "OldestFirst",
    "OutOfTime",
    "Process",
    "Program",
    "Random",
    "Run",
    "Scheduler",
    "SchedulerSeamLost",
    "Seeds",
    "SerialPct",
    "Setup",
    "Shuffled",
    "Stall",
    "Trace",
    "VirtualCalendar",
    "Weather",
    "Wire",
    "World",
    "check_determinism",
    "never_exit",
    "nothing_real",
    "simulate",
]
