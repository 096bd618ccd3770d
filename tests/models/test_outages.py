"""The pure model of outages (SEMANTICS "Time"): real machines, real settings, a modelled network.

There are no actors and no sockets here.  The machines of reconnect and socket are
driven with their default settings through outages, and every answer is written
down with its level (A8): 0 nobody notices, 1 the link retries by itself.  Higher
levels start with a crash, and a crash would be charged; so the model also checks
that the only thing either machine ever orders is network traffic, timers and news.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Literal

import attrs
import msgspec
import pytest

from holdfast.actors.delivery.messages import Resume
from holdfast.actors.reconnect import decisions as link
from holdfast.actors.reconnect.machine import ReconnectMachine
from holdfast.actors.reconnect.messages import (
    Connect,
    LinkFailure,
    LinkIntent,
    ReconnectAttempt,
    ReconnectExhausted,
    ReconnectProbe,
    Retry,
    StateChanged,
)
from holdfast.actors.reconnect.settings import ReconnectSettings
from holdfast.actors.socket import decisions as wire
from holdfast.actors.socket.machine import SocketMachine
from holdfast.actors.socket.messages import Frame, HeartbeatMissed
from holdfast.actors.socket.settings import SocketSettings
from holdfast.runtime import Event, Message, Secret

RESUME = Resume(client_id="c", session="s", key=Secret("k"), epoch="e", recv_seq=0, sent_lo=1, sent_hi=0)
SETTLED = 100.0  # seconds before the outage: longer than the stable period
ROUND_TRIP = 0.1

Kind = Literal["black hole", "refused"]
"""What a dial meets while the network is away: nothing at all, or a refusal."""


@attrs.define
class World:
    kind: Kind
    seconds: float
    seed: int
    settings: ReconnectSettings = attrs.field(factory=ReconnectSettings)
    now: float = 0.0
    log: list[tuple[float, str]] = attrs.field(factory=list[tuple[float, str]])
    dials: list[float] = attrs.field(factory=list[float])
    fresh_sessions: int = 0
    heard_at: float = 0.0
    reconnect: ReconnectMachine = attrs.field(init=False)
    socket: SocketMachine = attrs.field(init=False)
    _random: random.Random = attrs.field(init=False)
    _heap: list[tuple[float, int, Callable[[], None]]] = attrs.field(
        factory=list[tuple[float, int, Callable[[], None]]], init=False
    )
    _count: Iterator[int] = attrs.field(factory=itertools.count, init=False)
    _timers: dict[str, int] = attrs.field(factory=dict[str, int], init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.reconnect = ReconnectMachine(self.settings, LinkIntent())
        self.socket = SocketMachine(SocketSettings("wss://hub.example"))

    # The network.

    @property
    def start(self) -> float:
        """When the network goes away: anywhere between two heartbeats."""
        return SETTLED + 10.0 * random.Random(self.seed).random()

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def away(self, when: float) -> bool:
        return self.start <= when < self.end

    def _arrives(self, when: float) -> float:
        """TCP keeps what it could not send, and sends it when the network is back."""
        return self.end + ROUND_TRIP if self.away(when) else when

    # Running.

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, happen = heapq.heappop(self._heap)
            happen()
        self.now = until

    def tell_reconnect(self, fact: Message) -> None:
        for decision in self.reconnect.handle(fact, self.now, self._random.random()):
            match decision:
                case link.TellSocket(message):
                    self._tell_socket(message)
                case link.StartTimer(key, delay, message):
                    self._timer(f"link {key}", delay, partial(self.tell_reconnect, message))
                case link.StopTimer(key):
                    self._timers.pop(f"link {key}", None)
                case link.Emit(event):
                    self._note(event)
                case link.Announce():
                    pass

    def _tell_socket(self, fact: Message) -> None:
        at = wire.Moment(now=self.now, wall=self.now, draw=self._random.random(), heard_at=self.heard_at)
        for decision in self.socket.handle(fact, at):
            match decision:
                case wire.OpenConnection():
                    self._dial(decision.generation)
                case wire.Write(frames):
                    self._answer(self.socket.generation, frames)
                case wire.StartTimer(timer, delay, generation):
                    due = wire.Due(generation=generation, timer=timer)
                    self._timer(timer, delay, partial(self._tell_socket, due))
                case wire.StopTimers(timers):
                    for timer in timers:
                        self._timers.pop(timer, None)
                case wire.TellReconnect(message):
                    self._later(0.0, partial(self.tell_reconnect, message))
                case wire.Emit(event):
                    self._note(event)
                case wire.AbortConnection() | wire.TellDelivery():
                    pass
                case wire.CloseConnection() | wire.AskFreshToken():
                    pytest.fail(f"an outage is no reason for {decision}")

    def _dial(self, generation: int) -> None:
        self.dials.append(self.now)
        if not self.away(self.now):
            opened = wire.Upgraded(generation=generation, token_generation=1, resume=RESUME)
            self._arrive(ROUND_TRIP, opened)
            self._arrive(ROUND_TRIP, frames(generation, "hello", {"v": 1, "hb_ms": 10_000}))
        elif self.kind == "refused":
            self._later(0.0, lambda: self._tell_socket(wire.Ended(generation, LinkFailure(kind="refused"))))

    def _answer(self, generation: int, written: tuple[Frame, ...]) -> None:
        for frame in written:
            if frame.type == "connect":
                body = {"session": "s", "key": "k", "epoch": "e", "resumed": True}
                self._arrive(ROUND_TRIP, frames(generation, "welcome", body))
                self._arrive(ROUND_TRIP, frames(generation, "replay.end", {"through": 0}))
                self.fresh_sessions += b'"resume":null' in bytes(frame.payload)
            elif frame.type == "ping":
                self._arrive(ROUND_TRIP, frames(generation, "pong", msgspec.json.decode(frame.payload)))

    def _arrive(self, delay: float, fact: Message) -> None:
        when = self._arrives(self.now + delay)

        def happen() -> None:
            self.heard_at = self.now
            self._tell_socket(fact)

        self._later(when - self.now, happen)

    def _timer(self, key: str, delay: float, happen: Callable[[], None]) -> None:
        token = self._timers[key] = next(self._count)

        def fire() -> None:
            if self._timers.get(key) == token:
                del self._timers[key]
                happen()

        self._later(delay, fire)

    def _later(self, delay: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + delay, next(self._count), happen))

    def _note(self, event: Event) -> None:
        match event:
            case StateChanged(current=current):
                self.log.append((self.now, current))
            case ReconnectAttempt():
                self.log.append((self.now, "level 1: retry"))
            case ReconnectProbe():
                self.log.append((self.now, "level 1: probe"))
            case ReconnectExhausted():
                self.log.append((self.now, "exhausted"))
            case HeartbeatMissed():
                self.log.append((self.now, "zombie found"))
            case _:
                pass

    # What came of it.

    def during(self) -> list[tuple[float, str]]:
        """The log from the beginning of the outage, in seconds since then."""
        return [(round(when - self.start, 3), what) for when, what in self.log if when >= self.start]

    def first(self, what: str) -> float | None:
        return next((when for when, each in self.during() if each == what), None)

    @property
    def recovered_after(self) -> float:
        """Seconds from the network's return to a ready link; 0 when it was never lost."""
        back = [when for when, what in self.log if what == "connected" and when >= self.start]
        if not back:
            assert self.reconnect.status == "connected"
            return 0.0
        return max(0.0, back[-1] - self.end)


def frames(generation: int, kind: str, body: object) -> wire.Arrived:
    payload = msgspec.Raw(msgspec.json.encode(body))
    return wire.Arrived(generation=generation, frames=(Frame(type=kind, payload=payload),))


def outage(seconds: float, kind: Kind, seed: int, settings: ReconnectSettings | None = None) -> World:
    """Connect, settle, go through the outage, and give the link a minute after it."""
    world = World(kind, seconds, seed, settings or ReconnectSettings())
    world.tell_reconnect(Connect())
    world.run(world.end + 60.0)
    return world


@cache
def lived(seconds: float, kind: Kind, seed: int) -> World:
    """The same outage is looked at by several tests, and changed by none."""
    return outage(seconds, kind, seed)


KINDS: tuple[Kind, ...] = ("black hole", "refused")
# Two hours of probes take 20 ms; eight seeds spread the outage over the heartbeat and the jitter.
SEEDS = range(8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [1.0, 40.0, 600.0, 7200.0])
def test_the_link_is_back_within_thirty_seconds_of_the_network_whatever_the_outage(
    seconds: float, kind: Kind
) -> None:
    # A2.7
    for seed in SEEDS:
        world = lived(seconds, kind, seed)

        assert world.reconnect.status == "connected"
        assert world.recovered_after < 30.0, (seed, world.during())


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_notices_an_outage_of_a_second(kind: Kind) -> None:
    # level 0: TCP repeats what it could not send
    for seed in SEEDS:
        world = lived(1.0, kind, seed)

        assert world.during() == []
        assert len(world.dials) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [40.0, 600.0, 7200.0])
def test_a_longer_outage_is_found_by_the_heartbeat_within_fifteen_seconds(seconds: float, kind: Kind) -> None:
    # A3.2: silent for heartbeat + 5 s; the last byte came up to a heartbeat before the outage
    for seed in SEEDS:
        found = lived(seconds, kind, seed).first("zombie found")

        assert found is not None
        assert 4.0 < found <= 15.0


def test_an_outage_of_forty_seconds_is_answered_by_the_back_off_alone_where_dials_hang() -> None:
    # level 1; without jitter, the time-line is exact
    world = outage(40.0, "black hole", 3, ReconnectSettings(jitter=False))
    found = world.first("zombie found")
    assert found is not None

    # dial 5 s, 0 / 1 / 2 / 4 s between, and the retry after 8 s meets the network
    relative = [(round(when - found, 1), what) for when, what in world.during()]
    assert relative == [
        (0.0, "zombie found"),
        (0.0, "reconnecting"),
        (0.0, "level 1: retry"),
        (5.0, "level 1: retry"),
        (11.0, "level 1: retry"),
        (18.0, "level 1: retry"),
        (27.0, "level 1: retry"),
        (35.2, "connected"),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [600.0, 7200.0])
def test_a_long_outage_spends_the_back_off_once_and_is_then_probed_until_it_is_over(
    seconds: float, kind: Kind
) -> None:
    # A2.2, SEMANTICS "Time": suspended is reached, and left
    for seed in SEEDS:
        world = lived(seconds, kind, seed)
        told = [what for _, what in world.during()]
        spent = world.first("suspended")

        assert spent is not None
        assert spent < 15.0 + 6 * 5.0 + 16.0
        assert told.count("exhausted") == 1
        assert told.count("level 1: retry") == 5
        assert [what for what in told if not what.startswith("level")] == [
            "zombie found",
            "reconnecting",
            "exhausted",
            "suspended",
            "connected",
        ]
        # One probe every 10 s, a quarter more or less, and 5 s for each that hangs.
        probes = told.count("level 1: probe")
        assert (seconds - spent) / 17.5 - 1 <= probes <= (seconds - spent) / 7.5 + 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [1.0, 40.0, 600.0, 7200.0])
def test_no_outage_is_charged_to_anybody(seconds: float, kind: Kind) -> None:
    # SEMANTICS "Supervision" 4: a fault of the remote is never a crash, so no level above 1 answers.
    # Both machines would raise here, or order something that is no traffic (`World` fails on it).
    for seed in SEEDS:
        world = lived(seconds, kind, seed)
        levels = {what.split(":")[0] for _, what in world.during() if what.startswith("level")}

        assert levels <= {"level 1"}
        assert "failed" not in [what for _, what in world.during()]
        assert world.fresh_sessions == 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_minute_of_an_outage_sees_more_dials_than_the_limit(kind: Kind) -> None:
    # REALTIME 1.2, pains 7 and 10: no hot loop
    for seed in SEEDS:
        dials = lived(600.0, kind, seed).dials

        for start in dials:
            assert sum(start <= when < start + 60.0 for when in dials) <= 12


def test_without_a_probe_a_long_outage_ends_in_a_strict_stop_that_only_a_retry_leaves() -> None:
    # A2.2, `probe=None`
    world = outage(600.0, "refused", 1, ReconnectSettings(probe=None))
    assert world.reconnect.status == "suspended"

    world.tell_reconnect(Retry())
    world.run(world.now + 5.0)
    assert world.log[-1][1] == "connected"


def test_a_link_that_has_come_back_takes_the_next_outage_with_a_new_back_off() -> None:
    # A2.3
    world = outage(600.0, "refused", 2)
    first = world.during()
    assert first[-1][1] == "connected"
    # The same network goes away again after the stable period.
    world.seconds += 660.0
    world.run(world.end + 60.0)
    told = [what for _, what in world.during()][len(first) :]

    assert told.count("level 1: retry") == 5
    assert told[-1] == "connected"
