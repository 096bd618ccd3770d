"""What the kernel costs: tell, ask and a hop from actor to actor, through the public API.

Everything is measured on a supervised actor with the default bounded mailbox,
on trio and on asyncio, as a user would write it.

How to read the numbers:

* They are CPU time of the thread (`time.thread_time`), because the machines this
  runs on are shared: it is wall time on an idle core for a loop that never
  waits, and it hides waiting.  Latency under load is another question.
* Each is the median of repeats; the spread is the lowest and the highest of
  them.  The cases take turns within a repeat, so that a noisy moment hits all.
* A tell is given as a share of the floor: the same messages through a bare
  `deque` and one bound method, measured immediately before and after.  Absolute
  microseconds drift by half between moments on a shared machine, shares do not.
* Bursts matter more than anything else: a tell that finds its actor asleep costs
  a turn of the scheduler, whatever the kernel does.  A burst of one is therefore
  given as what it is, in turns.
* An ask and a hop are given in microseconds, and judged in turns of the
  scheduler (`checkpoint`), which are measured beside them and are most of them.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable

import anyio
import attrs
import trio

from holdfast.runtime import Actor, Message, Ref, Request, System, on, open_system
from holdfast.runtime.backend import current_backend
from holdfast.supervisors import start_tree, supervisor, worker

__all__ = ["Result", "measure"]

REPEATS = 7
MESSAGES = 12_800
ASKS = 600
HOPS = 2_000
RING = 100
CHECKPOINTS = 2_000


@attrs.frozen
class Result:
    """One figure, what it should be, and whether it is."""

    name: str
    value: float
    lowest: float
    highest: float
    unit: str
    target: str
    met: bool


class Item(Message, frozen=True):
    """What is told in bulk."""

    number: int


class Later(Message, frozen=True):
    """The same, with an async handler."""

    number: int


class Ping(Request[int], frozen=True):
    """What is asked."""


class Hop(Message, frozen=True):
    """Goes round the ring until nothing is left of it."""

    left: int


class Sink(Actor):
    """Does next to nothing with everything."""

    def __init__(self) -> None:
        self.total = 0

    @on(Item)
    def item(self, message: Item) -> None:
        self.total += 1

    @on(Ping)
    def ping(self, message: Ping) -> int:
        return 1


class TaskSink(Sink):
    """The same with a task of its own, and what needs one."""

    tier = "task"

    @on(Later)
    async def later(self, message: Later) -> None:
        self.total += 1


class Node(Actor):
    """One of the ring."""

    def __init__(self, following: Callable[[], Ref], arrived: Callable[[], None]) -> None:
        self.following = following
        self.arrived = arrived

    @on(Hop)
    def hop(self, message: Hop) -> None:
        if message.left:
            self.following().tell(Hop(message.left - 1))
        else:
            self.arrived()


class TaskNode(Node):
    """The same with a task of its own."""

    tier = "task"


async def checkpoint() -> None:
    """Give the others a turn, as cheaply as the backend can: anyio's own wrapper costs half as much again."""
    await current_backend().checkpoint()


class Signal:
    """Set by an actor, awaited by the measurement; no event is made anew for each turn."""

    def __init__(self) -> None:
        self.count = 0

    def set(self) -> None:
        self.count += 1

    async def wait(self, count: int) -> None:
        while self.count < count:
            await checkpoint()


def _floor() -> float:
    """Return the seconds of CPU for each message through a bare deque and a bound method."""

    class Bare:
        total = 0

        def item(self, message: Item) -> None:
            self.total += 1

    queue: deque[Item] = deque()
    put, take, handle = queue.append, queue.popleft, Bare().item
    message = Item(1)
    started = time.thread_time()
    for _ in range(MESSAGES // 256):
        for _ in range(256):
            put(message)
        while queue:
            handle(take())
    return (time.thread_time() - started) / MESSAGES


async def _tell(ref: Ref, message: Message, burst: int) -> float:
    """Return the seconds for each message, told in bursts by one who gives the others a turn after each."""
    mailbox = ref.slot.mailbox
    messages = MESSAGES if burst > 1 else MESSAGES // 16
    tell = ref.tell
    started = time.thread_time()
    for _ in range(messages // burst):
        for _ in range(burst):
            tell(message)
        await checkpoint()
        while len(mailbox.queue) > mailbox.capacity - burst:
            await checkpoint()
    while mailbox.queue:
        await checkpoint()
    return (time.thread_time() - started) / messages


async def _channel() -> float:
    """Return the seconds for each message through a trio memory channel, one receive for each."""
    send, receive = trio.open_memory_channel[Item](1024)
    message = Item(1)
    count = 0

    async def drain() -> None:
        nonlocal count
        async with receive:
            async for _ in receive:
                count += 1

    messages = 2_560
    started = time.thread_time()
    async with trio.open_nursery() as nursery, send:
        nursery.start_soon(drain)
        for burst in range(1, messages // 256 + 1):
            for _ in range(256):
                send.send_nowait(message)
            await trio.lowlevel.checkpoint()
            while burst * 256 - count > 1024 - 256:
                await trio.lowlevel.checkpoint()
        while count < messages:
            await trio.lowlevel.checkpoint()
        send.close()
    return (time.thread_time() - started) / messages


async def _ask(ref: Ref) -> float:
    started = time.thread_time()
    for _ in range(ASKS):
        await ref.ask(Ping())
    return (time.thread_time() - started) / ASKS


async def _turn() -> float:
    started = time.thread_time()
    for _ in range(CHECKPOINTS):
        await checkpoint()
    return (time.thread_time() - started) / CHECKPOINTS


async def _hop(first: Ref, signal: Signal) -> float:
    wanted = signal.count + 1
    started = time.thread_time()
    first.tell(Hop(HOPS))
    await signal.wait(wanted)
    return (time.thread_time() - started) / HOPS


@attrs.define
class _Figures:
    """The repeats of every case of one backend."""

    share: dict[str, list[float]] = attrs.field(factory=dict[str, list[float]])
    micro: dict[str, list[float]] = attrs.field(factory=dict[str, list[float]])
    turns: dict[str, list[float]] = attrs.field(factory=dict[str, list[float]])
    ratio: list[float] = attrs.field(factory=list[float])


_TELLS: tuple[tuple[str, Message, int], ...] = (
    ("tell, task-less, bursts of 256", Item(1), 256),
    ("tell, task-less, bursts of 64", Item(1), 64),
    ("tell, async def, bursts of 256", Later(1), 256),
    ("tell, async def, bursts of 64", Later(1), 64),
)
_SHARES = dict(zip((name for name, _, _ in _TELLS), (40, 30, 30, 25), strict=True))
# In microseconds where the pump takes turns of the scheduler away, in turns where they are most of it.
_MICROSECONDS = {"ask, inline": 4.0, "ask, of a task": 12.0, "hop, task-less": 1.5}
_TURNS = {"tell, task-less, a wake for each": 2.0, "hop, between tasks": 2.5}


async def _one_backend(backend: str) -> _Figures:
    figures = _Figures()
    async with open_system("bench") as system:
        sink = await _start_sink(system, Sink)
        task = await _start_sink(system, TaskSink)
        signal = Signal()
        first = await _start_ring(system, Node, signal)
        first_task = await _start_ring(system, TaskNode, signal)
        for _ in range(REPEATS):
            for name, message, burst in _TELLS:
                before = _floor()
                each = await _tell(task if isinstance(message, Later) else sink, message, burst)
                floor = (before + _floor()) / 2
                figures.share.setdefault(name, []).append(100 * floor / each)
                if backend == "trio" and name == _TELLS[0][0]:
                    figures.ratio.append(await _channel() / each)
            turn = await _turn()
            cases: dict[str, Awaitable[float]] = {
                "tell, task-less, a wake for each": _tell(sink, Item(1), 1),
                "ask, inline": _ask(sink),
                "ask, of a task": _ask(task),
                "hop, task-less": _hop(first, signal),
                "hop, between tasks": _hop(first_task, signal),
                "a turn of the scheduler": _turn(),
            }
            for name, case in cases.items():
                each = await case
                figures.micro.setdefault(name, []).append(each * 1e6)
                figures.turns.setdefault(name, []).append(each / turn)
    return figures


async def _start_sink(system: System, kind: type[Sink]) -> Ref:
    await start_tree(system, supervisor(kind.__name__, worker("sink", kind)))
    return system.ref(f"{kind.__name__}/sink")


async def _start_ring(system: System, kind: type[Node], signal: Signal) -> Ref:
    refs = [system.ref(f"{kind.__name__}/node{n}") for n in range(RING)]

    def node(number: int) -> Node:
        following = refs[(number + 1) % RING]
        return kind(lambda: following, signal.set)

    children = [worker(f"node{n}", lambda n=n: node(n)) for n in range(RING)]  # type: ignore[misc]
    await start_tree(system, supervisor(kind.__name__, *children))
    return refs[0]


def measure(backend: str) -> list[Result]:
    """Measure everything on one backend; about ten seconds."""
    figures = anyio.run(_one_backend, backend, backend=backend)
    results = [_share(f"{name} ({backend})", figures.share[name], _SHARES[name]) for name in _SHARES]
    if figures.ratio:
        results.append(
            _result(
                f"memory channel against tell ({backend})", figures.ratio, "x", ">= 10 x", lambda x: x >= 10
            )
        )
    for name, most in _MICROSECONDS.items():
        turns = statistics.median(figures.turns[name])
        results.append(
            _result(
                f"{name} ({backend})",
                figures.micro[name],
                "us",
                f"<= {most:g} us (here {turns:.2f} turns)",
                lambda x, most=most: x <= most,  # type: ignore[misc]
            )
        )
    for name, most in _TURNS.items():
        turns = statistics.median(figures.turns[name])
        results.append(
            _result(
                f"{name} ({backend})",
                figures.micro[name],
                "us",
                f"<= {most:g} turns (here {turns:.1f})",
                lambda _, turns=turns, most=most: turns <= most,  # type: ignore[misc]
            )
        )
    turn = figures.micro["a turn of the scheduler"]
    results.append(_result(f"a turn of the scheduler ({backend})", turn, "us", "the measure", lambda _: True))
    return results


def _share(name: str, values: list[float], least: int) -> Result:
    return _result(name, values, "% of the floor", f">= {least} %", lambda x: x >= least)


def _result(name: str, values: list[float], unit: str, target: str, met: Callable[[float], bool]) -> Result:
    value = statistics.median(values)
    return Result(
        name, round(value, 2), round(min(values), 2), round(max(values), 2), unit, target, met(value)
    )
