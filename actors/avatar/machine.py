"""What the avatar actor decides: when to open, when to send, and what ends a session.

Pure: facts in, orders out.  Three rules are kept here and nowhere else:

 - nothing is sent before the service said `connected`; it would be dropped in silence;
 - a session is recorded before it is started, and its end is pursued until it is confirmed (`releases`);
 - a fact of an earlier epoch is dropped and counted.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import assert_never
from urllib.parse import urlsplit

import attrs

from holdfast.actors.avatar import facts
from holdfast.actors.avatar.facts import Announce, Answer, CancelTimer, Order, Refuse, SetTimer, TimerKind
from holdfast.actors.avatar.messages import (
    AvatarDisabled,
    AvatarError,
    AvatarSession,
    AvatarSessionExists,
    AvatarSessionLost,
    AvatarState,
    Cleanup,
    InitializeSession,
    NoAvatarSession,
    SessionCreated,
    SessionError,
    SpeechQueueFull,
    TooManyUnreleased,
    VoiceCoordination,
    wanted_refused,
)
from holdfast.actors.avatar.releases import WAITERS_MAX, Releases
from holdfast.actors.avatar.settings import AvatarSettings
from holdfast.actors.avatar.speech import SpeechQueue, Voice, speech_refused

__all__ = ["AvatarMachine", "Phase"]


class Phase(enum.Enum):
    """Where the session stands."""

    IDLE = "idle"
    OPENING = "opening"
    WAITING_CONNECTED = "waiting_connected"
    LISTENING = "listening"
    SPEAKING = "speaking"
    CLOSING = "closing"
    CLOSED = "closed"


# The seed's `status`, from our phase (A6.0).
_STATUS = {
    Phase.IDLE: "none",
    Phase.OPENING: "connecting",
    Phase.WAITING_CONNECTED: "connecting",
    Phase.LISTENING: "active",
    Phase.SPEAKING: "active",
    Phase.CLOSING: "closing",
    Phase.CLOSED: "closed",
}

# The gate: packets leave in these phases and in no other.
_CONNECTED = frozenset({Phase.LISTENING, Phase.SPEAKING})

# In these the service owes us a state; its time is limited.
_WAITS = frozenset({Phase.WAITING_CONNECTED, Phase.CLOSING})

# Speech is accepted in these; in the first of them it waits for `connected`.
_ACCEPTS_SPEECH = frozenset({Phase.WAITING_CONNECTED, Phase.LISTENING, Phase.SPEAKING})


@attrs.define
class _Session:
    """The session that is open or being opened."""

    wanted: InitializeSession
    waiters: list[facts.Waiter]
    voice: Voice
    session_id: str = ""
    url: str = ""
    minting: bool = False
    announced: bool = False
    voice_sync: bool = False


class AvatarMachine:
    """The session, and the sessions that wait for their end.

    `handle` takes a fact and returns the orders that follow from it, in the order
    in which they are to be carried out.
    """

    def __init__(self, settings: AvatarSettings) -> None:
        self._settings = settings
        self._phase = Phase.IDLE
        self._epoch = 0
        self._session: _Session | None = None
        self._releases = Releases()
        self._stale = 0

    def handle(self, fact: facts.Fact) -> list[Order]:
        """Take a fact in and return what is to be done about it."""
        match fact:
            case facts.SessionAsked():
                return self._on_session_asked(fact)
            case facts.SpeechAsked():
                return self._on_speech_asked(fact)
            case facts.InterruptAsked():
                return self._on_interrupt_asked(fact)
            case facts.CleanupAsked():
                return self._on_cleanup_asked(fact)
            case facts.Swept():
                return self._on_swept(fact)
            case facts.TimerFired():
                return self._on_timer(fact)
            case _:
                if self._session is not None and fact.epoch == self._epoch:
                    return self._of_session(self._session, fact)
                self._stale += 1
                return []

    def _of_session(self, session: _Session, fact: facts.SessionFact) -> list[Order]:
        match fact:
            case facts.Minted():
                return self._on_minted(session, fact)
            case facts.Started():
                session.url = fact.websocket_url
                return [facts.Dial(self._epoch, fact.websocket_url)]
            case facts.Linked():
                return self._await_state(Phase.WAITING_CONNECTED, self._settings.connected_timeout)
            case facts.Reported():
                return self._on_reported(session, fact)
            case facts.SpeechFinished():
                session.voice.finished()
                return self._pump(session)
            case facts.Written():
                session.voice.written()
                return self._pump(session)
            case facts.CallFailed():
                return self._lose(session, fact.error)
            case facts.LinkClosed():
                return self._lose(session, _lost(session, fact.why))
            case _:
                assert_never(fact)

    def adopt(self, sessions: Iterable[facts.Unreleased]) -> list[Order]:
        """Take over what an earlier incarnation left recorded: it is to be ended."""
        return self._releases.add(sessions)

    @property
    def state(self) -> AvatarState:
        """What `GetAvatarState` answers."""
        session = self._session
        return AvatarState(
            status=_STATUS[self._phase],
            phase=self._phase.value,
            session_id=(session.session_id or None) if session else None,
            avatar_id=session.wanted.avatar_id if session else None,
            speaking=self._phase is Phase.SPEAKING,
            voice_sync=session.voice_sync if session else False,
            queued_bytes=session.voice.queue.size if session else 0,
            unreleased=len(self._releases),
            stale_facts=self._stale,
        )

    # -- opening

    def _on_session_asked(self, fact: facts.SessionAsked) -> list[Order]:
        refusal = self._refusal(fact.wanted)
        if refusal is not None:
            return [Refuse(fact.waiter, refusal)]
        session = self._session
        if session is None:
            self._epoch += 1
            self._phase = Phase.OPENING
            self._session = _Session(fact.wanted, [fact.waiter], self._new_voice())
            return self._mint()
        if self._phase in _CONNECTED:
            return [Answer(fact.waiter, self._value(session))]
        session.waiters.append(fact.waiter)
        return []

    def _refusal(self, wanted: InitializeSession) -> AvatarError | None:
        missing = self._settings.missing()
        if missing or not self._settings.enabled:
            return AvatarDisabled(missing)
        refused = wanted_refused(wanted)
        if refused is not None:
            return refused
        session = self._session
        if session is None:
            full = len(self._releases) >= self._settings.unreleased_max
            return TooManyUnreleased(len(self._releases)) if full else None
        if session.wanted != wanted:
            return AvatarSessionExists(
                session.wanted.avatar_id, "differs from what is wanted: clean it up first"
            )
        if len(session.waiters) >= WAITERS_MAX:
            return AvatarSessionExists(session.wanted.avatar_id, f"{WAITERS_MAX} callers wait for it already")
        return None

    def _new_voice(self) -> Voice:
        chosen = self._settings
        return Voice(
            SpeechQueue(first_chunk=chosen.first_chunk, chunk=chosen.chunk, limit=chosen.speech_queue)
        )

    def _mint(self) -> list[Order]:
        """Begin the opening, once no sweep runs: a session that is being ended counts against the limit."""
        session = self._session
        if session is None or session.minting or self._releases.sweeping:
            return []
        session.minting = True
        return [facts.Mint(self._epoch, session.wanted)]

    def _on_minted(self, session: _Session, fact: facts.Minted) -> list[Order]:
        session.session_id = fact.session_id
        return [
            facts.Record(fact.session_id, session.wanted.avatar_id),
            facts.Start(self._epoch, fact.session_id, fact.token),
        ]

    # -- what the service says of the session

    def _on_reported(self, session: _Session, fact: facts.Reported) -> list[Order]:
        # What is not named here is news of a later protocol, and a no-op as the service asks for.
        match fact.state:
            case "connected" if self._phase is Phase.WAITING_CONNECTED:
                return self._connected(session)
            case "connecting" if self._phase in _CONNECTED:
                return self._await_state(Phase.WAITING_CONNECTED, self._settings.connected_timeout)
            case "closing":
                return self._await_state(Phase.CLOSING, self._settings.request_timeout)
            case "closed" | "disconnected":
                return self._lose(
                    session, _lost(session, fact.detail or f"the service says it is {fact.state}")
                )
            case _:
                return []

    def _await_state(self, phase: Phase, limit: float) -> list[Order]:
        self._phase = phase
        return [SetTimer(TimerKind.CONNECTED, limit)]

    def _connected(self, session: _Session) -> list[Order]:
        self._phase = Phase.SPEAKING if session.voice.speaking else Phase.LISTENING
        orders: list[Order] = [
            CancelTimer(TimerKind.CONNECTED),
            SetTimer(TimerKind.KEEP_ALIVE, self._settings.keep_alive),
        ]
        value = self._value(session)
        if not session.announced:
            session.announced = True
            shown = _without_credential(value.websocket_url)
            orders.append(
                Announce(SessionCreated(value.session_id, value.avatar_id, value.status, websocket_url=shown))
            )
        orders += [Answer(waiter, value) for waiter in session.waiters]
        session.waiters = []
        return orders + self._pump(session)

    def _value(self, session: _Session) -> AvatarSession:
        return AvatarSession(session.session_id, session.wanted.avatar_id, _STATUS[self._phase], session.url)

    # -- speech

    def _on_speech_asked(self, fact: facts.SpeechAsked) -> list[Order]:
        session, speech = self._session, fact.speech
        refused = speech_refused(speech, most=self._settings.max_speech)
        if refused is not None:
            return [Refuse(fact.waiter, refused)]
        if session is None or self._phase not in _ACCEPTS_SPEECH:
            return [Refuse(fact.waiter, NoAvatarSession(self._phase.value))]
        queue, size = session.voice.queue, len(speech.audio_data)
        if not queue.has_room(size):
            return [Refuse(fact.waiter, SpeechQueueFull(queue.size, size, queue.limit))]
        queue.add(speech.audio_data, last=not speech.speaking)
        session.voice_sync = True
        event = VoiceCoordination(
            session.session_id, speech.voice_id, sync_required=True, speaking=speech.speaking
        )
        return [Announce(event), Answer(fact.waiter, None), *self._pump(session)]

    def _on_interrupt_asked(self, fact: facts.InterruptAsked) -> list[Order]:
        session = self._session
        if session is None or self._phase not in _ACCEPTS_SPEECH:
            return [Refuse(fact.waiter, NoAvatarSession(self._phase.value))]
        session.voice.interrupt()
        return [Answer(fact.waiter, None), *self._pump(session)]

    def _pump(self, session: _Session) -> list[Order]:
        """Send the next packet, if the gate is open and none is on its way."""
        if self._phase not in _CONNECTED:
            return []
        packet = session.voice.next_packet()
        self._phase = Phase.SPEAKING if session.voice.speaking else Phase.LISTENING
        return [] if packet is None else [facts.Send(self._epoch, packet)]

    # -- the end of a session

    def _on_cleanup_asked(self, fact: facts.CleanupAsked) -> list[Order]:
        session = self._session
        if session is None:
            return self._releases.join(fact.waiter)
        orders = self._end(session)
        cleaned_up = AvatarSessionLost(session.session_id, "it was cleaned up")
        orders += [Refuse(waiter, cleaned_up) for waiter in session.waiters]
        if not session.session_id:  # nothing was begun remotely
            return [*orders, Answer(fact.waiter, None)]
        ended = _unreleased(session, fact.cleanup.reason or Cleanup().reason)
        return orders + self._releases.add([ended], fact.waiter)

    def _lose(self, session: _Session, error: AvatarError) -> list[Order]:
        """End the session because it failed: the caller gets the error, the client goes on without (A6.3)."""
        orders = self._end(session)
        orders.append(Announce(SessionError(str(error), session.wanted.avatar_id, error.retryable)))
        orders += [Refuse(waiter, error) for waiter in session.waiters]
        if session.session_id:
            orders += self._releases.add([_unreleased(session, "session_failed")])
        return orders

    def _end(self, session: _Session) -> list[Order]:
        self._session = None
        self._phase = Phase.CLOSING if session.session_id else Phase.CLOSED
        return [facts.HangUp(), CancelTimer(TimerKind.CONNECTED), CancelTimer(TimerKind.KEEP_ALIVE)]

    def _on_swept(self, fact: facts.Swept) -> list[Order]:
        orders = self._releases.swept(fact)
        if self._session is None and self._phase is Phase.CLOSING and not self._releases.sweeping:
            self._phase = Phase.CLOSED
        return orders + self._mint()

    # -- time

    def _on_timer(self, fact: facts.TimerFired) -> list[Order]:
        session = self._session
        match fact.kind:
            case TimerKind.SWEEP:
                return self._releases.sweep()
            case TimerKind.CONNECTED if session is not None and self._phase in _WAITS:
                silent = f"the service did not report `connected` in time (it is {self._phase.value})"
                return self._lose(session, _lost(session, silent))
            case TimerKind.KEEP_ALIVE if session is not None and session.announced:
                session.voice.keep_alive()
                again = SetTimer(TimerKind.KEEP_ALIVE, self._settings.keep_alive)
                return [again, facts.Prolong(self._epoch, session.session_id), *self._pump(session)]
            case _:
                return []  # its session is over, or it came a moment too late


def _lost(session: _Session, why: str) -> AvatarSessionLost:
    return AvatarSessionLost(session.session_id, why, unsent=session.voice.queue.size)


def _unreleased(session: _Session, reason: str) -> facts.Unreleased:
    return facts.Unreleased(session.session_id, session.wanted.avatar_id, reason)


def _without_credential(url: str) -> str:
    """Return the URL for an event that others see: its query authenticates whoever holds it."""
    return urlsplit(url)._replace(query="", fragment="").geturl()
