"""What a running daemon can be asked over its control socket.

Each verb takes plain data and gives plain data; the command line draws it for
people or prints it as JSON.  `crash` exists only where the configuration allows
fault injection: it is how the demo and a staging environment prove a tree.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping

import attrs
import msgspec

from holdfast.actors.app.display import describe
from holdfast.actors.app.inspecting import inspecting_verbs
from holdfast.actors.auth.messages import GetAuthState
from holdfast.actors.client.events import event_form
from holdfast.actors.client.facade import Client
from holdfast.actors.client.topology import siblings
from holdfast.runtime import AskError, HoldfastError, InjectedFault, Ref, System
from holdfast.runtime.control import ControlError, Verbs
from holdfast.supervisors import NoSuchChild, restart_path, snapshot

__all__ = ["DaemonDoor", "InjectedCrash", "daemon_verbs"]

# A watcher that is this far behind the daemon's events is told how many it missed.
EVENTS_CAPACITY = 4096

# A full restart may drain for 5 s, stop for 10 s and start after a back-off.
RESTART_TIMEOUT = 28.0

OWN_TREE = "client"


class InjectedCrash(HoldfastError):
    """A crash that somebody asked for."""


@attrs.frozen
class DaemonDoor:
    """What the verbs of one daemon act on."""

    client: Client
    started_at: float
    addresses: Mapping[str, str]
    fault_injection: Callable[[], bool]
    """Asked each time: a re-read configuration may have changed it."""
    ask_to_stop: Callable[[], None]
    other_trees: Mapping[str, tuple[System, Ref]] = {}
    """Systems beside the client's in the same process, such as the embedded hub, and their roots."""


def daemon_verbs(door: DaemonDoor) -> Verbs:
    """Return the verbs of one daemon."""
    client = door.client
    system = client.system
    systems = [system, *(other for other, _root in door.other_trees.values())]

    async def status(_arguments: Mapping[str, object]) -> object:
        return {
            "pid": os.getpid(),
            "uptime": round(system.now() - door.started_at, 3),
            "state": msgspec.to_builtins(await client.state()),
            "auth": await _auth(system),
            "delivery": msgspec.to_builtins(await client.delivery_state()),
            "addresses": dict(door.addresses),
            "statistics": _statistics(system),
        }

    async def tree(arguments: Mapping[str, object]) -> object:
        trees = {OWN_TREE: (system, client.root.ref), **door.other_trees}
        wanted = arguments.get("of", OWN_TREE)
        found = trees.get(wanted) if isinstance(wanted, str) else None
        if found is None:
            raise ControlError(f"this daemon has the trees {', '.join(trees)}; got {wanted!r}")
        return msgspec.to_builtins(await snapshot(*found))

    async def restart(arguments: Mapping[str, object]) -> object:
        path = _text(arguments, "path")
        try:
            await restart_path(system, path, timeout=RESTART_TIMEOUT)
        except NoSuchChild as error:
            why = f"{path!r} cannot be restarted: {error}; 'holdfast tree' lists the paths"
            raise ControlError(why) from error
        return {"restarted": path}

    async def stop(_arguments: Mapping[str, object]) -> object:
        door.ask_to_stop()
        return {"stopping": True, "pid": os.getpid()}

    async def crash(arguments: Mapping[str, object]) -> object:
        if not door.fault_injection():
            raise ControlError(
                "this daemon takes no faults: set development.fault_injection = true in its configuration"
            )
        return _crash(system, _text(arguments, "path"))

    async def send(arguments: Mapping[str, object]) -> object:
        return await _send(client, arguments)

    return {
        "status": status,
        "tree": tree,
        "events": lambda _arguments: _events(system, door.started_at),
        "restart": restart,
        "stop": stop,
        "crash": crash,
        "send": send,
        **inspecting_verbs(systems, door.started_at),
    }


async def _auth(system: System) -> dict[str, object]:
    try:
        found = await siblings(system).auth.ask(GetAuthState())
    except AskError as error:
        # In the middle of a restart; the rest of the status is worth having.
        return {"phase": "unknown", "reason": str(error)}
    return {name: value for name, value in msgspec.structs.asdict(found).items() if value is not None}


async def _send(client: Client, arguments: Mapping[str, object]) -> object:
    payload = arguments.get("payload")
    if not isinstance(payload, dict):
        raise ControlError(f"payload must be a JSON object, got {type(payload).__name__}")
    channel, kind = arguments.get("channel"), arguments.get("type", "msg.publish")
    if not isinstance(kind, str) or not (channel is None or isinstance(channel, str)):
        raise ControlError("type must be a string, and channel a string or nothing")
    accepted = msgspec.convert(payload, dict[str, object])
    return {"id": await client.send(accepted, type=kind, channel=channel)}


async def _events(system: System, started_at: float) -> AsyncGenerator[object, None]:
    subscription = system.events.subscribe(EVENTS_CAPACITY)
    told = 0
    try:
        while (event := await subscription.get()) is not None:
            if subscription.missed > told:
                yield {"type": "events:missed", "text": f"{subscription.missed - told} events were missed"}
                told = subscription.missed
            at = round(system.now() - started_at, 3)
            yield {**event_form(event), "text": describe(event), "at": at}
    finally:
        subscription.close()


def _crash(system: System, path: str) -> object:
    slot = system.registry.find(path)
    if slot is None or slot.cell is None:
        raise ControlError(f"nothing runs at {path!r}; 'holdfast tree' lists the paths")
    slot.ref.tell(InjectedFault(InjectedCrash(f"somebody asked {path} to crash")))
    # The wall clock's time lets it be compared with what other processes wrote down.
    return {"crashed": path, "incarnation": slot.incarnation, "at": system.seams.wall_clock.now()}


def _statistics(system: System) -> dict[str, object]:
    snapshot_of = system.statistics()
    return {
        "actors": snapshot_of.actors,
        "dead_letters": snapshot_of.dead_letters,
        "late_replies": snapshot_of.late_replies,
        "stale_notices": snapshot_of.stale_notices,
        "wedged": list(snapshot_of.wedged),
    }


def _text(arguments: Mapping[str, object], key: str) -> str:
    value = arguments.get(key)
    if not isinstance(value, str) or not value:
        raise ControlError(f"{key} must be a path such as holdfast/session/auth, got {value!r}")
    return value
