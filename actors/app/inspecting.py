"""What a running daemon answers about one of its actors: inspect, trace, suspend, resume.

The paths are those that ``holdfast tree`` lists, of the client's tree and of the
others in the process.  What is shown has been through the redaction: states and
contents by their own doors, the sentences of events here.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Literal

import attrs
import trio

from holdfast.actors.app.display import describe
from holdfast.actors.client.events import event_form
from holdfast.runtime import ActorGone, Event, EventStream, Inspection, InspectionTimeout, System, event_name
from holdfast.runtime.control import ControlError, Verbs
from holdfast.runtime.introspection import Trace
from holdfast.runtime.redaction import clean_text

__all__ = ["inspecting_verbs"]

# An actor may be busy for seconds; people wait for a picture about as long.
STATE_TIMEOUT = 2.0

# The latest events that `inspect` shows: what a crash report tells of, too.
EVENTS_SHOWN = 8

# A watcher that is this far behind is told how many entries it missed.
TRACE_CAPACITY = 4096


def inspecting_verbs(systems: Sequence[System], started_at: float) -> Verbs:
    """Return the verbs about single actors of these systems; times are told since `started_at`."""

    async def inspect(arguments: Mapping[str, object]) -> object:
        system, inspection = _found(systems, arguments)
        return await _picture(system, inspection, started_at)

    async def suspend(arguments: Mapping[str, object]) -> object:
        _system, inspection = _found(systems, arguments)
        await inspection.suspend()
        return {"suspended": inspection.path, "waiting": inspection.statistics().depth}

    async def resume(arguments: Mapping[str, object]) -> object:
        _system, inspection = _found(systems, arguments)
        was = inspection.suspended
        await inspection.resume()
        return {"resumed": inspection.path, "was_suspended": was}

    def follow(arguments: Mapping[str, object]) -> AsyncGenerator[object, None]:
        system, inspection = _found(systems, arguments)
        seconds = arguments.get("seconds")
        if seconds is None:
            seconds = math.inf
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ControlError(f"seconds must be a number above 0, or nothing; got {seconds!r}")
        subtree, contents = _flag(arguments, "subtree"), _flag(arguments, "contents")

        def trace(sink: Callable[[Event], None]) -> Trace:
            return inspection.trace(sink, subtree=subtree, contents=contents)

        return _lines(system, trace, seconds, started_at)

    return {"inspect": inspect, "suspend": suspend, "resume": resume, "trace": follow}


def _found(systems: Sequence[System], arguments: Mapping[str, object]) -> tuple[System, Inspection]:
    path = arguments.get("path")
    if not isinstance(path, str) or not path:
        raise ControlError(f"path must be a path such as holdfast/session/auth, got {path!r}")
    for system in systems:
        if system.registry.find(path) is not None:
            return system, system.inspect(path)
    raise ControlError(f"there is no actor {path!r}; 'holdfast tree' lists the paths")


def _flag(arguments: Mapping[str, object], name: str) -> bool:
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise ControlError(f"{name} must be true or false, got {value!r}")
    return value


async def _picture(system: System, inspection: Inspection, started_at: float) -> object:
    slot = system.registry.slot(inspection.path)
    counted = inspection.statistics()
    busy: Literal[True, False] = False
    state: object = None
    if slot.cell is not None:
        try:
            state = await inspection.get_state(timeout=STATE_TIMEOUT)
        except InspectionTimeout:
            busy = True
        except ActorGone:
            pass  # it has just ended; the counts and how it ended are worth having
    counts = attrs.asdict(counted)
    del counts["state"], counts["started_at"]
    message = None if slot.cell is None else slot.cell.loop.message
    return {
        **counts,
        "status": counted.state,
        "busy": busy,
        "handling": None if message is None else type(message).__name__,
        "ended": None if slot.outcome is None else clean_text(str(slot.outcome)),
        "state": state,
        "events": [
            {
                "type": event_name(event),
                "text": clean_text(describe(event)),
                "at": round(getattr(event, "at", started_at) - started_at, 3),
            }
            for event in slot.recent(EVENTS_SHOWN)
        ],
    }


async def _lines(
    system: System, trace: Callable[[Callable[[Event], None]], Trace], seconds: float, started_at: float
) -> AsyncGenerator[object, None]:
    stream = EventStream()
    subscription = stream.subscribe(TRACE_CAPACITY)
    tracing = trace(stream.publish)  # begun here: a generator that nobody starts is never closed
    until = system.now() + seconds
    told = 0
    try:
        while (left := until - system.now()) > 0:
            event = None
            with trio.move_on_after(left):
                event = await subscription.get()
            if event is None:
                return
            if subscription.missed > told:
                yield {"type": "trace:missed", "text": f"{subscription.missed - told} entries were missed"}
                told = subscription.missed
            at = round(getattr(event, "at", started_at) - started_at, 6)
            yield {**event_form(event), "text": str(event).partition(" ")[2], "at": at}
    finally:
        tracing.stop()
