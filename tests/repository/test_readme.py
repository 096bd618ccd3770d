"""The examples of the README and the guides run, and print what the page says they print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: Path) -> list[str]:
    """Return the Python examples of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


README = (ROOT / "README.md").read_text()
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *GUIDES]

SCRIPTS = [(page.name, block) for page in PAGES for block in blocks(page) if "def test_" not in block]
TESTS = [(page.name, block) for page in PAGES for block in blocks(page) if "def test_" in block]
FENCED = re.compile(r"```.*?```", flags=re.DOTALL)
PROMISE = re.compile(r"^\s*print\(.*\)  # (.+)$", flags=re.MULTILINE)


def test_the_readme_has_an_example_of_each_of_the_three_uses() -> None:
    assert sum(page == "README.md" for page, _ in SCRIPTS) >= 2
    assert [page for page, _ in TESTS if page == "README.md"] == ["README.md"]


@pytest.mark.parametrize("page,script", SCRIPTS)
def test_an_example_prints_what_it_promises(page: str, script: str, tmp_path: Path) -> None:
    promised = PROMISE.findall(script)
    assert promised, f"an example shows what it prints ({page})"

    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        timeout=25,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == promised


@pytest.mark.parametrize("page,example", TESTS)
def test_the_example_of_a_test_passes_as_a_test(page: str, example: str, tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(example)
    written = example.count("def test_") * (2 if "@both_backends" in example else 1)

    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:anyio",
            "test_example.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        timeout=25,
    )

    assert done.returncode == 0, f"{page}: {done.stdout}"
    assert f"{written} passed" in done.stdout


def test_every_page_that_a_page_points_to_is_there() -> None:
    missing = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", FENCED.sub("", page.read_text()))
        if "://" not in link and not (page.parent / link).exists()
    ]

    assert missing == []


def test_a_guide_is_reached_from_the_readme() -> None:
    assert [page.name for page in GUIDES if f"docs/{page.name}" not in README] == []


def test_the_example_of_a_configuration_is_accepted(tmp_path: Path) -> None:
    from holdfast.actors.config.sources import load

    example = re.search(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    assert example is not None
    (tmp_path / "holdfast.toml").write_text(example.group(1))
    (tmp_path / "api.key").write_text("not-a-real-key\n")
    (tmp_path / "api.key").chmod(0o600)

    configuration = load(tmp_path / "holdfast.toml", environ={}).current

    assert configuration.auth.api_key.reveal() == "not-a-real-key"
    assert configuration.connection.url == "wss://hub.example.com/realtime"


def test_the_exit_statuses_are_those_of_the_code() -> None:
    from holdfast.runtime.daemon import ExitStatus

    listed = {int(status) for status in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}

    assert listed == {int(status) for status in ExitStatus}


def test_the_picture_of_the_tree_is_the_tree() -> None:
    from tests.actors.client.belongings import belongings

    from holdfast.actors.client.topology import topology
    from holdfast.runtime import Seams
    from holdfast.runtime.testing import run

    picture = re.search(r"```text\n(holdfast .*?)```", README, flags=re.DOTALL)
    assert picture is not None
    names = [re.sub(r"^[├└│─ ]*", "", line).split()[0] for line in picture.group(1).splitlines()]

    async def walk() -> list[str]:
        from holdfast.runtime import open_system

        async with open_system(seams=Seams()) as system:
            found: list[str] = []

            def visit(spec: object) -> None:
                found.append(spec.id)  # type: ignore[attr-defined]
                for child in getattr(getattr(spec, "group", None), "children", ()):
                    visit(child)

            visit(topology(system, belongings()))
            return found

    assert run("trio", walk) == names
