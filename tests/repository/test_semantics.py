"""The table of `specs/semantics.md`: every row is there, and every test that it names exists.

Whether a named test really fails when its decision is inverted is for people to
try; that the name leads somewhere, and that no guarantee is without one, is
tried here.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from pathlib import Path

import apsw
import pytest

from holdfast.actors.auth.vault import TokenStore
from holdfast.actors.avatar.ledger import AvatarLedger
from holdfast.actors.client.http import SeamTransport
from holdfast.actors.client.topology import Belongings, topology
from holdfast.actors.config.sources import load
from holdfast.actors.logger.sinks import Log
from holdfast.runtime import SystemWallClock, open_system
from holdfast.runtime.testing import on_trio
from holdfast.supervisors import ChildSpec
from holdfast.supervisors.contradictions import longest_start, longest_stop

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "specs" / "semantics.md"

_ROW = re.compile(r"^\| (?P<id>[A-Z][\w.-]*) \| (?P<decision>[^|]+) \| (?P<tests>[^|]+) \|$")
_NAMED = re.compile(r"`(?P<path>[\w/]+\.py)::(?P<name>test_\w+)`")
_GUARANTEE = re.compile(r"\*\*(S-[A-Z]+\d*)\b")

RULES = [
    *(f"R{number}" for number in range(1, 50)),
    *("R14b", "W1", "W2", "W3"),
    *(f"T{number}" for number in range(1, 7)),
    *(f"G{number}" for number in range(1, 8)),
]

# What the first landing of the client has; the others are later issues'.
BEHAVIOURS = [
    f"{section}.{number}"
    for section, numbers in {
        "A1": (1, 2, 3, 4, 5, 7, 8),
        "A2": range(1, 8),
        "A3": range(1, 5),
        "A4": range(1, 7),
        "A5": (1, 2, 3, 4, 5, 7),
        "A6": range(5),
        "A7": (1, 2, 3, 5),
    }.items()
    for number in numbers
]

TRAPS = [f"Trap{number}" for number in range(1, 18)]

COLUMNS = ("actor", "group", "full", "kill")
# Nobody holds a ref into a process that was killed.
SURVIVAL = [f"S-V{row}.{column}" for row in range(1, 9) for column in COLUMNS if (row, column) != (6, "kill")]

GUARANTEES = [
    *(f"S-A{number}" for number in range(1, 14)),
    "S-L1",
    "S-D1",
    *(f"S-N{number}" for number in range(1, 6)),
    "S-L2",
    *(f"S-O{number}" for number in range(1, 7)),
    *(f"S-B{number}" for number in range(1, 15)),
    *(f"S-G{number}" for number in range(1, 4)),
    *(f"S-J{number}" for number in range(1, 7)),
    *("S-P1", "S-P2"),
    *(f"S-T{number}" for number in range(1, 7)),
    *(f"S-W{number}" for number in range(1, 8)),
    *(f"S-H{number}" for number in range(1, 9)),
    *(f"S-X{number}" for number in range(1, 8)),
    *(f"S-C{number}" for number in range(1, 11)),
    *(f"S-I{number}" for number in range(1, 8)),
    *(f"S-K{number}" for number in range(1, 6)),
]


@functools.cache
def rows() -> dict[str, list[tuple[str, str]]]:
    """Return the tests that each row names."""
    table = PAGE.read_text().partition("\n## The table\n")[2]
    found = [match for line in table.splitlines() if (match := _ROW.match(line))]
    found = [match for match in found if match["id"] != "ID"]
    twice = [name for name, count in Counter(match["id"] for match in found).items() if count > 1]
    assert not twice, f"rows that are there twice: {twice}"
    return {
        match["id"]: [(named["path"], named["name"]) for named in _NAMED.finditer(match["tests"])]
        for match in found
    }


@functools.cache
def functions_of(path: str) -> frozenset[str]:
    """Return the names of the test functions of a file."""
    file = TESTS / path
    if not file.exists():
        return frozenset()
    body = ast.parse(file.read_text()).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def has_row(wanted: str) -> bool:
    """Whether there is a row for it, or rows for its parts: ``S-A1`` has S-A1a, S-A1b."""
    return any(re.fullmatch(rf"{re.escape(wanted)}[a-z]?", name) for name in rows())


def test_every_test_that_the_table_names_exists() -> None:
    missing = [
        f"{name}: {path}::{test}"
        for name, named in rows().items()
        for path, test in named
        if test not in functions_of(path)
    ]
    assert not missing, "\n".join(missing)


def test_every_row_names_a_test() -> None:
    assert not [name for name, named in rows().items() if not named]


def test_every_line_of_the_tables_is_a_row() -> None:
    table = PAGE.read_text().partition("\n## The table\n")[2]
    lines = [line for line in table.splitlines() if line.startswith("|") and not line.startswith("|---")]
    assert not [line for line in lines if not _ROW.match(line)]


@pytest.mark.parametrize(
    "wanted",
    [RULES, TRAPS, BEHAVIOURS, SURVIVAL, GUARANTEES],
    ids=["rules", "traps", "behaviours", "survival", "guarantees"],
)
def test_nothing_that_is_promised_is_without_a_row(wanted: list[str]) -> None:
    assert not [name for name in wanted if not has_row(name)]


def test_every_guarantee_in_the_text_has_a_row_and_no_number_is_a_strangers() -> None:
    text = PAGE.read_text().partition("\n## The table\n")[0]
    promised = set(_GUARANTEE.findall(text))
    assert len(promised) > 50, "the control: the text is read"
    survival = {name.partition(".")[0] for name in SURVIVAL}
    assert not [name for name in sorted(promised) if not has_row(name) and name not in survival]
    known = {*RULES, *TRAPS, *BEHAVIOURS, *SURVIVAL, *GUARANTEES, "S-OTP", "S-V1.supervisor", "S-V2.send"}
    assert not [name for name in rows() if name not in known and name[:-1] not in known]


def test_a_test_that_does_not_exist_would_be_found() -> None:
    assert functions_of("repository/test_semantics.py") >= {"test_a_test_that_does_not_exist_would_be_found"}
    assert functions_of("repository/no_such_file.py") == frozenset()


@on_trio
async def test_the_arithmetic_of_the_products_tree_is_what_the_page_says() -> None:
    # S-T5, S-T6
    live = load(environ={})
    own = Belongings(
        configuration=live,
        log=Log(live.current.logging, wall_clock=SystemWallClock()),
        encode=lambda _event: None,
        tokens=TokenStore(),
        store=apsw.Connection(":memory:"),
        avatars=AvatarLedger(apsw.Connection(":memory:")),
        http=lambda: SeamTransport(system.seams),
    )
    async with open_system() as system:
        tree = topology(system, own)

    foundation, session = children(tree)
    assert (longest_stop(foundation), longest_stop(session), longest_stop(tree)) == (2.5, 6.5, 9.0)
    assert longest_stop(tree) < live.current.supervision.stop_deadline == 10.0
    group = tree.group
    assert group is not None
    assert group.backoff is not None
    assert group.full_restart is not None
    cycle = group.backoff.cap + longest_start(tree) + group.full_restart.longest
    assert (group.backoff.cap, longest_start(tree), group.full_restart.longest, cycle) == (5, 31, 15, 51)
    assert (group.budget.intensity + 1) * cycle == 204 <= group.budget.period


def children(spec: ChildSpec) -> tuple[ChildSpec, ...]:
    assert spec.group is not None
    return tuple(spec.group.children)
