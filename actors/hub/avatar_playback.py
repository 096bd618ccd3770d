"""How the avatar stand-in plays speech: as long as its samples last, one utterance after the other.

Pure; times come in.  As documented: an utterance begins with its first
`agent.speak`, whatever ids its chunks carry, and the avatar never leaves
speaking without `agent.speak_end`.  Nobody can hear a wrong sample rate here
either: it would merely last longer or shorter.
"""

from __future__ import annotations

from collections import deque

import attrs

__all__ = ["Playback", "Told"]

# PCM s16le mono at 24 kHz.
BYTES_PER_SECOND = 48_000


@attrs.frozen
class Told:
    """What the service says about speech, and when."""

    at: float
    type: str
    event_id: str


@attrs.define
class Playback:
    """The speech that was received, on the time line."""

    until: float = 0.0
    """When the last sample received so far has been played."""
    _inside: bool = False
    _scheduled: deque[Told] = attrs.field(factory=deque[Told])

    def speak(self, event_id: str, size: int, now: float) -> None:
        """Append a chunk of audio."""
        self.until = max(self.until, now)
        if not self._inside:
            self._inside = True
            self._scheduled.append(Told(self.until, "agent.speak_started", event_id))
        self.until += size / BYTES_PER_SECOND

    def end(self, event_id: str, now: float) -> None:
        """The utterance is complete; without one this is nothing."""
        if self._inside:
            self._inside = False
            self._scheduled.append(Told(max(self.until, now), "agent.speak_ended", event_id))

    def interrupt(self, event_id: str, now: float) -> None:
        """Drop everything that is scheduled; on a silent avatar this is nothing."""
        if self._inside or self._scheduled or self.until > now:
            self._scheduled.clear()
            self._scheduled.append(Told(now, "agent.speak_interrupted", event_id))
            self._inside = False
            self.until = now

    @property
    def next_at(self) -> float:
        """When there is next something to tell; infinity for never."""
        return self._scheduled[0].at if self._scheduled else float("inf")

    def due(self, now: float) -> list[Told]:
        """Remove and return what is to be told by now."""
        told: list[Told] = []
        while self._scheduled and self._scheduled[0].at <= now:
            told.append(self._scheduled.popleft())
        return told
