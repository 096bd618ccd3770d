"""Is anybody there?  The heartbeat of one connection, and how it finds a zombie (A3.2).

Any inbound byte is a sign of life; a ping of ours only makes sure that there is
something to answer.  Silence for the interval and `dead_after` more is death.
After a jump of the clock (the machine slept, the process was stopped) silence
means nothing yet: one probe decides within `PROBE_DEADLINE`.

Pure: every method takes the times it needs.
"""

from __future__ import annotations

import attrs

__all__ = ["PROBE_DEADLINE", "Alive", "Dead", "Heartbeat", "Probe"]

# REALTIME 1.2: a probe ping after a jump of the clock is answered within this or never.
PROBE_DEADLINE = 3.0

# Times are floats: a rest below this is rounding.  Waiting for it would stand still in
# virtual time, where a timer that is due at once moves no clock.
ROUNDING = 0.001

# Pings whose answer may still come.  A connection is dead long before a fifth goes out.
PINGS_KEPT = 4


@attrs.frozen
class Alive:
    """Look again in `next_check` seconds."""

    next_check: float


@attrs.frozen
class Probe:
    """The clock jumped: ping now and look again in `next_check` seconds."""

    next_check: float


@attrs.frozen
class Dead:
    silence: float


@attrs.define
class Heartbeat:
    interval: float
    dead_after: float
    latency: float | None = attrs.field(default=None, init=False)
    """The last measured round trip."""

    _pings: dict[int, float] = attrs.field(factory=dict[int, float], init=False)
    _count: int = attrs.field(default=0, init=False)
    _probed_at: float | None = attrs.field(default=None, init=False)
    _seen: tuple[float, float] | None = attrs.field(default=None, init=False)
    """Monotonic and wall time of the last check."""

    def first_beat(self, draw: float) -> float:
        """When the first ping goes out: a fleet that connected together must not ping together."""
        return self.interval * draw

    def ping(self, now: float) -> int:
        """Count a ping that goes out now; return its number."""
        self._count += 1
        self._pings[self._count] = now
        if len(self._pings) > PINGS_KEPT:
            del self._pings[min(self._pings)]
        return self._count

    def pong(self, number: int, now: float) -> float | None:
        """Return the round trip of the ping with this number; None for one that was never sent."""
        sent = self._pings.pop(number, None)
        if sent is None:
            return None
        self.latency = now - sent
        return self.latency

    def check(self, now: float, wall: float, heard_at: float) -> Alive | Probe | Dead:
        """Judge the silence since `heard_at`."""
        jumped = self._jumped(now, wall)
        silence = now - heard_at
        if self._probed_at is not None:
            if heard_at <= self._probed_at:
                left = self._probed_at + PROBE_DEADLINE - now
                return Alive(left) if left > ROUNDING else Dead(silence)
            self._probed_at = None
        if jumped:
            self._probed_at = now
            return Probe(PROBE_DEADLINE)
        left = self.interval + self.dead_after - silence
        return Alive(left) if left > ROUNDING else Dead(silence)

    def _jumped(self, now: float, wall: float) -> bool:
        """Whether more time passed since the last check than anybody was awake for.

        In a suspended machine the monotonic clock stands and the wall clock goes on;
        in a stopped process both go on and the checks, due once an interval, did not
        come.  Either by more than two intervals is a jump.
        """
        seen, self._seen = self._seen, (now, wall)
        if seen is None:
            return False
        awake, passed = now - seen[0], wall - seen[1]
        return passed - awake > 2 * self.interval or awake > 3 * self.interval
