"""Runs the demo's script: starts both processes, strikes, watches the recovery, ends them.

It asks the client process over its control socket, as an operator would, and
talks to the hub's admin route.  What it reports of a recovery comes from the
client's own event stream; what it reports of messages comes from `audit.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import TypeAlias

import attrs
import httpx2
import msgspec
import trio

from holdfast.actors.app.demo.processes import HubProcess, TrafficProcess
from holdfast.actors.app.demo.proxy import FaultProxy
from holdfast.actors.client.messages import ClientState
from holdfast.runtime import HoldfastError, Seams
from holdfast.runtime.control import ControlError, ask_daemon, stream_daemon
from holdfast.supervisors import TreeNode

__all__ = ["Director", "Fault", "NotRecovered", "Recovery", "Script", "load_script"]

Check: TypeAlias = Callable[[], Awaitable[bool]]

# How often the director looks whether the client has recovered: a tenth of the shortest recovery.
LOOK_EVERY = 0.02


class NotRecovered(HoldfastError):
    """The client was not back in time after a fault."""

    def __init__(self, fault: str, seconds: float, waited_for: str) -> None:
        super().__init__(f"{fault}: not recovered within {seconds:g} s; waited for {waited_for}")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the script."""

    name: str
    kind: str
    path: str = ""
    down_seconds: float = 0.0
    retry_after: float = 0.0


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole script."""

    messages: int
    burst_seconds: float
    lead_seconds: float
    recover_within: float
    limit: float
    hub: dict[str, object]
    fault: tuple[Fault, ...]


@attrs.frozen
class Recovery:
    """What one fault led to."""

    fault: str
    effective: bool
    action: str
    seconds: float


def load_script() -> Script:
    """Read the script that ships with the demo."""
    text = (resources.files("holdfast.actors.app.demo") / "script.toml").read_text()
    return msgspec.toml.decode(text, type=Script)


class _Crashed(msgspec.Struct, frozen=True):
    incarnation: int


class _Counts(msgspec.Struct, frozen=True):
    sent: int
    received: int


class _Status(msgspec.Struct, frozen=True):
    state: ClientState


@attrs.define
class Director:
    """One run of the script."""

    script: Script
    hub: HubProcess
    traffic: TrafficProcess
    proxy: FaultProxy
    show: Callable[[str, Mapping[str, object]], None]
    """Hears every event of the client (`event`), each fault (`fault`) and each recovery (`recovery`)."""

    seams: Seams = attrs.field(factory=Seams)
    recoveries: list[Recovery] = attrs.field(factory=list[Recovery])
    _events: list[Mapping[str, object]] = attrs.field(factory=list[Mapping[str, object]])

    async def run(self) -> None:
        """Strike with every fault in turn and let the last messages arrive."""
        async with self._watching():
            await self._until("the first connection", self.script.recover_within, self._connected_after(0))
            shares = _shares(self.script.messages, len(self.script.fault))
            for fault, share in zip(self.script.fault, shares, strict=True):
                await self._strike(fault, share)
            await self._until("the last message", self.script.limit, self._all_arrived)

    async def tree(self) -> TreeNode:
        """Return the client's tree as it is now."""
        return msgspec.convert(await self._ask("tree"), TreeNode)

    # ---- one fault ---------------------------------------------------------------------------------

    async def _strike(self, fault: Fault, share: int) -> None:
        self.show("fault", {"name": fault.name})
        await self._ask("burst", count=share, seconds=self.script.burst_seconds)
        await trio.sleep(self.script.lead_seconds)
        mark = len(self._events)
        began = trio.current_time()
        effective, recovered = await _KINDS[fault.kind](self, fault)
        await self._until(fault.name, self.script.recover_within, recovered)
        seconds = round(trio.current_time() - began, 3)
        recovery = Recovery(fault.name, effective, self._action(mark), seconds)
        self.recoveries.append(recovery)
        self.show("recovery", attrs.asdict(recovery))

    async def _kill_hub(self, fault: Fault) -> tuple[bool, Check]:
        generation = await self._generation()
        killed = await self.hub.kill() == -9
        await trio.sleep(fault.down_seconds)
        await self.hub.start()
        return killed, self._connected_after(generation)

    async def _reset(self, _fault: Fault) -> tuple[bool, Check]:
        generation = await self._generation()
        return self.proxy.reset() > 0, self._connected_after(generation)

    async def _half_open(self, _fault: Fault) -> tuple[bool, Check]:
        generation = await self._generation()
        hit = self.proxy.half_open()
        before = self.proxy.effects.swallowed
        recovered = self._connected_after(generation)

        async def swallowed_and_recovered() -> bool:
            return self.proxy.effects.swallowed > before and await recovered()

        return hit > 0, swallowed_and_recovered

    async def _refuse_refresh(self, fault: Fault) -> tuple[bool, Check]:
        assert self.hub.addresses is not None
        async with httpx2.AsyncClient() as http:
            answer = await http.post(
                f"{self.hub.addresses.api_url}/admin/refuse-next",
                headers={"Authorization": f"Bearer {self.hub.admin_key}"},
                json={"n": 1, "status": 503, "retry_after": fault.retry_after, "grant_type": "refresh_token"},
            )
        mark = len(self._events)

        async def refused_then_refreshed() -> bool:
            names = [event.get("type") for event in self._events[mark:]]
            if "auth:error" not in names:
                return False
            after = names[names.index("auth:error") :]
            renewed = "token:refreshed" in after or "token:acquired" in after
            return renewed and await self._connected_after(0)()

        return answer.status_code < 300, refused_then_refreshed

    async def _crash(self, fault: Fault) -> tuple[bool, Check]:
        crashed = msgspec.convert(await self._ask("crash", path=fault.path), _Crashed)

        async def back() -> bool:
            node = _find(await self.tree(), fault.path)
            running = node is not None and node.state == "running" and node.incarnation > crashed.incarnation
            return running and await self._connected_after(0)()

        return True, back

    async def _spend_budget(self, fault: Fault) -> tuple[bool, Check]:
        mark = len(self._events)

        def seen(name: str) -> bool:
            return any(event.get("type") == name for event in self._events[mark:])

        with trio.move_on_after(self.script.recover_within):
            while not seen("supervisor:full_restart_started"):
                # Between two incarnations there is nothing to crash, and while all is stopped nobody answers.
                with suppress(ControlError):
                    await self._ask("crash", path=fault.path)
                await trio.sleep(LOOK_EVERY)

        async def completed() -> bool:
            return seen("supervisor:full_restart_completed") and await self._connected_after(0)()

        return seen("supervisor:gave_up"), completed

    # ---- looking -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _watching(self) -> AsyncGenerator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            yield
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        async for event in stream_daemon(self.traffic.control, "events", seams=self.seams):
            form = msgspec.convert(event, dict[str, object])
            self._events.append(form)
            self.show("event", form)

    def _action(self, mark: int) -> str:
        """Return what the tree did about a fault: its gravest decision, or how the link came back."""
        events = self._events[mark:]
        for name, describe in _ACTIONS.items():
            for event in events:
                payload = event.get("payload")
                if event.get("type") == name:
                    return describe(msgspec.convert(payload, dict[str, object]))
        return "handled inside the actor"

    async def _until(self, what: str, seconds: float, check: Check) -> None:
        with trio.move_on_after(seconds):
            while not await check():  # noqa: ASYNC110 - the other side is a process
                await trio.sleep(LOOK_EVERY)
            return
        raise NotRecovered(what, seconds, getattr(check, "__name__", "its recovery"))

    def _connected_after(self, generation: int) -> Check:
        async def connected() -> bool:
            link = (await self._state()).link
            return link.state == "connected" and link.generation > generation

        return connected

    async def _all_arrived(self) -> bool:
        counts = msgspec.convert(await self._ask("counts"), _Counts)
        return counts.sent == counts.received

    async def _generation(self) -> int:
        return (await self._state()).link.generation

    async def _state(self) -> ClientState:
        return msgspec.convert(await self._ask("status"), _Status).state

    async def _ask(self, verb: str, **arguments: object) -> object:
        return await ask_daemon(self.traffic.control, verb, arguments, seams=self.seams)


# The gravest first: what is found of these is the answer of the tree.
_ACTIONS: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "supervisor:full_restart_completed": lambda event: (
        f"one coordinated full restart in {event['seconds']} s"
    ),
    "supervisor:restart": lambda event: f"{event['strategy']} restarted {_listed(event['starts'])}",
    "link:down": lambda event: f"link down ({event['kind']}), dialled again and resumed",
    "auth:error": lambda event: f"refresh refused ({event['status']}), retried when allowed",
}


def _listed(names: object) -> str:
    return ", ".join(msgspec.convert(names, list[str]))


_KINDS: Mapping[str, Callable[[Director, Fault], Awaitable[tuple[bool, Check]]]] = {
    "kill_hub": Director._kill_hub,
    "reset": Director._reset,
    "half_open": Director._half_open,
    "refuse_refresh": Director._refuse_refresh,
    "crash": Director._crash,
    "spend_budget": Director._spend_budget,
}


def _shares(total: int, parts: int) -> list[int]:
    """Split `total` into `parts` shares that differ by one at most."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def _find(tree: TreeNode, path: str) -> TreeNode | None:
    if tree.path == path:
        return tree
    return next((found for child in tree.children if (found := _find(child, path))), None)
