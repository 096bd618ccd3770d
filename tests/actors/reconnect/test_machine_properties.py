"""What the machine of reconnect promises whatever it is told, in whatever order."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.reconnect.decisions import Decision, Emit, StartTimer, StopTimer, TellSocket
from holdfast.actors.reconnect.machine import ReconnectMachine, backoff_delay
from holdfast.actors.reconnect.messages import (
    AnswerOverdue,
    ConfigurationChanged,
    Connect,
    DialDue,
    Disconnect,
    LinkFailure,
    LinkIntent,
    LinkLost,
    LinkReady,
    ReconnectAttempt,
    Retry,
    SocketStarted,
)
from holdfast.actors.reconnect.settings import ReconnectSettings
from holdfast.actors.socket.messages import Dial
from holdfast.runtime import Message

SETTINGS = st.builds(
    ReconnectSettings,
    max_retries=st.integers(0, 8),
    initial_delay=st.sampled_from([0.25, 1.0, 2.0]),
    multiplier=st.sampled_from([1.0, 1.5, 2.0, 10.0]),
    max_delay=st.sampled_from([2.0, 8.0, 30.0]),
    jitter=st.booleans(),
    stable_after=st.sampled_from([0.0, 1.0, 30.0]),
    probe=st.sampled_from([None, 0.5, 10.0]),
    dials_per_minute=st.integers(1, 20),
)
FAILURES = st.builds(
    LinkFailure,
    kind=st.sampled_from(
        ["refused", "closed", "rejected", "auth", "zombie", "draining", "certificate", "timeout"]
    ),
    code=st.sampled_from([None, 1000, 1006, 1008, 1013, 4000, 4101, 4200, 4300, 401, 403, 429, 503]),
    retryable=st.booleans(),
    retry_after=st.sampled_from([None, 0.0, 1.0, 1e9]),
)


@attrs.frozen
class AboutLink:
    """A fact about a generation: the live one, or one before it."""

    ready: bool
    failure: LinkFailure
    age: int


STEPS = st.one_of(
    st.sampled_from([Connect(), Disconnect(), Retry(), ConfigurationChanged(), SocketStarted()]),
    st.builds(AboutLink, ready=st.booleans(), failure=FAILURES, age=st.integers(0, 2)),
    st.builds(DialDue, turn=st.integers(0, 40)),
    st.builds(AnswerOverdue, generation=st.integers(0, 40)),
    st.sampled_from([0.0, 0.25, 1.0, 10.0, 35.0, 400.0]),
    st.just("crash"),
)
DRAWS = st.floats(0, 1, exclude_max=True)


@attrs.define
class World:
    settings: ReconnectSettings
    draw: float
    intent: LinkIntent = attrs.field(factory=LinkIntent)
    now: float = 0.0
    dials: list[tuple[float, Dial]] = attrs.field(factory=list[tuple[float, Dial]])
    attempts: list[float] = attrs.field(factory=list[float])
    timers: dict[str, tuple[float, Message]] = attrs.field(factory=dict[str, tuple[float, Message]])
    machine: ReconnectMachine = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.machine = ReconnectMachine(self.settings, self.intent)

    def step(self, step: Message | AboutLink | float | str) -> None:
        if isinstance(step, float):
            self._pass(step)
        elif isinstance(step, AboutLink):
            generation = self.intent.generation - step.age
            lost = LinkLost(generation=generation, failure=step.failure)
            self._tell(LinkReady(generation=generation, session="s", resumed=True) if step.ready else lost)
        elif isinstance(step, Message):
            self._tell(step)
        else:
            self.timers.clear()
            self.machine = ReconnectMachine(self.settings, self.intent)
            self._carry_out(self.machine.start(self.now))

    def _pass(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(500):
            due = [(when, key) for key, (when, _) in self.timers.items() if when <= end]
            if not due:
                break
            when, key = min(due)
            self.now = when
            self._tell(self.timers.pop(key)[1])
        self.now = end

    def _tell(self, fact: Message) -> None:
        self._carry_out(self.machine.handle(fact, self.now, self.draw))

    def _carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case TellSocket(Dial() as dial):
                    self.dials.append((self.now, dial))
                case Emit(ReconnectAttempt() as event):
                    self.attempts.append(event.delay)
                case StartTimer(key, delay, message):
                    self.timers[key] = (self.now + delay, message)
                case StopTimer(key):
                    self.timers.pop(key, None)
                case _:
                    pass


@given(SETTINGS, st.integers(1, 10_000), DRAWS)
def test_every_delay_of_the_back_off_is_within_its_bounds(
    settings: ReconnectSettings, attempt: int, draw: float
) -> None:
    # A2.1
    delay = backoff_delay(settings, attempt, draw)
    full = backoff_delay(attrs.evolve(settings, jitter=False), attempt, draw)

    assert 0 <= delay <= settings.max_delay
    if settings.jitter and attempt > 1:
        assert delay <= full


@given(SETTINGS, DRAWS, st.lists(STEPS, max_size=60))
def test_a_dial_is_made_only_when_none_is_in_flight(
    settings: ReconnectSettings, draw: float, steps: list[Message | AboutLink | float | str]
) -> None:
    world = World(settings, draw)
    for step in steps:
        before = world.machine.dialing
        dials = len(world.dials)
        world.step(step)
        made = [dial.generation for _, dial in world.dials[dials:]]
        if before and isinstance(step, Retry | ConfigurationChanged | Connect | DialDue):
            assert made == []
        if before and isinstance(step, SocketStarted):
            # Said again, not made anew.
            assert made == [world.intent.generation]


@given(SETTINGS, DRAWS, st.lists(STEPS, max_size=60))
def test_generations_only_grow_over_dials_and_crashes(
    settings: ReconnectSettings, draw: float, steps: list[Message | AboutLink | float | str]
) -> None:
    world = World(settings, draw)
    for step in steps:
        world.step(step)
    made = [dial.generation for _, dial in world.dials]

    assert made == sorted(made)
    assert (made[-1] if made else 0) == world.intent.generation


@given(SETTINGS, DRAWS, st.lists(STEPS.filter(lambda step: step != "crash"), max_size=120))
def test_no_sequence_of_facts_makes_a_hot_loop(
    settings: ReconnectSettings, draw: float, steps: list[Message | AboutLink | float | str]
) -> None:
    # connects per minute are bounded; a crash starts anew, and the supervisor bounds those
    world = World(settings, draw)
    for step in steps:
        world.step(step)
    # A dial that is said again after a start of the socket is the same dial.
    made = {dial.generation: when for when, dial in reversed(world.dials)}

    for start in made.values():
        assert sum(start <= when < start + 60.0 for when in made.values()) <= settings.dials_per_minute


@given(SETTINGS, DRAWS, st.lists(STEPS, max_size=60))
def test_a_stale_fact_changes_nothing(
    settings: ReconnectSettings, draw: float, steps: list[Message | AboutLink | float | str]
) -> None:
    world = World(settings, draw)
    for step in steps:
        world.step(step)
    before, dials = world.machine.link_state(), len(world.dials)
    old = world.intent.generation - 1
    world.step(LinkReady(generation=old, session="s", resumed=True))
    world.step(LinkLost(generation=old, failure=LinkFailure(kind="closed", code=4300)))

    assert world.machine.link_state() == before
    assert len(world.dials) == dials


@given(SETTINGS, DRAWS, st.lists(STEPS, max_size=60))
def test_a_wanted_link_is_never_forgotten(
    settings: ReconnectSettings, draw: float, steps: list[Message | AboutLink | float | str]
) -> None:
    # Wanted means: connected, dialled now or soon, failed for a reason, or stopped by `probe=None`.
    world = World(settings, draw)
    for step in steps:
        world.step(step)
    machine = world.machine

    if world.intent.wanted:
        strictly_stopped = settings.probe is None and machine.status == "suspended"
        assert (
            machine.dialing
            or machine.status in {"connected", "failed"}
            or "dial" in world.timers
            or strictly_stopped
        )
    else:
        assert machine.status == "disconnected"
        assert "dial" not in world.timers
