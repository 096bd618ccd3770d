"""The local control socket: how a running daemon is asked for its state and told what to do.

One JSON object a line, each way.  A request is ``{"verb": ..., "arguments":
{...}}``; the answer is ``{"ok": true, "result": ...}`` or ``{"ok": false, "error":
..., "kind": ...}``.  A verb that streams answers one ``{"ok": true, "item": ...}`` a
line until either side closes.

The socket is a file of its owner alone (0600) in a folder that nobody else may
write to, and a peer of another user is refused all the same.  Lines,
connections and waits are bounded, and whatever a client sends or fails to read
costs its own connection alone: whoever can open the socket must not be able to
exhaust the daemon by accident.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import msgspec
import trio

from holdfast.runtime.address import UnixAddress
from holdfast.runtime.behavior import Actor
from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.seams import Connect, Listener, Seams

__all__ = [
    "ControlError",
    "ControlRefused",
    "ControlServer",
    "NoDaemon",
    "Verbs",
    "ask_daemon",
    "check_place",
    "peer_user",
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

ANSWER_TIMEOUT = 30.0
"""Seconds for a peer to take its answer.  A watcher of a stream may pause for longer, at its own cost."""

SHORTAGE_PAUSE = 0.1
"""Seconds until the next attempt to accept when the process has no file left for another connection."""

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

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
        self._open = 0

    async def on_start(self) -> None:
        """Bind; a socket file that nobody serves any more is taken over, everything else is left alone."""
        check_place(self._path)
        await self._clear_stale()
        try:
            listener = await self.context.seams.listen(UnixAddress(self._path))
        except OSError as error:
            raise _unusable(self._path, error) from error
        # The task owns the listener: however this incarnation ends, the next one can bind again.
        self.context.spawn(self._accept, listener)

    async def _clear_stale(self) -> None:
        if not self._path.exists():
            return
        try:
            stream = await self.context.seams.connect(UnixAddress(self._path), timeout=1.0)
        except ConnectionRefusedError:
            self._path.unlink(missing_ok=True)
            return
        except trio.TooSlowError:
            pass  # somebody holds it and is too busy to answer
        else:
            await trio.aclose_forcefully(stream)
        raise ControlError(
            f"a daemon already serves {self._path}: stop it, or name another socket with --control"
        )

    async def _accept(self, listener: Listener) -> None:
        try:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _SHORTAGES:
                        raise
                    await trio.sleep(SHORTAGE_PAUSE)
                    continue
                self.context.spawn(self._serve, stream)
        finally:
            with trio.CancelScope(shield=True):
                await listener.aclose()

    async def _serve(self, stream: trio.abc.Stream) -> None:
        self._open += 1
        try:
            refusal = self._refusal(stream)
            if refusal:
                await _send(stream, _Answer(ok=False, error=refusal, kind="ControlError"))
            else:
                await self._converse(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer went away; there is nobody to tell
        finally:
            self._open -= 1
            await trio.aclose_forcefully(stream)

    def _refusal(self, stream: trio.abc.Stream) -> str:
        user = peer_user(stream)
        if user not in {None, 0, os.geteuid()}:
            return f"this socket is user {os.geteuid()}'s alone, not for user {user}"
        if self._open > CONNECTIONS_MAX:
            return f"{CONNECTIONS_MAX} connections are open, no more are taken: close one and try again"
        return ""

    async def _converse(self, stream: trio.abc.Stream) -> None:
        try:
            request = await _read_request(stream)
            if request is None:
                return
            verb = self._verbs.get(request.verb)
            if verb is None:
                raise ControlError(f"the verbs are {', '.join(sorted(self._verbs))}; got {request.verb!r}")
            reply = verb(request.arguments)
            if isinstance(reply, AsyncGenerator):
                await _send_items(stream, reply)
            else:
                answer = _Answer(ok=True, result=await reply)
                with trio.move_on_after(ANSWER_TIMEOUT):
                    await _send(stream, answer)
        except HoldfastError as error:
            await _send(stream, _Answer(ok=False, error=str(error), kind=type(error).__name__))


async def _read_request(stream: trio.abc.Stream) -> _Request | None:
    """Return what the peer wants; None when it hangs up without a word."""
    line: bytes | None = None
    with trio.move_on_after(REQUEST_TIMEOUT) as waiting:
        line = await _Lines(stream, REQUEST_MAX).next()
    if waiting.cancelled_caught:
        raise ControlError(f"wanted one line of JSON within {REQUEST_TIMEOUT:g} s, got no end of line")
    if line is None:
        return None
    try:
        return _decode_request(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError(
            f'wanted one line such as {{"verb": "status", "arguments": {{}}}}, got something else: {error}'
        ) from None


async def _send_items(stream: trio.abc.Stream, items: AsyncGenerator[object, None]) -> None:
    """Send each item as it comes; end when the peer hangs up, or with the error that ended the items."""
    failure: HoldfastError | None = None
    async with trio.open_nursery() as nursery, aclosing(items):

        async def until_hung_up() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while await stream.receive_some(REQUEST_MAX):
                    pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(until_hung_up)
        try:
            async for item in items:
                await _send(stream, _Answer(ok=True, item=item))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it hung up in the middle of an item
        except HoldfastError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _send(stream: trio.abc.Stream, answer: _Answer) -> None:
    await stream.send_all(msgspec.json.encode(answer) + b"\n")


def check_place(path: Path) -> None:
    """Make the socket's folder and refuse a place that cannot be served safely, or at all."""
    length = len(os.fsencode(path))
    if length > PATH_MAX:
        raise ControlError(
            f"the control socket's path has at most {PATH_MAX} bytes, got {length}: {path}; "
            f"name a shorter one with --control"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_folder(path.parent)
        if path.exists() and not path.is_socket():
            raise ControlError(
                f"{path} exists and is no socket: it is left alone; name another with --control"
            )
    except OSError as error:
        raise _unusable(path, error) from error


def _check_folder(folder: Path) -> None:
    """Refuse a folder in which somebody else could put another socket in the place of ours."""
    found = folder.stat()
    if found.st_uid not in {0, os.geteuid()}:
        raise ControlError(
            f"{folder} belongs to user {found.st_uid}, not to user {os.geteuid()}: "
            f"name a control socket elsewhere with --control"
        )
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise ControlError(
            f"others may write to {folder} (mode {stat.S_IMODE(found.st_mode):o}): take that right away "
            f"(chmod go-w), or name a control socket elsewhere with --control"
        )


def _unusable(path: Path, error: OSError) -> ControlError:
    return ControlError(
        f"cannot listen on {path} ({error.strerror or error}): name another path with --control"
    )


def peer_user(stream: trio.abc.Stream) -> int | None:
    """Return the number of the peer's user; None where the system cannot tell (the file's mode has to do)."""
    if not isinstance(stream, trio.SocketStream) or not hasattr(socket, "SO_PEERCRED"):
        return None
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, user, _group = struct.unpack("3i", raw)
    return int(user)


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
    stream = await _reach(connect, path)
    async with stream:
        owner = peer_user(stream)
        if owner not in {None, 0, os.geteuid()}:
            raise ControlError(f"{path} is served by user {owner}, not by you: name yours with --control")
        request = _Request(verb=verb, arguments=dict(arguments))
        try:
            # A daemon that refuses the connection hangs up before it reads; its reason is still to be read.
            with suppress(trio.BrokenResourceError):
                await stream.send_all(msgspec.json.encode(request) + b"\n")
            yield _Lines(stream, LINE_MAX)
        except trio.BrokenResourceError as error:
            raise NoDaemon(path, "it hung up") from error


async def _reach(connect: Connect, path: Path) -> trio.abc.Stream:
    try:
        return await connect(UnixAddress(path), timeout=REQUEST_TIMEOUT)
    except FileNotFoundError as error:
        raise NoDaemon(path, "there is no such socket") from error
    except ConnectionRefusedError as error:
        raise NoDaemon(path, "the one that made it has ended") from error
    except PermissionError as error:
        raise ControlError(f"{path} is another user's: name yours with --control") from error
    except (OSError, trio.TooSlowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is too busy to take a connection"
        raise NoDaemon(path, reason or str(error)) from error


def _checked(line: bytes | None, path: Path) -> _Answer:
    if line is None:
        raise NoDaemon(path, "it hung up without an answer")
    try:
        answer = _decode_answer(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError(f"what answers on {path} is no holdfast daemon ({error})") from error
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
