"""The settings of the avatar actor, validated when they are made.

The service's address and the API key have no default: an embedded hub knows its
address only once it listens.  An unset one is empty and `missing` names it.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import attrs

from holdfast.runtime.address import is_loopback
from holdfast.runtime.backoff import Backoff
from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.secret import Secret

__all__ = ["AvatarSettings", "InvalidAvatarSettings"]

# What may stand in a header: visible ASCII, no spaces, so no second header either.
_HEADER_SAFE = re.compile(r"[\x21-\x7e]*")

# A file read in by mistake is longer; real keys have fewer than a hundred characters.
API_KEY_MAX_CHARS = 4096

# What stands around the audio of a packet: type, event id, quotes and braces.
PACKET_FRAME_BYTES = 256


class InvalidAvatarSettings(HoldfastError, ValueError):
    """A setting of the avatar cannot be used; the message names it, what is wanted, what came (no key)."""


@attrs.frozen(kw_only=True)
class AvatarSettings:
    """How to reach the avatar service and how to speak to it.  Times are in seconds, sizes in bytes."""

    enabled: bool = False
    api_url: str = ""
    """The service, as in https://api.liveavatar.com.  https, unless loopback or `allow_plaintext`."""
    api_key: Secret = Secret("")  # noqa: RUF009 - a Secret is immutable
    avatar_id: str = ""
    """The avatar opened with each session; empty leaves it to whoever asks for one."""

    is_sandbox: bool = False
    """Sessions of the service's sandbox cost nothing and end after about 60 s."""

    request_timeout: float = 5.0
    """For one whole exchange, connection included, and for one write to the WebSocket."""
    connected_timeout: float = 10.0
    """From the open WebSocket to the service's `connected`: it boots the avatar meanwhile."""
    idle_window: float = 300.0
    """The service closes a session after five minutes without activity."""
    keep_alive: float = 120.0
    """The service advises two to three minutes; at most half the idle window, so that one may get lost."""
    stop_timeout: float = 2.0
    """What closing the remote session may take while the actor itself is being stopped."""
    sweep_initial: float = 1.0
    sweep_max: float = 60.0
    """The back-off of ending sessions that could not be stopped.  It never stops trying; the cap keeps it
    to a request a minute."""
    unreleased_max: int = 64
    """Sessions that may wait for their end; the service itself allows far fewer at once."""

    max_packet: int = 1_000_000
    """The service drops a larger packet, or the connection."""
    first_chunk: int = 28_800
    """600 ms of speech: small, so that the avatar starts early."""
    chunk: int = 48_000
    """One second of speech."""
    max_speech: int = 960_000
    """The most that one `SynchronizeWithVoice` may carry: 20 s."""
    speech_queue: int = 2_880_000
    """Speech that may wait to be sent: one minute.  More is refused, not dropped."""
    allow_plaintext: bool = False
    """Permit http and ws beyond loopback: the API key travels readable.  For test networks."""

    def __attrs_post_init__(self) -> None:
        for rule in _RULES:
            rule(self)

    @property
    def sweeps(self) -> Backoff:
        """The back-off of ending sessions that could not be stopped."""
        return Backoff(initial=self.sweep_initial, multiplier=2.0, cap=self.sweep_max)

    @property
    def opening_timeout(self) -> float:
        """How long `InitializeSession` can take: a sweep (two calls), token, start, dial, `connected`."""
        return 5 * self.request_timeout + self.connected_timeout

    @property
    def reachable(self) -> bool:
        """Whether there is an address and a key to talk to the service with."""
        return bool(self.api_url and self.api_key)

    def missing(self) -> tuple[str, ...]:
        """Name what has no default, was not set, and is needed because the avatar is enabled."""
        unset = {"api_url": not self.api_url, "api_key": not self.api_key}
        return tuple(name for name, empty in unset.items() if empty and self.enabled)


def _check_times(settings: AvatarSettings) -> None:
    for name in (
        "request_timeout",
        "connected_timeout",
        "idle_window",
        "keep_alive",
        "stop_timeout",
        "sweep_initial",
    ):
        value: float = getattr(settings, name)
        if not 0 < value < float("inf"):
            raise InvalidAvatarSettings(f"{name} must be more than 0 s and finite, not {value:g}")
    if settings.keep_alive > settings.idle_window / 2:
        raise InvalidAvatarSettings(
            f"keep_alive must be at most half of idle_window ({settings.idle_window:g} s), "
            f"not {settings.keep_alive:g}: the service ends a session that is silent for longer"
        )
    if not settings.sweep_initial <= settings.sweep_max < float("inf"):
        raise InvalidAvatarSettings(
            f"sweep_max must be finite and at least sweep_initial ({settings.sweep_initial:g} s), "
            f"not {settings.sweep_max:g}"
        )


def _check_sizes(settings: AvatarSettings) -> None:
    for name in ("first_chunk", "chunk", "max_speech", "speech_queue"):
        value: int = getattr(settings, name)
        if value < 2 or value % 2:
            raise InvalidAvatarSettings(
                f"{name} must be an even number of bytes above 0 (16-bit samples), not {value}"
            )
    for name in ("first_chunk", "chunk"):
        value = getattr(settings, name)
        packet = encoded_size(value)
        if packet > settings.max_packet:
            raise InvalidAvatarSettings(
                f"{name} of {value} bytes makes a packet of up to {packet} bytes, "
                f"more than max_packet ({settings.max_packet})"
            )
    if settings.unreleased_max < 1:
        raise InvalidAvatarSettings(f"unreleased_max must be 1 or more, not {settings.unreleased_max}")
    if settings.max_speech > settings.speech_queue:
        raise InvalidAvatarSettings(
            f"max_speech must be at most speech_queue ({settings.speech_queue}), not {settings.max_speech}: "
            f"such a request could never be accepted"
        )


def encoded_size(audio: int) -> int:
    """Return the most bytes that a packet with so much audio can have: base64 and what stands around it."""
    return (audio + 2) // 3 * 4 + PACKET_FRAME_BYTES


def _check_api_key(settings: AvatarSettings) -> None:
    key = settings.api_key.reveal()
    if len(key) > API_KEY_MAX_CHARS:
        raise InvalidAvatarSettings(
            f"api_key must have at most {API_KEY_MAX_CHARS} characters, not {len(key)}: is it the right file?"
        )
    if not _HEADER_SAFE.fullmatch(key):
        raise InvalidAvatarSettings(
            "api_key must consist of visible ASCII characters; it has spaces, line ends or others: "
            "strip what surrounds it"
        )


def _check_url(settings: AvatarSettings) -> None:
    wanted = "api_url must be a URL such as https://api.liveavatar.com"
    if not settings.api_url:
        return
    try:
        url = urlsplit(settings.api_url)
        host, _port = url.hostname, url.port
    except ValueError as error:
        raise InvalidAvatarSettings(f"{wanted}, not {settings.api_url!r}: {error}") from None
    if url.username is not None or url.password is not None:
        # Not shown: it may hold a password.
        raise InvalidAvatarSettings(f"{wanted}, without a user name or password: put the key into api_key")
    if url.scheme not in ("https", "http") or not host or url.query or url.fragment:
        raise InvalidAvatarSettings(f"{wanted}, without query or fragment, not {settings.api_url!r}")
    if url.scheme == "http" and not settings.allow_plaintext and not is_loopback(host):
        raise InvalidAvatarSettings(
            f"api_url must be https, not {settings.api_url!r}: over http the API key would travel readable; "
            f"only loopback needs no TLS, anything else needs allow_plaintext"
        )


_RULES = (_check_times, _check_sizes, _check_api_key, _check_url)
