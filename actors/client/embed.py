"""How a program gets a client: one ``async with``, from a configuration to a running tree.

Opens the system, what it owns above the root (log, stores, tokens), starts the
tree and hands out the facade.  The end of the body, however it comes, takes the
session down in order, stops the tree, writes the log out and closes the stores.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import apsw
import httpx2
import trio

from holdfast.actors.auth.vault import TokenStore
from holdfast.actors.avatar.ledger import AvatarLedger
from holdfast.actors.client.events import log_line
from holdfast.actors.client.facade import Client
from holdfast.actors.client.http import SeamTransport
from holdfast.actors.client.messages import OutboxAbandoned
from holdfast.actors.client.settings import ClientSettings
from holdfast.actors.client.topology import Belongings, siblings, topology
from holdfast.actors.config.settings import SupervisionSettings
from holdfast.actors.config.sources import LiveConfiguration, load
from holdfast.actors.logger.sinks import Log
from holdfast.runtime import HoldfastError, Seams, open_system
from holdfast.runtime.last_resort import MARGIN
from holdfast.supervisors import start_tree

__all__ = ["REQUIRED", "open_client", "stop_within"]

# What a client cannot do without; `holdfast run` fills them in from its embedded hub.
REQUIRED = ("connection.url", "auth.api_endpoint", "auth.api_key")

# For the ordered disconnect at the end of the body; what is not done then is left to the stop of the tree.
DISCONNECT_TIMEOUT = 5.0


@asynccontextmanager
async def open_client(
    configuration: LiveConfiguration | Mapping[str, object] | Path,
    *,
    seams: Seams | None = None,
    http: Callable[[], httpx2.AsyncBaseTransport] | None = None,
    exit_when_wedged: bool = False,
    watch_thread: bool = False,
) -> AsyncGenerator[Client]:
    """Run a client for the length of the body; it connects when `connect()` is called.

    `configuration` is a TOML file, sections as a mapping (``{"connection": {"url":
    ...}, "auth": {...}}``), or what `load` returned.  Raises `ConfigurationError` with
    all problems at once, `StoreUnreadable`, or `StartFailed`.  `http` replaces the
    transport of HTTP calls (a simulation's); the default goes through `seams.connect`.
    `watch_thread` runs a thread that reports on stderr whoever blocks this one.
    """
    live = _live(configuration)
    world = seams if seams is not None else Seams()
    transport = http if http is not None else lambda: SeamTransport(world)
    with ExitStack() as closing:
        log = Log(live.current.logging, wall_clock=world.wall_clock)
        # Written last of all: by then nobody can say anything any more.
        closing.callback(log.close)
        store_path = live.current.delivery.store
        store = world.store(store_path)
        closing.callback(store.close)
        own = Belongings(
            configuration=live,
            log=log,
            encode=log_line,
            tokens=TokenStore(),
            store=store,
            avatars=AvatarLedger(_beside(store_path, world, closing)),
            http=transport,
        )
        limits = live.current.supervision
        async with open_system(
            seams=world,
            stop_deadline=limits.stop_deadline,
            exit_when_wedged=exit_when_wedged,
            liveness=limits.liveness(),
            watchdog=limits.watchdog() if watch_thread else None,
        ) as system:
            root = await start_tree(system, topology(system, own))
            client = Client(system, root, siblings(system), lambda: _settings(live))
            try:
                yield client
            finally:
                await _take_down(client, own, forgetful=store_path is None)


def stop_within(limits: SupervisionSettings) -> float:
    """Return how long a process that runs a client has for its end, at most."""
    if limits.exit_deadline is not None:
        return limits.exit_deadline
    # A full restart may be draining when the end is asked for.
    return limits.drain_deadline + DISCONNECT_TIMEOUT + limits.stop_deadline + MARGIN


def _live(configuration: LiveConfiguration | Mapping[str, object] | Path) -> LiveConfiguration:
    if isinstance(configuration, LiveConfiguration):
        return configuration
    if isinstance(configuration, Path):
        return load(configuration, required=REQUIRED)
    return load(explicit=configuration, required=REQUIRED)


def _beside(store: Path | None, seams: Seams, closing: ExitStack) -> apsw.Connection:
    """Open the avatar's ledger in a file of its own: delivery's store takes no other tables."""
    ledger = seams.store(None if store is None else store.with_name(f"{store.stem}-avatar{store.suffix}"))
    closing.callback(ledger.close)
    return ledger


def _settings(live: LiveConfiguration) -> ClientSettings:
    return ClientSettings(connect_timeout=live.current.connection.timeout)


async def _take_down(client: Client, own: Belongings, *, forgetful: bool) -> None:
    """Disconnect in order while the tree still runs; the stop of the tree does the rest."""
    deadline = trio.current_time() + DISCONNECT_TIMEOUT
    # Whatever keeps it from an orderly end is in the events; the end comes all the same.
    with trio.CancelScope(shield=True, deadline=deadline), suppress(HoldfastError):
        if own.session.wanted:
            await client.disconnect()
        if forgetful:
            await _report_abandoned(client)


async def _report_abandoned(client: Client) -> None:
    left = (await client.delivery_state()).outbox_depth
    if left:
        client.system.events.publish(OutboxAbandoned(messages=left))
