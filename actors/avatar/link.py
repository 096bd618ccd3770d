"""The LITE WebSocket of an avatar session: our packets out as JSON text, the service's news in as facts.

Small on purpose: there is no resume, so a connection that breaks is the end of
the session (`machine` decides that).  The reader hands over only what the
machine knows, a few at a time, so that a flooding peer is slowed down by TCP
instead of filling our memory.  The writer has a time limit for each packet, and
probes the peer with a ping after each keep-alive, because a half-open
connection answers nothing and refuses nothing.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast
from urllib.parse import urlsplit

import h11
import msgspec
import trio
import trio_websocket
import wsproto.utilities

from holdfast.actors.avatar.facts import Linked, Reported, SpeechFinished, Written
from holdfast.actors.avatar.messages import foreign
from holdfast.actors.avatar.speech import (
    Interrupt,
    KeepAlive,
    Packet,
    Speak,
    SpeakEnd,
    StartListening,
    StopListening,
)
from holdfast.runtime.address import Address
from holdfast.runtime.seams import Connect

__all__ = ["LinkFact", "converse", "encode"]

LinkFact: TypeAlias = Linked | Reported | SpeechFinished | Written

# The service's news are a few hundred bytes; a larger message closes the connection with 1009.
MESSAGE_MAX_BYTES = 65_536

_TYPES: dict[type[Packet], str] = {
    Speak: "agent.speak",
    SpeakEnd: "agent.speak_end",
    Interrupt: "agent.interrupt",
    StartListening: "agent.start_listening",
    StopListening: "agent.stop_listening",
    KeepAlive: "session.keep_alive",
}

# What a network or a peer can do to a connection; everything else is our own bug and crashes the actor.
_BROKEN = (
    OSError,
    ssl.SSLError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    trio_websocket.ConnectionClosed,
    trio_websocket.HandshakeError,
    wsproto.utilities.ProtocolError,
    # wsproto lets these through when the peer speaks no HTTP, or puts bytes beyond ASCII into its headers.
    h11.ProtocolError,
    UnicodeDecodeError,
)


class _News(msgspec.Struct, frozen=True):
    type: str
    state: str = ""
    end_reason: str = ""


def encode(packet: Packet) -> str:
    """Return the packet as the service reads it."""
    fields = {"type": _TYPES[type(packet)], "event_id": packet.event_id}
    if isinstance(packet, Speak):
        fields["audio"] = base64.b64encode(packet.audio).decode("ascii")
    return msgspec.json.encode(fields).decode()


def decode(message: str | bytes, epoch: int) -> LinkFact | None:
    """Return what a message of the service means to us; None for what we do not know (a no-op)."""
    try:
        news = msgspec.json.decode(message, type=_News)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    match news.type:
        case "session.state_updated":
            return Reported(epoch, foreign(news.state))
        case "session.stopped":
            return Reported(epoch, "closed", f"the service stopped it ({foreign(news.end_reason)})")
        case "agent.speak_ended" | "agent.speak_interrupted":
            return SpeechFinished(epoch)
        case _:
            return None


async def converse(
    connect: Connect,
    url: str,
    *,
    epoch: int,
    timeout: float,
    packets: trio.MemoryReceiveChannel[Packet],
    hear: Callable[[LinkFact], Awaitable[None]],
) -> str:
    """Hold the conversation until the connection breaks; return why it did.

    A cancellation goes through and leaves no socket behind.
    """
    why = ""
    try:
        await _converse(connect, url, epoch=epoch, timeout=timeout, packets=packets, hear=hear)
    except* _BROKEN as group:
        why = _describe(group)
    return why


async def _converse(
    connect: Connect,
    url: str,
    *,
    epoch: int,
    timeout: float,
    packets: trio.MemoryReceiveChannel[Packet],
    hear: Callable[[LinkFact], Awaitable[None]],
) -> None:
    address, host, resource = _target(url)
    deadline = trio.current_time() + timeout  # one limit for the connection and the handshake
    with trio.fail_at(deadline):
        stream = await connect(address, timeout=timeout)
    try:
        async with trio.open_nursery() as nursery:
            # It takes any stream; its annotation names the two that it was written for.
            narrowed = cast("trio.SocketStream", stream)
            with trio.fail_at(deadline):
                connection = await trio_websocket.wrap_client_stream(
                    nursery, narrowed, host, resource, max_message_size=MESSAGE_MAX_BYTES
                )
            await hear(Linked(epoch))
            nursery.start_soon(_write, connection, packets, epoch, timeout, hear)
            await _read(connection, epoch, hear)
    finally:
        # Not the polite close: it waits up to a minute for a peer that may be gone, and the
        # session is stopped over HTTP anyway.
        await trio.aclose_forcefully(stream)


def _target(url: str) -> tuple[Address, str, str]:
    """Return where to connect, the Host header, and what to ask for."""
    parts = urlsplit(url)
    tls = parts.scheme == "wss"
    host = parts.hostname or ""
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (
        Address(host, parts.port or (443 if tls else 80), tls=tls),
        parts.netloc.rpartition("@")[2],
        resource,
    )


async def _read(
    connection: trio_websocket.WebSocketConnection, epoch: int, hear: Callable[[LinkFact], Awaitable[None]]
) -> None:
    while True:
        fact = decode(await connection.get_message(), epoch)
        if fact is not None:
            await hear(fact)


async def _write(
    connection: trio_websocket.WebSocketConnection,
    packets: trio.MemoryReceiveChannel[Packet],
    epoch: int,
    timeout: float,
    hear: Callable[[LinkFact], Awaitable[None]],
) -> None:
    async for packet in packets:
        with trio.fail_after(timeout):
            await connection.send_message(encode(packet))
            if isinstance(packet, KeepAlive):
                await connection.ping()
        await hear(Written(epoch))


def _first(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error


def _describe(group: BaseException) -> str:
    error = _first(group)
    if isinstance(error, trio.TooSlowError):
        return "the service's WebSocket did not answer in time"
    if isinstance(error, trio_websocket.ConnectionClosed) and error.reason is not None:
        return foreign(f"closed with {error.reason.code} {error.reason.reason or error.reason.name}")
    if isinstance(error, trio_websocket.ConnectionRejected):
        return f"the service's WebSocket refused with HTTP {error.status_code}"
    return foreign(f"{type(error).__name__}: {error}")
