"""A stage for the avatar: its actor under a supervisor, and the hub's stand-in at the other end.

Everything runs in virtual time over memory streams; the HTTP calls go through an
ASGI transport.  `Stage.fetched` lists them as the service saw them.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import apsw
import attrs
import httpx2
import trio
import trio.testing
from starlette.applications import Starlette

from holdfast.actors.avatar.actor import AvatarActor
from holdfast.actors.avatar.ledger import AvatarLedger
from holdfast.actors.avatar.messages import AvatarSession, AvatarState, GetAvatarState, InitializeSession
from holdfast.actors.avatar.settings import AvatarSettings
from holdfast.actors.hub.avatar_api import avatar_routes
from holdfast.actors.hub.avatar_sessions import AvatarStandinSettings, StandinSession, StandinSessions
from holdfast.actors.hub.avatar_standin import AvatarStandin
from holdfast.runtime import Address, Event, Ref, Seams, Secret, System, UnixAddress, open_system
from holdfast.supervisors import ONE_FOR_ALL, FullRestart, start_tree, supervisor, worker

API_KEY = "test-avatar-key"
AVATAR = "0f0d5b5e-6a3c-4a53-9a51-3b7a2d9c7a10"

E = TypeVar("E", bound=Event)


class MemoryListener:
    """Where a service listens in memory."""

    def __init__(self, address: Address, listeners: dict[int, MemoryListener]) -> None:
        self.address = address
        self._listeners = listeners
        self.offer, self._taken = trio.open_memory_channel[trio.abc.Stream](100)

    async def accept(self) -> trio.abc.Stream:
        return await self._taken.receive()

    async def aclose(self) -> None:
        self._listeners.pop(self.address.port, None)
        self._taken.close()


class MemoryNetwork:
    """`connect` and `listen` without sockets; `streams` are the clients' ends, oldest first."""

    def __init__(self) -> None:
        self.listeners: dict[int, MemoryListener] = {}
        self.streams: list[trio.StapledStream[Any, Any]] = []
        self._ports = itertools.count(40_000)

    async def listen(self, address: Address | UnixAddress) -> MemoryListener:
        assert isinstance(address, Address)
        listener = MemoryListener(Address(address.host, address.port or next(self._ports)), self.listeners)
        self.listeners[listener.address.port] = listener
        return listener

    async def connect(
        self, address: Address | UnixAddress, *, timeout: float | None = None
    ) -> trio.abc.Stream:
        assert isinstance(address, Address)
        if address.port not in self.listeners:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        self.streams.append(ours)
        await self.listeners[address.port].offer.send(theirs)
        return ours

    async def reset(self) -> None:
        """Break every connection."""
        for stream in self.streams:
            await trio.aclose_forcefully(stream)


class Service(httpx2.AsyncBaseTransport):
    """The way to the stand-in's HTTP side; notes each call, and can be told to hang."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._asgi = httpx2.ASGITransport(Starlette(routes=avatar_routes(stage.sessions)))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        stage = self._stage
        operation = request.url.path.rpartition("/")[2]
        body = await request.aread()
        recorded = tuple(row.session_id for row in stage.ledger.recorded())
        stage.fetched.append(Fetched(operation, body, recorded))
        await trio.sleep(stage.delays.get(operation, 0.0))
        if operation in stage.hanging:
            await trio.sleep_forever()
        return await self._asgi.handle_async_request(request)


@attrs.frozen
class Fetched:
    """A call as it left, and what stood in the ledger at that moment."""

    operation: str
    body: bytes
    recorded: tuple[str, ...]


class Stage:
    """What a test holds."""

    def __init__(self, seams: Seams, network: MemoryNetwork, settings: AvatarSettings) -> None:
        self.network = network
        self.seams = seams
        self.settings = settings
        self.store: apsw.Connection = seams.store(None)
        self.ledger = AvatarLedger(self.store)
        self.fetched: list[Fetched] = []
        self.hanging: set[str] = set()
        self.delays: dict[str, float] = {}
        self.events: list[Event] = []
        self.sessions: StandinSessions
        self.system: System
        self.avatar: Ref

    def new_actor(self) -> AvatarActor:
        return AvatarActor(self.settings, ledger=self.ledger, transport=lambda: Service(self))

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def operations(self) -> list[str]:
        return [fetched.operation for fetched in self.fetched]

    @property
    def remote(self) -> StandinSession:
        """The one active session of the service."""
        (session,) = self.sessions.active
        return session

    async def initialize(self, **changes: Any) -> AvatarSession:
        """Initialize a session, as the client does."""
        wanted = InitializeSession(**{"avatar_id": AVATAR, **changes})
        return await self.avatar.ask(wanted, timeout=self.settings.opening_timeout)

    async def state(self) -> AvatarState:
        return await self.avatar.ask(GetAvatarState())


def settings_for(**changes: Any) -> AvatarSettings:
    """Return settings that reach the stand-in."""
    given: dict[str, Any] = {
        "enabled": True,
        "api_url": "http://127.0.0.1",
        "api_key": Secret(API_KEY),
        **changes,
    }
    return AvatarSettings(**given)


def stage_for(standin: dict[str, Any] | None = None, **changes: Any) -> Stage:
    """Return a stage on which nothing runs yet."""
    network, random = MemoryNetwork(), Random(1)
    seams = Seams(connect=network.connect, listen=network.listen, random=random, entropy=Random(2).randbytes)
    stage = Stage(seams, network, settings_for(**changes))
    given: dict[str, Any] = {"api_keys": (Secret(API_KEY),), **(standin or {})}
    stage.sessions = StandinSessions(AvatarStandinSettings(**given), seams)
    return stage


@asynccontextmanager
async def playing(stage: Stage, full_restart: FullRestart | None = None) -> AsyncGenerator[Stage, None]:
    """Run a system on the stage: the stand-in, and the avatar under a supervisor.  Twice is a new process."""
    async with open_system(seams=stage.seams) as system:
        stage.system = system
        system.events.call(stage.events.append)
        await system.start("standin", lambda: AvatarStandin(stage.sessions))
        await start_tree(
            system,
            supervisor(
                "tree", worker("avatar", stage.new_actor), strategy=ONE_FOR_ALL, full_restart=full_restart
            ),
        )
        stage.avatar = system.ref("tree/avatar")
        yield stage


@asynccontextmanager
async def open_stage(standin: dict[str, Any] | None = None, **changes: Any) -> AsyncGenerator[Stage, None]:
    """Set a stage and play on it."""
    async with playing(stage_for(standin, **changes)) as stage:
        yield stage
