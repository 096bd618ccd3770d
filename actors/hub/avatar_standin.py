"""The avatar stand-in: behaves as LiveAvatar's LITE mode documents, down to its silences.

It drops without a word what comes before `connected`, drops packets of more than
1 MB, ends idle sessions, and times its speech events by the samples it got.  Its
sessions live above this actor (`StandinSessions`), so its restart breaks
WebSockets and ends no session.  The HTTP routes are mounted by whoever serves
the hub's HTTP; the WebSocket is this actor's own.
"""

from __future__ import annotations

import base64
import errno
import ssl
from collections import deque
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec
import trio
import trio_websocket
import wsproto.utilities
from starlette.routing import BaseRoute

from holdfast.actors.hub.avatar_api import avatar_routes
from holdfast.actors.hub.avatar_sessions import (
    SANDBOX_AVATAR,
    AvatarStandinSettings,
    Packet,
    StandinSession,
    StandinSessions,
)
from holdfast.runtime import Actor, Address, Listener, MailboxSpec, Secret

__all__ = ["SANDBOX_AVATAR", "AvatarStandin", "AvatarStandinSettings", "StandinSession", "StandinSessions"]

# From a TCP connection to its whole upgrade request, and for one write to a client that may be stuck.
PATIENCE = 5.0

# A packet that is too large is read and dropped up to this, so that the session survives; beyond it the
# connection is closed with 1009.
READ_MAX_BYTES = 4 << 20

# Answers that wait for a client that does not read; more are dropped, as it would not read them either.
ANSWERS_MAX = 64

# The process is out of descriptors: wait for some to be closed, as trio.serve_listeners does.
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
ACCEPT_PAUSE = 0.1

# What a network or a client can do to a connection.
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


class AvatarStandin(Actor):
    """Serves the WebSockets of the stand-in's sessions."""

    mailbox: ClassVar[MailboxSpec] = MailboxSpec(on_restart="discard")

    def __init__(self, sessions: StandinSessions) -> None:
        self._sessions = sessions
        self._connections = 0

    def routes(self) -> list[BaseRoute]:
        """Return the HTTP routes of the sessions; `avatar_routes(sessions)` needs no actor."""
        return avatar_routes(self._sessions)

    async def on_start(self) -> None:
        """Open the port, the same one after a restart; `sessions.berth` knows it from now on."""
        berth = self._sessions.berth
        listener = await self.context.seams.listen(Address(berth.host, berth.port))
        assert isinstance(listener.address, Address)
        berth.port = listener.address.port
        self._sessions.listening = True
        self.context.spawn(self._accept, listener)

    async def _accept(self, listener: Listener) -> None:
        try:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _OUT_OF_RESOURCES:
                        raise
                    await trio.sleep(ACCEPT_PAUSE)
                else:
                    self._welcome(stream)
        finally:
            self._sessions.listening = False
            with trio.CancelScope(shield=True):
                await listener.aclose()

    def _welcome(self, stream: trio.abc.Stream) -> None:
        if self._connections >= self._sessions.settings.connections_max:
            self.context.spawn(trio.aclose_forcefully, stream)
            return
        self._connections += 1
        self.context.spawn(self._serve, stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(PATIENCE):
                    conversation = await self._upgrade(nursery, stream)
                if conversation is not None:
                    await conversation.hold()
                nursery.cancel_scope.cancel()
        except* _BROKEN:
            pass  # the session lives on until it is idle for too long; there is no resume
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)

    async def _upgrade(self, nursery: trio.Nursery, stream: trio.abc.Stream) -> _Conversation | None:
        request = await trio_websocket.wrap_server_stream(nursery, stream, max_message_size=READ_MAX_BYTES)
        session = self._admit(request.path)
        if isinstance(session, int):
            await request.reject(session)
            return None
        return _Conversation(self._sessions, session, await request.accept())

    def _admit(self, target: str) -> StandinSession | int:
        """Return the session that a request is for, or the HTTP status that refuses it."""
        try:
            parts = urlsplit(target)
        except ValueError:
            # Brackets that hold no IPv6 address.
            return 404
        path, _, session_id = parts.path.rpartition("/")
        session = self._sessions.get(session_id) if path == self._sessions.berth.path else None
        if session is None or not session.active:
            return 404
        if session.link_key != Secret(parse_qs(parts.query).get("key", [""])[0]):
            return 403
        return 409 if session.kick is not None else session


class _Message(msgspec.Struct, frozen=True):
    type: str
    event_id: str = ""
    audio: str = ""


class _Conversation:
    """One open WebSocket of a session: a reader, and one writer that also keeps the session's times."""

    def __init__(
        self,
        sessions: StandinSessions,
        session: StandinSession,
        connection: trio_websocket.WebSocketConnection,
    ) -> None:
        self._sessions = sessions
        self._session = session
        self._connection = connection
        self._connected = False
        self._connected_at = sessions.now() + sessions.settings.connect_delay
        self._answers: deque[Mapping[str, object]] = deque(maxlen=ANSWERS_MAX)
        self._changed = trio.Event()

    async def hold(self) -> None:
        """Talk until the session ends or the connection breaks."""
        self._session.kick = self._kick
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                await self._tell()
                nursery.cancel_scope.cancel()
        finally:
            self._session.kick = None

    def _kick(self) -> None:
        self._changed.set()

    # -- what the client says

    async def _read(self) -> None:
        while True:
            self._hear(await self._connection.get_message())
            if self._session.oversize and self._sessions.settings.oversize_closes:
                with trio.move_on_after(PATIENCE):
                    await self._connection.aclose(1009, "packet too large")
            self._kick()

    def _hear(self, raw: str | bytes) -> None:
        session = self._session
        if not self._connected:
            session.early += 1
            return
        if len(raw) > self._sessions.settings.max_packet:
            session.oversize += 1
            return
        session.last_activity = self._sessions.now()
        try:
            message = msgspec.json.decode(raw, type=_Message)
            audio = base64.b64decode(message.audio, validate=True)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            # ValueError: broken UTF-8, broken base64, and base64 with letters that are not ASCII.
            self._complain(str(error), "")
            return
        if self._act(message, audio):
            session.hear(Packet(message.type, message.event_id, len(audio)), audio)
        else:
            self._complain(f"unknown or empty message {message.type[:64]!r}", message.event_id)

    def _act(self, message: _Message, audio: bytes) -> bool:
        """Do what the message says; false when that is nothing known."""
        playback, now = self._session.playback, self._sessions.now()
        match message.type:
            case "agent.speak" if audio:
                playback.speak(message.event_id, len(audio), now)
            case "agent.speak_end":
                playback.end(message.event_id, now)
            case "agent.interrupt":
                playback.interrupt(message.event_id, now)
            case "agent.start_listening" | "agent.stop_listening" | "session.keep_alive":
                pass  # nothing shows; the idle window began anew
            case _:
                return False
        return True

    def _complain(self, what: str, event_id: str) -> None:
        error = {"type": "invalid_request_error", "message": what[:200], "event_id": event_id}
        self._answers.append({"type": "error", "error": error})

    # -- what the service says

    async def _tell(self) -> None:
        await self._state("connecting")
        while True:
            self._changed = trio.Event()
            self._sessions.expire()
            now = self._sessions.now()
            if self._session.ended_at is not None:
                await self._farewell()
                return
            if not self._connected and self._connected_at <= now:
                self._connected = True  # before it is said: the answer may be here before the send returns
                await self._state("connected")
            for told in self._session.playback.due(now):
                task = {"id": f"task-{told.event_id}"}
                await self._send({"type": told.type, "event_id": told.event_id, "task": task})
            while self._answers:
                await self._send(self._answers.popleft())
            with trio.move_on_after(max(0.0, self._next_at() - self._sessions.now())):
                await self._changed.wait()

    def _next_at(self) -> float:
        ends_at, _reason = self._session.ends_at(self._sessions.settings.idle_timeout)
        opens_at = float("inf") if self._connected else self._connected_at
        return min(ends_at, opens_at, self._session.playback.next_at)

    async def _farewell(self) -> None:
        await self._state("closing")
        await self._send({"type": "session.stopped", "end_reason": self._session.end_reason})
        await self._state("closed")
        with trio.move_on_after(PATIENCE):
            await self._connection.aclose(1000, self._session.end_reason)

    async def _state(self, state: str) -> None:
        await self._send({"type": "session.state_updated", "state": state})

    async def _send(self, message: Mapping[str, object]) -> None:
        with trio.fail_after(PATIENCE):
            await self._connection.send_message(msgspec.json.encode(message).decode())
