"""How a program holds a system: for the length of an ``async with`` body.

The nursery of actors is shielded and lives in a task of its own: a cancellation
from around the system reaches the body, never an actor.  The end of the body,
however it comes, is the ordered stop of everything under one overall deadline.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio

from holdfast.runtime.backend import current_backend
from holdfast.runtime.errors import InvalidSystem, StopDeadlineExceeded
from holdfast.runtime.liveness import LivenessSpec
from holdfast.runtime.seams import Seams, say_at_once
from holdfast.runtime.seconds import is_seconds
from holdfast.runtime.system import System
from holdfast.runtime.watchdog import WatchdogSpec, watched

__all__ = ["open_system"]

# One overall deadline for stopping a whole tree: under the 30 s (Kubernetes) and 90 s (systemd)
# after which service managers kill, with room for what else must end.
STOP_DEADLINE = 10.0

# What a killed task may still need for clean-up that shields itself.
KILL_GRACE = 1.0

# The exit status of a process that had to be ended: EX_SOFTWARE of sysexits.h.
EXIT_WEDGED = 70

# How long a handler may take where neither the child spec nor the class says anything.
LIVENESS = LivenessSpec()


@asynccontextmanager
async def open_system(
    name: str = "holdfast",
    *,
    seams: Seams | None = None,
    stop_deadline: float = STOP_DEADLINE,
    kill_grace: float = KILL_GRACE,
    exit_when_wedged: bool = False,
    tasks_only: bool = False,
    liveness: LivenessSpec = LIVENESS,
    watchdog: WatchdogSpec | None = None,
    say: Callable[[str], None] = say_at_once,
) -> AsyncGenerator[System]:
    """Open an actor system for the length of an ``async with`` body.

    However the body ends (done, raised, cancelled from outside), everything is
    stopped in order first, and the body's end goes on after that.  A task that
    cannot be ended keeps the body from leaving, as everywhere in structured
    concurrency, unless `exit_when_wedged` ends the process with status 70.
    KeyboardInterrupt, SystemExit or MemoryError inside an actor cancel the body
    and are raised here.

    `tasks_only` gives every actor a task of its own, also one that needs none: for whoever looks
    at the tasks of the process, in a debugger or a profiler.

    `liveness` is for actors whose spec and class say nothing.  `watchdog` runs a thread
    that reports whoever blocks this one, with `say` at once (from that thread) and as
    an event, `thread:blocked`, when the loop is free again; None runs none.
    """
    _check(stop_deadline, kill_grace, liveness, watchdog)
    world = seams if seams is not None else Seams()
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as outer:
            system, leave = await _host(outer, name, world, stop_deadline, kill_grace, liveness)
            system.tasks_only = tasks_only
            body = anyio.CancelScope()
            system.on_fatal = body.cancel
            try:
                with watched(system, watchdog, say), body:
                    yield system
            finally:
                with anyio.CancelScope(shield=True), watched(system, watchdog, say):
                    await _close(system, leave, exit_when_wedged=exit_when_wedged)
                if system.fatal is not None:
                    raise system.fatal  # whatever the cancelled body has made of it
    except BaseExceptionGroup as group:
        # The task group is ours, not the caller's: what the body raised is raised as it was, with
        # its cause, and a group of one that the body itself raised stays one.
        failure = group.exceptions[0] if len(group.exceptions) == 1 else group
    if failure is not None:
        raise failure


def _check(stop_deadline: float, kill_grace: float, liveness: object, watchdog: object) -> None:
    for option, seconds in (("stop_deadline", stop_deadline), ("kill_grace", kill_grace)):
        if not is_seconds(seconds):
            raise InvalidSystem(option, "a finite number of seconds of 0 or more", seconds)
    if not isinstance(liveness, LivenessSpec):
        raise InvalidSystem("liveness", "a LivenessSpec", liveness)
    if watchdog is not None and not isinstance(watchdog, WatchdogSpec):
        raise InvalidSystem("watchdog", "a WatchdogSpec or None", watchdog)


async def _host(
    outer: anyio.abc.TaskGroup,
    name: str,
    seams: Seams,
    stop_deadline: float,
    kill_grace: float,
    liveness: LivenessSpec,
) -> tuple[System, anyio.Event]:
    """Open the shielded nursery in a task of its own and return the system in it, and what lets it end."""
    leave = anyio.Event()
    opened: list[System] = []
    ready = anyio.Event()

    async def host() -> None:
        with anyio.CancelScope(shield=True):
            async with current_backend().nursery() as nursery:
                opened.append(
                    System(
                        name,
                        seams,
                        nursery,
                        stop_deadline=stop_deadline,
                        kill_grace=kill_grace,
                        liveness=liveness,
                    )
                )
                ready.set()
                await leave.wait()

    outer.start_soon(host, name=f"{name}.host")
    with anyio.CancelScope(shield=True):
        await ready.wait()
    return opened[0], leave


async def _close(system: System, leave: anyio.Event, *, exit_when_wedged: bool) -> None:
    await system.stop()
    system.tasks_left = system.tasks
    wedged = system.wedged
    if wedged and exit_when_wedged:
        system.seams.exit_process(EXIT_WEDGED)
    system.events.close()
    system.alarm.close()
    system.pump.close()
    leave.set()
    if wedged:
        raise StopDeadlineExceeded(system.stop_deadline, wedged)
