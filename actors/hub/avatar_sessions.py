"""The sessions of the avatar stand-in: reserved, active, ended, with the service's documented limits.

They live above the actors that serve them, so that a restart of those ends no
session.  Every number of them is bounded, and time comes in from outside.  What
clients do is kept for tests to look at; a real service would show a face.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable

import attrs

from holdfast.actors.hub.avatar_playback import Playback
from holdfast.actors.hub.berth import Berth
from holdfast.runtime import HoldfastError, Seams, Secret, iso_timestamp

__all__ = [
    "SANDBOX_AVATAR",
    "AvatarStandinSettings",
    "Fault",
    "InvalidStandinSettings",
    "Packet",
    "StandinSession",
    "StandinSessions",
]

# The one avatar that the service's sandbox has.
SANDBOX_AVATAR = "dd73ea75-1218-4ef3-92ce-606d5f7fbc0a"

# What is kept of a session's speech and packets for whoever looks: 87 s, and an hour's packets.
AUDIO_KEPT_BYTES = 4 << 20
PACKETS_KEPT = 4096

# Reserved sessions that were never started, and ended ones: enough for any test, a bound for a daemon.
RESERVED_MAX = 100
ENDED_MAX = 1000


class InvalidStandinSettings(HoldfastError, ValueError):
    """A setting of the avatar stand-in cannot be used."""

    def __init__(self, key: str, wanted: str, came: object) -> None:
        super().__init__(f"avatar stand-in, {key}: wanted {wanted}, got {came!r}")
        self.key = key


@attrs.frozen(kw_only=True)
class AvatarStandinSettings:
    """How the stand-in behaves.  Times are seconds, sizes bytes; the figures are the documented ones."""

    api_keys: tuple[Secret, ...] = ()
    """Without one nobody can reserve a session."""
    host: str = "127.0.0.1"
    port: int = 0
    """Port of the WebSocket; 0 lets the system choose.  The HTTP routes are served by whoever mounts them."""

    concurrency_limit: int = 3
    idle_timeout: float = 300.0
    sandbox_duration: float = 60.0
    max_duration: float = 3_600.0
    """What a session may last when it does not ask for less; plans differ."""
    connect_delay: float = 0.05
    """From the WebSocket's acceptance to `connected`; the real avatar takes seconds."""
    max_packet: int = 1_000_000
    oversize_closes: bool = False
    """Close the connection over a packet beyond `max_packet` instead of dropping it; both are documented."""
    connections_max: int = 64
    body_max: int = 16_384

    def __attrs_post_init__(self) -> None:
        for key in (
            "concurrency_limit", "idle_timeout", "sandbox_duration", "max_duration", "max_packet",
            "connections_max", "body_max",
        ):  # fmt: skip
            value: float = getattr(self, key)
            if not value > 0:
                raise InvalidStandinSettings(key, "a number above zero", value)
        if not self.connect_delay >= 0:
            raise InvalidStandinSettings("connect_delay", "zero or more seconds", self.connect_delay)
        if not 0 <= self.port <= 65_535:
            raise InvalidStandinSettings("port", "a port from 0 to 65535", self.port)


@attrs.define
class Fault:
    """The next `left` calls of one operation (of any, when None) are answered with this."""

    left: int
    status: int
    code: int
    message: str
    operation: str | None = None


@attrs.frozen
class Packet:
    """What came over a WebSocket and was acted on."""

    type: str
    event_id: str
    size: int
    """Bytes of audio."""


@attrs.define(eq=False)
class StandinSession:
    """One session, from its reservation on."""

    id: str
    avatar_id: str
    token: Secret
    link_key: Secret
    """What `ws_url` carries to prove that the session is the caller's."""
    is_sandbox: bool
    max_duration: float
    created_at: str
    started_at: float | None = None
    ended_at: float | None = None
    end_reason: str = ""
    last_activity: float = 0.0
    playback: Playback = attrs.field(factory=Playback)

    packets: deque[Packet] = attrs.field(factory=lambda: deque[Packet](maxlen=PACKETS_KEPT))
    audio: bytearray = attrs.field(factory=bytearray, repr=False)
    early: int = 0
    """Packets that came before `connected` and were dropped without a word."""
    oversize: int = 0
    kick: Callable[[], None] | None = None
    """Set while a WebSocket is open: tells its task that something has changed."""

    @property
    def active(self) -> bool:
        """Whether it was started and has not ended."""
        return self.started_at is not None and self.ended_at is None

    def ends_at(self, idle_timeout: float) -> tuple[float, str]:
        """Return when the session ends by itself, and why."""
        assert self.started_at is not None
        longest = (self.started_at + self.max_duration, "MAX_DURATION_REACHED")
        return min(longest, (self.last_activity + idle_timeout, "IDLE_TIMEOUT"))

    def hear(self, packet: Packet, audio: bytes = b"") -> None:
        """Keep what came, as much as there is room for."""
        self.packets.append(packet)
        self.audio += audio[: max(0, AUDIO_KEPT_BYTES - len(self.audio))]

    def changed(self) -> None:
        """Tell the WebSocket's task, if there is one."""
        if self.kick is not None:
            self.kick()


class StandinSessions:
    """All sessions of the stand-in, its faults, and where its WebSocket is."""

    def __init__(self, settings: AvatarStandinSettings, seams: Seams) -> None:
        self.settings = settings
        self.berth = Berth("ws", settings.host, settings.port, "/v1/lite")
        self.listening = False
        """Whether the actor behind the WebSocket is there."""
        self._seams = seams
        self._sessions: dict[str, StandinSession] = {}
        self._faults: list[Fault] = []

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._seams.clock.now()

    # -- faults, for tests and demonstrations

    def fail_next(
        self,
        n: int,
        *,
        status: int = 503,
        code: int = 5000,
        message: str = "out of order",
        operation: str = "",
    ) -> None:
        """Answer the next `n` calls (of one operation, if it is named: token, start, ...) with an error."""
        self._faults.append(Fault(n, status, code, message, operation or None))

    def fault_for(self, operation: str) -> Fault | None:
        """Use up one of the faults that are waiting for this operation."""
        for fault in self._faults:
            if fault.operation in {None, operation}:
                fault.left -= 1
                self._faults = [waiting for waiting in self._faults if waiting.left > 0]
                return fault
        return None

    # -- looking

    def get(self, session_id: str) -> StandinSession | None:
        """Return a session by its id, ended ones included as far as they are kept."""
        self.expire()
        return self._sessions.get(session_id)

    def by_token(self, token: Secret) -> StandinSession | None:
        """Return the session that this token starts."""
        return next((session for session in self._sessions.values() if session.token == token), None)

    @property
    def active(self) -> list[StandinSession]:
        """The active sessions, oldest first."""
        self.expire()
        return [session for session in self._sessions.values() if session.active]

    @property
    def ended(self) -> list[StandinSession]:
        """The sessions that were active once, as far as they are kept, oldest first."""
        self.expire()
        return [session for session in self._sessions.values() if session.ended_at is not None]

    # -- the life of a session

    def reserve(self, avatar_id: str, *, is_sandbox: bool, max_duration: float | None) -> StandinSession:
        """Make a session that can be started with its token."""
        entropy = self._seams.entropy
        longest = self.settings.sandbox_duration if is_sandbox else self.settings.max_duration
        session = StandinSession(
            id=str(uuid.UUID(bytes=entropy(16), version=4)),
            avatar_id=avatar_id,
            token=Secret(f"session.{entropy(16).hex()}.{entropy(16).hex()}"),
            link_key=Secret(entropy(16).hex()),
            is_sandbox=is_sandbox,
            max_duration=min(longest, max_duration or longest),
            created_at=iso_timestamp(self._seams.wall_clock.now()),
        )
        self._sessions[session.id] = session
        self._forget_oldest(
            [s for s in self._sessions.values() if s.started_at is None and s.ended_at is None], RESERVED_MAX
        )
        return session

    def start(self, session: StandinSession) -> None:
        """Make it active: from now on it counts against the limit and its times run."""
        session.started_at = session.last_activity = self.now()

    def end(self, session: StandinSession, reason: str) -> None:
        """End it; twice is once.  A reserved one can then no longer be started."""
        if session.ended_at is not None:
            return
        session.ended_at = self.now()
        session.end_reason = reason
        session.changed()
        self._forget_oldest([s for s in self._sessions.values() if s.ended_at is not None], ENDED_MAX)

    def expire(self) -> None:
        """End what was idle, or lasted, for too long."""
        now = self.now()
        for session in list(self._sessions.values()):
            if session.active:
                when, reason = session.ends_at(self.settings.idle_timeout)
                if when <= now:
                    self.end(session, reason)

    def _forget_oldest(self, among: list[StandinSession], most: int) -> None:
        for session in among[: max(0, len(among) - most)]:
            del self._sessions[session.id]
