"""What clients' messages do: sessions are found or made, messages logged, copies laid out for others.

It joins the machines of the sessions to the store.  Everything happens inside a
`turn`, which is one transaction; what is to leave over the wire is collected in
`orders` and leaves after it.  It knows connections by number only.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

import attrs

from holdfast.actors.hub.closing import CloseCode
from holdfast.actors.hub.codec import (
    BadFrame,
    Connect,
    ErrorBody,
    Frame,
    Subscription,
    Welcome,
    body_of,
    encode,
    frame,
    reliable,
)
from holdfast.actors.hub.messages import SessionEnded, SessionStarted, VerifiedToken
from holdfast.actors.hub.roster import Roster
from holdfast.actors.hub.session import Limits, Session, Why, hash_key, judge_resume
from holdfast.actors.hub.settings import HubSettings
from holdfast.actors.hub.store import Effect, Outgoing, SessionStore
from holdfast.runtime import Event, Secret

__all__ = ["Farewell", "Order", "Switchboard", "ToConnection"]

EVENT = "msg.event"
# What `seq`, `ack` and `ts` can add to a frame that is measured without them.
STAMP_MAX = 96


@attrs.frozen
class ToConnection:
    """Send this frame; a volatile one may be left out when the connection is crowded."""

    number: int
    frame: Frame
    volatile: bool = False


@attrs.frozen
class Farewell:
    """Close this connection after what was ordered before."""

    number: int
    code: CloseCode
    reason: str


Order: TypeAlias = ToConnection | Farewell | Event
Evict: TypeAlias = Callable[[int, CloseCode, str], None]


class Switchboard:
    """The sessions of the hub and the messages between them."""

    def __init__(
        self, settings: HubSettings, store: SessionStore, entropy: Callable[[int], bytes], *, evict: Evict
    ) -> None:
        """`evict` takes its session away from a connection at once: nothing more of it is acknowledged."""
        self._settings = settings
        self._store = store
        self._entropy = entropy
        self._evict = evict
        self._limits = Limits(
            settings.window_frames, settings.window_bytes, settings.backlog_frames, settings.backlog_bytes
        )
        self._touched: dict[str, Session] = {}
        self.roster = Roster()
        self.orders: list[Order] = []
        """What leaves when the turn is committed, in order."""
        self.ignored = 0
        """Messages of types that mean nothing to the hub; they are logged and acknowledged."""

    def load(self, wall_now: float) -> None:
        """Take up what the store remembers; nobody is connected yet."""
        with self.turn():
            self._store.detach_all(wall_now)
        for record, sizes in self._store.sessions():
            self.roster.add(Session.from_record(record, self._limits, sizes))
        for session, channel in self._store.subscriptions():
            self.roster.subscribe(session, channel)

    @contextmanager
    def turn(self) -> Generator[None]:
        """Commit everything that is decided inside, or nothing of it."""
        with self._store.transaction():
            yield
            for session in self._touched.values():
                if session in self.roster:
                    self._store.save(session.record())
        self._touched.clear()

    def touch(self, session: Session) -> None:
        """Have the session's row written at the end of the turn."""
        self._touched[session.session] = session

    # -- sessions

    def connect(
        self, number: int, token: VerifiedToken, wanted: Connect, now: float, wall_now: float
    ) -> tuple[Session, Welcome] | None:
        """Find or make the session that a client asks for; None when the hub can hold no more."""
        session, why = self._find(token.subject, wanted, wall_now)
        key = Secret(base64.urlsafe_b64encode(self._entropy(24)).decode())
        resumed = session is not None
        if session is None:
            session = self._make(token.subject, wanted.client_id, hash_key(key))
            if session is None:
                return None
        fenced = session.attach(number, hash_key(key), claim=wanted.resume if resumed else None, now=now)
        if fenced is not None:
            self._evict(fenced, CloseCode.SESSION_TAKEN_OVER, "the session went on elsewhere")
        self._store.acknowledge(session.session, session.acked_seq)
        self.touch(session)
        self.orders.append(
            SessionStarted(session.session, session.client_id, session.generation, resumed=resumed, why=why)
        )
        return session, Welcome(
            session=session.session,
            key=key,
            epoch=self._store.epoch,
            resumed=resumed,
            why=why,
            recv_seq=session.recv_seq,
            session_ttl_ms=round(self._settings.session_ttl * 1000),
            token_exp_ms=round(token.expires_unix * 1000),
            hb_ms=round(self._settings.heartbeat * 1000),
            caps=("batch",) if "batch" in wanted.caps else (),
        )

    def _find(self, subject: str, wanted: Connect, wall_now: float) -> tuple[Session | None, Why | None]:
        claim = wanted.resume
        if claim is None:
            return None, None
        found = self.roster.get(claim.session)
        why = judge_resume(
            found,
            claim,
            epoch=self._store.epoch,
            subject=subject,
            client_id=wanted.client_id,
            wall_now=wall_now,
            ttl=self._settings.session_ttl,
        )
        if why is None:
            return found, None
        if found is not None and why in {Why.GAP, Why.EXPIRED}:
            # The client has shown its key, so the session is its own, and of no use to it any more.
            self.end(found, why, CloseCode.SESSION_TAKEN_OVER)
        return None, why

    def _make(self, subject: str, client_id: str, key_hash: bytes) -> Session | None:
        surplus = self.roster.surplus(
            subject,
            client_id,
            per_client=self._settings.sessions_per_client,
            in_all=self._settings.sessions_max,
        )
        for session in surplus:
            self.end(session, "too many sessions", CloseCode.NORMAL)
        if len(self.roster) >= self._settings.sessions_max:
            return None
        session = Session(f"s-{self._entropy(12).hex()}", subject, client_id, key_hash, limits=self._limits)
        self.roster.add(session)
        return session

    def end(self, session: Session, reason: str, code: CloseCode) -> None:
        """Forget a session for good; its connection, if it has one, is told with `code`."""
        if session.connection is not None:
            self._evict(session.connection, code, reason)
        self.roster.remove(session)
        self._store.delete(session.session)
        self.orders.append(
            SessionEnded(session.session, session.client_id, reason=reason, undelivered=session.backlog)
        )

    def detach(self, session: Session, number: int, wall_now: float) -> None:
        """Let go of a connection that ended."""
        if session in self.roster and session.detach(number, wall_now):
            self.touch(session)

    def sweep(self, wall_now: float) -> None:
        """Forget what is too old or too much."""
        settings = self._settings
        for session in self.roster.expired(wall_now - settings.session_ttl):
            self.end(session, Why.EXPIRED, CloseCode.NORMAL)
        self._store.prune(
            seen_before=wall_now - settings.dedupe_ttl,
            seen_max=settings.dedupe_max,
            effects_max=settings.effects_max,
        )

    # -- messages of clients

    def apply(self, session: Session, given: Frame, wall_now: float) -> None:
        """Log a message and carry its effect out; one that is known by its id has had its effect."""
        fresh = True
        if given.seq is not None:
            self.touch(session)
            effect = Effect(
                session=session.session,
                client_id=session.client_id,
                seq=given.seq,
                # Without an id of its own a message is known by its place, for as long as the session lives.
                id=given.id or f"{session.session}:{given.seq}",
                type=given.type,
                channel=given.ch,
                payload=bytes(given.payload),
            )
            fresh = self._store.receive(session.subject, effect, wall_now)
        match given.type:
            case "msg.subscribe" | "msg.unsubscribe":
                # Idempotent, and about this session: carried out even if an earlier session had it.
                self._subscription(session, given)
            case "msg.echo" if fresh:
                self._post(session, session, given, re=given.id, wall_now=wall_now)
            case "msg.publish" if fresh:
                for hearer in self.roster.hearers(given.ch) if given.ch is not None else ():
                    self._post(session, hearer, given, re=None, wall_now=wall_now)
            case "msg.echo" | "msg.publish":
                pass
            case _:
                self.ignored += 1

    def _subscription(self, session: Session, given: Frame) -> None:
        body = body_of(given, Subscription)
        if isinstance(body, BadFrame):
            self._complain(session, body.code, body.message, given)
            return
        if given.type == "msg.unsubscribe":
            self.roster.unsubscribe(session.session, body.channel)
            self._store.unsubscribe(session.session, body.channel)
            return
        if self.roster.channels(session.session) >= self._settings.channels_max:
            wanted = f"wanted at most {self._settings.channels_max} channels"
            self._complain(session, "too_many_channels", wanted, given)
            return
        self.roster.subscribe(session.session, body.channel)
        self._store.subscribe(session.session, body.channel)

    def _post(
        self, sender: Session, receiver: Session, given: Frame, *, re: str | None, wall_now: float
    ) -> None:
        """Lay a copy of a message out for a session; a volatile one only if it is connected."""
        name = given.id if re is None and given.id is not None else self._new_id(wall_now)
        event = Frame(EVENT, id=name, re=re, ch=given.ch, payload=given.payload)
        size = len(encode(event)) + STAMP_MAX
        if size > self._settings.max_frame:
            wanted = (
                f"wanted a payload that fits into an event of {self._settings.max_frame} bytes, got {size}"
            )
            self._complain(sender, "payload_too_big", wanted, given)
            return
        if given.seq is None:
            if receiver.connection is not None:
                self.orders.append(ToConnection(receiver.connection, event, volatile=True))
            return
        seq = receiver.append(size)
        if seq is None:
            self.end(receiver, "backlog overflow", CloseCode.BACKLOG_OVERFLOW)
            return
        self._store.append(
            receiver.session, Outgoing(seq, name, EVENT, re, given.ch, bytes(given.payload)), size
        )
        self.touch(receiver)

    def _new_id(self, wall_now: float) -> str:
        """Return a name that sorts by time, as UUIDv7 does."""
        return f"{round(wall_now * 1000):012x}{self._entropy(10).hex()}"

    def _complain(self, session: Session, code: str, message: str, about: Frame) -> None:
        if session.connection is not None:
            body = ErrorBody(code, message)
            self.orders.append(ToConnection(session.connection, frame("error", body, re=about.id)))

    # -- messages to clients

    def released(self, session: Session) -> None:
        """Forget what the client has."""
        self._store.acknowledge(session.session, session.acked_seq)
        self.touch(session)

    def pump(self, session: Session, now: float) -> None:
        """Put onto the wire what the window lets out."""
        count = session.due() if session.connection is not None else 0
        if count == 0:
            return
        messages = self._store.outgoing(session.session, session.wire_seq, count)
        assert len(messages) == count, "the store and the session count the same messages"
        session.sent(count, now)
        assert session.connection is not None
        for message in messages:
            self.orders.append(ToConnection(session.connection, _framed(message)))

    def touched(self) -> list[Session]:
        """Return the sessions that changed in this turn and are still there."""
        return [session for session in self._touched.values() if session in self.roster]


def _framed(message: Outgoing) -> Frame:
    return reliable(
        message.type, message.seq, id=message.id, re=message.re, ch=message.channel, payload=message.payload
    )
