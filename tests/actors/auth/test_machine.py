"""What auth decides, as plain data: facts and times in, effects out."""

from __future__ import annotations

from typing import TypeVar

import pytest

from holdfast.actors.auth.machine import (
    Answer,
    AuthenticateRequested,
    AuthMachine,
    CancelExchange,
    Effect,
    Emit,
    ExchangeFailed,
    ExchangeSucceeded,
    Fact,
    LoggedOut,
    Phase,
    RefreshDue,
    RejectionReported,
    Started,
    StartExchange,
    StartTimer,
    Tell,
    TokenRequested,
    ValidationRequested,
)
from holdfast.actors.auth.messages import (
    AuthCleanup,
    AuthenticationFailed,
    AuthError,
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

SETTINGS = AuthSettings(refresh_jitter=0.0)

UNREACHABLE = ExchangeFailure(Fault.UNREACHABLE, 0, "unreachable")
LOST = ExchangeFailure(Fault.LOST, 0, "timeout")
BUSY = ExchangeFailure(Fault.REFUSED, 503, "server_error")
WRONG_KEY = ExchangeFailure(Fault.REFUSED, 401, "invalid_credentials", "Invalid API key")
INVALID_GRANT = ExchangeFailure(Fault.REFUSED, 401, "invalid_grant", "Refresh token expired")

E = TypeVar("E")


def limited(seconds: float) -> ExchangeFailure:
    return ExchangeFailure(Fault.REFUSED, 429, "rate_limited", retry_after=seconds)


def grant(name: int = 1, lifetime: float = 300.0, *, refresh: bool = True) -> Grant:
    return Grant(Secret(f"A{name}"), lifetime, Secret(f"R{name}") if refresh else None)


class Driven:
    """A machine with its time, and the effects of the last step."""

    def __init__(self, settings: AuthSettings = SETTINGS, memory: TokenMemory | None = None) -> None:
        self.machine = AuthMachine(settings, memory or TokenMemory())
        self.now = 0.0
        self.effects: list[Effect] = []

    def at(self, now: float, fact: Fact) -> Driven:
        assert now >= self.now
        self.now = now
        self.effects = self.machine.step(fact, now)
        return self

    def take(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def succeed(self, now: float, given: Grant | None = None, *, sent_at: float | None = None) -> Driven:
        flight = self.machine.flight
        assert flight is not None
        started = now if sent_at is None else sent_at
        return self.at(now, ExchangeSucceeded(flight.flight, given or grant(), started, chance=0.0))

    def fail(self, now: float, failure: ExchangeFailure, *, chance: float = 1.0) -> Driven:
        flight = self.machine.flight
        assert flight is not None
        return self.at(now, ExchangeFailed(flight.flight, failure, chance))

    @property
    def started(self) -> list[ExchangeKind]:
        return [effect.kind for effect in self.take(StartExchange)]

    @property
    def events(self) -> list[Event]:
        return [effect.event for effect in self.take(Emit)]

    @property
    def told(self) -> list[Message]:
        return [effect.message for effect in self.take(Tell)]

    @property
    def answers(self) -> dict[int, Token | bool | AuthenticationFailed]:
        return {effect.waiter: effect.value for effect in self.take(Answer)}

    @property
    def timers(self) -> list[float | None]:
        return [effect.delay for effect in self.take(StartTimer)]

    def phase(self) -> Phase:
        return self.machine.phase(self.now)


def authenticated(
    lifetime: float = 300.0, *, refresh: bool = True, settings: AuthSettings = SETTINGS
) -> Driven:
    driven = Driven(settings).at(0, AuthenticateRequested(0))
    return driven.succeed(0, grant(lifetime=lifetime, refresh=refresh))


def token_of(answer: object) -> str:
    assert isinstance(answer, Token)
    return answer.access_token.reveal()


def error_of(answer: object) -> AuthenticationFailed:
    assert isinstance(answer, AuthenticationFailed)
    return answer


# ---- A1.1 ------------------------------------------------------------------------------------------


def test_authenticate_exchanges_the_api_key() -> None:
    driven = Driven()
    assert driven.phase() is Phase.UNAUTHENTICATED

    driven.at(0, AuthenticateRequested(1))

    assert driven.effects == [StartExchange(1, ExchangeKind.AUTHENTICATE)]
    assert driven.phase() is Phase.AUTHENTICATING


# A1.1
def test_an_acquired_token_is_announced_and_the_caller_hears_true() -> None:
    driven = Driven().at(0, AuthenticateRequested(1)).succeed(1, grant(), sent_at=0)

    token = Token(Secret("A1"), 1, 300.0)
    assert driven.effects == [
        StartTimer(269.0),
        Tell(TokenChanged(token)),
        Emit(TokenAcquired(Secret("A1"), 300.0, "Bearer")),
        Answer(1, value=True),
    ]
    assert driven.phase() is Phase.VALID


# A1.1: an explicit command, as in the seed; who wants to go on with what is held asks for the token.
def test_authenticate_asks_anew_although_a_token_is_held() -> None:
    assert authenticated().at(10, AuthenticateRequested(1)).started == [ExchangeKind.AUTHENTICATE]


def test_who_wants_a_token_gets_the_one_that_is_held() -> None:
    driven = authenticated().at(200, TokenRequested(1))

    assert driven.effects == [Answer(1, Token(Secret("A1"), 1, 300.0))]


def test_who_wants_the_first_token_has_it_acquired() -> None:
    driven = Driven().at(0, TokenRequested(1))
    assert driven.started == [ExchangeKind.AUTHENTICATE]

    assert token_of(driven.succeed(1).answers[1]) == "A1"


# ---- A1.2 ------------------------------------------------------------------------------------------


# A1.2
def test_a_token_is_refreshed_ahead_of_its_expiry() -> None:
    driven = authenticated(300)
    assert driven.timers == [270.0]

    driven.at(270, RefreshDue())

    assert driven.effects == [StartExchange(2, ExchangeKind.REFRESH, Secret("R1"))]
    assert driven.phase() is Phase.REFRESHING


# A1.2
def test_a_refresh_announces_the_new_token_with_its_predecessor() -> None:
    driven = authenticated(300).at(270, RefreshDue()).succeed(271, grant(2, 600), sent_at=270)

    assert driven.effects == [
        StartTimer(539.0),
        Tell(TokenChanged(Token(Secret("A2"), 2, 870.0))),
        Emit(TokenRefreshed(Secret("A2"), Secret("A1"))),
    ]
    assert driven.machine.state(271).refresh_count == 1


# A1.2: the memory is whole before any effect is carried out; a crash between two effects loses nothing.
def test_the_new_refresh_token_is_kept_before_the_new_access_token_is_announced() -> None:
    driven = authenticated().at(270, RefreshDue()).succeed(271, grant(2))

    assert driven.machine.memory.refresh_token == Secret("R2")


def test_a_token_stays_in_use_while_it_is_being_refreshed() -> None:
    driven = authenticated().at(270, RefreshDue()).at(271, TokenRequested(1))

    assert token_of(driven.answers[1]) == "A1"


# A1.2: single flight.
def test_however_many_wait_there_is_one_exchange_and_everybody_is_answered() -> None:
    driven = authenticated().at(400, TokenRequested(1))
    assert driven.started == [ExchangeKind.REFRESH]
    others: list[Fact] = [
        TokenRequested(2),
        AuthenticateRequested(3),
        ValidationRequested(4),
        RejectionReported(5, 1),
    ]
    for fact in others:
        assert driven.at(400, fact).effects == []
    assert driven.at(401, RefreshDue()).effects == []

    driven.succeed(402, grant(2))

    assert {w: a if isinstance(a, bool) else token_of(a) for w, a in driven.answers.items()} == {
        1: "A2",
        2: "A2",
        3: True,
        4: True,
        5: "A2",
    }


def test_a_timer_of_an_older_plan_is_set_right() -> None:
    driven = authenticated().at(100, AuthenticateRequested(1)).succeed(100, grant(2))

    assert driven.at(270, RefreshDue()).effects == [StartTimer(100.0)]


def test_without_a_refresh_token_the_api_key_renews() -> None:
    assert authenticated(refresh=False).at(270, RefreshDue()).started == [ExchangeKind.AUTHENTICATE]


def test_a_token_that_would_expire_during_the_call_is_renewed_first() -> None:
    driven = authenticated().at(296, TokenRequested(1))

    assert driven.started == [ExchangeKind.REFRESH]
    # If that fails, it still serves: it has not expired yet.
    assert token_of(driven.fail(297, BUSY).answers[1]) == "A1"


def test_a_token_that_is_dead_on_arrival_is_not_handed_out_but_its_refresh_token_is_kept() -> None:
    driven = Driven().at(0, TokenRequested(1)).succeed(4, grant(1, 3.0), sent_at=0)

    error = error_of(driven.answers[1])
    assert (error.error, error.retryable) == ("expired_on_arrival", True)
    assert driven.told == []
    assert driven.events == [
        AuthError(200, "expired_on_arrival", "the token lives 3 s and took longer to arrive", retryable=True)
    ]
    assert driven.phase() is Phase.EXPIRED
    assert driven.at(5, TokenRequested(2)).take(StartExchange)[0].refresh_token == Secret("R1")


# ---- A1.3 ------------------------------------------------------------------------------------------


# A1.3: the seed's three scenarios.
@pytest.mark.parametrize(
    "status,error,retryable",
    [(401, "invalid_credentials", False), (429, "rate_limited", True), (500, "server_error", True)],
)
def test_a_failed_authentication_answers_false_with_its_event(
    status: int, error: str, retryable: bool
) -> None:
    failure = ExchangeFailure(Fault.REFUSED, status, error, "why")
    driven = Driven().at(0, AuthenticateRequested(1)).fail(1, failure)

    assert driven.events == [AuthError(status, error, "why", retryable=retryable)]
    assert driven.answers == {1: False}
    assert driven.machine.state(1).failure_count == 1


# A1.3
def test_a_refused_key_is_final_and_nothing_tries_again_by_itself() -> None:
    driven = authenticated().at(300, TokenRequested(1)).fail(301, WRONG_KEY)

    assert error_of(driven.answers[1]).retryable is False
    assert driven.timers == [None]
    assert driven.told == [TokenLost("invalid_credentials")]
    assert driven.phase() is Phase.REAUTH_REQUIRED
    assert driven.at(400, RefreshDue()).effects == []


# A1.3
def test_after_a_final_refusal_a_token_is_not_asked_for_again_at_once_but_authenticate_asks() -> None:
    driven = Driven().at(0, TokenRequested(1)).fail(0, WRONG_KEY)

    answer = error_of(driven.at(9.9, TokenRequested(2)).answers[2])
    assert (answer.status, answer.error, answer.retryable, answer.retry_after) == (
        401,
        "invalid_credentials",
        False,
        None,
    )
    assert driven.at(9.9, AuthenticateRequested(3)).started == [ExchangeKind.AUTHENTICATE]
    driven.fail(9.9, WRONG_KEY)
    assert driven.at(20, TokenRequested(4)).started == [ExchangeKind.AUTHENTICATE]


def test_the_loss_is_told_once_however_often_the_cure_fails() -> None:
    driven = authenticated().at(300, TokenRequested(1)).fail(300, WRONG_KEY)
    assert driven.told == [TokenLost("invalid_credentials")]

    driven.at(301, AuthenticateRequested(2)).fail(301, WRONG_KEY)

    assert driven.told == []


def test_a_first_authentication_that_fails_has_lost_nothing() -> None:
    assert Driven().at(0, AuthenticateRequested(1)).fail(0, WRONG_KEY).told == []


# A1.3
def test_the_pause_that_the_endpoint_asks_for_holds_for_everybody() -> None:
    driven = Driven().at(0, TokenRequested(1)).fail(1, limited(20))
    assert error_of(driven.answers[1]).retry_after == 20

    early = error_of(driven.at(11, TokenRequested(2)).answers[2])
    assert (early.status, early.retryable, early.retry_after) == (429, True, 10)
    refused = driven.at(12, AuthenticateRequested(3))
    assert refused.answers == {3: False}
    assert refused.events == [AuthError(429, "rate_limited", "", retryable=True)]
    assert driven.at(12, ValidationRequested(4)).answers == {4: False}
    assert driven.at(21, TokenRequested(5)).started == [ExchangeKind.AUTHENTICATE]


# A1.3
def test_the_old_token_serves_until_it_really_expires_while_the_endpoint_is_busy() -> None:
    driven = authenticated().at(270, RefreshDue()).fail(271, limited(60))

    assert driven.timers == [60.0]
    assert token_of(driven.at(294, TokenRequested(1)).answers[1]) == "A1"
    assert token_of(driven.at(299, TokenRequested(2)).answers[2]) == "A1"
    assert driven.at(299, ValidationRequested(3)).answers == {3: True}
    assert error_of(driven.at(300, TokenRequested(4)).answers[4]).retry_after == 31
    assert driven.phase() is Phase.EXPIRED
    assert driven.at(331, RefreshDue()).started == [ExchangeKind.REFRESH]


# A1.3
def test_automatic_renewals_back_off_capped_and_jittered_until_they_succeed() -> None:
    driven = authenticated()
    now, delays = 270.0, []
    for _attempt in range(6):
        driven.at(now, RefreshDue()).fail(now, UNREACHABLE)
        (delay,) = driven.timers
        assert delay is not None
        delays.append(delay)
        now += delay

    assert delays == [1, 2, 4, 8, 8, 8]
    driven.at(now, RefreshDue()).succeed(now, grant(2))
    driven.at(now + 270, RefreshDue()).fail(now + 270, UNREACHABLE, chance=0.5)
    assert driven.timers == [0.5]


def test_a_request_does_not_wait_for_the_back_off_of_automatic_renewals() -> None:
    driven = authenticated().at(400, TokenRequested(1)).fail(400, UNREACHABLE)

    assert driven.at(400.01, TokenRequested(2)).started == [ExchangeKind.REFRESH]


def test_a_failed_first_authentication_is_not_repeated_unasked() -> None:
    driven = Driven().at(0, AuthenticateRequested(1)).fail(0, BUSY)

    assert driven.timers == [None]
    assert driven.at(100, RefreshDue()).effects == []


# A1.1: the answer is about the attempt, not about what is held.
def test_a_failed_authentication_answers_false_although_the_old_token_still_serves() -> None:
    driven = authenticated().at(10, AuthenticateRequested(1)).at(10, ValidationRequested(2)).fail(11, BUSY)

    assert driven.answers == {1: False}
    assert token_of(driven.at(12, TokenRequested(3)).answers[3]) == "A1"


# A1.3
def test_the_pause_holds_for_a_validation_too_and_outlives_a_logout() -> None:
    driven = authenticated().at(290, RefreshDue()).fail(290, limited(60))

    assert driven.at(310, ValidationRequested(1)).effects == [Answer(1, value=False)]
    assert driven.at(311, LoggedOut()).at(312, AuthenticateRequested(2)).answers == {2: False}
    assert driven.at(350, AuthenticateRequested(3)).started == [ExchangeKind.AUTHENTICATE]


# A1.3
def test_a_success_ends_every_pause() -> None:
    driven = Driven().at(0, TokenRequested(1)).fail(0, WRONG_KEY)
    driven.at(1, AuthenticateRequested(2)).succeed(1, grant(1, 2.0))

    assert driven.at(4, TokenRequested(3)).started == [ExchangeKind.REFRESH]


# A1.3
def test_where_somebody_has_to_authenticate_nothing_is_retried_unasked() -> None:
    driven = authenticated().at(270, RefreshDue()).fail(270, INVALID_GRANT)

    assert driven.at(280, AuthenticateRequested(1)).fail(280, BUSY).timers == [None]
    assert driven.machine.memory.reauth_required


# ---- A1.4 ------------------------------------------------------------------------------------------


# A1.4
def test_validating_an_expired_token_tries_one_refresh() -> None:
    driven = authenticated().at(300, ValidationRequested(1))
    assert driven.started == [ExchangeKind.REFRESH]

    assert driven.succeed(301, grant(2)).answers == {1: True}


# A1.4
def test_an_invalid_grant_is_announced_and_the_answer_is_false() -> None:
    driven = authenticated().at(300, ValidationRequested(1)).fail(301, INVALID_GRANT)

    assert driven.effects == [
        Emit(TokenExpired(Secret("A1"), "refresh_failed", requires_reauth=True)),
        Answer(1, value=False),
        StartTimer(None),
        Tell(TokenLost("refresh_failed")),
    ]
    assert driven.phase() is Phase.REAUTH_REQUIRED


# A1.4
@pytest.mark.parametrize("failure", [UNREACHABLE, BUSY, WRONG_KEY])
def test_validation_is_false_when_the_refresh_fails_in_any_way(failure: ExchangeFailure) -> None:
    driven = authenticated().at(300, ValidationRequested(1)).fail(301, failure)

    assert driven.answers == {1: False}


# A1.4
def test_validation_never_authenticates() -> None:
    assert Driven().at(0, ValidationRequested(1)).effects == [Answer(1, value=False)]
    assert authenticated(refresh=False).at(300, ValidationRequested(1)).effects == [Answer(1, value=False)]
    lost = authenticated().at(270, RefreshDue()).fail(270, INVALID_GRANT)
    assert lost.at(300, ValidationRequested(1)).effects == [Answer(1, value=False)]


def test_a_good_token_is_valid_without_asking_anyone() -> None:
    assert authenticated().at(299.9, ValidationRequested(1)).effects == [Answer(1, value=True)]


def test_who_waits_for_a_token_gets_one_by_api_key_when_the_refresh_token_is_spent() -> None:
    driven = (
        authenticated().at(400, TokenRequested(1)).at(400, ValidationRequested(2)).fail(401, INVALID_GRANT)
    )
    assert driven.started == [ExchangeKind.AUTHENTICATE]
    assert driven.answers == {2: False}
    assert driven.told == []

    driven.succeed(402, grant(2))

    assert token_of(driven.answers[1]) == "A2"
    assert driven.events == [TokenAcquired(Secret("A2"), 300.0, "Bearer")]


def test_a_token_can_be_had_again_after_the_grant_was_lost() -> None:
    driven = authenticated().at(270, RefreshDue()).fail(270, INVALID_GRANT)

    # Not wiped: the access token is good until it expires.
    assert token_of(driven.at(280, TokenRequested(1)).answers[1]) == "A1"
    assert driven.at(300, TokenRequested(2)).started == [ExchangeKind.AUTHENTICATE]
    driven.succeed(301, grant(2))
    assert driven.phase() is Phase.VALID


def test_an_authentication_that_replaces_a_lost_grant_is_retried_by_itself() -> None:
    driven = authenticated().at(400, TokenRequested(1)).fail(400, INVALID_GRANT).fail(401, BUSY)

    assert driven.timers == [1.0]
    assert driven.at(402, RefreshDue()).started == [ExchangeKind.AUTHENTICATE]


# ---- rejected tokens -------------------------------------------------------------------------------


def test_a_rejected_token_is_refreshed_once_and_the_newer_one_answered() -> None:
    driven = authenticated().at(10, RejectionReported(1, 1))
    assert driven.started == [ExchangeKind.REFRESH]
    assert driven.at(10, RejectionReported(2, 1)).effects == []
    driven.succeed(11, grant(2))
    assert [token_of(driven.answers[waiter]) for waiter in (1, 2)] == ["A2", "A2"]

    late = driven.at(12, RejectionReported(3, 1))

    assert token_of(late.answers[3]) == "A2"
    assert late.started == []


def test_a_rejected_token_is_not_handed_out_although_it_has_not_expired() -> None:
    driven = authenticated().at(10, RejectionReported(1, 1)).fail(11, BUSY)

    assert error_of(driven.answers[1]).status == 503
    assert not driven.machine.state(11).authenticated
    assert driven.phase() is Phase.EXPIRED
    assert driven.at(12, TokenRequested(2)).started == [ExchangeKind.REFRESH]


def test_a_second_rejection_in_a_row_leaves_the_family_of_refreshed_tokens() -> None:
    driven = authenticated().at(10, RejectionReported(1, 1)).succeed(11, grant(2))

    assert driven.at(12, RejectionReported(2, 2)).started == [ExchangeKind.AUTHENTICATE]
    driven.succeed(13, grant(3)).at(100, RefreshDue())
    driven.at(283, RefreshDue()).succeed(283, grant(4))
    # One good token in between: the next rejection is a first one again.
    assert driven.at(284, RejectionReported(3, 4)).started == [ExchangeKind.REFRESH]


# A1.8: `auth.expiring` of a server is no refusal.
def test_a_token_that_ends_soon_is_renewed_once_and_serves_until_then() -> None:
    driven = authenticated().at(10, RejectionReported(1, 1, refused=False))
    assert driven.started == [ExchangeKind.REFRESH]
    assert token_of(driven.at(10, TokenRequested(2)).answers[2]) == "A1"
    driven.succeed(11, grant(2))
    assert token_of(driven.answers[1]) == "A2"
    late = driven.at(12, RejectionReported(3, 1, refused=False))
    assert token_of(late.answers[3]) == "A2"
    assert late.started == []


def test_a_token_that_ends_soon_and_cannot_be_renewed_is_answered_again() -> None:
    driven = authenticated().at(10, RejectionReported(1, 1, refused=False)).fail(11, BUSY)

    assert token_of(driven.answers[1]) == "A1"
    assert driven.machine.state(11).authenticated


def test_tokens_that_ended_soon_say_nothing_against_their_family() -> None:
    driven = authenticated().at(10, RejectionReported(1, 1, refused=False)).succeed(11, grant(2))

    assert driven.at(12, RejectionReported(2, 2, refused=False)).started == [ExchangeKind.REFRESH]


@pytest.mark.parametrize("generation", [0, 2, 99])
def test_a_rejection_of_another_generation_says_nothing_about_this_one(generation: int) -> None:
    driven = authenticated().at(10, RejectionReported(1, generation))

    assert token_of(driven.answers[1]) == "A1"


# ---- lost answers ----------------------------------------------------------------------------------


def test_after_a_lost_answer_the_same_refresh_token_is_sent_twice_more_and_then_the_api_key() -> None:
    driven = authenticated()
    sent: list[StartExchange] = []
    for now in (270.0, 272.0, 275.0, 280.0):
        sent += driven.at(now, RefreshDue()).take(StartExchange)
        driven.fail(now, LOST)

    assert [order.refresh_token for order in sent] == [Secret("R1"), Secret("R1"), Secret("R1"), None]
    assert sent[-1].kind is ExchangeKind.AUTHENTICATE


def test_a_refresh_token_is_not_sent_again_after_30_s() -> None:
    driven = authenticated().at(270, RefreshDue()).fail(275, LOST)

    assert driven.at(300.1, TokenRequested(1)).started == [ExchangeKind.AUTHENTICATE]


@pytest.mark.parametrize("failure", [UNREACHABLE, BUSY])
def test_a_refresh_that_nobody_handled_may_be_sent_for_ever(failure: ExchangeFailure) -> None:
    driven = authenticated()
    for now in range(300, 700, 20):
        assert driven.at(now, TokenRequested(now)).started == [ExchangeKind.REFRESH]
        driven.fail(now, failure)


def test_an_exchange_that_a_crash_cut_off_counts_as_lost() -> None:
    before = authenticated().at(270, RefreshDue())

    after = Driven(memory=before.machine.memory).at(271, Started())

    assert after.timers == [0.0]
    assert after.machine.memory.sends is not None
    assert after.at(271, RefreshDue()).started == [ExchangeKind.REFRESH]
    assert after.machine.memory.sends.count == 2


# ---- A1.7 ------------------------------------------------------------------------------------------


# A1.7
def test_logout_wipes_both_tokens_and_says_so() -> None:
    driven = authenticated().at(10, LoggedOut())

    assert driven.effects == [
        StartTimer(None),
        Emit(AuthCleanup("user_logout", ("access_token", "refresh_token"))),
    ]
    assert driven.machine.memory == TokenMemory(generation=1, logged_out=True)
    assert driven.phase() is Phase.UNAUTHENTICATED


# A1.7
def test_logout_ends_the_exchange_and_every_wait() -> None:
    driven = authenticated().at(300, TokenRequested(1)).at(300, ValidationRequested(2))
    driven.at(300, AuthenticateRequested(3))
    assert driven.machine.flight is not None
    under_way = driven.machine.flight.flight

    driven.at(301, LoggedOut())

    assert driven.take(CancelExchange) == [CancelExchange(under_way)]
    assert error_of(driven.answers[1]).error == "logged_out"
    assert (driven.answers[2], driven.answers[3]) == (False, False)


# A1.7
def test_what_a_cancelled_exchange_still_brings_changes_nothing() -> None:
    driven = authenticated().at(300, TokenRequested(1)).at(301, LoggedOut())

    driven.at(302, ExchangeSucceeded(2, grant(2), 300.0, chance=0.0))
    assert driven.effects == []
    driven.at(302, ExchangeFailed(2, WRONG_KEY, chance=0.0))
    assert driven.effects == []
    assert driven.machine.stale_results == 2
    assert driven.machine.memory.token is None


# A1.7
def test_nobody_is_logged_in_again_unasked() -> None:
    driven = authenticated().at(10, LoggedOut())

    assert error_of(driven.at(11, TokenRequested(1)).answers[1]).error == "logged_out"
    assert error_of(driven.at(11, RejectionReported(2, 1)).answers[2]).error == "logged_out"
    assert driven.at(11, ValidationRequested(3)).answers == {3: False}
    assert driven.at(12, RefreshDue()).effects == []
    driven.at(13, AuthenticateRequested(4)).succeed(13, grant(2))
    assert token_of(driven.at(14, TokenRequested(5)).answers[5]) == "A2"
    assert driven.machine.memory.generation == 2


# ---- restarts and bounds ---------------------------------------------------------------------------


def test_a_restarted_actor_goes_on_with_its_token_and_its_plan() -> None:
    memory = authenticated().machine.memory

    driven = Driven(memory=memory).at(100, Started())

    assert driven.effects == [StartTimer(170.0)]
    assert token_of(driven.at(100, TokenRequested(1)).answers[1]) == "A1"


def test_a_restarted_actor_keeps_the_pause_that_the_endpoint_asked_for() -> None:
    memory = authenticated().at(270, RefreshDue()).fail(270, limited(100)).machine.memory

    driven = Driven(memory=memory).at(300, Started())

    assert driven.timers == [70.0]
    assert error_of(driven.at(310, TokenRequested(1)).answers[1]).retry_after == 60


def test_an_actor_without_memory_starts_nothing() -> None:
    assert Driven().at(0, Started()).effects == []


def test_one_caller_too_many_is_refused_at_once() -> None:
    driven = Driven(AuthSettings(waiters_max=2)).at(0, TokenRequested(1)).at(0, TokenRequested(2))

    error = error_of(driven.at(0, TokenRequested(3)).answers[3])
    assert (error.error, error.retryable) == ("too_many_waiters", True)
    assert "2 callers wait" in str(error)
    refused = driven.at(0, AuthenticateRequested(4))
    assert refused.answers == {4: False}
    assert len(refused.events) == 1


def test_every_caller_gets_an_error_of_their_own() -> None:
    driven = Driven().at(0, TokenRequested(1)).at(0, TokenRequested(2)).fail(0, BUSY)

    assert driven.answers[1] is not driven.answers[2]


def test_the_state_says_what_is_held_and_for_how_long() -> None:
    assert Driven().machine.state(0).expires_in is None
    state = authenticated().machine.state(100)

    assert (state.authenticated, state.expires_in, state.phase) == (True, 200.0, "valid")
    expired = authenticated().machine.state(300)
    assert (expired.authenticated, expired.expires_in, expired.phase) == (False, None, "expired")
