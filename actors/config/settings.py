"""The whole configuration as one frozen value, and the tables that say what it is made of.

Each subsystem owns its section: a frozen class in its own `settings.py` that
checks itself when it is made.  The sections that no subsystem owns stand here,
and so do the defaults above and below those of the components (A7.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from urllib.parse import urlsplit

import attrs

from holdfast.actors.auth.settings import AuthSettings
from holdfast.actors.avatar.settings import AvatarSettings
from holdfast.actors.config.structuring import show
from holdfast.actors.delivery.settings import DeliverySettings
from holdfast.actors.logger.messages import Level
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.actors.reconnect.settings import ReconnectSettings
from holdfast.actors.socket.settings import SocketSettings
from holdfast.runtime import HoldfastError, LivenessSpec, WatchdogSpec

__all__ = [
    "ENVIRONMENT_DEFAULTS",
    "PLAIN_NUMBERS",
    "SECTIONS",
    "SHARED",
    "SYSTEM_DEFAULTS",
    "AudioSettings",
    "Configuration",
    "ConnectionSettings",
    "DevelopmentSettings",
    "Environment",
    "InvalidSetting",
    "NoUrl",
    "SupervisionSettings",
    "VoiceSettings",
]


class InvalidSetting(HoldfastError, ValueError):
    """A setting of a section that no subsystem owns cannot be used."""

    def __init__(self, path: str, wanted: str, got: object) -> None:
        super().__init__(f"{path} must be {wanted}, not {got!r}")
        self.name = path.rpartition(".")[2]


class NoUrl(HoldfastError):
    """The configuration names no server.  `holdfast run` uses the embedded hub then; a client needs one."""

    def __init__(self) -> None:
        super().__init__("connection.url is not set and has no default: set it to a wss:// address")


class Environment(Enum):
    """Where it runs.  Unset means that no environment's defaults and no environment's rules apply."""

    DEVELOPMENT = "development"
    TESTING = "testing"
    PRODUCTION = "production"


@attrs.frozen(kw_only=True)
class ConnectionSettings:
    """What concerns everybody who connects."""

    url: str | None = None
    """The realtime endpoint.  It has no default."""
    client_id: str = "holdfast"
    """Who this client is, to the token endpoint and to the hub: a session belongs to it."""
    allow_plaintext: bool = False
    """Allow ws:// and http:// beyond this machine.  Secrets then travel readable: for test networks."""
    timeout: float
    """How long `connect()` waits for the session to be ready; the session goes on trying afterwards."""

    def __attrs_post_init__(self) -> None:
        _above_zero("connection", self, "timeout")
        # The hub keeps a table by it; names of people and machines are shorter.
        if not 1 <= len(self.client_id) <= 128 or not self.client_id.isprintable():
            raise InvalidSetting("connection.client_id", "1 to 128 printable characters", self.client_id)


@attrs.frozen(kw_only=True)
class AudioSettings:
    """The format of the session's audio, a parameter of the session sent at connect."""

    sample_rate: int
    bit_depth: int
    channels: int
    buffer_size: int
    """Samples handed over at once."""

    def __attrs_post_init__(self) -> None:
        if not 8_000 <= self.sample_rate <= 192_000:
            raise InvalidSetting("audio.sample_rate", "from 8000 to 192000 Hz", self.sample_rate)
        if self.bit_depth not in (8, 16, 24, 32):
            raise InvalidSetting("audio.bit_depth", "8, 16, 24 or 32", self.bit_depth)
        if self.channels not in (1, 2):
            raise InvalidSetting("audio.channels", "1 or 2", self.channels)
        # Above a second of audio a buffer is a delay.
        if not 1 <= self.buffer_size <= self.sample_rate:
            raise InvalidSetting("audio.buffer_size", "from 1 to a second of samples", self.buffer_size)


@attrs.frozen(kw_only=True)
class VoiceSettings:
    """The voice of the session, a parameter sent at connect; None leaves it to the server."""

    voice_id: str | None = None
    model: str | None = None


@attrs.frozen(kw_only=True)
class DevelopmentSettings:
    """What must be off wherever it counts."""

    fault_injection: bool = False
    """Let the control socket crash actors and cut connections on purpose."""


@attrs.frozen(kw_only=True)
class SupervisionSettings:
    """Budgets and limits of the product's tree; its shape is written in topology.  Times in seconds."""

    root_intensity: int = 3
    root_period: float = 300.0
    foundation_intensity: int = 5
    foundation_period: float = 60.0
    session_intensity: int = 5
    session_period: float = 60.0
    link_intensity: int = 5
    link_period: float = 10.0
    avatar_intensity: int = 3
    avatar_period: float = 30.0
    correlated_failures: int = 3
    """So many different components that fail within the window lead to one full restart."""
    correlated_window: float = 5.0
    drain_deadline: float = 5.0
    """For handlers in flight and for writing everything out, before a full restart."""
    stop_deadline: float = 10.0
    """For the whole tree to stop."""
    slow_handler: float = 10.0
    """After which a handler is reported, with its stack: twice as long as a question waits."""
    hung_handler: float = 60.0
    """After which an actor that is still in one handler has failed and is restarted."""
    blocked_thread: float = 2.0
    """After which `holdfast run` reports whoever blocks the thread: a fifth of the heartbeat."""
    blocked_exit: float | None = None
    """After which it ends the process for that, with status 70; None never."""
    exit_deadline: float | None = None
    """From the request to end until `holdfast run` is ended by force, with status 70 and a report; None
    is what an ordered stop may take at most, and 5 s more."""

    def __attrs_post_init__(self) -> None:
        if self.correlated_failures < 2:
            raise InvalidSetting("supervision.correlated_failures", "2 or more", self.correlated_failures)
        for field in attrs.fields(SupervisionSettings):
            if field.name == "blocked_exit" or getattr(self, field.name) is None:
                continue
            if not field.name.endswith("_intensity"):
                _above_zero("supervision", self, field.name)
            elif getattr(self, field.name) < 0:
                raise InvalidSetting(f"supervision.{field.name}", "0 or more", getattr(self, field.name))
        self.liveness()
        self.watchdog()

    def liveness(self) -> LivenessSpec:
        """Return how long handlers may take where their class says nothing."""
        return LivenessSpec(slow=self.slow_handler, hung=self.hung_handler)

    def watchdog(self) -> WatchdogSpec:
        """Return how long the thread may be blocked."""
        return WatchdogSpec(blocked=self.blocked_thread, exit_after=self.blocked_exit)


def _above_zero(section: str, settings: object, name: str) -> None:
    value: float = getattr(settings, name)
    if not value > 0:
        raise InvalidSetting(f"{section}.{name}", "more than 0 s", value)


SECTIONS: Mapping[str, type] = MappingProxyType(
    {
        "connection": ConnectionSettings,
        "auth": AuthSettings,
        "socket": SocketSettings,
        "reconnect": ReconnectSettings,
        "delivery": DeliverySettings,
        "audio": AudioSettings,
        "voice": VoiceSettings,
        "avatar": AvatarSettings,
        "logging": LoggerSettings,
        "supervision": SupervisionSettings,
        "development": DevelopmentSettings,
    }
)

# Values that several sections need and that are written once.
SHARED: Mapping[str, str] = MappingProxyType(
    {
        "auth.client_id": "connection.client_id",
        "auth.allow_plaintext": "connection.allow_plaintext",
        "socket.url": "connection.url",
        "socket.allow_plaintext": "connection.allow_plaintext",
        "avatar.allow_plaintext": "connection.allow_plaintext",
    }
)

# Every other number with a fraction is a duration and may have a unit.
PLAIN_NUMBERS = frozenset({"auth.token_refresh_threshold", "auth.refresh_jitter", "reconnect.multiplier"})

# For a key of this name in any section that states no default of its own (A7.1, the lowest priority).
SYSTEM_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {"timeout": 30.0, "sample_rate": 16_000, "bit_depth": 16, "channels": 1, "buffer_size": 2_048}
)

# Above the components' own (A7.2, A5.5): more patience while debugging, none in tests.
ENVIRONMENT_DEFAULTS: Mapping[Environment, Mapping[str, object]] = MappingProxyType(
    {
        Environment.DEVELOPMENT: {"logging.level": Level.DEBUG, "connection.timeout": 60.0},
        Environment.TESTING: {"logging.level": Level.ERROR, "connection.timeout": 5.0},
        Environment.PRODUCTION: {"logging.level": Level.WARN},
    }
)


@attrs.frozen(kw_only=True)
class Configuration:
    """All sections, checked each by itself and together.  `holdfast.actors.config.sources` makes one."""

    environment: Environment | None
    connection: ConnectionSettings
    auth: AuthSettings
    reconnect: ReconnectSettings
    delivery: DeliverySettings
    audio: AudioSettings
    voice: VoiceSettings
    avatar: AvatarSettings
    logging: LoggerSettings
    supervision: SupervisionSettings
    development: DevelopmentSettings
    _socket: SocketSettings | None
    """None when there is no URL."""

    @property
    def socket(self) -> SocketSettings:
        """The section `socket`; raises `NoUrl` when there is nothing to connect to."""
        if self._socket is None:
            raise NoUrl
        return self._socket

    def values(self) -> dict[str, object]:
        """Return every key that can be set, as ``section.key``, with its value."""
        values: dict[str, object] = {"environment": self.environment}
        for section, kind in SECTIONS.items():
            settings: object = self._socket if section == "socket" else getattr(self, section)
            for field in attrs.fields(kind):
                path = f"{section}.{field.name}"
                if settings is not None and field.init and path not in SHARED:
                    values[path] = getattr(settings, field.name)
        return values

    def describe(self) -> dict[str, dict[str, object]]:
        """Return what may be shown to anybody: plain values by section, secrets masked."""
        shown: dict[str, dict[str, object]] = {}
        for path, value in self.values().items():
            section, _, key = path.rpartition(".")
            shown.setdefault(section or "general", {})[key] = show(value)
        return shown


def host_of(url: str) -> str:
    """Return the host of a URL, or nothing when it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
