"""Children that do as they are told and write down what they live through.

One `Crew` per test.  `events` has the notation of the recorded rows: ``+a``
started, ``!a`` a failing start, ``?a`` a start that said there is nothing to
run, ``-a:crash`` ended with that outcome (stop hook; a killed child writes none).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from holdfast.runtime import (
    IGNORE,
    NORMAL,
    Actor,
    Crash,
    Ignore,
    Info,
    Message,
    Normal,
    Outcome,
    Ref,
    Request,
    Shutdown,
    System,
    on,
)
from holdfast.runtime.testing import settled
from holdfast.supervisors import (
    Budget,
    ChildSpec,
    DynamicHandle,
    SupervisorHandle,
    dynamic,
    start_tree,
    supervisor,
    template,
    worker,
)

__all__ = ["Boom", "Crew", "Die", "Finish", "Note", "Whoami", "Work", "fill", "kill", "pile_up", "start_pool"]

# Enough for any test that is not about budgets.
PLENTY = Budget(100, 5.0)


class Boom(Exception):
    """What a child of a crew crashes with."""


class Die(Message, frozen=True):
    """Crash."""


class Finish(Message, frozen=True):
    """End by yourself with this outcome."""

    outcome: Outcome = NORMAL


class Work(Message, frozen=True):
    """Be busy for so many seconds, then write it down."""

    seconds: float
    text: str = "worked"


class Note(Message, frozen=True):
    """Write this down."""

    text: str


class Whoami(Request[int], frozen=True):
    """Answer with the incarnation."""


def notation(outcome: Outcome) -> str:
    match outcome:
        case Normal():
            return "normal"
        case Shutdown(info=None):
            return "shutdown"
        case Shutdown():
            return "shutdown+info"
        case Crash():
            return "crash"
        case _:
            return str(outcome)


class Member(Actor):
    def __init__(self, crew: Crew, name: str, *arguments: object) -> None:
        self._crew = crew
        self._name = name
        self.arguments = arguments

    async def on_start(self) -> Ignore | Info | None:
        crew, name = self._crew, self._name
        crew.starts[name] += 1
        attempt = crew.starts[name]
        if name in crew.start_takes:
            await anyio.sleep(crew.start_takes[name])
        if attempt in crew.ignores.get(name, ()):
            crew.events.append(f"?{name}")
            return IGNORE
        if attempt in crew.fails.get(name, ()):
            crew.events.append(f"!{name}")
            raise Boom(f"start {attempt} of {name}")
        crew.events.append(f"+{name}")
        return Info(crew.infos[name]) if name in crew.infos else None

    async def on_stop(self, outcome: Outcome) -> None:
        crew, name = self._crew, self._name
        if name in crew.stop_takes:
            await anyio.sleep(crew.stop_takes[name])
        crew.events.append(f"-{name}:{notation(outcome)}")
        if name in crew.stop_raises:
            raise Boom(f"stop of {name}")

    async def on_drain(self) -> None:
        crew, name = self._crew, self._name
        if name in crew.drain_takes:
            await anyio.sleep(crew.drain_takes[name])
        if crew.records_drains:
            crew.events.append(f"~{name}")

    @on(Die)
    def _die(self, _message: Die) -> None:
        raise Boom(self._name)

    @on(Finish)
    def _finish(self, message: Finish) -> None:
        self.context.stop(message.outcome)

    @on(Work)
    async def _work(self, message: Work) -> None:
        await anyio.sleep(message.seconds)
        self._crew.events.append(f"{self._name} {message.text}")

    @on(Note)
    def _note(self, message: Note) -> None:
        self._crew.events.append(f"{self._name} {message.text}")

    @on(Whoami)
    def _whoami(self, _question: Whoami) -> int:
        return self.context.incarnation


class Crew:
    """The children of one test, and what is to go wrong with them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.starts: Counter[str] = Counter()
        self.fails: dict[str, range | set[int]] = {}
        """Which start attempts of a child fail, counted from 1."""
        self.ignores: dict[str, range | set[int]] = {}
        self.infos: dict[str, object] = {}
        self.start_takes: dict[str, float] = {}
        self.stop_takes: dict[str, float] = {}
        self.stop_raises: set[str] = set()
        self.drain_takes: dict[str, float] = {}
        self.records_drains = False

    def member(self, name: str, **spec: Any) -> ChildSpec:
        """Return the spec of a recorded child."""
        return worker(name, lambda: Member(self, name), **spec)

    def members(self, names: str, **spec: Any) -> list[ChildSpec]:
        """Return the specs of several children with names of one letter."""
        return [self.member(name, **spec) for name in names]

    def pattern(self, name: str, **spec: Any) -> ChildSpec:
        """Return a template of recorded children, all under one name."""
        return template(name, lambda *arguments: Member(self, name, *arguments), **spec)

    async def start(self, system: System, *children: ChildSpec, **options: Any) -> SupervisorHandle:
        """Start a supervisor called ``top`` over these children and forget their first starts."""
        options.setdefault("budget", PLENTY)
        handle = await start_tree(system, supervisor("top", *children, **options))
        self.events.clear()
        return handle

    def take(self) -> list[str]:
        """Return what has happened since the last time."""
        events, self.events = self.events, []
        return events


def kill(system: System, path: str) -> None:
    """End an actor without asking it."""
    cell = system.ref(path).slot.cell
    assert cell is not None, f"{path} does not run"
    cell.kill()


async def pile_up(system: System, path: str, *deeds: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """Do all that while the actor at `path` handles nothing; the returned function lets it go on."""
    inspection = system.inspect(path)
    await inspection.suspend()
    for deed in deeds:
        deed()
        await settled()

    async def go_on() -> None:
        await inspection.resume()
        await settled()

    return go_on


async def start_pool(system: System, children: ChildSpec, **options: Any) -> DynamicHandle:
    options.setdefault("budget", PLENTY)
    return DynamicHandle((await start_tree(system, dynamic("pool", children, **options))).ref)


async def fill(pool: DynamicHandle, count: int) -> list[Ref]:
    refs: list[Ref] = []
    for _ in range(count):
        ref = (await pool.start_child()).ref
        assert ref is not None
        refs.append(ref)
    return refs
