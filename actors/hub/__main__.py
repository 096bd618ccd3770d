"""`python -m holdfast.actors.hub`: a hub alone in its process, until SIGTERM or SIGINT.

Arguments are settings, ``name=value``; API keys come from the environment.  It
prints one JSON line with its addresses when it is ready, and what went wrong in
its tree to standard error.  It ends with 0 when it was asked to, 1 when its tree
gave up, 2 when its settings or its store cannot be used.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import TextIO

import msgspec
import trio

from holdfast.actors.hub.arguments import read_settings
from holdfast.actors.hub.messages import FamilyRevoked
from holdfast.actors.hub.settings import HubSettings
from holdfast.actors.hub.topology import Hub, open_hub
from holdfast.runtime import ActorStartFailed, CrashReported, Event, HoldfastError, TaskWedged
from holdfast.runtime.outcomes import unwrap
from holdfast.supervisors import SupervisorGaveUp

__all__ = ["main"]

EXIT_ASKED = 0
EXIT_GAVE_UP = 1
EXIT_UNUSABLE = 2

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
        return trio.run(_run, settings)
    except (HoldfastError, OSError, BaseExceptionGroup) as raised:
        # What goes wrong inside a nursery comes wrapped.
        error = unwrap(raised)
        if not isinstance(error, HoldfastError | OSError):
            raise
        sys.stderr.write(f"holdfast hub: {error}\n")
        return EXIT_UNUSABLE


async def _run(settings: HubSettings) -> int:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_hub(settings) as hub:
            hub.system.events.call(_report)
            _write(sys.stdout, _addresses(hub))
            return await _until_the_end(hub, signals)


def _addresses(hub: Hub) -> _Ready:
    return _Ready(os.getpid(), hub.api_url, hub.token_url, hub.realtime_url, hub.avatar_url)


async def _until_the_end(hub: Hub, signals: AsyncIterator[int]) -> int:
    status = EXIT_ASKED
    async with trio.open_nursery() as nursery:

        async def watch_tree() -> None:
            nonlocal status
            await hub.wait_ended()
            status = EXIT_GAVE_UP
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch_tree)
        async for _ in signals:
            nursery.cancel_scope.cancel()
            break
    return status


def _report(event: Event) -> None:
    if isinstance(event, _SERIOUS):
        _write(sys.stderr, event)


def _write(stream: TextIO, value: msgspec.Struct) -> None:
    stream.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
