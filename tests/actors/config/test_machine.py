"""A7.1, A7.2, A7.3: layers and their priority, validation, environments."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.config.machine import (
    Keep,
    Layer,
    Swap,
    decide,
    decide_reload,
    is_local,
    keys_of,
    variable,
)
from holdfast.actors.config.messages import ConfigurationError, Problem
from holdfast.actors.config.settings import (
    ENVIRONMENT_DEFAULTS,
    PLAIN_NUMBERS,
    SECTIONS,
    SHARED,
    Configuration,
    Environment,
    NoUrl,
)
from holdfast.actors.config.structuring import Duration
from holdfast.actors.logger.messages import Level
from holdfast.runtime import Secret

COMPLETE: dict[str, dict[str, object]] = {
    "connection": {"url": "wss://rt.example.com/session"},
    "auth": {"api_endpoint": "https://auth.example.com", "api_key": "k3y-canary"},
}


def make(
    *layers: Mapping[str, object], environment: str | None = None, required: tuple[str, ...] = ()
) -> Configuration:
    said = [Layer(f"layer {number}", values) for number, values in enumerate(layers)]
    if environment is not None:
        said.insert(0, Layer("environment", {"environment": environment}))
    return decide(said, required=required)


def problems(*layers: Mapping[str, object], **how: object) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        make(*layers, **how)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return {problem.path: problem.reason for problem in caught.value.problems}


# A7.1: the seed's defaults, and SEMANTICS "Time" where it corrects them.
def test_without_any_source_the_defaults_are_the_seeds() -> None:
    made = make()

    assert made.environment is None
    assert (made.audio.sample_rate, made.audio.bit_depth, made.audio.channels) == (16_000, 16, 1)
    assert made.audio.buffer_size == 2_048
    assert made.connection.timeout == 30.0
    assert made.connection.url is None
    assert not made.connection.allow_plaintext
    assert (made.logging.level, made.logging.structured, made.logging.include_timestamp) == (
        Level.ERROR,
        True,
        True,
    )
    assert made.reconnect.max_retries == 5
    assert made.auth.token_refresh_threshold == 0.9


def test_a_configuration_without_a_url_has_no_socket_and_says_why() -> None:
    with pytest.raises(NoUrl, match=r"connection\.url is not set and has no default"):
        _ = make().socket


def test_values_that_several_sections_need_are_written_once() -> None:
    made = make(COMPLETE | {"connection": COMPLETE["connection"] | {"client_id": "me"}})

    assert made.socket.url == "wss://rt.example.com/session"
    assert made.auth.client_id == made.connection.client_id == "me"
    made = make({"connection": {"url": "ws://10.0.0.1", "allow_plaintext": True}, "auth": COMPLETE["auth"]})
    assert made.socket.allow_plaintext
    assert made.auth.allow_plaintext


# A7.1: user > environment > component > system.
@given(
    user=st.lists(st.floats(1, 1000), max_size=3),
    environment=st.sampled_from([None, *Environment]),
)
def test_the_highest_layer_that_says_something_has_the_word(
    user: list[float], environment: Environment | None
) -> None:
    made = make(
        *({"connection": {"timeout": value}} for value in user),
        environment=environment.value if environment else None,
    )

    expected = 30.0
    if environment is not None:
        default = ENVIRONMENT_DEFAULTS[environment].get("connection.timeout", expected)
        assert isinstance(default, float)
        expected = default
    assert made.connection.timeout == (user[0] if user else expected)


def test_a_components_default_is_above_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "holdfast.actors.config.machine.SYSTEM_DEFAULTS",
        {"timeout": 30.0, "sample_rate": 16_000, "bit_depth": 16, "channels": 1, "buffer_size": 2_048}
        | {"request_timeout": 99.0},
    )

    assert make().auth.request_timeout == 5.0


def test_layers_merge_key_by_key() -> None:
    made = make({"reconnect": {"max_retries": 9}}, {"reconnect": {"max_retries": 1, "max_delay": "4s"}})

    assert (made.reconnect.max_retries, made.reconnect.max_delay) == (9, 4.0)


# A5.5
@pytest.mark.parametrize(
    "environment, level",
    [("development", Level.DEBUG), ("testing", Level.ERROR), ("production", Level.WARN), (None, Level.ERROR)],
)
def test_each_environment_has_its_log_level(environment: str | None, level: Level) -> None:
    assert make(environment=environment).logging.level is level
    assert make({"logging": {"level": "INFO"}}, environment=environment).logging.level is Level.INFO


# A7.3
def test_every_problem_is_named_at_once_with_its_key() -> None:
    named = problems(
        {
            "auth": {"tokenRefreshThreshold": 0.8, "leeway": "soon", "retry_initial": -1, "client_id": "x"},
            "reconnect": {"max_retries": -1, "multiplier": 0.5, "heartbeat": 3},
            "socket": {"heartbeat": 0, "dead_after": 0},
            "audio": {"sample_rate": "16000", "channels": 7},
            "loging": {"level": "DEBUG"},
            "voice": 5,
            "environment": "prod",
        }
    )

    assert named == {
        "auth.tokenRefreshThreshold": "there is no such key; did you mean auth.token_refresh_threshold?",
        "auth.leeway": 'must be a duration: a number of seconds, or text such as "30s", "250ms" or "2m"',
        "auth.client_id": "is set once for all sections: set connection.client_id",
        "auth.retry_initial": "must be more than 0 s and finite, not -1",
        "reconnect.heartbeat": "there is no such key; did you mean socket.heartbeat?",
        "reconnect.max_retries": "must be zero or more, not -1",
        "reconnect.multiplier": "must be one or more, not 0.5",
        "socket.heartbeat": "must be positive seconds, not 0.0",
        "socket.dead_after": "must be positive seconds, not 0.0",
        "audio.sample_rate": "must be a whole number",
        "audio.channels": "must be 1 or 2, not 7",
        "loging": "there is no such section; did you mean logging?",
        "voice": "must be a section of keys",
        "environment": "must be one of development, testing, production",
    }


def test_a_problem_shows_the_key_the_value_what_was_expected_and_where_it_was_said() -> None:
    with pytest.raises(ConfigurationError) as caught:
        make({"reconnect": {"max_retries": "5"}})

    assert str(caught.value) == "reconnect.max_retries = '5' (from layer 0): must be a whole number"
    assert caught.value.problems[0] == Problem(
        "reconnect.max_retries", "must be a whole number", "'5'", "layer 0"
    )


def test_a_combination_that_does_not_fit_is_named_too() -> None:
    named = problems({"reconnect": {"initial_delay": 5, "max_delay": 2}})

    assert named == {"reconnect.max_delay": "must be at least initial_delay, not 2.0"}


def test_a_mistake_that_a_higher_layer_hides_is_named_all_the_same() -> None:
    named = problems({"reconnect": {"max_retries": 5}}, {"reconnect": {"max_retries": "many"}})

    assert named == {"reconnect.max_retries": "must be a whole number"}


def test_unknown_names_without_a_neighbour_are_answered_with_all_there_are() -> None:
    named = problems({"zzzzzzz": {}, "voice": {"qqqqqq": 1}})

    assert named["zzzzzzz"].startswith("there is no such section; the sections are connection, auth,")
    assert named["voice.qqqqqq"] == "there is no such key; voice has voice_id, model"


# A7.3: missing required values named all at once.
def test_a_url_needs_credentials_and_all_that_is_missing_is_named() -> None:
    named = problems({"connection": {"url": "wss://rt.example.com"}, "avatar": {"enabled": True}})

    assert list(named) == ["auth.api_endpoint", "auth.api_key", "avatar.api_url", "avatar.api_key"]
    assert named["auth.api_key"] == "is required and not set: set it in the file or as HOLDFAST_AUTH__API_KEY"


def test_what_is_missing_is_named_beside_what_is_wrong() -> None:
    named = problems({"connection": {"url": "wss://rt.example.com"}, "auth": {"leeway": -1}})

    assert list(named) == ["auth.leeway", "auth.api_endpoint", "auth.api_key"]


def test_a_use_names_what_it_cannot_do_without() -> None:
    assert list(problems(required=("connection.url",))) == ["connection.url"]
    assert make(COMPLETE, required=("connection.url", "auth.api_key")).connection.url


# A3.1, A7.2
def test_plain_ws_is_for_this_machine_unless_it_is_allowed_by_name() -> None:
    named = problems({"connection": {"url": "ws://rt.example.com"}, "auth": COMPLETE["auth"]})

    assert list(named) == ["connection.url"]
    assert "wss://" in named["connection.url"]
    assert make(COMPLETE | {"connection": {"url": "ws://127.0.0.1:80"}})
    assert make(COMPLETE | {"connection": {"url": "ws://rt.example.com", "allow_plaintext": True}})


def test_a_url_with_credentials_is_refused_without_showing_them() -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(COMPLETE | {"connection": {"url": "wss://user:s3cr3t@rt.example.com/?token=s3cr3t"}})

    assert "connection.url" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


# A7.2
def test_production_refuses_plain_and_local_endpoints_by_name() -> None:
    named = problems(
        {
            "connection": {"url": "ws://localhost:8080", "allow_plaintext": True},
            "auth": {"api_endpoint": "http://127.0.0.1:9", "api_key": "k"},
            "avatar": {"api_url": "https://avatar.local"},
            "development": {"fault_injection": True},
        },
        environment="production",
    )

    assert named == {
        "connection.url": "must not be a local endpoint in production",
        "auth.api_endpoint": "must not be a local endpoint in production",
        "avatar.api_url": "must not be a local endpoint in production",
        "connection.allow_plaintext": "must be off in production",
        "development.fault_injection": "must be off in production",
    }


def test_production_refuses_plain_endpoints_of_others() -> None:
    named = problems(
        {
            "connection": {"url": "ws://rt.example.com", "allow_plaintext": True},
            "auth": {"api_endpoint": "http://auth.example.com", "api_key": "k"},
        },
        environment="production",
    )

    assert named["connection.url"] == "must be encrypted (wss:// or https://) in production"
    assert named["auth.api_endpoint"] == "must be encrypted (wss:// or https://) in production"


@pytest.mark.parametrize("environment", ["development", "testing", None])
def test_local_endpoints_are_fine_anywhere_else(environment: str | None) -> None:
    local: dict[str, object] = {
        "connection": {"url": "ws://localhost:1"},
        "auth": {"api_endpoint": "http://[::1]:2", "api_key": "k"},
    }

    assert make(local, environment=environment).connection.url == "ws://localhost:1"
    assert make(COMPLETE, environment="production").environment is Environment.PRODUCTION


@pytest.mark.parametrize(
    "host, local",
    [
        ("localhost", True), ("a.localhost.", True), ("printer.local", True), ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", True), ("169.254.1.1", True),
        ("10.0.0.1", False), ("rt.example.com", False),
        ("localhost.example.com", False),
    ],
)  # fmt: skip
def test_what_counts_as_local(host: str, *, local: bool) -> None:
    assert is_local(host) is local


# A7.5
def test_secrets_are_never_in_an_error_or_in_what_is_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(
            {"auth": {"api_key": ["k3y-canary"], "apikey": "k3y-canary"}, "avatar": {"api_key": "k3y canary"}}
        )
    assert "k3y" not in str(caught.value)
    assert "auth.api_key = [REDACTED] (from layer 0)" in str(caught.value)

    made = make(COMPLETE)
    assert "k3y-canary" not in repr(made)
    assert "k3y-canary" not in repr(made.describe())
    assert made.describe()["auth"]["api_key"] == "[REDACTED]"
    assert made.auth.api_key == Secret("k3y-canary")


def test_what_is_shown_has_every_key_by_section() -> None:
    shown = make(COMPLETE, environment="production").describe()

    assert shown["general"] == {"environment": "production"}
    assert shown["logging"]["level"] == "WARN"
    assert {(section, key) for section in shown for key in shown[section] if section != "general"} == {
        (section, key) for section in SECTIONS for key in keys_of(section)
    }


def test_the_tables_name_only_keys_that_exist() -> None:
    keys = {f"{section}.{key}" for section in SECTIONS for key in keys_of(section)}

    assert keys >= PLAIN_NUMBERS
    assert keys >= set(SHARED.values())
    assert all(set(defaults) <= keys for defaults in ENVIRONMENT_DEFAULTS.values())
    for path in SHARED:
        section, _, key = path.partition(".")
        assert key in {field.name for field in attrs.fields(SECTIONS[section])}
    # A number with a fraction is a duration unless it is listed: a new share or factor must be listed.
    ratios = ("threshold", "jitter", "multiplier", "factor", "share", "ratio")
    durations = {path for path in keys if keys_of(path.partition(".")[0])[path.partition(".")[2]] is Duration}
    assert not [path for path in durations if path.endswith(ratios)]


def test_every_default_can_be_written_down_and_read_again() -> None:
    made = make(COMPLETE)
    written: dict[str, dict[str, object]] = {}
    for path, value in made.values().items():
        section, _, key = path.rpartition(".")
        if section and value is not None and value != Secret(""):
            written.setdefault(section, {})[key] = value

    assert make(written) == made


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
keys = st.one_of(
    *(st.sampled_from([(section, key) for key in keys_of(section)]) for section in SECTIONS),
    st.tuples(st.sampled_from(list(SECTIONS)), st.text(max_size=10)),
)


@given(st.lists(st.tuples(keys, json_like), max_size=6))
def test_whatever_a_file_says_the_answer_is_a_configuration_or_its_problems(
    said: list[tuple[tuple[str, str], object]],
) -> None:
    values: dict[str, dict[str, object]] = {}
    for (section, key), value in said:
        values.setdefault(section, {})[key] = value

    answer: Configuration | ConfigurationError
    try:
        answer = make(values)
    except ConfigurationError as error:
        answer = error

    if isinstance(answer, ConfigurationError):
        assert answer.problems
        named = (*values, "auth", "avatar")
        assert all(problem.path.startswith(named) for problem in answer.problems)


# A7.3
@given(st.sampled_from([(section, key) for section in SECTIONS for key in keys_of(section)]), st.data())
def test_a_misspelt_key_is_answered_with_the_right_one(where: tuple[str, str], data: st.DataObject) -> None:
    section, key = where
    at = data.draw(st.integers(0, len(key) - 1))
    misspelt = key[:at] + "q" + key[at:]

    named = problems({section: {misspelt: 1}})

    suggestion = named[f"{section}.{misspelt}"].partition("did you mean ")[2]
    # A neighbour may be as near: connected_timeout and close_timeout, say.
    assert suggestion.rstrip("?").rpartition(".")[0] == section


def test_the_variable_of_a_key() -> None:
    assert variable("auth.api_key") == "HOLDFAST_AUTH__API_KEY"


# SEMANTICS "Supervision beyond OTP" 7: a broken file keeps the last good one.
def test_a_broken_reading_keeps_the_last_good_configuration() -> None:
    error = ConfigurationError([Problem("a.b", "must be c")])

    assert decide_reload(make(), error) == Keep(("a.b: must be c",))


def test_a_good_reading_is_taken_over_whole_with_what_changed() -> None:
    before = make(COMPLETE)
    after = make({"reconnect": {"max_retries": 7}, "logging": {"level": "DEBUG"}}, COMPLETE)

    assert decide_reload(before, after) == Swap(after, ("reconnect.max_retries", "logging.level"))
    assert decide_reload(before, make(COMPLETE)) == Swap(make(COMPLETE), ())


def test_a_url_that_comes_or_goes_is_a_change() -> None:
    swap = decide_reload(make(), make(COMPLETE))

    assert isinstance(swap, Swap)
    assert "connection.url" in swap.changed
    assert "socket.heartbeat" in swap.changed


@pytest.mark.parametrize(
    "section, key, value, wanted",
    [
        ("connection", "timeout", 0, "more than 0 s"),
        ("connection", "client_id", "", "1 to 128 printable characters"),
        ("connection", "client_id", "a\nb", "1 to 128 printable characters"),
        ("audio", "sample_rate", 100, "from 8000 to 192000 Hz"),
        ("audio", "bit_depth", 12, "8, 16, 24 or 32"),
        ("audio", "buffer_size", 0, "from 1 to a second of samples"),
        ("supervision", "root_intensity", -1, "0 or more"),
        ("supervision", "stop_deadline", 0, "more than 0 s"),
        ("supervision", "correlated_failures", 1, "2 or more"),
        ("supervision", "correlated_window", 0, "more than 0 s"),
        ("logging", "linger", "1s", "from 0 to 0.04 s"),
    ],
)
def test_values_out_of_range_are_refused_by_name(section: str, key: str, value: object, wanted: str) -> None:
    named = problems({section: {key: value}})

    assert named[f"{section}.{key}"].startswith(f"must be {wanted}, not ")
