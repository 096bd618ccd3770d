"""Scripts of faults and calls, played on a real tree through the public API.

A script is a tree, which start attempts of which child fail or have nothing to run, and deeds.
Playing it gives the three things that a recording has: the events in its notation, the
answer to each call, and the final states.  `play` does it with real actors; what should come of
it is said by `reference.py`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Container, Mapping
from typing import TypeAlias

import anyio
import anyio.abc
import attrs
from tests.conformance.plans import Leaf, Plan, TeamPlan
from tests.conformance.reference import Answer

from holdfast.runtime import (
    IGNORE,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorGone,
    Crash,
    Ignore,
    Inspection,
    Message,
    Normal,
    Outcome,
    Request,
    Shutdown,
    StartFailed,
    System,
    on,
    open_system,
)
from holdfast.runtime.cell import Cell
from holdfast.runtime.testing import settled
from holdfast.supervisors import (
    KILL,
    AlreadyPresent,
    AlreadyStarted,
    AutoShutdown,
    Budget,
    ChildHandle,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    ChildStartFailed,
    InvalidSpec,
    NoSuchChild,
    Restart,
    Strategy,
    SupervisorHandle,
    start_tree,
    supervisor,
    worker,
)

__all__ = ["Calls", "Deed", "Fault", "Hold", "KillTeam", "Release", "Result", "Script", "play"]

# The reference has no time: whatever happens in a script is within the window.
WINDOW = 100_000.0


@attrs.frozen
class Fault:
    """A running worker ends by itself, as the reason says, or is killed."""

    child: str
    reason: str


@attrs.frozen
class KillTeam:
    """A supervisor is killed."""

    path: str


@attrs.frozen
class Hold:
    """The supervisor handles nothing until `Release`: what is done meanwhile waits in order."""

    path: str


@attrs.frozen
class Release:
    path: str


@attrs.frozen
class Calls:
    """A call to a supervisor, which need not be answered before the next deed."""

    path: str
    verb: str
    subject: Plan | str = ""


Deed: TypeAlias = Fault | KillTeam | Hold | Release | Calls
Attempts: TypeAlias = Mapping[str, Container[int]]


@attrs.frozen(kw_only=True)
class Script:
    tree: TeamPlan
    fails: Attempts = attrs.field(factory=dict[str, Container[int]])
    ignores: Attempts = attrs.field(factory=dict[str, Container[int]])
    deeds: tuple[Deed, ...] = ()


@attrs.frozen(kw_only=True)
class Result:
    """What came of a script."""

    events: list[str]
    answers: dict[int, Answer]
    final: dict[str, object]
    fate: str


class End(Message, frozen=True):
    """End by yourself."""

    reason: str


class WhichAttempt(Request[int], frozen=True):
    """Say which start attempt of yours this is."""


class Log:
    """What the workers of one script live through."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.events: list[str] = []
        self.starts: Counter[str] = Counter()


ENDS: dict[str, Outcome] = {"normal": NORMAL, "shutdown": SHUTDOWN, "shutdown+info": Shutdown("info")}


class Recorded(Actor):
    """A worker that writes down its starts and its ends."""

    def __init__(self, log: Log, name: str) -> None:
        self._log = log
        self._name = name
        self._attempt = 0

    def on_start(self) -> Ignore | None:
        log, name = self._log, self._name
        log.starts[name] += 1
        self._attempt = log.starts[name]
        if self._attempt in log.script.ignores.get(name, ()):
            log.events.append(f"?{name}")
            return IGNORE
        if self._attempt in log.script.fails.get(name, ()):
            log.events.append(f"!{name}")
            raise RuntimeError(f"attempt {self._attempt} of {name} fails")
        log.events.append(f"+{name}")
        return None

    def on_stop(self, outcome: Outcome) -> None:
        self._log.events.append(f"-{self._name}:{in_notation(outcome)}")

    @on(End)
    def _end(self, message: End) -> None:
        if message.reason == "crash":
            raise RuntimeError(self._name)
        self.context.stop(ENDS[message.reason])

    @on(WhichAttempt)
    def _which(self, _question: WhichAttempt) -> int:
        return self._attempt


class Rest(Message, frozen=True):
    """Nothing to do, and a handler that may wait."""


class RecordedWithTask(Recorded):
    """The same with a task of its own: who may wait is no task-less actor."""

    @on(Rest)
    async def _rest(self, _message: Rest) -> None:
        """Wait for nothing."""


def tier_of(name: str) -> type[Recorded]:
    """Return which tier a worker is of: every other name has a task."""
    return RecordedWithTask if sum(name.encode()) % 2 else Recorded


def in_notation(outcome: Outcome) -> str:
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
            raise AssertionError(f"a stop hook is not called with {outcome}")


def spec_of(plan: Plan, log: Log) -> ChildSpec:
    """Return what is declared, in the words of the library."""
    if isinstance(plan, Leaf):
        return worker(
            plan.id,
            functools.partial(tier_of(plan.id), log, plan.id),
            restart=Restart(plan.restart),
            significant=plan.significant,
            shutdown=KILL if plan.kill else 5.0,
        )
    return supervisor(
        plan.id,
        *(spec_of(child, log) for child in plan.children),
        strategy=Strategy(plan.strategy),
        budget=Budget(plan.intensity, WINDOW),
        auto_shutdown=AutoShutdown(plan.auto_shutdown),
        give_up_as="shutdown",
        restart=Restart(plan.restart),
        significant=plan.significant,
    )


REFUSALS: dict[type[Exception], str] = {
    AlreadyStarted: "already_started",
    AlreadyPresent: "already_present",
    NoSuchChild: "not_found",
    ChildRunning: "running",
    ChildRestarting: "restarting",
    ChildStartFailed: "error",
    InvalidSpec: "refused",
    ActorGone: "gone",
}


class Player:
    """Plays one script on a system of its own."""

    def __init__(self, script: Script, system: System) -> None:
        self.script = script
        self.log = Log(script)
        self.answers: dict[int, Answer] = {}
        self._system = system
        self._held: dict[str, Inspection] = {}

    async def play(self) -> Result:
        try:
            handle = await start_tree(self._system, spec_of(self.script.tree, self.log))
        except StartFailed:
            return Result(events=list(self.log.events), answers={}, final={}, fate="not started")
        async with anyio.create_task_group() as calling:
            for number, deed in enumerate(self.script.deeds):
                await self._do(number, deed, calling)
                await settled()
            for path in tuple(self._held):
                await self._release(path)
            await settled()
        outcome = handle.ref.slot.outcome
        fate = "alive" if outcome is None else f"exited:{outcome}"
        final = await self._final(handle) if outcome is None else {}
        return Result(events=list(self.log.events), answers=dict(self.answers), final=final, fate=fate)

    async def _do(self, number: int, deed: Deed, calling: anyio.abc.TaskGroup) -> None:
        match deed:
            case Fault(child, "killed"):
                self._cell(self._path_of(child)).kill()
            case Fault(child, reason):
                self._system.ref(self._path_of(child)).tell(End(reason))
            case KillTeam(path):
                self._cell(path).kill()
            case Hold(path):
                self._held[path] = self._system.inspect(path)
                await self._held[path].suspend()
            case Release(path):
                await self._release(path)
            case Calls(path, verb, subject):
                calling.start_soon(self._call, number, path, verb, subject)

    async def _release(self, path: str) -> None:
        """Let it go on, unless it has ended meanwhile: a successor is not suspended."""
        inspection = self._held.pop(path, None)
        if inspection is not None and inspection.suspended:
            await inspection.resume()

    def _path_of(self, child: str) -> str:
        found = [
            slot.path for slot in self._system.registry if slot.running and slot.path.endswith(f"/{child}")
        ]
        assert len(found) == 1, f"{child} runs at {found}"
        return found[0]

    def _cell(self, path: str) -> Cell:
        cell = self._system.ref(path).slot.cell
        assert cell is not None, f"{path} does not run"
        return cell

    async def _call(self, number: int, path: str, verb: str, subject: Plan | str) -> None:
        handle = SupervisorHandle(self._system.ref(path))
        try:
            self.answers[number] = await self._ask(handle, verb, subject)
        except tuple(REFUSALS) as error:
            self.answers[number] = REFUSALS[type(error)]

    async def _ask(self, handle: SupervisorHandle, verb: str, subject: Plan | str) -> Answer:
        if verb == "which":
            return tuple((child.id, child.state) for child in await handle.which_children())
        if verb == "count":
            counts = await handle.count_children()
            return (counts.specs, counts.active, counts.supervisors, counts.workers)
        if not isinstance(subject, str):
            return started(await handle.start_child(spec_of(subject, self.log)))
        if verb == "restart_child":
            return started(await handle.restart_child(subject))
        if verb == "terminate_child":
            await handle.terminate_child(subject)
        elif verb == "delete_child":
            await handle.delete_child(subject)
        else:
            await handle.stop()
        return "ok"

    async def _final(self, handle: SupervisorHandle) -> dict[str, object]:
        states: dict[str, object] = {}
        for child in await handle.which_children():
            states[child.path] = child.state
            if child.ref is None:
                continue
            if child.kind == "supervisor":
                states |= await self._final(SupervisorHandle(child.ref))
            else:
                states[child.path] = await child.ref.ask(WhichAttempt())
        return states


def started(handle: ChildHandle) -> Answer:
    return "ok" if handle.ref is not None else "ok:nothing"


async def play(script: Script) -> Result:
    """Play a script on real actors; call it within a backend of `holdfast.runtime.testing`."""
    async with open_system() as system:
        return await Player(script, system).play()
