"""One virtual-clock run of client and hub over memory streams.

The product is not changed by a line: it gets other seams.  The hub is a whole
hub with its own tree, killed and restarted as a process would be; HTTP reaches
it through ASGI, the realtime endpoint and the avatar's WebSocket through the
memory network.  Guards refuse everything real while it runs.
"""

from __future__ import annotations

import functools
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw
import attrs
import trio

from holdfast import specs as simulation
from holdfast.actors.client import Client, open_client
from holdfast.actors.hub import Hub, HubSettings, open_hub
from holdfast.actors.hub.avatar_sessions import AvatarStandinSettings
from holdfast.runtime import Event, InjectedFault, Seams, Secret
from holdfast.runtime.seams import OpenStore, open_store
from holdfast.specs import (
    HttpService,
    HttpTransport,
    InlineThreads,
    MemoryNetwork,
    VirtualCalendar,
    never_exit,
    nothing_real,
)
from holdfast.supervisors import TreeNode, snapshot

__all__ = [
    "API_KEY",
    "BOOM",
    "REALTIME_PORT",
    "Recorder",
    "World",
    "budgets",
    "flat_nursery",
    "incarnations",
    "open_world",
    "until",
]

T = TypeVar("T")

API_KEY = Secret("a-key-for-stories")
# How often a condition is looked at, in virtual seconds.
TICK = 1 / 16

HTTP_PORT, REALTIME_PORT, AVATAR_PORT = 8001, 8002, 8003


class BOOM(Exception):
    """What actors are made to crash of."""


@attrs.define(eq=False)
class RunningHub:
    """A hub and the way to end it."""

    hub: Hub
    store: apsw.Connection
    scope: trio.CancelScope


@attrs.define(eq=False)
class World:
    """The run: a network, a calendar, a hub, and as many clients as a story needs."""

    network: MemoryNetwork
    random: random.Random
    settings: HubSettings
    nursery: trio.Nursery
    avatar: AvatarStandinSettings
    calendar: VirtualCalendar = attrs.field(factory=VirtualCalendar)
    running: RunningHub | None = None
    http: HttpService = attrs.field(init=False)
    """The hub's endpoints of HTTP, and what goes wrong with them."""
    clients: list[Client] = attrs.field(factory=list[Client])
    stores: list[apsw.Connection] = attrs.field(factory=list[apsw.Connection])
    """The stores that the latest client opened: delivery's, then the avatar's."""

    def __attrs_post_init__(self) -> None:
        self.http = HttpService(self.network)

    @property
    def hub(self) -> Hub:
        assert self.running is not None, "the hub is down"
        return self.running.hub

    def seams(self, owner: str, store: OpenStore = open_store) -> Seams:
        """Return the world as this owner's product sees it."""
        return Seams(
            connect=functools.partial(self.network.connect, owner=owner),
            listen=self.network.listen,
            wall_clock=self.calendar,
            random=random.Random(self.random.random()),
            entropy=self.random.randbytes,
            store=store,
            threads=InlineThreads(),
            exit_process=never_exit,
        )

    # -- the hub

    async def start_hub(self) -> None:
        """Start a hub on the ports of the one before, from the same store."""
        assert self.running is None
        await self.nursery.start(self._run_hub)

    async def _run_hub(self, task_status: trio.TaskStatus[None]) -> None:
        opened: list[apsw.Connection] = []

        def store(path: Path | None) -> apsw.Connection:
            opened.append(open_store(path))
            return opened[-1]

        with trio.CancelScope() as scope:
            async with open_hub(
                self.settings, seams=self.seams("hub", store), serve_http=False, avatar=self.avatar
            ) as hub:
                self.running = RunningHub(hub, opened[0], scope)
                self.http.start(hub.app)
                task_status.started()
                await trio.sleep_forever()

    def kill_hub(self) -> None:
        """End it as kill -9 would: the disk keeps what was committed, streams break, nobody says goodbye."""
        running, self.running = self.running, None
        assert running is not None
        running.store.close()
        for wire in self.network.open_wires():
            wire.reset()
        self.network.listeners.clear()
        self.http.stop()
        running.scope.cancel()

    async def stop_hub(self) -> None:
        """End it in an orderly way: goaway, close frames."""
        running, self.running = self.running, None
        assert running is not None
        self.http.stop()
        running.scope.cancel()
        await until(lambda: not self.network.listeners)

    # -- clients

    def configuration(self, name: str, **sections: Mapping[str, object]) -> dict[str, dict[str, object]]:
        """Return a client's configuration: the product's defaults, and the addresses of this hub."""
        base: dict[str, dict[str, object]] = {
            "connection": {"url": f"ws://127.0.0.1:{REALTIME_PORT}/realtime", "client_id": name},
            "auth": {"api_endpoint": f"http://127.0.0.1:{HTTP_PORT}", "api_key": API_KEY},
            "avatar": {"api_url": f"http://127.0.0.1:{HTTP_PORT}", "api_key": API_KEY},
        }
        for section, keys in sections.items():
            base[section] = {**base.get(section, {}), **keys}
        return base

    @asynccontextmanager
    async def client(self, name: str = "teller", **sections: Mapping[str, object]) -> AsyncGenerator[Client]:
        """Open a client; at its end none of its tasks may be left."""
        async with self.client_of(self.configuration(name, **sections), name) as client:
            yield client

    @asynccontextmanager
    async def client_of(
        self, configuration: Mapping[str, object] | Path, name: str = "teller"
    ) -> AsyncGenerator[Client]:
        """Open a client of this configuration."""
        opened: list[apsw.Connection] = []

        def store(path: Path | None) -> apsw.Connection:
            opened.append(open_store(path))
            return opened[-1]

        seams = self.seams(name, store)
        async with open_client(configuration, seams=seams, http=lambda: HttpTransport(self.http)) as client:
            self.clients.append(client)
            self.stores = opened
            yield client
        assert client.system.tasks_left == 0, "tasks of actors outlived the client"

    async def a_moment(self) -> None:
        """Let a little virtual time pass."""
        await trio.sleep(TICK)

    def crash(self, client: Client, path: str) -> None:
        """Have one actor crash at its next message."""
        client.system.ref(f"holdfast/{path}").tell(InjectedFault(BOOM(f"{path} was made to crash")))


class Recorder:
    """Everything that a client's system said, in order, with its time."""

    def __init__(self, client: Client) -> None:
        self.events: list[tuple[float, Event]] = []
        self._now = client.system.now
        client.system.events.call(self._note)

    def _note(self, event: Event) -> None:
        self.events.append((self._now(), event))

    def of(self, *kinds: type[T]) -> list[T]:
        """Return the events of these types."""
        return [event for _at, event in self.events if isinstance(event, kinds)]

    def names(self, *wanted: type[Event]) -> list[str]:
        """Return the public names of the events of these types, in order."""
        return [str(event.__struct_config__.tag) for _at, event in self.events if isinstance(event, wanted)]

    def clear(self) -> None:
        self.events.clear()


async def budgets(client: Client) -> dict[str, tuple[int, int]]:
    """Return what every supervisor has left, and what it began with."""
    found: dict[str, tuple[int, int]] = {}

    def walk(node: TreeNode) -> None:
        if node.intensity is not None and node.budget_left is not None:
            found[node.path] = (node.budget_left, node.intensity)
        for child in node.children:
            walk(child)

    walk(await snapshot(client.system, client.root.ref))
    return found


async def incarnations(client: Client) -> dict[str, int]:
    """Return how often each actor of the tree was started, by its path below the root."""
    found: dict[str, int] = {}

    def walk(node: TreeNode) -> None:
        if not node.children:
            found[node.path.removeprefix("holdfast/")] = node.incarnation
        for child in node.children:
            walk(child)

    walk(await snapshot(client.system, client.root.ref))
    return found


@asynccontextmanager
async def open_world(
    *, seed: int = 1, inside: simulation.World | None = None, hub_store: Path | None = None, **changes: Any
) -> AsyncGenerator[World]:
    """Open a world with a running hub; `changes` are settings of the hub.

    `inside` a simulated run its network, calendar and randomness are the run's.
    """
    source = inside.random if inside is not None else random.Random(seed)
    network = inside.network if inside is not None else MemoryNetwork(random.Random(source.random()))
    given: dict[str, Any] = {
        "api_keys": (API_KEY,),
        "token_port": HTTP_PORT,
        "realtime_port": REALTIME_PORT,
        "avatar_port": AVATAR_PORT,
        "store_path": hub_store,
        **changes,
    }
    avatar = AvatarStandinSettings(api_keys=(API_KEY,), port=AVATAR_PORT)
    with ExitStack() as closing:
        closing.enter_context(nothing_real())
        async with flat_nursery() as nursery:
            world = World(network, source, HubSettings(**given), nursery, avatar)
            if inside is not None:
                world.calendar = inside.calendar
            await world.start_hub()
            yield world
            if world.running is not None:
                await world.stop_hub()


async def until(holds: Callable[[], bool], *, within: float = 60.0) -> float:
    """Wait until something holds; return how long it took, `trio.TooSlowError` when it never does."""
    began = trio.current_time()
    with trio.fail_after(within):
        while not holds():  # noqa: ASYNC110 - in virtual time looking again costs nothing
            await trio.sleep(TICK)
    return trio.current_time() - began


@asynccontextmanager
async def flat_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery that raises what one of its tasks raised as it was: a failed assertion reads better."""
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        failure = group.exceptions[0] if len(group.exceptions) == 1 else group
    if failure is not None:
        raise failure
