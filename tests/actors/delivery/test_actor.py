"""The shell under virtual time: a probe stands where the socket would be."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import apsw
import attrs
import msgspec
import pytest

from holdfast.actors.delivery.actor import DeliveryActor
from holdfast.actors.delivery.messages import (
    Accepted,
    Append,
    AppendVolatile,
    Batch,
    ContinuityLost,
    DeliveryState,
    DropSession,
    GetDeliveryState,
    GetPreservedState,
    GetResume,
    LinkDown,
    LinkUp,
    MessageInvalid,
    MessageUndeliverable,
    OutboxFull,
    PositionUnknown,
    PreserveState,
    Received,
    ReplayEnded,
    StateRefused,
    StoreFailed,
    StoreUnavailable,
    Take,
)
from holdfast.actors.delivery.settings import DeliverySettings
from holdfast.actors.socket.messages import Frame, HangUp, Transmit
from holdfast.runtime import (
    Actor,
    ActorCrashed,
    AskTimeout,
    Event,
    MailboxSpec,
    Ref,
    Secret,
    StartFailed,
    System,
    on,
    open_system,
)
from holdfast.runtime.messages import InjectedFault
from holdfast.runtime.testing import Probe, both_backends, probe, settled
from holdfast.supervisors import start_tree, supervisor, worker

PAYLOAD = msgspec.Raw(b"{}")


@attrs.define
class Stage:
    """A delivery actor, its store, and the probe that plays the socket."""

    system: System
    store: apsw.Connection
    socket: Probe
    settings: DeliverySettings
    ref: Ref
    events: list[Event]

    async def start(self) -> None:
        def factory() -> DeliveryActor:
            return DeliveryActor(self.settings, store=self.store, socket=self.socket.ref)

        await start_tree(self.system, supervisor("session", worker("delivery", factory)))
        self.ref = self.system.ref("session/delivery")

    async def crash(self) -> None:
        """Crash it; its supervisor starts the next incarnation."""
        self.ref.tell(InjectedFault(RuntimeError("a bug of ours")))
        await settled()

    def welcome(
        self,
        *,
        generation: int = 1,
        resumed: bool = False,
        session: str = "s",
        recv_seq: int = 0,
        frames: int = 256,
    ) -> LinkUp:
        return LinkUp(
            generation=generation,
            session=session,
            key=Secret(f"key{generation}"),
            epoch="e",
            resumed=resumed,
            why=None,
            recv_seq=recv_seq,
            session_ttl=60.0,
            window_frames=frames,
            window_bytes=1_000_000,
            max_frame=100_000,
        )

    async def join(
        self,
        *,
        generation: int = 1,
        resumed: bool = False,
        session: str = "s",
        recv_seq: int = 0,
        frames: int = 256,
    ) -> None:
        self.ref.tell(
            self.welcome(
                generation=generation, resumed=resumed, session=session, recv_seq=recv_seq, frames=frames
            )
        )
        await settled()

    async def receive(self, *frames: Frame, generation: int = 1) -> None:
        self.ref.tell(Received(generation, frames))
        await settled()

    async def append(self, *names: str) -> list[Accepted]:
        return [await self.ref.ask(append(name)) for name in names]

    async def sent(self) -> list[Frame]:
        await settled()
        return [frame for transmit in self.socket.take(Transmit) for frame in transmit.frames]

    async def state(self) -> DeliveryState:
        return await self.ref.ask(GetDeliveryState())


def append(name: str, payload: bytes = b"{}") -> Append:
    return Append(name, "msg.publish", "c", msgspec.Raw(payload))


def event(seq: int, name: str | None = None, ack: int | None = None) -> Frame:
    return Frame(type="msg.event", id=name or f"h{seq}", seq=seq, ack=ack, ch="c", payload=PAYLOAD)


@asynccontextmanager
async def stage(settings: DeliverySettings | None = None) -> AsyncGenerator[Stage]:
    async with open_system() as system:
        events: list[Event] = []
        system.events.call(events.append)
        socket = await probe(system, "socket", Transmit, HangUp)
        made = Stage(
            system, apsw.Connection(":memory:"), socket, settings or DeliverySettings(), socket.ref, events
        )
        await made.start()
        yield made


# A3.4
@both_backends
async def test_what_was_accepted_without_a_link_leaves_with_the_next_one_in_order() -> None:
    async with stage() as made:
        assert [a.position for a in await made.append("a", "b")] == [1, 2]
        assert await made.sent() == []

        await made.join()

        assert [(f.id, f.seq, f.type, f.ch) for f in await made.sent()] == [
            ("a", 1, "msg.publish", "c"),
            ("b", 2, "msg.publish", "c"),
        ]


# A3.4
@both_backends
async def test_an_id_is_accepted_once_also_after_it_was_acknowledged() -> None:
    async with stage() as made:
        await made.join()
        first = await made.append("a", "b")
        await made.receive(Frame(type="ack", ack=1))

        assert await made.append("a", "b") == first

        assert [f.id for f in await made.sent()] == ["a", "b"]
        assert (await made.state()).outbox_depth == 1


@both_backends
async def test_appends_that_wait_in_the_mailbox_leave_in_one_batch() -> None:
    async with stage() as made:
        await made.join()
        delivery = made.system.inspect(made.ref)
        await delivery.suspend()

        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(made.ref.ask, append(f"m{n}"))
            await settled()
            await delivery.resume()
        await settled()

        assert [len(transmit.frames) for transmit in made.socket.take(Transmit)] == [20]


# D4.3
@both_backends
async def test_a_resumed_link_holds_new_sends_until_the_replay_has_ended() -> None:
    async with stage() as made:
        await made.join()
        await made.append("a", "b")
        assert len(await made.sent()) == 2
        made.ref.tell(LinkDown(1))

        await made.join(generation=2, resumed=True, recv_seq=1)
        await made.append("c")
        assert await made.sent() == []
        made.ref.tell(ReplayEnded(2, 0))

        assert [(f.id, f.seq) for f in await made.sent()] == [("b", 2), ("c", 3)]


# D4.3
@both_backends
async def test_a_lost_session_is_announced_and_everything_leaves_again_under_new_numbers() -> None:
    async with stage() as made:
        await made.join()
        await made.append("a", "b")
        await made.receive(event(1, ack=1))
        await made.sent()

        await made.join(generation=2, session="t")

        assert [(f.id, f.seq) for f in await made.sent()] == [("b", 1)]
        assert ContinuityLost(("c",)) in made.events


# D4.3
@both_backends
async def test_what_comes_in_is_acknowledged_after_the_commit_and_handed_on_once() -> None:
    async with stage() as made:
        await made.join()
        await made.receive(event(1), event(2), event(2))

        batch = await made.ref.ask(Take(after=0, limit=10, wait=0))
        assert [message.id for message in batch.messages] == ["h1", "h2"]
        assert await made.ref.ask(Take(after=0, limit=10, wait=0)) == batch, "asked again, the same"
        assert await made.ref.ask(Take(after=2, limit=10, wait=0)) == Batch(())

        await anyio.sleep(0.1)
        assert [(f.type, f.ack) for f in await made.sent()] == [("ack", 2)]


@both_backends
async def test_sixteen_frames_are_acknowledged_at_once() -> None:
    async with stage() as made:
        await made.join()
        await made.receive(*(event(seq) for seq in range(1, 17)))

        assert [f.ack for f in await made.sent()] == [16]


@both_backends
async def test_an_outgoing_message_carries_the_acknowledgement() -> None:
    async with stage() as made:
        await made.join()
        await made.receive(event(1))
        await made.append("a")

        await anyio.sleep(1)
        assert [(f.id, f.ack) for f in await made.sent()] == [("a", 1)]


@both_backends
async def test_no_acknowledgement_of_its_own_leaves_when_a_batch_is_about_to() -> None:
    async with stage() as made:
        await made.join(frames=1)
        await made.append("a", "b")
        assert [f.id for f in await made.sent()] == ["a"]

        await made.receive(*(event(seq, ack=1) for seq in range(1, 17)))

        assert [(f.id, f.ack) for f in await made.sent()] == [("b", 16)]


# D4.3
@both_backends
async def test_a_gap_hangs_up_with_4004_and_nothing_after_it_is_applied() -> None:
    async with stage() as made:
        await made.join()
        await made.receive(event(1), event(3))
        await made.receive(event(2))

        assert made.socket.take(HangUp) == [HangUp(4004, "seq gap", destroy_session=False)]
        state = await made.state()
        assert (state.gaps, state.last_received_seq) == (1, 1)


@both_backends
async def test_facts_of_an_older_connection_are_dropped_and_counted() -> None:
    async with stage() as made:
        await made.join(generation=2)
        await made.receive(event(1), generation=1)
        made.ref.tell(LinkDown(1))

        state = await made.state()
        assert (state.stale_facts, state.link, state.last_received_seq) == (2, "ready", 0)


# A2.5 A3.4
@both_backends
async def test_a_crash_loses_nothing_and_the_link_is_resumed_through_a_new_welcome() -> None:
    async with stage() as made:
        await made.join()
        await made.append("a")
        await made.receive(event(1))
        await made.ref.ask(PreserveState("activeInteractions", b"[1]"))
        await made.sent()

        await made.crash()

        assert made.socket.take(HangUp) == [HangUp(4000, "delivery restarted", destroy_session=False)]
        assert await made.ref.ask(GetPreservedState("activeInteractions")) == b"[1]"
        resume = await made.ref.ask(GetResume())
        assert (resume.session, resume.recv_seq, resume.sent_lo, resume.sent_hi) == ("s", 1, 1, 1)
        assert resume.key == Secret("key1")
        await made.join(generation=2, resumed=True)
        made.ref.tell(ReplayEnded(2, 1))
        assert [(f.id, f.seq, f.ack) for f in await made.sent()] == [("a", 1, 1)]
        assert [m.id for m in (await made.ref.ask(Take(0, 10, 0))).messages] == ["h1"]


@both_backends
async def test_mail_about_the_link_that_waited_during_the_restart_is_not_believed() -> None:
    async with stage() as made:
        await made.join()
        made.ref.tell(InjectedFault(RuntimeError("a bug of ours")))
        made.ref.tell(made.welcome(generation=2, resumed=True))
        made.ref.tell(Received(2, (event(1),)))
        made.ref.tell(append("kept"))
        await settled()

        state = await made.state()
        assert (state.last_received_seq, state.outbox_depth, state.link) == (0, 1, "down")


@both_backends
async def test_a_take_that_failed_in_a_crash_is_asked_again_and_loses_nothing() -> None:
    async with stage() as made:
        await made.join()
        failures: list[Exception] = []

        async def wait_for_messages() -> None:
            try:
                await made.ref.ask(Take(0, 10, 4))
            except ActorCrashed as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_messages)
            await settled()
            await made.crash()
        await made.join(generation=2, resumed=True)
        await made.receive(event(1), generation=2)

        assert len(failures) == 1
        assert [m.id for m in (await made.ref.ask(Take(0, 10, 4))).messages] == ["h1"]


@both_backends
async def test_a_take_waits_for_what_comes_and_no_longer_than_it_said() -> None:
    async with stage() as made:
        await made.join()
        before = made.system.now()
        assert await made.ref.ask(Take(0, 10, 2)) == Batch(())
        assert made.system.now() - before == pytest.approx(2)

        batches: list[Batch] = []

        async def wait_for_messages() -> None:
            batches.append(await made.ref.ask(Take(0, 10, 2)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_messages)
            await settled()
            await made.receive(event(1))
        assert [m.id for batch in batches for m in batch.messages] == ["h1"]
        assert made.system.now() - before < 3


@both_backends
async def test_a_position_that_was_never_handed_out_is_refused_and_commits_nothing() -> None:
    async with stage() as made:
        await made.join()
        await made.receive(event(1))

        with pytest.raises(PositionUnknown, match=r"take\(after=2\) is beyond the last message received, 1"):
            await made.ref.ask(Take(2, 10, 0))
        assert (await made.state()).inbox_depth == 1


# A3.4
@both_backends
async def test_a_slow_application_makes_the_hub_wait_and_loses_nothing() -> None:
    async with stage(DeliverySettings(inbox_messages=2)) as made:
        await made.join(frames=4)
        await made.receive(*(event(seq) for seq in range(1, 6)))
        state = await made.state()
        assert (state.inbox_depth, state.parked_frames, state.last_received_seq) == (2, 3, 2)

        taken: list[str] = []
        after = 0
        for _ in range(4):
            for message in (await made.ref.ask(Take(after, 1, 0))).messages:
                taken.append(message.id)
                after = message.position
        taken.extend(message.id for message in (await made.ref.ask(Take(after, 9, 0))).messages)

        assert taken == ["h1", "h2", "h3", "h4", "h5"]
        assert made.socket.take(HangUp) == []


# A3.4
@both_backends
async def test_a_full_outbox_makes_the_sender_wait_then_fails_with_the_numbers() -> None:
    async with stage(DeliverySettings(outbox_messages=2)) as made:
        await made.join()
        await made.append("a", "b")

        with pytest.raises(
            OutboxFull, match=r"holds 2 of 2 messages and .* no room came within 4 s"
        ) as caught:
            await made.append("c")
        assert (caught.value.messages, caught.value.messages_max) == (2, 2)
        assert await made.append("b"), "what was accepted before needs no room"


# A3.4
@both_backends
async def test_senders_that_wait_for_room_are_served_in_their_order() -> None:
    async with stage(DeliverySettings(outbox_messages=1)) as made:
        await made.join()
        await made.append("a")

        async with anyio.create_task_group() as tasks:
            for name in ("b", "c"):
                tasks.start_soon(made.append, name)
                await settled()
            await made.receive(Frame(type="ack", ack=1))
            await made.receive(Frame(type="ack", ack=2))

        assert [f.id for f in await made.sent()] == ["a", "b", "c"]


# A3.4
@both_backends
async def test_a_small_message_does_not_overtake_a_large_one_that_waits() -> None:
    async with stage(DeliverySettings(frame_max=1_000, outbox_bytes=1_500)) as made:
        await made.join()
        large = b'{"a":"' + b"x" * 600 + b'"}'
        await made.ref.ask(append("a", large))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.ref.ask, append("b", large))
            await settled()
            tasks.start_soon(made.ref.ask, append("c"))
            await settled()
            assert [f.id for f in await made.sent()] == ["a"]
            await made.receive(Frame(type="ack", ack=1))

        assert [f.id for f in await made.sent()] == ["b", "c"]


@both_backends
async def test_a_message_whose_sender_gave_up_waiting_is_not_accepted() -> None:
    async with stage(DeliverySettings(outbox_messages=1)) as made:
        await made.join()
        await made.append("a")
        with pytest.raises(AskTimeout):
            await made.ref.ask(append("b"), timeout=1)

        await made.receive(Frame(type="ack", ack=1))

        assert (await made.state()).outbox_depth == 0


@both_backends
async def test_only_so_many_may_wait_for_room() -> None:
    async with stage(DeliverySettings(outbox_messages=1, waiting_appends=1)) as made:
        await made.append("a")
        with anyio.move_on_after(1):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(made.append, "b")
                await settled()
                with pytest.raises(OutboxFull, match="within 0 s"):
                    await made.append("c")
                tasks.cancel_scope.cancel()


@both_backends
async def test_what_cannot_be_sent_is_refused_and_the_actor_goes_on() -> None:
    async with stage() as made:
        with pytest.raises(MessageInvalid, match="payload must be the bytes of one JSON object"):
            await made.ref.ask(append("a", b"[]"))

        assert await made.append("a")
        assert made.ref.slot.incarnation == 1


@both_backends
async def test_a_full_disk_refuses_the_append_with_its_cause_and_the_link_goes_on() -> None:
    async with stage() as made:
        await made.join()
        made.store.execute("pragma query_only = on")

        with pytest.raises(StoreUnavailable, match="could not accept a message"):
            await made.append("a")
        assert (await made.state()).link == "ready"
        assert made.ref.slot.incarnation == 1


# D4.3
@both_backends
async def test_what_the_disk_refuses_is_not_acknowledged_and_the_link_is_hung_up() -> None:
    async with stage() as made:
        await made.join()
        made.store.execute("pragma query_only = on")

        await made.receive(event(1))
        await anyio.sleep(1)

        assert made.socket.take(HangUp) == [HangUp(4000, "delivery store unavailable", destroy_session=False)]
        assert await made.sent() == []
        assert [type(e) for e in made.events if isinstance(e, StoreFailed)] == [StoreFailed]
        made.store.execute("pragma query_only = off")
        await made.join(generation=2, resumed=True)
        await made.receive(event(1), generation=2)
        assert (await made.state()).last_received_seq == 1


@both_backends
async def test_a_welcome_that_cannot_be_recorded_is_hung_up() -> None:
    async with stage() as made:
        made.store.execute("pragma query_only = on")

        await made.join()

        assert [order.reason for order in made.socket.take(HangUp)] == ["delivery store unavailable"]
        assert (await made.state()).link == "abandoned"


@both_backends
async def test_volatile_messages_are_sent_now_or_dropped_and_counted() -> None:
    async with stage() as made:
        made.ref.tell(AppendVolatile("typing", "c", PAYLOAD))
        assert (await made.state()).volatile_dropped == 1

        await made.join()
        made.ref.tell(AppendVolatile("typing", "c", PAYLOAD))
        assert [(f.type, f.seq) for f in await made.sent()] == [("typing", None)]


@both_backends
async def test_a_dropped_session_hangs_up_and_keeps_the_messages() -> None:
    async with stage() as made:
        await made.join()
        await made.append("a")
        await made.receive(event(1))
        await made.sent()

        await made.ref.ask(DropSession())
        await settled()

        assert [(o.code, o.destroy_session) for o in made.socket.take(HangUp)] == [(4100, True)]
        assert (await made.ref.ask(GetResume())).session is None
        assert ContinuityLost(("c",)) in made.events
        await made.join(generation=2, session="t")
        assert [(f.id, f.seq) for f in await made.sent()] == [("a", 1)]


# A3.4
@both_backends
async def test_a_message_too_old_to_send_is_reported_as_undeliverable() -> None:
    async with stage(DeliverySettings(message_age=1e-9, expiry_period=5)) as made:
        await made.append("a")
        await anyio.sleep(6)

        assert MessageUndeliverable("a", "not acknowledged within 1e-09 s") in made.events
        assert (await made.state()).outbox_depth == 0


# A2.5
@both_backends
async def test_state_beyond_the_bounds_is_refused_and_what_was_kept_stays() -> None:
    async with stage(DeliverySettings(state_names=1, state_bytes=4)) as made:
        await made.ref.ask(PreserveState("a", b"1234"))

        with pytest.raises(StateRefused, match="'a' cannot be preserved: 5 bytes, at most 4"):
            await made.ref.ask(PreserveState("a", b"12345"))
        with pytest.raises(StateRefused, match="'b' cannot be preserved: 2 names, at most 1"):
            await made.ref.ask(PreserveState("b", b""))
        assert await made.ref.ask(GetPreservedState("a")) == b"1234"


@both_backends
async def test_when_the_socket_ends_a_new_count_of_generations_is_accepted() -> None:
    async with stage() as made:
        await made.join(generation=7)
        await made.append("a")
        await made.sent()
        made.socket.ref.tell(InjectedFault(RuntimeError("a bug of the socket")))
        await settled()
        assert (await made.state()).link == "down"

        await made.join(generation=1, resumed=True)

        assert (await made.state()).link == "replaying"


class Deaf(Actor):
    """A socket that is busy, with room for two messages."""

    mailbox = MailboxSpec(capacity=2)

    def __init__(self, heard: list[str | None], busy: anyio.Event) -> None:
        self._heard = heard
        self._busy = busy

    @on(Transmit)
    async def transmit(self, message: Transmit) -> None:
        self._heard.extend(frame.id for frame in message.frames)
        await self._busy.wait()

    @on(HangUp)
    def hang_up(self, _order: HangUp) -> None:
        self._heard.append(None)


@both_backends
async def test_a_socket_without_room_is_told_again_in_order_and_delivery_does_not_wait() -> None:
    async with open_system() as system:
        heard: list[str | None] = []
        done = anyio.Event()
        socket = await system.start("socket", lambda: Deaf(heard, done))
        made = Stage(system, apsw.Connection(":memory:"), Probe(system), DeliverySettings(), socket, [])
        made.socket.ref = socket
        await made.start()
        await made.join()
        for n in range(6):
            await made.append(f"m{n}")
            await settled()
        await made.receive(event(2))

        done.set()
        await anyio.sleep(1)

        assert heard[:3] == ["m0", "m1", "m2"]
        assert heard[-1] is None, "the hang-up came through in the end"


@both_backends
async def test_a_store_that_cannot_be_used_is_a_failed_start_that_says_why() -> None:
    async with open_system() as system:
        socket = await probe(system, "socket", Transmit, HangUp)
        theirs = apsw.Connection(":memory:")
        theirs.execute("create table theirs (a)")

        with pytest.raises(StartFailed, match="another program's database"):
            await system.start(
                "delivery", lambda: DeliveryActor(DeliverySettings(), store=theirs, socket=socket.ref)
            )


@both_backends
async def test_a_hub_that_lies_about_the_session_is_hung_up_and_the_session_forgotten() -> None:
    async with stage() as made:
        await made.join()
        await made.append("a")
        await made.receive(event(1))
        await made.sent()
        made.ref.tell(LinkDown(1))

        await made.join(generation=2, resumed=True, recv_seq=9)

        assert [(o.code, o.destroy_session) for o in made.socket.take(HangUp)] == [(4101, True)]
        assert (await made.ref.ask(GetResume())).session is None
        assert ContinuityLost(("c",)) in made.events
        assert (await made.state()).outbox_depth == 1


@both_backends
async def test_a_lying_hub_is_hung_up_even_when_the_disk_is_full() -> None:
    async with stage() as made:
        await made.join()
        made.store.execute("pragma query_only = on")

        await made.receive(Frame(type="ack", ack=9))

        assert [o.destroy_session for o in made.socket.take(HangUp)] == [True]
        assert [e.operation for e in made.events if isinstance(e, StoreFailed)] == ["forget the session"]


@both_backends
async def test_a_replay_that_left_something_out_is_a_gap() -> None:
    async with stage() as made:
        await made.join()
        await made.join(generation=2, resumed=True)
        made.ref.tell(ReplayEnded(2, 1))
        await settled()

        assert [o.code for o in made.socket.take(HangUp)] == [4004]


@both_backends
async def test_more_takes_than_may_wait_are_answered_at_once_oldest_first() -> None:
    async with stage(DeliverySettings(waiting_takes=1)) as made:
        order: list[int] = []

        async def wait_for_messages(number: int, wait: float) -> None:
            await made.ref.ask(Take(0, 1, wait))
            order.append(number)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_messages, 1, 4)
            await settled()
            tasks.start_soon(wait_for_messages, 2, 3)
            await settled()
            assert order == [1]

        assert order == [1, 2]


@both_backends
async def test_a_take_waits_its_own_time_beside_a_shorter_one() -> None:
    async with stage() as made:
        ended: list[float] = []

        async def wait_for_messages(wait: float) -> None:
            await made.ref.ask(Take(0, 1, wait))
            ended.append(made.system.now())

        begin = made.system.now()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_messages, 3)
            tasks.start_soon(wait_for_messages, 1)

        assert [round(at - begin, 3) for at in ended] == [1, 3]


@both_backends
async def test_an_expiry_that_cannot_be_committed_is_reported_and_tried_again() -> None:
    async with stage(DeliverySettings(message_age=1e-9, expiry_period=5)) as made:
        await made.append("a")
        made.store.execute("pragma query_only = on")
        await anyio.sleep(6)
        assert (await made.state()).outbox_depth == 1
        assert [e.operation for e in made.events if isinstance(e, StoreFailed)] == ["remove messages"]

        made.store.execute("pragma query_only = off")
        await anyio.sleep(5)
        assert (await made.state()).outbox_depth == 0


@both_backends
async def test_a_message_whose_number_cannot_be_committed_does_not_leave() -> None:
    async with stage() as made:
        await made.join()
        await made.join(generation=2, resumed=True)
        await made.append("a")
        made.store.execute("pragma query_only = on")

        made.ref.tell(ReplayEnded(2, 0))

        await settled()
        assert [o.reason for o in made.socket.take(HangUp)] == ["delivery store unavailable"]
        assert await made.sent() == []
        made.store.execute("pragma query_only = off")
        await made.join(generation=3, resumed=True)
        made.ref.tell(ReplayEnded(3, 0))
        assert [(f.id, f.seq) for f in await made.sent()] == [("a", 1)]
