"""What a fault of the demo acts on and looks at: both processes, the proxy, the client's events.

The client process is asked over its control socket, as an operator would.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import attrs
import msgspec
import trio

from holdfast.actors.app.demo.processes import HubProcess, ProcessFailed, TrafficProcess
from holdfast.actors.app.demo.proxy import FaultProxy
from holdfast.actors.app.demo.script import Script
from holdfast.actors.app.demo.traffic import Counts
from holdfast.actors.client.messages import ClientState
from holdfast.runtime import HoldfastError, Seams
from holdfast.runtime.control import NoDaemon, ask_daemon, stream_daemon
from holdfast.supervisors import TreeNode

__all__ = ["Check", "NotRecovered", "SeenEvent", "Stage", "Status", "find_node"]

Check: TypeAlias = Callable[[], Awaitable[bool]]

# How often it is looked whether the client has recovered: a fraction of the shortest recovery, and
# little work for two processes that have other things to do.
LOOK_EVERY = 0.03


class NotRecovered(HoldfastError):
    """The client was not back in time after a fault."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what}: not there within {seconds:g} s")


class SeenEvent(msgspec.Struct, frozen=True):
    """An event of the client, as its control socket tells it."""

    type: str
    payload: dict[str, object] = {}
    at: float = 0.0
    """Seconds since the client's start."""
    text: str = ""


class AuthStatus(msgspec.Struct, frozen=True):
    """What the client says of its token."""

    expires_in: float | None = None


class Status(msgspec.Struct, frozen=True):
    """What the client says of itself."""

    state: ClientState
    auth: AuthStatus
    uptime: float


@attrs.define
class Stage:
    """One run's processes and what was seen of them."""

    script: Script
    hub: HubProcess
    traffic: TrafficProcess
    proxy: FaultProxy
    events_file: Path
    """Every event is written down as it comes: it belongs to what is searched for secrets."""
    show: Callable[[SeenEvent], None]
    seams: Seams = attrs.field(factory=Seams)
    events: list[SeenEvent] = attrs.field(factory=list[SeenEvent])

    # ---- the client --------------------------------------------------------------------------------

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        """Collect the client's events for the length of the body."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            yield
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        with self.events_file.open("ab") as written:
            async for form in stream_daemon(self.traffic.control, "events", seams=self.seams):
                event = msgspec.convert(form, SeenEvent)
                self.events.append(event)
                written.write(msgspec.json.encode(form) + b"\n")
                self.show(event)

    def seen(self, name: str, after: int, **payload: object) -> SeenEvent | None:
        """Return the first event of that name, with that payload, that came after so many events."""
        for event in self.events[after:]:
            if event.type == name and all(event.payload.get(key) == payload[key] for key in payload):
                return event
        return None

    async def ask(self, verb: str, **arguments: object) -> object:
        """Ask the client process."""
        try:
            return await ask_daemon(self.traffic.control, verb, arguments, seams=self.seams)
        except NoDaemon as error:
            raise ProcessFailed("client", f"does not answer {verb!r} any more", self.traffic.log) from error

    async def counts(self) -> Counts:
        """Return how far the messages are."""
        return msgspec.convert(await self.ask("counts"), Counts)

    async def status(self) -> Status:
        """Return where the client stands."""
        return msgspec.convert(await self.ask("status"), Status)

    async def tree(self) -> TreeNode:
        """Return the client's tree as it is now."""
        return msgspec.convert(await self.ask("tree"), TreeNode)

    def connected_after(self, generation: int) -> Check:
        """Return the question whether the link is up, by a later dial than that one."""

        async def connected() -> bool:
            link = (await self.status()).state.link
            return link.state == "connected" and link.generation > generation

        return connected

    async def generation(self) -> int:
        """Return the number of the present connection."""
        return (await self.status()).state.link.generation

    # ---- time --------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the wall clock's time, which both processes write down, too."""
        return self.seams.wall_clock.now()

    async def until(self, what: str, check: Check, seconds: float | None = None) -> None:
        """Wait until the check holds; `NotRecovered` when that takes too long."""
        limit = self.script.recover_within if seconds is None else seconds
        with trio.move_on_after(limit):
            while not await check():  # noqa: ASYNC110 - the other side is a process
                await trio.sleep(LOOK_EVERY)
            return
        raise NotRecovered(what, limit)


def find_node(trees: Sequence[TreeNode], path: str) -> TreeNode | None:
    """Return the node of a path."""
    for tree in trees:
        if tree.path == path:
            return tree
        found = find_node(tree.children, path)
        if found is not None:
            return found
    return None
