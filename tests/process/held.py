"""`holdfast run` or `holdfast hub` whose thread somebody blocks for ever, on a line from stdin."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import trio

from holdfast.actors.app.run import RunOptions, run_daemon
from holdfast.actors.hub.__main__ import run_hub
from holdfast.actors.hub.arguments import read_settings


async def block_when_told() -> None:
    await trio.to_thread.run_sync(sys.stdin.readline)
    sys.stdout.write("held\n")
    sys.stdout.flush()
    threading.Event().wait()


async def daemon(folder: Path) -> int:
    config = folder / "holdfast.toml"
    config.write_text("[supervision]\nexit_deadline = 1.0\n")
    return await run_daemon(
        RunOptions(config=config, control=folder / "sock", json=True, environ={**os.environ})
    )


async def hub(folder: Path) -> int:
    pairs = [f"store_path={folder}/hub.db", "exit_deadline=1.0"]
    return await run_hub(read_settings(pairs, os.environ))


async def main(what: str, folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(block_when_told)
        await {"run": daemon, "hub": hub}[what](folder)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]))
