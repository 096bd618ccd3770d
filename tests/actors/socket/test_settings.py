from __future__ import annotations

from typing import Any

import pytest

from holdfast.actors.socket.settings import Endpoint, InvalidSocketSettings, SocketSettings


@pytest.mark.parametrize(
    "url,endpoint",
    [
        ("wss://hub.example/rt", Endpoint("hub.example", 443, tls=True, resource="/rt")),
        ("wss://hub.example:8443", Endpoint("hub.example", 8443, tls=True, resource="/")),
        ("wss://hub.example/a/b?c=d", Endpoint("hub.example", 443, tls=True, resource="/a/b?c=d")),
        ("ws://localhost:8080/rt", Endpoint("localhost", 8080, tls=False, resource="/rt")),
        ("ws://127.0.0.1/rt", Endpoint("127.0.0.1", 80, tls=False, resource="/rt")),
        ("ws://[::1]:9/rt", Endpoint("::1", 9, tls=False, resource="/rt")),
    ],
)
def test_a_url_is_taken_apart_once(url: str, endpoint: Endpoint) -> None:
    # A3.1
    assert SocketSettings(url).endpoint == endpoint


@pytest.mark.parametrize(
    "url,wanted",
    [
        ("http://hub.example", "a wss:// or ws:// URL"),
        ("hub.example", "a wss:// or ws:// URL"),
        ("", "a wss:// or ws:// URL"),
        ("wss:///rt", "names a host"),
        ("ws://hub.example/rt", "wss:// for a host that is not this machine"),
        ("ws://10.0.0.1/rt", "wss:// for a host that is not this machine"),
        ("wss://user:hunter2@hub.example/rt", "free of credentials"),
        ("wss://hunter2@hub.example/rt", "free of credentials"),
        ("wss://hub.example:99999/rt", "a port from 0 to 65535"),
        ("wss://[", "a sound host"),
        ("wss://hunter2@[", "a sound host"),
        # The upgrade request could not be written.
        ("wss://hub.example/caf\u00e9", "a URL in ASCII"),
        ("wss://h\u00fcb.example/rt", "a URL in ASCII"),
        ("wss://hub.example/a b", "without spaces"),
        ("wss://hub.example/a\x00b", "a URL in ASCII"),
    ],
)
def test_a_url_that_is_wrong_or_not_safe_is_refused_without_showing_its_secrets(
    url: str, wanted: str
) -> None:
    # A3.1: plain only to loopback unless explicitly allowed
    with pytest.raises(InvalidSocketSettings, match=wanted) as caught:
        SocketSettings(url)

    assert "hunter2" not in str(caught.value)


def test_plaintext_to_another_machine_can_be_allowed_by_name() -> None:
    # A3.1
    assert not SocketSettings("ws://10.0.0.1/rt", allow_plaintext=True).endpoint.tls


@pytest.mark.parametrize(
    "url,authority",
    [
        ("wss://hub.example/rt", "hub.example"),
        ("wss://hub.example:444/rt", "hub.example:444"),
        ("ws://[::1]:9/rt", "[::1]:9"),
        ("ws://localhost/rt", "localhost"),
    ],
)
def test_the_host_header_names_the_port_where_it_is_not_the_schemes_own(url: str, authority: str) -> None:
    assert SocketSettings(url).endpoint.authority == authority


@pytest.mark.parametrize(
    "name,value",
    [
        ("heartbeat", 0),
        ("heartbeat_min", 0),
        ("dead_after", -1),
        ("dial_timeout", 0),
        ("replay_timeout", 0),
        ("close_timeout", 0),
        ("max_frame", 1023),
        ("outbound_frames", 0),
        ("outbound_bytes", 262_143),
        ("inbound_frames", 0),
        ("inbound_bytes", 1),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str, value: float) -> None:
    given: dict[str, Any] = {name: value}

    with pytest.raises(InvalidSocketSettings, match=rf"^socket\.{name} must be .*, not {value}"):
        SocketSettings("wss://hub.example", **given)


def test_the_defaults_find_a_dead_link_within_fifteen_seconds() -> None:
    # SEMANTICS "Time"
    settings = SocketSettings("wss://hub.example")

    assert (settings.heartbeat, settings.dead_after, settings.dial_timeout) == (10.0, 5.0, 5.0)
    assert settings.max_frame == 262_144
