"""Tokens as values: their form, and what an exchange for one gives."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Literal

import attrs

from holdfast.actors.auth.messages import AuthenticationFailed, AuthError
from holdfast.runtime import Secret

__all__ = [
    "ExchangeFailure",
    "ExchangeKind",
    "Fault",
    "FormatVerdict",
    "Grant",
    "validate_token_format",
]

# The form of a JWS in compact serialisation: three non-empty parts of the base64url alphabet (RFC 7515, 7.1).
_THREE_PARTS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@attrs.frozen
class FormatVerdict:
    """Whether a token has the form of one, and why not."""

    valid: bool
    reason: Literal["null_token", "empty_token", "malformed_token", "valid_format"]


def validate_token_format(token: str | Secret | None) -> FormatVerdict:
    """Judge the form alone: who signed it, and until when it holds, only a server can say."""
    text = token.reveal() if isinstance(token, Secret) else token
    if text is None:
        return FormatVerdict(valid=False, reason="null_token")
    if not text:
        return FormatVerdict(valid=False, reason="empty_token")
    if not _THREE_PARTS.fullmatch(text):
        return FormatVerdict(valid=False, reason="malformed_token")
    return FormatVerdict(valid=True, reason="valid_format")


# ---- exchanges -------------------------------------------------------------------------------------


class ExchangeKind(enum.StrEnum):
    """What is given for a token; the value is the wire's ``grant_type``."""

    AUTHENTICATE = "client_credentials"
    REFRESH = "refresh_token"


@attrs.frozen
class Grant:
    """What the token endpoint gave, already checked."""

    access_token: Secret
    expires_in: float
    refresh_token: Secret | None = None
    """None: the endpoint issued none, or does not rotate the one it had issued."""
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme


class Fault(enum.Enum):
    """How an exchange failed."""

    REFUSED = "refused"
    """The endpoint answered with an error status."""
    MALFORMED = "malformed"
    """It answered with success and nonsense: a lying peer, or not a token endpoint."""
    UNREACHABLE = "unreachable"
    """The request was never sent."""
    CERTIFICATE = "certificate"
    """The server could not prove who it is, so nothing was sent."""
    LOST = "lost"
    """The request may have been handled; its answer did not come, or not in time."""


@attrs.frozen
class ExchangeFailure:
    """What came instead of a grant."""

    fault: Fault
    status: int
    """The HTTP status, 0 without an answer."""
    error: str
    description: str = ""
    retry_after: float | None = None
    """Seconds that the endpoint asked to be left alone for."""

    @property
    def retryable(self) -> bool:
        """Whether the same exchange may succeed later without anyone mending anything (A1.3)."""
        return _RETRYABLE[self.fault](self.status)

    @property
    def may_have_spent(self) -> bool:
        """Whether the server may have used up the refresh token although no new one reached us."""
        return _MAY_HAVE_SPENT[self.fault](self.status)

    @property
    def invalid_grant(self) -> bool:
        """Whether the endpoint said that the refresh token is worth nothing."""
        return self.fault is Fault.REFUSED and self.error == "invalid_grant"

    @property
    def event(self) -> AuthError:
        """What watchers see of it."""
        return AuthError(self.status, self.error, self.description, self.retryable)

    def raised(self, retry_after: float | None = None) -> AuthenticationFailed:
        """Return what callers get for it."""
        return AuthenticationFailed(
            self.status,
            self.error,
            self.description,
            retryable=self.retryable,
            retry_after=retry_after if self.retryable else None,
        )


_RETRYABLE: dict[Fault, Callable[[int], bool]] = {
    # 401 and 403 are final, and so is every refusal but these: time-out, too early, too many requests, 5xx.
    Fault.REFUSED: lambda status: status in (408, 425, 429) or status >= 500,
    Fault.MALFORMED: lambda _status: True,
    Fault.UNREACHABLE: lambda _status: True,
    Fault.LOST: lambda _status: True,
    # A certificate does not become right by asking again (A2.6).
    Fault.CERTIFICATE: lambda _status: False,
}

_MAY_HAVE_SPENT: dict[Fault, Callable[[int], bool]] = {
    # A 503 says that nothing was done.  Other 5xx may come from a proxy before a server that has rotated.
    Fault.REFUSED: lambda status: status >= 500 and status != 503,
    Fault.MALFORMED: lambda _status: True,
    Fault.LOST: lambda _status: True,
    Fault.UNREACHABLE: lambda _status: False,
    Fault.CERTIFICATE: lambda _status: False,
}
