"""What stays when much has passed: memory after ten million messages, and what a thread pays to come in.

* Memory is the resident set of the process, after a first million messages have
  filled every cache that there is: ten million more must leave nothing.  Garbage is
  collected before each look, and half a megabyte is what an allocator keeps or
  gives back as it likes.
* A thread's figures are CPU time of the whole process: both threads, and what they
  pay for handing the GIL over.
"""

from __future__ import annotations

import gc
import os
import time
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from tests.benchmarks.kernel import Item, Ping, Result, checkpoint
from tests.benchmarks.peers import Counter

from holdfast.runtime import Ref, System, open_system
from holdfast.supervisors import start_tree, supervisor, worker

__all__ = ["measure"]

WARM_UP = 1_000_000
MESSAGES = 10_000_000
BURST = 256
GROWTH_MAX = 512.0

THREAD_TELLS = 20_000
THREAD_ASKS = 1_000
REPEATS = 5

STATM = Path("/proc/self/statm")


def measure() -> list[Result]:
    """Measure on trio; about ten seconds."""
    return [_growth(), *_from_threads()]


def _resident() -> float:
    """Return the resident set in KiB."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


async def _pass(ref: Ref, messages: int) -> None:
    tell, mailbox, message = ref.tell, ref.slot.mailbox, Item(1)
    for _ in range(messages // BURST):
        for _ in range(BURST):
            tell(message)
        while mailbox.queue:
            await checkpoint()


async def _counter(system: System) -> Ref:
    await start_tree(system, supervisor("counters", worker("counter", Counter)))
    return system.ref("counters/counter")


def _growth() -> Result:
    name, target = "memory after ten million messages (trio)", f"<= {GROWTH_MAX:g} KiB"
    if not STATM.exists():
        return Result(name, 0.0, 0.0, 0.0, "KiB", "skipped: no /proc here", met=True)

    async def grow() -> float:
        async with open_system("bench") as system:
            ref = await _counter(system)
            await _pass(ref, WARM_UP)
            before = _resident()
            await _pass(ref, MESSAGES)
            return _resident() - before

    grown = round(anyio.run(grow, backend="trio"), 1)
    return Result(name, grown, grown, grown, "KiB", target, grown <= GROWTH_MAX)


def _from_threads() -> list[Result]:
    tells: list[float] = []
    asks: list[float] = []

    async def compare() -> None:
        async with open_system("bench") as system:
            ref = await _counter(system)
            for _ in range(REPEATS):
                tells.append(await anyio.to_thread.run_sync(partial(_tell, system, ref)))
                asks.append(await anyio.to_thread.run_sync(partial(_ask, system, ref)))

    anyio.run(compare, backend="trio")
    return [_micro("tell from a thread (trio)", tells), _micro("ask from a thread (trio)", asks)]


def _tell(system: System, ref: Ref) -> float:
    portal, message = system.portal, Item(1)
    started = time.process_time()
    for number in range(THREAD_TELLS):
        if number % BURST:
            portal.tell(ref, message)
        else:
            portal.send(ref, message)  # waits now and then: a mailbox holds 1,024
    portal.ask(ref, Ping())
    return (time.process_time() - started) / THREAD_TELLS


def _ask(system: System, ref: Ref) -> float:
    started = time.process_time()
    for _ in range(THREAD_ASKS):
        system.portal.ask(ref, Ping())
    return (time.process_time() - started) / THREAD_ASKS


def _micro(name: str, seconds: list[float]) -> Result:
    ordered = sorted(round(each * 1e6, 2) for each in seconds)
    return Result(name, ordered[len(ordered) // 2], ordered[0], ordered[-1], "us", "the measure", met=True)
