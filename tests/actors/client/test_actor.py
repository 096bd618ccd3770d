"""What the client actor makes of its siblings' answers, with probes in their places."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from holdfast.actors.auth.messages import Authenticate, GetToken, Token, TokenLost, ValidateToken
from holdfast.actors.avatar.messages import AvatarSession, Cleanup, InitializeSession
from holdfast.actors.client.actor import ClientActor
from holdfast.actors.client.messages import (
    ClientIntent,
    ClientState,
    ConnectClient,
    ConnectFailed,
    DisconnectClient,
    GetClientState,
    RecoveryCompleted,
    RecoveryStarted,
)
from holdfast.actors.reconnect.messages import (
    Connect,
    Disconnect,
    GetLinkState,
    LinkState,
    LinkStateChanged,
    LinkStatus,
    Retry,
)
from holdfast.actors.socket.messages import GetSocketState
from holdfast.runtime import (
    SHUTDOWN,
    ActorGone,
    AskError,
    Down,
    Event,
    InjectedFault,
    Ref,
    Request,
    Secret,
    System,
    open_system,
)
from holdfast.runtime.testing import Probe, on_trio, probe, settled
from holdfast.supervisors import DependencyBack, start_tree, supervisor, worker

TOKEN = Token(Secret("a.b.c"), generation=1, expires_at=1e9)
AVATAR = AvatarSession(session_id="s", avatar_id="a", status="active", websocket_url="wss://x")


def link(state: LinkStatus, generation: int = 1) -> LinkState:
    return LinkState(state=state, generation=generation, attempt=0)


@attrs.define
class Bench:
    system: System
    client: Ref
    intent: ClientIntent
    auth: Probe
    reconnect: Probe
    socket: Probe
    avatar: Probe
    heard: list[Event]
    nursery: trio.Nursery

    def ask(self, question: Request[None]) -> None:
        """Ask the client, and wait for no answer."""
        self.nursery.start_soon(self._ask, question)

    async def _ask(self, question: Request[None]) -> None:
        with suppress(AskError, ConnectFailed):
            await self.client.ask(question, timeout=30.0)

    def say(self, previous: LinkStatus, current: LinkState) -> None:
        self.client.tell(LinkStateChanged(previous=previous, current=current))

    async def state(self) -> ClientState:
        await settled()
        return await self.client.ask(GetClientState())

    async def answer_socket(self) -> None:
        await settled()
        while self.socket.questions:
            self.socket.questions.pop(0).fail(RuntimeError("it knows no session"))
        await settled()


@asynccontextmanager
async def opened(*, wanted: bool = False, avatar_id: str = "") -> AsyncGenerator[Bench]:
    async with open_system() as system, trio.open_nursery() as nursery:
        auth = await probe(system, "auth", GetToken, Authenticate, ValidateToken)
        reconnect = await probe(system, "reconnect", Connect, Disconnect, Retry, GetLinkState)
        socket = await probe(system, "socket", GetSocketState)
        avatar = await probe(system, "avatar", InitializeSession, Cleanup)
        intent = ClientIntent(wanted=wanted)

        def make() -> ClientActor:
            return ClientActor(
                intent,
                auth=auth.ref,
                reconnect=reconnect.ref,
                socket=socket.ref,
                avatar=avatar.ref,
                avatar_id=avatar_id,
            )

        heard: list[Event] = []
        system.events.call(heard.append)
        await start_tree(system, supervisor("top", worker("client", make)))
        client = system.ref("top/client")
        yield Bench(system, client, intent, auth, reconnect, socket, avatar, heard, nursery)
        nursery.cancel_scope.cancel()


@on_trio
async def test_an_answer_about_a_link_that_has_changed_since_comes_too_late() -> None:
    # A2.4: the latest word of reconnect counts, whatever was still being asked about the one before
    async with opened() as bench:
        bench.say("connecting", link("connected"))
        bench.say("connected", link("failed"))
        await bench.answer_socket()
        assert (await bench.state()).link.state == "failed"


@on_trio
async def test_a_socket_that_does_not_answer_keeps_nobody_from_being_connected() -> None:
    async with opened() as bench:
        bench.say("connecting", link("connected"))
        await bench.answer_socket()
        assert (await bench.state()).link.state == "connected"


@on_trio
async def test_a_disconnect_that_finds_a_new_incarnation_still_has_the_link_closed() -> None:
    # A4.3: mail is kept at a restart, so the question is there before the link's state is known
    async with opened(wanted=True) as bench:
        bench.reconnect.answers(GetLinkState, link("connected"))
        await settled()
        bench.client.tell(InjectedFault(RuntimeError("crash")))
        bench.ask(DisconnectClient())
        assert await bench.reconnect.await_(Disconnect)
        bench.say("connected", link("disconnected"))
        await settled()
        assert not bench.intent.wanted
        assert (await bench.state()).phase == "idle"


@on_trio
async def test_a_client_that_crashed_before_it_ordered_the_link_orders_it_when_it_is_back() -> None:
    # A4.1: what was asked for outlives the actor
    async with opened() as bench:
        bench.reconnect.answers(GetLinkState, link("disconnected", 0))
        bench.ask(ConnectClient())
        await bench.auth.await_(GetToken)
        bench.client.tell(InjectedFault(RuntimeError("crash")))
        assert bench.intent.wanted
        assert await bench.reconnect.await_(Connect)


@on_trio
async def test_an_avatar_that_crashed_is_opened_again_by_itself() -> None:
    # A8 level 2: the restart of the actor brings its work back
    async with opened(avatar_id="a") as bench:
        bench.auth.answers(GetToken, TOKEN)
        bench.avatar.answers(InitializeSession, AVATAR)
        bench.ask(ConnectClient())
        await bench.reconnect.await_(Connect)
        bench.say("connecting", link("connected"))
        await bench.answer_socket()
        assert (await bench.state()).avatar == "open"

        bench.avatar.take(InitializeSession)
        bench.client.tell(Down(path=bench.avatar.ref.path, incarnation=1, outcome=SHUTDOWN))
        assert await bench.avatar.await_(InitializeSession)
        assert (await bench.state()).avatar == "open"
        said = [event for event in bench.heard if isinstance(event, RecoveryStarted | RecoveryCompleted)]
        assert said == [RecoveryStarted(source="avatar"), RecoveryCompleted(source="avatar")]


@on_trio
async def test_an_avatar_that_is_back_is_opened_again_for_a_session_that_went_on_without_it() -> None:
    # A8 level 3: degraded, and back
    async with opened(avatar_id="a") as bench:
        bench.auth.answers(GetToken, TOKEN)
        bench.ask(ConnectClient())
        await bench.reconnect.await_(Connect)
        bench.say("connecting", link("connected"))
        await bench.answer_socket()
        bench.avatar.questions[-1].fail(ActorGone("avatar", why="switched off"))
        await settled()
        assert (await bench.state()).avatar == "voice_only"

        bench.avatar.answers(InitializeSession, AVATAR)
        bench.client.tell(DependencyBack(path=bench.avatar.ref.path))
        await settled()
        assert (await bench.state()).avatar == "open"


@on_trio
async def test_an_avatar_that_is_back_is_not_opened_for_a_session_that_is_not_wanted() -> None:
    async with opened(avatar_id="a") as bench:
        bench.client.tell(DependencyBack(path=bench.avatar.ref.path))
        await settled()
        assert bench.avatar.take(InitializeSession) == []


@on_trio
async def test_a_lost_token_of_an_unwanted_session_is_nobodys_business() -> None:
    # A4.4
    async with opened() as bench:
        bench.client.tell(TokenLost(reason="refresh_failed"))
        await settled()
        assert bench.auth.take(Authenticate) == []
