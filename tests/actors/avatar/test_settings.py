from __future__ import annotations

from typing import Any

import pytest

from holdfast.actors.avatar.settings import AvatarSettings, InvalidAvatarSettings
from holdfast.runtime import Secret


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"request_timeout": 0.0}, "request_timeout must be more than 0 s"),
        ({"idle_window": float("inf")}, "idle_window must be more than 0 s and finite"),
        ({"keep_alive": 200.0}, r"keep_alive must be at most half of idle_window \(300 s\), not 200"),
        ({"sweep_max": 0.5}, "sweep_max must be finite and at least sweep_initial"),
        ({"chunk": 48_001}, "chunk must be an even number of bytes"),
        ({"first_chunk": 0}, "first_chunk must be an even number of bytes above 0"),
        ({"chunk": 900_000}, "chunk of 900000 bytes makes a packet of up to 1200256 bytes"),
        ({"max_speech": 4_000_000}, "max_speech must be at most speech_queue"),
        ({"unreleased_max": 0}, "unreleased_max must be 1 or more"),
        ({"api_key": Secret("two words")}, "api_key must consist of visible ASCII"),
        ({"api_key": Secret("x" * 5_000)}, "at most 4096 characters, not 5000"),
        ({"api_url": "http://avatar.example"}, "api_url must be https"),
        ({"api_url": "https://u:p@avatar.example"}, "without a user name or password"),
        ({"api_url": "ftp://avatar.example"}, "must be a URL such as"),
        ({"api_url": "https://avatar.example:port"}, "must be a URL such as"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidAvatarSettings, match=why) as caught:
        AvatarSettings(**changes)
    assert "two words" not in str(caught.value)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "https://a.example", "http://127.0.0.1:1", "http://localhost", "http://[::1]"]
)
def test_tls_is_needed_beyond_loopback_only(url: str) -> None:  # A3.1
    assert AvatarSettings(api_url=url).api_url == url


def test_plain_text_can_be_allowed() -> None:
    assert AvatarSettings(api_url="http://avatar.example", allow_plaintext=True).reachable is False


def test_what_is_missing_is_named_only_when_the_avatar_is_enabled() -> None:
    assert AvatarSettings().missing() == ()
    assert AvatarSettings(enabled=True).missing() == ("api_url", "api_key")


def test_the_key_is_masked() -> None:
    assert "hush" not in repr(AvatarSettings(api_key=Secret("hush")))
