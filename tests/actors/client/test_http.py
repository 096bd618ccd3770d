"""HTTP over the network seam, with real sockets on loopback unless a test says otherwise."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import attrs
import httpx2
import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holdfast.actors.auth.exchange import TokenEndpoint
from holdfast.actors.auth.settings import AuthSettings
from holdfast.actors.auth.tokens import ExchangeFailure, ExchangeKind, Fault
from holdfast.actors.client.http import SeamTransport, UnverifiedTls, http_client
from holdfast.runtime import Address, HoldfastError, Seams, Secret, SystemWallClock, UnixAddress
from holdfast.runtime.testing import on_trio

Answer = Callable[[trio.abc.Stream, bytes], Awaitable[None]]


def on_sockets(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run the test on trio in real time: these are real sockets.  Two seconds are an age on loopback."""

    async def bounded(arguments: dict[str, object]) -> None:
        with trio.fail_after(20):
            await test(**arguments)

    @functools.wraps(test)
    def synchronous(**arguments: object) -> None:
        trio.run(bounded, arguments)

    return synchronous


async def ok(stream: trio.abc.Stream, _request: bytes) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def silent(_stream: trio.abc.Stream, _request: bytes) -> None:
    await trio.sleep_forever()


@attrs.define
class Server:
    """Reads one request after the other from each connection and lets `answer` do the rest."""

    answer: Answer
    port: int = 0
    requests: list[bytes] = attrs.field(factory=list[bytes])
    open_now: int = 0
    open_max: int = 0
    changed: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.note(1)
        try:
            async with stream:
                while (request := await self.read(stream)) is not None:
                    self.requests.append(request)
                    self.note(0)
                    await self.answer(stream, request)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.note(-1)

    def note(self, opened: int) -> None:
        self.open_now += opened
        self.open_max = max(self.open_max, self.open_now)
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, reached: Callable[[Server], bool]) -> None:
        while not reached(self):
            await self.changed.wait()

    async def read(self, stream: trio.abc.Stream) -> bytes | None:
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = bytes(await stream.receive_some())
            if not chunk:
                return None
            received += chunk
        return received


@asynccontextmanager
async def serving(answer: Answer = ok, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Server]:
    server = Server(answer)
    async with trio.open_nursery() as nursery:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        server.port = listener.socket.getsockname()[1]
        if tls is None:
            nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        else:
            secure = trio.SSLListener(listener, tls, https_compatible=True)
            nursery.start_soon(trio.serve_listeners, server.serve, [secure])
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()


async def get(seams: Seams, url: str, **options: int) -> httpx2.Response:
    async with http_client(SeamTransport(seams, **options)) as client:
        return await client.get(url)


# ---- plain -----------------------------------------------------------------------------------------


@on_sockets
async def test_a_request_goes_out_through_the_network_seam() -> None:
    dialled: list[object] = []
    real = Seams()

    async def connect(address: Address | UnixAddress, *, timeout: float | None = None) -> trio.abc.Stream:
        dialled.append((address, timeout))
        return await real.connect(address, timeout=timeout)

    async with serving() as server:
        response = await get(Seams(connect=connect), f"http://127.0.0.1:{server.port}/path?x=1")

    assert (response.status_code, response.text) == (200, "hello")
    assert dialled == [(Address("127.0.0.1", server.port), 5.0)]
    assert server.requests[0].startswith(b"GET /path?x=1 HTTP/1.1\r\n")
    assert b"accept-encoding: identity\r\n" in server.requests[0].lower()


@on_sockets
async def test_a_body_is_sent_and_read() -> None:
    async def echo(stream: trio.abc.Stream, request: bytes) -> None:
        body = request.partition(b"\r\n\r\n")[2]
        while not body.endswith(b"}"):
            body += bytes(await stream.receive_some())
        await stream.send_all(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n")
        await stream.send_all(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    async with serving(echo) as server, http_client(SeamTransport(Seams())) as client:
        response = await client.post(f"http://127.0.0.1:{server.port}/", json={"a": "b" * 10_000})

    assert response.status_code == 201
    assert response.json() == {"a": "b" * 10_000}


@on_sockets
async def test_connections_are_closed_after_each_answer() -> None:
    async with serving() as server, http_client(SeamTransport(Seams())) as client:
        for _ in range(3):
            await client.get(f"http://127.0.0.1:{server.port}/")
            await server.until(lambda at: at.open_now == 0)

        assert server.open_max == 1


@on_sockets
async def test_the_pool_is_bounded_and_the_rest_wait_their_turn() -> None:
    async def when_both_are_there(stream: trio.abc.Stream, request: bytes) -> None:
        await server.until(lambda at: at.open_max == 2)
        await ok(stream, request)

    statuses: list[int] = []
    async with (
        serving(when_both_are_there) as server,
        http_client(SeamTransport(Seams(), connections_max=2)) as client,
    ):

        async def call() -> None:
            statuses.append((await client.get(f"http://127.0.0.1:{server.port}/")).status_code)

        async with trio.open_nursery() as callers:
            for _ in range(7):
                callers.start_soon(call)

    assert statuses == [200] * 7
    assert len(server.requests) == 7
    assert server.open_max == 2


# httpx's pool was measured to be poisoned for good by a cancellation on trio.
@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Len", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"]
)
@on_sockets
async def test_a_cancellation_in_the_middle_of_a_request_leaves_the_pool_usable(begun: bytes) -> None:
    async def begin(stream: trio.abc.Stream, _request: bytes) -> None:
        await stream.send_all(begun)
        await trio.sleep_forever()

    async with serving(begin) as server, http_client(SeamTransport(Seams(), connections_max=1)) as client:
        url = f"http://127.0.0.1:{server.port}/"
        for turn in range(1, 4):
            async with trio.open_nursery() as callers:
                callers.start_soon(client.get, url)
                await server.until(lambda at, turn=turn: len(at.requests) == turn)  # type: ignore[misc]
                await trio.testing.wait_all_tasks_blocked(0.001)
                callers.cancel_scope.cancel()

        server.answer = ok
        assert (await client.get(url)).text == "hello"


@on_sockets
async def test_a_cancelled_wait_for_the_pool_leaves_it_usable() -> None:
    async with serving(silent) as server, http_client(SeamTransport(Seams(), connections_max=1)) as client:
        url = f"http://127.0.0.1:{server.port}/"
        async with trio.open_nursery() as callers:
            for _ in range(3):
                callers.start_soon(client.get, url)
            await server.until(lambda at: len(at.requests) == 1)
            callers.cancel_scope.cancel()

        server.answer = ok
        assert (await client.get(url)).status_code == 200


@on_sockets
async def test_redirects_are_not_followed() -> None:
    async def redirect(stream: trio.abc.Stream, _request: bytes) -> None:
        await stream.send_all(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/stolen\r\nContent-Length: 0\r\n\r\n"
        )

    async with serving(redirect) as server:
        assert (await get(Seams(), f"http://127.0.0.1:{server.port}/")).status_code == 302
    assert len(server.requests) == 1


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def main() -> None:
        async with serving() as server:
            assert (await get(Seams(), f"http://127.0.0.1:{server.port}/")).status_code == 200

    trio.run(main)


@on_sockets
async def test_an_answer_that_does_not_end_is_cut_off_at_its_bound() -> None:
    async def endless(stream: trio.abc.Stream, _request: bytes) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"400\r\n" + b"x" * 1024 + b"\r\n")

    async with serving(endless) as server:
        url = f"http://127.0.0.1:{server.port}/"
        with pytest.raises(httpx2.RemoteProtocolError, match="at most 10000 bytes was wanted"):
            await get(Seams(), url, response_max_bytes=10_000)


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", b"HTTP/1.1 2", b"no HTTP\r\n\r\n", b""]
)
@on_sockets
async def test_a_peer_that_breaks_off_or_talks_nonsense_is_a_protocol_error(raw: bytes) -> None:
    async def half(stream: trio.abc.Stream, _request: bytes) -> None:
        await stream.send_all(raw)
        await stream.aclose()

    async with serving(half) as server:
        with pytest.raises(httpx2.TransportError):
            await get(Seams(), f"http://127.0.0.1:{server.port}/")


@on_sockets
async def test_nobody_listening_is_a_connect_error() -> None:
    async with serving() as server:
        port = server.port

    with pytest.raises(httpx2.ConnectError):
        await get(Seams(), f"http://127.0.0.1:{port}/")


# ---- through other seams, in virtual time ----------------------------------------------------------


def seam(stream: trio.abc.Stream | Exception) -> Seams:
    async def connect(address: Address | UnixAddress, *, timeout: float | None = None) -> trio.abc.Stream:
        if isinstance(stream, Exception):
            raise stream
        return stream

    return Seams(connect=connect)


@on_trio
async def test_a_simulated_network_takes_the_place_of_sockets() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = Server(ok)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, theirs)
        response = await get(seam(ours), "http://simulated.test/")

    assert response.text == "hello"


@on_trio
async def test_a_silent_peer_is_given_up_after_five_seconds() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(silent).serve, theirs)
        with pytest.raises(httpx2.ReadTimeout):
            await get(seam(ours), "http://simulated.test/")
        nursery.cancel_scope.cancel()

    assert trio.current_time() < 6


@on_trio
async def test_a_peer_that_takes_nothing_is_given_up_after_five_seconds() -> None:
    ours, _theirs = trio.testing.lockstep_stream_pair()

    with pytest.raises(httpx2.WriteTimeout):
        await get(seam(ours), "http://simulated.test/")

    assert trio.current_time() < 6


@pytest.mark.parametrize(
    "raised,kind",
    [
        (trio.TooSlowError(), httpx2.ConnectTimeout),
        (TimeoutError("etimedout"), httpx2.ConnectTimeout),
        (ConnectionRefusedError("refused"), httpx2.ConnectError),
        (OSError(), httpx2.ConnectError),
        (trio.BrokenResourceError(), httpx2.ConnectError),
        (ssl.SSLCertVerificationError("bad"), httpx2.ConnectError),
    ],
)
@on_trio
async def test_what_the_seam_raises_is_told_apart(raised: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await get(seam(raised), "http://simulated.test/")


class Broken(trio.abc.Stream):
    """Fails in one of its two directions."""

    def __init__(self, *, sends: bool) -> None:
        self.sends = sends
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not self.sends:
            raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("not used")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise ConnectionResetError(104, "reset")

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("sends,kind", [(False, httpx2.TransportError), (True, httpx2.ReadError)])
@on_trio
async def test_a_stream_that_breaks_is_an_error_of_the_transport(sends: bool, kind: type[Exception]) -> None:
    stream = Broken(sends=sends)

    with pytest.raises(kind):
        await get(seam(stream), "http://simulated.test/")

    assert stream.closed


@on_trio
async def test_another_scheme_is_refused() -> None:
    with pytest.raises(httpx2.UnsupportedProtocol):
        await get(seam(OSError()), "ftp://simulated.test/")


# ---- TLS -------------------------------------------------------------------------------------------


@attrs.frozen
class Certificate:
    """A certificate that signed itself, and contexts for both sides."""

    server: ssl.SSLContext
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder: Path = tmp_path_factory.mktemp("certificate")
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "certificate.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return Certificate(server, ssl.create_default_context(cadata=pem.decode()))


def causes(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *causes(error.__cause__ or error.__context__)]


# A3.1: certificates are verified, always; the same for every HTTP call.
@on_sockets
async def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(
    certificate: Certificate,
) -> None:
    async with serving(tls=certificate.server) as server:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await get(Seams(), f"https://127.0.0.1:{server.port}/")

    assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(caught.value))
    assert server.requests == []


# A3.1
@on_sockets
async def test_a_certificate_of_a_known_authority_is_accepted(certificate: Certificate) -> None:
    async with serving(tls=certificate.server) as server:
        response = await get(Seams(tls=lambda: certificate.trusting), f"https://127.0.0.1:{server.port}/")

    assert response.text == "hello"


# A3.1
@on_sockets
async def test_a_certificate_for_another_name_is_refused(certificate: Certificate) -> None:
    async with serving(tls=certificate.server) as server:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await get(Seams(tls=lambda: certificate.trusting), f"https://localhost:{server.port}/")

    assert server.requests == []


# A3.1
@on_sockets
async def test_a_context_that_does_not_verify_is_not_used(certificate: Certificate) -> None:
    careless = ssl.create_default_context()
    careless.check_hostname = False

    async with serving(tls=certificate.server) as server:
        for mode in (ssl.CERT_REQUIRED, ssl.CERT_NONE):
            careless.verify_mode = mode
            with pytest.raises(UnverifiedTls, match="must verify certificates") as caught:
                await get(Seams(tls=lambda: careless), f"https://127.0.0.1:{server.port}/")

    assert isinstance(caught.value, HoldfastError)
    assert server.requests == []


@on_trio
async def test_no_tls_context_is_made_where_none_is_needed() -> None:
    def unwanted() -> ssl.SSLContext:
        raise AssertionError("loaded certificates for plain http")

    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(ok).serve, theirs)
        assert (await get(attrs.evolve(seam(ours), tls=unwanted), "http://simulated.test/")).text == "hello"


@on_trio
async def test_a_handshake_that_is_not_answered_is_given_up_and_the_stream_closed() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    with pytest.raises(httpx2.ConnectTimeout):
        await get(seam(ours), "https://simulated.test/")

    assert trio.current_time() < 6
    assert await theirs.receive_some(100_000)
    assert await theirs.receive_some() == b""


@on_trio
async def test_a_cancelled_handshake_leaves_no_open_stream() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    with trio.move_on_after(1):
        await get(seam(ours), "https://simulated.test/")

    assert await theirs.receive_some(100_000)
    assert await theirs.receive_some() == b""


# A3.1 and A1.3 together: what auth makes of it, over the real transport.
@on_sockets
async def test_auth_tells_a_bad_certificate_from_an_unreachable_endpoint(certificate: Certificate) -> None:
    async def fault(url: str) -> ExchangeFailure:
        settings = AuthSettings(api_endpoint=url, api_key=Secret("canary"))
        endpoint = TokenEndpoint(settings, lambda: SeamTransport(Seams()), SystemWallClock())
        result = await endpoint.exchange(ExchangeKind.AUTHENTICATE, None)
        assert isinstance(result, ExchangeFailure)
        assert "canary" not in repr(result)
        return result

    async with serving(tls=certificate.server) as server:
        untrusted = await fault(f"https://127.0.0.1:{server.port}")
    absent = await fault(f"https://127.0.0.1:{server.port}")

    assert (untrusted.fault, untrusted.error, untrusted.retryable) == (
        Fault.CERTIFICATE,
        "certificate",
        False,
    )
    assert (absent.fault, absent.error, absent.retryable) == (Fault.UNREACHABLE, "unreachable", True)
