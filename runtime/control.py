"""The local control socket: how a running daemon is asked for its state and told what to do.

One JSON object a line, each way.  A request is ``{"verb": ..., "arguments":
{...}}``; the answer is ``{"ok": true, "result": ...}`` or ``{"ok": false, "error":
..., "kind": ...}``.  A verb that streams answers one ``{"ok": true, "item": ...}`` a
line until either side closes.

The socket is a file of its owner alone (0600), and a peer of another user is
refused all the same.  Lines, connections and waits are bounded: whoever can
open the socket must not be able to exhaust the daemon by accident.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec
import trio

from holdfast.runtime.address import UnixAddress
from holdfast.runtime.behavior import Actor
from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.outcomes import Outcome
from holdfast.runtime.seams import Connect, Listener, Seams

__all__ = [
    "ControlError",
    "ControlRefused",
    "ControlServer",
    "NoDaemon",
    "Verbs",
    "ask_daemon",
    "stream_daemon",
]

LINE_MAX = 1 << 20
"""Bytes in one line: a tree of ten thousand actors fits."""

REQUEST_MAX = 1 << 16
"""Bytes in a request: a verb and a path."""

CONNECTIONS_MAX = 16
"""People and scripts watching one daemon at a time."""

REQUEST_TIMEOUT = 5.0
"""Seconds from the connection to the end of the request's line."""

# A unix socket's path has 108 bytes on Linux and 104 elsewhere, with the closing zero.
PATH_MAX = 103

Reply: TypeAlias = Awaitable[object] | AsyncGenerator[object, None]
Verbs: TypeAlias = Mapping[str, Callable[[Mapping[str, object]], Reply]]


class ControlError(HoldfastError):
    """A control command could not be carried out; the message is for the person who gave it."""


class ControlRefused(ControlError):
    """The daemon refused a command: `kind` names the class of the error over there."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class NoDaemon(ControlError):
    """Nothing answers on the control socket."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"no daemon answers on {path} ({reason}): start one with 'holdfast run', "
            f"or name its socket with --control"
        )
        self.path = path


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    verb: str
    arguments: dict[str, object] = {}


class _Answer(msgspec.Struct, omit_defaults=True):
    ok: bool
    result: object = None
    item: object = None
    error: str = ""
    kind: str = ""


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class ControlServer(Actor):
    """Serves the control socket: one child task for each connection."""

    def __init__(self, path: Path, verbs: Verbs) -> None:
        self._path = path
        self._verbs = verbs
        self._listener: Listener | None = None
        self._open = 0

    async def on_start(self) -> None:
        """Bind; a socket file that nobody serves any more is taken over, a served one is refused."""
        if len(os.fsencode(self._path)) > PATH_MAX:
            raise ControlError(
                f"the control socket's path has at most {PATH_MAX} bytes, got "
                f"{len(os.fsencode(self._path))}: {self._path}; name a shorter one with --control"
            )
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._clear_stale()
        self._listener = await self.context.seams.listen(UnixAddress(self._path))
        self.context.spawn(self._accept)

    async def _clear_stale(self) -> None:
        if not self._path.is_socket():
            if self._path.exists():
                raise ControlError(
                    f"{self._path} exists and is no socket: it is left alone; name another path"
                )
            return
        try:
            stream = await self.context.seams.connect(UnixAddress(self._path), timeout=1.0)
        except OSError:
            self._path.unlink(missing_ok=True)
            return
        await trio.aclose_forcefully(stream)
        raise ControlError(
            f"a daemon already serves {self._path}: stop it, or name another socket with --control"
        )

    async def on_stop(self, outcome: Outcome) -> None:
        """Close the listener and take the file away."""
        if self._listener is not None:
            await self._listener.aclose()

    async def _accept(self) -> None:
        assert self._listener is not None
        while True:
            stream = await self._listener.accept()
            if self._open >= CONNECTIONS_MAX or not _same_user(stream):
                await trio.aclose_forcefully(stream)
                continue
            self._open += 1
            self.context.spawn(self._serve, stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            await self._converse(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer went away; there is nobody to tell
        finally:
            self._open -= 1
            await trio.aclose_forcefully(stream)

    async def _converse(self, stream: trio.abc.Stream) -> None:
        line: bytes | None = None
        with trio.move_on_after(REQUEST_TIMEOUT):
            line = await _Lines(stream, REQUEST_MAX).next()
        if line is None:
            return
        try:
            request = _decode_request(line)
            verb = self._verbs.get(request.verb)
            if verb is None:
                raise ControlError(f"the verbs are {', '.join(sorted(self._verbs))}; got {request.verb!r}")
            reply = verb(request.arguments)
            if isinstance(reply, AsyncGenerator):
                await _send_items(stream, reply)
            else:
                await _send(stream, _Answer(ok=True, result=await reply))
        except (HoldfastError, msgspec.MsgspecError) as error:
            await _send(stream, _Answer(ok=False, error=str(error), kind=type(error).__name__))


async def _send_items(stream: trio.abc.Stream, items: AsyncGenerator[object, None]) -> None:
    """Send each item as it comes; end when the peer hangs up."""
    async with trio.open_nursery() as nursery, aclosing(items):

        async def until_hung_up() -> None:
            while await stream.receive_some(REQUEST_MAX):
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(until_hung_up)
        async for item in items:
            await _send(stream, _Answer(ok=True, item=item))
        nursery.cancel_scope.cancel()


async def _send(stream: trio.abc.Stream, answer: _Answer) -> None:
    await stream.send_all(msgspec.json.encode(answer) + b"\n")


def _same_user(stream: trio.abc.Stream) -> bool:
    """Whether the peer is of this user; where the system cannot tell, the file's mode has to do."""
    if not isinstance(stream, trio.SocketStream) or not hasattr(socket, "SO_PEERCRED"):
        return True
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, user, _group = struct.unpack("3i", raw)
    return bool(user in {os.geteuid(), 0})


class _Lines:
    """Lines from a stream, each at most `limit` bytes long."""

    def __init__(self, stream: trio.abc.Stream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Return the next line without its end, or None at the end of the stream."""
        scanned = 0
        while True:
            end = self._buffer.find(b"\n", scanned)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return line
            scanned = len(self._buffer)
            if scanned > self._limit:
                raise ControlError(f"a line has at most {self._limit} bytes; this one has more")
            chunk = await self._stream.receive_some(65_536)
            if not chunk:
                return None
            self._buffer += chunk


# -- the asking side ---------------------------------------------------------------------------------


@asynccontextmanager
async def _conversation(
    connect: Connect, path: Path, verb: str, arguments: Mapping[str, object]
) -> AsyncGenerator[_Lines]:
    try:
        stream = await connect(UnixAddress(path), timeout=REQUEST_TIMEOUT)
    except (OSError, trio.TooSlowError) as error:
        raise NoDaemon(path, str(error) or type(error).__name__) from error
    async with stream:
        request = _Request(verb=verb, arguments=dict(arguments))
        await stream.send_all(msgspec.json.encode(request) + b"\n")
        yield _Lines(stream, LINE_MAX)


def _checked(line: bytes | None, path: Path) -> _Answer:
    if line is None:
        raise NoDaemon(path, "it hung up without an answer")
    answer = _decode_answer(line)
    if not answer.ok:
        raise ControlRefused(answer.error, answer.kind)
    return answer


async def ask_daemon(
    path: Path, verb: str, arguments: Mapping[str, object], *, seams: Seams, timeout: float = 30.0
) -> object:
    """Ask the daemon behind `path` and return its answer as plain JSON data.

    `NoDaemon` when nobody answers there, `ControlRefused` with the daemon's own words when it says no.
    """
    with trio.move_on_after(timeout):
        async with _conversation(seams.connect, path, verb, arguments) as lines:
            answer = _checked(await lines.next(), path)
            return answer.result
    raise ControlError(f"the daemon on {path} did not answer {verb!r} within {timeout:g} s")


async def stream_daemon(
    path: Path, verb: str, /, *, seams: Seams, **arguments: object
) -> AsyncGenerator[object, None]:
    """Yield what the daemon streams, until it ends; close the generator to hang up."""
    async with _conversation(seams.connect, path, verb, arguments) as lines:
        while (line := await lines.next()) is not None:
            answer = _checked(line, path)
            if answer.item is not None:
                yield answer.item
