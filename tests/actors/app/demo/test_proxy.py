"""The fault proxy does what it says, and counts what it did."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from holdfast.actors.app.demo.proxy import FaultProxy

PATIENCE = 10.0


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def connected(
    *, latency: float = 0.0
) -> AsyncGenerator[tuple[FaultProxy, trio.SocketStream, trio.SocketStream]]:
    """Open a connection through a proxy; yields the proxy and both ends."""
    accepted, far = trio.open_memory_channel[trio.SocketStream](1)

    async def accept(stream: trio.SocketStream) -> None:
        await accepted.send(stream)
        await trio.sleep_forever()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, accept, listeners)
            proxy = FaultProxy(listeners[0].socket.getsockname()[1], latency=latency)
            port = await nursery.start(proxy.serve)
            client = await trio.open_tcp_stream("127.0.0.1", port)
            hub = await far.receive()
            await until(lambda: proxy.live == 1)
            try:
                yield proxy, client, hub
            finally:
                client.socket.close()
                hub.socket.close()
            nursery.cancel_scope.cancel()


async def broken(wait: Callable[[], Awaitable[bytes | bytearray]]) -> bool:
    try:
        return await wait() == b""
    except trio.BrokenResourceError:
        return True


def test_bytes_pass_both_ways_and_the_end_passes_behind_them() -> None:
    async def main() -> None:
        async with connected(latency=0.001) as (proxy, client, hub):
            await client.send_all(b"up")
            assert await hub.receive_some() == b"up"
            await hub.send_all(b"down")
            await hub.aclose()
            assert await client.receive_some() == b"down"
            assert await client.receive_some() == b""
            assert proxy.effects.connections == 1

    trio.run(main)


def test_a_reset_breaks_the_client_and_counts_what_was_under_way() -> None:
    async def main() -> None:
        async with connected(latency=60.0) as (proxy, client, hub):
            await client.send_all(b"lost")
            await until(lambda: proxy.live == 1 and sum(pair.under_way for pair in proxy._pairs) == 4)

            assert proxy.reset() == 1
            assert await broken(client.receive_some)
            assert await broken(hub.receive_some)
            assert (proxy.effects.resets, proxy.effects.lost, proxy.live) == (1, 4, 0)

    trio.run(main)


def test_a_half_open_connection_swallows_both_ways_without_a_sign() -> None:
    async def main() -> None:
        async with connected() as (proxy, client, hub):
            assert proxy.half_open() == 1
            await client.send_all(b"hello")
            await hub.send_all(b"you")
            await until(lambda: (proxy.effects.swallowed_up, proxy.effects.swallowed_down) == (5, 3))

            with trio.move_on_after(0.05) as waited:
                await client.receive_some()
            assert waited.cancelled_caught

    trio.run(main)


def test_a_fault_on_nothing_counts_nothing() -> None:
    proxy = FaultProxy(1)

    assert (proxy.reset(), proxy.half_open()) == (0, 0)
    assert (proxy.effects.resets, proxy.effects.half_opened) == (0, 0)
