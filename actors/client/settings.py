"""The settings of the facade: how long its verbs wait."""

from __future__ import annotations

import attrs

from holdfast.runtime import HoldfastError

__all__ = ["ClientSettings", "InvalidClientSettings"]


class InvalidClientSettings(HoldfastError, ValueError):
    """A setting of the client cannot be used."""


@attrs.frozen(kw_only=True)
class ClientSettings:
    """Times in seconds."""

    connect_timeout: float = 30.0
    """How long `connect` waits for the session to be ready: the seed's time-out (A7.1)."""

    send_timeout: float = 30.0
    """How long `send` may take to be accepted, restarts of delivery included: the time in which the product
    has to be back after any failure (A2.7)."""

    flush_timeout: float = 2.0
    """How long `disconnect` waits for what was sent to arrive: a window of 1 MiB at half a MiB a second.
    Less than the 5 s that the end of a client has for its disconnect."""

    receive_batch: int = 64
    """Messages fetched, and later committed as processed, together."""

    receive_wait: float = 20.0
    """The long poll of `receive`; below delivery's own bound."""

    def __attrs_post_init__(self) -> None:
        for name in ("connect_timeout", "send_timeout", "flush_timeout", "receive_wait", "receive_batch"):
            value: float = getattr(self, name)
            if not 0 < value < float("inf"):
                raise InvalidClientSettings(f"{name} must be finite and more than 0, not {value!r}")
