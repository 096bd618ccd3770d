"""The faults of the demo: how each strikes, when it is recovered from, and what proves that it took effect.

The proof always comes from whoever suffered the fault (the client's events, the
proxy's counters, the service's own list), never from having asked for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeAlias

import attrs
import msgspec
import trio

from holdfast.actors.app.demo.script import Fault
from holdfast.actors.app.demo.stage import Check, Stage, find_node
from holdfast.runtime.control import ControlError

__all__ = ["STRIKES", "Proof", "Struck"]

# Between two crashes of the same actor: its restart takes a few milliseconds.
AGAIN_AFTER = 0.03

# What the hub closes a connection with whose token has run out.
TOKEN_EXPIRED = 4200

Burst: TypeAlias = Callable[[], Awaitable[None]]
"""Starts the messages of the fault; returns when they flow."""


@attrs.frozen
class Proof:
    """Whether a fault took effect, and what shows it."""

    effective: bool
    evidence: str


@attrs.frozen
class Struck:
    """A fault that has just struck."""

    at: float
    recovered: Check
    proof: Callable[[], Awaitable[Proof]]
    """Asked when it is recovered."""


class _Crashed(msgspec.Struct, frozen=True):
    incarnation: int
    at: float


class _Session(msgspec.Struct, frozen=True):
    session: str


async def _kill_hub(stage: Stage, fault: Fault, burst: Burst) -> Struck:
    generation, mark = await stage.generation(), len(stage.events)
    await burst()
    at = stage.now()
    before = stage.hub.addresses
    status = await stage.hub.kill()
    await trio.sleep(fault.down_seconds)
    after = await stage.hub.start()

    async def proof() -> Proof:
        lost = stage.seen("link:down", mark)
        resumed = stage.seen("link:up", mark, resumed=True)
        killed = status == -9 and before is not None and after.pid != before.pid
        said = f"process {before.pid if before else 0} ended with {status}, process {after.pid} has its store"
        return Proof(
            killed and lost is not None and resumed is not None,
            f"{said}; the session was {'resumed' if resumed else 'NOT resumed'}",
        )

    return Struck(at, stage.connected_after(generation), proof)


async def _reset(stage: Stage, _fault: Fault, burst: Burst) -> Struck:
    generation, mark = await stage.generation(), len(stage.events)
    await burst()
    before = attrs.evolve(stage.proxy.effects)
    at = stage.now()
    stage.proxy.reset()

    async def proof() -> Proof:
        resets = stage.proxy.effects.resets - before.resets
        lost = stage.proxy.effects.lost - before.lost
        noticed = stage.seen("link:down", mark) is not None
        return Proof(resets > 0 and noticed, f"{resets} connection reset, {lost} bytes under way were lost")

    return Struck(at, stage.connected_after(generation), proof)


async def _half_open(stage: Stage, _fault: Fault, burst: Burst) -> Struck:
    generation, mark = await stage.generation(), len(stage.events)
    await burst()
    before = attrs.evolve(stage.proxy.effects)
    at = stage.now()
    stage.proxy.half_open()

    async def proof() -> Proof:
        effects = stage.proxy.effects
        up, down = (
            effects.swallowed_up - before.swallowed_up,
            effects.swallowed_down - before.swallowed_down,
        )
        noticed = stage.seen("link:down", mark, kind="zombie") is not None
        cut = effects.half_opened > before.half_opened
        return Proof(
            cut and up > 0 and down > 0 and noticed,
            f"{up} bytes up and {down} bytes down were swallowed; "
            f"{'found dead by silence' if noticed else 'NOT found dead by its silence'}",
        )

    return Struck(at, stage.connected_after(generation), proof)


async def _refuse_refresh(stage: Stage, fault: Fault, burst: Burst) -> Struck:
    mark = len(stage.events)
    await stage.hub.refuse_next_refresh(fault.retry_after)

    async def refused() -> bool:
        return stage.seen("auth:error", mark, status=503) is not None

    # It is asked for when the token is due; that is a share of its lifetime away.
    lifetime = stage.script.hub.get("token_lifetime", 0.0)
    patience = stage.script.recover_within + (lifetime if isinstance(lifetime, int | float) else 0.0)
    await stage.until("the refused refresh", refused, patience)
    status = await stage.status()
    left = status.auth.expires_in or 0.0
    expires_at = status.uptime + left
    expired = trio.current_time() + left
    await trio.sleep(max(0.0, left - stage.script.lead_seconds))
    await burst()
    await trio.sleep_until(expired)
    at = stage.now()

    def renewed() -> float | None:
        error = stage.seen("auth:error", mark, status=503)
        names = ("token:refreshed", "token:acquired")
        times = [event.at for event in stage.events[mark:] if event.type in names]
        return min((at for at in times if error is not None and at >= error.at), default=None)

    async def recovered() -> bool:
        return renewed() is not None and await stage.connected_after(0)()

    async def proof() -> Proof:
        refusals = sum(event.type == "auth:error" for event in stage.events[mark:])
        since = (renewed() or 0.0) - expires_at
        closed = stage.seen("link:down", mark, code=TOKEN_EXPIRED) is not None
        return Proof(
            refusals == 1 and since >= 0 and closed,
            f"refused with 503 {refusals} time(s); renewed {since:.2f} s after the token had expired; "
            f"the hub {'closed' if closed else 'did NOT close'} the connection with {TOKEN_EXPIRED}",
        )

    return Struck(at, recovered, proof)


async def _crash(stage: Stage, fault: Fault, burst: Burst) -> Struck:
    mark = len(stage.events)
    await burst()
    crashed = msgspec.convert(await stage.ask("crash", path=fault.path), _Crashed)

    async def back() -> bool:
        node = find_node([await stage.tree()], fault.path)
        running = node is not None and node.state == "running" and node.incarnation > crashed.incarnation
        return running and await stage.connected_after(0)()

    async def proof() -> Proof:
        report = stage.seen("crash:reported", mark, path=fault.path, incarnation=crashed.incarnation)
        return Proof(
            report is not None,
            f"incarnation {crashed.incarnation} {'crashed' if report else 'did NOT report a crash'}",
        )

    return Struck(crashed.at, back, proof)


async def _crash_avatar(stage: Stage, fault: Fault, burst: Burst) -> Struck:
    """Crash the avatar while a session is open at its service: it must not be left there."""
    session = msgspec.convert(await stage.ask("avatar"), _Session).session
    live = session in await stage.hub.avatar_sessions("active")
    struck = await _crash(stage, fault, burst)

    async def recovered() -> bool:
        return await struck.recovered() and session not in await stage.hub.avatar_sessions("active")

    async def proof() -> Proof:
        crash = await struck.proof()
        why = (await stage.hub.avatar_sessions("historic")).get(session)
        # The next one is open when the tree is restarted, so that its end is seen, too.
        await stage.ask("avatar")
        ended = f"ended at its service ({why})" if why else "did NOT end at its service"
        was = "" if live else "was NOT open, "
        return Proof(crash.effective and live and bool(why), f"{crash.evidence}; its session {was}{ended}")

    return Struck(struck.at, recovered, proof)


async def _spend_budget(stage: Stage, fault: Fault, burst: Burst) -> Struck:
    mark = len(stage.events)
    crashes: list[_Crashed] = []

    def seen(name: str) -> bool:
        return stage.seen(name, mark) is not None

    await burst()
    with trio.move_on_after(stage.script.recover_within):
        while not seen("supervisor:full_restart_started"):
            # Between two incarnations there is nothing to crash, and while all is stopped nobody answers.
            with suppress(ControlError):
                crashes.append(msgspec.convert(await stage.ask("crash", path=fault.path), _Crashed))
            await trio.sleep(AGAIN_AFTER)
    last = max((crash.at for crash in crashes), default=stage.now())

    async def completed() -> bool:
        return seen("supervisor:full_restart_completed") and await stage.connected_after(0)()

    async def proof() -> Proof:
        gave_up = stage.seen("supervisor:gave_up", mark)
        reports = sum(event.type == "crash:reported" for event in stage.events[mark:])
        return Proof(
            gave_up is not None and seen("supervisor:full_restart_started"),
            f"{reports} crashes, then {gave_up.payload['supervisor'] if gave_up else 'NOBODY'} gave up",
        )

    return Struck(last, completed, proof)


STRIKES: Mapping[str, Callable[[Stage, Fault, Burst], Awaitable[Struck]]] = {
    "kill_hub": _kill_hub,
    "reset": _reset,
    "half_open": _half_open,
    "refuse_refresh": _refuse_refresh,
    "crash": _crash,
    "crash_avatar": _crash_avatar,
    "spend_budget": _spend_budget,
}
