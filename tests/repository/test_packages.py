"""The packaging rules: the list in pyproject.toml is the folders, and what is built can be installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("runtime", "supervisors", "actors", "specs")
DATA = ("holdfast/specs/oracle/otp_single_fault.jsonl", "holdfast/runtime/py.typed")


def _packages_on_disk() -> set[str]:
    found = set[str]()
    for folder in FOLDERS:
        for init in (ROOT / folder).rglob("__init__.py"):
            relative = init.parent.relative_to(ROOT)
            found.add("holdfast." + ".".join(relative.parts))
    return found


def test_the_list_of_packages_is_the_folders() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]

    assert sorted(declared) == sorted(_packages_on_disk())


def test_every_mapped_folder_says_that_it_is_typed() -> None:
    assert [folder for folder in FOLDERS if not (ROOT / folder / "py.typed").is_file()] == []


def test_there_is_no_root_package_and_nothing_imports_tests() -> None:
    assert not (ROOT / "__init__.py").exists()
    for folder in FOLDERS:
        for source in (ROOT / folder).rglob("*.py"):
            assert "from tests" not in source.read_text(), source


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from what git would check out, and nothing else."""
    checkout = tmp_path_factory.mktemp("checkout")
    out = tmp_path_factory.mktemp("dist")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in tracked.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(out),
            str(checkout),
        ],
        check=True,
        capture_output=True,
    )
    return next(out.glob("holdfast-*.whl"))


def test_the_wheel_holds_the_packages_and_their_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {name for name in DATA if name not in names} == set()
    packaged = {name.rpartition("/")[0].replace("/", ".") for name in names if name.endswith("__init__.py")}
    assert packaged == _packages_on_disk()
    assert not {name for name in names if name.startswith(("tests", "build", "holdfast/tests"))}


def test_the_wheel_installs_into_a_fresh_environment_and_imports(wheel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=True)
    python = fresh / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", str(wheel)],
        check=True,
        capture_output=True,
    )
    # The dependencies are those of this environment, behind the fresh one's own: they are not the subject.
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = (
        "import holdfast.runtime, holdfast.supervisors, holdfast.actors.client, holdfast.actors.hub\n"
        "import holdfast.actors.app.cli\n"
        "print(holdfast.runtime.__file__)"
    )
    done = subprocess.run(
        [python, "-P", "-c", script], cwd=tmp_path, capture_output=True, check=False, text=True
    )

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(fresh)
    help_text = subprocess.run(
        [fresh / "bin" / "holdfast", "--help"], cwd=tmp_path, capture_output=True, check=False, text=True
    )
    assert help_text.returncode == 0, help_text.stderr
