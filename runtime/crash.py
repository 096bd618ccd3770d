"""How an exception of an actor is judged, and how it is told.

A cancellation that nobody around the actor requested is a crash, like any other
exception; one that was requested never comes here.  What no supervisor may
restart (KeyboardInterrupt, SystemExit, MemoryError) is found inside groups too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.runtime.backtrace import backtrace_of
from holdfast.runtime.behavior import Actor
from holdfast.runtime.errors import StrayCancellation
from holdfast.runtime.events import CrashReported
from holdfast.runtime.mailbox import Notice, Question, Tick
from holdfast.runtime.outcomes import Crash, members, unwrap
from holdfast.runtime.state import shown_state

if TYPE_CHECKING:
    from holdfast.runtime.registry import Slot
    from holdfast.runtime.system import System

__all__ = ["fatal_in", "inner_message", "judge", "report"]

_FATAL = (KeyboardInterrupt, SystemExit, MemoryError)

# Exceptions that are fatal or may hold others; any other `Exception` is plainly a crash.
_NEED_A_LOOK = (MemoryError, ExceptionGroup)

_ENVELOPES = (Question, Notice, Tick)

# What a report tells of the time before: the last restart or two.
RECENT_MAX = 8


def judge(system: System, path: str, error: BaseException) -> Crash:
    """Return the crash that this exception is; what is fatal ends the whole system."""
    if isinstance(error, Exception) and not isinstance(error, _NEED_A_LOOK):
        return Crash(error, raised=error)
    cause = unwrap(error)
    if not isinstance(cause, Exception) and isinstance(cause, system.backend.cancelled):
        system.backend.forgive_cancellation()
        stray = StrayCancellation(path)
        stray.__cause__ = cause
        return Crash(stray, raised=error)
    fatal = fatal_in(error)
    if fatal is not None:
        system.abort(fatal)
    return Crash(cause, raised=error)


def fatal_in(error: BaseException) -> BaseException | None:
    """Return what must stop the runtime, also from inside a group."""
    if isinstance(error, _FATAL):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in members(error) if (found := fatal_in(inner))), None)
    return None


def inner_message(item: object) -> object:
    """Return the user's message inside an envelope."""
    return item.message if isinstance(item, _ENVELOPES) else item


def report(
    system: System, slot: Slot, incarnation: int, outcome: Crash, item: object, actor: Actor | None
) -> None:
    """Publish the crash: path, incarnation, message type (never its content), exception, last events.

    And the state as its class's own `format_state` shows it, nothing of a class without the hook (S20).
    """
    message = inner_message(item)
    heard = system.events.heard
    before = slot.recent(RECENT_MAX) if heard else ()
    event = CrashReported(
        path=slot.path,
        incarnation=incarnation,
        exception=outcome.reason,
        message_type=None if message is None else type(message).__name__,
        backtrace=backtrace_of(outcome.raised or outcome.exception),
        past=(),
        at=system.now(),
    )
    # Recorded without what it tells of the ones before it: whole, each would hold all the others.
    slot.record(event)
    if heard:
        hooked = actor is not None and type(actor).format_state is not Actor.format_state
        state = shown_state(actor) if actor is not None and hooked else None
        system.events.publish(msgspec.structs.replace(event, past=before, state=state))
