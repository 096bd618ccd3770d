"""The socket: carries out what its machine decides, and does its I/O in child tasks.

One child holds one connection: it asks for the token and the session to resume,
dials, upgrades and reads; a second one under it writes.  Both only move bytes
and deliver facts, so the actor's own loop never waits for the network.  The
mailbox is discarded at a restart: it speaks of a connection that is gone.

Runs on trio only.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import trio

from holdfast.actors.auth.messages import (
    AuthenticationFailed,
    GetToken,
    Token,
    TokenChanged,
    TokenExpiring,
    TokenRejected,
)
from holdfast.actors.delivery.messages import GetResume, LinkDown, Resume
from holdfast.actors.reconnect.messages import LinkFailure, SocketStarted
from holdfast.actors.socket.codec import Decoded, FrameTooBig, decode, encode, encode_batch
from holdfast.actors.socket.decisions import (
    AbortConnection,
    Arrived,
    AskFreshToken,
    CloseConnection,
    Decision,
    Due,
    Emit,
    Ended,
    Moment,
    OpenConnection,
    Overflowed,
    Oversized,
    StartTimer,
    StopTimers,
    TellDelivery,
    TellReconnect,
    Upgraded,
    Write,
)
from holdfast.actors.socket.line import Line
from holdfast.actors.socket.machine import SocketMachine
from holdfast.actors.socket.messages import (
    Dial,
    Frame,
    FrameRejected,
    GetSocketState,
    HangUp,
    Inbound,
    SocketState,
    Transmit,
)
from holdfast.actors.socket.settings import SocketSettings
from holdfast.actors.socket.transport import CountingStream, LinkBroken, Transport, open_stream, upgrade
from holdfast.runtime import Actor, Answer, HoldfastError, MailboxFull, MailboxSpec, Message, Ref, on

__all__ = ["SocketActor"]

# WebSocket messages decoded in one go: with full batches some 20 ms, then others get their turn.
READ_TURN = 64

# Saying goodbye while being cancelled; less than the second after which a task counts as wedged.
FAREWELL = 0.5
GOING_AWAY = 1001

CONNECTION = "connection"
FRESH_TOKEN = "fresh token"  # noqa: S105 - the key of a question, no secret


class SocketActor(Actor):
    mailbox: ClassVar[MailboxSpec] = MailboxSpec(on_restart="discard")

    def __init__(self, settings: SocketSettings, *, auth: Ref, delivery: Ref, reconnect: Ref) -> None:
        self._settings = settings
        self._auth = auth
        self._delivery = delivery
        self._reconnect = reconnect
        self._machine = SocketMachine(settings)
        self._line: Line | None = None
        self._stream: CountingStream | None = None
        # Facts that come up while decisions are carried out; a handful, all handled before the handler ends.
        self._facts: deque[Message] = deque()
        self._received = self._sent = self._rejected = self._shed = 0

    def on_start(self) -> None:
        self._reconnect.tell(SocketStarted())

    @on(Dial)
    def dial(self, message: Dial) -> None:
        self._step(message)

    @on(HangUp)
    def hang_up(self, message: HangUp) -> None:
        self._step(message)

    @on(Transmit)
    def transmit(self, message: Transmit) -> None:
        self._step(message)

    @on(TokenChanged)
    def token_changed(self, message: TokenChanged) -> None:
        self._step(message)

    @on(Upgraded)
    def upgraded(self, message: Upgraded) -> None:
        self._step(message)

    @on(Ended)
    def ended(self, message: Ended) -> None:
        self._step(message)

    @on(Due)
    def due(self, message: Due) -> None:
        self._step(message)

    @on(Answer)
    def fresh_token(self, message: Answer) -> None:
        # A refusal is auth's event already; the hub will close when the old token ends.
        if isinstance(message.value, Token):
            self._step(TokenChanged(token=message.value))

    @on(Inbound)
    def inbound(self, message: Inbound) -> None:
        """Decode a turn's worth of what the reader queued."""
        line = self._line
        if line is None or message.generation != self._machine.generation:
            return
        decoded: list[Decoded] = []
        for text in line.take_incoming(READ_TURN):
            try:
                decoded.append(decode(text, self._settings.max_frame))
            except FrameTooBig as error:
                self._arrived(message.generation, decoded)
                self._step(Oversized(generation=message.generation, detail=str(error)))
                return
        self._arrived(message.generation, decoded)
        if line.has_incoming and line.owes_announcement():
            self.context.deliver(message)

    @on(GetSocketState)
    def state(self, _message: GetSocketState) -> SocketState:
        connection, line = self._machine.connection, self._line
        shake = self._machine.handshake
        heart = connection.heart if connection else None
        return SocketState(
            phase=self._machine.phase.value,
            generation=self._machine.generation,
            session=shake.welcome.session if shake and shake.welcome else None,
            latency=heart.latency if heart else None,
            silence=self.context.now() - self._stream.heard_at if self._stream else None,
            queued_frames=line.outgoing_frames if line else 0,
            queued_bytes=line.outgoing_bytes if line else 0,
            received_frames=self._received,
            sent_frames=self._sent,
            rejected_frames=self._rejected,
            shed_frames=self._shed + self._machine.shed,
            stale=self._machine.stale,
        )

    def _arrived(self, generation: int, decoded: list[Decoded]) -> None:
        frames = tuple(frame for each in decoded for frame in each.frames)
        rejected = tuple(why for each in decoded for why in each.rejected)
        self._received += len(frames)
        batch = any(each.batch for each in decoded)
        self._step(Arrived(generation=generation, frames=frames, rejected=rejected, batch=batch))

    # Carrying out.

    def _step(self, fact: Message) -> None:
        self._facts.append(fact)
        while self._facts:
            for decision in self._machine.handle(self._facts.popleft(), self._moment()):
                self._carry_out(decision)

    def _moment(self) -> Moment:
        seams, now = self.context.seams, self.context.now()
        heard_at = self._stream.heard_at if self._stream else now
        return Moment(now=now, wall=seams.wall_clock.now(), draw=seams.random.random(), heard_at=heard_at)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case OpenConnection():
                self._open(decision)
            case Write(frames):
                self._queue(frames)
            case CloseConnection(code, reason):
                if self._line is not None:
                    self._line.close(code, reason)
            case AbortConnection():
                self._drop()
            case TellDelivery(message):
                self._tell_delivery(message)
            case TellReconnect(message):
                self._reconnect.tell(message)
            case AskFreshToken(generation):
                self.context.ask_later(self._auth, TokenExpiring(generation=generation), key=FRESH_TOKEN)
            case Emit(event):
                self._rejected += isinstance(event, FrameRejected)
                self.context.emit(event)
            case StartTimer(timer, delay, generation):
                self.context.after(delay, Due(generation=generation, timer=timer), key=timer)
            case StopTimers(timers):
                for timer in timers:
                    self.context.cancel_timer(timer)

    def _open(self, order: OpenConnection) -> None:
        self._drop()
        self._line = Line(self._settings)
        self.context.spawn(self._hold, order, self._line, key=CONNECTION)

    def _drop(self) -> None:
        """Cancel the connection, and with it whatever send is in flight; the stream is aborted."""
        if self._line is not None:
            self._line.aborted = True
        self.context.cancel_task(CONNECTION)
        self._line = self._stream = None

    def _queue(self, frames: tuple[Frame, ...]) -> None:
        """Hand frames to the writer.  Three ways: queued, shed as volatile, or the connection ends for it."""
        line, shake = self._line, self._machine.handshake
        if line is None or shake is None:
            return
        line.max_frame, line.batch = shake.max_frame, shake.batch
        generation = self._machine.generation
        for frame in frames:
            encoded = encode(frame)
            if len(encoded) > line.max_frame:
                problem = (
                    f"a {frame.type} frame of ours has {len(encoded)} bytes, the hub takes {line.max_frame}"
                )
                self._carry_out(Emit(FrameRejected(generation, problem, len(encoded))))
                if frame.seq is not None:
                    self._facts.append(Oversized(generation=generation, detail=problem))
                    return
            elif line.put(encoded):
                self._sent += 1
            elif frame.seq is None and frame.ack is None and frame.id is None:
                self._shed += 1
            else:
                self._facts.append(Overflowed(generation=generation, what="the writer is behind its bound"))
                return

    def _tell_delivery(self, message: Message) -> None:
        try:
            self._delivery.tell(message)
        except MailboxFull as error:
            # The next LinkUp says as much as a LinkDown; anything else must not be missing from the middle.
            if not isinstance(message, LinkDown):
                self._facts.append(Overflowed(generation=self._machine.generation, what=str(error)))

    # The child tasks.

    async def _hold(self, order: OpenConnection, line: Line) -> None:
        """Hold one connection from its dial to its end, and tell how it ended."""
        try:
            token, resume = await self._credentials(order)
            stream = await open_stream(self.context.seams, self._settings)
            if self._line is line:
                self._stream = stream
            try:
                failure = await self._run(order, line, stream, token, resume)
            finally:
                # In a cancelled task this closes without ceremony, which is what an abort is.
                await trio.aclose_forcefully(stream)
        except LinkBroken as broken:
            failure = broken.failure
        self.context.deliver(Ended(generation=order.generation, failure=failure))

    async def _credentials(self, order: OpenConnection) -> tuple[Token, Resume]:
        limit = self._settings.dial_timeout
        try:
            if order.rejected_token is None:
                token = await self._auth.ask(GetToken(), timeout=limit)
            else:
                token = await self._auth.ask(TokenRejected(generation=order.rejected_token), timeout=limit)
        except AuthenticationFailed as error:
            raise LinkBroken(
                LinkFailure(
                    kind="auth",
                    code=error.status or None,
                    detail=error.error,
                    retryable=error.retryable,
                    retry_after=error.retry_after,
                )
            ) from error
        except HoldfastError as error:
            raise LinkBroken(LinkFailure(kind="auth", detail=str(error))) from error
        try:
            return token, await self._delivery.ask(GetResume(), timeout=limit)
        except HoldfastError as error:
            raise LinkBroken(LinkFailure(kind="local", detail=str(error))) from error

    async def _run(
        self, order: OpenConnection, line: Line, stream: CountingStream, token: Token, resume: Resume
    ) -> LinkFailure:
        failure: LinkFailure | None = None
        async with trio.open_nursery() as nursery:
            transport: Transport | None = None
            try:
                transport = await upgrade(
                    nursery,
                    stream,
                    self._settings.endpoint,
                    token.access_token,
                    max_frame=self._settings.max_frame,
                    wall=self.context.seams.wall_clock.now,
                )
                opened = Upgraded(order.generation, token_generation=token.generation, resume=resume)
                self.context.deliver(opened)
                nursery.start_soon(self._write, transport, line)
                await self._read(transport, line, order.generation)
            except LinkBroken as broken:
                failure = broken.failure
                if line.closing is not None:
                    # Our own close ends the reading before the hub has answered it.
                    await line.written.wait()
            except trio.Cancelled:
                if transport is not None and not line.aborted and not line.sending:
                    await transport.farewell(GOING_AWAY, "the client stops", FAREWELL)
                raise
            nursery.cancel_scope.cancel()
        assert failure is not None, "a connection ends with a failure"
        return failure

    async def _read(self, transport: Transport, line: Line, generation: int) -> None:
        """Move everything that comes in to the line, at the network's pace; ends with `LinkBroken`."""
        while True:
            message = await transport.receive()
            if not line.push(message):
                raise LinkBroken(LinkFailure(kind="overflow", detail="the hub sends faster than we read"))
            if line.owes_announcement():
                self.context.deliver(Inbound(generation=generation))

    async def _write(self, transport: Transport, line: Line) -> None:
        """Send what is queued, several frames to a message where the hub takes that; then close."""
        try:
            while True:
                await line.wait_outgoing()
                frames = line.take_outgoing()
                if not frames:
                    break
                line.sending = True
                await transport.send_text(encode_batch(frames).decode())
                line.sending = False
            assert line.closing is not None, "woken with nothing to send means closing"
            with trio.move_on_after(self._settings.close_timeout):
                await transport.close(*line.closing)
        except LinkBroken:
            # The reader finds out the same way, and tells.
            return
        finally:
            line.written.set()
