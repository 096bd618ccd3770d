"""Where values come from: a file, the environment, secrets in files, the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.actors.config.messages import ConfigurationError
from holdfast.actors.config.settings import Environment
from holdfast.actors.config.sources import FILE_BYTES_MAX, LiveConfiguration, Sources, load
from holdfast.actors.logger.messages import Level
from holdfast.runtime import Secret

FILE = """
environment = "production"

[connection]
url = "wss://rt.example.com/session"
timeout = "20s"

[auth]
api_endpoint = "https://auth.example.com"
api_key_file = "key"

[reconnect]
max_retries = 7
probe = "off"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "holdfast.toml"
    path.write_text(FILE)
    (tmp_path / "key").write_text("from-the-file\n")
    return path


def refused(**how: object) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(**({"environ": {}} | how))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return [str(problem) for problem in caught.value.problems]


def test_a_file_is_read_with_its_units_and_its_secrets_beside_it(file: Path) -> None:
    made = load(file, environ={}).current

    assert made.environment is Environment.PRODUCTION
    assert made.connection.timeout == 20.0
    assert made.reconnect.probe is None
    assert made.auth.api_key == Secret("from-the-file")
    assert made.logging.level is Level.WARN


# A7.1: the program, then the environment, then the file.
def test_the_program_is_above_the_environment_and_that_above_the_file(file: Path) -> None:
    environ = {
        "HOLDFAST_RECONNECT__MAX_RETRIES": "8",
        "HOLDFAST_CONNECTION__TIMEOUT": "250ms",
        "HOLDFAST_AUTH__API_KEY": "from-the-environment",
        "HOLDFAST_ENVIRONMENT": "testing",
    }
    made = load(file, environ=environ, explicit={"reconnect": {"max_retries": 9}}).current

    assert made.reconnect.max_retries == 9
    assert made.connection.timeout == 0.25
    assert made.auth.api_key == Secret("from-the-environment")
    assert made.environment is Environment.TESTING
    assert load(file, environ=environ, environment=Environment.DEVELOPMENT).current.environment is (
        Environment.DEVELOPMENT
    )


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_AUDIO__CHANNELS", "2")

    assert load().current.audio.channels == 2
    assert LiveConfiguration(Sources()).current.audio.channels == 2


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(environ={"HOLDFAST_AUDIO__CHANNELS": ""}).current.audio.channels == 1


def test_a_secret_may_stand_in_a_file_that_a_variable_names(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  s  \n")

    made = load(environ={"HOLDFAST_AUTH__API_KEY_FILE": str(tmp_path / "key")}).current

    assert made.auth.api_key == Secret("s")


def test_problems_name_the_variable() -> None:
    environ = {
        "HOLDFAST_AUDIO__CHANNELS": "two",
        "HOLDFAST_AUDIO__CHANELS": "2",
        "HOLDFAST_ADUIO__CHANNELS": "2",
        "HOLDFAST_ENVIROMENT": "production",
        "HOLDFAST_HOME": "not ours",
        "OTHER": "not ours",
    }

    assert refused(environ=environ) == [
        "HOLDFAST_ENVIROMENT: there is no such variable; did you mean HOLDFAST_ENVIRONMENT?",
        "audio.channels = 'two' (from HOLDFAST_AUDIO__CHANNELS): must be a whole number",
        "audio.chanels (from HOLDFAST_AUDIO__CHANELS): there is no such key; did you mean audio.channels?",
        "aduio (from HOLDFAST_ADUIO__CHANNELS): there is no such section; did you mean audio?",
    ]


def test_a_problem_of_the_environment_alone_is_enough_to_refuse() -> None:
    assert refused(environ={"HOLDFAST_ENVIROMENT": "x"}) == [
        "HOLDFAST_ENVIROMENT: there is no such variable; did you mean HOLDFAST_ENVIRONMENT?"
    ]


def test_a_file_that_is_not_there_or_no_toml_is_named_with_its_place(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert refused(file=missing) == [f"{missing}: cannot be read: No such file or directory"]

    broken = tmp_path / "broken.toml"
    broken.write_text("[auth\n")
    (problem,) = refused(file=broken)
    assert problem.startswith(f"{broken}: must be a TOML file: ")
    assert "line 1" in problem

    for unreadable in (b"\xff\xfe", b"a = " + b"9" * 5_000, b"a = " + b"[" * 5_000):
        broken.write_bytes(unreadable)
        assert refused(file=broken)[0].startswith(f"{broken}: must be a TOML file: ")
    broken.write_text("#" * (FILE_BYTES_MAX + 1))
    assert refused(file=broken) == [f"{broken}: must be a TOML file: it has more than {FILE_BYTES_MAX} bytes"]
    assert refused(file=tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]


# A7.5
@pytest.mark.parametrize(
    "keys, problem",
    [
        ('api_key_file = "nowhere"', "cannot be read: No such file or directory"),
        ('api_key_file = "empty"', "must hold the secret; the file is empty"),
        ('api_key_file = "large"', "must hold text of at most 8192 bytes"),
        ('api_key_file = "binary"', "must hold text of at most 8192 bytes"),
        ("api_key_file = 5", "must be the path of a file that holds the secret"),
        ('api_key_file = "key"\napi_key = "k3y"', "is set beside auth.api_key: set one"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path, keys: str, problem: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text("x" * 9_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "key").write_text("k3y")
    file = tmp_path / "holdfast.toml"
    file.write_text(f"[auth]\n{keys}\n")

    (line,) = refused(file=file)

    assert line.startswith("auth.api_key_file")
    assert line.endswith(problem)
    assert "k3y" not in line


def test_a_file_for_what_is_no_secret_is_an_unknown_key() -> None:
    assert "there is no such key" in refused(explicit={"voice": {"model_file": "x"}})[0]


def test_the_holder_and_its_sources_show_no_secret() -> None:
    live = load(
        environ={"HOLDFAST_AUTH__API_KEY": "k3y-canary"}, explicit={"avatar": {"api_key": "k3y-canary"}}
    )

    assert "k3y" not in repr(live) + repr(live.sources) + repr(live.current)


def test_swapping_puts_another_configuration_in_force() -> None:
    live = load(environ={})
    other = load(environ={"HOLDFAST_AUDIO__CHANNELS": "2"}).current

    live.swap(other)

    assert live.current is other
