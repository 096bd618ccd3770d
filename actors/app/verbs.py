"""What a running daemon can be asked over its control socket.

Each verb takes plain data and gives plain data; the command line draws it for
people or prints it as JSON.  `crash` exists only where the configuration allows
fault injection: it is how the demo and a staging environment prove a tree.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

import msgspec

from holdfast.actors.app.display import describe
from holdfast.actors.client.events import event_form
from holdfast.actors.client.facade import Client
from holdfast.runtime import HoldfastError, InjectedFault, System
from holdfast.runtime.control import ControlError, Verbs
from holdfast.supervisors import SupervisorHandle, restart_path, snapshot

__all__ = ["InjectedCrash", "daemon_verbs"]

# A watcher that is this far behind the daemon's events is told how many it missed.
EVENTS_CAPACITY = 4096


class InjectedCrash(HoldfastError):
    """A crash that somebody asked for."""


def daemon_verbs(
    client: Client,
    root: SupervisorHandle,
    *,
    started_at: float,
    addresses: Mapping[str, str],
    fault_injection: Callable[[], bool],
    ask_to_stop: Callable[[], None],
) -> Verbs:
    """Return the verbs of one daemon."""
    system = client.system

    async def status(_arguments: Mapping[str, object]) -> object:
        state = await client.state()
        delivery = await client.delivery_state()
        return {
            "state": msgspec.to_builtins(state),
            "delivery": msgspec.to_builtins(delivery),
            "authenticated": await client.is_authenticated(),
            "uptime": round(system.now() - started_at, 3),
            "addresses": dict(addresses),
            "statistics": _statistics(system),
        }

    async def tree(_arguments: Mapping[str, object]) -> object:
        return msgspec.to_builtins(await snapshot(system, root.ref))

    async def restart(arguments: Mapping[str, object]) -> object:
        path = _text(arguments, "path")
        await restart_path(system, path)
        return {"restarted": path}

    async def stop(_arguments: Mapping[str, object]) -> object:
        ask_to_stop()
        return {"stopping": True}

    async def crash(arguments: Mapping[str, object]) -> object:
        if not fault_injection():
            raise ControlError(
                "this daemon takes no faults: set development.fault_injection = true in its configuration"
            )
        return _crash(system, _text(arguments, "path"))

    async def send(arguments: Mapping[str, object]) -> object:
        try:
            payload = msgspec.convert(arguments.get("payload"), dict[str, object])
        except msgspec.ValidationError as error:
            raise ControlError(f"payload must be a JSON object: {error}") from error
        channel = arguments.get("channel")
        kind = arguments.get("type", "msg.publish")
        if not isinstance(kind, str) or not (channel is None or isinstance(channel, str)):
            raise ControlError("type must be a string, and channel a string or nothing")
        return {"id": await client.send(payload, type=kind, channel=channel)}

    return {
        "status": status,
        "tree": tree,
        "events": lambda _arguments: _events(system, started_at),
        "restart": restart,
        "stop": stop,
        "crash": crash,
        "send": send,
    }


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
    return {"crashed": path, "incarnation": slot.incarnation}


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
