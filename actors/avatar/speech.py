"""Speech on its way to the avatar: the packets of the LITE WebSocket, their order, how utterances are cut.

Pure: audio in, packets out, in order.  The service wants a small first chunk, so
that the avatar starts early, and then about one second each; nothing is held
back to fill a chunk, because a caller may have no more to say for a while.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

import attrs

from holdfast.actors.avatar.messages import (
    SAMPLE_RATE,
    AvatarValueRefused,
    SynchronizeWithVoice,
    name_refused,
)

__all__ = [
    "Interrupt",
    "KeepAlive",
    "Packet",
    "Speak",
    "SpeakEnd",
    "SpeechQueue",
    "StartListening",
    "StopListening",
    "Voice",
    "speech_refused",
]

# Utterances that may wait at once; with one for each word that is more than a minute's speech.
UTTERANCES_MAX = 256


@attrs.frozen
class Speak:
    """agent.speak: a chunk of an utterance; all chunks of one utterance carry its id."""

    event_id: str
    audio: bytes = attrs.field(repr=False)


@attrs.frozen
class SpeakEnd:
    """agent.speak_end: without it the avatar never leaves speaking."""

    event_id: str


@attrs.frozen
class Interrupt:
    """agent.interrupt: the service drops everything that it has scheduled."""

    event_id: str


@attrs.frozen
class StartListening:
    """agent.start_listening: the avatar looks as if it listened."""

    event_id: str


@attrs.frozen
class StopListening:
    """agent.stop_listening."""

    event_id: str


@attrs.frozen
class KeepAlive:
    """session.keep_alive: the service starts its idle window anew."""

    event_id: str


Packet: TypeAlias = Speak | SpeakEnd | Interrupt | StartListening | StopListening | KeepAlive


def speech_refused(speech: SynchronizeWithVoice, *, most: int) -> AvatarValueRefused | None:
    """Return what is wrong with offered speech; the service would play it as noise, without a word."""
    size = len(speech.audio_data)
    if speech.sample_rate != SAMPLE_RATE:
        wanted = f"{SAMPLE_RATE} Hz (resampling is not built yet)"
        return AvatarValueRefused("sample_rate", wanted, f"{speech.sample_rate} Hz")
    if size % 2:
        return AvatarValueRefused("audio_data", "whole 16-bit samples, an even number of bytes", f"{size}")
    if size > most:
        return AvatarValueRefused("audio_data", f"at most {most} bytes; split it", f"{size}")
    return name_refused("voice_id", speech.voice_id)


@attrs.define
class _Utterance:
    event_id: str
    parts: deque[bytes] = attrs.field(factory=deque[bytes])
    size: int = 0
    begun: bool = False
    ended: bool = False

    @property
    def ready(self) -> bool:
        return self.size > 0 or self.ended

    def take(self, most: int) -> bytes:
        """Remove and return up to `most` bytes from the front."""
        taken: list[bytes] = []
        missing = min(most, self.size)
        self.size -= missing
        while missing:
            part = self.parts.popleft()
            if len(part) > missing:
                self.parts.appendleft(part[missing:])
                part = part[:missing]
            taken.append(part)
            missing -= len(part)
        return b"".join(taken)


class SpeechQueue:
    """Utterances that wait to be sent, oldest first, within a bound on their bytes and their number."""

    def __init__(self, *, first_chunk: int, chunk: int, limit: int) -> None:
        self._first_chunk = first_chunk
        self._chunk = chunk
        self.limit = limit
        self.size = 0
        """Bytes accepted and not yet taken."""
        self._utterances: deque[_Utterance] = deque()
        self._count = 0

    def has_room(self, size: int) -> bool:
        """Whether so much more speech can be accepted."""
        return self.size + size <= self.limit and len(self._utterances) < UTTERANCES_MAX

    def add(self, audio: bytes, *, last: bool) -> None:
        """Continue the utterance that is open, or begin one; with `last`, end it.

        Call it only when `has_room` says so.
        """
        assert self.has_room(len(audio)), "offered beyond the bound"
        utterance = self._open_utterance()
        if utterance is None and audio:
            self._count += 1
            utterance = _Utterance(f"speech-{self._count}")
            self._utterances.append(utterance)
        if utterance is None:
            return
        if audio:
            utterance.parts.append(audio)
            utterance.size += len(audio)
            self.size += len(audio)
        utterance.ended = last

    def _open_utterance(self) -> _Utterance | None:
        if self._utterances and not self._utterances[-1].ended:
            return self._utterances[-1]
        return None

    @property
    def ready(self) -> bool:
        """Whether `take` has a packet to give."""
        return bool(self._utterances) and self._utterances[0].ready

    def take(self) -> Speak | SpeakEnd:
        """Remove and return the next packet; call it only when `ready`."""
        utterance = self._utterances[0]
        if utterance.size:
            audio = utterance.take(self._chunk if utterance.begun else self._first_chunk)
            utterance.begun = True
            self.size -= len(audio)
            return Speak(utterance.event_id, audio)
        assert utterance.begun, "an utterance begins with audio"
        self._utterances.popleft()
        return SpeakEnd(utterance.event_id)

    def clear(self) -> int:
        """Drop everything; return how many bytes were not sent.  The next speech is a new utterance."""
        unsent, self.size = self.size, 0
        self._utterances.clear()
        return unsent


class Voice:
    """What goes to the avatar next, one packet at a time.

    It knows nothing of the session: whoever asks for a packet has made sure that
    the service listens.  Keep-alives and interrupts overtake speech.
    """

    def __init__(self, queue: SpeechQueue) -> None:
        self.queue = queue
        self.speaking = False
        """Between the first chunk of an utterance and its `agent.speak_end`, both as sent."""
        self._in_flight = False
        self._interrupting = False
        self._keep_alive_due = False
        self._listening = False  # told to look as if it listened
        self._playing = False  # has speech of ours that it has not finished
        self._packets = 0

    def next_packet(self) -> Packet | None:
        """Return the packet to write now; None while one is on its way or nothing is to be said."""
        packet = None if self._in_flight else self._choose()
        self._in_flight = self._in_flight or packet is not None
        return packet

    def written(self) -> None:
        """The packet that was on its way has been written."""
        self._in_flight = False

    def keep_alive(self) -> None:
        """Send a keep-alive next; two that are due at once are one."""
        self._keep_alive_due = True

    def interrupt(self) -> None:
        """Drop what is queued; what the service has scheduled is dropped by an `agent.interrupt`."""
        self.queue.clear()
        self._interrupting = self._playing

    def finished(self) -> None:
        """The service says that the avatar is silent; inside an utterance it speaks of an earlier one."""
        if not self.speaking:
            self._playing = False

    def _choose(self) -> Packet | None:
        if self._interrupting:
            self._interrupting = self._playing = self.speaking = False
            return Interrupt(self._packet_id())
        if self._keep_alive_due:
            self._keep_alive_due = False
            return KeepAlive(self._packet_id())
        if self.queue.ready and self._listening:
            self._listening = False
            return StopListening(self._packet_id())
        if self.queue.ready:
            packet = self.queue.take()
            self.speaking = isinstance(packet, Speak)
            self._playing = self._playing or self.speaking
            return packet
        if not self._listening and not self._playing:
            self._listening = True
            return StartListening(self._packet_id())
        return None

    def _packet_id(self) -> str:
        self._packets += 1
        return f"packet-{self._packets}"
