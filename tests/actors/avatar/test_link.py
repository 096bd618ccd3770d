from __future__ import annotations

import base64
import functools
import json

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.actors.avatar.facts import Reported, SpeechFinished
from holdfast.actors.avatar.link import LinkFact, converse, decode, encode
from holdfast.actors.avatar.settings import AvatarSettings, encoded_size
from holdfast.actors.avatar.speech import (
    Interrupt,
    KeepAlive,
    Packet,
    Speak,
    SpeakEnd,
    StartListening,
    StopListening,
)
from holdfast.runtime import Address, UnixAddress
from holdfast.runtime.testing import on_trio, run


@pytest.mark.parametrize(
    "packet, wire",
    [
        (SpeakEnd("e"), {"type": "agent.speak_end", "event_id": "e"}),
        (Interrupt("e"), {"type": "agent.interrupt", "event_id": "e"}),
        (StartListening("e"), {"type": "agent.start_listening", "event_id": "e"}),
        (StopListening("e"), {"type": "agent.stop_listening", "event_id": "e"}),
        (KeepAlive("e"), {"type": "session.keep_alive", "event_id": "e"}),
    ],
)
def test_packets_are_written_as_documented(packet: Packet, wire: dict[str, str]) -> None:
    assert json.loads(encode(packet)) == wire


@given(st.binary(min_size=2, max_size=2_000).filter(lambda audio: len(audio) % 2 == 0))
def test_speech_is_base64_and_within_the_packet_bound(audio: bytes) -> None:
    wire = encode(Speak("speech-1", audio))
    assert base64.b64decode(json.loads(wire)["audio"]) == audio
    assert len(wire) <= encoded_size(len(audio))


def test_the_largest_chunk_is_a_packet_that_the_service_takes() -> None:
    chosen = AvatarSettings()
    assert len(encode(Speak("speech-1000000", bytes(chosen.chunk)))) <= chosen.max_packet


@pytest.mark.parametrize(
    "wire, fact",
    [
        ('{"type":"session.state_updated","state":"connected"}', Reported(7, "connected")),
        ('{"type":"agent.speak_ended","event_id":"e","task":{"id":"t"}}', SpeechFinished(7)),
        ('{"type":"agent.speak_interrupted"}', SpeechFinished(7)),
        ('{"type":"agent.speak_started"}', None),
        ('{"type":"agent.audio_buffer_appended","source_event_id":"e"}', None),
        ('{"type":"warning","warning":{"type":"w","message":"m"}}', None),
        ("not json", None),
        ('{"type":7}', None),
        (b"\xff\xff", None),
        ("[" * 50_000, None),
    ],
)
def test_what_is_not_known_is_a_no_op(wire: str | bytes, fact: LinkFact | None) -> None:
    assert decode(wire, 7) == fact


def test_a_stopped_session_is_closed_with_the_reason_of_the_service() -> None:
    fact = decode('{"type":"session.stopped","end_reason":"NO_CREDITS"}', 1)
    assert isinstance(fact, Reported)
    assert fact.state == "closed"
    assert "NO_CREDITS" in fact.detail


async def outcome(answer: bytes | None, url: str = "ws://127.0.0.1:9/ws?key=1") -> str:
    """Return why a conversation ends with a service that answers the upgrade with these bytes."""
    ours, theirs = trio.testing.memory_stream_pair()

    async def connect(address: Address | UnixAddress, *, timeout: float | None = None) -> trio.abc.Stream:
        return ours

    async def hear(_fact: LinkFact) -> None: ...

    if answer is not None:
        await theirs.send_all(answer)
    _send, packets = trio.open_memory_channel[Packet](1)
    return await converse(connect, url, epoch=1, timeout=5.0, packets=packets, hear=hear)


@on_trio
async def test_a_refused_upgrade_is_named_by_its_status() -> None:
    assert "refused with HTTP 403" in await outcome(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


@on_trio
async def test_a_peer_that_speaks_no_http_ends_the_conversation() -> None:
    assert await outcome(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: wrong\r\nSec-WebSocket-Protocol: \xff\r\n\r\n"
)
PATCHES = st.lists(st.tuples(st.integers(0, len(UPGRADE) - 1), st.integers(0, 255)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(min_size=1, max_size=60), PATCHES))
def test_no_answer_of_a_peer_is_a_crash(answer: bytes | list[tuple[int, int]]) -> None:
    if isinstance(answer, list):
        patched = bytearray(UPGRADE)
        for position, value in answer:
            patched[position] = value
        answer = bytes(patched)
    assert run("trio", functools.partial(outcome, answer))


@on_trio
async def test_a_peer_that_never_answers_the_upgrade_is_given_up_in_time() -> None:
    began = trio.current_time()
    assert "did not answer in time" in await outcome(None)
    assert trio.current_time() - began == pytest.approx(5.0)
