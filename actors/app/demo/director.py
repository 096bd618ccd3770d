"""Runs the demo's script: one fault after the other, each in the middle of traffic both ways.

What it notes of a recovery comes from the client's own event stream; what the
demo says of messages comes from `audit.py`, when both processes have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import msgspec
import trio

from holdfast.actors.app.demo.result import Observed, Recovery
from holdfast.actors.app.demo.screen import Screen
from holdfast.actors.app.demo.script import Fault
from holdfast.actors.app.demo.stage import Check, Stage
from holdfast.actors.app.demo.strikes import STRIKES
from holdfast.runtime import HoldfastError

__all__ = ["Director"]

# How often the live view learns how far everything is.
PROGRESS_EVERY = 0.4


@attrs.define
class Director:
    """One run of the script."""

    stage: Stage
    screen: Screen
    observed: Observed

    async def run(self) -> None:
        """Strike with every fault in turn and let the last messages arrive."""
        stage, script = self.stage, self.stage.script
        async with stage.watching(), trio.open_nursery() as nursery:
            if self.screen.live:
                nursery.start_soon(self._tell_progress)
            self.screen.tree(await stage.tree())
            await stage.until("the first connection", stage.connected_after(0))
            before = await stage.counts()
            for fault, share in zip(script.fault, script.shares, strict=True):
                await self._strike(fault, share)
            await stage.until("the last message", self._all_arrived)
            after = await stage.counts()
            self.observed.same_process = before.pid == after.pid == stage.traffic.pid
            self.observed.same_facade = before.facade == after.facade
            self.screen.tree(await stage.tree())
            nursery.cancel_scope.cancel()

    async def _strike(self, fault: Fault, share: int) -> None:
        stage = self.stage
        self.screen.fault(fault.name)
        mark = len(stage.events)

        async def burst() -> None:
            await stage.ask("burst", count=share, seconds=stage.script.burst_of(fault))
            await trio.sleep(stage.script.lead_seconds)

        struck = await STRIKES[fault.kind](stage, fault, burst)
        goal = await self._next_message()
        await stage.until(fault.name, self._back(goal, struck.recovered))
        seconds = round(stage.now() - struck.at, 3)
        proof = await struck.proof()
        recovery = Recovery(
            fault=fault.name,
            effective=proof.effective,
            action=self._action(mark),
            seconds=seconds,
            evidence=proof.evidence,
            struck_at=struck.at,
        )
        self.observed.recoveries.append(recovery)
        self.screen.recovery(recovery)

    async def _next_message(self) -> int:
        """Return how many must have come back for one that was sent after now to be among them."""
        counts = await self.stage.counts()
        return min(counts.accepted + 1, counts.planned)

    def _back(self, goal: int, recovered: Check) -> Check:
        """Return the question whether messages flow again and the fault's own recovery is there."""

        async def back() -> bool:
            return (await self.stage.counts()).received >= goal and await recovered()

        return back

    async def _all_arrived(self) -> bool:
        counts = await self.stage.counts()
        return counts.planned == counts.received

    def _action(self, mark: int) -> str:
        """Return what the tree did about a fault: its gravest decision, or how the link came back."""
        for name, describe in _ACTIONS.items():
            event = self.stage.seen(name, mark)
            if event is not None:
                return describe(event.payload)
        lost = self.stage.seen("link:down", mark)
        if lost is None:
            return "handled inside the actor"
        resumed = self.stage.seen("link:up", mark, resumed=True) is not None
        return f"link down ({lost.payload.get('kind')}), session {'resumed' if resumed else 'begun anew'}"

    async def _tell_progress(self) -> None:
        while True:
            try:
                self.screen.progress(await self.stage.counts())
                self.screen.tree(await self.stage.tree())
            except HoldfastError:
                pass  # the next look is soon
            await trio.sleep(PROGRESS_EVERY)


def _listed(names: object) -> str:
    return ", ".join(msgspec.convert(names, list[str]))


# The gravest first: what is found of these is the answer of the tree.
_ACTIONS: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "supervisor:full_restart_completed": lambda event: (
        f"one coordinated full restart, {msgspec.convert(event['seconds'], float):.2f} s"
    ),
    "supervisor:restart": lambda event: f"{event['strategy']} restarted {_listed(event['starts'])}",
}
