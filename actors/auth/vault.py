"""The memory of tokens that outlives the actor.

A `TokenStore` belongs to the system, above the root; topology hands it to the
actor's constructor, so that an auth actor restarted alone, with its group or
with the whole tree goes on with the token that it had.  It lives in memory
alone: nothing is written to disk, and a new process authenticates again.
"""

from __future__ import annotations

import attrs

from holdfast.actors.auth.messages import Token
from holdfast.actors.auth.settings import AuthSettings
from holdfast.actors.auth.tokens import ExchangeFailure, ExchangeKind, Grant
from holdfast.runtime import Secret

__all__ = ["Pause", "RefreshSends", "TokenMemory", "TokenStore"]


@attrs.frozen
class RefreshSends:
    """How often the present refresh token was sent without our knowing what became of it."""

    first_at: float
    count: int


@attrs.frozen
class Pause:
    """Until when the endpoint is not asked again, and what it had said."""

    until: float
    failure: ExchangeFailure


@attrs.frozen
class TokenMemory:
    """Everything about tokens that a restart must not lose.  Each method returns another memory."""

    generation: int = 0
    token: Token | None = None
    """The latest token, kept when it has expired: a refresh names its predecessor."""
    refresh_token: Secret | None = None
    lifetime: float = 0.0
    renew_at: float | None = None
    """When the token is renewed, or the renewal retried, without anyone asking."""
    rejected: bool = False
    """A server refused the latest token."""
    follows_rejected: bool = False
    """The latest token replaced one that a server had refused."""
    sends: RefreshSends | None = None
    pause: Pause | None = None
    failures_in_row: int = 0
    reauth_required: bool = False
    logged_out: bool = False
    refresh_count: int = 0
    failure_count: int = 0

    # ---- questions ---------------------------------------------------------------------------------

    def usable(self, now: float) -> Token | None:
        """Return the latest token if it still holds, as far as we know."""
        token = self.token
        return token if token is not None and not self.rejected and now < token.expires_at else None

    def fresh(self, now: float, settings: AuthSettings) -> Token | None:
        """Return the latest token if it will also hold during the call that it is wanted for."""
        token = self.usable(now)
        left = 0.0 if token is None else token.expires_at - now
        return token if left > settings.leeway_of(self.lifetime) else None

    def paused(self, now: float) -> Pause | None:
        """Return the pause in force."""
        return self.pause if self.pause is not None and now < self.pause.until else None

    def renewal_kind(self, now: float, settings: AuthSettings) -> ExchangeKind:
        """Say what to give for the next token."""
        if self.refresh_token is None or self.reauth_required:
            return ExchangeKind.AUTHENTICATE
        # Two tokens in a row refused by the server: a third of the same family would be too.
        if self.rejected and self.follows_rejected:
            return ExchangeKind.AUTHENTICATE
        if self.sends is None:
            return ExchangeKind.REFRESH
        # Sent again too often or too late, a refresh token that was rotated unseen looks stolen, and the
        # server revokes the whole family (RFC 9700, 4.14.2).
        within = now - self.sends.first_at <= settings.resend_window
        resendable = within and self.sends.count <= settings.resend_limit
        return ExchangeKind.REFRESH if resendable else ExchangeKind.AUTHENTICATE

    # ---- changes -----------------------------------------------------------------------------------

    def adopted(self, grant: Grant, *, refreshed: bool, sent_at: float, renew_at: float) -> TokenMemory:
        """Put the new pair in the place of the old one, both at once."""
        generation = self.generation + 1
        unrotated = self.refresh_token if refreshed else None
        return attrs.evolve(
            self,
            generation=generation,
            token=Token(grant.access_token, generation, sent_at + grant.expires_in),
            refresh_token=grant.refresh_token if grant.refresh_token is not None else unrotated,
            lifetime=grant.expires_in,
            renew_at=renew_at,
            rejected=False,
            follows_rejected=self.rejected,
            sends=None,
            pause=None,
            reauth_required=False,
        )

    def sending(self, now: float) -> TokenMemory:
        """Count a refresh before it is sent: an actor that dies in mid-exchange has sent it too."""
        sends = self.sends or RefreshSends(now, 0)
        return attrs.evolve(self, sends=attrs.evolve(sends, count=sends.count + 1))

    def unspent(self) -> TokenMemory:
        """Take the last send back: the server has certainly not used up the refresh token."""
        sends = self.sends
        assert sends is not None, "a refresh was counted when it was sent"
        left = attrs.evolve(sends, count=sends.count - 1) if sends.count > 1 else None
        return attrs.evolve(self, sends=left)

    def retrying(
        self, failure: ExchangeFailure, chance: float, now: float, settings: AuthSettings
    ) -> TokenMemory:
        """Plan the next attempt, not before the endpoint wants it."""
        delay = settings.retry_delay(self.failures_in_row, chance)
        pause = None
        if failure.retry_after is not None:
            asked = min(max(0.0, failure.retry_after), settings.retry_after_max)
            delay = max(delay, asked)
            pause = Pause(now + asked, failure)
        # Without a token there was no session to keep alive: who asked decides whether to ask again.
        planned = self.token is not None and not self.reauth_required
        return attrs.evolve(
            self,
            failure_count=self.failure_count + 1,
            failures_in_row=self.failures_in_row + 1,
            pause=pause,
            renew_at=now + delay if planned else None,
        )

    def refused(self, failure: ExchangeFailure, now: float, settings: AuthSettings) -> TokenMemory:
        """Remember a refusal that no waiting cures."""
        pause = Pause(now + settings.refusal_pause, failure)
        return attrs.evolve(self, failure_count=self.failure_count + 1, pause=pause)

    def wiped(self) -> TokenMemory:
        """Forget both tokens, and remember that the user wanted it."""
        return TokenMemory(
            generation=self.generation,
            pause=self.pause,
            logged_out=True,
            refresh_count=self.refresh_count,
            failure_count=self.failure_count,
        )


class TokenStore:
    """Holds the memory of tokens while actors come and go; one system owns one."""

    def __init__(self) -> None:
        self._memory = TokenMemory()

    @property
    def memory(self) -> TokenMemory:
        return self._memory

    def keep(self, memory: TokenMemory) -> None:
        """Replace what is held, whole: nobody ever sees a new access token beside an old refresh token."""
        assert memory.generation >= self._memory.generation, "a token's generation went backwards"
        self._memory = memory

    def __repr__(self) -> str:
        token = self._memory.token
        return "<TokenStore empty>" if token is None else f"<TokenStore token {token.generation}>"
