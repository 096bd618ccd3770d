"""One WebSocket connection of a client, as a pure machine.

It takes what happened (a frame, a verdict on a token, the passing of time) and
returns what to do, in order.  It knows the protocol's conversation: hello,
connect, welcome, heartbeat, tokens, errors, farewells.  What outlives it is in
`session.py`; whether something is stored, sent or closed is the shell's work
(`realtime.py`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias

import attrs
import msgspec

from holdfast.actors.hub.closing import CloseCode
from holdfast.actors.hub.codec import (
    AuthExpiring,
    AuthOk,
    AuthRefresh,
    BadFrame,
    Beat,
    Bye,
    Connect,
    ErrorBody,
    Frame,
    Goaway,
    Hello,
    ReplayEnd,
    Welcome,
    WindowBody,
    body_of,
    frame,
)
from holdfast.actors.hub.decisions import (
    Abort,
    Apply,
    Bind,
    Close,
    Decision,
    EndSession,
    Released,
    Send,
    Verify,
)
from holdfast.actors.hub.messages import Refusal, VerifiedToken
from holdfast.actors.hub.session import Acked, Heard, Session
from holdfast.actors.hub.settings import HubSettings

__all__ = ["Connection", "Phase"]


class Phase(enum.StrEnum):
    """How far the conversation has got."""

    OPENED = "opened"
    """Hello is sent; `connect` is awaited."""
    CHECKING = "checking"
    """`connect` brought the token along; the identity service is judging it."""
    READY = "ready"
    CLOSING = "closing"
    """Whatever still comes in is ignored: it is not acknowledged, so nothing is lost."""


@attrs.define
class Connection:
    """The conversation on one connection."""

    number: int
    settings: HubSettings
    opened_at: float
    token: VerifiedToken | None = None
    """Whose connection it is; None until a token came with `connect`."""
    token_until: float = float("inf")
    """When the token ends, on the monotonic clock."""
    phase: Phase = Phase.OPENED
    session: Session | None = None
    batch: bool = False
    """Whether the client asked for the capability `batch`."""
    heard_at: float = 0.0
    errors: int = 0
    ignored: int = 0
    """Frames of unknown type, for the statistics."""
    _pending: Connect | None = None
    _refreshing: str | bool | None = False
    """The id of the `auth.refresh` that is being judged; False when none is."""
    _notice_at: float = float("inf")
    _owed: int = 0
    """Messages accepted since the last acknowledgement left."""
    _ack_at: float = float("inf")

    # -- how it begins

    def open(self, now: float, wall_now: float) -> list[Decision]:
        """Greet the client."""
        self.heard_at = now
        settings = self.settings
        hello = Hello(
            conn=f"c-{self.number}",
            hb_ms=_ms(settings.heartbeat),
            auth_timeout_ms=_ms(settings.auth_timeout),
            max_frame=settings.max_frame,
            window=WindowBody(settings.window_frames, settings.window_bytes),
            server_ts=_ms(wall_now),
        )
        return [Send(frame("hello", hello))]

    def trust(self, token: VerifiedToken, until: float, now: float) -> None:
        """Take a token that holds until `until`, on the monotonic clock."""
        self.token, self.token_until = token, until
        self._notice_at = until - min(self.settings.expiring_notice, (until - now) / 5)

    # -- what comes in

    def hear(self, item: Frame | BadFrame, now: float) -> list[Decision]:
        """Judge one frame of the client."""
        self.heard_at = now
        if self.phase is Phase.CLOSING:
            return []
        if isinstance(item, BadFrame):
            return self._complain(item)
        if self.phase is not Phase.READY:
            handler = _BEFORE_WELCOME.get(item.type)
            if handler is None:
                return self._complain(BadFrame("not_connected", "wanted `connect` first", re=item.id))
            return handler(self, item, now)
        decisions = self._acknowledged(item, now)
        handler = _AFTER_WELCOME.get(item.type)
        if handler is None:
            return decisions + self._message(item)
        if item.seq is not None:
            wrong = BadFrame("bad_frame", f"`{item.type}` is a control frame: wanted no `seq`", re=item.id)
            return decisions + self._complain(wrong)
        return decisions + handler(self, item, now)

    def _acknowledged(self, item: Frame, now: float) -> list[Decision]:
        assert self.session is not None
        if item.ack is None:
            return []
        match self.session.acknowledge(item.ack, now):
            case Acked.PROGRESS:
                return [Released()]
            case Acked.NOTHING_NEW:
                return []
            case Acked.IMPOSSIBLE:
                wrong = f"`ack` {item.ack} is beyond {self.session.wire_seq}, the last message sent"
                return self._complain(BadFrame("bad_ack", wrong, re=item.id))

    def _message(self, item: Frame) -> list[Decision]:
        assert self.session is not None
        if item.seq is None:
            return [Apply(item)]
        self.session.confirm_key()
        match self.session.hear(item.seq):
            case Heard.NEXT:
                self._owed += 1
                return [Apply(item)]
            case Heard.DUPLICATE:
                # The acknowledgement was lost: `settle` says it again, once for the whole batch.
                self._owed = max(self._owed, self.settings.acknowledge_every)
                return []
            case Heard.GAP:
                wanted = self.session.recv_seq + 1
                return self.close(CloseCode.SEQ_GAP, f"wanted seq {wanted}, got {item.seq}")

    def _complain(self, problem: BadFrame, *, retryable: bool = False) -> list[Decision]:
        self.errors += 1
        body = ErrorBody(code=problem.code, message=problem.message, retryable=retryable)
        decisions: list[Decision] = [Send(frame("error", body, re=problem.re))]
        if problem.fatal:
            return decisions + self.close(CloseCode.FRAME_TOO_BIG, problem.message)
        if self.errors >= self.settings.errors_max:
            return decisions + self.close(CloseCode.TOO_MANY_ERRORS, f"{self.errors} bad frames")
        return decisions

    # -- control frames

    def _connect(self, item: Frame, _now: float) -> list[Decision]:
        body = body_of(item, Connect)
        if isinstance(body, BadFrame):
            return self._complain(body)
        self.batch = "batch" in body.caps
        if self.token is not None:
            return [Bind(body)]
        if body.token is None:
            return self.close(CloseCode.AUTH_FAILED, "wanted a token in the upgrade request or in `connect`")
        self.phase, self._pending = Phase.CHECKING, body
        return [Verify(body.token)]

    def _connect_again(self, item: Frame, _now: float) -> list[Decision]:
        return self._complain(
            BadFrame("already_connected", "wanted one `connect` per connection", re=item.id)
        )

    def _ping(self, item: Frame, _now: float) -> list[Decision]:
        body = body_of(item, Beat)
        return self._complain(body) if isinstance(body, BadFrame) else [Send(frame("pong", body, re=item.id))]

    def _acknowledgement(self, _item: Frame, _now: float) -> list[Decision]:
        assert self.session is not None
        self.session.confirm_key()
        return []

    def _nothing(self, _item: Frame, _now: float) -> list[Decision]:
        return []

    def _refresh(self, item: Frame, _now: float) -> list[Decision]:
        body = body_of(item, AuthRefresh)
        if isinstance(body, BadFrame):
            return self._complain(body)
        if self._refreshing is not False:
            busy = BadFrame("refresh_in_flight", "wanted one `auth.refresh` at a time", re=item.id)
            return self._complain(busy, retryable=True)
        self._refreshing = item.id
        return [Verify(body.token)]

    def _bye(self, item: Frame, _now: float) -> list[Decision]:
        body = body_of(item, Bye)
        reason = "" if isinstance(body, BadFrame) else body.reason
        return [EndSession(reason), *self.close(CloseCode.NORMAL, "bye")]

    # -- answers to what it had asked for

    def judged(self, verdict: VerifiedToken | Refusal, until: float, now: float) -> list[Decision]:
        """Take the identity service's word on a token; `until` is its end on the monotonic clock."""
        if self.phase is Phase.CLOSING:
            return []
        if self.phase is Phase.CHECKING:
            return self._judged_connect(verdict, until, now)
        asked, self._refreshing = self._refreshing, False
        re = asked if isinstance(asked, str) else None
        if isinstance(verdict, Refusal):
            body = ErrorBody(verdict.error, verdict.description, retryable=verdict.status >= 429)
            return [Send(frame("error", body, re=re))]
        if self.token is not None and verdict.subject != self.token.subject:
            return self.close(CloseCode.FORBIDDEN, "the newer token is somebody else's")
        self.trust(verdict, until, now)
        return [Send(frame("auth.ok", AuthOk(_ms(verdict.expires_unix)), re=re))]

    def _judged_connect(self, verdict: VerifiedToken | Refusal, until: float, now: float) -> list[Decision]:
        connect, self._pending = self._pending, None
        assert connect is not None
        if isinstance(verdict, Refusal):
            body = ErrorBody(verdict.error, verdict.description, retryable=verdict.status >= 429)
            code = _CLOSED_FOR.get(verdict.status, CloseCode.TRY_AGAIN_LATER)
            return [Send(frame("error", body)), *self.close(code, verdict.error)]
        self.phase = Phase.OPENED
        self.trust(verdict, until, now)
        return [Bind(connect)]

    def bound(self, session: Session, welcome: Welcome) -> list[Decision]:
        """Take the session that the shell found; the shell replays and then calls `replayed`."""
        self.session, self.phase = session, Phase.READY
        return [Send(frame("welcome", welcome))]

    def replayed(self) -> list[Decision]:
        """Close the replay: everything up to here was sent again."""
        assert self.session is not None
        return [Send(frame("replay.end", ReplayEnd(self.session.wire_seq)))]

    # -- what goes out

    def stamp(self, given: Frame, wall_now: float) -> Frame:
        """Return the frame with what travels along: the acknowledgement and the time."""
        if self.session is None or self.phase is Phase.OPENED:
            return given
        self._owed, self._ack_at = 0, float("inf")
        return msgspec.structs.replace(given, ack=self.session.recv_seq, ts=_ms(wall_now))

    def settle(self, now: float) -> list[Decision]:
        """After a batch is committed: acknowledge it now, or soon."""
        if self.phase is not Phase.READY or self._owed == 0:
            return []
        if self._owed >= self.settings.acknowledge_every or now >= self._ack_at:
            return [Send(frame("ack"))]
        self._ack_at = min(self._ack_at, now + self.settings.acknowledge_within)
        return []

    # -- time

    def deadline(self) -> float:
        """When `tick` is next worth calling."""
        moments = [self.heard_at + self._patience, self.token_until, self._notice_at, self._ack_at]
        if self.phase in {Phase.OPENED, Phase.CHECKING}:
            moments.append(self.opened_at + self.settings.auth_timeout)
        stalled = self._stalled_at()
        return min(moments if stalled is None else [*moments, stalled])

    def tick(self, now: float, bytes_at: float) -> list[Decision]:
        """Do what is due.  `bytes_at` is when anything last came in, be it half a frame."""
        self.heard_at = max(self.heard_at, bytes_at)
        if self.phase is Phase.CLOSING:
            return []
        if now >= self.heard_at + self._patience:
            self.phase = Phase.CLOSING
            return [Abort(f"nothing heard for {now - self.heard_at:.1f} s")]
        if self.phase is not Phase.READY and now >= self.opened_at + self.settings.auth_timeout:
            return self.close(CloseCode.AUTH_TIMEOUT, "no `connect` in time")
        if now >= self.token_until:
            return self.close(CloseCode.TOKEN_EXPIRED, "token expired")
        stalled = self._stalled_at()
        if stalled is not None and now >= stalled:
            return self.close(CloseCode.SLOW_CONSUMER, "nothing acknowledged in time")
        decisions = self.settle(now)
        if now >= self._notice_at:
            self._notice_at = float("inf")
            decisions.append(Send(frame("auth.expiring", AuthExpiring(_ms(self.token_until - now)))))
        return decisions

    @property
    def _patience(self) -> float:
        return self.settings.heartbeat + self.settings.heartbeat_slack

    def _stalled_at(self) -> float | None:
        if self.session is None or self.phase is not Phase.READY:
            return None
        return self.session.stalled_at(self.settings.slow_consumer)

    # -- how it ends

    def close(self, code: CloseCode, reason: str) -> list[Decision]:
        """Say farewell with a code that carries the verdict; nothing after it is heard."""
        if self.phase is Phase.CLOSING:
            return []
        self.phase = Phase.CLOSING
        return [Close(code, reason)]

    def go_away(self, reason: str) -> list[Decision]:
        """The hub stops: ask the client to come back, spread over a while."""
        low, high = self.settings.drain_reconnect
        body = Goaway(reason, reconnect_in_ms=(_ms(low), _ms(high)), deadline_ms=0)
        farewell = self.close(CloseCode.DRAINING, reason)
        return [Send(frame("goaway", body)), *farewell] if farewell else []


# What a refused token of `connect` is closed with, by the status that it would have got at the upgrade.
_CLOSED_FOR = {401: CloseCode.TOKEN_EXPIRED, 403: CloseCode.FORBIDDEN}

_Handler: TypeAlias = Callable[[Connection, Frame, float], list[Decision]]

# Which control frames are heard when; everything else is a message of the application.
_BEFORE_WELCOME: dict[str, _Handler] = {
    "connect": Connection._connect,
    "ping": Connection._ping,
    "pong": Connection._nothing,
}
_AFTER_WELCOME: dict[str, _Handler] = {
    "connect": Connection._connect_again,
    "ping": Connection._ping,
    "pong": Connection._nothing,
    "ack": Connection._acknowledgement,
    "auth.refresh": Connection._refresh,
    "bye": Connection._bye,
}


def _ms(seconds: float) -> int:
    """Times on the wire are whole milliseconds."""
    return round(seconds * 1000)
