"""What can be set on a hub, with the defaults that add up.

The figures are those of `specs/semantics.md`, "Time", seen from the server: a
peer that is silent for `heartbeat + heartbeat_slack` is dead, which leaves a
client time to notice, back off and dial again within half a minute.  Values
are checked here, when they are made, and nowhere after.  Secrets are `Secret`s:
a settings record may be printed.
"""

from __future__ import annotations

import math
import pathlib

import attrs

from holdfast.runtime import HoldfastError, Secret, WatchdogSpec
from holdfast.runtime.watchdog import BLOCKED_MIN

__all__ = ["HubSettings", "InvalidHubSettings"]

# Not a measure of strength, only a net under empty and truncated keys.
KEY_LENGTH_MIN = 8


class InvalidHubSettings(HoldfastError, ValueError):
    """A setting of the hub cannot be used; raised when the settings are made."""

    def __init__(self, key: str, wanted: str, came: object) -> None:
        super().__init__(f"hub.{key}: wanted {wanted}, got {came!r}")
        self.key = key
        self.wanted = wanted


@attrs.frozen(kw_only=True)
class HubSettings:
    """Everything a hub is told at its start.  Times are seconds, sizes bytes."""

    host: str = "127.0.0.1"
    token_port: int = 0
    """Port of the HTTP part (token endpoint, avatar stand-in); 0 lets the system choose."""
    realtime_port: int = 0
    avatar_port: int = 0
    """Port of the avatar stand-in's WebSocket."""
    store_path: pathlib.Path | None = None
    """The hub's durable store; None keeps everything in memory, for tests and short demonstrations."""

    api_keys: tuple[Secret, ...] = ()
    """Keys that may ask for tokens.  Without one nobody can sign in."""
    admin_key: Secret | None = None
    """Guards the operator's fault switch; without it the switch does not exist."""
    denied_clients: tuple[str, ...] = ()
    """Clients that are known and turned away with 403."""

    issuer: str = "holdfast-hub"
    audience: str = "holdfast-realtime"
    token_lifetime: float = 300.0
    """A1.2's example: a token of 300 s, refreshed at 270 s."""
    refresh_lifetime: float = 30 * 86_400.0
    """A client that was away for a month signs in with its API key again."""
    refresh_grace: float = 30.0
    """A rotated refresh token presented again within this time gets the same successor (a lost answer)."""
    refresh_tokens_max: int = 100_000
    """The oldest beyond that are forgotten: a bound on the table, about 30 MB."""
    token_requests: int = 120
    """Token requests per API key in `token_window`: two a second, above a client that crashes in a loop."""
    token_window: float = 60.0
    body_max: int = 16_384
    """A token request is under 10 KB with the longest tokens; anything above this bound is not one."""

    heartbeat: float = 10.0
    heartbeat_slack: float = 5.0
    auth_timeout: float = 10.0
    """From the WebSocket's acceptance to `connect`."""
    upgrade_timeout: float = 5.0
    """From the TCP connection to the whole upgrade request."""
    close_timeout: float = 2.0
    """The closing handshake; after it the stream is aborted."""
    connect_token: bool = False
    """Let clients that cannot set headers (browsers) send their token in `connect`."""
    expiring_notice: float = 30.0
    """`auth.expiring` is sent this long before a token ends, or at a fifth of its time if that is shorter."""

    session_ttl: float = 86_400.0
    """How long a detached session waits for its client: outlasts an outage of hours."""
    dedupe_ttl: float = 86_400.0
    """How long a client's message ids are remembered across its sessions."""
    dedupe_max: int = 100_000
    """Ids remembered in all, oldest forgotten first (REALTIME 1.2, exactly-once effect, 3)."""
    effects_max: int = 1_000_000
    """Length of the durable log of received messages; the oldest are dropped beyond it."""
    window_frames: int = 256
    window_bytes: int = 1 << 20
    max_frame: int = 262_144
    backlog_frames: int = 10_000
    backlog_bytes: int = 16 << 20
    """What waits for one session, sent or not; beyond it the session is given up (4104)."""
    slow_consumer: float = 30.0
    """A connected client that acknowledges nothing for this long is cut off (4002) and may resume."""
    errors_max: int = 16
    """Bad frames on one connection before it is closed with 4308."""
    channels_max: int = 1_000
    """Subscriptions of one session."""
    acknowledge_every: int = 16
    acknowledge_within: float = 0.1

    connections_max: int = 1_000
    """Connections in all: each costs at most a window in each direction, 2 MiB."""
    connections_per_client: int = 16
    sessions_per_client: int = 8
    """Detached sessions beyond that end, oldest first: a client that forgets cannot fill the store."""
    sessions_max: int = 10_000
    upgrades: int = 120
    """Upgrades per client in `upgrade_window`; a client with back-off needs about seven a minute."""
    upgrade_window: float = 60.0
    retry_after: float = 5.0
    """What a refused client is told to wait when the hub is full or draining."""
    drain_reconnect: tuple[float, float] = (0.5, 5.0)
    """The range that `goaway` names, so that a fleet does not come back in one instant."""

    blocked_thread: float = 2.0
    """After which `holdfast hub` reports whoever blocks its thread: a fifth of the heartbeat."""
    exit_deadline: float = 20.0
    """From the request to end until `holdfast hub` is ended by force, with status 70 and a report: 5 s for
    its clients, 10 s for its tree, 5 s more."""

    def watchdog(self) -> WatchdogSpec:
        """Return how long the thread may be blocked."""
        return WatchdogSpec(blocked=self.blocked_thread)

    def __attrs_post_init__(self) -> None:
        for key in _POSITIVE:
            self._demand(key, "a number above zero", holds=getattr(self, key) > 0)
        for key in _PORTS:
            self._demand(key, "a port from 0 to 65535", holds=0 <= getattr(self, key) <= 65_535)
        low, high = self.drain_reconnect
        self._demand("drain_reconnect", "a range from low to high", holds=0 <= low <= high)
        self._demand(
            "blocked_thread",
            f"{BLOCKED_MIN:g} finite seconds or more",
            holds=BLOCKED_MIN <= self.blocked_thread < math.inf,
        )
        self._demand("refresh_grace", "zero or more seconds", holds=self.refresh_grace >= 0)
        self._demand("max_frame", "1024 bytes or more", holds=self.max_frame >= 1024)
        self._demand("window_bytes", "at least max_frame", holds=self.window_bytes >= self.max_frame)
        self._demand("backlog_bytes", "at least window_bytes", holds=self.backlog_bytes >= self.window_bytes)
        self._demand(
            "api_keys",
            f"keys of {KEY_LENGTH_MIN} characters or more",
            holds=all(len(key.reveal()) >= KEY_LENGTH_MIN for key in self.api_keys),
        )
        self._demand(
            "admin_key",
            f"a key of {KEY_LENGTH_MIN} characters or more that is no API key as well",
            holds=self.admin_key is None
            or (len(self.admin_key.reveal()) >= KEY_LENGTH_MIN and self.admin_key not in self.api_keys),
        )

    def _demand(self, key: str, wanted: str, *, holds: bool) -> None:
        if not holds:
            raise InvalidHubSettings(key, wanted, getattr(self, key))


_PORTS = ("token_port", "realtime_port", "avatar_port")
_POSITIVE = (
    "token_lifetime", "refresh_lifetime", "refresh_tokens_max", "token_requests", "token_window", "body_max",
    "heartbeat", "heartbeat_slack", "auth_timeout", "upgrade_timeout", "close_timeout", "expiring_notice",
    "session_ttl", "dedupe_ttl", "dedupe_max", "effects_max", "window_frames", "backlog_frames",
    "slow_consumer", "errors_max", "channels_max", "acknowledge_every", "acknowledge_within",
    "connections_max", "connections_per_client", "sessions_per_client", "sessions_max", "upgrades",
    "upgrade_window", "retry_after", "exit_deadline",
)  # fmt: skip
