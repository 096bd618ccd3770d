"""A process in which one actor does not end: it blocks the thread, or shields itself."""

from __future__ import annotations

import sys
import threading

import anyio

from holdfast.runtime import (
    Actor,
    Message,
    Seams,
    TaskWedged,
    WatchdogSpec,
    on,
    open_system,
)
from holdfast.runtime.daemon import stop_signals
from holdfast.supervisors import start_tree, supervisor, worker

# For an ordered stop, which takes a tenth of it; the wedged one ends the process at its own deadline, 0.4 s.
WITHIN = 1.5


class Block(Message, frozen=True):
    """Hold the thread for ever."""

    secret: str = "hunter2"


class Cling(Message, frozen=True):
    """Wait for ever, and let nobody cancel it."""

    secret: str = "hunter2"


class Stubborn(Actor):
    """Does not end."""

    @on(Block)
    def block(self, message: Block) -> None:
        # Said once the thread is surely held: a signal between the last look at signals and the call that
        # holds it is noticed by Python only with the next one.
        threading.Timer(0.2, say, ("ready",)).start()
        threading.Event().wait()

    @on(Cling)
    async def cling(self, message: Cling) -> None:
        with anyio.CancelScope(shield=True):
            say("ready")
            await anyio.sleep_forever()


class Quiet(Actor):
    """Ends when it is asked to."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(message: Message | None) -> None:
    async with (
        stop_signals(Seams(), within=WITHIN) as asked,
        open_system(
            stop_deadline=0.2, kill_grace=0.2, exit_when_wedged=True, watchdog=WatchdogSpec(blocked=0.25)
        ) as system,
    ):
        asked.covers(system)
        system.events.call(lambda event: say(str(event)) if isinstance(event, TaskWedged) else None)
        await start_tree(system, supervisor("top", worker("stubborn", Stubborn), worker("quiet", Quiet)))
        if message is None:
            say("ready")
        else:
            system.ref("top/stubborn").tell(message)
        await asked.wait()


if __name__ == "__main__":
    kind, backend = sys.argv[1:]
    anyio.run(main, {"block": Block(), "cling": Cling(), "nothing": None}[kind], backend=backend)
