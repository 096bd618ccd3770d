"""The daemon: a client kept alive in a process of its own, with a control socket.

Without a configured URL it brings its own hub.  It says where everything is and
then shows what happens, one line an event (``--json`` for programs), until a stop
signal, ``holdfast stop``, or the end of the root.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import attrs
import msgspec
import trio

from holdfast.actors.app.display import console, describe, event_line, tree_text
from holdfast.actors.app.places import state_directory
from holdfast.actors.app.verbs import daemon_verbs
from holdfast.actors.client import Client, ConnectFailed, ConnectTimeout, open_client
from holdfast.actors.client.embed import REQUIRED
from holdfast.actors.client.events import event_form
from holdfast.actors.config.sources import LiveConfiguration, load
from holdfast.actors.hub import open_embedded_hub
from holdfast.runtime import Event, Seams, Subscription
from holdfast.runtime.control import ControlServer
from holdfast.runtime.daemon import ExitStatus, exit_status, stop_signals
from holdfast.supervisors import Budget, snapshot, start_tree, supervisor, worker

__all__ = ["MessageReceived", "RunOptions", "run_daemon"]

# Not shown to people one by one: a healthy session measures its latency every few seconds.
QUIET = ("link:latency",)


class MessageReceived(Event, frozen=True):
    """A message of the session; the daemon's own subscribers are whoever follows its events."""

    id: str
    message_type: str
    channel: str | None
    payload: dict[str, object]


@attrs.frozen
class RunOptions:
    """What the command line says."""

    config: Path | None
    control: Path
    json: bool
    environ: Mapping[str, str]


async def run_daemon(options: RunOptions) -> int:
    """Run until asked to stop; return the exit status."""
    world = Seams()
    async with (
        stop_signals(world) as asked,
        _configured(options, world) as (live, addresses),
        open_client(live, seams=world, exit_when_wedged=True) as client,
    ):
        return await _Daemon(options, client, live, addresses, asked).run()


@asynccontextmanager
async def _configured(
    options: RunOptions, world: Seams
) -> AsyncGenerator[tuple[LiveConfiguration, dict[str, str]]]:
    """Read the configuration, and open the embedded hub if it names no URL."""
    given = load(options.config, environ=options.environ)
    if given.current.connection.url is not None:
        yield load(options.config, environ=options.environ, required=REQUIRED), {}
        return
    async with open_embedded_hub(store=_store(given, options, "hub.db"), seams=world) as embedded:
        explicit = {section: dict(keys) for section, keys in embedded.client_configuration().items()}
        explicit["delivery"] = {"store": _store(given, options, "client.db")}
        live = load(options.config, environ=options.environ, explicit=explicit, required=REQUIRED)
        yield live, {"hub.api": embedded.hub.api_url, "hub.realtime": embedded.hub.realtime_url}


def _store(given: LiveConfiguration, options: RunOptions, name: str) -> Path:
    """Keep the stores of hub and client together: a session belongs to both."""
    configured = given.current.delivery.store
    if configured is not None:
        return configured if name == "client.db" else configured.with_name(f"{configured.stem}-hub.db")
    return state_directory(options.environ) / name


@attrs.define
class _Daemon:
    options: RunOptions
    client: Client
    live: LiveConfiguration
    addresses: dict[str, str]
    asked: anyio.Event

    async def run(self) -> int:
        client = self.client
        started_at = client.system.now()
        events = client.events(4096)
        verbs = daemon_verbs(
            client,
            client.root,
            started_at=started_at,
            addresses=self.addresses,
            fault_injection=lambda: self.live.current.development.fault_injection,
            ask_to_stop=self.asked.set,
        )
        control = worker("control", lambda: ControlServer(self.options.control, verbs))
        await start_tree(client.system, supervisor("daemon", control, budget=Budget(5, 60.0)))
        await self._announce()
        status = ExitStatus.CLEAN
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show, events, started_at)
            nursery.start_soon(self._connect)
            nursery.start_soon(self._receive)
            nursery.start_soon(self._until_root_ended, nursery.cancel_scope)
            await self.asked.wait()
            nursery.cancel_scope.cancel()
        if not self.asked.is_set():
            status = exit_status(await client.system.wait_ended(client.root.ref))
        self._say(
            "stopping" if self.asked.is_set() else "the root has ended: the budget of full restarts is spent"
        )
        events.close()
        return status

    async def _until_root_ended(self, scope: trio.CancelScope) -> None:
        await self.client.system.wait_ended(self.client.root.ref)
        scope.cancel()

    async def _connect(self) -> None:
        try:
            await self.client.connect()
        except (ConnectFailed, ConnectTimeout) as error:
            # The daemon stays: the state says what is wrong, and `holdfast restart` tries again.
            self._say(str(error))

    async def _receive(self) -> None:
        system = self.client.system
        while True:
            message = await self.client.receive()
            system.events.publish(
                MessageReceived(
                    id=message.id, message_type=message.type, channel=message.channel, payload=message.payload
                )
            )

    async def _announce(self) -> None:
        self._say(f"control socket {self.options.control}")
        for name, address in self.addresses.items():
            self._say(f"{name} {address}")
        if not self.options.json:
            tree = await snapshot(self.client.system, self.client.root.ref)
            console().print(tree_text(tree))

    async def _show(self, events: Subscription, started_at: float) -> None:
        system = self.client.system
        out = console()
        async for event in events:
            at = system.now() - started_at
            form = event_form(event)
            if self.options.json:
                line = {**form, "text": describe(event), "at": round(at, 3)}
                sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
                sys.stdout.flush()
            elif form["type"] not in QUIET:
                out.print(event_line(event, at))

    def _say(self, text: str) -> None:
        sys.stderr.write(f"holdfast: {text}\n")
        sys.stderr.flush()
