"""The settings of the auth actor, validated when they are made.

The endpoint and the API key have no default.  They may be filled in later (an
embedded hub knows its address only once it listens), so an unset one is empty
and `missing` names it; the actor refuses to be made while one is.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import attrs

from holdfast.runtime import Backoff, HoldfastError, Secret
from holdfast.runtime.address import is_loopback

__all__ = ["AuthSettings", "InvalidAuthSettings"]

# What may follow "Bearer " in an Authorization header: visible ASCII, no spaces, so no second header either.
_HEADER_SAFE = re.compile(r"[\x21-\x7e]*")

# RFC 9700 keeps client secrets short; a file read in by mistake is longer.
API_KEY_MAX_CHARS = 4096

# Full jitter may draw 0; a retry still leaves the endpoint a breath.
RETRY_FLOOR_S = 0.1

# The most of a lifetime that the leeway may take: else a token of 5 s would be too old from the start.
LEEWAY_SHARE_MAX = 0.1


class InvalidAuthSettings(HoldfastError, ValueError):
    """A setting of auth cannot be used; the message names it, what is wanted and what came, never the key."""


@attrs.frozen(kw_only=True)
class AuthSettings:
    """How to get tokens and when to renew them.  Times are in seconds."""

    api_endpoint: str = ""
    """Where the token endpoint lives; `/auth/token` is appended.  https, except on loopback."""
    api_key: Secret = Secret("")  # noqa: RUF009 - a Secret is immutable
    client_id: str = "holdfast"

    token_refresh_threshold: float = 0.9
    """The share of its lifetime after which a token is renewed: one of 300 s at 270 s, or a bit earlier."""
    refresh_jitter: float = 0.1
    """The largest share of the lifetime by which a renewal is brought forward, so that a fleet does not
    renew in step.  It never delays one."""
    refresh_floor: float = 1.0
    """The shortest time from one token to its renewal: a server whose tokens live for milliseconds gets one
    request a second, not a thousand."""
    leeway: float = 5.0
    """A token with less than this left is renewed before it is handed out: it would expire during the call
    that it is meant for, which may take 5 s.  At most a tenth of the lifetime, for short-lived tokens."""

    request_timeout: float = 5.0
    """For one whole exchange, connection included: the limit that every call on the recovery path shares."""
    retry_initial: float = 1.0
    retry_max: float = 8.0
    """The cap of the back-off of automatic renewals: with one call of 5 s well below the 30 s in which a
    session has to be back (A2.7)."""
    retry_after_max: float = 300.0
    """A server that asks for a longer pause is asked again after this; reconnect holds the same."""
    refusal_pause: float = 10.0
    """For this long after the credentials were refused, `GetToken` repeats that answer without asking the
    server; as the floor of the protocol's reconnect budget.  `Authenticate` always asks."""
    resend_limit: int = 2
    """How often the same refresh token is sent again when its answer was lost: it may have been used up."""
    resend_window: float = 30.0
    """...and for how long after it was first sent: the grace that servers with rotation give (10 to 60 s)."""
    waiters_max: int = 1024
    """Callers that may wait for one exchange; as many as the mailbox holds.  One more is refused at once."""
    allow_plaintext: bool = False
    """Permit http to an address that is not loopback: the API key travels readable.  For test networks."""

    def __attrs_post_init__(self) -> None:
        for rule in _RULES:
            rule(self)

    def renewal_time(self, sent_at: float, lifetime: float, chance: float) -> float:
        """Return when to renew a token: at the threshold or a little earlier, never before the floor.

        `chance` is a draw from [0, 1).
        """
        share = self.token_refresh_threshold - self.refresh_jitter * chance
        return sent_at + max(self.refresh_floor, lifetime * share)

    def retry_delay(self, failures_before: int, chance: float) -> float:
        """Return how long an automatic renewal waits after a failure: exponential, capped, jittered."""
        backoff = Backoff(initial=self.retry_initial, multiplier=2.0, cap=self.retry_max)
        return max(RETRY_FLOOR_S, backoff.delay(failures_before, chance))

    def leeway_of(self, lifetime: float) -> float:
        """Return how much of its life a token must have left to be handed out without a renewal."""
        return min(self.leeway, lifetime * LEEWAY_SHARE_MAX)

    def missing(self) -> tuple[str, ...]:
        """Name what has no default and was not set."""
        unset = {"api_endpoint": not self.api_endpoint, "api_key": not self.api_key}
        return tuple(name for name, empty in unset.items() if empty)


def _check_shares(settings: AuthSettings) -> None:
    threshold, jitter = settings.token_refresh_threshold, settings.refresh_jitter
    if not 0 < threshold < 1:
        raise InvalidAuthSettings(
            f"token_refresh_threshold must be a share of the lifetime between 0 and 1, not {threshold:g}"
        )
    if not 0 <= jitter < threshold:
        raise InvalidAuthSettings(
            f"refresh_jitter must be 0 or more and below the threshold ({threshold:g}), not {jitter:g}"
        )


def _check_times(settings: AuthSettings) -> None:
    for name in ("refresh_floor", "request_timeout", "retry_initial", "retry_after_max", "resend_window"):
        value: float = getattr(settings, name)
        if not 0 < value < float("inf"):
            raise InvalidAuthSettings(f"{name} must be more than 0 s and finite, not {value:g}")
    for name in ("leeway", "refusal_pause"):
        value = getattr(settings, name)
        if not 0 <= value < float("inf"):
            raise InvalidAuthSettings(f"{name} must be 0 s or more and finite, not {value:g}")
    if not settings.retry_initial <= settings.retry_max < float("inf"):
        raise InvalidAuthSettings(
            f"retry_max must be finite and at least retry_initial ({settings.retry_initial:g} s), "
            f"not {settings.retry_max:g}"
        )


def _check_counts(settings: AuthSettings) -> None:
    if settings.resend_limit < 0:
        raise InvalidAuthSettings(f"resend_limit must be 0 or more, not {settings.resend_limit}")
    if settings.waiters_max < 1:
        raise InvalidAuthSettings(f"waiters_max must be 1 or more, not {settings.waiters_max}")


def _check_api_key(settings: AuthSettings) -> None:
    key = settings.api_key.reveal()
    if len(key) > API_KEY_MAX_CHARS:
        raise InvalidAuthSettings(
            f"api_key must have at most {API_KEY_MAX_CHARS} characters, not {len(key)}: is it the right file?"
        )
    if not _HEADER_SAFE.fullmatch(key):
        raise InvalidAuthSettings(
            "api_key must consist of visible ASCII characters; it has spaces, line ends or others: "
            "strip what surrounds it"
        )


def _check_endpoint(settings: AuthSettings) -> None:
    endpoint = settings.api_endpoint
    if not endpoint:
        return
    wanted = "api_endpoint must be a URL such as https://auth.example.com"
    try:
        url = urlsplit(endpoint)
        host, _port = url.hostname, url.port
    except ValueError as error:
        raise InvalidAuthSettings(f"{wanted}, not {_shown(endpoint)!r}: {error}") from None
    if url.username is not None or url.password is not None:
        # Not shown: it may hold a password.
        raise InvalidAuthSettings(f"{wanted}, without a user name or password: put the key into api_key")
    if url.scheme not in ("https", "http") or not host or url.query or url.fragment:
        raise InvalidAuthSettings(f"{wanted}, without query or fragment, not {_shown(endpoint)!r}")
    if url.scheme == "http" and not settings.allow_plaintext and not is_loopback(host):
        raise InvalidAuthSettings(
            f"api_endpoint must be https, not {endpoint!r}: over http the API key would travel readable; "
            f"only loopback needs no TLS, anything else needs allow_plaintext"
        )


def _shown(endpoint: str) -> str:
    """The endpoint as an error may show it: a key may stand before the host, or in what follows the path."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", endpoint)[0])


_RULES = (_check_shares, _check_times, _check_counts, _check_api_key, _check_endpoint)
