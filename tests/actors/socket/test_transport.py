from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketConnection, wrap_server_stream

from holdfast.actors.reconnect.messages import LinkFailure
from holdfast.actors.socket.codec import SUBPROTOCOL
from holdfast.actors.socket.settings import SocketSettings
from holdfast.actors.socket.transport import (
    HANDSHAKE_BYTES,
    CountingStream,
    LinkBroken,
    Transport,
    failure_of,
    kind_of,
    open_stream,
    upgrade,
)
from holdfast.runtime import Seams, Secret
from holdfast.runtime.address import AnyAddress
from holdfast.runtime.testing import on_trio

SETTINGS = SocketSettings("ws://localhost:9/rt?room=1")
NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")


@pytest.mark.parametrize(
    "error,kind",
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refused"),
        (OSError(errno.ECONNREFUSED, "x"), "refused"),
        (CERTIFICATE, "certificate"),
        (caused(trio.BrokenResourceError(), CERTIFICATE), "certificate"),
        (ssl.SSLError(1, "wrong version number"), "tls"),
        (TimeoutError(), "timeout"),
        (OSError(errno.ETIMEDOUT, "x"), "timeout"),
        (trio.TooSlowError(), "timeout"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "dns"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "reset"),
        (BrokenPipeError(errno.EPIPE, "x"), "reset"),
        (trio.BrokenResourceError(), "reset"),
        (OSError(errno.ENETUNREACH, "x"), "unreachable"),
        (OSError(errno.EHOSTUNREACH, "x"), "unreachable"),
        (OSError("all attempts to connect failed"), "unreachable"),
        (
            caused(
                OSError("all attempts to connect failed"),
                OSError(errno.ECONNREFUSED, "x"),
            ),
            "refused",
        ),
        (
            caused(
                OSError("all attempts"),
                ExceptionGroup("x", [OSError(errno.ENETUNREACH, "x"), ConnectionRefusedError()]),
            ),
            "refused",
        ),
        (OSError(errno.EMFILE, "too many open files"), None),
        (caused(OSError("all attempts"), OSError(errno.EMFILE, "x")), None),
        (ValueError("timeout certificate refused ECONNREFUSED"), None),
    ],
)
def test_errors_are_told_apart_by_type_and_errno_and_never_by_text(
    error: BaseException, kind: str | None
) -> None:
    # A2.6
    assert kind_of(error) == kind


def test_what_is_not_the_remotes_fault_is_raised_again() -> None:
    # SEMANTICS "Supervision" 4: crashes are for exhausted local resources and our own bugs
    for error in (OSError(errno.EMFILE, "too many open files"), ValueError("a bug")):
        with pytest.raises(type(error)):
            failure_of(error)


def test_a_chain_of_causes_without_end_is_looked_through_so_far() -> None:
    error = OSError("a")
    error.__cause__ = error

    assert kind_of(error) == "unreachable"


async def connected(
    stream: trio.abc.Stream, token: str = "t-1", nursery: trio.Nursery | None = None
) -> Transport:
    assert nursery is not None
    counting = CountingStream(stream, trio.current_time)
    return await upgrade(
        nursery, counting, SETTINGS.endpoint, Secret(token), max_frame=4096, wall=lambda: NOW
    )


class Wire(trio.abc.Stream):
    """One end of a memory stream that can be broken like a real socket."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.failure: Exception | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self.inner.receive_some(max_bytes)
        if self.failure is not None:
            raise self.failure
        return data

    async def aclose(self) -> None:
        await self.inner.aclose()


@asynccontextmanager
async def opened() -> AsyncGenerator[tuple[Transport, WebSocketConnection, trio.abc.Stream, Wire]]:
    """An open WebSocket: our end, the hub's, and the streams under them."""
    near, far = trio.testing.memory_stream_pair()
    wire = Wire(near)
    async with trio.open_nursery() as nursery:
        peers: list[WebSocketConnection] = []

        async def serve() -> None:
            request = await wrap_server_stream(nursery, far)
            peers.append(await request.accept(subprotocol=SUBPROTOCOL))

        nursery.start_soon(serve)
        transport = await connected(wire, nursery=nursery)
        yield transport, peers[0], far, wire
        nursery.cancel_scope.cancel()


async def ending(transport: Transport) -> LinkFailure:
    """Read until the connection ends; return what it ended with."""
    with pytest.raises(LinkBroken) as caught:
        while True:
            await transport.receive()
    return caught.value.failure


async def refused(answer: bytes, *, end: bool = True) -> LinkFailure:
    """What becomes of an upgrade that is answered with these bytes."""
    client, server = trio.testing.memory_stream_pair()
    await server.send_all(answer)
    if end:
        await server.send_eof()
    async with trio.open_nursery() as nursery:
        with pytest.raises(LinkBroken) as caught:
            await connected(client, nursery=nursery)
        nursery.cancel_scope.cancel()
    return caught.value.failure


def http(status: str, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


@on_trio
async def test_the_token_is_presented_in_the_header_of_the_upgrade_and_never_in_the_url() -> None:
    # A3.1
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            request = await wrap_server_stream(nursery, server)
            assert (b"authorization", b"Bearer t-1") in request.headers
            assert request.path == "/rt?room=1"
            assert request.proposed_subprotocols == (SUBPROTOCOL,)
            await request.accept(subprotocol=SUBPROTOCOL)

        nursery.start_soon(serve)
        transport = await connected(client, nursery=nursery)
        await transport.close(1001, "x" * 500)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer,failure",
    [
        (
            http("401 Unauthorized", body='{"error":"invalid_token","error_description":"expired"}'),
            LinkFailure(kind="rejected", code=401, detail="HTTP 401 (invalid_token: expired)"),
        ),
        (http("403 Forbidden"), LinkFailure(kind="rejected", code=403, detail="HTTP 403")),
        (
            http("429 Too Many Requests", "Retry-After: 7", body='{"error":42}'),
            LinkFailure(kind="rejected", code=429, detail="HTTP 429", retry_after=7.0),
        ),
        (
            http("503 Unavailable", "Retry-After: Sun, 06 Nov 1994 08:50:07 GMT", body="<html>"),
            LinkFailure(kind="rejected", code=503, detail="HTTP 503", retry_after=30.0),
        ),
        (
            # A5.7: the token was "t-1"; and nothing of it may reach a terminal as it came.
            http("401 Unauthorized", body='{"error":"bad","message":"Bearer t-1\\u001b[31m\\nfake line"}'),
            LinkFailure(kind="rejected", code=401, detail="HTTP 401 (bad: Bearer [REDACTED]?[31m?fake line)"),
        ),
        (
            http("503 Unavailable", "Retry-After: soon"),
            LinkFailure(kind="rejected", code=503, detail="HTTP 503"),
        ),
        (
            http("503 Unavailable", "Retry-After: 99999999999999999999"),
            LinkFailure(kind="rejected", code=503, detail="HTTP 503"),
        ),
    ],
)
@on_trio
async def test_a_refused_upgrade_is_told_with_its_status_and_the_time_to_come_back(
    answer: bytes, failure: LinkFailure
) -> None:
    # 401/403/429/503 with Retry-After
    assert await refused(answer) == failure


@pytest.mark.parametrize("end", [True, False])
@on_trio
async def test_garbage_in_place_of_an_answer_is_a_broken_protocol(*, end: bool) -> None:
    assert (await refused(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", end=end)).kind == "protocol"


@on_trio
async def test_a_stream_that_ends_during_the_upgrade_is_noticed_at_once() -> None:
    # trio-websocket would wait for ever
    start = trio.current_time()

    assert (await refused(b"")).kind == "reset"
    assert trio.current_time() == start


@on_trio
async def test_an_answer_without_end_is_cut_off() -> None:
    head = b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"

    failure = await refused(head + chunk * (HANDSHAKE_BYTES // 4096 + 1), end=False)
    assert failure.kind == "protocol"
    assert "over 65536 bytes" in failure.detail


@on_trio
async def test_a_peer_that_does_not_speak_our_protocol_is_of_another_version() -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await (await wrap_server_stream(nursery, server)).accept()

        nursery.start_soon(serve)
        with pytest.raises(LinkBroken) as caught:
            await connected(client, nursery=nursery)
        nursery.cancel_scope.cancel()

    assert caught.value.failure.code == 4303


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "é"])
@on_trio
async def test_a_token_that_would_break_out_of_its_header_is_refused_without_being_shown(token: str) -> None:
    client, _ = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        with pytest.raises(LinkBroken) as caught:
            await connected(client, token, nursery=nursery)

    assert caught.value.failure.kind == "auth"
    assert not caught.value.failure.retryable
    assert token == "" or token not in str(caught.value)


async def _raises(error: Exception) -> Seams:
    async def connect(address: AnyAddress, *, timeout: float | None = None) -> trio.abc.Stream:
        raise error

    return Seams(connect=connect)


@pytest.mark.parametrize(
    "error,kind",
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refused"),
        (trio.TooSlowError(), "timeout"),
        (CERTIFICATE, "certificate"),
        (trio.BrokenResourceError(), "reset"),
        (UnicodeError("label too long"), "dns"),
    ],
)
@on_trio
async def test_a_connection_that_cannot_be_made_is_a_failure_with_its_kind(
    error: Exception, kind: str
) -> None:
    # A2.6
    with pytest.raises(LinkBroken) as caught:
        await open_stream(await _raises(error), SETTINGS)

    assert caught.value.failure.kind == kind


@on_trio
async def test_a_connection_ends_with_the_close_code_of_the_peer() -> None:
    async with opened() as (transport, peer, _, _):
        await peer.send_message("last words")
        await peer.aclose(4304, "session taken over")
        assert await transport.receive() == "last words"

        assert await ending(transport) == LinkFailure(kind="closed", code=4304, detail="session taken over")
        with pytest.raises(LinkBroken):
            await transport.send_text("too late")
        await transport.close(1001, "too late as well")


@on_trio
async def test_a_stream_that_ends_without_a_close_frame_is_1006() -> None:
    async with opened() as (transport, _, far, _):
        await trio.aclose_forcefully(far)

        assert (await ending(transport)).code == 1006


@pytest.mark.parametrize(
    "error,kind",
    [
        (caused(trio.BrokenResourceError(), ConnectionResetError(errno.ECONNRESET, "x")), "reset"),
        (caused(trio.BrokenResourceError(), TimeoutError()), "timeout"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "reset"),
    ],
)
@on_trio
async def test_a_stream_that_breaks_is_told_by_what_broke_it(error: Exception, kind: str) -> None:
    # A2.6
    async with opened() as (transport, peer, _, wire):
        wire.failure = error
        await peer.send_message("x")

        assert (await ending(transport)).kind == kind


@on_trio
async def test_garbage_after_the_upgrade_ends_the_connection_and_nothing_else() -> None:
    async with opened() as (transport, _, far, _):
        await far.send_all(b"\xff\xff\xff\xff garbage \xff\xff")

        assert (await ending(transport)).kind == "protocol"


@on_trio
async def test_a_protocol_error_that_the_peer_complains_of_is_ours() -> None:
    # REALTIME 1.2: 1002 is terminal when it is received
    async with opened() as (transport, peer, _, _):
        await peer.aclose(1002, "what was that?")

        assert await ending(transport) == LinkFailure(kind="closed", code=1002, detail="what was that?")


@on_trio
async def test_every_inbound_byte_is_a_sign_of_life() -> None:
    # liveness at the byte stream
    client, server = trio.testing.memory_stream_pair()
    counting = CountingStream(client, trio.current_time)
    start = counting.heard_at
    await trio.sleep(5)
    await server.send_all(b"x")
    await counting.receive_some()
    assert counting.heard_at == start + 5

    await trio.sleep(5)
    await counting.send_all(b"x")
    await counting.wait_send_all_might_not_block()
    await server.send_eof()
    assert await counting.receive_some() == b""
    assert counting.heard_at == start + 5
