"""The input and output of one connection: a child task with one reader and one writer.

trio-websocket is used as it was measured and read: it gets a stream that is
already open; its reader always drains into a bounded inbox of ours; whether
anybody is there is judged by bytes, since it hides pings; one writer sends and is
never cancelled in a send, which could tear a frame.  What must end ends by the
stream being aborted.

Everything that the other side can do to us ends here: nothing of it leaves this
task as an exception.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator

import trio
import trio_websocket
from wsproto.utilities import ProtocolError

from holdfast.actors.hub.closing import REASON_MAX, CloseCode
from holdfast.actors.hub.codec import SUBPROTOCOL, encode_batch
from holdfast.actors.hub.connection import Connection
from holdfast.actors.hub.messages import Refusal
from holdfast.actors.hub.refusals import refusal_body, refusal_headers
from holdfast.actors.hub.settings import HubSettings

__all__ = ["Peer"]

# Frames queued for a reader that does not read: four windows of reliable frames and control frames.
OUTBOX_MAX = 1_024
# Volatile frames are shed before the outbox is half full, so that reliable ones always have room.
OUTBOX_CROWDED = 256

# One read from the socket; 64 KiB was measured to be no slower than any other.
RECEIVE_BYTES = 65_536

# What the other side can cause, mapped to an end of its connection and to nothing else.
_PEER_FAULTS = (
    trio_websocket.ConnectionClosed,
    trio_websocket.HandshakeError,
    ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    UnicodeDecodeError,
    OSError,
)


class _Lifeline(trio.abc.Stream):
    """A stream that remembers when anything last came in."""

    def __init__(self, stream: trio.abc.Stream, now: Callable[[], float]) -> None:
        self._stream = stream
        self._now = now
        self.heard_at = now()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        self.heard_at = self._now()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


class Peer:
    """One connection, from its first byte to its end."""

    def __init__(
        self,
        number: int,
        stream: trio.abc.Stream,
        settings: HubSettings,
        now: Callable[[], float],
        *,
        on_arrived: Callable[[], None],
    ) -> None:
        self.number = number
        self.connection: Connection | None = None
        """The conversation; None until the upgrade is granted."""
        self.armed_for = float("inf")
        """The deadline for which the actor's timer is set."""
        self.ended: tuple[int | None, str] = (None, "the connection broke")
        self._lifeline = _Lifeline(stream, now)
        self._settings = settings
        self._on_arrived = on_arrived
        self._inbox: deque[str | bytes] = deque()
        self._inbox_bytes = 0
        self._announced = False
        self._room = trio.Event()
        self._outbox: deque[bytes] = deque()
        self._farewell: tuple[CloseCode, str] | None = None
        self._work = trio.Event()
        self._doomed = trio.Event()
        self._verdict: Refusal | None = None
        self._judged = trio.Event()

    # -- what the actor does with it

    def answer(self, refusal: Refusal | None) -> None:
        """Grant the upgrade, or refuse it."""
        self._verdict = refusal
        self._judged.set()

    def take(self, limit: int | None = None) -> Iterator[str | bytes]:
        """Yield what came in, `limit` messages at most; the reader goes on when there is room again."""
        self._announced = False
        for _ in range(len(self._inbox) if limit is None else min(limit, len(self._inbox))):
            message = self._inbox.popleft()
            self._inbox_bytes -= len(message)
            yield message
        self._room.set()
        if self._inbox:
            self._announce()

    def send(self, text: bytes) -> bool:
        """Queue a frame; false when the other side has long stopped reading."""
        if self._farewell is not None:
            return True
        if len(self._outbox) >= OUTBOX_MAX:
            return False
        self._outbox.append(text)
        self._work.set()
        return True

    @property
    def crowded(self) -> bool:
        """Whether what may be left out should be."""
        return len(self._outbox) >= OUTBOX_CROWDED

    @property
    def heard_at(self) -> float:
        """When any byte last came in."""
        return self._lifeline.heard_at

    def close(self, code: CloseCode, reason: str) -> None:
        """Close after what is queued; nothing is queued after it."""
        if self._farewell is None:
            self._farewell = code, reason
            self.ended = int(code), reason
            self._work.set()

    def abort(self, reason: str) -> None:
        """Drop the stream at once."""
        if self._farewell is None:
            self.ended = None, reason
        self._doomed.set()

    # -- its task

    async def run(self, admit: Callable[[trio_websocket.WebSocketRequest], Awaitable[None]]) -> None:
        """Serve the connection to its end.  `admit` sees to it that `answer` is called."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._abort_at_the_end)
                await self._converse(nursery, admit)
                nursery.cancel_scope.cancel()
        except* _PEER_FAULTS:
            # Their end of the line; `ended` says what is known.
            pass

    async def _abort_at_the_end(self) -> None:
        """Close the stream when doomed or cancelled: that frees a writer that is stuck in a send."""
        try:
            await self._doomed.wait()
        finally:
            await trio.aclose_forcefully(self._lifeline)

    async def _converse(
        self, nursery: trio.Nursery, admit: Callable[[trio_websocket.WebSocketRequest], Awaitable[None]]
    ) -> None:
        request: trio_websocket.WebSocketRequest | None = None
        with trio.move_on_after(self._settings.upgrade_timeout):
            request = await trio_websocket.wrap_server_stream(
                nursery,
                self._lifeline,
                # Twice our own bound: a frame that is a little too big is answered, not just cut off.
                max_message_size=2 * self._settings.max_frame,
                receive_buffer_size=RECEIVE_BYTES,
            )
        if request is None:
            self.ended = None, "no upgrade request in time"
            return
        await admit(request)
        await self._judged.wait()
        if self._verdict is not None:
            self.ended = self._verdict.status, self._verdict.error
            await self._refuse(request, self._verdict)
            return
        socket = await request.accept(subprotocol=SUBPROTOCOL)
        nursery.start_soon(self._write, socket)
        await self._read(socket)

    async def _refuse(self, request: trio_websocket.WebSocketRequest, refusal: Refusal) -> None:
        headers = {"Content-Type": "application/json", "Connection": "close", **refusal_headers(refusal)}
        with trio.move_on_after(self._settings.close_timeout):
            await request.reject(
                refusal.status,
                extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                body=refusal_body(refusal),
            )

    async def _read(self, socket: trio_websocket.WebSocketConnection) -> None:
        while True:
            try:
                message = await socket.get_message()
            except trio_websocket.ConnectionClosed as closed:
                ours = self._farewell is not None or self._doomed.is_set()
                if not ours and closed.reason is not None:
                    self.ended = closed.reason.code, closed.reason.reason or ""
                if self._farewell is not None:
                    # Only this side is closed.  To drop the stream now, with bytes of the peer unread,
                    # would be a reset, and that can take our close frame with it.
                    await self._doomed.wait()
                return
            self._inbox.append(message)
            self._inbox_bytes += len(message)
            self._announce()
            while self._full:
                self._room = trio.Event()
                await self._room.wait()

    @property
    def _full(self) -> bool:
        """A client within its window never fills the inbox; one that is not has to wait."""
        window = self._settings
        return len(self._inbox) >= window.window_frames or self._inbox_bytes >= window.window_bytes

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._on_arrived()

    async def _write(self, socket: trio_websocket.WebSocketConnection) -> None:
        while True:
            while not self._outbox:
                if self._farewell is not None:
                    await self._say_goodbye(socket, *self._farewell)
                    return
                self._work = trio.Event()
                await self._work.wait()
            text = self._next_message()
            with trio.CancelScope(shield=True):
                await socket.send_message(text.decode())

    def _next_message(self) -> bytes:
        """Return one frame, or as many as go into one batch where that was negotiated."""
        first = self._outbox.popleft()
        if not self._outbox or self.connection is None or not self.connection.batch:
            return first
        batch, size = [first], len(first) + 2
        while (
            self._outbox and size + len(self._outbox[0]) + 1 <= self._settings.max_frame and len(batch) < 256
        ):
            batch.append(self._outbox.popleft())
            size += len(batch[-1]) + 1
        return encode_batch(batch)

    async def _say_goodbye(
        self, socket: trio_websocket.WebSocketConnection, code: CloseCode, reason: str
    ) -> None:
        with trio.move_on_after(self._settings.close_timeout):
            await socket.aclose(int(code), reason.encode()[:REASON_MAX].decode(errors="ignore"))
        self._doomed.set()
