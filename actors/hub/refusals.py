"""How a refusal looks over HTTP: the same at every door of the hub."""

from __future__ import annotations

import math

import msgspec

from holdfast.actors.hub.messages import Refusal

__all__ = ["NO_STORE", "refusal_body", "refusal_headers"]

# RFC 6749 5.1: what holds a token, and what says why there is none, is never cached.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: str
    error_description: str


def refusal_body(refusal: Refusal) -> bytes:
    """Return the JSON of a refusal."""
    return msgspec.json.encode(_ErrorAnswer(refusal.error, refusal.description))


def refusal_headers(refusal: Refusal) -> dict[str, str]:
    """Return the headers that go with a refusal."""
    headers = dict(NO_STORE)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = f'Bearer realm="holdfast", error="{refusal.error}"'
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(refusal.retry_after))
    return headers
