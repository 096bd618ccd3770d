"""The auth actor against a token service, in virtual time.

The service is the external boundary: a small Starlette application reached
through httpx2's ASGI transport.  Everything else is real.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import TypeVar

import attrs
import httpx2
import msgspec
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from holdfast.actors.auth.actor import AuthActor
from holdfast.actors.auth.messages import (
    AuthCleanup,
    Authenticate,
    AuthenticationFailed,
    AuthError,
    GetAuthState,
    GetToken,
    ListenerBehind,
    Logout,
    TokenAcquired,
    TokenChanged,
    TokenExpired,
    TokenExpiring,
    TokenLost,
    TokenRefreshed,
    TokenRejected,
    ValidateToken,
)
from holdfast.actors.auth.settings import AuthSettings, InvalidAuthSettings
from holdfast.actors.auth.vault import TokenStore
from holdfast.runtime import (
    Actor,
    ActorEnded,
    AskError,
    AskTimeout,
    DeadLetter,
    Event,
    InjectedFault,
    MailboxSpec,
    Message,
    Ref,
    Seams,
    Secret,
    Subscription,
    System,
    on,
    open_system,
)
from holdfast.runtime.testing import Probe, on_trio, probe, settled
from holdfast.supervisors import ONE_FOR_ALL, FullRestart, restart_path, start_tree, supervisor, worker

WALL_NOW = 1795167000.0
Answers = Callable[[dict[str, str]], Awaitable[Response]]
Ev = TypeVar("Ev", bound=Event)


class FixedWallClock:
    def now(self) -> float:
        return WALL_NOW


class Service:
    """A token service with rotation; `scripted` answers come before the ordinary ones."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.scripted: list[Answers] = []
        self.lifetime = 300.0
        self.refreshable = "R0"
        self.at_once = self.at_once_max = 0
        self.app = Starlette(routes=[Route("/auth/token", self.token, methods=["POST"])])

    async def token(self, request: HttpRequest) -> Response:
        assert request.headers["authorization"] == "Bearer canary-key"
        body: dict[str, str] = await request.json()
        self.requests.append(body)
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            answer = self.scripted.pop(0) if self.scripted else self.grant
            return await answer(body)
        finally:
            self.at_once -= 1

    async def grant(self, body: dict[str, str]) -> Response:
        await trio.sleep(0.5)
        if body["grant_type"] == "refresh_token" and body["refresh_token"] != self.refreshable:
            return JSONResponse({"error": "invalid_grant", "error_description": "Refresh token expired"}, 401)
        number = len(self.requests)
        self.refreshable = f"R{number}"
        return JSONResponse(
            {
                "access_token": f"canary-A{number}",
                "refresh_token": self.refreshable,
                "expires_in": self.lifetime,
                "token_type": "Bearer",
            }
        )

    @property
    def kinds(self) -> list[str]:
        return [body["grant_type"] for body in self.requests]


def refusing(status: int, error: str = "", *, headers: dict[str, str] | None = None) -> Answers:
    async def answer(_body: dict[str, str]) -> Response:
        return JSONResponse({"error": error, "error_description": "why"} if error else {}, status, headers)

    return answer


def after(seconds: float, answer: Answers) -> Answers:
    async def delayed(body: dict[str, str]) -> Response:
        await trio.sleep(seconds)
        return await answer(body)

    return delayed


async def nonsense(_body: dict[str, str]) -> Response:
    return Response(b'{"access_token": 7}', media_type="application/json")


@attrs.define
class Bench:
    """One auth actor, its service, and who listens."""

    system: System
    service: Service
    store: TokenStore
    listener: Probe
    subscription: Subscription
    settings: AuthSettings
    auth: Ref

    def transport(self) -> httpx2.AsyncBaseTransport:
        return httpx2.ASGITransport(app=self.service.app)

    def events(self, kind: type[Ev]) -> list[Ev]:
        """Take the events of this type; the others are passed over."""
        found: list[Ev] = []
        while (event := self.subscription.get_nowait()) is not None:
            if isinstance(event, kind):
                found.append(event)
        return found

    def actor(self) -> AuthActor:
        return AuthActor(
            self.settings, store=self.store, transport=self.transport, listeners=[self.listener.ref]
        )


@asynccontextmanager
async def bench(refresh_floor: float = 1.0) -> AsyncGenerator[Bench]:
    settings = AuthSettings(
        api_endpoint="https://auth.test",
        api_key=Secret("canary-key"),
        refresh_jitter=0.0,
        refresh_floor=refresh_floor,
    )
    seams = Seams(wall_clock=FixedWallClock(), random=random.Random(7))
    async with open_system(seams=seams) as system:
        listener = await probe(system, "listener", TokenChanged, TokenLost)
        made = Bench(
            system, Service(), TokenStore(), listener, system.events.subscribe(), settings, system.ref("auth")
        )
        made.auth = await system.start("auth", made.actor)
        yield made
        assert "canary" not in repr(made.events(Event))


def reveal(secret: Secret) -> str:
    return secret.reveal().removeprefix("canary-")


# A1.1
@on_trio
async def test_authenticate_posts_the_key_and_announces_the_token() -> None:
    async with bench() as b:
        assert await b.auth.ask(Authenticate()) is True

        assert b.service.requests == [{"grant_type": "client_credentials", "client_id": "holdfast"}]
        (event,) = b.events(TokenAcquired)
        assert (reveal(event.access_token), event.expires_in, event.token_type) == ("A1", 300.0, "Bearer")
        told = await b.listener.expect(TokenChanged)
        assert (reveal(told.token.access_token), told.token.generation) == ("A1", 1)


# A1.2: the seed's 300 s token, refreshed at 270 s without anyone asking.
@on_trio
async def test_a_token_is_refreshed_before_it_expires() -> None:
    async with bench() as b:
        await b.auth.ask(Authenticate())
        acquired_at = trio.current_time() - 0.5
        await b.listener.expect(TokenChanged)

        b.service.lifetime = 3600.0
        told = await b.listener.expect(TokenChanged, timeout=300)

        # The exchange took half a second, and the lifetime counted from before it.
        assert trio.current_time() == pytest.approx(acquired_at + 270 + 0.5)
        (event,) = b.events(TokenRefreshed)
        assert (reveal(event.access_token), reveal(event.previous_token)) == ("A2", "A1")
        assert told.token.expires_at == pytest.approx(acquired_at + 270 + 3600)
        assert reveal((await b.auth.ask(GetToken())).access_token) == "A2"
        assert b.service.requests[1] == {"grant_type": "refresh_token", "refresh_token": "R1"}


# A1.2: single flight.
@on_trio
async def test_fifty_callers_cost_one_request() -> None:
    async with bench() as b, trio.open_nursery() as callers:
        tokens: list[str] = []

        async def ask() -> None:
            tokens.append(reveal((await b.auth.ask(GetToken())).access_token))

        for _ in range(50):
            callers.start_soon(ask)
        await trio.sleep(1)

        assert tokens == ["A1"] * 50
        assert len(b.service.requests) == 1


# A1.2
@on_trio
async def test_a_caller_who_stops_waiting_does_not_end_the_exchange() -> None:
    async with bench() as b:
        with trio.move_on_after(0.1):
            await b.auth.ask(GetToken())
        with pytest.raises(AskTimeout):
            await b.auth.ask(GetToken(), timeout=0.1)

        assert reveal((await b.auth.ask(GetToken())).access_token) == "A1"
        assert len(b.service.requests) == 1


# A1.3: the seed's three, and the rest of what a service may do.
@pytest.mark.parametrize(
    "answer,status,error,retryable",
    [
        (refusing(401, "invalid_credentials"), 401, "invalid_credentials", False),
        (refusing(403), 403, "forbidden", False),
        (refusing(429, "rate_limited"), 429, "rate_limited", True),
        (refusing(500, "server_error"), 500, "server_error", True),
        (refusing(503), 503, "server_error", True),
        (nonsense, 200, "malformed_answer", True),
        (after(60, refusing(500)), 0, "timeout", True),
    ],
)
@on_trio
async def test_a_failed_authentication_is_an_event_and_false_and_never_a_crash(
    answer: Answers, status: int, error: str, retryable: bool
) -> None:
    async with bench() as b:
        b.service.scripted = [answer, answer]

        assert await b.auth.ask(Authenticate(), timeout=10) is False

        (event,) = b.events(AuthError)
        assert (event.status, event.error, event.retryable) == (status, error, retryable)
        with pytest.raises(AuthenticationFailed) as caught:
            await b.auth.ask(GetToken(), timeout=10)
        assert (caught.value.status, caught.value.error, caught.value.retryable) == (status, error, retryable)
        assert not b.events(ActorEnded)
        state = await b.auth.ask(GetAuthState())
        assert (state.authenticated, state.expires_in) == (False, None)


# A1.3
@pytest.mark.parametrize("header", ["20", formatdate(WALL_NOW + 20, usegmt=True)])
@on_trio
async def test_retry_after_is_respected(header: str) -> None:
    async with bench() as b:
        b.service.scripted = [refusing(429, "rate_limited", headers={"Retry-After": header})]
        assert not await b.auth.ask(Authenticate())

        await trio.sleep(19)
        with pytest.raises(AuthenticationFailed) as caught:
            await b.auth.ask(GetToken())
        assert caught.value.retry_after == pytest.approx(1)
        assert len(b.service.requests) == 1

        await trio.sleep(1)
        assert reveal((await b.auth.ask(GetToken())).access_token) == "A2"


# A1.3: an outage of the endpoint while a session lives.
@on_trio
async def test_the_old_token_serves_until_it_expires_and_the_next_one_comes_by_itself() -> None:
    async with bench() as b:
        await b.auth.ask(Authenticate())
        b.service.scripted = [refusing(503) for _ in range(12)]

        await trio.sleep(280)
        assert reveal((await b.auth.ask(GetToken())).access_token) == "A1"
        assert 1 < len(b.service.requests) < 14
        await b.listener.expect(TokenChanged)
        told = await b.listener.expect(TokenChanged, timeout=120)

        assert told.token.generation == 2
        assert set(b.service.kinds[1:]) == {"refresh_token"}
        assert b.service.at_once_max == 1
        assert (await b.auth.ask(GetAuthState())).failure_count == 12


# A1.4
@on_trio
async def test_an_expired_token_whose_refresh_is_refused_is_lost() -> None:
    # The automatic refresh is beyond the expiry, so that the validation is the first to try.
    async with bench(refresh_floor=1000.0) as b:
        await b.auth.ask(Authenticate())
        await trio.sleep(300)
        b.service.refreshable = "another"

        assert await b.auth.ask(ValidateToken()) is False

        (event,) = b.events(TokenExpired)
        assert (reveal(event.expired_token), event.reason, event.requires_reauth) == (
            "A1",
            "refresh_failed",
            True,
        )
        await b.listener.expect(TokenChanged)
        assert await b.listener.expect(TokenLost) == TokenLost("refresh_failed")
        assert await b.auth.ask(ValidateToken()) is False
        assert b.service.kinds == ["client_credentials", "refresh_token"]
        # Who asks for a token has it acquired anew.
        assert reveal((await b.auth.ask(GetToken())).access_token) == "A3"
        assert b.service.kinds[2:] == ["client_credentials"]


# A1.4
@on_trio
async def test_an_expired_token_is_refreshed_when_it_is_validated() -> None:
    async with bench(refresh_floor=1000.0) as b:
        await b.auth.ask(Authenticate())
        assert await b.auth.ask(ValidateToken()) is True
        await trio.sleep(300)

        assert await b.auth.ask(ValidateToken()) is True
        assert b.service.kinds == ["client_credentials", "refresh_token"]


# The response of a rotation is lost: the same refresh token is sent again, which the server's grace allows.
@on_trio
async def test_a_lost_answer_is_asked_for_again_with_the_same_refresh_token() -> None:
    async with bench() as b:
        await b.auth.ask(Authenticate())
        b.service.scripted = [after(60, refusing(500))]

        await trio.sleep(300)

        assert [body.get("refresh_token") for body in b.service.requests] == [None, "R1", "R1"]
        assert len(b.events(TokenRefreshed)) == 1


@on_trio
async def test_a_rejected_token_is_replaced_once_for_all_who_report_it() -> None:
    async with bench() as b, trio.open_nursery() as callers:
        first = await b.auth.ask(GetToken())
        newer: list[int] = []

        async def report() -> None:
            newer.append((await b.auth.ask(TokenRejected(first.generation))).generation)

        for _ in range(5):
            callers.start_soon(report)
        await trio.sleep(1)
        await report()

        assert newer == [2] * 6
        assert b.service.kinds == ["client_credentials", "refresh_token"]


# A1.8
@on_trio
async def test_a_token_that_ends_soon_is_replaced_for_whoever_says_so() -> None:
    async with bench() as b:
        first = await b.auth.ask(GetToken())
        assert (await b.auth.ask(TokenExpiring(first.generation))).generation == 2
        assert b.service.kinds == ["client_credentials", "refresh_token"]


# A1.7
@on_trio
async def test_logout_wipes_the_tokens_and_stops_the_refreshing() -> None:
    async with bench() as b:
        await b.auth.ask(Authenticate())

        await b.auth.ask(Logout())

        assert b.events(AuthCleanup) == [AuthCleanup("user_logout", ("access_token", "refresh_token"))]
        assert (b.store.memory.token, b.store.memory.refresh_token) == (None, None)
        await trio.sleep(1000)
        assert len(b.service.requests) == 1
        with pytest.raises(AuthenticationFailed, match="logged_out"):
            await b.auth.ask(GetToken())
        assert await b.auth.ask(Authenticate()) is True


# A1.7
@on_trio
async def test_logout_cancels_an_exchange_under_way() -> None:
    async with bench() as b, trio.open_nursery() as callers:
        results: list[bool] = []

        async def authenticate() -> None:
            results.append(await b.auth.ask(Authenticate()))

        callers.start_soon(authenticate)
        await trio.sleep(0.1)
        assert b.service.at_once == 1
        await b.auth.ask(Logout())
        await settled()

        assert b.service.at_once == 0
        assert results == [False]
        assert b.store.memory.token is None
        # The next one is not in the way of the cancelled one.
        assert await b.auth.ask(Authenticate()) is True


# What survives what: the access token, through a restart of the actor, of its group, and of the whole tree.
@pytest.mark.parametrize("how", ["actor", "group", "full"])
@on_trio
async def test_the_token_survives_every_restart_and_is_refreshed_in_time(how: str) -> None:
    async with bench() as b:
        tree = supervisor(
            "root",
            supervisor("session", worker("auth", b.actor)),
            strategy=ONE_FOR_ALL,
            full_restart=FullRestart() if how == "full" else None,
        )
        root = await start_tree(b.system, tree)
        auth = b.system.ref("root/session/auth")
        await auth.ask(Authenticate())
        await trio.sleep(99.5)

        if how == "actor":
            auth.tell(InjectedFault(RuntimeError("a bug of ours")))
        elif how == "group":
            await restart_path(b.system, "root/session")
        else:
            await root.restart_all()
        await trio.sleep(0.5)

        assert b.system.ref("root/session/auth").slot.cell is not None
        assert reveal((await auth.ask(GetToken())).access_token) == "A1"
        assert len(b.service.requests) == 1
        assert [event.path for event in b.events(ActorEnded)][:1] == ["root/session/auth"]
        await trio.sleep(171)
        assert b.service.kinds == ["client_credentials", "refresh_token"]
        assert reveal((await auth.ask(GetToken())).access_token) == "A2"


# A crash while the answer to a refresh is on its way: the same refresh token is sent again.
@on_trio
async def test_a_refresh_that_a_crash_cut_off_is_sent_again() -> None:
    async with bench() as b:
        await start_tree(b.system, supervisor("root", worker("auth", b.actor)))
        auth = b.system.ref("root/auth")
        await auth.ask(Authenticate())
        b.service.scripted = [after(3, b.service.grant)]
        await trio.sleep(271)

        auth.tell(InjectedFault(RuntimeError("a bug of ours")))
        await trio.sleep(1)

        assert [body.get("refresh_token") for body in b.service.requests] == [None, "R1", "R1"]
        assert reveal((await auth.ask(GetToken())).access_token) == "A3"


# A fault of the remote is never a crash; a caller who was waiting for a crashed actor hears it at once.
@on_trio
async def test_who_waits_for_an_actor_that_crashes_is_told_at_once() -> None:
    async with bench() as b, trio.open_nursery() as callers:
        outcomes: list[str] = []

        async def ask() -> None:
            try:
                await b.auth.ask(GetToken())
            except AskError as error:
                outcomes.append(type(error).__name__)

        callers.start_soon(ask)
        await trio.sleep(0.1)
        b.auth.tell(InjectedFault(RuntimeError("a bug of ours")))
        await settled()

        assert len(outcomes) == 1
        assert b.service.at_once == 0


@on_trio
async def test_an_exchange_ends_with_its_actor() -> None:
    async with bench() as b:
        b.auth.tell(Authenticate())
        await trio.sleep(0.1)
        assert b.service.at_once == 1

    assert b.service.at_once == 0


@on_trio
async def test_a_question_that_was_told_is_handled_without_an_answer() -> None:
    async with bench() as b:
        b.auth.tell(GetToken())

        await b.listener.expect(TokenChanged)
        assert not b.events(DeadLetter)


class Deaf(Actor):
    """Never gets to its mail."""

    mailbox = MailboxSpec(capacity=1)

    @on(TokenChanged)
    async def changed(self, _message: Message) -> None:
        await trio.sleep_forever()


@on_trio
async def test_a_listener_that_does_not_keep_up_is_reported_and_harms_nobody() -> None:
    async with bench() as b:
        deaf = await b.system.start("deaf", Deaf)
        actor = AuthActor(b.settings, store=b.store, transport=b.transport, listeners=[deaf, b.listener.ref])
        auth = await b.system.start("watched", lambda: actor)
        for _ in range(3):
            await auth.ask(Authenticate())
        await settled()

        assert b.events(ListenerBehind) == [ListenerBehind("deaf", "TokenChanged")]
        assert len(b.listener.take(TokenChanged)) == 3


def test_an_actor_without_endpoint_and_key_is_not_made() -> None:
    with pytest.raises(InvalidAuthSettings, match="auth needs api_endpoint and api_key"):
        AuthActor(AuthSettings(), store=TokenStore(), transport=httpx2.AsyncBaseTransport)


def test_events_have_the_names_of_the_seed() -> None:
    assert msgspec.structs.asdict(AuthError(401, "e", "d", retryable=False))
    names = {
        kind.__struct_config__.tag
        for kind in (TokenAcquired, TokenRefreshed, TokenExpired, AuthError, AuthCleanup)
    }

    assert names == {"token:acquired", "token:refreshed", "token:expired", "auth:error", "auth:cleanup"}
