from __future__ import annotations

import random

from holdfast.actors.reconnect.actor import ReconnectActor
from holdfast.actors.reconnect.messages import (
    ConfigurationChanged,
    Connect,
    Disconnect,
    GetLinkState,
    LinkFailure,
    LinkIntent,
    LinkLost,
    LinkReady,
    LinkStateChanged,
    ListenerBehind,
    ReconnectAttempt,
    ReconnectExhausted,
    Retry,
    SocketStarted,
    StateChanged,
)
from holdfast.actors.reconnect.settings import ReconnectSettings
from holdfast.actors.socket.messages import Dial, HangUp
from holdfast.runtime import (
    Actor,
    Event,
    InjectedFault,
    MailboxSpec,
    Message,
    Ref,
    Seams,
    System,
    on,
    open_system,
)
from holdfast.runtime.testing import Probe, both_backends, probe, settled
from holdfast.supervisors import REST_FOR_ONE, start_tree, supervisor, worker

EXACT = ReconnectSettings(jitter=False)
REFUSED = LinkFailure(kind="refused", detail="nobody listens")


class Holder:
    """The actor's surroundings: a socket and a listener that only note what they are told."""

    def __init__(self, system: System, socket: Probe, listener: Probe) -> None:
        self.system = system
        self.socket = socket
        self.listener = listener
        self.intent = LinkIntent()
        self.events: list[Event] = []
        system.events.call(self.events.append)

    @classmethod
    async def open(cls, system: System) -> Holder:
        socket = await probe(system, "socket", Dial, HangUp)
        return cls(system, socket, await probe(system, "client", LinkStateChanged))

    async def start(self, settings: ReconnectSettings = EXACT) -> Ref:
        return await self.system.start(
            "reconnect",
            lambda: ReconnectActor(
                settings, intent=self.intent, socket=self.socket.ref, listeners=[self.listener.ref]
            ),
        )


@both_backends
async def test_a_lost_link_is_dialled_again_with_the_delays_of_the_seed() -> None:
    # A2.1, A2.2
    async with open_system() as system:
        holder = await Holder.open(system)
        reconnect = await holder.start()
        reconnect.tell(Connect())
        start = system.now()
        times: list[float] = []
        for _ in range(6):
            dial = await holder.socket.expect(Dial)
            times.append(system.now() - start)
            reconnect.tell(LinkLost(generation=dial.generation, failure=REFUSED))
        await holder.socket.expect(Dial)

        assert times == [0.0, 0.0, 1.0, 3.0, 7.0, 15.0]
        assert system.now() - start == 25.0
        assert [e.delay for e in holder.events if isinstance(e, ReconnectAttempt)] == [0, 1, 2, 4, 8]
        assert len([e for e in holder.events if isinstance(e, ReconnectExhausted)]) == 1
        assert (await reconnect.ask(GetLinkState())).state == "suspended"


@both_backends
async def test_listeners_and_events_are_told_of_each_change() -> None:
    # A2.4
    async with open_system() as system:
        holder = await Holder.open(system)
        reconnect = await holder.start()
        reconnect.tell(Connect())
        dial = await holder.socket.expect(Dial)
        reconnect.tell(LinkReady(generation=dial.generation, session="s-1", resumed=False))
        reconnect.tell(Disconnect(reason="enough"))
        assert await holder.socket.expect(HangUp) == HangUp(code=1001, reason="enough", destroy_session=False)
        await settled()

        told = [(each.previous, each.current.state) for each in holder.listener.take(LinkStateChanged)]
        assert told == [
            ("disconnected", "connecting"),
            ("connecting", "connected"),
            ("connected", "disconnected"),
        ]
        events = [(e.previous, e.current) for e in holder.events if isinstance(e, StateChanged)]
        assert events == told


@both_backends
async def test_a_failed_link_crashes_nobody_and_is_left_by_a_retry_or_a_new_configuration() -> None:
    # SEMANTICS "Time"
    async with open_system() as system:
        holder = await Holder.open(system)
        reconnect = await holder.start()
        reconnect.tell(Connect())
        for way_out in (Retry(), ConfigurationChanged()):
            dial = await holder.socket.expect(Dial)
            failure = LinkFailure(kind="closed", code=4301, detail="forbidden")
            reconnect.tell(LinkLost(generation=dial.generation, failure=failure))
            state = await reconnect.ask(GetLinkState())
            assert (state.state, state.code) == ("failed", 4301)
            reconnect.tell(way_out)
        await holder.socket.expect(Dial)

        assert reconnect.slot.incarnation == 1


@both_backends
async def test_a_socket_that_starts_anew_hears_the_dial_that_it_may_have_missed() -> None:
    async with open_system() as system:
        holder = await Holder.open(system)
        reconnect = await holder.start()
        reconnect.tell(Connect())
        first = await holder.socket.expect(Dial)
        reconnect.tell(SocketStarted())

        assert await holder.socket.expect(Dial) == first


@both_backends
async def test_a_socket_that_never_answers_is_dialled_again() -> None:
    async with open_system() as system:
        holder = await Holder.open(system)
        reconnect = await holder.start()
        reconnect.tell(Connect())
        await holder.socket.expect(Dial)
        start = system.now()
        await holder.socket.expect(Dial)

        assert system.now() - start == 25.0


class Idle(Actor):
    """Stands where the socket stands in the tree."""

    seen: list[Message]

    def __init__(self, seen: list[Message]) -> None:
        self.seen = seen

    @on(Dial)
    def dial(self, message: Dial) -> None:
        self.seen.append(message)


@both_backends
async def test_a_crash_of_reconnect_in_a_live_session_leads_to_a_new_dial_by_itself() -> None:
    # desired state and generation survive in the LinkIntent
    async with open_system() as system:
        seen: list[Message] = []
        intent = LinkIntent()
        socket, reconnect = system.ref("link/socket"), system.ref("link/reconnect")
        link = supervisor(
            "link",
            worker("reconnect", lambda: ReconnectActor(EXACT, intent=intent, socket=socket)),
            worker("socket", lambda: Idle(seen)),
            strategy=REST_FOR_ONE,
        )
        await start_tree(system, link)
        reconnect.tell(Connect())
        await settled()
        reconnect.tell(LinkReady(generation=1, session="s-1", resumed=False))
        reconnect.tell(InjectedFault(RuntimeError("boom")))
        await settled()

        assert [each.generation for each in seen if isinstance(each, Dial)] == [1, 2]
        assert (await reconnect.ask(GetLinkState())).state == "connecting"


@both_backends
async def test_a_crash_of_the_socket_is_a_lost_link() -> None:
    # reconnect watches the socket: Down -> socket_crashed
    async with open_system() as system:
        seen: list[Message] = []
        socket, reconnect = system.ref("link/socket"), system.ref("link/reconnect")
        link = supervisor(
            "link",
            worker("reconnect", lambda: ReconnectActor(EXACT, intent=LinkIntent(), socket=socket)),
            worker("socket", lambda: Idle(seen)),
            strategy=REST_FOR_ONE,
        )
        await start_tree(system, link)
        reconnect.tell(Connect())
        await settled()
        reconnect.tell(LinkReady(generation=1, session="s-1", resumed=False))
        await settled()
        socket.tell(InjectedFault(RuntimeError("boom")))
        await settled()

        assert [each.generation for each in seen if isinstance(each, Dial)] == [1, 2]
        assert reconnect.slot.incarnation == 1


class Deaf(Actor):
    mailbox = MailboxSpec(capacity=1, policy="reject")


@both_backends
async def test_a_listener_whose_mailbox_is_full_stops_nobody() -> None:
    async with open_system() as system:
        holder = await Holder.open(system)
        deaf = await system.start("deaf", Deaf)
        assert deaf.slot.cell is not None
        deaf.slot.cell.suspend()
        reconnect = await system.start(
            "reconnect",
            lambda: ReconnectActor(
                EXACT, intent=holder.intent, socket=holder.socket.ref, listeners=[deaf, holder.listener.ref]
            ),
        )
        reconnect.tell(Connect())
        dial = await holder.socket.expect(Dial)
        reconnect.tell(LinkReady(generation=dial.generation, session="s-1", resumed=False))
        await settled()

        assert len(holder.listener.take(LinkStateChanged)) == 2
        assert [type(each) for each in holder.events if isinstance(each, ListenerBehind)] == [ListenerBehind]


@both_backends
async def test_jitter_comes_from_the_seam() -> None:
    seams = Seams(random=random.Random(7))
    draws = random.Random(7)
    async with open_system(seams=seams) as system:
        holder = await Holder.open(system)
        reconnect = await holder.start(ReconnectSettings())
        reconnect.tell(Connect())
        draws.random()
        dial = await holder.socket.expect(Dial)
        reconnect.tell(LinkLost(generation=dial.generation, failure=REFUSED))
        start = system.now()
        await holder.socket.expect(Dial)

        assert system.now() - start == draws.random()
