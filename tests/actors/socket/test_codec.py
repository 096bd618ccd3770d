from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.socket.codec import (
    BATCH_MAX,
    Beat,
    Bye,
    ErrorBody,
    FrameTooBig,
    Goaway,
    Hello,
    Rejected,
    Welcome,
    auth_refresh,
    control_frame,
    decode,
    decode_control,
    encode,
    encode_batch,
    resume_claim,
)
from holdfast.actors.socket.messages import NO_PAYLOAD, Frame, Position
from holdfast.runtime import Secret

LIMIT = 262_144

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
COUNTS = st.integers(0, 2**53 - 1)
FRAMES = st.builds(
    Frame,
    type=NAMES,
    id=st.none() | NAMES,
    seq=st.none() | st.integers(1, 2**53 - 1),
    ack=st.none() | COUNTS,
    re=st.none() | NAMES,
    ch=st.none() | NAMES,
    pos=st.none() | st.builds(Position, o=COUNTS, e=NAMES),
    ts=st.none() | COUNTS,
    payload=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3).map(
        lambda value: msgspec.Raw(msgspec.json.encode(value)) if value else NO_PAYLOAD
    ),
)


@given(FRAMES)
def test_what_is_encoded_is_decoded_again(frame: Frame) -> None:
    # A3.3, D7
    decoded = decode(encode(frame).decode(), LIMIT)

    assert decoded.frames == (frame,)
    assert decoded.rejected == ()


@given(st.lists(FRAMES, min_size=1, max_size=8))
def test_a_batch_keeps_its_frames_and_their_order(frames: list[Frame]) -> None:
    decoded = decode(encode_batch([encode(frame) for frame in frames]).decode(), LIMIT)

    assert decoded.frames == tuple(frames)
    assert decoded.batch == (len(frames) > 1)


@given(st.text() | st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
def test_garbage_is_rejected_with_a_reason_and_a_size_and_never_raises(garbage: str | bytes) -> None:
    # A3.3
    decoded = decode(garbage, LIMIT)

    assert decoded.frames == ()
    assert all(each.why and each.size >= 0 for each in decoded.rejected)


@given(FRAMES, st.text(max_size=20), st.integers(0, 30))
def test_a_frame_with_a_splinter_in_it_never_raises(frame: Frame, splinter: str, at: int) -> None:
    text = encode(frame).decode()
    decode(text[:at] + splinter + text[at:], LIMIT)


@pytest.mark.parametrize(
    "text,why",
    [
        ("nonsense", "malformed JSON"),
        ("", "malformed JSON"),
        ("42", "Expected `object`"),
        ("{}", "missing required field `type`"),
        ('{"type":""}', "length >= 1"),
        ('{"type":7}', "Expected `str`, got `int` - at `$.type`"),
        ('{"type":"a","seq":0}', "`int` >= 1"),
        ('{"type":"a","seq":-1}', "`int` >= 1"),
        ('{"type":"a","seq":true}', "got `bool` - at `$.seq`"),
        ('{"type":"a","ack":1e3000}', ""),
        ('{"type":"a","payload":[1]}', "not a JSON object"),
        ('{"type":"a","payload":"x"}', "not a JSON object"),
        ('{"type":"a","payload":{"x":}}', "malformed JSON"),
        ('{"type":"a","zz":' + "[" * 5000 + "]" * 5000 + "}", "nested too deeply"),
        ('{"type":"\ud800"}', "malformed JSON"),
        ("[nonsense", "malformed JSON"),
    ],
)
def test_a_frame_that_is_none_is_rejected_with_its_reason(text: str, why: str) -> None:
    # A3.3
    decoded = decode(text, LIMIT)

    assert decoded.frames == ()
    assert len(decoded.rejected) == 1
    assert why in decoded.rejected[0].why


def test_a_reason_never_quotes_what_was_received() -> None:
    # A5.7: it might be a secret
    decoded = decode('{"type":"a","id":"hunter2","seq":"hunter2"}', LIMIT)

    assert "hunter2" not in decoded.rejected[0].why


def test_a_bad_frame_in_a_batch_costs_its_neighbours_nothing() -> None:
    # A3.3
    decoded = decode('[{"type":"a"}, 7, {"seq":1}, {"type":"b"}]', LIMIT)

    assert [frame.type for frame in decoded.frames] == ["a", "b"]
    assert len(decoded.rejected) == 2


def test_a_binary_message_is_rejected() -> None:
    decoded = decode(b'{"type":"a"}', LIMIT)

    assert decoded.rejected == (Rejected("a binary message came in, rt.v1.json is text", 12),)


@pytest.mark.parametrize("message", ["é" * 100, b"x" * 200, "x" * 151])
def test_a_message_over_the_limit_in_bytes_is_an_error_of_its_own(message: str | bytes) -> None:
    # 4306
    with pytest.raises(FrameTooBig, match="over the limit of 150"):
        decode(message, 150)


def test_a_message_of_exactly_the_limit_is_fine() -> None:
    text = '{"type":"a"}'

    assert decode(text, len(text)).frames == (Frame(type="a"),)


def test_a_batch_longer_than_a_window_is_rejected_whole() -> None:
    text = "[" + ",".join(['{"type":"a"}'] * (BATCH_MAX + 1)) + "]"

    assert "over the limit of 256" in decode(text, LIMIT).rejected[0].why


def test_fields_nobody_has_heard_of_are_ignored() -> None:
    assert decode('{"type":"a","new":{"x":1}}', LIMIT).frames == (Frame(type="a"),)


def test_a_null_payload_is_none() -> None:
    assert decode('{"type":"a","payload":null}', LIMIT).frames == (Frame(type="a"),)


def test_a_frame_of_the_application_is_no_control_frame() -> None:
    assert decode_control(Frame(type="msg.event", seq=1)) is None
    assert decode_control(Frame(type="something.new")) is None


def test_control_frames_are_typed() -> None:
    # REALTIME 1.2
    hello = decode_control(
        Frame(
            type="hello",
            payload=msgspec.Raw(
                b'{"v":1,"conn":"c-1","hb_ms":20000,"max_frame":4096,"window":{"frames":16,"bytes":65536}}'
            ),
        )
    )
    assert isinstance(hello, Hello)
    assert (hello.hb_ms, hello.max_frame, hello.window.frames) == (20_000, 4096, 16)

    error = decode_control(
        Frame(type="error", payload=msgspec.Raw(b'{"code":"x","message":"y","retryable":false}'))
    )
    assert error == ErrorBody(code="x", message="y", retryable=False)
    goaway = decode_control(Frame(type="goaway", payload=msgspec.Raw(b'{"reconnect_in_ms":[100,200]}')))
    assert goaway == Goaway(reconnect_in_ms=(100, 200))
    assert decode_control(Frame(type="ping")) == Beat(0)


@pytest.mark.parametrize(
    "frame,why",
    [
        (Frame(type="ping", seq=4), "control frames carry none"),
        (Frame(type="hello"), "a payload that is not its own"),
        (Frame(type="hello", payload=msgspec.Raw(b'{"v":"one"}')), "Expected `int`"),
        (Frame(type="welcome", payload=msgspec.Raw(b'{"session":""}')), "a payload that is not its own"),
        (Frame(type="goaway", payload=msgspec.Raw(b'{"reconnect_in_ms":[-1,5]}')), "`int` >= 0"),
    ],
)
def test_a_control_frame_that_is_not_its_own_is_rejected(frame: Frame, why: str) -> None:
    rejected = decode_control(frame)

    assert isinstance(rejected, Rejected)
    assert why in rejected.why


@given(
    st.sampled_from(["hello", "welcome", "pong", "error", "goaway", "bye", "replay.end"]),
    st.binary(max_size=60),
)
def test_a_control_frame_with_garbage_in_it_never_raises(kind: str, garbage: bytes) -> None:
    decode_control(Frame(type=kind, payload=msgspec.Raw(b"{" + garbage)))


def test_secrets_leave_their_wrapper_for_the_wire_only() -> None:
    claim = resume_claim("s-1", Secret("k-1"), "e-1", recv_seq=3, sent_lo=4, sent_hi=5)
    refresh = control_frame("auth.refresh", auth_refresh(Secret("t-1")), name="auth-1-2")

    assert claim.key == "k-1"
    assert encode(refresh) == b'{"type":"auth.refresh","id":"auth-1-2","payload":{"token":"t-1"}}'
    assert "t-1" not in repr(refresh)


def test_a_welcome_carries_what_the_session_is() -> None:
    payload = (
        b'{"session":"s-1","key":"k","epoch":"e","resumed":true,"why":null,"recv_seq":7,'
        b'"session_ttl_ms":120000,"token_exp_ms":1,"hb_ms":10000}'
    )
    welcome = decode_control(Frame(type="welcome", payload=msgspec.Raw(payload)))

    assert isinstance(welcome, Welcome)
    assert (welcome.session, welcome.resumed, welcome.recv_seq) == ("s-1", True, 7)


@pytest.mark.parametrize("number", [10**400, 2**53, 0, -1])
@pytest.mark.parametrize("kind", ["hello", "welcome"])
def test_a_heartbeat_that_is_no_time_is_rejected(kind: str, number: int) -> None:
    # Bad input: what does not fit a float would crash whoever computes with it
    body = {"v": 1, "session": "s", "key": "k", "epoch": "e", "resumed": False}
    payload = msgspec.json.encode(body)[:-1] + f',"hb_ms":{number}}}'.encode()

    assert isinstance(decode_control(Frame(type=kind, payload=msgspec.Raw(payload))), Rejected)


def test_a_version_too_long_to_be_shown_is_rejected() -> None:
    payload = b'{"v":' + b"9" * 4_000 + b"}"

    assert isinstance(decode_control(Frame(type="hello", payload=msgspec.Raw(payload))), Rejected)


@pytest.mark.parametrize("kind", ["goaway", "bye", "error"])
def test_what_people_read_of_the_hub_has_no_line_ends_and_no_control_characters(kind: str) -> None:
    # A terminal obeys them, and a log line must not look like two
    said = "red \x1b[31m \x9b2J\n{}"
    payload = msgspec.Raw(msgspec.json.encode({"reason": said, "message": said, "code": said}))

    body = decode_control(Frame(type=kind, payload=payload))

    assert isinstance(body, Goaway | Bye | ErrorBody)
    texts = [body.message, str(body.code)] if isinstance(body, ErrorBody) else [body.reason]
    assert texts == ["red ?[31m ?2J?{}"] * len(texts)
