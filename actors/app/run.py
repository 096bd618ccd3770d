"""The daemon: a client kept alive in a process of its own, with a control socket.

Without a configured URL it brings its own hub.  It says where everything is and
then shows what happens, one line an event (``--json`` for programs), until a stop
signal, ``holdfast stop``, or the end of the root.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import msgspec
import trio

from holdfast.actors.app.claims import claim
from holdfast.actors.app.display import console, describe, event_line, tree_text
from holdfast.actors.app.places import state_directory
from holdfast.actors.app.terminal import plain
from holdfast.actors.app.verbs import DaemonDoor, daemon_verbs
from holdfast.actors.client import Client, open_client
from holdfast.actors.client.embed import REQUIRED, stop_within
from holdfast.actors.client.events import event_form
from holdfast.actors.config.sources import LiveConfiguration, load
from holdfast.actors.hub import open_embedded_hub
from holdfast.actors.hub.topology import HUB_STOP, Hub
from holdfast.runtime import AskError, Event, HoldfastError, Ref, Seams, Subscription, TaskWedged
from holdfast.runtime.control import ControlServer, check_place
from holdfast.runtime.daemon import ExitStatus, describe_end, exit_status, stop_signals
from holdfast.runtime.last_resort import StopRequest
from holdfast.supervisors import Budget, snapshot, start_tree, supervisor, worker

__all__ = ["MessageReceived", "RunOptions", "run_daemon"]

# Not shown to people one by one: a healthy session measures its latency every few seconds.
QUIET = ("link:latency",)

# Events that wait for a terminal that is slower than the daemon; more are dropped and counted.
SHOWN_CAPACITY = 4096

# Until messages are asked for again when delivery was away for longer than a question waits.
RECEIVE_AGAIN = 1.0


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
    check_place(options.control)
    with claim(options.control, instead="name another socket with --control"):
        async with (
            stop_signals(world) as asked,
            _configured(options, world) as (live, hub),
            open_client(live, seams=world, exit_when_wedged=True, watch_thread=True) as client,
        ):
            _bound_the_end(asked, client, live, hub)
            status = await _Daemon(options, client, live, hub, asked).run()
    _say("stopped")
    return status


def _bound_the_end(asked: StopRequest, client: Client, live: LiveConfiguration, hub: Hub | None) -> None:
    limits = live.current.supervision
    asked.within = stop_within(limits)
    asked.covers(client.system)
    if hub is not None:
        asked.covers(hub.system)
        # It is stopped after the client.
        asked.within += HUB_STOP if limits.exit_deadline is None else 0.0


@asynccontextmanager
async def _configured(
    options: RunOptions, world: Seams
) -> AsyncGenerator[tuple[LiveConfiguration, Hub | None]]:
    """Read the configuration, claim its stores, and open the embedded hub if it names no URL."""
    given = load(options.config, environ=options.environ)
    url = given.current.connection.url
    store = given.current.delivery.store or state_directory(options.environ) / _store_name(url)
    explicit: dict[str, dict[str, object]] = {"delivery": {"store": store}}
    with claim(store, instead="set delivery.store to another file"):
        if url is not None:
            _say(f"server {url}; messages are kept in {store}")
            yield _load(options, explicit), None
            return
        hub_store = store.with_name(f"{store.stem}-hub.db")
        async with open_embedded_hub(store=hub_store, seams=world, exit_when_wedged=True) as embedded:
            _say(f"no connection.url is configured: embedded hub {embedded.hub.realtime_url}")
            _say(f"messages are kept in {store}")
            for section, keys in embedded.client_configuration().items():
                explicit[section] = {**explicit.get(section, {}), **keys}
            yield _load(options, explicit), embedded.hub


def _load(options: RunOptions, explicit: Mapping[str, object]) -> LiveConfiguration:
    return load(options.config, environ=options.environ, explicit=explicit, required=REQUIRED)


def _store_name(url: str | None) -> str:
    """Return the file of a server's session: what waits for one server must not go to another."""
    if url is None:
        return "client.db"
    return f"client-{re.sub(r'[^a-zA-Z0-9.-]', '_', urlsplit(url).netloc)}.db"


@attrs.define
class _Daemon:
    options: RunOptions
    client: Client
    live: LiveConfiguration
    hub: Hub | None
    asked: StopRequest

    async def run(self) -> int:
        system = self.client.system
        system.events.call(_tell_wedged)
        started_at = system.now()
        control = await self._serve_control(started_at)
        events = self.client.events(SHOWN_CAPACITY)
        await self._announce()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show, events, started_at)
            nursery.start_soon(self._connect)
            nursery.start_soon(self._receive)
            nursery.start_soon(self._watch_control, control)
            nursery.start_soon(self._until_root_ended, nursery.cancel_scope)
            await self.asked.wait()
            nursery.cancel_scope.cancel()
        events.close()
        if self.asked.is_set():
            _say("stopping")
            return ExitStatus.CLEAN
        self.asked.arm()
        outcome = await system.wait_ended(self.client.root.ref)
        status = exit_status(outcome)
        _say(f"{describe_end(outcome)} (status {int(status)})")
        return status

    async def _serve_control(self, started_at: float) -> Ref:
        hub = self.hub
        door = DaemonDoor(
            client=self.client,
            started_at=started_at,
            addresses={} if hub is None else {"hub.api": hub.api_url, "hub.realtime": hub.realtime_url},
            fault_injection=lambda: self.live.current.development.fault_injection,
            ask_to_stop=self.asked.set,
            other_trees={} if hub is None else {"hub": (hub.system, hub.root)},
        )
        verbs = daemon_verbs(door)
        control = worker("control", lambda: ControlServer(self.options.control, verbs))
        # Beside the product's tree: a crash here is no fault of the session.
        tree = supervisor("daemon", control, budget=Budget(5, 60.0))
        return (await start_tree(self.client.system, tree)).ref

    async def _watch_control(self, control: Ref) -> None:
        outcome = await self.client.system.wait_ended(control)
        _say(f"the control socket is gone ({outcome}); the session goes on, SIGTERM stops it")

    async def _until_root_ended(self, scope: trio.CancelScope) -> None:
        await self.client.system.wait_ended(self.client.root.ref)
        scope.cancel()

    async def _connect(self) -> None:
        try:
            await self.client.connect()
        except HoldfastError as error:
            # The daemon stays: the state says what is wrong, and `holdfast restart` tries again.
            _say(str(error))

    async def _receive(self) -> None:
        system = self.client.system
        while True:
            try:
                message = await self.client.receive()
            except AskError:
                await trio.sleep(RECEIVE_AGAIN)
                continue
            system.events.publish(
                MessageReceived(
                    id=message.id, message_type=message.type, channel=message.channel, payload=message.payload
                )
            )

    async def _announce(self) -> None:
        _say(f"control socket {self.options.control}")
        if not self.options.json:
            tree = await snapshot(self.client.system, self.client.root.ref)
            console().print(tree_text(tree))

    async def _show(self, events: Subscription, started_at: float) -> None:
        system = self.client.system
        out = console()
        told = 0
        async for event in events:
            if events.missed > told:
                _say(f"{events.missed - told} events were not shown: the terminal is too slow")
                told = events.missed
            at = system.now() - started_at
            form = event_form(event)
            if self.options.json:
                line = {**form, "text": describe(event), "at": round(at, 3)}
                sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
                sys.stdout.flush()
            elif form["type"] not in QUIET:
                out.print(event_line(event, at))


def _tell_wedged(event: Event) -> None:
    """Say who keeps the process from ending; after the deadline it is ended by force, with status 70."""
    if isinstance(event, TaskWedged):
        _say(f"{event.path} does not stop; it stands at {event.stack.strip().splitlines()[-1:]}")


def _say(text: str) -> None:
    sys.stderr.write(f"holdfast: {plain(text)}\n")
    sys.stderr.flush()
