"""What auth decides: when to ask the token endpoint, for what, and what to tell whom.

Facts and the time go in, effects come out.  At most one exchange is in flight,
however many callers wait for it; a caller who stops waiting does not end it.
What must outlive the actor is in `memory`, which the shell stores before it
carries out any effect: a new refresh token is kept before anyone hears of the
new access token.

Who asks decides what is tried.  `Authenticate` always exchanges the API key.
`GetToken` and `TokenRejected` refresh, and fall back to the API key when the
refresh token is spent; after a logout they log nobody in.  `ValidateToken`
tries one refresh and nothing else.  Without anyone asking, a token is renewed
ahead of its expiry, and the renewal retried with back-off, until it is refused.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from holdfast.actors.auth.messages import (
    AuthCleanup,
    AuthenticationFailed,
    AuthState,
    Token,
    TokenAcquired,
    TokenChanged,
    TokenExpired,
    TokenLost,
    TokenRefreshed,
)
from holdfast.actors.auth.settings import AuthSettings
from holdfast.actors.auth.tokens import ExchangeFailure, ExchangeKind, Fault, Grant
from holdfast.actors.auth.vault import TokenMemory
from holdfast.runtime import Event, Message, Secret

# ---- facts -----------------------------------------------------------------------------------------


@attrs.frozen
class Started:
    """The actor came up, perhaps with a memory of tokens."""


@attrs.frozen
class AuthenticateRequested:
    waiter: int


@attrs.frozen
class TokenRequested:
    waiter: int


@attrs.frozen
class ValidationRequested:
    waiter: int


@attrs.frozen
class RejectionReported:
    waiter: int
    generation: int
    refused: bool = True  # or it only ends soon, and serves on until there is a newer one


@attrs.frozen
class RefreshDue:
    """The timer of `StartTimer` went off."""


@attrs.frozen
class ExchangeSucceeded:
    flight: int
    grant: Grant
    sent_at: float
    chance: float
    """A draw from [0, 1): randomness is a fact too."""


@attrs.frozen
class ExchangeFailed:
    flight: int
    failure: ExchangeFailure
    chance: float


@attrs.frozen
class LoggedOut:
    """The user logged out."""


Asked: TypeAlias = AuthenticateRequested | TokenRequested | ValidationRequested | RejectionReported
Fact: TypeAlias = Started | Asked | RefreshDue | ExchangeSucceeded | ExchangeFailed | LoggedOut

# ---- effects ---------------------------------------------------------------------------------------


@attrs.frozen
class StartExchange:
    flight: int
    kind: ExchangeKind
    refresh_token: Secret | None = None


@attrs.frozen
class CancelExchange:
    """What it would have brought is not wanted any more."""

    flight: int


@attrs.frozen
class StartTimer:
    """`RefreshDue` after `delay` seconds, or never for None; replaces the timer before."""

    delay: float | None


@attrs.frozen
class Answer:
    """Ends a caller's wait; an error is raised at the caller."""

    waiter: int
    value: Token | bool | AuthenticationFailed


@attrs.frozen
class Emit:
    event: Event


@attrs.frozen
class Tell:
    """Say it to every listener."""

    message: Message


Effect: TypeAlias = StartExchange | CancelExchange | StartTimer | Answer | Emit | Tell

# ---- decisions -------------------------------------------------------------------------------------


LOGGED_OUT = ExchangeFailure(Fault.REFUSED, 0, "logged_out", "nobody is logged in again unasked")


class Phase(enum.StrEnum):
    UNAUTHENTICATED = "unauthenticated"
    AUTHENTICATING = "authenticating"
    VALID = "valid"
    REFRESHING = "refreshing"
    EXPIRED = "expired"
    REAUTH_REQUIRED = "reauth_required"


class AuthMachine:
    """The token's life.  Owned by one actor; reads no clock, draws no number."""

    def __init__(self, settings: AuthSettings, memory: TokenMemory) -> None:
        self._settings = settings
        self._flights = 0
        self.memory = memory
        self.flight: StartExchange | None = None
        self.waiters: dict[int, Asked] = {}
        self.stale_results = 0
        """Results of exchanges that a logout had cancelled; they change nothing."""

    def step(self, fact: Fact, now: float) -> list[Effect]:
        """Return what to do about it, in this order."""
        match fact:
            case Started():
                return [] if self.memory.renew_at is None else [self._timer(now)]
            case AuthenticateRequested():
                return self._authenticate(fact, now)
            case TokenRequested():
                return self._get_token(fact, now)
            case RejectionReported():
                return self._reject(fact, now)
            case ValidationRequested():
                return self._validate(fact, now)
            case RefreshDue():
                return self._renew(now)
            case ExchangeSucceeded():
                return self._succeed(fact, now)
            case ExchangeFailed():
                return self._fail(fact, now)
            case LoggedOut():
                return self._log_out()

    def phase(self, now: float) -> Phase:
        """Name the state; it is derived, so that it cannot contradict what it is derived from."""
        if self.flight is not None:
            refreshing = self.flight.kind is ExchangeKind.REFRESH
            return Phase.REFRESHING if refreshing else Phase.AUTHENTICATING
        if self.memory.reauth_required:
            return Phase.REAUTH_REQUIRED
        if self.memory.token is None:
            return Phase.UNAUTHENTICATED
        return Phase.VALID if self.memory.usable(now) else Phase.EXPIRED

    def state(self, now: float) -> AuthState:
        """Return what `GetAuthState` answers."""
        token = self.memory.usable(now)
        return AuthState(
            authenticated=token is not None,
            expires_in=None if token is None else token.expires_at - now,
            refresh_count=self.memory.refresh_count,
            failure_count=self.memory.failure_count,
            phase=self.phase(now).value,
        )

    # ---- requests ----------------------------------------------------------------------------------

    def _authenticate(self, asked: AuthenticateRequested, now: float) -> list[Effect]:
        self.memory = attrs.evolve(self.memory, logged_out=False)
        pause = self.memory.paused(now)
        # A final refusal does not hold back who asks by name: the credentials may have been mended.
        if self.flight is None and pause is not None and pause.failure.retryable:
            return self._turn_away(asked, pause.failure)
        return self._wait(asked, ExchangeKind.AUTHENTICATE, now)

    def _get_token(self, asked: TokenRequested | RejectionReported, now: float) -> list[Effect]:
        if self.memory.logged_out:
            return [_refusal(asked, LOGGED_OUT)]
        token = self.memory.fresh(now, self._settings)
        if token is not None:
            return [Answer(asked.waiter, token)]
        pause = self.memory.paused(now)
        if self.flight is None and pause is not None:
            return [self._serve(asked, pause.failure, now)]
        return self._wait(asked, self.memory.renewal_kind(now, self._settings), now)

    def _reject(self, asked: RejectionReported, now: float) -> list[Effect]:
        # Only the latest token can be rejected; for an older one the answer is that there is a newer one.
        latest = asked.generation == self.memory.generation
        if latest and asked.refused:
            self.memory = attrs.evolve(self.memory, rejected=True)
        elif latest and self.memory.usable(now) and not self.memory.paused(now):
            return self._wait(asked, self.memory.renewal_kind(now, self._settings), now)
        return self._get_token(asked, now)

    def _validate(self, asked: ValidationRequested, now: float) -> list[Effect]:
        if self.memory.usable(now):
            return [Answer(asked.waiter, value=True)]
        kind = self.memory.renewal_kind(now, self._settings)
        refusable = kind is ExchangeKind.AUTHENTICATE or self.memory.paused(now) is not None
        if self.flight is None and refusable:
            return [Answer(asked.waiter, value=False)]
        return self._wait(asked, kind, now)

    def _wait(self, asked: Asked, kind: ExchangeKind, now: float) -> list[Effect]:
        bound = self._settings.waiters_max
        if len(self.waiters) >= bound:
            crowd = f"{bound} callers wait for one exchange, its bound"
            return self._turn_away(asked, ExchangeFailure(Fault.UNREACHABLE, 0, "too_many_waiters", crowd))
        self.waiters[asked.waiter] = asked
        return [] if self.flight is not None else [self._start(kind, now)]

    def _turn_away(self, asked: Asked, failure: ExchangeFailure) -> list[Effect]:
        """Refuse without an attempt; `Authenticate` answers False only together with its event."""
        return [Emit(failure.event), _refusal(asked, failure)]

    def _renew(self, now: float) -> list[Effect]:
        due = self.memory.renew_at
        if self.flight is not None or due is None:
            return []
        # An older timer than the plan: somebody's request has renewed the token meanwhile.
        if now < due:
            return [self._timer(now)]
        return [self._start(self.memory.renewal_kind(now, self._settings), now)]

    def _log_out(self) -> list[Effect]:
        cancelled = [] if self.flight is None else [CancelExchange(self.flight.flight)]
        self.flight = None
        self.memory = self.memory.wiped()
        return [
            *cancelled,
            StartTimer(None),
            Emit(AuthCleanup(reason="user_logout", tokens_cleared=("access_token", "refresh_token"))),
            *(_refusal(asked, LOGGED_OUT) for asked in self._dismiss()),
        ]

    # ---- results -----------------------------------------------------------------------------------

    def _start(self, kind: ExchangeKind, now: float) -> Effect:
        self._flights += 1
        self.flight = StartExchange(self._flights, kind)
        if kind is ExchangeKind.REFRESH:
            self.memory = self.memory.sending(now)
            self.flight = StartExchange(self._flights, kind, self.memory.refresh_token)
        return self.flight

    def _landed(self, number: int) -> StartExchange | None:
        flight = self.flight
        if flight is None or flight.flight != number:
            self.stale_results += 1
            return None
        self.flight = None
        return flight

    def _succeed(self, fact: ExchangeSucceeded, now: float) -> list[Effect]:
        flight = self._landed(fact.flight)
        if flight is None:
            return []
        grant, previous, settings = fact.grant, self.memory.token, self._settings
        refreshed = flight.kind is ExchangeKind.REFRESH
        renew_at = settings.renewal_time(fact.sent_at, grant.expires_in, fact.chance)
        adopted = self.memory.adopted(grant, refreshed=refreshed, sent_at=fact.sent_at, renew_at=renew_at)
        self.memory = adopted
        token = adopted.usable(now)
        if token is None:
            why = f"the token lives {grant.expires_in:g} s and took longer to arrive"
            late = ExchangeFailure(Fault.MALFORMED, 200, "expired_on_arrival", why)
            return self._retry_later(late, fact.chance, now)
        count = adopted.refresh_count + refreshed
        self.memory = attrs.evolve(adopted, refresh_count=count, failures_in_row=0)
        event: Event = TokenAcquired(token.access_token, grant.expires_in, grant.token_type)
        if refreshed and previous is not None:
            event = TokenRefreshed(token.access_token, previous.access_token)
        answers = (Answer(asked.waiter, _content(asked, token)) for asked in self._dismiss())
        return [self._timer(now), Tell(TokenChanged(token)), Emit(event), *answers]

    def _fail(self, fact: ExchangeFailed, now: float) -> list[Effect]:
        flight = self._landed(fact.flight)
        if flight is None:
            return []
        failure = fact.failure
        refresh = flight.kind is ExchangeKind.REFRESH
        if refresh and not failure.may_have_spent:
            self.memory = self.memory.unspent()
        if refresh and failure.invalid_grant:
            return self._lose_grant(now)
        if failure.retryable:
            return self._retry_later(failure, fact.chance, now)
        return self._give_up(failure, now)

    def _retry_later(self, failure: ExchangeFailure, chance: float, now: float) -> list[Effect]:
        self.memory = self.memory.retrying(failure, chance, now, self._settings)
        return [self._timer(now), Emit(failure.event), *self._serve_all(failure, now)]

    def _lose_grant(self, now: float) -> list[Effect]:
        """The refresh token is spent (A1.4): who waits for a token gets one by API key, if anyone does."""
        expired = self.memory.token
        assert expired is not None, "a refresh token comes with an access token"
        count = self.memory.failure_count + 1
        self.memory = attrs.evolve(
            self.memory, refresh_token=None, sends=None, pause=None, failure_count=count
        )
        news = Emit(TokenExpired(expired.access_token, reason="refresh_failed", requires_reauth=True))
        validations = [asked for asked in self.waiters.values() if isinstance(asked, ValidationRequested)]
        usable = self.memory.usable(now) is not None
        answers = [Answer(self.waiters.pop(asked.waiter).waiter, usable) for asked in validations]
        if self.waiters:
            return [news, *answers, self._start(ExchangeKind.AUTHENTICATE, now)]
        return [news, *answers, *self._require_reauth("refresh_failed")]

    def _give_up(self, failure: ExchangeFailure, now: float) -> list[Effect]:
        """Credentials, permission or certificate: asking again cures nothing."""
        self.memory = self.memory.refused(failure, now, self._settings)
        return [*self._require_reauth(failure.error), Emit(failure.event), *self._serve_all(failure, now)]

    def _require_reauth(self, reason: str) -> list[Effect]:
        memory = self.memory
        # Said once: a listener that answers with Authenticate must not be told again when that fails.
        news = memory.token is not None and not memory.reauth_required
        self.memory = attrs.evolve(memory, reauth_required=True, renew_at=None)
        return [StartTimer(None), Tell(TokenLost(reason))] if news else [StartTimer(None)]

    # ---- effects of many -----------------------------------------------------------------------------

    def _timer(self, now: float) -> StartTimer:
        due = self.memory.renew_at
        return StartTimer(None if due is None else max(0.0, due - now))

    def _serve_all(self, failure: ExchangeFailure, now: float) -> list[Effect]:
        return [self._serve(asked, failure, now) for asked in self._dismiss()]

    def _serve(self, asked: Asked, failure: ExchangeFailure, now: float) -> Effect:
        """Answer after a failure: the old token serves until it really expires."""
        token, pause = self.memory.usable(now), self.memory.paused(now)
        if token is None or isinstance(asked, AuthenticateRequested):
            return _refusal(asked, failure, None if pause is None else pause.until - now)
        return Answer(asked.waiter, _content(asked, token))

    def _dismiss(self) -> list[Asked]:
        leaving, self.waiters = list(self.waiters.values()), {}
        return leaving


def _content(asked: Asked, token: Token) -> Token | bool:
    return token if isinstance(asked, TokenRequested | RejectionReported) else True


def _refusal(asked: Asked, failure: ExchangeFailure, retry_after: float | None = None) -> Effect:
    # Each caller gets an error of their own: raising one object in several places mixes up its tracebacks.
    wants_token = isinstance(asked, TokenRequested | RejectionReported)
    return Answer(asked.waiter, failure.raised(retry_after) if wants_token else False)
