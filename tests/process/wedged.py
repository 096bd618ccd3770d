"""`holdfast run` or `holdfast hub` with an actor beside its tree that shields itself from its stop."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import trio

from holdfast.actors.app import run
from holdfast.actors.client import Client, open_client
from holdfast.actors.hub import __main__ as hub_process
from holdfast.actors.hub.arguments import read_settings
from holdfast.actors.hub.topology import Hub, open_hub
from holdfast.runtime import Actor, Message, System, on


class Cling(Message, frozen=True):
    """Wait for ever, and let nobody cancel it."""


class Limpet(Actor):
    """Does not end."""

    @on(Cling)
    async def cling(self, _message: Cling) -> None:
        with anyio.CancelScope(shield=True):
            sys.stdout.write("clings\n")
            sys.stdout.flush()
            await anyio.sleep_forever()


async def settle_on(system: System) -> None:
    system.stop_deadline = 1.0  # in place of the 10 s of a daemon
    limpet = await system.start("limpet", Limpet)
    limpet.tell(Cling())
    await anyio.sleep(0.1)
    assert limpet.slot.cell is not None
    limpet.slot.cell.kill()


@asynccontextmanager
async def client_with_limpet(*arguments: object, **options: object) -> AsyncGenerator[Client]:
    async with open_client(*arguments, **options) as client:  # type: ignore[arg-type]
        await settle_on(client.system)
        yield client


@asynccontextmanager
async def hub_with_limpet(*arguments: object, **options: object) -> AsyncGenerator[Hub]:
    async with open_hub(*arguments, **options) as hub:  # type: ignore[arg-type]
        await settle_on(hub.system)
        yield hub


async def main(what: str, folder: Path) -> int:
    if what == "hub":
        sys.modules[hub_process.__name__].__dict__["open_hub"] = hub_with_limpet
        return await hub_process.run_hub(read_settings([f"store_path={folder}/hub.db"], os.environ))
    sys.modules[run.__name__].__dict__["open_client"] = client_with_limpet
    config = folder / "holdfast.toml"
    config.write_text("")
    options = run.RunOptions(config=config, control=folder / "sock", json=True, environ={**os.environ})
    return await run.run_daemon(options)


if __name__ == "__main__":
    sys.exit(trio.run(main, sys.argv[1], Path(sys.argv[2])))
