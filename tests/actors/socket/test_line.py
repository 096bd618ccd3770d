from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.socket.codec import BATCH_MAX, encode_batch
from holdfast.actors.socket.line import Line
from holdfast.actors.socket.settings import SocketSettings
from holdfast.runtime.testing import on_trio

SETTINGS = SocketSettings(
    "wss://hub.example",
    max_frame=1024,
    outbound_frames=4,
    outbound_bytes=2048,
    inbound_frames=3,
    inbound_bytes=2048,
)


def test_the_writer_takes_one_frame_at_a_time_unless_batches_were_agreed() -> None:
    line = Line(SETTINGS)
    for each in (b"a", b"b", b"c"):
        assert line.put(each)

    assert line.take_outgoing() == [b"a"]
    line.batch = True
    assert line.take_outgoing() == [b"b", b"c"]
    assert line.take_outgoing() == []
    assert (line.outgoing_frames, line.outgoing_bytes) == (0, 0)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1], [1024, 1023, 2]])
def test_what_goes_out_is_bounded_in_frames_and_in_bytes(sizes: list[int]) -> None:
    # A3.4
    line = Line(SETTINGS)

    assert [line.put(b"x" * size) for size in sizes] == [True] * (len(sizes) - 1) + [False]


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [1024, 1024, 1]])
def test_what_comes_in_is_bounded_in_messages_and_in_bytes(sizes: list[int]) -> None:
    # A3.4
    line = Line(SETTINGS)

    assert [line.push("x" * size) for size in sizes] == [True] * (len(sizes) - 1) + [False]


def test_what_came_in_is_announced_once_until_it_was_taken() -> None:
    line = Line(SETTINGS)
    line.push("a")
    line.push("b")

    assert line.owes_announcement()
    assert not line.owes_announcement()
    assert line.take_incoming(1) == ["a"]
    assert line.has_incoming
    assert line.owes_announcement()
    assert line.take_incoming(9) == ["b"]
    assert line.incoming_bytes == 0


@on_trio
async def test_closing_wakes_the_writer() -> None:
    line = Line(SETTINGS)
    line.close(1001, "bye")
    await line.wait_outgoing()

    assert line.take_outgoing() == []
    assert line.closing == (1001, "bye")


@given(st.lists(st.integers(1, 900), max_size=400), st.booleans())
def test_batches_keep_every_frame_in_order_and_fit_the_limit(sizes: list[int], batch: bool) -> None:
    line = Line(attrs.evolve(SETTINGS, outbound_frames=1000, outbound_bytes=10_000_000))
    line.batch = batch
    frames = [bytes([97 + n % 26]) * size for n, size in enumerate(sizes)]
    for each in frames:
        assert line.put(each)
    taken: list[bytes] = []
    while part := line.take_outgoing():
        assert len(part) <= (BATCH_MAX if batch else 1)
        assert len(encode_batch(part)) <= SETTINGS.max_frame
        taken += part

    assert taken == frames
