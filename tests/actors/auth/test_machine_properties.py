"""Rules of the auth machine that hold after any sequence of events.

The checker knows nothing of the machine's state: it reads the history of facts
and effects alone, as a shell or an endpoint would see it.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

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
    AuthenticationFailed,
    AuthError,
    Token,
    TokenAcquired,
    TokenChanged,
    TokenExpired,
    TokenRefreshed,
)
from holdfast.actors.auth.settings import AuthSettings
from holdfast.actors.auth.tokens import ExchangeFailure, ExchangeKind, Fault, Grant
from holdfast.actors.auth.vault import TokenMemory
from holdfast.runtime import Secret

SETTINGS = AuthSettings(waiters_max=3)

FAILURES = st.sampled_from(
    [
        ExchangeFailure(Fault.UNREACHABLE, 0, "unreachable"),
        ExchangeFailure(Fault.LOST, 0, "timeout"),
        ExchangeFailure(Fault.MALFORMED, 200, "malformed_answer"),
        ExchangeFailure(Fault.CERTIFICATE, 0, "certificate"),
        ExchangeFailure(Fault.REFUSED, 401, "invalid_credentials"),
        ExchangeFailure(Fault.REFUSED, 400, "invalid_grant"),
        ExchangeFailure(Fault.REFUSED, 500, "server_error"),
        ExchangeFailure(Fault.REFUSED, 429, "rate_limited", retry_after=40.0),
        ExchangeFailure(Fault.REFUSED, 503, "server_error", retry_after=1e9),
    ]
)


@attrs.frozen
class Ask:
    what: str
    behind: int = 0
    """For a rejection: how many generations before the latest one."""


@attrs.frozen
class Grants:
    lifetime: float
    rotates: bool


@attrs.frozen
class Fails:
    failure: ExchangeFailure


@attrs.frozen
class Does:
    what: str


Step: TypeAlias = Ask | Grants | Fails | Does

STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Ask, st.sampled_from(["authenticate", "token", "validate"])),
    st.builds(Ask, st.just("reject"), st.integers(-1, 2)),
    st.builds(Grants, st.sampled_from([0.5, 8.0, 300.0]), st.booleans()),
    st.builds(Fails, FAILURES),
    st.builds(Does, st.sampled_from(["timer", "timer", "logout", "restart", "stale"])),
)
RUNS = st.lists(
    st.tuples(STEPS, st.sampled_from([0.0, 0.2, 3.0, 29.0, 290.0]), st.floats(0, 1, exclude_max=True)),
    max_size=60,
)


class World:
    """The shell, the callers and the endpoint around one machine, and what they may never see."""

    def __init__(self) -> None:
        self.now = 0.0
        self.machine = AuthMachine(SETTINGS, TokenMemory())
        self.flight: StartExchange | None = None
        self.sent_at = 0.0
        self.timer: float | None = None
        self.waiting: dict[int, str] = {}
        self.asked = 0
        self.grants = 0
        self.generation = 0
        self.rejected: set[int] = set()
        self.unsure = Counter[str]()
        """Sends of each refresh token of whose fate we were never told."""
        self.not_before = 0.0
        self.logged_out = False

    # ---- what happens ------------------------------------------------------------------------------

    def step(self, step: Step, chance: float) -> None:
        match step:
            case Ask():
                self.ask(step)
            case Grants():
                if self.flight is not None:
                    self.grant(step, chance)
            case Fails(failure=failure):
                if self.flight is not None:
                    self.fail(failure, chance)
            case Does(what="timer"):
                if self.timer is not None:
                    self.now = max(self.now, self.timer)
                    self.timer = None
                    self.feed(RefreshDue())
            case Does(what="logout"):
                self.logged_out = True
                self.feed(LoggedOut())
                assert self.flight is None, "an exchange outlived the logout"
            case Does(what="restart"):
                self.restart()
            case Does():
                number = 0 if self.flight is None else self.flight.flight - 1
                late = Grant(Secret("late"), 300.0, Secret("late"))
                assert self.feed(ExchangeSucceeded(number, late, self.now, chance)) == []

    def ask(self, ask: Ask) -> None:
        self.asked += 1
        waiter = self.asked
        self.waiting[waiter] = ask.what
        fact: Fact
        match ask.what:
            case "authenticate":
                self.logged_out = False
                fact = AuthenticateRequested(waiter)
            case "token":
                fact = TokenRequested(waiter)
            case "validate":
                fact = ValidationRequested(waiter)
            case _:
                generation = self.generation - ask.behind
                if generation <= self.generation:
                    self.rejected.add(generation)
                fact = RejectionReported(waiter, generation)
        self.feed(fact)

    def grant(self, given: Grants, chance: float) -> None:
        assert self.flight is not None
        number, self.flight = self.flight.flight, None
        self.grants += 1
        self.generation += 1
        self.not_before = 0.0
        refresh = Secret(f"R{self.grants}") if given.rotates else None
        grant = Grant(Secret(f"A{self.grants}"), given.lifetime, refresh)
        self.unsure.clear()
        self.feed(ExchangeSucceeded(number, grant, self.sent_at, chance))

    def fail(self, failure: ExchangeFailure, chance: float) -> None:
        assert self.flight is not None
        flight, self.flight = self.flight, None
        if flight.refresh_token is not None and not failure.may_have_spent:
            self.unsure[flight.refresh_token.reveal()] -= 1
        if failure.retry_after is not None:
            self.not_before = self.now + min(failure.retry_after, SETTINGS.retry_after_max)
        effects = self.feed(ExchangeFailed(flight.flight, failure, chance))
        events = [effect.event for effect in effects if isinstance(effect, Emit)]
        assert len(events) == 1, "one failure, one event"
        assert isinstance(events[0], AuthError | TokenExpired)

    def restart(self) -> None:
        # The kernel fails what waits for the old incarnation, and cancels its child tasks and timers.
        self.waiting.clear()
        self.flight = self.timer = None
        self.machine = AuthMachine(SETTINGS, self.machine.memory)
        self.feed(Started())

    # ---- what may come of it -----------------------------------------------------------------------

    def feed(self, fact: Fact) -> list[Effect]:
        before = self.machine.memory
        effects = self.machine.step(fact, self.now)
        for effect in effects:
            self.check(effect)
        after = self.machine.memory
        assert after.generation >= before.generation
        assert after.generation == self.generation
        assert after.refresh_count >= before.refresh_count
        assert after.failure_count >= before.failure_count
        # Nobody waits for nothing: without an exchange everybody has been answered.
        assert self.flight is not None or not self.waiting
        assert set(self.machine.waiters) == set(self.waiting)
        assert len(self.machine.waiters) <= SETTINGS.waiters_max
        if self.logged_out:
            assert after.token is None
            assert after.refresh_token is None
            assert self.timer is None
            assert self.flight is None
        return effects

    def check(self, effect: Effect) -> None:
        match effect:
            case StartExchange():
                self.check_start(effect)
            case CancelExchange(flight=flight):
                assert self.flight is not None
                assert self.flight.flight == flight
                self.flight = None
            case StartTimer(delay=delay):
                assert delay is None or delay >= 0
                self.timer = None if delay is None else self.now + delay
            case Answer(waiter=waiter, value=value):
                self.check_answer(self.waiting.pop(waiter), value)
            case Tell(message=TokenChanged(token=token)):
                self.check_token(token)
            case Emit(event=TokenAcquired(access_token=token) | TokenRefreshed(access_token=token)):
                assert token == Secret(f"A{self.grants}")
            case _:
                pass

    def check_start(self, order: StartExchange) -> None:
        assert self.flight is None, "two exchanges at once"
        assert self.now >= self.not_before - 1e-6, "asked before the endpoint's pause was over"
        self.flight, self.sent_at = order, self.now
        assert (order.kind is ExchangeKind.REFRESH) == (order.refresh_token is not None)
        if order.refresh_token is not None:
            token = order.refresh_token.reveal()
            self.unsure[token] += 1
            assert self.unsure[token] <= 1 + SETTINGS.resend_limit, "a spent refresh token was sent on"

    def check_answer(self, wanted: str, value: Token | bool | AuthenticationFailed) -> None:
        if wanted in ("authenticate", "validate"):
            assert isinstance(value, bool)
        elif isinstance(value, Token):
            self.check_token(value)
        else:
            assert isinstance(value, AuthenticationFailed)

    def check_token(self, token: Token) -> None:
        assert token.generation == self.generation, "an older token than the newest"
        assert token.generation not in self.rejected, "a token that a server had refused"
        assert self.now < token.expires_at, "an expired token"
        assert not self.logged_out


# A1.2 (single flight), A1.3 (Retry-After), A1.7: under every sequence of events.
@settings(max_examples=400, deadline=None)
@given(RUNS)
def test_no_sequence_of_events_breaks_a_rule_of_the_token(run: list[tuple[Step, float, float]]) -> None:
    world = World()
    world.feed(Started())
    for step, pause, chance in run:
        world.now += pause
        world.step(step, chance)


# A1.2
@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["authenticate", "token", "validate", "reject"]), min_size=1, max_size=30))
def test_however_callers_come_an_expired_token_costs_one_exchange(asks: list[str]) -> None:
    world = World()
    world.ask(Ask("authenticate"))
    world.grant(Grants(300.0, rotates=True), 0.0)
    world.now = 400.0

    flights = set[int]()
    for what in asks:
        world.ask(Ask(what))
        assert world.flight is not None
        flights.add(world.flight.flight)
    world.grant(Grants(300.0, rotates=True), 0.0)

    assert len(flights) == 1
    assert not world.waiting
