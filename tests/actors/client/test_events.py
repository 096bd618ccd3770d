"""The public form of events: names, camelCase keys, units, and masks."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.actors.auth.messages import AuthCleanup, AuthError, TokenAcquired, TokenExpired, TokenRefreshed
from holdfast.actors.avatar.messages import SessionCleanup, SessionCreated, SessionError, VoiceCoordination
from holdfast.actors.client.events import encode_event, event_form
from holdfast.actors.client.messages import Connecting, RecoveryStarted
from holdfast.actors.client.messages import SystemError as SystemFailed
from holdfast.actors.reconnect.messages import (
    ErrorClassified,
    ReconnectAttempt,
    ReconnectExhausted,
    StateChanged,
)
from holdfast.runtime import Event, Secret

FORMS: list[tuple[Event, str, dict[str, object]]] = [
    # A1.1
    (
        TokenAcquired(access_token=Secret("eyJ"), expires_in=3600.0, token_type="Bearer"),
        "token:acquired",
        {"accessToken": "[REDACTED]", "expiresIn": 3600.0, "tokenType": "Bearer"},
    ),
    # A1.2
    (
        TokenRefreshed(access_token=Secret("a"), previous_token=Secret("b")),
        "token:refreshed",
        {"accessToken": "[REDACTED]", "previousToken": "[REDACTED]"},
    ),
    # A1.3
    (
        AuthError(status=429, error="rate_limited", description="slow down", retryable=True),
        "auth:error",
        {"status": 429, "error": "rate_limited", "description": "slow down", "retryable": True},
    ),
    # A1.4
    (
        TokenExpired(expired_token=Secret("a"), reason="refresh_failed", requires_reauth=True),
        "token:expired",
        {"expiredToken": "[REDACTED]", "reason": "refresh_failed", "requiresReauth": True},
    ),
    # A1.7
    (
        AuthCleanup(reason="user_logout", tokens_cleared=("access_token", "refresh_token")),
        "auth:cleanup",
        {"reason": "user_logout", "tokensCleared": ["access_token", "refresh_token"]},
    ),
    # A2.1: the seed's delays are milliseconds
    (ReconnectAttempt(attempt=2, delay=1.0), "reconnect:attempt", {"attempt": 2, "delay": 1000}),
    # A2.2
    (
        ReconnectExhausted(total_attempts=6, max_retries=5, last_error="refused", give_up=True),
        "reconnect:exhausted",
        {"totalAttempts": 6, "maxRetries": 5, "lastError": "refused", "giveUp": True},
    ),
    # A2.4
    (
        StateChanged(previous="connected", current="reconnecting"),
        "state:changed",
        {"previous": "connected", "current": "reconnecting"},
    ),
    # A2.6
    (
        ErrorClassified(error="dns", retryable=True, recommended_delay=5.0, classification="dns"),
        "error:classified",
        {"error": "dns", "retryable": True, "recommendedDelay": 5000, "classification": "dns"},
    ),
    (Connecting(), "connecting", {}),  # A4.1
    # A4.4
    (SystemFailed(source="auth", error="lost"), "error:system", {"source": "auth", "error": "lost"}),
    (RecoveryStarted(source="auth"), "recovery:started", {"source": "auth"}),
    # A6.1
    (
        SessionCreated(session_id="s", avatar_id="a", status="active", websocket_url="wss://x"),
        "session:created",
        {"sessionId": "s", "avatarId": "a", "status": "active", "websocketUrl": "wss://x"},
    ),
    # A6.2
    (
        VoiceCoordination(avatar_session_id="s", voice_id="v", sync_required=True, speaking=True),
        "voice:coordination",
        {"avatarSessionId": "s", "voiceId": "v", "syncRequired": True, "speaking": True},
    ),
    # A6.3
    (
        SessionError(error="unavailable", avatar_id="a", recoverable=True),
        "session:error",
        {"error": "unavailable", "avatarId": "a", "recoverable": True, "fallbackMode": "voice_only"},
    ),
    # A6.4
    (
        SessionCleanup(session_id="s", reason="manual_cleanup"),
        "session:cleanup",
        {"sessionId": "s", "reason": "manual_cleanup"},
    ),
]


@pytest.mark.parametrize("event,name,payload", FORMS, ids=[name for _event, name, _payload in FORMS])
def test_an_event_has_exactly_the_name_and_keys_of_its_description(
    event: Event, name: str, payload: dict[str, object]
) -> None:
    assert event_form(event)["type"] == name
    assert msgspec.json.decode(encode_event(event)) == {"type": name, "payload": payload}


def test_a_secret_at_any_depth_is_masked_in_the_form() -> None:
    class Nested(Event, frozen=True, tag="nested"):
        inner: dict[str, list[Secret]]

    form = encode_event(Nested(inner={"tokens": [Secret("canary-123")]}))

    assert b"canary-123" not in form
    assert b"[REDACTED]" in form
