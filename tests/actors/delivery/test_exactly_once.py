"""Whatever happens, in whatever order: each side's effects are exactly what the other side sent.

The ledger and a real store run against a small hub that is written here and
shares nothing with the product.  A schedule of sends, cuts, lost frames, lost
sessions and crashes (before a commit, and between a commit and what follows it)
is drawn; afterwards the network is kind for a while and the books must agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import apsw
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.actors.delivery.inbox import AckDue
from holdfast.actors.delivery.journal import Journal
from holdfast.actors.delivery.ledger import Ledger
from holdfast.actors.delivery.machine import LinkPhase, Machine
from holdfast.actors.delivery.messages import Append, ContinuityLost, LinkUp, Resume
from holdfast.actors.delivery.settings import DeliverySettings
from holdfast.actors.socket.messages import Frame, HangUp
from holdfast.runtime import Event, Secret

WINDOW_FRAMES = 6
WINDOW_BYTES = 1_500
SETTINGS = DeliverySettings(
    outbox_messages=12, inbox_messages=5, batch_frames=4, ack_every=3, frame_max=1_000, message_age=1e9
)


class Died(Exception):
    """The client process was killed here."""


class Hub:
    """The peer: sessions and effects are durable, connections are not."""

    def __init__(self) -> None:
        self.session: str | None = None
        self.key = ""
        self.sessions_made = 0
        self.received = 0
        self.sent = 0
        self.unacked: list[tuple[int, str]] = []
        self.backlog: deque[str] = deque()
        self.effects: list[str] = []
        self.said: list[str] = []
        self.delivered_ids: set[str] = set()
        self.sloppy = False
        """Repeats also what the client says that it has: an acknowledgement was lost inside the hub."""

    def welcome(self, resume: Resume) -> tuple[bool, list[Frame]]:
        """Accept a connection; return whether the session goes on and what is repeated."""
        key = None if resume.key is None else resume.key.reveal()
        if self.session is not None and resume.session == self.session and key == self.key:
            resumed = True
        else:
            self.sessions_made += 1
            self.session = f"s{self.sessions_made}"
            self.received = self.sent = 0
            # What was never acknowledged is said again under new numbers, with the same ids.
            self.backlog.extendleft(reversed([name for _seq, name in self.unacked]))
            self.unacked = []
            resumed = False
        self.key += "'"
        repeated = self.unacked
        if resumed and not self.sloppy:
            self.drop_through(resume.recv_seq)
            repeated = self.unacked
        return resumed, [self.frame(seq, name) for seq, name in repeated]

    def frame(self, seq: int, name: str) -> Frame:
        return Frame(
            type="msg.event", id=name, seq=seq, ack=self.received, ch="c", payload=msgspec.Raw(b'{"n":1}')
        )

    def drop_through(self, seq: int) -> None:
        self.unacked = [(number, name) for number, name in self.unacked if number > seq]

    def hear(self, frame: Frame) -> None:
        if frame.ack is not None:
            assert frame.ack <= self.sent, "acknowledged what was never sent"
            self.drop_through(frame.ack)
        if frame.seq is None or frame.seq <= self.received:
            return
        assert frame.seq == self.received + 1, "a gap on an intact connection"
        self.received = frame.seq
        assert frame.id is not None
        if frame.id not in self.delivered_ids:
            self.delivered_ids.add(frame.id)
            self.effects.append(frame.id)

    def speak(self) -> list[Frame]:
        """Say what the window allows."""
        frames: list[Frame] = []
        while self.backlog and len(self.unacked) < WINDOW_FRAMES:
            self.sent += 1
            self.unacked.append((self.sent, self.backlog.popleft()))
            frames.append(self.frame(*self.unacked[-1]))
        return frames


class World:
    """A client over a store, a hub, and the connection between them."""

    def __init__(self) -> None:
        self.store = apsw.Connection(":memory:")
        self.store.set_commit_hook(self.commit)
        self.die_at: str | None = None
        self.hub = Hub()
        self.up: deque[Frame] = deque()
        self.down: deque[Frame] = deque()
        self.connected = False
        self.generation = 0
        self.replay_through: int | None = None
        self.accepted: list[str] = []
        self.taken: list[str] = []
        self.after = 0
        self.count = 0
        self.events: list[Event] = []
        self.client = self.start(restarted=False)

    def commit(self) -> bool:
        # True turns the commit into a rollback: the process died just before it.
        return self.die_at == "before"

    def start(self, *, restarted: bool) -> Ledger:
        journal = Journal(self.store, acked_ids=SETTINGS.acked_ids, received_ids=SETTINGS.received_ids)
        machine = Machine(SETTINGS, journal.recover(lambda: "client"), restarted=restarted)
        machine.past_read()
        return Ledger(SETTINGS, machine, journal, emit=self.events.append, wall_now=lambda: 0.0)

    # -- what the world does to them

    def cut(self) -> None:
        self.up.clear()
        self.down.clear()
        self.replay_through = None
        if self.connected:
            self.connected = False
            self.client.machine.link_down(self.generation)

    def crash(self) -> None:
        self.die_at = None
        self.cut()
        self.client = self.start(restarted=True)

    def lose_session(self) -> None:
        self.cut()
        self.hub.session = None

    def connect(self) -> None:
        self.cut()
        self.generation += 1
        resumed, replay = self.hub.welcome(self.client.machine.resume())
        assert self.hub.session is not None
        fact = LinkUp(
            generation=self.generation,
            session=self.hub.session,
            key=Secret(self.hub.key),
            epoch="e",
            resumed=resumed,
            why=None,
            recv_seq=self.hub.received,
            session_ttl=60.0,
            window_frames=WINDOW_FRAMES,
            window_bytes=WINDOW_BYTES,
            max_frame=1_000,
        )
        self.connected = True
        self.mind(self.client.open_link(fact))
        self.survive()
        self.down.extend(replay)
        if resumed:
            self.replay_through = self.hub.sent

    def mind(self, end: HangUp | None) -> None:
        if end is not None:
            assert not end.destroy_session, f"an honest hub was taken for a liar: {end.reason}"
            self.cut()

    def survive(self) -> None:
        """Stand between a commit and what follows it."""
        if self.die_at == "after":
            raise Died

    # -- what they do

    def send(self) -> None:
        self.append(f"m{self.count}")
        self.count += 1

    def send_again(self) -> None:
        """The facade asks again after a crash, with the id that it had chosen."""
        if self.count:
            self.append(f"m{self.count - 1}")

    def append(self, name: str) -> None:
        message = Append(name, "msg.publish", "c", msgspec.Raw(b'{"n":1}'))
        accepted = self.client.accept(message, in_turn=True)
        if accepted is not None:
            if name not in self.accepted:
                self.accepted.append(name)  # committed, whether or not the asker lives to hear of it
            self.survive()

    def hub_says(self) -> None:
        name = f"h{len(self.hub.said)}"
        self.hub.said.append(name)
        self.hub.backlog.append(name)

    def pump(self) -> None:
        batch = self.client.machine.next_batch()
        if batch:
            frames = self.client.frames(batch)
            self.survive()
            self.up.extend(frames)
            self.client.machine.transmitted(batch)

    def reach_hub(self) -> None:
        if self.up:
            self.hub.hear(self.up.popleft())
            if self.hub.received % 2 == 0:
                self.down.append(Frame(type="ack", ack=self.hub.received))

    def hub_speaks(self) -> None:
        if self.connected:
            self.down.extend(self.hub.speak())

    def reach_client(self) -> None:
        if not self.connected:
            return
        frames = tuple(self.down.popleft() for _ in range(min(2, len(self.down))))
        if frames and self.client.machine.current(self.generation):
            _intake, end = self.client.take_in(frames)
            self.survive()
            self.mind(end)
        if self.replay_through is not None and not self.hub_owes_replay():
            self.mind(self.client.machine.replay_ended(self.generation, self.replay_through))
            self.replay_through = None
        self.acknowledge()

    def hub_owes_replay(self) -> bool:
        assert self.replay_through is not None
        return any(frame.seq is not None and frame.seq <= self.replay_through for frame in self.down)

    def acknowledge(self) -> None:
        if self.connected and self.client.machine.inbox.ack_due() is AckDue.NOW:
            self.up.append(self.client.machine.ack_frame())
            self.client.machine.inbox.acknowledged()

    def delay_passes(self) -> None:
        if self.connected and self.client.machine.inbox.ack_delay_passed():
            self.up.append(self.client.machine.ack_frame())
            self.client.machine.inbox.acknowledged()
        if self.connected and self.hub.received:
            self.down.append(Frame(type="ack", ack=self.hub.received))

    def take(self) -> None:
        """The application commits what it has processed, and processes what comes next."""
        self.client.processed(self.after)
        self.survive()
        if not self.client.machine.inbox.stuck:
            self.client.take_in(())
            self.survive()
        batch = self.client.batch(self.after, 2)
        assert batch == self.client.batch(self.after, 2), "asked again, the same messages"
        for message in batch.messages:
            self.taken.append(message.id)
            self.after = message.position

    def burst(self) -> None:
        for _ in range(4):
            self.send()
            self.hub_says()

    def flow(self) -> None:
        for step in (World.pump, World.hub_speaks, World.reach_hub, World.reach_client, World.reach_client):
            step(self)

    def check_bounds(self) -> None:
        machine = self.client.machine
        assert machine.outbox.in_flight_frames <= WINDOW_FRAMES
        assert machine.outbox.in_flight_bytes <= WINDOW_BYTES
        assert len(machine.outbox) <= SETTINGS.outbox_messages
        assert machine.inbox.depth <= SETTINGS.inbox_messages
        assert len(machine.inbox.parked) <= WINDOW_FRAMES

    def attempt(self, step: Callable[[World], None]) -> None:
        try:
            step(self)
        except (Died, apsw.ConstraintError):
            # As a supervisor would: a new incarnation on the same store.
            self.crash()
        self.check_bounds()

    def settle(self) -> None:
        """Let everything arrive."""
        self.die_at = None
        for _ in range(400):
            if self.quiet():
                return
            if not self.connected or self.client.machine.phase is LinkPhase.ABANDONED:
                self.connect()
            for step in QUIET_STEPS:
                self.attempt(step)

    def quiet(self) -> bool:
        sent = not self.client.machine.outbox and len(self.hub.effects) >= len(self.accepted)
        return sent and self.connected and len(self.taken) >= len(self.hub.said) and not self.hub.unacked


QUIET_STEPS = (
    World.pump,
    World.reach_hub,
    World.hub_speaks,
    World.reach_client,
    World.delay_passes,
    World.take,
)
STEPS: dict[str, Callable[[World], None]] = {
    "send": World.send,
    "send again": World.send_again,
    "hub says": World.hub_says,
    "hub speaks": World.hub_speaks,
    "pump": World.pump,
    "reach hub": World.reach_hub,
    "reach client": World.reach_client,
    "delay passes": World.delay_passes,
    "take": World.take,
    "connect": World.connect,
    "cut": World.cut,
    "lose session": World.lose_session,
    "crash": World.crash,
    "burst": World.burst,
    "flow": World.flow,
}
ORDINARY = [name for name in STEPS if name not in {"cut", "lose session", "crash"}]
steps = st.tuples(
    st.sampled_from([*ORDINARY, *ORDINARY, *STEPS, "flow", "flow", "burst"]),
    st.sampled_from([None] * 15 + ["before", "after"]),
)


# A2.5 A3.4 D4.3
@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(steps, min_size=40, max_size=120), st.booleans())
def test_each_side_has_exactly_what_the_other_sent_in_order(
    schedule: list[tuple[str, str | None]], sloppy: bool
) -> None:
    world = World()
    world.hub.sloppy = sloppy

    for name, death in schedule:
        world.die_at = death
        world.attempt(STEPS[name])
    world.settle()

    assert world.hub.effects == world.accepted
    assert world.taken == world.hub.said
    assert len(world.client.machine.outbox) == 0
    assert world.client.machine.inbox.depth <= 2, "what was taken last is committed by the next take"


# D4.3
@given(st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_lost_session_is_told_once_there_was_traffic_in_either_direction(sends: int, said: int) -> None:
    world = World()
    world.connect()
    for _ in range(said):
        world.hub_says()
    for _ in range(sends):
        world.send()
    world.settle()

    world.lose_session()
    world.settle()

    # What was sent may have been answered, and the answers are lost although none was ever received.
    told = [ContinuityLost(("c",) if said else ())]
    assert world.events == (told if said or sends else [])
    assert world.hub.effects == world.accepted
