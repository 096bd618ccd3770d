"""What is written down of an exception: what Python prints, bounded, and nothing that keeps it alive."""

from __future__ import annotations

import gc
import traceback
import weakref

import msgspec
import pytest

from holdfast.runtime.backtrace import Backtrace, backtrace_of


class Odd(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Heavy:
    """Something that a frame holds."""


def fail(depth: int = 0) -> None:
    if depth:
        fail(depth - 1)
    raise KeyError("gone")


def caught(depth: int = 0) -> KeyError:
    try:
        fail(depth)
    except KeyError as error:
        return error
    raise AssertionError


def without_carets(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.strip(" ^~\n"))


def test_the_text_is_what_python_prints_save_the_marks_under_the_lines() -> None:
    error = caught(2)

    assert str(backtrace_of(error)) == without_carets("".join(traceback.format_exception(error)))


def test_causes_contexts_and_notes_are_told_in_the_order_in_which_they_came() -> None:
    def chain() -> None:
        try:
            try:
                fail()
            except KeyError as cause:
                raise ValueError("second") from cause
        except ValueError as error:
            error.add_note("a note")
            raise RuntimeError("third")  # noqa: B904 - a context, not a cause

    with pytest.raises(RuntimeError, match="third") as caught_error:
        chain()
    error = caught_error.value

    printed = without_carets("".join(traceback.format_exception(error)))
    assert without_carets(str(backtrace_of(error))) == printed.replace("\n\n", "\n")


def test_a_suppressed_context_is_not_told() -> None:
    def fail_instead() -> None:
        try:
            fail()
        except KeyError:
            raise ValueError("instead") from None

    with pytest.raises(ValueError, match="instead") as caught_error:
        fail_instead()

    assert backtrace_of(caught_error.value).before is None


def test_every_member_of_a_group_is_told() -> None:
    text = str(backtrace_of(ExceptionGroup("both", [caught(), ValueError("other")])))

    assert "ExceptionGroup: both (2 sub-exceptions)" in text
    assert "1 of 2" in text
    assert "  | KeyError: 'gone'" in text
    assert "  | ValueError: other" in text


def test_the_innermost_frames_of_a_deep_recursion_are_kept_and_the_others_counted() -> None:
    told = backtrace_of(caught(500))

    assert len(told.frames) == 20
    assert told.left_out == 502 - 20
    assert "482 outer frames left out" in str(told)
    assert str(told).endswith("KeyError: 'gone'\n")


def test_circles_and_endless_chains_of_causes_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert str(backtrace_of(first)).count("ValueError: a") == 1

    last: BaseException = ValueError("0")
    for number in range(100):
        following = ValueError(str(number))
        following.__cause__, last = last, following
    assert str(backtrace_of(last)).count("ValueError") == 16


def test_a_huge_text_is_cut_and_one_that_raises_is_said_to() -> None:
    assert len(str(backtrace_of(ValueError("x" * 1_000_000)))) < 5_000
    assert "its text cannot be had: ValueError" in str(backtrace_of(Odd()))


# Supervision 9, trap 17: a report outlives the actor it tells of
def test_it_keeps_neither_the_exception_nor_what_its_frames_held() -> None:
    held: list[weakref.ref[Heavy]] = []

    def crash() -> Backtrace:
        heavy = Heavy()
        held.append(weakref.ref(heavy))
        try:
            fail()
        except KeyError as error:
            return backtrace_of(error)
        raise AssertionError

    told = crash()
    gc.collect()

    assert held[0]() is None
    assert "fail()" in str(told)


def test_it_is_plain_data() -> None:
    told = backtrace_of(caught())

    assert msgspec.json.decode(msgspec.json.encode(told), type=Backtrace) == told
