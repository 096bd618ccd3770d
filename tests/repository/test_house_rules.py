"""House rules that matter, as tests; a rule without one is advice."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("runtime", "supervisors", "actors", "specs")
LINES_MAX = 400

SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# Which rooms may touch the world directly; everything else goes through the seams.
WORLD = {
    # What simulates the world has to get hold of what it replaces.
    "time": {"runtime/clock.py", "specs/calendar.py", "specs/guards.py"},
    "random": {"runtime/seams.py", "specs/randomness.py"},
    "secrets": set[str](),
    # Parsing one, and making one of the entropy seam's bytes: nothing is drawn here.
    "uuid": {"actors/hub/avatar_api.py", "actors/hub/avatar_sessions.py"},
    # Locks between the loop and a writing thread of the threads seam, and between the loop and the threads of
    # its users; the third compares the number of its thread with the loop's.  The seams start one, for
    # what must not stand still with the loop.
    "threading": {
        "actors/logger/sinks.py",
        "runtime/loop_thread.py",
        "runtime/portal.py",
        "runtime/seams.py",
        "specs/guards.py",
        "specs/stalls.py",
    },
    "asyncio": {"runtime/backend.py", "runtime/testing/harness.py"},
    "subprocess": set[str](),
}

FORBIDDEN_FILE_NAMES = {"util", "utils", "helper", "helpers", "manager", "common", "misc"}


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def test_every_room_says_why_it_exists() -> None:
    assert [_relative(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_every_room_is_short_enough_to_read() -> None:
    long = {_relative(path): lines for path in SOURCES if (lines := path.read_text().count("\n")) > LINES_MAX}

    assert long == {}, f"{LINES_MAX} lines at most: does one of them hold two concepts?"


def test_every_room_is_named_by_its_noun() -> None:
    assert [_relative(path) for path in SOURCES if path.stem in FORBIDDEN_FILE_NAMES] == []


def test_the_world_is_reached_through_the_seams_alone() -> None:
    touched: dict[str, set[str]] = {}
    for path in SOURCES:
        name = _relative(path)
        # The demo drives real processes; it is the one program here that is no product code under a tree.
        # Its children hang on a thread, which ends them even while their event loop is stuck.
        allowed = {"subprocess", "threading"} if name.startswith("actors/app/demo/") else set[str]()
        modules = {module for module in _imports(path) if module in WORLD and name not in WORLD[module]}
        if modules - allowed:
            touched[name] = modules - allowed

    assert touched == {}


def test_there_are_no_marks_of_unfinished_work() -> None:
    marks = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")

    assert [_relative(path) for path in (*SOURCES, *TESTS) if marks.search(path.read_text())] == []


def test_tests_do_not_sleep_in_real_time() -> None:
    sleeps = re.compile(r"\btime\.sl" + r"eep\(")

    assert [_relative(path) for path in TESTS if sleeps.search(path.read_text())] == []


def test_public_doors_name_what_is_public() -> None:
    for door in ("runtime/__init__.py", "supervisors/__init__.py"):
        tree = ast.parse((ROOT / door).read_text())
        exported = next(
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        )
        names = ast.literal_eval(exported)
        imported = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module != "__future__"
            for alias in node.names
        }
        made_here = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id != "__all__"
        }
        public = {name for name in imported | made_here if not name.startswith("_")}
        assert sorted(names) == sorted(public), door


def test_nothing_of_this_machine_is_committed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    place, home = str(ROOT), str(Path.home())
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        assert place not in text, name
        assert len(home) < len("/home") or home + "/" not in text, name
