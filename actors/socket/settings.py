"""Where the socket connects to, and the bounds it keeps.

The URL is checked here, once: `wss://`, or plain `ws://` to this machine only
unless it is allowed by name (A3.1); never with credentials in it.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

import attrs

from holdfast.runtime import HoldfastError
from holdfast.runtime.address import is_loopback

__all__ = ["Endpoint", "InvalidSocketSettings", "SocketSettings"]


class InvalidSocketSettings(HoldfastError, ValueError):
    """A setting of the socket that makes no sense or is not safe; raised when the settings are made."""

    def __init__(self, name: str, value: object, wanted: str) -> None:
        super().__init__(f"socket.{name} must be {wanted}, not {value!r}")
        self.name = name


@attrs.frozen
class Endpoint:
    """A checked URL, taken apart."""

    host: str
    port: int
    tls: bool
    resource: str
    """Path and query, as the upgrade request names them."""

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@attrs.frozen
class SocketSettings:
    url: str
    allow_plaintext: bool = False
    """Allow `ws://` to other machines.  The token then travels in the clear: for tests only."""

    client_name: str = "holdfast"
    client_version: str = "0.1.0"

    heartbeat: float = 10.0
    """Seconds between pings.  The hub may shorten it, never lengthen it (SEMANTICS "Time")."""

    heartbeat_min: float = 1.0
    """A hub that asks for less is not followed: it would make the client flood it."""

    dead_after: float = 5.0
    """Silence beyond the heartbeat after which the connection is a zombie."""

    dial_timeout: float = 5.0
    """From the dial to the welcome: token, connection, TLS, upgrade and handshake share it."""

    replay_timeout: float = 15.0
    """From the welcome to the end of the replay: a window of 1 MiB at 100 KiB/s, and some."""

    close_timeout: float = 1.0
    """What is queued, the close frame and its answer; then the stream is aborted."""

    max_frame: int = 262_144
    """Bytes of one WebSocket message, either way; the hub's own limit may be smaller."""

    outbound_frames: int = 1024
    """Frames waiting for the writer: four windows of 256, so that delivery's window is the real bound."""

    outbound_bytes: int = 4_194_304
    """Likewise, four windows of 1 MiB."""

    inbound_frames: int = 4096
    """WebSocket messages read and not yet handled.  A hub within its window of 256 never fills it."""

    inbound_bytes: int = 8_388_608

    endpoint: Endpoint = attrs.field(
        init=False,
        eq=False,
        default=attrs.Factory(
            lambda self: _parse(self.url, allow_plaintext=self.allow_plaintext), takes_self=True
        ),
    )
    """The URL, checked and taken apart."""

    def __attrs_post_init__(self) -> None:
        seconds = (
            "heartbeat",
            "heartbeat_min",
            "dead_after",
            "dial_timeout",
            "replay_timeout",
            "close_timeout",
        )
        for name in seconds:
            if not getattr(self, name) > 0:
                raise InvalidSocketSettings(name, getattr(self, name), "positive seconds")
        # 1 KiB holds every control frame; less could not even shake hands.
        bounds = {"max_frame": 1024, "outbound_frames": 1, "inbound_frames": 1}
        bounds |= {"outbound_bytes": self.max_frame, "inbound_bytes": self.max_frame}
        for name, least in bounds.items():
            if getattr(self, name) < least:
                raise InvalidSocketSettings(name, getattr(self, name), f"at least {least}")


def _parse(url: str, *, allow_plaintext: bool) -> Endpoint:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        # Brackets that hold no IPv6 address.  No more is shown: nothing says where the secrets would be.
        shown = url.partition("://")[0] + "://..."
        raise InvalidSocketSettings("url", shown, "a wss:// or ws:// URL with a sound host") from error
    if not (url.isascii() and url.isprintable() and " " not in url):
        wanted = "a URL in ASCII, without spaces (write others as %20, and host names in their xn-- form)"
        raise InvalidSocketSettings("url", _shown(parts), wanted)
    if parts.scheme not in {"ws", "wss"}:
        raise InvalidSocketSettings("url", _shown(parts), "a wss:// or ws:// URL")
    if parts.username is not None or parts.password is not None:
        raise InvalidSocketSettings("url", _shown(parts), "free of credentials: they come from auth")
    host = parts.hostname
    if not host:
        raise InvalidSocketSettings("url", _shown(parts), "a URL that names a host")
    tls = parts.scheme == "wss"
    if not tls and not allow_plaintext and not is_loopback(host):
        wanted = "wss:// for a host that is not this machine (or set allow_plaintext)"
        raise InvalidSocketSettings("url", _shown(parts), wanted)
    return Endpoint(host=host, port=_port(parts, tls=tls), tls=tls, resource=_resource(parts))


def _port(parts: SplitResult, *, tls: bool) -> int:
    try:
        port = parts.port
    except ValueError as error:
        raise InvalidSocketSettings("url", _shown(parts), "a URL with a port from 0 to 65535") from error
    if port is None:
        return 443 if tls else 80
    return port


def _resource(parts: SplitResult) -> str:
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _shown(parts: SplitResult) -> str:
    """The URL as an error may show it: without credentials and without the query."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
