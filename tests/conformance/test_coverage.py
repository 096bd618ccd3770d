"""Every number of the specification is cited by a test, or left out with a reason in `specs/semantics.md`.

A citation is a comment: ``# case 21``, ``# cases 70-76, 83``, ``# R7, X3``, ``# S22``.  That the citing
test fails when the decision is inverted is for people to try.
"""

from __future__ import annotations

import functools
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOMS = ("conformance", "runtime", "supervisors")
PAGE = TESTS.parent / "specs" / "semantics.md"

# How many of each the specification has.
COUNTS = {"case ": 93, "X": 15, "D": 11, "T": 6, "G": 7, "S": 24, "R": 49, "W": 3}
WANTED = frozenset(f"{kind}{number}" for kind, many in COUNTS.items() for number in range(1, many + 1))

_CASES = re.compile(r"\bcases? (\d+(?:-\d+)?(?:(?:, | and )\d+(?:-\d+)?)*)")
_RULES = re.compile(r"\b([RXDTGSW])(\d+)(?:-[RXDTGSW](\d+))?\b")
_LEFT_OUT = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def numbers(text: str) -> Iterator[str]:
    """Return the numbers that a piece of prose names."""
    for cases in _CASES.finditer(text):
        for part in re.split(r", | and ", cases[1]):
            first, _, last = part.partition("-")
            yield from (f"case {number}" for number in range(int(first), int(last or first) + 1))
    for kind, first, last in _RULES.findall(text):
        yield from (f"{kind}{number}" for number in range(int(first), int(last or first) + 1))


def comments_of(file: Path) -> Iterator[str]:
    readable = io.StringIO(file.read_text()).readline
    yield from (
        token.string for token in tokenize.generate_tokens(readable) if token.type == tokenize.COMMENT
    )


@functools.cache
def cited() -> dict[str, list[str]]:
    """Return the files that cite each number."""
    found: dict[str, list[str]] = {}
    # Elsewhere such letters number other things.
    for file in sorted(file for room in ROOMS for file in (TESTS / room).glob("test_*.py")):
        for comment in comments_of(file):
            for number in numbers(comment):
                found.setdefault(number, []).append(file.name)
    return found


@functools.cache
def left_out() -> dict[str, str]:
    """Return the reason for each number that the page leaves out."""
    section = PAGE.read_text().partition("\n### What is left out\n")[2].partition("\n### ")[0]
    rows = [row for row in _LEFT_OUT.findall(section) if not row[0].startswith("-")]
    return {number: reason.strip() for named, reason in rows for number in numbers(named)}


def test_every_number_is_cited_by_a_test_or_left_out_with_a_reason() -> None:
    assert not sorted(WANTED - set(cited()) - set(left_out()))


def test_nothing_is_left_out_without_a_reason() -> None:
    assert not [number for number, reason in left_out().items() if len(reason) < 20]


def test_each_case_that_applies_has_a_test_in_the_suite_that_reads_as_the_specification() -> None:
    suite = {file.name for file in Path(__file__).parent.glob("test_*.py")}
    cases = {number for number in WANTED if number.startswith(("case", "X"))}
    assert not sorted(
        number for number in cases - set(left_out()) if not suite & set(cited().get(number, ()))
    )


def test_a_citation_is_read_in_every_form_that_is_used() -> None:
    assert [*numbers("cases 70-72, 76 and 83; R5, X1-X3")] == [
        *("case 70", "case 71", "case 72", "case 76", "case 83"),
        *("R5", "X1", "X2", "X3"),
    ]
    assert len(WANTED) == 208
