"""`python -m holdfast.actors.hub`: a hub alone in its process, until SIGTERM or SIGINT.

Arguments are settings, ``name=value``; API keys come from the environment.  It
prints one JSON line with its addresses when it is ready, and what went wrong in
its tree to standard error.  Its statuses are those of `ExitStatus`: 0 when it
was asked to end, 1 when its store or a port cannot be used, 75 when its tree
gave up, 78 when its settings are wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

import msgspec
import trio

from holdfast.actors.hub.arguments import read_settings
from holdfast.actors.hub.messages import FamilyRevoked
from holdfast.actors.hub.settings import HubSettings, InvalidHubSettings
from holdfast.actors.hub.topology import Hub, open_hub
from holdfast.runtime import ActorStartFailed, CrashReported, Event, HoldfastError, Seams, TaskWedged
from holdfast.runtime.daemon import ExitStatus, describe_end, exit_status, stop_signals
from holdfast.runtime.last_resort import StopRequest
from holdfast.runtime.outcomes import unwrap
from holdfast.supervisors import SupervisorGaveUp

__all__ = ["main", "run_hub"]

# What an operator must see without asking; everything else is on the event stream.
_SERIOUS = (CrashReported, ActorStartFailed, SupervisorGaveUp, TaskWedged, FamilyRevoked)


class _Ready(msgspec.Struct, frozen=True):
    """The line that whoever started the hub waits for."""

    pid: int
    api_url: str
    token_url: str
    realtime_url: str
    avatar_url: str
    ready: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a hub and return its exit status."""
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
        return trio.run(run_hub, settings)
    except (HoldfastError, OSError, BaseExceptionGroup) as raised:
        # What goes wrong inside a nursery comes wrapped.
        error = unwrap(raised)
        if not isinstance(error, HoldfastError | OSError):
            raise
        sys.stderr.write(f"holdfast hub: {error}\n")
        return _status_of(error)


def _status_of(error: Exception) -> ExitStatus:
    return ExitStatus.CONFIGURATION if isinstance(error, InvalidHubSettings) else ExitStatus.FAILED


async def run_hub(settings: HubSettings) -> int:
    """Run until asked to stop, or until the tree has ended; return the exit status."""
    async with (
        stop_signals(Seams(), within=settings.exit_deadline) as asked,
        open_hub(settings, exit_when_wedged=True, watch_thread=True) as hub,
    ):
        asked.covers(hub.system)
        hub.system.events.call(_report)
        _write(sys.stdout, _addresses(hub))
        return await _until_the_end(hub, asked)


def _addresses(hub: Hub) -> _Ready:
    return _Ready(os.getpid(), hub.api_url, hub.token_url, hub.realtime_url, hub.avatar_url)


async def _until_the_end(hub: Hub, asked: StopRequest) -> ExitStatus:
    status = ExitStatus.CLEAN
    async with trio.open_nursery() as nursery:

        async def watch_tree() -> None:
            nonlocal status
            outcome = await hub.wait_ended()
            sys.stderr.write(f"holdfast hub: {describe_end(outcome)}\n")
            status = exit_status(outcome)
            asked.arm()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch_tree)
        await asked.wait()
        nursery.cancel_scope.cancel()
    return status


def _report(event: Event) -> None:
    if isinstance(event, _SERIOUS):
        _write(sys.stderr, event)


def _write(stream: TextIO, value: msgspec.Struct) -> None:
    stream.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
