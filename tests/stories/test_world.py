"""The simulated world itself: what it refuses, and that its faults are effective."""

from __future__ import annotations

import operator
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import trio
from tests.stories.traffic import Traffic
from tests.stories.world import open_world

from holdfast.runtime import Address, RefusedInSimulation, Seams
from holdfast.runtime.testing import on_trio
from holdfast.specs.guards import nothing_real
from holdfast.specs.network import LATENCY, MemoryNetwork


def _start_thread() -> None:
    threading.Thread(target=print).start()


def _open_socket() -> None:
    socket.socket().close()


def _look_up() -> None:
    socket.getaddrinfo("localhost", 80)


def _start_process() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def _sleep() -> None:
    operator.methodcaller("sleep", 0)(time)


@pytest.mark.parametrize(
    "real, seam",
    [
        (_start_thread, "Seams.threads"),
        (_open_socket, "Seams.connect or Seams.listen"),
        (_look_up, "Seams.connect"),
        (_start_process, "a test of processes"),
        (_sleep, "Seams.clock"),
    ],
)
def test_what_is_real_is_refused_by_the_name_of_its_seam(real: Callable[[], None], seam: str) -> None:
    # ARCHITECTURE 7, last rule: the positive control
    with nothing_real(), pytest.raises(RefusedInSimulation) as refused:
        real()
    assert refused.value.seam == seam
    real()  # and outside it is allowed


@on_trio
async def test_the_default_seams_do_not_work_in_a_simulated_run() -> None:
    # ARCHITECTURE 7: forgetting a seam is found, not papered over
    real = Seams()
    with nothing_real():
        with pytest.raises(RefusedInSimulation):
            await real.connect(Address("127.0.0.1", 1))
        with pytest.raises(RefusedInSimulation):
            await real.threads.run(print)


async def _pair(network: MemoryNetwork) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    listener = await network.listen(Address("127.0.0.1", 1))
    ours = await network.connect(Address("127.0.0.1", 1))
    return ours, await listener.accept()


@on_trio
async def test_bytes_arrive_late_in_order_and_in_pieces_of_any_size() -> None:
    ours, theirs = await _pair(MemoryNetwork(random.Random(1)))
    data = random.Random(2).randbytes(40_000)
    began = trio.current_time()
    for start in range(0, len(data), 1_000):
        await ours.send_all(data[start : start + 1_000])
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < len(data):
        pieces.append(bytes(await theirs.receive_some()))
    assert b"".join(pieces) == data
    assert len(pieces) > 40
    assert trio.current_time() - began == LATENCY


@on_trio
async def test_a_reset_loses_what_is_on_its_way_and_tells_both_ends() -> None:
    network = MemoryNetwork(random.Random(1))
    ours, theirs = await _pair(network)
    await ours.send_all(b"lost")
    assert network.reset() == 1
    for stream in (ours, theirs):
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")


@on_trio
async def test_a_half_open_connection_swallows_everything_even_the_end() -> None:
    network = MemoryNetwork(random.Random(1))
    ours, theirs = await _pair(network)
    assert network.half_open() == 1
    await ours.send_all(b"swallowed")
    await ours.aclose()
    with pytest.raises(trio.TooSlowError), trio.fail_after(3_600):
        await theirs.receive_some()
    await theirs.send_all(b"swallowed too")


@on_trio
async def test_refused_and_silent_dials_fail_as_real_ones_do() -> None:
    network = MemoryNetwork(random.Random(1))
    await network.listen(Address("127.0.0.1", 1))
    network.weather = "refusing"
    with pytest.raises(ConnectionRefusedError):
        await network.connect(Address("127.0.0.1", 1), timeout=5)
    network.weather = "silent"
    began = trio.current_time()
    with pytest.raises(trio.TooSlowError):
        await network.connect(Address("127.0.0.1", 1), timeout=5)
    assert trio.current_time() - began == 5


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


def test_a_world_runs_the_same_way_twice_from_the_same_seed() -> None:
    # ARCHITECTURE 7: no order by id, by set or by the machine's clock
    def run() -> list[object]:
        seen: list[object] = []

        async def main() -> None:
            async with open_world(seed=7) as world, world.client() as client:
                client.system.events.call(lambda event: seen.append((client.system.now(), str(event))))
                await client.connect()
                world.network.reset()
                await client.echo({"n": 1})
                await client.receive()

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        return seen

    first = run()
    assert first == run()
    assert len(first) > 10
