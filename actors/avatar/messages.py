"""What the avatar actor hears and says, and the errors that are part of its answers.

The service behind it is LiveAvatar in LITE mode.  What the product's verbs name
and that service lacks is mapped here and nowhere else (A6.0); a value that the
service cannot honour is refused by name, never ignored.

    ours                         the service
    ---------------------------  ----------------------------------------------------------------
    avatar_id                    `avatar_id` of the session token
    quality low, medium, high,   `video_settings.quality`, the same four words
      very_high
    background "transparent"     no such field: it is kept in the wanted session and not sent; the
                                 service streams the avatar alone and the viewer composes it
    any other background         refused: the service cannot draw one
    status connecting, active,   `session.state_updated` connecting, connected, closing, closed
      closing, closed
    status none                  there is no session
    updateAvatar speaking true   the first `agent.speak` of an utterance
    updateAvatar speaking false  `agent.speak_end`
    updateAvatar voiceSync       true from the first accepted speech of a session to its end
    websocket_url                `ws_url`; it carries a credential, so events show it without its query
    sample_rate                  24,000 Hz is what the service plays; it cannot detect another, so
                                 another is refused
    reason of a clean-up         `reason` of `sessions/stop`, see `machine.STOP_REASONS`
"""

from __future__ import annotations

import msgspec

from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.events import Event
from holdfast.runtime.messages import Request

__all__ = [
    "BACKGROUNDS",
    "FALLBACK_MODE",
    "QUALITIES",
    "SAMPLE_RATE",
    "AvatarDisabled",
    "AvatarError",
    "AvatarServiceError",
    "AvatarSession",
    "AvatarSessionExists",
    "AvatarSessionLost",
    "AvatarState",
    "AvatarValueRefused",
    "Cleanup",
    "GetAvatarState",
    "InitializeSession",
    "InterruptSpeech",
    "NoAvatarSession",
    "SessionCleanup",
    "SessionCreated",
    "SessionError",
    "SpeechQueueFull",
    "SynchronizeWithVoice",
    "TooManyUnreleased",
    "VoiceCoordination",
    "foreign",
    "name_refused",
    "wanted_refused",
]

QUALITIES = ("low", "medium", "high", "very_high")
BACKGROUNDS = ("transparent",)

# What the service plays: PCM, signed 16 bit, little endian, mono.
SAMPLE_RATE = 24_000

# The service's ids are UUIDs; ours may be names.  Longer is a mistake, and would only be echoed.
NAME_MAX_CHARS = 256

# Of a peer's own words, in an error message.
FOREIGN_MAX_CHARS = 200

# What the client falls back to while there is no avatar.
FALLBACK_MODE = "voice_only"


class AvatarSession(msgspec.Struct, frozen=True):
    """A session that the service has opened."""

    session_id: str
    avatar_id: str
    status: str
    websocket_url: str


class AvatarState(msgspec.Struct, frozen=True):
    """Where the avatar stands."""

    status: str
    """none, connecting, active, closing or closed: see the table of this module."""
    phase: str
    """The machine's own state: idle, opening, waiting_connected, listening, speaking, closing, closed."""
    session_id: str | None
    avatar_id: str | None
    speaking: bool
    voice_sync: bool
    queued_bytes: int
    """Speech accepted and not yet sent."""
    unreleased: int
    """Sessions of ours that are over here and that the service has not yet confirmed as stopped."""
    stale_facts: int
    """News of sessions that were already over; dropped and counted."""


# ---- heard -----------------------------------------------------------------------------------------


class InitializeSession(Request[AvatarSession], frozen=True):
    """Open a session and answer when the avatar is connected.

    Asked again for the same avatar, quality and background it answers the session
    that is there; for others it is refused until `Cleanup`.  Ask with a time-out of
    `AvatarSettings.opening_timeout`.
    """

    avatar_id: str
    quality: str = "high"
    background: str = "transparent"


class SynchronizeWithVoice(Request[None], frozen=True):
    """Let the avatar speak what the voice speaks; answered when the speech is accepted for sending.

    `speaking` stays true through an utterance and is false with, or after, its last
    audio.  `audio_data` is PCM s16le mono at `sample_rate`.
    """

    voice_id: str
    speaking: bool
    audio_data: bytes = b""
    sample_rate: int = SAMPLE_RATE


class InterruptSpeech(Request[None], frozen=True):
    """Be silent now: what is queued here and scheduled there is dropped."""


class Cleanup(Request[None], frozen=True):
    """Close the remote session; answered when the service has confirmed it.  Nothing to close is no error."""

    reason: str = "manual_cleanup"


class GetAvatarState(Request[AvatarState], frozen=True):
    """Ask where the avatar stands."""


# ---- events ----------------------------------------------------------------------------------------


class SessionCreated(Event, frozen=True):
    """session:created: the avatar is connected.  The URL is shown without its query (a credential)."""

    session_id: str
    avatar_id: str
    status: str
    websocket_url: str


class VoiceCoordination(Event, frozen=True):
    """voice:coordination: speech was accepted for the avatar."""

    avatar_session_id: str
    voice_id: str
    sync_required: bool
    speaking: bool


class SessionCleanup(Event, frozen=True):
    """session:cleanup: the service has confirmed that the session is over."""

    session_id: str
    reason: str


class SessionError(Event, frozen=True):
    """session:error: the avatar failed, the rest goes on with the voice alone."""

    error: str
    avatar_id: str
    recoverable: bool
    fallback_mode: str = FALLBACK_MODE


# ---- errors ----------------------------------------------------------------------------------------


class AvatarError(HoldfastError):
    """The avatar could not do what was asked.  When `retryable`, the same request may succeed later."""

    retryable = False


class AvatarValueRefused(AvatarError, ValueError):
    """A value that cannot be honoured; nothing was sent.  Ask again with what the message says."""

    def __init__(self, name: str, wanted: str, got: str) -> None:
        super().__init__(f"{name} must be {wanted}, got {got}")
        self.name = name
        self.wanted = wanted
        self.got = got


def foreign(text: str) -> str:
    """Return a peer's own words fit for an error message: short, and on one line."""
    return "".join(character if character.isprintable() else "?" for character in text[:FOREIGN_MAX_CHARS])


def name_refused(name: str, value: str) -> AvatarValueRefused | None:
    """Return what is wrong with an id: it is empty, or longer than any id of the service or of ours."""
    if 0 < len(value) <= NAME_MAX_CHARS:
        return None
    return AvatarValueRefused(name, f"1 to {NAME_MAX_CHARS} characters", f"{len(value)}")


def wanted_refused(wanted: InitializeSession) -> AvatarValueRefused | None:
    """Return what the service could not honour."""
    if wanted.quality not in QUALITIES:
        return AvatarValueRefused("quality", f"one of {', '.join(QUALITIES)}", _shown(wanted.quality))
    if wanted.background not in BACKGROUNDS:
        allowed = f"{', '.join(BACKGROUNDS)} (the avatar service draws no other)"
        return AvatarValueRefused("background", allowed, _shown(wanted.background))
    return name_refused("avatar_id", wanted.avatar_id)


def _shown(value: str) -> str:
    return repr(value[:NAME_MAX_CHARS])


class AvatarDisabled(AvatarError):
    """The avatar is switched off in the configuration, or it is not told where its service is."""

    def __init__(self, missing: tuple[str, ...]) -> None:
        what = f"avatar.{' and avatar.'.join(missing)} not set" if missing else "avatar.enabled is false"
        super().__init__(f"there is no avatar: {what}; set it in the configuration")
        self.missing = missing


class NoAvatarSession(AvatarError):
    """There is no session to speak through; initialize one first."""

    def __init__(self, phase: str) -> None:
        super().__init__(f"there is no open avatar session (it is {phase}): initialize one and wait for it")
        self.phase = phase


class AvatarSessionExists(AvatarError):
    """Another session is open, or too many wait for this one; clean up first, or use what is there."""

    def __init__(self, session: str, why: str) -> None:
        super().__init__(f"an avatar session for {session} is there already and {why}")
        self.session = session


class SpeechQueueFull(AvatarError):
    """Speech comes faster than the service takes it.  None of it was accepted; offer it again."""

    retryable = True

    def __init__(self, queued: int, offered: int, limit: int) -> None:
        super().__init__(
            f"{offered} bytes of speech do not fit: {queued} of {limit} bytes are waiting to be sent; "
            f"none of it was accepted, offer it again when less is waiting"
        )
        self.queued = queued
        self.offered = offered
        self.limit = limit


class TooManyUnreleased(AvatarError):
    """Too many sessions could not be ended; no new one is begun until some have."""

    retryable = True

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} avatar sessions could not be ended yet, the most that are kept: no new one is begun "
            f"until the service confirms the end of some; check the API key and the service"
        )
        self.count = count


class AvatarSessionLost(AvatarError):
    """The session ended without being asked to: its connection broke, or the service closed it."""

    retryable = True

    def __init__(self, session_id: str, why: str, unsent: int = 0) -> None:
        lost = f"; {unsent} bytes of speech were not sent" if unsent else ""
        super().__init__(f"avatar session {session_id or '(not open yet)'} is over: {why}{lost}")
        self.session_id = session_id
        self.why = why
        self.unsent = unsent


class AvatarServiceError(AvatarError):
    """The service refused, failed, or gave no usable answer.

    `status` is the HTTP status and `code` the service's own; 0 when there was none.
    A 403 is not always final: look at `retryable`.
    """

    def __init__(self, operation: str, status: int, code: int, description: str, *, retryable: bool) -> None:
        answer = f"answered {status}" + (f" (code {code})" if code else "") if status else "gave no answer"
        advice = "it may work later" if retryable else "asking again will not help"
        super().__init__(f"the avatar service {answer} to {operation}: {description}; {advice}")
        self.operation = operation
        self.status = status
        self.code = code
        self.description = description
        self.retryable = retryable
