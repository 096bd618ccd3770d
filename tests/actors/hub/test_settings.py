from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.actors.hub.arguments import ADMIN_KEY, API_KEYS, read_settings
from holdfast.actors.hub.settings import HubSettings, InvalidHubSettings
from holdfast.runtime import Secret

KEYS = {API_KEYS: "first-api-key, second-api-key"}


def test_the_defaults_bind_loopback_and_let_the_system_choose_the_ports() -> None:
    settings = HubSettings()

    assert settings.host == "127.0.0.1"
    assert (settings.token_port, settings.realtime_port, settings.avatar_port) == (0, 0, 0)
    assert settings.token_lifetime == 300  # A1.2


def test_detection_back_off_and_dial_fit_into_half_a_minute() -> None:  # A2.7
    settings = HubSettings()

    assert settings.heartbeat + settings.heartbeat_slack + 8 + 5 < 30


@pytest.mark.parametrize(
    "key, value",
    [
        ("token_lifetime", 0),
        ("heartbeat", -1),
        ("realtime_port", 65_536),
        ("token_port", -1),
        ("refresh_grace", -0.1),
        ("max_frame", 1_023),
        ("window_bytes", 262_143),
        ("backlog_bytes", 1),
        ("drain_reconnect", (5, 1)),
        ("api_keys", (Secret("short"),)),
        ("admin_key", Secret("short")),
        ("window_frames", 0),
    ],
)
def test_a_value_that_cannot_work_is_named_when_the_settings_are_made(key: str, value: object) -> None:
    with pytest.raises(InvalidHubSettings, match=rf"^hub\.{key}: wanted .+, got "):
        HubSettings(**{key: value})  # type: ignore[arg-type]


def test_the_admin_key_is_no_api_key() -> None:
    with pytest.raises(InvalidHubSettings, match="no API key as well"):
        HubSettings(api_keys=(Secret("same-key-twice"),), admin_key=Secret("same-key-twice"))


def test_settings_may_be_printed() -> None:  # A7.5
    settings = HubSettings(api_keys=(Secret("hush-hush-1"),), admin_key=Secret("hush-hush-2"))

    assert "hush" not in repr(settings)
    with pytest.raises(InvalidHubSettings) as refused:
        HubSettings(api_keys=(Secret("hush"),))
    assert "hush" not in str(refused.value)


def test_every_kind_of_setting_can_be_given_as_text() -> None:
    settings = read_settings(
        [
            "token-lifetime=4.5",
            "realtime_port=9000",
            "store_path=/tmp/hub.db",
            "connect_token=yes",
            "denied_clients=eve, mallory",
            "drain_reconnect=0.1,0.2",
        ],
        {**KEYS, ADMIN_KEY: "the-admin-key"},
    )

    assert settings.token_lifetime == 4.5
    assert settings.realtime_port == 9000
    assert settings.store_path == Path("/tmp/hub.db")
    assert settings.connect_token is True
    assert settings.denied_clients == ("eve", "mallory")
    assert settings.drain_reconnect == (0.1, 0.2)
    assert settings.api_keys == (Secret("first-api-key"), Secret("second-api-key"))
    assert settings.admin_key == Secret("the-admin-key")


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("heartbeet=3", r"hub\.heartbeet: .*did you mean heartbeat"),
        ("zzz=3", r"hub\.zzz: wanted the name of a setting, got"),
        ("heartbeat", r"wanted name=value, got 'heartbeat'"),
        ("heartbeat=soon", r"hub\.heartbeat: wanted a value of type float, got 'soon'"),
        ("heartbeat=-1", r"hub\.heartbeat: wanted a number above zero, got -1\.0"),
        ("connect_token=perhaps", r"hub\.connect_token: wanted a value of type bool, got 'perhaps'"),
        ("api_keys=hush-hush", r"the environment variable HOLDFAST_HUB_API_KEYS, got 'an argument'"),
    ],
)
def test_a_bad_argument_is_answered_with_what_was_wanted_and_what_came(argument: str, expected: str) -> None:
    with pytest.raises(InvalidHubSettings, match=expected):
        read_settings([argument], KEYS)


def test_a_hub_without_api_keys_is_refused() -> None:
    with pytest.raises(InvalidHubSettings, match=API_KEYS):
        read_settings([], {})
