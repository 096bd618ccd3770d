"""The hub's tree, on one screen, and the way to open a hub.

    holdfast-hub        one_for_one     5 in 60 s
    ├─ identity         tokens, and the HTTP port of all services
    ├─ realtime         sessions and messages
    └─ avatar_standin   WebSockets of the stand-in's sessions

A hub is a system of its own, also inside another program's process: what
happens to its tree happens to no other.  The store is opened above the root and
closed after it, and ports are remembered there, so that a restarted service is
found where it was.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import attrs
import trio
from starlette.types import ASGIApp

from holdfast.actors.hub.avatar_api import avatar_routes
from holdfast.actors.hub.avatar_sessions import AvatarStandinSettings, StandinSessions
from holdfast.actors.hub.avatar_standin import AvatarStandin
from holdfast.actors.hub.berth import Berth
from holdfast.actors.hub.grants import GrantStore
from holdfast.actors.hub.identity import IdentityActor
from holdfast.actors.hub.messages import Drain, GetRealtimeState, RealtimeState, RefuseNext
from holdfast.actors.hub.realtime import RealtimeActor
from holdfast.actors.hub.settings import HubSettings
from holdfast.actors.hub.store import Effect, SessionStore
from holdfast.actors.hub.token_endpoint import TOKEN_PATH, TokenEndpoint, hub_app
from holdfast.actors.hub.upgrade import PATH
from holdfast.runtime import AskError, MailboxFull, Outcome, Ref, Seams, System, open_system
from holdfast.runtime.embed import STOP_DEADLINE
from holdfast.supervisors import ONE_FOR_ONE, Budget, ChildSpec, start_tree, supervisor, worker

__all__ = ["HUB_STOP", "ROOT", "Hub", "open_hub"]

ROOT = "holdfast-hub"

# The closing handshakes of all connections run side by side; each has its own bound below this one.
DRAIN_TIMEOUT = 5.0

# What the end of a hub may take at most: its clients are told, then its tree is stopped.
HUB_STOP = DRAIN_TIMEOUT + STOP_DEADLINE


@attrs.frozen
class _Parts:
    """What the services share, made above the root."""

    settings: HubSettings
    sessions: SessionStore
    grants: GrantStore
    avatars: StandinSessions
    identity: Ref
    app: ASGIApp
    serve_http: bool
    http: Berth
    realtime: Berth


def hub_tree(parts: _Parts) -> ChildSpec:
    """Return the tree: a fault of one service is no fault of the others."""
    served = parts.app if parts.serve_http else None
    return supervisor(
        ROOT,
        worker("identity", lambda: IdentityActor(parts.settings, parts.grants, app=served, berth=parts.http)),
        worker(
            "realtime",
            lambda: RealtimeActor(
                parts.settings, parts.sessions, identity=parts.identity, berth=parts.realtime
            ),
        ),
        worker("avatar_standin", lambda: AvatarStandin(parts.avatars)),
        strategy=ONE_FOR_ONE,
        # A start may take 5 s, so six attempts at their longest fit into the minute.
        budget=Budget(5, 60),
        strict=True,
    )


class Hub:
    """A running hub: where it is, and what an operator or a test may ask of it."""

    def __init__(self, system: System, root: Ref, parts: _Parts) -> None:
        self.system = system
        self.root = root
        self.app = parts.app
        """The HTTP part as an ASGI application; simulation calls it without a socket."""
        self._parts = parts
        self._realtime = system.ref(f"{ROOT}/realtime")

    def __repr__(self) -> str:
        return f"<Hub {self.api_url} {self.realtime_url}>"

    @property
    def api_url(self) -> str:
        """The base of the HTTP part; `/auth/token` is below it."""
        return self._parts.http.url

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return self.api_url + TOKEN_PATH

    @property
    def realtime_url(self) -> str:
        """Where clients connect."""
        return self._parts.realtime.url

    @property
    def avatar_url(self) -> str:
        """The base of the avatar stand-in's HTTP part."""
        return self.api_url

    @property
    def avatars(self) -> StandinSessions:
        """The avatar stand-in's sessions and faults."""
        return self._parts.avatars

    def effects(self) -> list[Effect]:
        """Return the durable log of what clients sent, oldest first."""
        return self._parts.sessions.effects()

    async def state(self) -> RealtimeState:
        """Return figures of the realtime service."""
        return await self._realtime.ask(GetRealtimeState())

    async def refuse_next(
        self, n: int, status: int, retry_after: float | None = None, *, grant_type: str | None = None
    ) -> None:
        """Refuse the next `n` token requests: the operator's switch, from inside the process."""
        await self._parts.identity.ask(RefuseNext(n, status, retry_after, grant_type))

    async def drain(self, reason: str = "draining") -> None:
        """Take no more connections and ask all clients to come back later; returns when they have gone."""
        with trio.move_on_after(DRAIN_TIMEOUT), suppress(AskError, MailboxFull):
            await self._realtime.ask(Drain(reason), timeout=DRAIN_TIMEOUT)

    async def wait_ended(self) -> Outcome:
        """Wait until the tree has ended by itself: its budget was spent."""
        return await self.system.wait_ended(self.root)


@asynccontextmanager
async def open_hub(
    settings: HubSettings,
    *,
    seams: Seams | None = None,
    avatar: AvatarStandinSettings | None = None,
    serve_http: bool = True,
    exit_when_wedged: bool = False,
    watch_thread: bool = False,
) -> AsyncGenerator[Hub]:
    """Open a hub for the length of an ``async with`` body; at its end clients are asked to come back later.

    Without `serve_http` no HTTP port is opened: `Hub.app` is the same
    application for a transport that needs none.  The avatar stand-in takes the
    hub's API keys, host and port unless it has settings of its own.  `watch_thread` runs
    a thread that reports on stderr whoever blocks this one.
    """
    seams = seams if seams is not None else Seams()
    avatar = avatar if avatar is not None else _avatar_settings(settings)
    connection = seams.store(settings.store_path)
    try:
        sessions = SessionStore(connection, lambda: seams.entropy(8).hex())
        grants = GrantStore(connection, seams.entropy, keep=settings.refresh_tokens_max)
        async with open_system(
            "hub",
            seams=seams,
            exit_when_wedged=exit_when_wedged,
            watchdog=settings.watchdog() if watch_thread else None,
        ) as system:
            identity = system.ref(f"{ROOT}/identity")
            avatars = StandinSessions(avatar, seams)
            parts = _Parts(
                settings,
                sessions,
                grants,
                avatars,
                identity,
                app=hub_app([*TokenEndpoint(settings, identity).routes(), *avatar_routes(avatars)]),
                serve_http=serve_http,
                http=Berth("http", settings.host, settings.token_port),
                realtime=Berth("ws", settings.host, settings.realtime_port, PATH),
            )
            tree = await start_tree(system, hub_tree(parts))
            hub = Hub(system, tree.ref, parts)
            try:
                yield hub
            finally:
                with trio.CancelScope(shield=True):
                    await hub.drain()
    finally:
        connection.close()


def _avatar_settings(settings: HubSettings) -> AvatarStandinSettings:
    return AvatarStandinSettings(api_keys=settings.api_keys, host=settings.host, port=settings.avatar_port)
