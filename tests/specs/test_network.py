"""The network in memory: its faults are those of TCP, each is effective, and each is counted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
import trio_websocket

from holdfast.runtime import Address, UnixAddress
from holdfast.runtime.testing import on_trio
from holdfast.specs import LATENCY, MemoryNetwork, Setup, World, simulate


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


async def _read(stream: trio.abc.Stream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.receive_some()
    return data


@on_trio
async def test_a_reset_in_mid_frame_comes_after_so_many_bytes_and_no_more() -> None:
    network = MemoryNetwork(random.Random(1))
    ours, theirs = await _pair(network)
    assert network.reset_after(7) == 1
    await theirs.send_all(b"0123456789")
    assert await _read(ours, 7) == b"0123456"
    for stream in (ours, theirs):
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
    assert network.effects["network:reset_mid_frame"] == 1
    with pytest.raises(ValueError, match="at least one byte"):
        network.wires[0].reset_after(0)


@on_trio
async def test_one_direction_can_be_half_open_alone() -> None:
    network = MemoryNetwork(random.Random(1))
    ours, theirs = await _pair(network)
    network.half_open(direction="to client")
    await ours.send_all(b"heard")
    assert await _read(theirs, 5) == b"heard"
    await theirs.send_all(b"unheard")
    with trio.move_on_after(3_600) as waited:
        await ours.receive_some()
    assert waited.cancelled_caught
    assert network.effects["network:stall"] == 1


@on_trio
async def test_what_a_stall_held_back_arrives_when_it_is_over() -> None:
    network = MemoryNetwork(random.Random(1))
    ours, theirs = await _pair(network)
    network.stall()
    await ours.send_all(b"late")
    await trio.sleep(100)
    before = trio.current_time()
    network.resume()
    assert await _read(theirs, 4) == b"late"
    assert trio.current_time() == before


@on_trio
async def test_a_stalled_reader_makes_its_writer_wait_when_the_buffers_are_full() -> None:
    network = MemoryNetwork(random.Random(1))
    ours, _theirs = await _pair(network)
    network.stall()
    with trio.move_on_after(3_600) as waited:
        for _ in range(10):
            await ours.send_all(bytes(65_536))
    assert waited.cancelled_caught


@on_trio
async def test_a_slow_link_takes_its_time_and_a_faster_one_overtakes_nothing() -> None:
    network = MemoryNetwork(random.Random(1))
    ours, theirs = await _pair(network)
    network.link.rate, network.link.latency = 1_000.0, 2.0
    began = trio.current_time()
    await ours.send_all(b"a" * 4_000)
    network.link.rate, network.link.latency = float("inf"), LATENCY
    await ours.send_all(b"b")
    assert await _read(theirs, 4_001) == b"a" * 4_000 + b"b"
    assert trio.current_time() - began == 4 + 2
    assert network.effects["network:slow_link"] >= 1


@on_trio
async def test_one_port_can_have_weather_of_its_own() -> None:
    network = MemoryNetwork(random.Random(1))
    await network.listen(Address("127.0.0.1", 1))
    await network.listen(Address("127.0.0.1", 2))
    network.weather_at[1] = "refusing"
    with pytest.raises(ConnectionRefusedError):
        await network.connect(Address("127.0.0.1", 1))
    await network.connect(Address("127.0.0.1", 2))
    assert network.effects.counts() == {"network:refuse": 1}


@on_trio
async def test_a_dead_process_leaves_no_connection_and_no_port() -> None:
    network = MemoryNetwork(random.Random(1))
    listener = await network.listen(Address("127.0.0.1", 1), owner="server")
    await network.listen(Address("127.0.0.1", 2), owner="other")
    ours = await network.connect(Address("127.0.0.1", 1), owner="client")
    await listener.accept()
    network.abandon("server")
    with pytest.raises(trio.BrokenResourceError):
        await ours.receive_some()
    with pytest.raises(ConnectionRefusedError):
        await network.connect(Address("127.0.0.1", 1))
    await network.connect(Address("127.0.0.1", 2))


@on_trio
async def test_addresses_that_are_no_ports_are_refused_by_name() -> None:
    network = MemoryNetwork(random.Random(1))
    for refused in (network.connect, network.listen):
        with pytest.raises(OSError, match="ports alone"):
            await refused(UnixAddress(Path("/run/x")))


async def _delivered(world: World) -> list[str]:
    """A client with real WebSockets that sends each number until it is acknowledged, through all faults."""
    got: list[str] = []

    async def serve(stream: trio.abc.Stream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                request = await trio_websocket.wrap_server_stream(nursery, stream)
                connection = await request.accept()
                while True:
                    got.append(str(await connection.get_message()))
                    await connection.send_message("ack")
        except* (trio_websocket.ConnectionClosed, trio_websocket.HandshakeError, trio.BrokenResourceError):
            await trio.aclose_forcefully(stream)

    async def accept() -> None:
        while True:
            nursery.start_soon(serve, await listener.accept())

    async def send(number: int) -> None:
        stream = await world.network.connect(Address("hub", 1), timeout=5)
        with trio.fail_after(10):
            async with trio.open_nursery() as talk:
                connection = await trio_websocket.wrap_client_stream(talk, stream, "hub", "/")  # type: ignore[arg-type]  # any stream will do
                await connection.send_message(str(number))
                await connection.get_message()
                talk.cancel_scope.cancel()

    async def spoil() -> None:
        for what in ("reset", "reset_after", "half_open", "refusing", "silent", "slow"):
            await trio.sleep(world.random.randint(1, 8) / 4)
            world.network.weather = "fine"
            if what == "reset":
                world.network.reset()
            elif what == "reset_after":
                world.network.reset_after(world.random.randint(1, 200))
            elif what == "half_open":
                world.network.half_open()
            elif what == "slow":
                world.network.link.rate = 200.0
            else:
                world.network.weather = "refusing" if what == "refusing" else "silent"

    async with trio.open_nursery() as nursery:
        listener = await world.network.listen(Address("hub", 1))
        nursery.start_soon(accept)
        nursery.start_soon(spoil)
        for number in range(20):
            while True:
                try:
                    await send(number)
                    break
                except* (OSError, trio.TooSlowError, trio.BrokenResourceError,
                         trio_websocket.ConnectionClosed, trio_websocket.HandshakeError):  # fmt: skip
                    await trio.sleep(0.25)
            await trio.sleep(0.25)
        nursery.cancel_scope.cancel()
    return got


def test_real_websockets_run_over_it_and_what_is_repeated_until_acknowledged_arrives() -> None:
    for seed in range(10):
        first, second = (simulate(_delivered, Setup(seed=seed)) for _ in range(2))
        got = first.result()
        assert list(dict.fromkeys(got)) == [str(number) for number in range(20)]
        assert first.digest == second.digest
        assert first.effects.get("network:slow_link", 0) > 0
