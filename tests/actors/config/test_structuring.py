"""What each type of setting takes, from files and from the environment."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.config.settings import Environment
from holdfast.actors.config.structuring import Duration, Unfit, is_secret, show, shown_briefly, structure
from holdfast.actors.logger.messages import Level
from holdfast.runtime import REDACTED, Secret


# A7 conventions: configuration files accept a unit or a number of seconds.
@pytest.mark.parametrize(
    "written, seconds",
    [
        ("30s", 30.0),
        ("250ms", 0.25),
        ("2m", 120.0),
        (" 1.5 h ", 5400.0),
        ("7us", 7e-6),
        ("1d", 86400.0),
        (30, 30.0),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_a_number_of_seconds_or_has_a_unit(written: object, seconds: float) -> None:
    assert structure(written, Duration, text=False) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    ["30", "fast", "", "-1s", "1 s 2", "s", True, None, [], math.inf, "1S", 10**400, "9" * 400 + "s"],
)
def test_anything_else_is_no_duration(written: object) -> None:
    with pytest.raises(Unfit, match=r'^must be a duration: .* "30s", "250ms" or "2m"$'):
        structure(written, Duration, text=False)


@given(st.floats(0, 1e6, allow_nan=False))
def test_the_environment_writes_seconds_as_text(seconds: float) -> None:
    assert structure(str(seconds), Duration, text=True) == seconds


@pytest.mark.parametrize(
    "annotation, value, wanted",
    [
        (bool, 1, "true or false"),
        (bool, "true", "true or false"),
        (int, "8000", "a whole number"),
        (int, True, "a whole number"),
        (int, 1.0, "a whole number"),
        (float, "0.5", "a finite number"),
        (float, math.nan, "a finite number"),
        (str, 5, "text"),
        (Path, 5, "a path"),
        (Path, "", "a path"),
        (Path, "a\0b", "a path"),
        (Path, "~/x", "a path written out: ~ is not expanded"),
        (Secret, 5, "a secret as text that is not empty"),
        (Secret, "", "a secret as text that is not empty"),
        (Level, "LOUD", "one of DEBUG, INFO, WARN, ERROR"),
        (Level, 10, "one of DEBUG, INFO, WARN, ERROR"),
        (Environment, "prod", "one of development, testing, production"),
    ],
)
def test_a_file_says_a_value_in_its_own_type_or_is_told_which(
    annotation: object, value: object, wanted: str
) -> None:
    with pytest.raises(Unfit) as caught:
        structure(value, annotation, text=False)

    assert str(caught.value) == f"must be {wanted}"


@pytest.mark.parametrize(
    "annotation, text, value",
    [
        (bool, "yes", True),
        (bool, "OFF", False),
        (int, " 12 ", 12),
        (float, "0.25", 0.25),
        (str, "true", "true"),
        (Path, "/tmp/x", Path("/tmp/x")),
        (Secret, "s", Secret("s")),
        (Level, "warn", Level.WARN),
        (Environment, "PRODUCTION", Environment.PRODUCTION),
        (Duration, "250ms", 0.25),
        (Duration | None, "off", None),
        (Duration | None, "none", None),
        (Duration | None, "5", 5.0),
        (str | None, "off", "off"),
    ],
)
def test_the_environment_says_every_value_as_text(annotation: object, text: str, value: object) -> None:
    assert structure(text, annotation, text=True) == value


@pytest.mark.parametrize(
    "annotation, text",
    [(bool, "maybe"), (int, "1.5"), (float, "x"), (float, "inf"), (Duration, "soon")],
)
def test_text_that_cannot_be_read_is_refused(annotation: object, text: str) -> None:
    with pytest.raises(Unfit):
        structure(text, annotation, text=True)


def test_an_optional_duration_is_switched_off_by_name_and_optional_text_is_not() -> None:
    assert structure("off", Duration | None, text=False) is None
    assert structure(False, Duration | None, text=False) is None
    assert structure("off", str | None, text=False) == "off"
    assert structure(None, Path | None, text=False) is None


@pytest.mark.parametrize(
    "annotation, value",
    [
        (Secret, Secret("x")),
        (Path, Path("x")),
        (Level, Level.INFO),
        (Environment, Environment.TESTING),
        (bool, False),
        (float, 2),
    ],
)
def test_a_program_may_pass_the_values_themselves(annotation: object, value: object) -> None:
    assert structure(value, annotation, text=False) == value


# A7.5
def test_what_is_shown_has_no_secret_and_no_credentials() -> None:
    assert show(Secret("s3cr3t")) == REDACTED
    assert show(Secret("")) is None
    assert show("wss://user:pw@host/p?token=abc") == f"wss://{REDACTED}@host/p"
    assert show(Level.WARN) == "WARN"
    assert show(Environment.TESTING) == "testing"
    assert show(Path("a/b")) == "a/b"
    assert show(5) == 5
    assert len(shown_briefly("x" * 1_000)) < 100
    assert is_secret(Secret)
    assert is_secret(Secret | None)
    assert not is_secret(str)
