"""The README's examples run, and print what the README says they print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SCRIPTS = [block for block in BLOCKS if "def test_" not in block]
TESTS = [block for block in BLOCKS if "def test_" in block]
PROMISE = re.compile(r"^\s*print\(.*\)  # (.+)$", flags=re.MULTILINE)


def test_the_readme_has_an_example_of_each_of_the_three_uses() -> None:
    assert (len(SCRIPTS), len(TESTS)) == (3, 1)


@pytest.mark.parametrize("script", SCRIPTS, ids=["runtime", "tasks", "client"])
def test_an_example_prints_what_it_promises(script: str, tmp_path: Path) -> None:
    promised = PROMISE.findall(script)
    assert promised, "an example shows what it prints"

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


def test_the_example_of_a_test_passes_as_a_test(tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(TESTS[0])

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

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


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
