"""The same work done by others: Pykka, asyncio's queues and, where it is installed, Erlang.

How to read the ratios honestly:

* Each is measured in turns with ours, in one process and one run, so a noisy moment
  hits both; across runs the figures drift by half.
* CPU time, of the whole process for Pykka, because its actors are threads: what its
  threads burn while they hand the GIL to each other is part of its price.  Wall time
  of an idle machine would flatter it less, of a busy one more.
* A queue is no actor.  `asyncio.Queue` and a memory channel have no supervision, no
  deadline, no dead letter: they are floors, not rivals.
* Erlang measures itself, on one scheduler, with the wall clock of an otherwise idle
  moment.  It runs native code; a cast there copies the message, here it does not.
* A peer that is not installed is skipped, and the table says so.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import attrs
from tests.benchmarks.kernel import Item, Ping, Result, checkpoint

from holdfast.runtime import Actor, Ref, on, open_system
from holdfast.supervisors import start_tree, supervisor, worker

__all__ = ["measure"]

REPEATS = 5
TELLS = 12_800
BURST = 256
ASKS = 500

ERLANG = Path(__file__).with_name("peer.escript")

# The script takes about two seconds; a machine that needs a minute is no measure.
ERLANG_TIMEOUT = 60.0


@attrs.define
class _Pair:
    """The seconds of CPU for one operation, ours and theirs, repeat by repeat."""

    ours: list[float] = attrs.field(factory=list[float])
    theirs: list[float] = attrs.field(factory=list[float])

    def result(self, name: str, target: str, least: float) -> Result:
        """Return how many times cheaper ours is."""
        ratios = [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        value = statistics.median(ratios)
        here = f"{target} (ours {_micro(self.ours)}, theirs {_micro(self.theirs)} us)"
        return Result(
            name, round(value, 2), round(min(ratios), 2), round(max(ratios), 2), "x", here, value >= least
        )


def _micro(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e6:.3g}"


def measure() -> list[Result]:
    """Measure against every peer that is here; a few seconds."""
    return [*_against_queues(), *_against_pykka(), *_against_erlang()]


def _skipped(name: str, why: str) -> Result:
    return Result(name, 0.0, 0.0, 0.0, "x", f"skipped: {why}", met=True)


# ---- ours ------------------------------------------------------------------------------------------


class Counter(Actor):
    """Does next to nothing, as the peers' actors do."""

    def __init__(self) -> None:
        self.total = 0

    @on(Item)
    def item(self, _message: Item) -> None:
        self.total += 1

    @on(Ping)
    def ping(self, _question: Ping) -> int:
        return self.total


async def _with_counter(measurement: Callable[[Ref], Awaitable[None]]) -> None:
    async with open_system("bench") as system:
        await start_tree(system, supervisor("counters", worker("counter", Counter)))
        await measurement(system.ref("counters/counter"))


async def _our_tell(ref: Ref) -> float:
    message = Item(1)
    tell, mailbox = ref.tell, ref.slot.mailbox
    started = time.thread_time()
    for _ in range(TELLS // BURST):
        for _ in range(BURST):
            tell(message)
        while mailbox.queue:
            await checkpoint()
    return (time.thread_time() - started) / TELLS


async def _our_ask(ref: Ref) -> float:
    started = time.thread_time()
    for _ in range(ASKS):
        await ref.ask(Ping())
    return (time.thread_time() - started) / ASKS


# ---- asyncio's queues ------------------------------------------------------------------------------


async def _queue_ask() -> float:
    """Ask a task over one queue and get the answer over another."""
    there: asyncio.Queue[Ping] = asyncio.Queue(1024)
    back: asyncio.Queue[int] = asyncio.Queue(1024)

    async def serve() -> None:
        while True:
            await there.get()
            await back.put(1)

    server = asyncio.create_task(serve())
    started = time.thread_time()
    for _ in range(ASKS):
        await there.put(Ping())
        await back.get()
    taken = (time.thread_time() - started) / ASKS
    server.cancel()
    return taken


async def _queue_tell() -> float:
    """Put into a queue that a task empties and counts."""
    queue: asyncio.Queue[Item] = asyncio.Queue(1024)
    message = Item(1)

    async def drain() -> None:
        while True:
            await queue.get()
            queue.task_done()

    server = asyncio.create_task(drain())
    started = time.thread_time()
    for _ in range(TELLS // BURST):
        for _ in range(BURST):
            queue.put_nowait(message)
        await queue.join()
    taken = (time.thread_time() - started) / TELLS
    server.cancel()
    return taken


def _against_queues() -> list[Result]:
    asks, tells = _Pair(), _Pair()

    async def compare(ref: Ref) -> None:
        for _ in range(REPEATS):
            asks.theirs.append(await _queue_ask())
            asks.ours.append(await _our_ask(ref))
            tells.theirs.append(await _queue_tell())
            tells.ours.append(await _our_tell(ref))

    anyio.run(_with_counter, compare, backend="asyncio")
    return [
        asks.result("ask against a pair of asyncio.Queues (asyncio)", "> 1 x", 1.0),
        tells.result("tell against asyncio.Queue (asyncio)", "the measure", 0.0),
    ]


# ---- Pykka -----------------------------------------------------------------------------------------


def _against_pykka() -> list[Result]:
    names = ("tell against Pykka's (trio)", "ask against Pykka's (trio)")
    if importlib.util.find_spec("pykka") is None:
        return [_skipped(name, "pykka is not installed") for name in names]
    from tests.benchmarks.pykka_peer import Peer

    tells, asks = _Pair(), _Pair()

    async def compare(ref: Ref) -> None:
        with Peer() as peer:
            for _ in range(REPEATS):
                tells.theirs.append(peer.tell(TELLS // 4))
                tells.ours.append(await _our_tell(ref))
                asks.theirs.append(peer.ask(ASKS))
                asks.ours.append(await _our_ask(ref))

    anyio.run(_with_counter, compare, backend="trio")
    return [tells.result(names[0], ">= 10 x", 10.0), asks.result(names[1], "> 1 x", 1.0)]


# ---- Erlang ----------------------------------------------------------------------------------------


def _against_erlang() -> list[Result]:
    name = "tell against Erlang's cast (trio)"
    if shutil.which("erl") is None or shutil.which("escript") is None:
        return [_skipped(name, "erl is not on the PATH")]
    casts = _Pair()

    async def compare(ref: Ref) -> None:
        for _ in range(REPEATS):
            casts.theirs.append(_erlang("cast"))
            casts.ours.append(await _our_tell(ref))

    anyio.run(_with_counter, compare, backend="trio")
    # Within 1.5 x of its rate: ours may cost 1.5 times as much.
    return [casts.result(name, ">= 0.67 x", 1 / 1.5)]


def _erlang(what: str) -> float:
    """Return the seconds for one operation, as the script measured them."""
    done = subprocess.run(
        ["escript", str(ERLANG), what], capture_output=True, check=True, text=True, timeout=ERLANG_TIMEOUT
    )
    return float(done.stdout)
