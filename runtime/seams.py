"""Every way out of the process, in one value: clocks, randomness, network, disk, threads.

Product code reaches the world through its system's `Seams` and through nothing
else, so that the whole product runs in simulation with other seams and not one
line changed.  `Seams()` is the real world.  The network seams carry trio
streams: the kernel runs on asyncio too, the client and the hub on trio.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import socket
import ssl
import stat
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, TypeVarTuple

import apsw
import attrs
import trio

from holdfast.runtime.address import Address, AnyAddress, UnixAddress
from holdfast.runtime.backend import current_backend
from holdfast.runtime.clock import Clock, SystemWallClock, WallClock, monotonic
from holdfast.runtime.errors import HoldfastError

__all__ = [
    "Connect",
    "Listen",
    "Listener",
    "OpenStore",
    "Repeat",
    "Seams",
    "StoreUnreadable",
    "Threads",
    "open_store",
    "prepare_store",
    "say_at_once",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Linux's default for a listening queue; a storm beyond it is the dial limiter's business.
BACKLOG = 128


class Listener(Protocol):
    """A bound socket, or its stand-in."""

    @property
    def address(self) -> AnyAddress:
        """Where it listens; a port of 0 has become the real one."""
        ...

    async def accept(self) -> trio.abc.Stream:
        """Wait for the next connection."""
        ...

    async def aclose(self) -> None:
        """Stop listening; accepted streams live on."""
        ...


class Connect(Protocol):
    """Opens a stream; OSError, ssl.SSLError and trio.TooSlowError come through unchanged."""

    async def __call__(self, address: AnyAddress, *, timeout: float | None = None) -> trio.abc.Stream: ...


class Listen(Protocol):
    """Binds an address; OSError comes through unchanged."""

    async def __call__(self, address: AnyAddress) -> Listener: ...


class OpenStore(Protocol):
    """Opens a durable store, or one in memory for None."""

    def __call__(self, path: Path | None) -> apsw.Connection: ...


class Threads(Protocol):
    """Runs blocking calls beside the loop."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run in a worker thread; a cancelled wait waits for the thread all the same."""
        ...


class Repeat(Protocol):
    """Looks from outside: what the watchdog needs, which must run although the event loop does not."""

    def __call__(self, fn: Callable[[float], None], interval: float, name: str) -> Callable[[], None]:
        """Call `fn` with monotonic seconds every `interval` in a thread, until the result is called."""
        ...


# For a round of the thread that is under way when it is ended; it is a daemon thread, so nobody has to wait.
REPEAT_END = 1.0


def _repeat(fn: Callable[[float], None], interval: float, name: str) -> Callable[[], None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(interval):
            fn(monotonic())

    def end() -> None:
        ended.set()
        thread.join(REPEAT_END)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return end


def say_at_once(text: str) -> None:
    """Write a line to stderr, from any thread, also while the event loop is blocked."""
    sys.stderr.write(f"holdfast: {text.rstrip()}\n")
    sys.stderr.flush()


class StoreUnreadable(HoldfastError):
    """A store's file exists and is no usable database.  It is left as it is, nothing is thrown away."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the store {path} cannot be opened ({reason}); it was left untouched: "
            f"restore it, move it away, or configure another path"
        )
        self.path = path


@functools.cache
def _shared_tls_context() -> ssl.SSLContext:
    # One for the process: loading the certificates costs 10 to 20 ms each time.
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def open_store(path: Path | None) -> apsw.Connection:
    """Open an SQLite store readable by its owner alone; None is a private store in memory.

    WAL with ``synchronous=NORMAL``: what is committed survives the death of the
    process at any instant; after a power cut the last commits may be missing,
    never a part of one.
    """
    if path is None:
        return apsw.Connection(":memory:")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    try:
        connection = apsw.Connection(str(path))
        prepare_store(connection)
    except apsw.Error as error:
        raise StoreUnreadable(path, str(error)) from error
    return connection


def prepare_store(connection: apsw.Connection) -> None:
    """Set what every store of ours is opened with; for whoever stands in for the disk.  Raises apsw.Error."""
    connection.set_busy_timeout(2_000)
    if not connection.pragma("schema_version"):
        # Kept in the file, so only a new one is told: another program's would be changed by it.
        connection.execute("pragma journal_mode=wal").fetchall()
    # Read out whole: a statement that returns a row holds up those after it until it is fetched.
    connection.execute("pragma synchronous=normal; pragma foreign_keys=on").fetchall()


async def _connect(
    address: AnyAddress, *, timeout: float | None = None, tls: Callable[[], ssl.SSLContext]
) -> trio.abc.Stream:
    with trio.fail_after(timeout) if timeout is not None else contextlib.nullcontext():
        if isinstance(address, UnixAddress):
            return await trio.open_unix_socket(str(address.path))
        stream = await trio.open_tcp_stream(address.host, address.port)
        if not address.tls:
            return stream
        name = address.server_hostname or address.host
        try:
            secured = trio.SSLStream(stream, tls(), server_hostname=name, https_compatible=True)
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured


class _SocketListener:
    def __init__(self, listener: trio.SocketListener, address: AnyAddress) -> None:
        self._listener = listener
        self._address = address

    @property
    def address(self) -> AnyAddress:
        return self._address

    async def accept(self) -> trio.abc.Stream:
        return await self._listener.accept()

    async def aclose(self) -> None:
        await self._listener.aclose()
        if isinstance(self._address, UnixAddress):
            self._address.path.unlink(missing_ok=True)


async def _listen(address: AnyAddress) -> Listener:
    if isinstance(address, UnixAddress):
        return _listen_unix(address)
    listeners = await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
    # A name may stand for several addresses; one listener serves the first, as the address says.
    for surplus in listeners[1:]:
        await surplus.aclose()
    host, port = listeners[0].socket.getsockname()[:2]
    return _SocketListener(listeners[0], Address(host, port))


def _listen_unix(address: UnixAddress) -> Listener:
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mask is set for the bind alone: the file must never exist with wider rights, not for an instant.
    # It is the whole process's, so nothing else may run meanwhile: trio's own bind would go to a thread.
    before = os.umask(0o177)
    try:
        plain.bind(str(address.path))
        plain.listen(BACKLOG)
    except BaseException:
        plain.close()
        raise
    finally:
        os.umask(before)
    return _SocketListener(trio.SocketListener(trio.socket.from_stdlib_socket(plain)), address)


class _LoopClock:
    def now(self) -> float:
        return current_backend().now()


class _LoopThreads:
    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        return await current_backend().run_in_thread(fn, *args)


@attrs.frozen
class Seams:
    """The world as a value.  The defaults are the real one; replace what a test or a simulation needs."""

    clock: Clock = attrs.field(factory=_LoopClock)
    """Monotonic time of the running loop, virtual where the loop's is."""

    wall_clock: WallClock = attrs.field(factory=SystemWallClock)
    random: random.Random = attrs.field(factory=random.Random)
    """Jitter and sampling; never for secrets."""

    entropy: Callable[[int], bytes] = os.urandom
    """Random bytes for keys, tokens and identifiers."""

    tls: Callable[[], ssl.SSLContext] = _shared_tls_context
    """The one verified TLS context of the process; give another to trust a private authority."""

    connect: Connect = attrs.field(
        default=attrs.Factory(lambda seams: functools.partial(_connect, tls=seams.tls), takes_self=True)
    )
    listen: Listen = _listen
    store: OpenStore = open_store
    threads: Threads = attrs.field(factory=_LoopThreads)
    repeat: Repeat = _repeat
    """Runs what must not stand still with the event loop; used where a watchdog is asked for."""

    exit_process: Callable[[int], None] = os._exit
    """Ends the process without clean-up: the last resort against a wedged task."""


# What a child task may be, for signatures.
Job: TypeAlias = Callable[..., Awaitable[None]]
