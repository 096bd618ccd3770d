"""What can be set, and what is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.auth.settings import AuthSettings, InvalidAuthSettings
from holdfast.runtime import HoldfastError, Secret

SHARE = st.floats(0, 1, exclude_max=True)
LIFETIME = st.floats(0.001, 1e7)


# A1.2
def test_a_token_of_300_s_is_renewed_at_270_s_or_a_little_earlier() -> None:
    settings = AuthSettings()

    assert settings.renewal_time(1000.0, 300.0, chance=0.0) == pytest.approx(1270)
    assert settings.renewal_time(1000.0, 300.0, chance=0.999) == pytest.approx(1240, abs=0.1)


# A1.2: the seed's example.
def test_the_threshold_can_be_set() -> None:
    settings = AuthSettings(token_refresh_threshold=0.8, refresh_jitter=0.0)

    assert settings.renewal_time(0.0, 300.0, chance=0.7) == 240


# A1.2
@given(LIFETIME, SHARE)
def test_jitter_brings_a_renewal_forward_and_never_delays_it(lifetime: float, chance: float) -> None:
    settings = AuthSettings()
    due = settings.renewal_time(50.0, lifetime, chance)

    latest = 50 + max(settings.refresh_floor, 0.9 * lifetime)
    earliest = 50 + max(settings.refresh_floor, 0.8 * lifetime)
    assert earliest - 1e-6 * lifetime <= due <= latest + 1e-6 * lifetime


def test_tokens_that_live_for_milliseconds_are_renewed_once_a_second() -> None:
    assert AuthSettings().renewal_time(10.0, 0.002, chance=0.0) == 11


def test_the_leeway_takes_at_most_a_tenth_of_a_short_life() -> None:
    settings = AuthSettings(leeway=5.0)

    assert settings.leeway_of(300.0) == 5
    assert settings.leeway_of(10.0) == 1


@given(st.integers(0, 2000), SHARE)
def test_retries_back_off_within_their_cap_and_never_at_once(failures: int, chance: float) -> None:
    settings = AuthSettings()

    assert 0.1 <= settings.retry_delay(failures, chance) <= settings.retry_max


def test_the_back_off_doubles() -> None:
    settings = AuthSettings(retry_initial=1.0, retry_max=8.0)

    assert [settings.retry_delay(n, 1.0) for n in range(5)] == [1, 2, 4, 8, 8]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://auth.example.com",
        "https://auth.example.com:8443/base/",
        "http://localhost:8080",
        "http://127.0.0.1:9",
        "http://127.8.8.8",
        "http://[::1]:80",
    ],
)
def test_https_and_loopback_are_accepted(endpoint: str) -> None:
    assert AuthSettings(api_endpoint=endpoint).api_endpoint == endpoint


# A3.1: the same for every HTTP call.
@pytest.mark.parametrize(
    "endpoint", ["http://auth.example.com", "http://10.0.0.1", "http://localhost.evil.com"]
)
def test_plain_http_to_another_machine_needs_an_explicit_word(endpoint: str) -> None:
    with pytest.raises(InvalidAuthSettings, match=r"must be https, .*the API key would travel readable"):
        AuthSettings(api_endpoint=endpoint)

    assert AuthSettings(api_endpoint=endpoint, allow_plaintext=True).allow_plaintext


@pytest.mark.parametrize(
    "endpoint",
    [
        "auth.example.com",
        "wss://auth.example.com",
        "https://",
        "https://a.example.com?x=1",
        "https://a.example.com#x",
        "https://a.example.com:port",
        "https://[::1",
    ],
)
def test_an_endpoint_that_is_no_service_address_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidAuthSettings, match=r"api_endpoint must be a URL such as https://.*, not '"):
        AuthSettings(api_endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://a.example.com?key=canary",
        "https://a.example.com#canary",
        "https://canary@[",
        "ftp://x?canary",
    ],
)
def test_what_may_be_a_key_in_a_wrong_address_is_not_shown(endpoint: str) -> None:  # A5.7
    with pytest.raises(InvalidAuthSettings) as caught:
        AuthSettings(api_endpoint=endpoint)

    assert "canary" not in str(caught.value)


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidAuthSettings, match="put the key into api_key") as caught:
        AuthSettings(api_endpoint="https://user:canary@auth.example.com")

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("key", ["canary key", "canary\n", "canäry", "canary\r\nX-Evil: 1", "canary" * 1000])
def test_a_key_that_does_not_fit_into_a_header_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidAuthSettings, match="api_key must ") as caught:
        AuthSettings(api_key=Secret(key))

    assert "can\u00e4ry" not in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "name,value",
    [
        ("token_refresh_threshold", 0.0),
        ("token_refresh_threshold", 1.0),
        ("token_refresh_threshold", float("nan")),
        ("refresh_jitter", -0.1),
        ("refresh_jitter", 0.9),
        ("refresh_floor", 0.0),
        ("leeway", -1.0),
        ("leeway", float("inf")),
        ("request_timeout", 0.0),
        ("request_timeout", float("inf")),
        ("request_timeout", float("nan")),
        ("retry_initial", 0.0),
        ("retry_max", 0.5),
        ("retry_max", float("inf")),
        ("retry_after_max", -1.0),
        ("refusal_pause", -1.0),
        ("resend_limit", -1),
        ("resend_window", 0.0),
        ("waiters_max", 0),
    ],
)
def test_a_number_without_meaning_is_refused_with_its_name_and_value(name: str, value: float) -> None:
    with pytest.raises(InvalidAuthSettings, match=rf"^{name} must be .*, not {value:g}$") as caught:
        AuthSettings(**{name: value})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert isinstance(caught.value, HoldfastError)
    assert isinstance(caught.value, ValueError)


def test_what_is_missing_is_named_all_at_once() -> None:
    assert AuthSettings().missing() == ("api_endpoint", "api_key")
    assert AuthSettings(api_endpoint="https://a.example.com").missing() == ("api_key",)
    assert AuthSettings(api_endpoint="https://a.example.com", api_key=Secret("k")).missing() == ()


def test_settings_never_show_the_key() -> None:
    assert "canary" not in repr(AuthSettings(api_key=Secret("canary")))
