"""How records become lines and batches, and when they are written."""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.logger.machine import (
    BATCH_CHARS,
    BATCH_RECORDS,
    LINE_BYTES_MAX,
    DeadLetterLimit,
    Pace,
    Step,
    clean_end,
    fill_batch,
    is_clean_end,
    render,
)
from holdfast.actors.logger.messages import Backlog, Level, Logger, Record
from holdfast.actors.logger.settings import InvalidLoggerSettings, LoggerSettings

SETTINGS = LoggerSettings()
NOW = 1_795_218_098.125


def record(message: str = "Test message", data: dict[str, object] | None = None) -> Record:
    return Record(int(Level.INFO), message, "TestComponent", NOW, data)


def backlog(*, capacity: int = 10_000, level: Level = Level.DEBUG) -> Backlog:
    return Backlog(level=level, now=lambda: NOW, capacity=capacity)


# A5.1
def test_a_record_is_one_json_object_with_exactly_the_seeds_fields() -> None:
    line = render(record(data={"userId": "user123", "action": "test_action"}), SETTINGS)

    assert json.loads(line) == {
        "level": "INFO",
        "message": "Test message",
        "component": "TestComponent",
        "timestamp": "2026-11-20T23:41:38.125Z",
        "data": {"userId": "user123", "action": "test_action"},
    }


def test_data_is_an_object_even_when_there_is_none() -> None:
    assert json.loads(render(record(), SETTINGS))["data"] == {}


def test_a_line_end_in_a_message_does_not_make_two_lines() -> None:
    assert "\n" not in render(record("one\ntwo"), SETTINGS)
    assert "\n" not in render(record("one\ntwo"), attrs.evolve(SETTINGS, structured=False))


def test_the_timestamp_can_be_left_out() -> None:
    line = render(record(), attrs.evolve(SETTINGS, include_timestamp=False))

    assert "timestamp" not in json.loads(line)


def test_an_unstructured_line_gives_a_terminal_nothing_to_obey() -> None:
    line = render(record("red \x1b[31m\x9b2J\r\u2028caf\u00e9"), attrs.evolve(SETTINGS, structured=False))

    assert "red \\x1b[31m\\x9b2J\\r\\u2028caf\u00e9" in line
    assert line.isprintable()


def test_unstructured_lines_have_the_same_content() -> None:
    line = render(record(data={"a": 1}), attrs.evolve(SETTINGS, structured=False))

    assert line == '2026-11-20T23:41:38.125Z INFO TestComponent Test message {"a":1}'


# A5.7
def test_the_message_and_the_component_are_redacted_too() -> None:
    made = Record(int(Level.INFO), "Bearer abc", "x token=abc", NOW, None)

    assert "abc" not in render(made, SETTINGS)


def test_a_line_is_bounded_and_says_that_it_was_cut() -> None:
    line = render(record("\x01" * 100_000, {"x": ["\x01" * 8_000] * 20}), SETTINGS)

    assert len(line) <= LINE_BYTES_MAX
    assert "[TRUNCATED]" in json.loads(line)["data"]
    assert json.loads(line)["message"].endswith("[TRUNCATED]")


def test_a_record_that_cannot_be_rendered_is_reported_in_its_place() -> None:
    line = render(Record(99, "no such level", "x", NOW, None), SETTINGS)

    assert json.loads(line)["message"] == "a record could not be rendered: KeyError"


def test_a_message_that_is_no_text_is_shown_all_the_same() -> None:
    made = Record(int(Level.INFO), 42, "x", NOW, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert json.loads(render(made, SETTINGS))["message"] == "42"


@pytest.mark.parametrize("structured", [True, False])
def test_the_mark_of_a_clean_end_is_known_again_and_nothing_else_is(*, structured: bool) -> None:
    settings = attrs.evolve(SETTINGS, structured=structured)

    assert is_clean_end(clean_end(NOW, settings))
    assert not is_clean_end(render(record("clean end"), settings))
    assert not is_clean_end("")
    assert not is_clean_end('{"level":"IN')


# A5.2
@given(st.sampled_from(Level), st.sampled_from(Level))
def test_a_record_is_accepted_when_its_level_is_at_least_the_set_one(level: Level, least: Level) -> None:
    waiting = backlog(level=Level.ERROR)
    front = Logger(waiting)
    front.set_level(least)

    calls = {
        Level.DEBUG: front.debug,
        Level.INFO: front.info,
        Level.WARN: front.warn,
        Level.ERROR: front.error,
    }
    calls[level]("text")
    front.log(level, "text", {"by": "log"})

    assert front.level is least
    assert len(waiting.records) == (2 if level >= least else 0)


def test_a_child_names_its_component_and_shares_the_level() -> None:
    waiting = backlog()
    parent = Logger(waiting)
    child = parent.child("socket")

    child.info("one")
    child.info("two", component="codec")
    parent.set_level(Level.ERROR)
    child.info("filtered")

    assert [made.component for made in waiting.records] == ["socket", "codec"]
    assert repr(child) == "<Logger socket ERROR 2/10000 waiting>"


def test_a_full_backlog_drops_the_newest_and_counts_them() -> None:
    waiting = backlog(capacity=2)
    front = Logger(waiting)

    for number in range(5):
        front.info(f"n{number}")

    assert waiting.accepted == 2
    batch = fill_batch(waiting, SETTINGS)
    assert batch is not None
    shown = [json.loads(line) for line in batch.lines.splitlines()]
    assert [line["message"] for line in shown] == ["n0", "n1", "3 records dropped"]
    assert shown[2]["level"] == "WARN"
    assert batch.records == 2
    assert fill_batch(waiting, SETTINGS) is None


def test_a_parked_actor_is_woken_once_for_a_batch() -> None:
    waiting = backlog()
    woken: list[int] = []
    waiting.park(lambda: woken.append(len(waiting.records)))

    for _ in range(10):
        Logger(waiting).info("x")

    assert woken == [1]


@given(st.lists(st.integers(0, 3_000), max_size=40))
def test_batches_keep_the_order_and_their_bounds_and_lose_nothing(sizes: list[int]) -> None:
    waiting = backlog()
    for number, size in enumerate(sizes * 10):
        Logger(waiting).info("x" * size, {"number": number})

    numbers: list[int] = []
    while (batch := fill_batch(waiting, SETTINGS)) is not None:
        lines = batch.lines.splitlines()
        assert len(lines) == batch.records <= BATCH_RECORDS
        assert len(batch.lines) <= BATCH_CHARS + 4_000 + BATCH_RECORDS
        numbers += [json.loads(line)["data"]["number"] for line in lines]

    assert numbers == list(range(len(sizes) * 10))


def test_a_batch_has_at_most_256_records_however_short() -> None:
    waiting = backlog()
    for _ in range(400):
        Logger(waiting).info("x")

    batch = fill_batch(waiting, attrs.evolve(SETTINGS, structured=False, include_timestamp=False))

    assert batch is not None
    assert batch.records == 256


def test_the_first_record_lingers_once_and_the_rest_join_it() -> None:
    pace = Pace()

    assert pace.woken() is Step.LINGER
    assert pace.woken() is Step.NOTHING
    assert pace.due(waiting=True) is Step.WRITE


def test_there_is_one_write_at_a_time() -> None:
    pace = Pace()
    pace.due(waiting=True)

    assert pace.due(waiting=True) is Step.NOTHING
    assert pace.woken() is Step.NOTHING
    assert pace.written(waiting=True) is Step.WRITE
    assert pace.written(waiting=False) is Step.PARK


def test_a_failed_write_is_tried_again_until_it_succeeds() -> None:
    pace = Pace()
    pace.due(waiting=True)

    assert pace.failed() is Step.RETRY
    assert pace.woken() is Step.NOTHING
    assert pace.due(waiting=True) is Step.WRITE
    assert pace.failed() is Step.RETRY
    assert pace.failures == 2
    pace.due(waiting=True)
    pace.written(waiting=False)
    assert pace.failures == 0
    assert pace.woken() is Step.LINGER


@given(st.lists(st.floats(0, 0.5), max_size=60))
def test_at_most_ten_dead_letters_a_second_are_admitted_and_all_are_accounted_for(gaps: list[float]) -> None:
    limit = DeadLetterLimit()
    now = 0.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        if limit.admit(now):
            admitted.append(now)

    assert len(admitted) + limit.held_back == len(gaps)
    # In a window of less than a second at most two full seconds meet.
    assert all(sum(t <= other < t + 1 for other in admitted) <= 20 for t in admitted)
    assert limit.take_held_back() == len(gaps) - len(admitted)
    assert limit.held_back == 0


def test_the_eleventh_dead_letter_of_a_second_is_held_back_and_the_next_second_is_free() -> None:
    limit = DeadLetterLimit()

    assert [limit.admit(0.5) for _ in range(11)] == [True] * 10 + [False]
    assert limit.admit(1.5)


@pytest.mark.parametrize(
    "name, make",
    [
        ("rotation_bytes", lambda: LoggerSettings(rotation_bytes=0)),
        ("retention_files", lambda: LoggerSettings(retention_files=0)),
        ("buffer_records", lambda: LoggerSettings(buffer_records=0)),
        ("linger", lambda: LoggerSettings(linger=0.05)),
        ("retry_delay", lambda: LoggerSettings(retry_delay=0)),
        ("file", lambda: LoggerSettings(stderr=False)),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(
    name: str, make: Callable[[], LoggerSettings]
) -> None:
    with pytest.raises(InvalidLoggerSettings, match=rf"^logging\.{name} must be "):
        make()
