from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import pytest

from holdfast.actors.reconnect.decisions import Announce, Decision, Emit, StartTimer, StopTimer, TellSocket
from holdfast.actors.reconnect.machine import STATES, TRANSITIONS, ReconnectMachine, Rule
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
    ReconnectAttempt,
    ReconnectExhausted,
    ReconnectProbe,
    Retry,
    SocketStarted,
    StateChanged,
)
from holdfast.actors.reconnect.settings import ReconnectSettings
from holdfast.actors.socket.messages import Dial, HangUp
from holdfast.runtime import Event, Message

E = TypeVar("E", bound=Event)

EXACT = ReconnectSettings(jitter=False)
REFUSED = LinkFailure(kind="refused", detail="nobody listens")


def closed(code: int) -> LinkFailure:
    return LinkFailure(kind="closed", code=code)


@attrs.define
class Bench:
    """The machine with a clock and timers, and nothing else."""

    settings: ReconnectSettings = EXACT
    intent: LinkIntent = attrs.field(factory=LinkIntent)
    draw: float = 0.5
    now: float = 1000.0
    dials: list[tuple[float, Dial]] = attrs.field(factory=list[tuple[float, Dial]])
    hang_ups: list[HangUp] = attrs.field(factory=list[HangUp])
    events: list[Event] = attrs.field(factory=list[Event])
    announced: list[str] = attrs.field(factory=list[str])
    timers: dict[str, tuple[float, Message]] = attrs.field(factory=dict[str, tuple[float, Message]])
    machine: ReconnectMachine = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.machine = ReconnectMachine(self.settings, self.intent)

    def start(self) -> None:
        self._carry_out(self.machine.start(self.now))

    def tell(self, fact: Message) -> None:
        self._carry_out(self.machine.handle(fact, self.now, self.draw))

    def ready(self) -> None:
        self.tell(LinkReady(generation=self.generation, session="s-1", resumed=True))

    def lost(self, failure: LinkFailure = REFUSED) -> None:
        self.tell(LinkLost(generation=self.generation, failure=failure))

    def wait(self, seconds: float) -> None:
        """Let time pass, and what is due on the way happen."""
        end = self.now + seconds
        while due := [(when, key) for key, (when, _) in self.timers.items() if when <= end]:
            when, key = min(due)
            self.now = when
            self.tell(self.timers.pop(key)[1])
        self.now = end

    def wait_for_dial(self, limit: float = 1000.0) -> float:
        """Let time pass until the next dial; return how long that took."""
        start, before = self.now, len(self.dials)
        while len(self.dials) == before:
            when, _ = self.timers["dial"]
            assert when - start <= limit
            self.wait(when - self.now)
        return self.now - start

    @property
    def generation(self) -> int:
        return self.dials[-1][1].generation

    @property
    def state(self) -> str:
        return self.machine.status

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def _carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case TellSocket(Dial() as dial):
                    self.dials.append((self.now, dial))
                case TellSocket(HangUp() as hang_up):
                    self.hang_ups.append(hang_up)
                case Announce(message):
                    self.announced.append(message.current.state)
                case Emit(event):
                    self.events.append(event)
                case StartTimer(key, delay, message):
                    assert delay >= 0
                    self.timers[key] = (self.now + delay, message)
                case StopTimer(key):
                    self.timers.pop(key, None)
                case TellSocket():
                    raise AssertionError(decision)


def connected(settings: ReconnectSettings = EXACT) -> Bench:
    bench = Bench(settings)
    bench.tell(Connect())
    bench.ready()
    return bench


# Back-off (A2.1).


def test_without_jitter_the_delays_are_exactly_those_of_the_seed() -> None:
    # A2.1
    bench = Bench()
    bench.tell(Connect())
    waits: list[float] = []
    bench.lost()
    for _ in range(4):
        bench.lost()
        waits.append(bench.wait_for_dial())

    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert [event.delay for event in bench.of(ReconnectAttempt)] == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert [event.attempt for event in bench.of(ReconnectAttempt)] == [1, 2, 3, 4, 5]


def test_the_first_retry_without_jitter_is_made_at_once() -> None:
    # A2.1
    bench = Bench()
    bench.tell(Connect())
    bench.lost()

    assert [when for when, _ in bench.dials] == [1000.0, 1000.0]


def test_with_jitter_the_first_retry_waits_up_to_the_initial_delay() -> None:
    # SEMANTICS "Time": U(0, 1 s)
    bench = Bench(ReconnectSettings(), draw=0.75)
    bench.tell(Connect())
    bench.lost()

    assert bench.wait_for_dial() == 0.75


def test_jitter_spreads_each_delay_from_zero_to_its_full_length() -> None:
    # A2.1, full jitter
    bench = Bench(ReconnectSettings(), draw=0.5)
    bench.tell(Connect())
    for _ in range(5):
        bench.lost()
        bench.wait_for_dial()

    assert [event.delay for event in bench.of(ReconnectAttempt)] == [0.5, 0.5, 1.0, 2.0, 4.0]


def test_no_delay_of_the_back_off_exceeds_its_cap() -> None:
    # A2.1
    bench = Bench(attrs.evolve(EXACT, max_retries=8, max_delay=3.0))
    bench.tell(Connect())
    for _ in range(8):
        bench.lost()
        if "dial" in bench.timers:
            bench.wait_for_dial()

    assert [event.delay for event in bench.of(ReconnectAttempt)] == [0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0]


# Exhaustion and probes (A2.2).


def exhausted(settings: ReconnectSettings = EXACT) -> Bench:
    bench = Bench(settings)
    bench.tell(Connect())
    for _ in range(bench.settings.max_retries):
        bench.lost()
        if not bench.machine.dialing:
            bench.wait_for_dial()
    bench.lost()
    return bench


def test_after_the_last_retry_the_exhaustion_is_told_once_and_the_link_is_suspended() -> None:
    # A2.2
    bench = exhausted()

    assert bench.of(ReconnectExhausted) == [
        ReconnectExhausted(
            total_attempts=6, max_retries=5, last_error="refused: nobody listens", give_up=True
        )
    ]
    assert bench.state == "suspended"
    assert len(bench.dials) == 6


def test_a_suspended_link_is_probed_for_ever_and_says_so_without_new_attempts() -> None:
    # A2.2, SEMANTICS "Time"
    bench = exhausted()
    attempts = len(bench.of(ReconnectAttempt))
    for _ in range(500):
        assert bench.wait_for_dial() == 10.0
        bench.lost()

    assert bench.state == "suspended"
    assert len(bench.of(ReconnectAttempt)) == attempts
    assert len(bench.of(ReconnectExhausted)) == 1
    assert len(bench.of(ReconnectProbe)) == 501


@pytest.mark.parametrize("draw,wait", [(0.0, 7.5), (0.5, 10.0), (1.0, 12.5)])
def test_probes_are_spread_around_their_period(draw: float, wait: float) -> None:
    # SEMANTICS "Time": probed every 10 s, jittered
    bench = exhausted()
    bench.machine.settings = ReconnectSettings()
    bench.draw = draw
    bench.wait_for_dial()
    bench.lost()

    assert bench.wait_for_dial() == wait


def test_without_a_probe_a_spent_back_off_is_a_strict_stop() -> None:
    # A2.2, `probe=None`
    bench = exhausted(attrs.evolve(EXACT, probe=None))
    before = len(bench.dials)
    bench.wait(86_400)

    assert len(bench.dials) == before
    assert bench.state == "suspended"


def test_a_probe_that_gets_through_brings_the_link_back() -> None:
    # A2.2
    bench = exhausted()
    bench.wait_for_dial()
    bench.ready()

    assert bench.state == "connected"


def test_a_link_that_falls_right_after_its_probe_is_suspended_again_without_a_second_exhaustion() -> None:
    # A2.3: a link that flaps gets no free retries
    bench = exhausted()
    bench.wait_for_dial()
    bench.ready()
    bench.wait(29.0)
    bench.lost()

    assert bench.state == "suspended"
    assert len(bench.of(ReconnectExhausted)) == 1
    assert bench.wait_for_dial() == 10.0


# Reset and stability (A2.3).


def test_a_loss_after_the_stable_period_starts_with_an_immediate_retry_again() -> None:
    # A2.3
    bench = connected()
    for _ in range(3):
        bench.lost()
        if not bench.machine.dialing:
            bench.wait_for_dial()
    bench.ready()
    bench.wait(30.0)
    bench.lost()

    assert bench.of(ReconnectAttempt)[-1] == ReconnectAttempt(attempt=1, delay=0.0)


def test_a_loss_before_the_stable_period_continues_the_sequence() -> None:
    # A2.3, SEMANTICS "Time"
    bench = connected()
    bench.wait(30.0)
    delays: list[float] = []
    for _ in range(5):
        bench.lost()
        delays.append(bench.of(ReconnectAttempt)[-1].delay)
        if not bench.machine.dialing:
            bench.wait_for_dial()
        bench.ready()
        bench.wait(29.9)

    assert delays == [0.0, 1.0, 2.0, 4.0, 8.0]


# The state machine (A2.4).


def test_every_fact_has_a_rule_in_every_state() -> None:
    # A2.4
    facts = {fact for _, fact in TRANSITIONS}

    assert set(TRANSITIONS) == {(state, fact) for state in STATES for fact in facts}
    assert all(rule in Rule for rule in TRANSITIONS.values())


def test_each_change_of_state_is_told_with_what_it_was_and_what_it_is() -> None:
    # A2.4
    bench = Bench()
    bench.tell(Connect())
    bench.ready()
    bench.lost()
    bench.tell(Disconnect())

    assert bench.of(StateChanged) == [
        StateChanged(previous="disconnected", current="connecting"),
        StateChanged(previous="connecting", current="connected"),
        StateChanged(previous="connected", current="reconnecting"),
        StateChanged(previous="reconnecting", current="disconnected"),
    ]
    assert bench.announced == ["connecting", "connected", "reconnecting", "disconnected"]


def test_the_state_can_be_read_with_its_reason() -> None:
    # A2.4
    bench = connected()
    assert bench.machine.link_state().reason == ""
    bench.wait(31.0)
    bench.lost()
    state = bench.machine.link_state()

    assert (state.state, state.generation, state.attempt, state.code, state.reason) == (
        "reconnecting",
        2,
        1,
        None,
        "refused: nobody listens",
    )


def test_connecting_again_changes_nothing_where_the_link_is_wanted() -> None:
    bench = connected()
    bench.tell(Connect())

    assert bench.state == "connected"
    assert len(bench.dials) == 1


def test_a_disconnect_hangs_up_without_destroying_the_session_and_dials_no_more() -> None:
    # A4.3: clean-up at a disconnect releases, it does not log out
    bench = connected()
    bench.tell(Disconnect(reason="bye for now"))
    bench.wait(3600.0)

    assert bench.hang_ups == [HangUp(code=1001, reason="bye for now", destroy_session=False)]
    assert len(bench.dials) == 1
    assert bench.state == "disconnected"
    assert not bench.intent.wanted


def test_a_disconnect_between_two_dials_has_nobody_to_hang_up_on() -> None:
    bench = connected()
    bench.lost()
    bench.lost()
    bench.tell(Disconnect())
    bench.wait(3600.0)

    assert bench.hang_ups == []
    assert len(bench.dials) == 2
    assert bench.timers == {}


# Terminal verdicts.


@pytest.mark.parametrize(
    "failure,code",
    [
        (closed(4304), 4304),
        (LinkFailure(kind="certificate"), None),
        (LinkFailure(kind="rejected", code=403), 403),
    ],
)
def test_a_terminal_verdict_fails_the_link_with_its_code_and_ends_the_dialling(
    failure: LinkFailure, code: int | None
) -> None:
    # SEMANTICS "Time": 43xx and certificate -> failed(code), no restart that cannot cure it
    bench = connected()
    bench.lost(failure)
    bench.wait(86_400.0)
    state = bench.machine.link_state()

    assert (state.state, state.code) == ("failed", code)
    assert len(bench.dials) == 1
    assert bench.of(StateChanged)[-1].current == "failed"


@pytest.mark.parametrize("way_out", [Retry, ConfigurationChanged])
@pytest.mark.parametrize("failed", [True, False])
def test_a_retry_or_a_changed_configuration_leads_out_of_failed_and_suspended_at_once(
    way_out: Callable[[], Message],
    *,
    failed: bool,
) -> None:
    # SEMANTICS "Time": reconnect() or a changed configuration tries again
    bench = exhausted()
    bench.wait_for_dial()
    bench.lost(closed(4300) if failed else REFUSED)
    before = len(bench.dials)
    bench.tell(way_out())

    assert len(bench.dials) == before + 1
    assert bench.machine.link_state().attempt == 0
    bench.ready()
    assert bench.state == "connected"


def test_a_failed_link_is_left_alone_by_connect_until_it_was_disconnected() -> None:
    bench = connected()
    bench.lost(closed(4300))
    bench.tell(Connect())
    assert bench.state == "failed"

    bench.tell(Disconnect())
    bench.tell(Connect())
    assert bench.state == "connecting"
    assert len(bench.dials) == 2


def test_a_retry_cuts_a_back_off_short_and_starts_the_sequence_anew() -> None:
    bench = connected()
    bench.lost()
    bench.lost()
    bench.tell(Retry())

    assert len(bench.dials) == 3
    bench.lost()
    assert bench.of(ReconnectAttempt)[-1].attempt == 1


def test_a_retry_while_a_probe_is_in_flight_makes_no_second_dial() -> None:
    bench = exhausted()
    bench.wait_for_dial()
    before = len(bench.dials)
    bench.tell(Retry())

    assert len(bench.dials) == before
    assert bench.state == "reconnecting"


# What the next dial is to do.


def test_a_lost_session_is_not_claimed_again_until_there_is_a_new_one() -> None:
    # REALTIME 1.2: 41xx -> reconnect with a new session
    bench = connected()
    bench.lost(closed(4101))
    assert bench.dials[-1][1].fresh_session
    bench.lost()
    bench.wait_for_dial()
    assert bench.dials[-1][1].fresh_session

    bench.ready()
    bench.wait(31.0)
    bench.lost()
    assert not bench.dials[-1][1].fresh_session


def test_a_refused_token_is_refreshed_for_the_next_dial_and_only_for_that() -> None:
    # REALTIME 1.2: 42xx -> refresh credentials, then resume
    bench = connected()
    bench.lost(closed(4200))
    assert bench.dials[-1][1].refresh_token
    bench.lost()
    bench.wait_for_dial()

    assert not bench.dials[-1][1].refresh_token


def test_a_refresh_that_could_not_be_made_is_still_owed() -> None:
    bench = connected()
    bench.lost(closed(4200))
    bench.lost(LinkFailure(kind="auth", code=503))
    bench.wait_for_dial()

    assert bench.dials[-1][1].refresh_token


@pytest.mark.parametrize("failure", [LinkFailure(kind="rejected", code=401), closed(1008)])
def test_a_token_refused_right_after_its_refresh_is_terminal(failure: LinkFailure) -> None:
    # REALTIME 1.2: 1008 -> re-auth once
    bench = connected()
    bench.lost(failure)
    assert bench.machine.dialing
    bench.lost(failure)

    assert bench.state == "failed"


def test_a_ready_link_makes_up_for_an_earlier_refresh() -> None:
    bench = connected()
    bench.lost(closed(1008))
    bench.ready()
    bench.wait(31.0)
    bench.lost(closed(1008))

    assert bench.state == "reconnecting"


# What the remote and the budget demand.


@pytest.mark.parametrize(
    "failure,wait",
    [
        (LinkFailure(kind="draining", retry_after=3.5), 3.5),
        (LinkFailure(kind="rejected", code=503, retry_after=20.0), 20.0),
        (LinkFailure(kind="rejected", code=429), 5.0),
        (closed(1013), 5.0),
        (closed(4006), 5.0),
        (LinkFailure(kind="closed", code=4006, retry_after=2.0), 2.0),
        (LinkFailure(kind="rejected", code=503, retry_after=86_400.0), 300.0),
        (LinkFailure(kind="rejected", code=503, retry_after=-5.0), 0.0),
    ],
)
def test_what_the_remote_asks_for_is_waited_out_within_reason(failure: LinkFailure, wait: float) -> None:
    # SEMANTICS "Time": goaway.reconnect_in, Retry-After, 4006 and 1013 honoured
    bench = connected()
    bench.lost(failure)

    assert bench.of(ReconnectAttempt)[-1].delay == wait


def test_those_told_the_same_figure_do_not_come_back_together() -> None:
    bench = Bench(ReconnectSettings(), draw=0.25)
    bench.tell(Connect())
    bench.lost(LinkFailure(kind="rejected", code=503, retry_after=20.0))

    assert bench.of(ReconnectAttempt)[-1].delay == 20.25


def test_a_goaway_is_honoured_to_the_letter() -> None:
    bench = Bench(ReconnectSettings(), draw=0.25)
    bench.tell(Connect())
    bench.ready()
    bench.lost(LinkFailure(kind="draining", retry_after=3.0))

    assert bench.of(ReconnectAttempt)[-1].delay == 3.0


def test_the_eleventh_ready_link_lost_in_five_minutes_puts_a_floor_under_the_delays() -> None:
    # SEMANTICS "Time": 10 reconnects in 5 minutes, floor 10 s
    bench = connected(attrs.evolve(EXACT, stable_after=1.0))
    delays: list[float] = []
    for _ in range(11):
        bench.wait(2.0)
        bench.lost()
        delays.append(bench.of(ReconnectAttempt)[-1].delay)
        if not bench.machine.dialing:
            bench.wait_for_dial()
        bench.ready()

    assert delays == [0.0] * 10 + [10.0]


def test_the_budget_forgets_what_is_older_than_its_period() -> None:
    bench = connected(attrs.evolve(EXACT, stable_after=1.0))
    for _ in range(10):
        bench.wait(40.0)
        bench.lost()
        bench.ready()
    bench.wait(40.0)
    bench.lost()

    assert bench.of(ReconnectAttempt)[-1].delay == 0.0


def test_dials_that_never_got_ready_do_not_count_towards_the_budget() -> None:
    # SEMANTICS "Time": counts only connections that had reached READY
    bench = Bench(attrs.evolve(EXACT, budget_reconnects=1, max_retries=20, max_delay=1.0))
    bench.tell(Connect())
    for _ in range(8):
        bench.lost()
        if not bench.machine.dialing:
            bench.wait_for_dial()

    assert max(event.delay for event in bench.of(ReconnectAttempt)) == 1.0


def test_nobody_makes_the_machine_dial_more_often_than_its_limit() -> None:
    # REALTIME 1.2: dial limiter
    bench = Bench(attrs.evolve(EXACT, dials_per_minute=4))
    for _ in range(10):
        bench.tell(Connect())
        bench.wait(0.25)
        bench.tell(Disconnect())
    bench.tell(Connect())
    assert len(bench.dials) == 4
    assert bench.state == "connecting"

    bench.wait(60.0)
    assert len(bench.dials) == 5


# Errors (A2.6).


def test_each_failure_is_told_with_its_classification() -> None:
    # A2.6
    bench = connected()
    bench.lost()

    assert bench.of(ErrorClassified) == [
        ErrorClassified(
            error="refused: nobody listens", retryable=True, recommended_delay=1.0, classification="refused"
        )
    ]


# Generations, crashes, silence.


def test_each_dial_has_a_generation_nobody_has_used() -> None:
    bench = Bench(intent=LinkIntent(generation=41))
    bench.tell(Connect())
    bench.lost()

    assert [dial.generation for _, dial in bench.dials] == [42, 43]


def test_facts_of_an_older_generation_are_dropped_and_counted() -> None:
    # SEMANTICS "Actors" 2
    bench = connected()
    bench.lost()
    bench.tell(LinkReady(generation=1, session="s-1", resumed=True))
    bench.tell(LinkLost(generation=1, failure=closed(4300)))
    bench.tell(AnswerOverdue(generation=1))
    bench.tell(DialDue(turn=1))

    assert bench.state == "reconnecting"
    assert bench.machine.stale == 4
    assert len(bench.dials) == 2


def test_a_new_incarnation_dials_by_itself_when_the_link_is_wanted() -> None:
    # a crash of reconnect leads back to READY by itself
    before = connected()
    after = Bench(intent=before.intent)
    after.start()

    assert after.state == "connecting"
    assert after.dials[0][1].generation == 2


def test_a_new_incarnation_leaves_an_unwanted_link_alone() -> None:
    before = connected()
    before.tell(Disconnect())
    after = Bench(intent=before.intent)
    after.start()

    assert after.state == "disconnected"
    assert after.dials == []


def test_a_crash_of_the_socket_loses_the_link_it_held() -> None:
    bench = connected()
    bench._carry_out(bench.machine.socket_down("crash", bench.now, 0.5))

    assert bench.of(ErrorClassified)[-1].classification == "socket_crashed"
    assert len(bench.dials) == 2


def test_a_crash_of_the_socket_between_two_dials_is_nothing() -> None:
    bench = connected()
    bench.lost()
    bench.lost()
    assert bench.machine.socket_down("crash", bench.now, 0.5) == []


def test_a_socket_that_was_started_anew_is_told_the_same_dial_again() -> None:
    bench = connected()
    bench.lost()
    bench.tell(SocketStarted())

    assert [dial.generation for _, dial in bench.dials] == [1, 2, 2]


def test_a_socket_that_was_started_anew_behind_a_ready_link_has_lost_it() -> None:
    bench = connected()
    bench.tell(SocketStarted())

    assert bench.state == "reconnecting"
    assert [dial.generation for _, dial in bench.dials] == [1, 2]


def test_a_socket_that_starts_while_nobody_dials_is_told_nothing() -> None:
    bench = connected()
    bench.lost()
    bench.lost()
    bench.tell(SocketStarted())

    assert len(bench.dials) == 2


def test_a_dial_that_nobody_answers_is_a_lost_one() -> None:
    bench = Bench()
    bench.tell(Connect())
    bench.wait(25.0)

    assert bench.of(ErrorClassified)[-1].classification == "timeout"
    assert len(bench.dials) == 2
