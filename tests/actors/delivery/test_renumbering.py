"""The order of acceptance holds over a lost session, also for what never had a number in it."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.delivery.outbox import Entry, Outbox


# D4.3; REALTIME 1.2, exactly-once effect
@given(
    messages=st.integers(1, 30),
    window=st.integers(1, 30),
    acknowledged=st.integers(0, 30),
)
def test_a_new_session_sends_in_the_order_of_acceptance_whatever_had_a_number(
    messages: int, window: int, acknowledged: int
) -> None:
    entries = [Entry(position, 10, 0.0) for position in range(1, messages + 1)]
    box = Outbox(entries, sent_seq=0, acked_seq=0, last_position=messages)
    box.open_window(window, 1_000)
    batch = box.next_batch(1_000)
    box.numbered(batch)
    box.transmitted(batch)
    box.acknowledged(min(acknowledged, len(batch)))

    box.renumber()
    box.open_window(1_000, 1_000)

    gone = min(acknowledged, len(batch))
    assert box.next_batch(1_000) == tuple(
        attrs.evolve(entry, seq=number) for number, entry in enumerate(entries[gone:], 1)
    )
