"""How patient the link is.

The figures are those of SEMANTICS "Time": detection (15 s) + back-off + dial (5 s)
stay under the 30 s in which a link must be back after the network is (A2.7).
"""

from __future__ import annotations

import attrs

from holdfast.runtime import HoldfastError

__all__ = ["InvalidReconnectSettings", "ReconnectSettings"]


class InvalidReconnectSettings(HoldfastError, ValueError):
    """A setting of reconnect that makes no sense; raised when the settings are made."""

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(f"reconnect.{name} must be {wanted}, not {value}")
        self.name = name


def _check(name: str, value: float, wanted: str, *, ok: bool) -> None:
    if not ok:
        raise InvalidReconnectSettings(name, value, wanted)


@attrs.frozen
class ReconnectSettings:
    max_retries: int = 5
    """Retries of the back-off; after them the link is suspended."""

    initial_delay: float = 1.0
    """The second retry's delay, and with jitter the most that the first waits."""

    multiplier: float = 2.0
    max_delay: float = 8.0
    """Cap of the back-off: more would break A2.7."""

    jitter: bool = True
    """Full jitter: each delay is U(0, delay).  Off: exactly 0, 1, 2, 4, 8."""

    stable_after: float = 30.0
    """Seconds a link must have been ready before its loss starts the back-off anew."""

    probe: float | None = 10.0
    """Seconds between the probes of a suspended link, for ever; None: no probe, only `Retry` leads out."""

    budget_reconnects: int = 10
    """Ready links that may be lost within `budget_period` before each retry waits for `budget_floor`."""

    budget_period: float = 300.0
    budget_floor: float = 10.0
    retry_after_max: float = 300.0
    """The longest stay-away honoured; a hub that says "tomorrow" by mistake must not end a session."""

    answer_within: float = 25.0
    """Last resort, for a socket that answers nothing: its limits for dial (5) and replay (15), and 5 more."""

    dials_per_minute: int = 20
    """No sequence of facts or commands dials more often: three times what a suspended link does."""

    def __attrs_post_init__(self) -> None:
        _check("max_retries", self.max_retries, "zero or more", ok=self.max_retries >= 0)
        _check("multiplier", self.multiplier, "one or more", ok=self.multiplier >= 1)
        _check("max_delay", self.max_delay, "at least initial_delay", ok=self.max_delay >= self.initial_delay)
        _check("stable_after", self.stable_after, "zero or more", ok=self.stable_after >= 0)
        _check("budget_reconnects", self.budget_reconnects, "one or more", ok=self.budget_reconnects >= 1)
        _check("budget_floor", self.budget_floor, "zero or more", ok=self.budget_floor >= 0)
        _check("dials_per_minute", self.dials_per_minute, "one or more", ok=self.dials_per_minute >= 1)
        for name in ("initial_delay", "budget_period", "retry_after_max", "answer_within"):
            value = getattr(self, name)
            _check(name, value, "positive", ok=value > 0)
        if self.probe is not None:
            _check("probe", self.probe, "positive, or None for no probe", ok=self.probe > 0)
