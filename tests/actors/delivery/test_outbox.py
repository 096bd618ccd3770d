"""Numbers, window and bounds of what is to be sent."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.actors.delivery.messages import Append, AppendVolatile, MessageInvalid, MessageTooLarge
from holdfast.actors.delivery.outbox import Entry, Outbox, Removal, frame_size, nested_deeper, refusal


def outbox(*sizes: int) -> Outbox:
    entries = (Entry(position, size, 0.0) for position, size in enumerate(sizes, 1))
    return Outbox(entries, sent_seq=0, acked_seq=0, last_position=len(sizes))


def send(box: Outbox, limit: int = 100) -> list[tuple[int, int | None]]:
    batch = box.next_batch(limit)
    box.numbered(batch)
    box.transmitted(batch)
    return [(entry.position, entry.seq) for entry in batch]


# D4.3
def test_numbers_are_contiguous_from_one_in_the_order_of_acceptance() -> None:
    box = outbox(10, 10, 10)
    box.open_window(100, 1_000)

    assert send(box) == [(1, 1), (2, 2), (3, 3)]
    assert send(box) == []


# A3.4
def test_never_more_frames_are_unacknowledged_than_the_window_has() -> None:
    box = outbox(10, 10, 10)
    box.open_window(2, 1_000)

    assert send(box) == [(1, 1), (2, 2)]
    assert send(box) == []
    box.acknowledged(1)
    assert send(box) == [(3, 3)]


# A3.4
def test_never_more_bytes_are_unacknowledged_than_the_window_has() -> None:
    box = outbox(60, 60)
    box.open_window(100, 100)

    assert send(box) == [(1, 1)]
    assert (box.in_flight_frames, box.in_flight_bytes) == (1, 60)
    box.acknowledged(1)
    assert (box.in_flight_frames, box.in_flight_bytes) == (0, 0)
    assert send(box) == [(2, 2)]


# D4.3
def test_on_the_next_link_the_unacknowledged_leave_again_with_the_same_numbers() -> None:
    box = outbox(10, 10, 10)
    box.open_window(2, 1_000)
    send(box)

    box.acknowledged(1)
    box.open_window(100, 1_000)

    assert send(box) == [(2, 2), (3, 3)]


# D4.3
def test_in_a_new_session_the_same_order_is_numbered_from_one() -> None:
    box = outbox(10, 10, 10)
    box.open_window(100, 1_000)
    send(box)
    box.acknowledged(1)

    box.renumber()
    box.open_window(100, 1_000)

    assert send(box) == [(2, 1), (3, 2)]


def test_an_acknowledgement_makes_room() -> None:
    box = outbox(10, 20)
    box.open_window(100, 1_000)
    send(box)

    box.acknowledged(2)

    assert (len(box), box.bytes, box.acked_seq) == (0, 0, 2)


def test_removed_messages_leave_no_hole_in_the_numbers() -> None:
    box = outbox(10, 500, 10)
    box.removed(box.too_large(100, numbered=False))
    box.open_window(100, 1_000)

    assert send(box) == [(1, 1), (3, 2)]
    assert box.bytes == 20


def test_only_what_is_older_than_the_age_is_too_old() -> None:
    box = outbox(10)

    assert box.too_old(60.0, 60.0, numbered=True) == ()
    assert box.too_old(60.0, 60.1, numbered=True) == (Removal(1, "not acknowledged within 60 s"),)


def test_what_has_a_number_is_judged_only_when_asked() -> None:
    box = outbox(10)
    box.open_window(100, 1_000)
    send(box)

    assert box.too_old(1.0, 100.0, numbered=False) == ()
    assert box.stuck_beyond(0, 5)
    assert not box.stuck_beyond(1, 5)


def message(
    name: str = "a", kind: str = "msg.publish", channel: str | None = None, payload: bytes = b"{}"
) -> Append:
    return Append(name, kind, channel, msgspec.Raw(payload))


@pytest.mark.parametrize(
    "bad,field",
    [
        (message(name=""), "id"),
        (message(name="x" * 257), "id"),
        (message(kind=""), "type"),
        (message(kind="ack"), "type"),
        (message(channel=""), "channel"),
        (message(channel="\ud800"), "names"),
        (message(payload=b"[1]"), "payload"),
        (message(payload=b'{"a":'), "payload"),
        (message(payload=b""), "payload"),
        (message(payload=b"{} {}"), "payload"),
        (message(payload=b'{"a":' + b"[" * 128 + b"]" * 128 + b"}"), "payload"),
    ],
)
def test_what_cannot_be_a_frame_is_refused_by_the_name_of_the_field(bad: Append, field: str) -> None:
    refused = refusal(bad, 10_000)

    assert isinstance(refused, MessageInvalid)
    assert refused.field == field
    assert str(refused).startswith(f"a message's {field} must be ")


# A3.4
def test_an_oversized_message_is_refused_with_its_size_and_the_limit() -> None:
    big = message(payload=b'{"a":"' + b"x" * 1_000 + b'"}')

    refused = refusal(big, 1_000)

    assert isinstance(refused, MessageTooLarge)
    assert (refused.size, refused.limit) == (frame_size(big), 1_000)
    assert str(refused.size) in str(refused)
    assert refusal(big, refused.size) is None


def test_the_estimated_size_is_never_below_the_real_one() -> None:
    channel = 'room "\u00e9\x01'
    frame = {"type": "msg.publish", "id": "a" * 36, "seq": 2**63 - 1, "ack": 2**63 - 1, "ch": channel}
    frame |= {"ts": 2**63 - 1, "payload": {}}

    assert frame_size(message(name="a" * 36, channel=channel)) >= len(msgspec.json.encode(frame))


def test_a_volatile_message_needs_no_id() -> None:
    assert refusal(AppendVolatile("typing", None, msgspec.Raw(b"{}")), 1_000) is None


def test_a_payload_no_reader_could_follow_is_refused_and_does_not_crash_its_taker() -> None:
    bottomless = message(payload=b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}")

    assert isinstance(refusal(bottomless, 1_000_000), MessageInvalid)


@pytest.mark.parametrize(
    "json,depth",
    [
        (b"{}", 1),
        (b'{"a":[1,[2],{"b":{}}]}', 4),
        (b'{"[[[[":"{{{{","b":"\\"[["}', 1),
        (b"[[],[],[],[],[]]", 2),
        (b'{"cut":"[[[[', 1),
        (b'{"cut":"[[[[\\', 1),
    ],
)
def test_nesting_is_the_depth_of_brackets_outside_of_strings(json: bytes, depth: int) -> None:
    assert not nested_deeper(json, depth)
    assert nested_deeper(json, depth - 1)
