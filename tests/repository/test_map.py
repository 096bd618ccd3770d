"""The map in CONTRIBUTING.md: every file of the runtime and of the supervisors is on it, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (?P<change>[^|]+) \| (?P<room>[^|]+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/.]+)`")


def named(folder: str) -> set[str]:
    """Return the modules that the rows about a folder name, with or without their ending."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    places = [place for row in ROW.finditer(page) for place in rooms(row["room"]) if place[0] == folder]
    return {name for _, name in places}


def rooms(cell: str) -> list[tuple[str, str]]:
    """A row names a folder once; the names that follow are in it until another folder is named."""
    folder = ""
    found: list[tuple[str, str]] = []
    for name in NAMED.findall(cell):
        head, slash, tail = name.rpartition("/")
        if slash:
            folder = head
        if tail:
            found.append((folder, tail.removesuffix(".py")))
    return found


@pytest.mark.parametrize("folder", ["runtime", "supervisors"])
def test_the_map_names_every_file_and_no_other(folder: str) -> None:
    there = {file.stem for file in (ROOT / folder).glob("*.py")} - {"__init__"}
    assert len(there) > 20, "the control: the files are found"
    assert sorted(named(folder)) == sorted(there)
