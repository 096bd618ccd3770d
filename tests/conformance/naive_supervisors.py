"""Small supervisors as one writes them first: each falls into one trap (3, 4, 15, 16).

They really start, restart, give up and stop what they supervise; nothing in them knows
of the check that it fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import anyio
import attrs

from holdfast.runtime import NORMAL, SHUTDOWN, Crash, Outcome

__all__ = [
    "BelievingSupervisor",
    "Child",
    "FailsWithItsChild",
    "HandleRef",
    "HandleSupervisor",
    "LoopsWithoutABreath",
    "OrderlySupervisor",
]


class FailsWithItsChild:
    """Restarts where it hears of the end, and lets through what the start raises (trap 3)."""

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        self._mail = deque[str]()
        self.running = True

    def tell(self, request: str) -> None:
        self._mail.append(request)

    def serve(self) -> None:
        """Handle all that waits."""
        while self._mail:
            if self._mail.popleft() == "stop":
                self.running = False
                self._mail.clear()
            else:
                self.restart()

    def restart(self) -> None:
        self._start()


class LoopsWithoutABreath(FailsWithItsChild):
    """Tries to start until it works; whoever calls meanwhile waits (trap 3)."""

    def restart(self) -> None:
        while True:
            try:
                self._start()
            except OSError:
                continue
            return


@attrs.define
class OrderlySupervisor:
    """Has a budget and a rule for each child, and ends `shutdown` when the budget is spent (trap 4)."""

    intensity: int
    restart: dict[str, str]
    """The rule of each child: permanent, transient or temporary."""
    parent: OrderlySupervisor | None = None
    name: str = "top"
    running: set[str] = attrs.field(init=False)
    failures: int = 0
    outcome: Outcome | None = None

    def __attrs_post_init__(self) -> None:
        self.running = set(self.restart)

    def ended(self, child: str, outcome: Outcome) -> None:
        """Restart a child that ended, or give up."""
        self.running.discard(child)
        rule = self.restart[child]
        if rule == "temporary" or (rule == "transient" and outcome.orderly):
            return
        self.failures += 1
        if self.failures > self.intensity:
            self.running.clear()
            self.outcome = SHUTDOWN
            if self.parent is not None:
                self.parent.ended(self.name, SHUTDOWN)
            return
        self.running.add(child)


@attrs.define
class Inbox:
    """What one incarnation receives."""

    items: list[object] = attrs.field(factory=list[object])


@attrs.frozen
class HandleRef:
    """Leads to the inbox of the incarnation that it was made for (trap 15)."""

    inbox: Inbox

    def tell(self, item: object) -> None:
        self.inbox.items.append(item)


class HandleSupervisor:
    """Makes an inbox for each incarnation, and gives out handles to it (trap 15)."""

    def __init__(self) -> None:
        self._inbox = Inbox()

    def start(self) -> HandleRef:
        self._inbox = Inbox()
        return HandleRef(self._inbox)

    def restart(self) -> None:
        self.start()

    @property
    def received(self) -> list[object]:
        """What the incarnation that runs now has received."""
        return self._inbox.items


@attrs.frozen
class Child:
    """What is stopped: so many seconds are granted to its clean-up."""

    clean_up: Callable[[], Awaitable[None]]
    allowance: float


@attrs.frozen
class BelievingSupervisor:
    """Looks at each number alone, and grants what it cannot keep (trap 16)."""

    children: tuple[Child, ...]
    allowance: float

    def contradictions(self) -> list[str]:
        """Return what is wrong with the numbers: none is below 0."""
        numbers = [self.allowance, *(child.allowance for child in self.children)]
        return [f"{number} is no allowance" for number in numbers if number < 0]

    async def stop(self) -> Outcome:
        """Stop the children in reverse, each within its allowance and all within this one."""
        with anyio.move_on_after(self.allowance) as whole:
            for child in reversed(self.children):
                with anyio.move_on_after(child.allowance):
                    await child.clean_up()
        return Crash(TimeoutError("killed")) if whole.cancelled_caught else NORMAL
