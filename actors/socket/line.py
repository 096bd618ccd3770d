"""The two queues between the socket actor and the tasks that do its I/O, both bounded.

The actor never waits for the network and the reader never waits for the actor:
a reader that stops reading would stop answering pings and look dead.  What
comes beyond a bound ends the connection, which is then resumed; nothing that
was accepted is lost by that.
"""

from __future__ import annotations

from collections import deque

import trio

from holdfast.actors.socket.codec import BATCH_MAX
from holdfast.actors.socket.settings import SocketSettings

__all__ = ["Line"]


class Line:
    """One connection's queues.  Used from the loop's thread only."""

    def __init__(self, settings: SocketSettings) -> None:
        self._settings = settings
        self._outgoing: deque[bytes] = deque()
        self._incoming: deque[str | bytes] = deque()
        self._wake = trio.Event()
        self._announced = False
        self.outgoing_bytes = 0
        self.incoming_bytes = 0
        self.max_frame = settings.max_frame
        self.batch = False
        self.closing: tuple[int, str] | None = None
        """Code and reason: close when everything queued has left."""

        self.written = trio.Event()
        """The writer is done: everything was flushed and the close was answered, or nothing can be sent."""

        self.aborted = False
        self.sending = False
        """A send is in flight; cancelled now, it may have torn a frame."""

    @property
    def outgoing_frames(self) -> int:
        return len(self._outgoing)

    def put(self, encoded: bytes) -> bool:
        """Queue a frame for the writer; false when there is no room."""
        bounds = self._settings
        full = len(self._outgoing) >= bounds.outbound_frames
        if full or self.outgoing_bytes + len(encoded) > bounds.outbound_bytes:
            return False
        self._outgoing.append(encoded)
        self.outgoing_bytes += len(encoded)
        self._wake.set()
        return True

    def close(self, code: int, reason: str) -> None:
        self.closing = (code, reason)
        self._wake.set()

    async def wait_outgoing(self) -> None:
        """Wait until there is something to send, or to close."""
        while not self._outgoing and self.closing is None:
            self._wake = trio.Event()
            await self._wake.wait()

    def take_outgoing(self) -> list[bytes]:
        """Take what goes into the next message: one frame, or as many as a batch may hold.

        trio-websocket costs by the message: 5,000 small frames over loopback, both ends
        in one process, took 216 us each alone and 7 us each in batches.
        """
        taken: list[bytes] = []
        limit = BATCH_MAX if self.batch else 1
        # The array's brackets and a comma for each frame.
        size = 2
        while self._outgoing and len(taken) < limit:
            size += len(self._outgoing[0]) + 1
            if taken and size > self.max_frame:
                break
            taken.append(self._outgoing.popleft())
        self.outgoing_bytes -= sum(map(len, taken))
        return taken

    def push(self, message: str | bytes) -> bool:
        """Queue what came in; false when there is no room."""
        bounds = self._settings
        full = len(self._incoming) >= bounds.inbound_frames
        if full or self.incoming_bytes + len(message) > bounds.inbound_bytes:
            return False
        self._incoming.append(message)
        self.incoming_bytes += len(message)
        return True

    def owes_announcement(self) -> bool:
        """Whether the actor does not know yet that something came in; asking counts as telling it."""
        owed, self._announced = not self._announced, True
        return owed

    def take_incoming(self, limit: int) -> list[str | bytes]:
        """Take the oldest messages; announce what is left again."""
        taken = [self._incoming.popleft() for _ in range(min(limit, len(self._incoming)))]
        self.incoming_bytes -= sum(map(len, taken))
        self._announced = False
        return taken

    @property
    def has_incoming(self) -> bool:
        return bool(self._incoming)
