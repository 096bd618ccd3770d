"""The demo's figures of messages mean something: the same scans find what is planted."""

from __future__ import annotations

from pathlib import Path

import apsw
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.app.demo.audit import audit_direction, count_full_restarts, in_flight, read_logs
from holdfast.actors.app.demo.journal import Journal

NUMBERS = list(range(1, 41))


def test_what_arrives_once_and_in_order_is_clean() -> None:
    assert audit_direction(NUMBERS, NUMBERS).clean


def test_a_dropped_message_is_found() -> None:
    assert audit_direction(NUMBERS, [n for n in NUMBERS if n != 7]).lost == 1


def test_a_doubled_message_is_found() -> None:
    assert audit_direction(NUMBERS, [*NUMBERS, 7]).duplicated == 1


def test_a_message_out_of_order_is_found() -> None:
    assert audit_direction(NUMBERS, [2, 1, *NUMBERS[2:]]).out_of_order == 1


@given(st.lists(st.integers(1, 30), max_size=60))
def test_clean_means_exactly_that_what_arrived_is_what_was_sent(received: list[int]) -> None:
    sent = list(range(1, 31))

    assert audit_direction(sent, received).clean == (received == sent)


def test_in_flight_is_what_had_left_and_not_arrived() -> None:
    left = {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
    arrived = {1: 1.5, 2: 3.5, 4: 4.5}

    assert [in_flight(at, left, arrived) for at in (0.5, 1.0, 1.5, 2.5, 3.0, 3.5, 5.0)] == [
        0,
        1,
        0,
        1,
        2,
        1,
        1,
    ]


def test_both_ways_are_counted_from_the_logs_of_both_processes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.note_sent([(1, "a"), (2, "b"), (3, "c")])
    journal.note_accepted([(1, 10.0), (2, 11.0), (3, 12.0)])
    journal.note_received([(1, "a", 11.5)])
    journal.close()
    hub = apsw.Connection(str(tmp_path / "hub.db"))
    hub.execute("create table effects (position integer primary key, payload blob, received_at real)")
    hub.execute("insert into effects (payload, received_at) values ('{\"number\":1}', 10.5)")
    hub.execute("insert into effects (payload, received_at) values ('{\"number\":2}', 11.2)")
    hub.execute('insert into effects (payload, received_at) values (\'{"channel":"room"}\', 11.3)')
    hub.close()

    logs = read_logs(tmp_path / "journal.db", tmp_path / "hub.db")

    assert logs.in_flight(10.2) == (1, 0)
    assert logs.in_flight(11.1) == (1, 1)
    assert logs.in_flight(11.4) == (0, 2)
    assert logs.in_flight(12.5) == (1, 1)
    assert (logs.up().lost, logs.down().lost) == (1, 2)


def test_logs_that_were_never_written_hold_nothing(tmp_path: Path) -> None:
    logs = read_logs(tmp_path / "journal.db", tmp_path / "hub.db")

    assert (logs.up().sent, logs.down().received) == (0, 0)


def test_the_journal_keeps_the_order_of_writing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.note_sent([(3, "c"), (1, "a")])
    journal.note_sent([(2, "b")])
    journal.close()

    assert read_logs(tmp_path / "journal.db", tmp_path / "hub.db").sent == [3, 1, 2]


def test_full_restarts_are_counted_in_the_log_by_the_name_of_their_event(tmp_path: Path) -> None:
    log = tmp_path / "client.jsonl"
    assert count_full_restarts(log) == -1

    log.write_text(
        '{"level":"WARN","message":"supervisor:full_restart_started"}\n'
        '{"level":"WARN","message": "supervisor:full_restart_completed"}\n'
        '{"level":"INFO","message":"somebody wrote supervisor:full_restart_completed"}\n'
        '{"level":"INFO","mess'
    )

    assert count_full_restarts(log) == 1
