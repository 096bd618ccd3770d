"""What survives what: accepted log records, through the restart of the group and the full restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio
import pytest

from holdfast.actors.logger.actor import LoggerActor
from holdfast.actors.logger.messages import Level
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.actors.logger.sinks import Log
from holdfast.runtime import Seams, SystemWallClock, open_system
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    ONE_FOR_ALL,
    FullRestart,
    restart_path,
    start_tree,
    supervisor,
    worker,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SlowDisk:
    """The threads seam with a write that takes half a second, so that records wait at the restart."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        await anyio.sleep(0.5)
        return fn(*args)


# What survives what, fifth row; the restart of the actor alone is in test_actor.py
@pytest.mark.parametrize("full", [False, True], ids=["group", "full"])
@both_backends
async def test_accepted_records_survive_the_restart_of_everything_around_the_logger(
    tmp_path: Path, *, full: bool
) -> None:
    file = tmp_path / "holdfast.log"
    settings = LoggerSettings(level=Level.DEBUG, file=file, stderr=False)
    log = Log(settings, wall_clock=SystemWallClock())
    async with open_system(seams=Seams(threads=SlowDisk())) as system:
        tree = supervisor(
            "root",
            supervisor(
                "foundation",
                worker("logger", lambda: LoggerActor(log, settings, encode=lambda _event: None)),
            ),
            strategy=ONE_FOR_ALL,
            full_restart=FullRestart() if full else None,
        )
        root = await start_tree(system, tree)
        log.front.info("being written")
        await anyio.sleep(0.1)
        log.front.info("waiting")
        if full:
            await root.restart_all()
        else:
            await restart_path(system, "root/foundation")
        assert system.ref("root/foundation/logger").slot.incarnation == 2
        log.front.info("after it")
        await anyio.sleep(5)

    log.close()
    said = [json.loads(line)["message"] for line in file.read_text().splitlines()]
    assert [text for text in said if text in {"being written", "waiting", "after it"}] == [
        "being written", "waiting", "after it",
    ]  # fmt: skip
