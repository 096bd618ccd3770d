"""When to dial: back-off, probe, budget, and the verdicts that end trying.

A fault of the remote is never a crash; it is a fact that this machine answers
with a delay or with `failed`.  It keeps three promises whatever it is told:
never two dials in flight, nothing from an older generation counts, and no more
than `dials_per_minute`.  `TRANSITIONS` is the whole of it; the methods below
carry out its rules.

Pure: `handle` takes a fact, the time and one uniform draw, and returns decisions.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

import attrs

from holdfast.actors.reconnect.classification import ONCE, classify
from holdfast.actors.reconnect.decisions import Announce, Decision, Emit, StartTimer, StopTimer, TellSocket
from holdfast.actors.reconnect.messages import (
    AnswerOverdue,
    ConfigurationChanged,
    Connect,
    DialDue,
    Disconnect,
    ErrorClassified,
    LinkFailure,
    LinkIntent,
    LinkLost,
    LinkReady,
    LinkState,
    LinkStateChanged,
    LinkStatus,
    ReconnectAttempt,
    ReconnectExhausted,
    ReconnectProbe,
    Retry,
    SocketStarted,
    StateChanged,
)
from holdfast.actors.reconnect.settings import ReconnectSettings
from holdfast.actors.socket.messages import Dial, HangUp
from holdfast.runtime import Message

__all__ = ["STATES", "TRANSITIONS", "ReconnectMachine", "Rule", "backoff_delay"]

# The two timers of the machine; starting one under the same name replaces it.
DIAL_TIMER = "dial"
ANSWER_TIMER = "answer"

# The window in which `dials_per_minute` is counted.
MINUTE = 60.0

# A hang-up that keeps the session: "going away" (1000 would end it by mutual consent).
GOING_AWAY = 1001


class Rule(Enum):
    """What a fact does in a state."""

    IGNORE = auto()
    BEGIN = auto()
    """Start a new sequence with a dial at once."""
    END = auto()
    """Nobody wants the link any more."""
    JOINED = auto()
    LOST = auto()
    SILENT = auto()
    """A dial without an answer is a lost one."""
    DIAL = auto()
    HURRY = auto()
    """Forget the back-off and dial now, unless a dial is in flight."""
    REPEAT = auto()
    """Say the dial in flight again; the socket ignores a generation it knows."""
    ORPHANED = auto()
    """The socket that held the link is gone."""


I = Rule.IGNORE  # noqa: E741 - the table is read as a table

# A row is a fact, a column is a state.
_FACTS: dict[type[Message], tuple[Rule, Rule, Rule, Rule, Rule, Rule]] = {
    #                      disconnected connecting   connected      reconnecting suspended    failed
    Connect:              (Rule.BEGIN, I,           I,             I,           I,           I),
    Disconnect:           (I,          Rule.END,    Rule.END,      Rule.END,    Rule.END,    Rule.END),
    Retry:                (I,          Rule.HURRY,  I,             Rule.HURRY,  Rule.HURRY,  Rule.BEGIN),
    ConfigurationChanged: (I,          Rule.HURRY,  I,             Rule.HURRY,  Rule.HURRY,  Rule.BEGIN),
    LinkReady:            (I,          Rule.JOINED, I,             Rule.JOINED, Rule.JOINED, I),
    LinkLost:             (I,          Rule.LOST,   Rule.LOST,     Rule.LOST,   Rule.LOST,   I),
    DialDue:              (I,          Rule.DIAL,   I,             Rule.DIAL,   Rule.DIAL,   I),
    AnswerOverdue:        (I,          Rule.SILENT, I,             Rule.SILENT, Rule.SILENT, I),
    SocketStarted:        (I,          Rule.REPEAT, Rule.ORPHANED, Rule.REPEAT, Rule.REPEAT, I),
}  # fmt: skip
STATES: tuple[LinkStatus, ...] = (
    "disconnected",
    "connecting",
    "connected",
    "reconnecting",
    "suspended",
    "failed",
)

TRANSITIONS: dict[tuple[LinkStatus, type[Message]], Rule] = {
    (state, fact): rule for fact, rules in _FACTS.items() for state, rule in zip(STATES, rules, strict=True)
}


def backoff_delay(settings: ReconnectSettings, attempt: int, draw: float) -> float:
    """Return the delay before retry `attempt`, counted from 1.

    Without jitter the first retry is immediate and the others are
    initial x multiplier^n.  With jitter each is a uniform draw up to that, and
    the first up to `initial_delay`: a fleet that lost its hub together must not
    come back together.
    """
    try:
        full = min(settings.max_delay, settings.initial_delay * settings.multiplier ** max(attempt - 2, 0))
    except OverflowError:
        full = settings.max_delay
    if settings.jitter:
        return draw * full
    return 0.0 if attempt == 1 else full


@attrs.define
class ReconnectMachine:
    """One link's state; `intent` is shared with the incarnations before and after this one."""

    settings: ReconnectSettings
    intent: LinkIntent

    status: LinkStatus = attrs.field(default="disconnected", init=False)
    attempt: int = attrs.field(default=0, init=False)
    failure: LinkFailure | None = attrs.field(default=None, init=False)
    stale: int = attrs.field(default=0, init=False)
    """Facts dropped because they were about an older generation or a cancelled timer."""

    _live: int | None = attrs.field(default=None, init=False)
    """The generation that is being dialled or is connected; facts about any other are stale."""

    _turn: int = attrs.field(default=0, init=False)
    _exhausted: bool = attrs.field(default=False, init=False)
    _fresh_session: bool = attrs.field(default=False, init=False)
    _refresh_token: bool = attrs.field(default=False, init=False)
    _refreshed: bool = attrs.field(default=False, init=False)
    """A dial with a refreshed token was made since the link was last ready."""

    _ready_since: float = attrs.field(default=0.0, init=False)
    # No more entries than the limit they are compared with, see `_over_budget` and `_dial`.
    _losses: deque[float] = attrs.field(factory=deque[float], init=False)
    _dials: deque[float] = attrs.field(factory=deque[float], init=False)

    def start(self, now: float) -> list[Decision]:
        """Begin a new incarnation: dial by itself when the link is wanted."""
        return self._begin(now) if self.intent.wanted else []

    def handle(self, fact: Message, now: float, draw: float) -> list[Decision]:
        """Take a fact, the time and a uniform draw from [0, 1); return what to do, in order."""
        match TRANSITIONS[self.status, type(fact)]:
            case Rule.BEGIN:
                return self._begin(now)
            case Rule.END if isinstance(fact, Disconnect):
                return self._end(fact.reason)
            case Rule.JOINED if isinstance(fact, LinkReady) and self._is_live(fact.generation):
                return self._joined(now)
            case Rule.LOST if isinstance(fact, LinkLost) and self._is_live(fact.generation):
                return self._lost(fact.failure, now, draw)
            case Rule.SILENT if isinstance(fact, AnswerOverdue) and self._is_live(fact.generation):
                detail = f"the socket gave no answer to a dial within {self.settings.answer_within:g} s"
                return self._lost(LinkFailure(kind="timeout", detail=detail), now, draw)
            case Rule.DIAL if isinstance(fact, DialDue) and self._is_current(fact.turn):
                return self._dial(now)
            case Rule.HURRY:
                return self._hurry(now)
            case Rule.REPEAT if self._live is not None:
                return [self._dial_message(self._live)]
            case Rule.ORPHANED:
                detail = "the socket was started anew and holds no connection"
                return self._lost(LinkFailure(kind="socket_crashed", detail=detail), now, draw)
            case _:
                return []

    def socket_down(self, detail: str, now: float, draw: float) -> list[Decision]:
        """The socket's incarnation ended: what it held is lost."""
        if self._live is None:
            return []
        failure = LinkFailure(kind="socket_crashed", detail=detail)
        return self.handle(LinkLost(generation=self._live, failure=failure), now, draw)

    def link_state(self) -> LinkState:
        failed = self.status == "failed" and self.failure is not None
        return LinkState(
            state=self.status,
            generation=self.intent.generation,
            attempt=self.attempt,
            code=self.failure.code if failed and self.failure is not None else None,
            reason=_reason(self.failure) if self.failure is not None else "",
        )

    @property
    def dialing(self) -> bool:
        """A dial is in flight."""
        return self._live is not None and self.status != "connected"

    # Rules.

    def _begin(self, now: float) -> list[Decision]:
        self.intent.wanted = True
        self._reset_sequence()
        self.failure = None
        return [*self._move("connecting"), *self._dial(now)]

    def _end(self, reason: str) -> list[Decision]:
        self.intent.wanted = False
        decisions: list[Decision] = []
        if self._live is not None:
            decisions.append(TellSocket(HangUp(code=GOING_AWAY, reason=reason, destroy_session=False)))
        self._release()
        self._reset_sequence()
        self.failure = None
        return [*decisions, StopTimer(DIAL_TIMER), StopTimer(ANSWER_TIMER), *self._move("disconnected")]

    def _joined(self, now: float) -> list[Decision]:
        self._ready_since = now
        self._fresh_session = self._refresh_token = self._refreshed = False
        self.failure = None
        return [StopTimer(ANSWER_TIMER), *self._move("connected")]

    def _lost(self, reported: LinkFailure, now: float, draw: float) -> list[Decision]:
        failure = self.failure = classify(reported)
        self._count_loss(now)
        self._release()
        decisions: list[Decision] = [
            StopTimer(ANSWER_TIMER),
            Emit(
                ErrorClassified(
                    error=_reason(failure),
                    retryable=failure.retryable,
                    recommended_delay=failure.recommended_delay,
                    classification=failure.kind,
                )
            ),
        ]
        refused_again = self._refreshed and (failure.kind, failure.code) in ONCE
        if failure.verdict == "terminal" or refused_again:
            return [*decisions, StopTimer(DIAL_TIMER), *self._move("failed")]
        self._plan_next_dial(failure)
        return [*decisions, *self._wait(failure, now, draw)]

    def _hurry(self, now: float) -> list[Decision]:
        self._reset_sequence()
        decisions = self._move("reconnecting") if self.status == "suspended" else []
        if self._live is not None:
            return decisions
        return [*decisions, *self._dial(now)]

    # Steps.

    def _is_live(self, generation: int) -> bool:
        if generation == self._live:
            return True
        self.stale += 1
        return False

    def _is_current(self, turn: int) -> bool:
        if turn == self._turn and self._live is None:
            return True
        self.stale += 1
        return False

    def _release(self) -> None:
        self._live = None
        self._turn += 1

    def _reset_sequence(self) -> None:
        self.attempt = 0
        self._exhausted = False

    def _count_loss(self, now: float) -> None:
        """A link that was ready counts towards the budget; one that was stable starts the sequence anew."""
        if self.status != "connected":
            return
        if now - self._ready_since >= self.settings.stable_after:
            self._reset_sequence()
        self._losses.append(now)
        if len(self._losses) > self.settings.budget_reconnects + 1:
            self._losses.popleft()

    def _plan_next_dial(self, failure: LinkFailure) -> None:
        self._fresh_session = self._fresh_session or failure.verdict == "new_session"
        # A refresh that failed on its way to the token endpoint is still owed;
        # one that succeeded before the dial failed otherwise is not.
        self._refresh_token = failure.verdict == "refresh" or (self._refresh_token and failure.kind == "auth")

    def _wait(self, failure: LinkFailure, now: float, draw: float) -> list[Decision]:
        """Three ways to wait: a retry of the back-off, the probe of a suspended link, or none at all."""
        if self.attempt < self.settings.max_retries:
            self.attempt += 1
            delay = self._demanded(failure, backoff_delay(self.settings, self.attempt, draw), now, draw)
            moved = self._move("reconnecting")
            return [
                *moved,
                Emit(ReconnectAttempt(attempt=self.attempt, delay=delay)),
                *self._after(delay, now),
            ]

        decisions = self._exhaust(failure)
        decisions += self._move("suspended")
        if self.settings.probe is None:
            return decisions
        # A quarter either way, so that a fleet's probes spread and the mean stays what was set.
        spread = 0.75 + 0.5 * draw if self.settings.jitter else 1.0
        delay = self._demanded(failure, self.settings.probe * spread, now, draw)
        return [*decisions, Emit(ReconnectProbe(delay=delay)), *self._after(delay, now)]

    def _exhaust(self, failure: LinkFailure) -> list[Decision]:
        """Say once for each sequence that the back-off is spent."""
        if self._exhausted:
            return []
        self._exhausted = True
        retries = self.settings.max_retries
        event = ReconnectExhausted(
            total_attempts=retries + 1, max_retries=retries, last_error=_reason(failure), give_up=True
        )
        return [Emit(event)]

    def _demanded(self, failure: LinkFailure, delay: float, now: float, draw: float) -> float:
        """Lengthen a delay to what the remote and the reconnect budget demand."""
        demanded = 0.0 if failure.retry_after is None else failure.retry_after
        if failure.retry_after is None and failure.code in BUSY_CODES:
            demanded = failure.recommended_delay
        demanded = min(max(demanded, 0.0), self.settings.retry_after_max)
        if demanded > 0 and self.settings.jitter and failure.kind != "draining":
            # Everybody was told the same figure; a goaway's was drawn from a range already.
            demanded += draw * self.settings.initial_delay
        floor = self.settings.budget_floor if self._over_budget(now) else 0.0
        return max(delay, demanded, floor)

    def _over_budget(self, now: float) -> bool:
        while self._losses and self._losses[0] < now - self.settings.budget_period:
            self._losses.popleft()
        return len(self._losses) > self.settings.budget_reconnects

    def _after(self, delay: float, now: float) -> list[Decision]:
        if delay <= 0:
            return self._dial(now)
        return [self._dial_timer(delay)]

    def _dial_timer(self, delay: float) -> StartTimer:
        self._turn += 1
        return StartTimer(DIAL_TIMER, delay, DialDue(turn=self._turn))

    def _dial(self, now: float) -> list[Decision]:
        while self._dials and self._dials[0] <= now - MINUTE:
            self._dials.popleft()
        if len(self._dials) >= self.settings.dials_per_minute:
            # A millisecond more than needed: rounding must not make it due before there is room.
            return [self._dial_timer(self._dials[0] + MINUTE - now + 0.001)]
        self._dials.append(now)
        self._release()
        self.intent.generation += 1
        generation = self._live = self.intent.generation
        self._refreshed = self._refreshed or self._refresh_token
        overdue = AnswerOverdue(generation=generation)
        return [
            StopTimer(DIAL_TIMER),
            self._dial_message(generation),
            StartTimer(ANSWER_TIMER, self.settings.answer_within, overdue),
        ]

    def _dial_message(self, generation: int) -> TellSocket:
        dial = Dial(
            generation=generation, fresh_session=self._fresh_session, refresh_token=self._refresh_token
        )
        return TellSocket(dial)

    def _move(self, status: LinkStatus) -> list[Decision]:
        if status == self.status:
            return []
        previous, self.status = self.status, status
        return [
            Emit(StateChanged(previous=previous, current=status)),
            Announce(LinkStateChanged(previous=previous, current=self.link_state())),
        ]


# Codes that mean "you are too many", honoured without a figure too.
BUSY_CODES = frozenset({1013, 4006, 429, 503})


def _reason(failure: LinkFailure) -> str:
    return f"{failure.kind}: {failure.detail}" if failure.detail else failure.kind
