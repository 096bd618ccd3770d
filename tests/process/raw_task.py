"""A process whose actor starts a task of its own, beside the runtime, in which Ctrl-C arrives."""

from __future__ import annotations

import sys

import anyio

from holdfast.runtime import Actor, Message, Outcome, on, open_system


class Go(Message, frozen=True):
    """Start a task of your own."""


class Raw(Actor):
    """Opens a task group of its own, which `context.spawn` makes unnecessary."""

    @on(Go)
    async def go(self, _message: Go) -> None:
        async with anyio.create_task_group() as own:
            own.start_soon(self._interrupted)

    async def _interrupted(self) -> None:
        raise KeyboardInterrupt("ctrl-c")


class Bystander(Actor):
    """Says how it ended."""

    async def on_stop(self, outcome: Outcome) -> None:
        sys.stdout.write(f"ended {'in order' if outcome.orderly else 'out of order'}\n")


async def main() -> None:
    try:
        async with open_system() as system:
            await system.start("bystander", Bystander)
            (await system.start("raw", Raw)).tell(Go())
            await anyio.sleep(20)
    except KeyboardInterrupt as error:
        sys.stdout.write(f"the system raised {error}\n")
        raise


if __name__ == "__main__":
    try:
        anyio.run(main, backend=sys.argv[1])
    except KeyboardInterrupt as error:
        sys.stdout.write(f"the loop raised {error}\n")
