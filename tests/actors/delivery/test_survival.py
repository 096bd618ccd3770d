"""What survives what: outbox, cursors, session key and preserved state, through every kind of restart.

The store stands above the root, as in the product's tree; so nothing here is
handed from one incarnation to the next but the open store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import apsw
import msgspec
import pytest

from holdfast.actors.delivery.actor import DeliveryActor
from holdfast.actors.delivery.messages import (
    Append,
    GetDeliveryState,
    GetPreservedState,
    GetResume,
    LinkUp,
    PreserveState,
    Received,
    Take,
)
from holdfast.actors.delivery.settings import DeliverySettings
from holdfast.actors.socket.messages import Frame, HangUp, Transmit
from holdfast.runtime import Actor, InjectedFault, Secret, System, open_system
from holdfast.runtime.testing import both_backends, probe, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    REST_FOR_ONE,
    FullRestart,
    SupervisorHandle,
    restart_path,
    start_tree,
    supervisor,
    worker,
)

PAYLOAD = msgspec.Raw(b"{}")


async def restart_actor(system: System, _root: SupervisorHandle) -> None:
    system.ref("root/session/group/delivery").tell(InjectedFault(RuntimeError("a bug of ours")))


async def restart_group(system: System, _root: SupervisorHandle) -> None:
    await restart_path(system, "root/session/group/before")


async def restart_supervisor(system: System, _root: SupervisorHandle) -> None:
    await restart_path(system, "root/session")


async def restart_everything(_system: System, root: SupervisorHandle) -> None:
    await root.restart_all()


HOW = [restart_actor, restart_group, restart_supervisor, restart_everything]


# What survives what, second row; A2.5
@pytest.mark.parametrize("how", HOW, ids=["actor", "group", "supervisor", "full"])
@both_backends
async def test_everything_in_the_store_survives_every_restart(
    how: Callable[[System, SupervisorHandle], Awaitable[None]],
) -> None:
    store = apsw.Connection(":memory:")
    async with open_system() as system:
        socket = await probe(system, "socket", Transmit, HangUp)

        def delivery() -> DeliveryActor:
            return DeliveryActor(DeliverySettings(), store=store, socket=socket.ref)

        group = supervisor(
            "group",
            worker("before", Actor),
            worker("delivery", delivery),
            strategy=REST_FOR_ONE,
        )
        root = await start_tree(
            system,
            supervisor(
                "root",
                supervisor("session", group),
                strategy=ONE_FOR_ALL,
                full_restart=FullRestart() if how is restart_everything else None,
            ),
        )
        ref = system.ref("root/session/group/delivery")
        ref.tell(
            LinkUp(
                generation=1, session="s", key=Secret("key"), epoch="e", resumed=False, why=None, recv_seq=0,
                session_ttl=60.0, window_frames=256, window_bytes=1_000_000, max_frame=100_000,
            )
        )  # fmt: skip
        await ref.ask(Append("sent", "msg.publish", "c", PAYLOAD))
        ref.tell(Received(1, (Frame(type="msg.event", id="h1", seq=1, ch="c", payload=PAYLOAD),)))
        await ref.ask(PreserveState("application", b'{"messageQueue":[1]}'))
        await settled()

        await how(system, root)
        await settled()

        assert ref.slot.incarnation == 2
        resume = await ref.ask(GetResume())
        assert (resume.session, resume.key, resume.epoch) == ("s", Secret("key"), "e")
        assert (resume.recv_seq, resume.sent_lo, resume.sent_hi) == (1, 1, 1)
        assert (await ref.ask(GetDeliveryState())).outbox_depth == 1
        assert [message.id for message in (await ref.ask(Take(0, 10, 0))).messages] == ["h1"]
        assert await ref.ask(GetPreservedState("application")) == b'{"messageQueue":[1]}'
