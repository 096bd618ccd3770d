from __future__ import annotations

from typing import Any

import pytest

from holdfast.actors.reconnect.settings import InvalidReconnectSettings, ReconnectSettings


@pytest.mark.parametrize(
    "name,value",
    [
        ("max_retries", -1),
        ("initial_delay", 0),
        ("multiplier", 0.5),
        ("max_delay", 0.5),
        ("stable_after", -1),
        ("probe", 0),
        ("budget_reconnects", 0),
        ("budget_period", 0),
        ("budget_floor", -1),
        ("retry_after_max", 0),
        ("answer_within", 0),
        ("dials_per_minute", 0),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str, value: float) -> None:
    given: dict[str, Any] = {name: value}

    with pytest.raises(InvalidReconnectSettings, match=rf"^reconnect\.{name} must be .*, not {value}"):
        ReconnectSettings(**given)


def test_no_probe_and_no_retry_can_be_wished_for() -> None:
    settings = ReconnectSettings(probe=None, max_retries=0)

    assert settings.probe is None


def test_the_defaults_bring_a_link_back_within_thirty_seconds() -> None:
    # SEMANTICS "Time": the figures that A2.7 rests on
    settings = ReconnectSettings()

    assert (settings.max_retries, settings.initial_delay, settings.multiplier) == (5, 1.0, 2.0)
    assert (settings.max_delay, settings.probe, settings.stable_after) == (8.0, 10.0, 30.0)
    assert (settings.budget_reconnects, settings.budget_period, settings.budget_floor) == (10, 300.0, 10.0)
