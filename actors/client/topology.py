"""The product's tree, on one screen, and what the system owns above it.

This is the only place where the tree is written.  Factories run for every
incarnation and read the present configuration, so a restart never brings an
old value back.  What must outlive the root (stores, tokens, intents, the log's
buffer) is made once, by whoever opens the system, and handed to the actors.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw
import attrs
import httpx2

from holdfast.actors.auth.actor import AuthActor
from holdfast.actors.auth.vault import TokenStore
from holdfast.actors.avatar.actor import AvatarActor
from holdfast.actors.avatar.ledger import AvatarLedger
from holdfast.actors.client.actor import ClientActor
from holdfast.actors.client.messages import ClientIntent
from holdfast.actors.config.actor import ConfigActor
from holdfast.actors.config.settings import SupervisionSettings
from holdfast.actors.config.sources import LiveConfiguration
from holdfast.actors.delivery.actor import DeliveryActor
from holdfast.actors.logger.actor import Encode, LoggerActor
from holdfast.actors.logger.sinks import Log
from holdfast.actors.reconnect.actor import ReconnectActor
from holdfast.actors.reconnect.messages import LinkIntent
from holdfast.actors.socket.actor import SocketActor
from holdfast.runtime import Backoff, Ref, System
from holdfast.supervisors import (
    Budget,
    ChildSpec,
    Correlation,
    FullRestart,
    OnGiveUp,
    Strategy,
    supervisor,
    worker,
)

__all__ = ["COMPONENTS", "ROOT", "Belongings", "Siblings", "siblings", "topology"]

ROOT = "holdfast"

# Between full restarts: the first at once or nearly, a persistent fault at most every 5 s.
ROOT_BACKOFF = Backoff(initial=0.5, multiplier=2.0, cap=5.0, stable_after=300.0)


# A4 and A9 speak of components; these actors are what they are.  `audio` and `voice` have no actor of
# their own: they are other names of the avatar's.
COMPONENTS = {
    "auth": ("session/auth",),
    "websocket": ("session/link/socket", "session/link/reconnect"),
    "session": ("session/delivery", "session/client"),
    "avatar": ("session/avatar",),
    "audio": ("session/avatar",),
    "voice": ("session/avatar",),
    "config": ("foundation/config",),
    "logger": ("foundation/logger",),
}


@attrs.frozen
class Belongings:
    """What the system owns above the root: it survives every restart, the full restart included."""

    configuration: LiveConfiguration
    log: Log
    encode: Encode
    """How an event becomes a line of the log."""

    tokens: TokenStore
    store: apsw.Connection
    """Outbox, inbox, cursors, preserved state."""

    avatars: AvatarLedger
    http: Callable[[], httpx2.AsyncBaseTransport]
    link: LinkIntent = attrs.field(factory=LinkIntent)
    session: ClientIntent = attrs.field(factory=ClientIntent)


@attrs.frozen
class Siblings:
    """The refs by which actors, and the facade, know each other."""

    config: Ref
    auth: Ref
    delivery: Ref
    reconnect: Ref
    socket: Ref
    avatar: Ref
    client: Ref


def siblings(system: System) -> Siblings:
    """Return the refs; they hold before, during and after every incarnation."""
    session = f"{ROOT}/session"
    return Siblings(
        config=system.ref(f"{ROOT}/foundation/config"),
        auth=system.ref(f"{session}/auth"),
        delivery=system.ref(f"{session}/delivery"),
        reconnect=system.ref(f"{session}/link/reconnect"),
        socket=system.ref(f"{session}/link/socket"),
        avatar=system.ref(f"{session}/avatar"),
        client=system.ref(f"{session}/client"),
    )


def topology(system: System, own: Belongings) -> ChildSpec:
    """Return the product's tree."""
    live, know = own.configuration, siblings(system)
    limits: SupervisionSettings = live.current.supervision

    def config() -> ConfigActor:
        return ConfigActor(live)

    def logger() -> LoggerActor:
        return LoggerActor(own.log, live.current.logging, encode=own.encode)

    def auth() -> AuthActor:
        listeners = (know.socket, know.client)
        return AuthActor(live.current.auth, store=own.tokens, transport=own.http, listeners=listeners)

    def delivery() -> DeliveryActor:
        return DeliveryActor(live.current.delivery, store=own.store, socket=know.socket)

    def reconnect() -> ReconnectActor:
        return ReconnectActor(
            live.current.reconnect, intent=own.link, socket=know.socket, listeners=(know.client,)
        )

    def socket() -> SocketActor:
        return SocketActor(
            live.current.socket, auth=know.auth, delivery=know.delivery, reconnect=know.reconnect
        )

    def avatar() -> AvatarActor:
        return AvatarActor(live.current.avatar, ledger=own.avatars, transport=own.http)

    def client() -> ClientActor:
        wanted = live.current.avatar
        return ClientActor(
            own.session,
            auth=know.auth,
            reconnect=know.reconnect,
            socket=know.socket,
            avatar=know.avatar,
            avatar_id=wanted.avatar_id if wanted.enabled else "",
        )

    # Stops add up to less than the overall deadline of 10 s; the link's start hooks open nothing, and six
    # restarts of both must fit into its 10 s.
    return supervisor(
        ROOT,
        supervisor(
            "foundation",
            worker("config", config, shutdown=0.5),
            worker("logger", logger, shutdown=2.0),
            strategy=Strategy.REST_FOR_ONE,
            budget=Budget(limits.foundation_intensity, limits.foundation_period),
        ),
        supervisor(
            "session",
            worker("auth", auth, shutdown=0.5),
            worker("delivery", delivery, shutdown=1.0),
            supervisor(
                "link",
                worker("reconnect", reconnect, shutdown=0.5, start_timeout=0.5),
                worker("socket", socket, shutdown=1.5, start_timeout=0.5),
                strategy=Strategy.REST_FOR_ONE,
                budget=Budget(limits.link_intensity, limits.link_period),
                depends_on=("auth", "delivery"),
            ),
            worker(
                "avatar",
                avatar,
                shutdown=2.5,
                on_give_up=OnGiveUp.DEGRADE,
                budget=Budget(limits.avatar_intensity, limits.avatar_period),
            ),
            worker("client", client, shutdown=0.5, depends_on=("auth", "delivery", "link", "avatar")),
            strategy=Strategy.ONE_FOR_ONE,
            budget=Budget(limits.session_intensity, limits.session_period),
            depends_on=("foundation",),
        ),
        strategy=Strategy.ONE_FOR_ALL,
        budget=Budget(limits.root_intensity, limits.root_period),
        backoff=ROOT_BACKOFF,
        full_restart=FullRestart(drain=limits.drain_deadline, stop=limits.stop_deadline),
        # A4.5: so many components that fail within so many seconds have one cause.
        correlate=Correlation(limits.correlated_failures, limits.correlated_window, components=COMPONENTS),
        strict=True,
    )
