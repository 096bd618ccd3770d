from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.actors.hub.codec import (
    BATCH_MAX,
    BadFrame,
    Beat,
    Connect,
    Frame,
    Subscription,
    Welcome,
    body_of,
    decode,
    encode,
    encode_batch,
    frame,
    reliable,
)
from holdfast.runtime import Secret


def one(message: str | bytes, *, max_frame: int = 1_024, batch: bool = False) -> Frame | BadFrame:
    (found,) = decode(message, max_frame=max_frame, batch=batch)
    return found


def good(message: str) -> Frame:
    found = one(message)
    assert isinstance(found, Frame)
    return found


def test_type_and_payload_alone_are_a_frame() -> None:  # D7
    found = good('{"type": "typing", "payload": {"on": true}}')

    assert (found.type, found.seq, bytes(found.payload)) == ("typing", None, b'{"on": true}')


def test_a_payload_that_is_absent_or_null_is_empty_and_not_written_again() -> None:
    for text in ('{"type":"ack","ack":3}', '{"type":"ack","ack":3,"payload":null}'):
        assert json.loads(encode(good(text))) == {"type": "ack", "ack": 3}


def test_fields_that_nobody_knows_are_passed_over() -> None:
    assert good('{"type":"x","pos":{"o":1,"e":"k"},"future":[1]}').type == "x"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "no json",
        "{",
        "null",
        '"text"',
        "{}",
        '{"type":""}',
        '{"type":5}',
        '{"type":"x","seq":0}',
        '{"type":"x","seq":-1}',
        '{"type":"x","seq":1.5}',
        '{"type":"x","seq":"1"}',
        '{"type":"x","seq":99999999999999999999}',
        '{"type":"x","ack":-1}',
        '{"type":"x","id":""}',
        '{"type":"x","ch":7}',
        '{"type":"x","payload":[1]}',
        '{"type":"x","payload":"text"}',
        '{"type":"x"} trailing',
        '{"type":"x","payload":{"a":NaN}}',
        '{"type":"x","payload":' + "[" * 50_000 + "]" * 50_000 + "}",
    ],
)
def test_what_is_no_frame_is_answered_and_not_raised(message: str) -> None:  # A3.3
    found = one(message, max_frame=1 << 20)

    assert isinstance(found, BadFrame)
    assert found.code == "bad_frame"
    assert not found.fatal


def test_the_answer_names_the_frame_when_its_id_can_be_read() -> None:
    found = one('{"type":"x","id":"m-1","payload":7}')

    assert isinstance(found, BadFrame)
    assert found.re == "m-1"


def test_binary_messages_are_refused() -> None:
    found = one(b'{"type":"x"}')

    assert isinstance(found, BadFrame)
    assert "text" in found.message


def test_a_frame_over_the_limit_in_bytes_is_fatal() -> None:
    exact = json.dumps({"type": "x", "payload": {"a": "é" * 4}}, ensure_ascii=False)
    size = len(exact.encode())

    assert isinstance(one(exact, max_frame=size), Frame)
    too_big = one(exact, max_frame=size - 1)
    assert isinstance(too_big, BadFrame)
    assert (too_big.code, too_big.fatal) == ("frame_too_big", True)


def test_an_array_is_a_batch_only_where_that_was_negotiated() -> None:
    message = '[{"type":"a"}, {"type":"b"}, 7]'

    assert isinstance(one(message), BadFrame)
    first, second, third = decode(message, max_frame=1_024, batch=True)
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert isinstance(third, BadFrame)


@pytest.mark.parametrize("message", ["[", "[{]", json.dumps([{"type": "x"}] * (BATCH_MAX + 1))])
def test_a_broken_or_endless_batch_is_one_bad_frame(message: str) -> None:
    assert isinstance(one(message, max_frame=1 << 20, batch=True), BadFrame)


def test_a_batch_that_is_written_is_read_as_the_same_frames() -> None:
    frames = [
        frame("ping", Beat(3)),
        reliable("msg.event", 1, id="i", re=None, ch="room", payload=b'{"n":1}'),
        reliable("msg.event", 2, id="j", re="i", ch=None, payload=b""),
    ]
    text = encode_batch([encode(each) for each in frames]).decode()

    assert [json.loads(encode(each)) for each in frames] == json.loads(text)
    assert [type(found) for found in decode(text, max_frame=1_024, batch=True)] == [Frame, Frame, Frame]


def test_a_control_frame_without_what_it_needs_is_a_bad_payload() -> None:
    kinds: list[tuple[str, type[Connect | Subscription]]] = [
        ('{"type":"connect","id":"c","payload":{}}', Connect),
        ('{"type":"connect","id":"c"}', Connect),
        ('{"type":"msg.subscribe","id":"c","payload":{"channel":""}}', Subscription),
        ('{"type":"connect","id":"c","payload":{"client_id":"x","resume":{"session":"s"}}}', Connect),
        ('{"type":"connect","id":"c","payload":{"client_id":"x","token":7}}', Connect),
    ]
    for text, kind in kinds:
        found = body_of(good(text), kind)
        assert isinstance(found, BadFrame)
        assert (found.code, found.re) == ("bad_payload", "c")


def test_secrets_of_frames_are_masked_inside_and_plain_on_the_wire() -> None:  # A5.7
    body = body_of(good('{"type":"connect","payload":{"client_id":"x","token":"hush-hush"}}'), Connect)
    assert isinstance(body, Connect)
    assert body.token == Secret("hush-hush")
    assert "hush" not in repr(body)

    welcome = Welcome("s", Secret("the-key"), "e", False, None, 0, 1, 2, 3)
    assert "the-key" not in repr(welcome)
    assert json.loads(encode(frame("welcome", welcome)))["payload"]["key"] == "the-key"


def test_a_bad_frame_never_quotes_what_came() -> None:  # A5.7
    found = body_of(good('{"type":"connect","payload":{"client_id":["hush-hush"]}}'), Connect)

    assert isinstance(found, BadFrame)
    assert "hush" not in found.message


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.booleans())
def test_no_text_can_make_the_codec_raise(message: str, batch: bool) -> None:
    for found in decode(message, max_frame=150, batch=batch):
        assert isinstance(found, Frame | BadFrame)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_envelope = st.dictionaries(
    st.sampled_from(["type", "id", "seq", "ack", "re", "ch", "ts", "payload", "pos"]), _json, max_size=9
)


@settings(max_examples=150, deadline=None)
@given(_envelope)
def test_whatever_is_accepted_can_be_written_and_read_again(envelope: dict[str, object]) -> None:
    found = one(json.dumps(envelope), max_frame=1 << 20)

    if isinstance(found, Frame):
        assert one(encode(found).decode()) == found or msgspec.json.decode(
            encode(found)
        ) == msgspec.json.decode(encode(good(encode(found).decode())))


@pytest.mark.parametrize("depth, fine", [(127, True), (128, False), (900, False)])
def test_what_is_nested_deeper_than_everybody_can_read_is_passed_on_to_nobody(depth: int, fine: bool) -> None:
    payload = '{"a":' + "[" * depth + "]" * depth + ',"b":"[[[["}'

    found = one('{"type":"msg.publish","id":"m","seq":1,"payload":' + payload + "}", max_frame=10_000)

    assert isinstance(found, Frame) == fine
    assert fine or (isinstance(found, BadFrame) and found.re == "m")


def test_names_may_be_as_long_as_clients_make_them() -> None:
    name = "n" * 256
    text = json.dumps({"type": name, "id": name, "re": name, "ch": name, "seq": 1})

    assert isinstance(one(text, max_frame=10_000), Frame)
