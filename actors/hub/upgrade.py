"""Judging an upgrade request before anything is upgraded (D1, REALTIME 1.2 (a)).

Whatever is wrong is answered over HTTP with a status and a JSON body; a
WebSocket that is accepted and then closed tells a client far less.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.actors.hub.codec import SUBPROTOCOL
from holdfast.actors.hub.messages import Refusal, VerifiedToken
from holdfast.actors.hub.rate import RateLimit
from holdfast.actors.hub.settings import HubSettings
from holdfast.runtime import Secret

__all__ = ["PATH", "Doorkeeper", "token_of"]

PATH = "/realtime"


def token_of(
    path: str, headers: Sequence[tuple[bytes, bytes]], subprotocols: Sequence[str], *, connect_token: bool
) -> Secret | Refusal | None:
    """Return the token that the request shows, or why it is refused; None when the token may come later."""
    if path.partition("?")[0] != PATH:
        return Refusal(404, "not_found", f"wanted {PATH}")
    if SUBPROTOCOL not in subprotocols:
        return Refusal(400, "unsupported_subprotocol", f"wanted the WebSocket subprotocol {SUBPROTOCOL}")
    shown = [value for name, value in headers if name.lower() == b"authorization"]
    if not shown:
        return None if connect_token else _unauthorized("wanted `Authorization: Bearer <access token>`")
    if len(shown) > 1:
        return Refusal(400, "invalid_request", f"wanted one Authorization header, got {len(shown)}")
    scheme, _, value = shown[0].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        return _unauthorized("wanted `Authorization: Bearer <access token>`, got another scheme")
    return Secret(value.strip())


def _unauthorized(why: str) -> Refusal:
    return Refusal(401, "invalid_token", why)


class Doorkeeper:
    """Why a connection with a good token may be refused all the same."""

    def __init__(self, settings: HubSettings) -> None:
        self.closed = False
        """Set when the hub is draining."""
        self._settings = settings
        self._rate = RateLimit(settings.upgrades, settings.upgrade_window)

    def refuse(
        self, token: VerifiedToken | None, present: Sequence[VerifiedToken | None], now: float
    ) -> Refusal | None:
        """Return the refusal, or None; `present` are the tokens of the connections that there are."""
        settings = self._settings
        if self.closed:
            return Refusal(503, "draining", "the hub is stopping", retry_after=settings.retry_after)
        if len(present) >= settings.connections_max:
            return Refusal(503, "connection_limit", "the hub is full", retry_after=settings.retry_after)
        if token is None:
            return None
        if token.subject in settings.denied_clients:
            return Refusal(403, "access_denied", "this client may not connect")
        own = sum(other is not None and other.subject == token.subject for other in present)
        if own >= settings.connections_per_client:
            wanted = f"wanted at most {settings.connections_per_client} connections of one client"
            return Refusal(429, "connection_limit", wanted, retry_after=settings.retry_after)
        wait = self._rate.take(token.subject, now)
        return None if wait is None else Refusal(429, "rate_limited", "wanted fewer upgrades", wait)
