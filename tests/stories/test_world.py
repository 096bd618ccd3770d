"""Client and hub in the simulated world: the audit is worth something, and a seed gives one run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio
from tests.stories.traffic import Traffic
from tests.stories.world import open_world

from holdfast.runtime.testing import on_trio
from holdfast.specs import HttpFault, Scheduler, Setup, World, check_determinism, simulate


@on_trio
async def test_the_audit_of_messages_finds_one_that_is_missing_doubled_or_out_of_place() -> None:
    # The positive control of every "nothing lost, doubled or reordered" below.
    async with open_world() as world, world.client() as client:
        await client.connect()
        traffic = Traffic(world, client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(traffic.receive)
            await traffic.send(3)
            await traffic.settled()
            nursery.cancel_scope.cancel()
        for wrong in ([0, 1], [0, 1, 1, 2], [0, 2, 1]):
            traffic.received = wrong
            with pytest.raises(AssertionError):
                traffic.check()


async def _session(world: World) -> int:
    """A client that loses its connection, has its token refused once, and goes on."""
    async with open_world(inside=world) as stage, stage.client() as client:
        world.observe(client.system)
        stage.http.faults.append(HttpFault.of_status(429, retry_after=2))
        await client.connect()
        for number in range(5):
            stage.network.reset_after(40)
            await client.echo({"n": number})
            await client.receive()
    return stage.http.requests.count(("POST", "/auth/token"))


def _digest() -> str:
    run = simulate(_session, Setup(seed=7))
    run.result()
    assert run.effects["http:429"] == 1
    assert run.effects["network:reset_mid_frame"] >= 1
    return run.digest


@pytest.mark.parametrize("scheduler", ["fifo", "shuffle", "pct"])
def test_client_and_hub_run_the_same_way_twice_from_the_same_seed(scheduler: Scheduler) -> None:
    # ARCHITECTURE 7: no order by id, by set or by the machine's clock
    check_determinism(_session, Setup(seed=7, scheduler=scheduler))


def test_client_and_hub_run_the_same_way_in_other_processes_with_other_hashes() -> None:
    script = "from tests.stories.test_world import _digest\nprint(_digest())"
    paths = os.pathsep.join(["build/importroot", "."])
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": paths},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for hashes in ("1", "2")
    ]
    assert said == [_digest(), _digest()]
