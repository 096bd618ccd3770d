"""A process in which one actor blocks the thread, and another one hangs in a handler and is restarted."""

from __future__ import annotations

import sys
import threading

import anyio

from holdfast.runtime import Actor, Event, LivenessSpec, Message, ThreadBlocked, WatchdogSpec, on, open_system
from holdfast.supervisors import RestartDecided, start_tree, supervisor, worker


class Block(Message, frozen=True):
    """Hold the thread for so many seconds."""

    seconds: float
    secret: str = "hunter2"


class Hang(Message, frozen=True):
    """Wait for what never comes."""


class Blocker(Actor):
    """Sleeps as nobody must."""

    @on(Block)
    def block(self, message: Block) -> None:
        threading.Event().wait(message.seconds)


class Hanger(Actor):
    """Waits for ever."""

    liveness = LivenessSpec(slow=0.1, hung=0.3)

    @on(Hang)
    async def hang(self, message: Hang) -> None:
        await anyio.sleep_forever()


def show(event: Event) -> None:
    if isinstance(event, ThreadBlocked | RestartDecided):
        sys.stdout.write(f"{event}\n")


async def main(blocked_exit: float | None) -> None:
    spec = WatchdogSpec(blocked=0.25, exit_after=blocked_exit)
    async with open_system(watchdog=spec) as system:
        system.events.call(show)
        await start_tree(system, supervisor("top", worker("blocker", Blocker), worker("hanger", Hanger)))
        system.ref("top/blocker").tell(Block(2.0))
        await anyio.sleep(0.3)
        system.ref("top/hanger").tell(Hang())
        await anyio.sleep(1.0)
        incarnation = system.ref("top/hanger").slot.incarnation
        sys.stdout.write(f"incarnation {incarnation}\n")


if __name__ == "__main__":
    backend, limit = sys.argv[1:]
    anyio.run(main, float(limit) or None, backend=backend)
