"""HTTP over the network seam: the transport under every call to a service.

httpx2 speaks the protocol; the streams come from `seams.connect`, so that a
simulation can put its own network under it, and TLS from the one verified
context of `seams.tls`.  There are no proxies from the environment, no
redirects, and no way to switch the verification off.

Connections are not kept: calls are minutes apart, and after an outage a kept
connection is dead exactly when the call matters most.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable

import httpcore2
import httpx2
import trio

from holdfast.runtime import Address, HoldfastError, Seams

__all__ = ["SeamTransport", "UnverifiedTls", "http_client"]

# The limit that every call on the recovery path shares (SEMANTICS "Time").
CALL_TIMEOUT_S = 5.0

# Calls at the same moment: one of auth and a few of avatar; more wait for their turn.
CONNECTIONS_MAX = 8

# A session description of the avatar service is a few KiB; nothing that a client asks for comes near this.
RESPONSE_MAX_BYTES = 1024 * 1024

_TRANSLATIONS: dict[type[Exception], type[httpx2.TransportError]] = {
    httpcore2.ConnectTimeout: httpx2.ConnectTimeout,
    httpcore2.ReadTimeout: httpx2.ReadTimeout,
    httpcore2.WriteTimeout: httpx2.WriteTimeout,
    httpcore2.PoolTimeout: httpx2.PoolTimeout,
    httpcore2.ConnectError: httpx2.ConnectError,
    httpcore2.ReadError: httpx2.ReadError,
    httpcore2.WriteError: httpx2.WriteError,
    httpcore2.UnsupportedProtocol: httpx2.UnsupportedProtocol,
    httpcore2.LocalProtocolError: httpx2.LocalProtocolError,
    httpcore2.RemoteProtocolError: httpx2.RemoteProtocolError,
}
_FAILURES: tuple[type[Exception], ...] = tuple(_TRANSLATIONS)


class UnverifiedTls(HoldfastError):
    """The TLS context of the seams does not verify certificates; the connection was not made."""

    def __init__(self) -> None:
        super().__init__(
            "the TLS context must verify certificates and host names (CERT_REQUIRED, check_hostname); "
            "for a private authority load its certificate into the context instead of switching that off"
        )


class SeamTransport(httpx2.AsyncBaseTransport):
    """An HTTP/1.1 transport whose only way out is the network seam."""

    def __init__(
        self,
        seams: Seams,
        *,
        connections_max: int = CONNECTIONS_MAX,
        response_max_bytes: int = RESPONSE_MAX_BYTES,
    ) -> None:
        self._response_max = response_max_bytes
        self._pool = httpcore2.AsyncConnectionPool(
            # The pool sets ALPN on the context that it is given.  This one trusts nobody and is never used:
            # the shared context stays untouched, and is not even made where no TLS is spoken.
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            max_connections=connections_max,
            max_keepalive_connections=0,
            retries=0,
            network_backend=_SeamNetwork(seams),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; failures are `httpx2.TransportError`s, as of any transport."""
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        outgoing = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = await self._pool.handle_async_request(outgoing)
        except _FAILURES as error:
            raise _TRANSLATIONS[type(error)](str(error)) from error
        return httpx2.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_BoundedStream(answer, self._response_max),
        )

    async def aclose(self) -> None:
        """Close what is open; the transport can be used again afterwards."""
        await self._pool.aclose()


def http_client(
    transport: httpx2.AsyncBaseTransport, *, timeout: float = CALL_TIMEOUT_S, base_url: str = ""
) -> httpx2.AsyncClient:
    """Return a client that goes through `transport` and through nothing that the environment says."""
    return httpx2.AsyncClient(
        transport=transport,
        timeout=httpx2.Timeout(timeout),
        base_url=base_url,
        trust_env=False,
        follow_redirects=False,
        headers={"User-Agent": "holdfast", "Accept-Encoding": "identity"},
    )


class _BoundedStream(httpx2.AsyncByteStream):
    """The body of an answer; too long a one ends as a protocol error of the peer."""

    def __init__(self, answer: httpcore2.Response, limit: int) -> None:
        self._answer = answer
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        try:
            async with contextlib.aclosing(self._answer.aiter_stream()) as chunks:
                async for chunk in chunks:
                    received += len(chunk)
                    if received > self._limit:
                        raise httpx2.RemoteProtocolError(
                            f"an answer of at most {self._limit} bytes was wanted, a longer one came"
                        )
                    yield chunk
        except _FAILURES as error:
            raise _TRANSLATIONS[type(error)](str(error)) from error

    async def aclose(self) -> None:
        await self._answer.aclose()


class _SeamNetwork(httpcore2.AsyncNetworkBackend):
    """Where the pool gets its streams."""

    def __init__(self, seams: Seams) -> None:
        self._seams = seams

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        assert local_address is None
        assert socket_options is None
        try:
            stream = await self._seams.connect(Address(host, port), timeout=timeout)
        except (trio.TooSlowError, TimeoutError) as error:
            raise httpcore2.ConnectTimeout(f"no connection to {host}:{port} in time") from error
        except (OSError, trio.BrokenResourceError) as error:
            raise httpcore2.ConnectError(str(error) or type(error).__name__) from error
        return _SeamStream(stream, self._seams)


class _SeamStream(httpcore2.AsyncNetworkStream):
    """A trio stream as the pool wants to see it."""

    def __init__(self, stream: trio.abc.Stream, seams: Seams) -> None:
        self._stream = stream
        self._seams = seams

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            with trio.fail_after(_seconds(timeout)):
                return bytes(await self._stream.receive_some(max_bytes))
        except trio.TooSlowError as error:
            raise httpcore2.ReadTimeout("no data in time") from error
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.ReadError(type(error).__name__) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            with trio.fail_after(_seconds(timeout)):
                await self._stream.send_all(buffer)
        except trio.TooSlowError as error:
            raise httpcore2.WriteTimeout("the peer took no data in time") from error
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.WriteError(type(error).__name__) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            # Not the pool's stand-in.
            context = self._seams.tls()
            if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
                raise UnverifiedTls
            secured = trio.SSLStream(
                self._stream, context, server_hostname=server_hostname, https_compatible=True
            )
            with trio.fail_after(_seconds(timeout)):
                await secured.do_handshake()
        except BaseException as error:
            # A handshake that failed or was cancelled leaves nothing to say goodbye to.
            await trio.aclose_forcefully(self._stream)
            if isinstance(error, trio.TooSlowError):
                raise httpcore2.ConnectTimeout("no TLS handshake in time") from error
            if isinstance(error, OSError | trio.BrokenResourceError):
                raise httpcore2.ConnectError(_reason(error)) from error
            raise
        return _SeamStream(secured, self._seams)


def _seconds(timeout: float | None) -> float:
    return float("inf") if timeout is None else timeout


def _reason(error: BaseException) -> str:
    # trio wraps what ssl says ("self-signed certificate") into an error that says nothing.
    cause = error.__cause__
    return str(error if cause is None else cause) or type(error).__name__
