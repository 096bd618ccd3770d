"""What the auth actor hears and says.

Secrets in messages and events are `Secret`s: whoever prints, logs or stores one
of these by accident shows a mask.  `AuthenticationFailed` stands here because
it is part of the answer to `GetToken` and `TokenRejected`.
"""

from __future__ import annotations

import msgspec

from holdfast.runtime import Event, HoldfastError, Message, Request, Secret

__all__ = [
    "AuthCleanup",
    "AuthError",
    "AuthState",
    "Authenticate",
    "AuthenticationFailed",
    "GetAuthState",
    "GetToken",
    "ListenerBehind",
    "Logout",
    "Token",
    "TokenAcquired",
    "TokenChanged",
    "TokenExpired",
    "TokenExpiring",
    "TokenLost",
    "TokenRefreshed",
    "TokenRejected",
    "ValidateToken",
]


class Token(msgspec.Struct, frozen=True):
    """An access token, as other actors see it."""

    access_token: Secret
    generation: int
    """Counts the tokens of this system, from 1: who reports a rejection says which one was rejected."""
    expires_at: float
    """Monotonic seconds, counted from before the request, so never later than the server's own reckoning."""


class AuthState(msgspec.Struct, frozen=True):
    """Where the token's life stands."""

    authenticated: bool
    """There is a token that has not expired and that no server has rejected."""
    expires_in: float | None
    refresh_count: int
    failure_count: int
    phase: str
    """unauthenticated, authenticating, valid, refreshing, expired or reauth_required."""


class AuthenticationFailed(HoldfastError):
    """There is no usable access token.

    `status` is the endpoint's HTTP status, 0 when it gave no answer.  When
    `retryable`, ask again, not before `retry_after` seconds if that is given;
    otherwise somebody has to mend the credentials first.
    """

    def __init__(
        self,
        status: int,
        error: str,
        description: str = "",
        *,
        retryable: bool,
        retry_after: float | None = None,
    ) -> None:
        answer = f"the token endpoint answered {status} {error}" if status else error
        advice = "ask again later" if retryable else "mend the credentials and authenticate again"
        if retry_after is not None:
            advice += f", in {retry_after:.1f} s at the earliest"
        super().__init__(
            f"no access token: {answer}{f' ({description})' if description else ''}; {advice}",
        )
        self.status = status
        self.error = error
        self.description = description
        self.retryable = retryable
        self.retry_after = retry_after


# ---- heard -----------------------------------------------------------------------------------------


class Authenticate(Request[bool], frozen=True):
    """Get a new token with the API key, whatever is held now; False when the attempt failed."""


class GetToken(Request[Token], frozen=True):
    """Answer a token that is good to use now; renew it first when it is not.

    Raises `AuthenticationFailed`.  After a logout it does not log in again by itself.
    """


class TokenRejected(Request[Token], frozen=True):
    """A server refused the token of this generation: answer a newer one, renewing at most once for it."""

    generation: int


class TokenExpiring(Request[Token], frozen=True):
    """A server says that the token of this generation ends soon: answer a newer one, or this one again.

    Nothing was refused: while it cannot be renewed, it serves on until it ends.
    """

    generation: int


class ValidateToken(Request[bool], frozen=True):
    """Is there a good token?  An expired one gets one attempt at a refresh."""


class Logout(Request[None], frozen=True):
    """Forget both tokens.  A disconnect is not a logout."""


class GetAuthState(Request[AuthState], frozen=True):
    """Ask where the token's life stands."""


# ---- said to the listeners -------------------------------------------------------------------------


class TokenChanged(Message, frozen=True):
    """There is a new token; the old one is not to be used any more."""

    token: Token


class TokenLost(Message, frozen=True):
    """Nothing will renew the token by itself: somebody has to authenticate again."""

    reason: str


# ---- events ----------------------------------------------------------------------------------------


class TokenAcquired(Event, frozen=True):
    """token:acquired: the API key was exchanged for a token."""

    access_token: Secret
    expires_in: float
    token_type: str


class TokenRefreshed(Event, frozen=True):
    """token:refreshed: the refresh token was exchanged for a new pair."""

    access_token: Secret
    previous_token: Secret


class AuthError(Event, frozen=True):
    """auth:error: an exchange with the token endpoint failed; status 0 when it gave no answer."""

    status: int
    error: str
    description: str
    retryable: bool


class TokenExpired(Event, frozen=True):
    """token:expired: the refresh token is worth nothing any more."""

    expired_token: Secret
    reason: str
    requires_reauth: bool


class AuthCleanup(Event, frozen=True):
    """auth:cleanup: the named tokens were wiped."""

    reason: str
    tokens_cleared: tuple[str, ...]


class ListenerBehind(Event, frozen=True):
    """listener:behind: a listener's full mailbox did not take a token's news; it has the old token."""

    listener: str
    message_type: str
