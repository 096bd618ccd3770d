"""What the machine and its shell say to each other: facts in, steps out, results back in.

A `Plan` is an ordered list of steps.  The shell carries them out one after the
other and tells the machine what came of each; the machine may answer with a
plan that replaces the rest (a start failed), which is how "on the first failed
start, stop and think" (R13) stays a decision of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

import msgspec

from holdfast.runtime.messages import Message
from holdfast.runtime.outcomes import Outcome
from holdfast.supervisors.reports import Report

__all__ = [
    "DONE",
    "NOTHING",
    "BringBack",
    "CancelRetry",
    "Cause",
    "ChildEnded",
    "Correlated",
    "Done",
    "Drain",
    "EndSupervisor",
    "Fact",
    "FailStart",
    "Failed",
    "FinishFullRestart",
    "Forget",
    "Ignored",
    "Plan",
    "Prepare",
    "Refuse",
    "RefuseStarted",
    "Reply",
    "ReplyStarted",
    "Result",
    "Retire",
    "RetryDue",
    "ScheduleRetry",
    "ShareStopDeadline",
    "Start",
    "Started",
    "Step",
    "Stop",
    "StopTogether",
    "Stopped",
    "StoppedTogether",
    "SwitchOff",
    "Tell",
]

# ---- facts: what happened ---------------------------------------------------------------------------


class ChildEnded(msgspec.Struct, frozen=True):
    """A child's incarnation ended by itself."""

    child: str
    incarnation: int
    outcome: Outcome


class RetryDue(msgspec.Struct, frozen=True):
    """The turn of a queued retry has come, or its delay is over.

    A queued retry (serial None) is matched by the child's id alone, as in OTP (R39);
    one with a delay is matched by its serial too, so that a cancelled timer means nothing.
    """

    child: str
    serial: int | None = None


class Correlated(msgspec.Struct, frozen=True):
    """Failures somewhere below were the number that leads to a full restart; the machine knows which."""


Fact: TypeAlias = ChildEnded | RetryDue | Correlated

# ---- steps: what to do ------------------------------------------------------------------------------


class Cause(Enum):
    """Why a child is started; it decides what a failure means."""

    BOOT = "boot"
    RESTART = "restart"
    ADDED = "start_child"
    REVIVED = "restart_child"
    OPERATOR = "operator"
    PROBE = "probe"
    """A child that was switched off is tried, alone and without charge."""


class Start(msgspec.Struct, frozen=True):
    """Start a child; comes back as `Started`, `Ignored` or `Failed`."""

    child: str
    cause: Cause


class Stop(msgspec.Struct, frozen=True):
    """Stop a child under its own rule; comes back as `Stopped`.

    A final stop lets it handle the mail it has; one for a restart keeps that mail for the successor.
    """

    child: str
    final: bool


class StopTogether(msgspec.Struct, frozen=True):
    """Stop all these at once under one allowance (R19); comes back as `StoppedTogether`."""

    children: tuple[str, ...]
    final: bool


class Retire(msgspec.Struct, frozen=True):
    """The child is not coming back unless it is revived: its mail is refused, its questions fail now."""

    child: str


class SwitchOff(msgspec.Struct, frozen=True):
    """The child is off until its probe: its mail is refused, its questions fail now and say when that is."""

    child: str
    probe_in: float


class Tell(msgspec.Struct, frozen=True):
    """Send a running child a message, outside its bound, if it has a handler for that."""

    child: str
    message: Message


class Forget(msgspec.Struct, frozen=True):
    """The child's spec and its slot end here; a later child of that name is another one."""

    child: str


class ScheduleRetry(msgspec.Struct, frozen=True):
    """Come back to this child: behind whatever waits now when `delay` is None, else after the delay."""

    child: str
    delay: float | None = None
    serial: int | None = None


class CancelRetry(msgspec.Struct, frozen=True):
    """The delayed retry of this child is void."""

    child: str


class Drain(msgspec.Struct, frozen=True):
    """Let everybody below finish what they handle and write out what they hold, within the limit."""

    within: float


class ShareStopDeadline(msgspec.Struct, frozen=True):
    """All stops of the rest of this plan share one deadline."""

    within: float


class Prepare(msgspec.Struct, frozen=True):
    """Run the `before_start` hook of the full restart; comes back as `Done` or `Failed`."""

    child: str
    cause: Cause


class BringBack(msgspec.Struct, frozen=True):
    """Everybody has been stopped: begin the attempt that starts them, with this child as its trigger."""

    child: str
    why: str


class FinishFullRestart(msgspec.Struct, frozen=True):
    """Everything is up again: announce it."""


class Reply(msgspec.Struct, frozen=True):
    """Answer the call with this value."""

    value: object = None


class ReplyStarted(msgspec.Struct, frozen=True):
    """Answer the call with a handle on the child that the plan has just started."""

    child: str


class Refuse(msgspec.Struct, frozen=True):
    """Refuse the call."""

    error: Exception


class RefuseStarted(msgspec.Struct, frozen=True):
    """Refuse the call because that child runs, and say where."""

    child: str


class FailStart(msgspec.Struct, frozen=True):
    """The supervisor's own start fails (R2)."""

    error: Exception


class EndSupervisor(msgspec.Struct, frozen=True):
    """The supervisor ends with this outcome; nothing runs under it any more."""

    outcome: Outcome


Step: TypeAlias = (
    Start
    | Stop
    | StopTogether
    | Retire
    | SwitchOff
    | Tell
    | Forget
    | ScheduleRetry
    | CancelRetry
    | Drain
    | ShareStopDeadline
    | Prepare
    | BringBack
    | FinishFullRestart
    | Reply
    | ReplyStarted
    | Refuse
    | RefuseStarted
    | FailStart
    | EndSupervisor
)

# ---- results: what came of a step -------------------------------------------------------------------


class Done(msgspec.Struct, frozen=True):
    """The step is done, and there is nothing to tell."""


class Started(msgspec.Struct, frozen=True):
    """The child runs."""

    incarnation: int


class Ignored(msgspec.Struct, frozen=True):
    """The child said that there is nothing to run, which is no error (R3)."""


class Failed(msgspec.Struct, frozen=True):
    """The step failed."""

    error: BaseException


class Stopped(msgspec.Struct, frozen=True):
    """How the child ended; None when its task is wedged: it was killed and goes on."""

    outcome: Outcome | None


class StoppedTogether(msgspec.Struct, frozen=True):
    """How each child ended."""

    outcomes: Mapping[str, Outcome | None]


Result: TypeAlias = Done | Started | Ignored | Failed | Stopped | StoppedTogether

DONE = Done()


class Plan(msgspec.Struct, frozen=True):
    """Steps in order, and the reports of the decision behind them."""

    steps: tuple[Step, ...] = ()
    reports: tuple[Report, ...] = ()
    replaces: bool = False
    """Whether these steps take the place of what is left of the plan being carried out."""


NOTHING = Plan()
