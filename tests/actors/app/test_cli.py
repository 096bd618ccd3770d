"""The command line: what it answers to what is wrong, with which status; nothing here starts a daemon."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from holdfast.actors.app import cli
from holdfast.runtime.daemon import ExitStatus


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


ASKING = (
    ("status",),
    ("tree",),
    ("tree", "--watch"),
    ("events",),
    ("inspect", "holdfast"),
    ("trace", "holdfast"),
    ("suspend", "holdfast"),
    ("resume", "holdfast"),
    ("restart", "holdfast"),
    ("stop",),
    ("send", "{}"),
)


@pytest.mark.parametrize("command", ASKING, ids=[command[0] for command in ASKING])
@pytest.mark.parametrize("json", [(), ("--json",)], ids=["plain", "json"])
def test_without_a_daemon_every_question_ends_with_69_and_says_how_to_start_one(
    command: tuple[str, ...], json: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*command, *json) == ExitStatus.UNAVAILABLE

    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("holdfast: no daemon answers on ")
    assert "holdfast run" in line


@pytest.mark.parametrize(
    "arguments,words",
    [
        (("dance",), 'Unknown command "dance"'),
        (("restart",), "PATH requires an argument"),
        (("status", "--jso"), "Did you mean --json?"),
        (("run", "--config"), "--config requires an argument"),
        (("tree", "now"), "now"),
        (("tree", "--watch", "--interval", "0"), "--interval is 0.1 s or more, got 0"),
        (("trace", "holdfast", "--seconds", "0"), "--seconds is a number above 0, got 0"),
        (("send", "[1]"), "PAYLOAD must be a JSON object, got '[1]'"),
        (("send", "hello"), "PAYLOAD must be a JSON object, got 'hello'"),
        (("send", "x" * 1000), "PAYLOAD must be a JSON object, got 'xxx"),
    ],
    ids=[
        "command",
        "argument",
        "option",
        "value",
        "surplus",
        "interval",
        "seconds",
        "array",
        "no json",
        "long",
    ],
)
def test_a_wrong_command_line_is_one_line_on_stderr_and_status_2(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == ExitStatus.USAGE

    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == ""
    assert line.startswith("holdfast: ")
    assert words in line
    assert len(line) < 250


BROKEN = """
[auth]
api_key = 3
[socket]
heartbeat = "soon"
[nonsense]
x = 1
"""


@pytest.mark.parametrize("command", [("check", "bad.toml"), ("run", "--config", "bad.toml")], ids=" ".join)
def test_a_broken_configuration_ends_with_78_and_all_its_problems_named(
    command: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "bad.toml").write_text(BROKEN)

    assert call(*command) == ExitStatus.CONFIGURATION

    problems = [line for line in capsys.readouterr().err.splitlines() if "bad.toml)" in line]
    assert all(line.startswith("holdfast: ") for line in problems)
    assert [line.split()[1] for line in sorted(problems)] == ["auth.api_key", "nonsense", "socket.heartbeat"]


def test_check_tells_a_program_the_same(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "bad.toml").write_text(BROKEN)
    (home / "good.toml").write_text('[auth]\napi_key = "hush-hush-hush"\n')

    assert call("check", "bad.toml", "--json") == ExitStatus.CONFIGURATION
    said = msgspec.json.decode(capsys.readouterr().out, type=dict[str, object])
    assert said["valid"] is False
    assert len(msgspec.convert(said["problems"], list[str])) == 3

    assert call("check", "good.toml", "--json") == ExitStatus.CLEAN
    out = capsys.readouterr().out
    assert msgspec.json.decode(out, type=dict[str, object])["valid"] is True
    assert "hush-hush" not in out


def test_a_configuration_that_is_not_there_ends_with_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check", "nowhere.toml") == ExitStatus.CONFIGURATION
    assert capsys.readouterr().err == "holdfast: nowhere.toml: cannot be read: No such file or directory\n"


def test_a_state_directory_that_cannot_be_written_to_is_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "state").write_text("a file")

    assert call("run") == ExitStatus.FAILED
    assert f"holdfast: cannot write to {home}/state/holdfast (Not a directory)" in capsys.readouterr().err


def test_a_control_path_that_is_no_socket_is_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "precious").write_text("data")

    assert call("status", "--control", str(home / "precious")) == ExitStatus.UNAVAILABLE
    assert (home / "precious").read_text() == "data"
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments,words",
    [
        (("foo",), "wanted name=value, got 'foo'"),
        (("token_prot=1",), "did you mean token_port?"),
        (("token_port=many",), "token_port"),
    ],
    ids=["no pair", "a typing mistake", "no number"],
)
def test_a_hub_with_wrong_settings_says_which(
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOLDFAST_HUB_API_KEYS", "a-key-for-the-hub")

    assert call("hub", *arguments) == ExitStatus.CONFIGURATION
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "error,status,said",
    [
        (OSError(errno.ENOSPC, "No space left on device", "f"), 1, "holdfast: f: No space left on device\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["the disk is full", "interrupted"],
)
def test_what_the_world_does_to_a_command_is_no_traceback(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_arguments: list[str] | None) -> int:
        raise error

    monkeypatch.setattr(cli, "app", fail)

    assert call("status") == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "script,words",
    [
        ("messages = 1", "missing required field"),
        ("not toml at all", "is no good"),
        (None, "No such file or directory"),
    ],
    ids=["incomplete", "no TOML", "not there"],
)
def test_a_script_of_the_demo_that_is_no_good_starts_nothing(
    script: str | None, words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if script is not None:
        (home / "script.toml").write_text(script)

    assert call("demo", "--script", "script.toml") == ExitStatus.FAILED

    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (home / "build").exists()
