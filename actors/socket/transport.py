"""The WebSocket itself: trio-websocket over a stream of the connect seam.

Everything foreign stops here.  Exceptions become a `LinkFailure` with a kind,
told by type and errno and never by text (A2.6); what they mean is reconnect's
business.  Exhausted local resources are not the remote's fault and go through.

trio-websocket, as measured and read: it answers pings itself and shows none, so
liveness is counted in bytes of the stream; its opening handshake never returns
when the stream ends first, so we watch its reader; its reader's exceptions would
take down whoever started it, so they are kept; and a cancelled send tears a
frame, so a send is only ever ended by aborting the stream.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import cast

import msgspec
import trio
import wsproto.utilities
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.connection import ConnectionState

from holdfast.actors.reconnect.messages import LinkFailure
from holdfast.actors.socket.codec import SUBPROTOCOL, plain
from holdfast.actors.socket.settings import Endpoint, SocketSettings
from holdfast.runtime import REDACTED, Address, HoldfastError, Seams, Secret

__all__ = ["CountingStream", "LinkBroken", "Transport", "failure_of", "kind_of", "open_stream", "upgrade"]

# Bytes of an answer to the upgrade request, headers and the body of a refusal. Ours has a few hundred.
HANDSHAKE_BYTES = 65_536

# Above ours, so that it is we who answer an oversized message, with 4306, and not the library with 1009.
LIBRARY_LIMIT_FACTOR = 2

# One read of the stream: a batch of frames at once, where the library's own 4 KiB would take many.
RECEIVE_BYTES = 65_536

# Causes looked through below an exception; happy eyeballs and TLS nest two or three deep.
CAUSES_MAX = 32

# What stands for "no close frame came" (RFC 6455, 7.1.5).
ABNORMAL_CLOSURE = 1006

# Close reasons are at most 123 bytes (RFC 6455, 5.5.1).
REASON_BYTES = 123

UNREACHABLE = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,
        errno.EACCES,
        errno.EPERM,
    }
)
# Ours, not the remote's: nothing that reconnect does would cure them.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

# In this order: the later are bases of the earlier.
KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (ssl.SSLCertVerificationError, "certificate"),
    (ssl.SSLError, "tls"),
    ((socket.gaierror, socket.herror), "dns"),
    ((TimeoutError, trio.TooSlowError), "timeout"),
    (ConnectionRefusedError, "refused"),
    (ConnectionError, "reset"),
)


class LinkBroken(HoldfastError):
    """The connection failed or ended; `failure` says how.  Caught by the socket actor, never seen outside."""

    def __init__(self, failure: LinkFailure) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure


class CountingStream(trio.abc.Stream):
    """A stream that knows when the last byte came in, and how it ended."""

    def __init__(self, inner: trio.abc.Stream, now: Callable[[], float]) -> None:
        self._inner = inner
        self._now = now
        self.heard_at = now()
        self.allowance: int | None = HANDSHAKE_BYTES
        """Bytes that may still come in; None when the handshake is over."""

        self.error: BaseException | None = None
        self.on_sent: Callable[[], None] = lambda: None
        """Called when something has been handed to the network."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)
        self.on_sent()

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._inner.receive_some(max_bytes)
        except (OSError, trio.BrokenResourceError) as error:
            self.error = error
            raise
        if data:
            self.heard_at = self._now()
        if self.allowance is not None:
            self.allowance -= len(data)
            if self.allowance < 0:
                raise LinkBroken(_protocol(f"the answer to the upgrade is over {HANDSHAKE_BYTES} bytes"))
        return data

    async def aclose(self) -> None:
        await self._inner.aclose()


class Transport:
    """An open WebSocket; its text messages, in and out."""

    def __init__(self, connection: WebSocketConnection, stream: CountingStream, reader: _Reader) -> None:
        self._connection = connection
        self._stream = stream
        self._reader = reader

    async def send_text(self, text: str) -> None:
        """Send one message.  A cancelled send may have torn a frame: abort the stream after it."""
        try:
            await self._connection.send_message(text)
        except (ConnectionClosed, wsproto.utilities.ProtocolError) as error:
            raise LinkBroken(self._ended()) from error

    async def receive(self) -> str | bytes:
        """Return the next message; `LinkBroken` when the connection has ended."""
        try:
            return await self._connection.get_message()
        except ConnectionClosed as error:
            raise LinkBroken(self._ended()) from error

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye and wait for the answer; the caller keeps the time-out and aborts afterwards."""
        shown = reason.encode()[:REASON_BYTES].decode(errors="ignore")
        try:
            await self._connection.aclose(code, shown)
        except (ConnectionClosed, wsproto.utilities.ProtocolError, OSError, trio.BrokenResourceError):
            return

    async def farewell(self, code: int, reason: str, timeout: float) -> None:
        """Say goodbye and wait for no answer; for a task that is being cancelled, so it is shielded."""
        with trio.move_on_after(timeout, shield=True) as scope:
            self._stream.on_sent = scope.cancel
            await self.close(code, reason)

    def _ended(self) -> LinkFailure:
        """Three tellers, the best informed first: the library's reader, the close frame, the stream."""
        if self._reader.error is not None:
            return _of_library(self._reader.error)
        reason = self._connection.closed
        if reason is not None and reason.code != ABNORMAL_CLOSURE:
            if self._is_ours():
                return _protocol(f"what came in is no WebSocket frame (close code {int(reason.code)})")
            said = plain(reason.reason) if reason.reason else reason.name
            return LinkFailure(kind="closed", code=int(reason.code), detail=said)
        if self._stream.error is not None:
            return failure_of(self._stream.error)
        return LinkFailure(
            kind="closed", code=ABNORMAL_CLOSURE, detail="the stream ended without a close frame"
        )

    def _is_ours(self) -> bool:
        """Whether the close code is the library's own verdict on bytes that are no frames.

        Said by the hub, 1002 means that we are at fault, and is terminal; found by us,
        it is a bad connection.  Only wsproto's state tells them apart: a close that
        came in has moved it.
        """
        return self._connection._wsproto.state is ConnectionState.OPEN


class _Reader:
    """Stands where trio-websocket wants a nursery: runs its reader, and keeps what it raises."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.error: Exception | None = None
        self.on_end: Callable[[], None] = lambda: None

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._run, reader)

    async def _run(self, reader: Callable[[], Awaitable[None]]) -> None:
        try:
            await reader()
        except Exception as error:  # noqa: BLE001 - of a foreign task; `failure_of` sorts it
            self.error = error
        finally:
            self.on_end()


async def open_stream(seams: Seams, settings: SocketSettings) -> CountingStream:
    """Connect, with TLS where the URL says so; `LinkBroken` when that fails."""
    endpoint = settings.endpoint
    address = Address(endpoint.host, endpoint.port, tls=endpoint.tls, server_hostname=endpoint.host)
    try:
        stream = await seams.connect(address, timeout=settings.dial_timeout)
    except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
        raise LinkBroken(failure_of(error)) from error
    except UnicodeError as error:
        # What the resolver makes of a name that no domain can have.
        raise LinkBroken(LinkFailure(kind="dns", detail=f"{endpoint.host!r} is no host name")) from error
    return CountingStream(stream, seams.clock.now)


async def upgrade(
    nursery: trio.Nursery,
    stream: CountingStream,
    endpoint: Endpoint,
    token: Secret,
    *,
    max_frame: int,
    wall: Callable[[], float],
) -> Transport:
    """Make a WebSocket of the stream, presenting the token (A3.1); `LinkBroken` when it is refused."""
    reader = _Reader(nursery)
    connection: WebSocketConnection | None = None
    with trio.CancelScope() as scope:
        reader.on_end = scope.cancel
        connection = await wrap_client_stream(
            # The library only ever calls start_soon, and only knows streams of its own kind by name.
            cast("trio.Nursery", reader),
            cast("trio.SocketStream", stream),
            endpoint.authority,
            endpoint.resource,
            subprotocols=[SUBPROTOCOL],
            extra_headers=[(b"Authorization", _bearer(token))],
            message_queue_size=1,
            max_message_size=max_frame * LIBRARY_LIMIT_FACTOR,
            receive_buffer_size=RECEIVE_BYTES,
        )
    if connection is None:
        raise LinkBroken(_refused(reader, stream, wall, token))
    stream.allowance = None
    transport = Transport(connection, stream, reader)
    if connection.subprotocol != SUBPROTOCOL:
        raise LinkBroken(
            LinkFailure(kind="closed", code=4303, detail=f"the peer does not speak {SUBPROTOCOL}")
        )
    return transport


def failure_of(error: BaseException) -> LinkFailure:
    """Map a foreign exception; what is not the remote's fault is raised again."""
    kind = kind_of(error)
    if kind is None:
        raise error
    return LinkFailure(kind=kind, detail=f"{type(error).__name__}: {error}")


def _of_library(error: Exception) -> LinkFailure:
    """What its reader raises came in: errors of h11, of wsproto, and what its own states trip over.

    Only the type is told; the text may quote what was received.
    """
    if isinstance(error, LinkBroken):
        return error.failure
    return LinkFailure(
        kind=kind_of(error) or "protocol", detail=f"{type(error).__name__} in the WebSocket library"
    )


def kind_of(error: BaseException) -> str | None:
    """The kind of a network error, by type and errno, looking through causes; None when it is none."""
    found = None
    for cause in _causes(error):
        for types, kind in KINDS:
            if isinstance(cause, types):
                return kind
        if isinstance(cause, OSError):
            if cause.errno in EXHAUSTED:
                return None
            found = "unreachable" if cause.errno in UNREACHABLE or found is None else found
        elif isinstance(cause, trio.BrokenResourceError):
            found = found or "reset"
    return found


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from, the outermost first."""
    waiting = [error]
    for _ in range(CAUSES_MAX):
        if not waiting:
            return
        each = waiting.pop(0)
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(cast("BaseExceptionGroup[BaseException]", each).exceptions)
        if each.__cause__ is not None:
            waiting.append(each.__cause__)


def _bearer(token: Secret) -> bytes:
    """The header's value; a token that would break out of it is refused without quoting it."""
    value = token.reveal()
    if not value.isascii() or not value.isprintable() or " " in value or not value:
        detail = "the access token cannot stand in a header: it must be printable ASCII without spaces"
        raise LinkBroken(LinkFailure(kind="auth", detail=detail, retryable=False))
    return b"Bearer " + value.encode()


def _refused(
    reader: _Reader, stream: CountingStream, wall: Callable[[], float], token: Secret
) -> LinkFailure:
    match reader.error:
        case ConnectionRejected() as rejected:
            return LinkFailure(
                kind="rejected",
                code=rejected.status_code,
                detail=f"HTTP {rejected.status_code}{_said(rejected.body, token)}",
                retry_after=_retry_after(rejected.headers, wall),
            )
        case None if stream.error is not None:
            return failure_of(stream.error)
        case None:
            return LinkFailure(kind="reset", detail="the stream ended during the upgrade")
        case error:
            return _of_library(error)


class _Problem(msgspec.Struct):
    error: str = ""
    error_description: str = ""
    message: str = ""


def _said(body: bytes | None, token: Secret) -> str:
    """What a refusal's JSON body says, in words of its own fields; nothing else of it is repeated.

    Nor is the token that was presented: a peer may echo what it was sent.
    """
    try:
        problem = msgspec.json.decode(body or b"", type=_Problem)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
    said = (problem.error, problem.error_description, problem.message)
    words = [plain(word.replace(token.reveal(), REDACTED)[:100]) for word in said if word]
    return f" ({': '.join(words)})" if words else ""


def _retry_after(headers: tuple[tuple[bytes, bytes], ...], wall: Callable[[], float]) -> float | None:
    """Seconds from a Retry-After header: a number, or a date (RFC 9110, 10.2.3); None when it is neither."""
    for name, raw in headers:
        if name.lower() != b"retry-after":
            continue
        value = raw.decode("latin-1").strip()
        # Ten digits are three centuries; more would not even fit a float.
        if value.isdecimal() and len(value) <= 10:
            return float(value)
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - wall())
        except (ValueError, OverflowError):
            return None
    return None


def _protocol(detail: str) -> LinkFailure:
    return LinkFailure(kind="protocol", detail=detail)
