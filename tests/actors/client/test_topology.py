"""The product's tree is the picture of it, and its factories read the configuration in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from tests.actors.client.belongings import belongings
from tests.stories.story import running
from tests.stories.world import API_KEY, REALTIME_PORT, Recorder, open_world, until

from holdfast.actors.client.topology import ROOT, siblings, topology
from holdfast.actors.config.settings import SupervisionSettings
from holdfast.actors.reconnect.messages import ReconnectExhausted
from holdfast.runtime import ActorEnded, ActorGone, ActorStarted, StartFailed, open_system
from holdfast.runtime.testing import on_trio
from holdfast.supervisors import (
    Budget,
    ChildSpec,
    ContradictoryTree,
    OnGiveUp,
    Restart,
    Strategy,
    restart_path,
    start_tree,
)
from holdfast.supervisors.child_spec import Group

# The picture of ARCHITECTURE 3: path, strategy, restarts in seconds.
PICTURE = [
    ("holdfast", Strategy.ONE_FOR_ALL, Budget(3, 300)),
    ("holdfast/foundation", Strategy.REST_FOR_ONE, Budget(5, 60)),
    ("holdfast/foundation/config", None, None),
    ("holdfast/foundation/logger", None, None),
    ("holdfast/session", Strategy.ONE_FOR_ONE, Budget(5, 60)),
    ("holdfast/session/auth", None, None),
    ("holdfast/session/delivery", None, None),
    ("holdfast/session/link", Strategy.REST_FOR_ONE, Budget(5, 10)),
    ("holdfast/session/link/reconnect", None, None),
    ("holdfast/session/link/socket", None, None),
    ("holdfast/session/avatar", None, Budget(3, 30)),
    ("holdfast/session/client", None, None),
]


def walk(spec: ChildSpec, above: str = "") -> Iterator[tuple[str, ChildSpec]]:
    path = f"{above}/{spec.id}" if above else spec.id
    yield path, spec
    if isinstance(spec.group, Group):
        for child in spec.group.children:
            yield from walk(child, path)


@on_trio
async def test_the_tree_reads_as_the_picture_does() -> None:
    # ARCHITECTURE 3, R7
    async with open_system() as system:
        tree = list(walk(topology(system, belongings())))
    drawn = [
        (path, group.strategy if isinstance(group, Group) else None, getattr(group, "budget", spec.budget))
        for path, spec in tree
        for group in [spec.group]
    ]
    assert drawn == PICTURE
    assert {spec.restart for _path, spec in tree} == {Restart.PERMANENT}
    # Giving up is a failure of the parent everywhere but at the avatar: its siblings go on without it.
    given_up = {path: spec.on_give_up for path, spec in tree if spec.on_give_up is not OnGiveUp.ESCALATE}
    assert given_up == {"holdfast/session/avatar": OnGiveUp.DEGRADE}


@on_trio
async def test_every_ref_that_siblings_are_given_names_a_child_of_the_tree() -> None:
    # ARCHITECTURE 3: the tree is written in one place
    async with open_system() as system:
        paths = {path for path, _spec in walk(topology(system, belongings()))}
        refs = attrs.asdict(siblings(system), recurse=False).values()
        assert {ref.path for ref in refs} <= paths


@on_trio
async def test_the_root_alone_restarts_with_ceremony_and_refuses_contradictions() -> None:
    # Beyond OTP 1, 2 and 7
    async with open_system() as system:
        for path, spec in walk(topology(system, belongings())):
            if isinstance(spec.group, Group):
                root = path == ROOT
                assert (spec.group.full_restart is not None) is root
                assert (spec.group.backoff is not None) is root
                assert spec.group.strict is root


@on_trio
@pytest.mark.parametrize(
    "supervision",
    [
        SupervisionSettings(session_period=0.5),
        SupervisionSettings(root_period=0.5),
        SupervisionSettings(link_period=0.5),
    ],
    ids=["session", "root", "link"],
)
async def test_a_configuration_that_makes_a_budget_useless_is_refused_with_the_arithmetic(
    supervision: SupervisionSettings,
) -> None:
    # Beyond OTP 1: the product's tree is declared strict
    async with open_system() as system:
        own = belongings()
        own.configuration.swap(attrs.evolve(own.configuration.current, supervision=supervision))
        with pytest.raises((ContradictoryTree, StartFailed), match=r"0\.5 s") as refused:
            await start_tree(system, topology(system, own))
        assert "session" in str(refused.value) or "holdfast" in str(refused.value)


@on_trio
async def test_it_starts_in_the_order_of_the_picture_and_stops_in_reverse() -> None:
    # R1, R17, Beyond OTP 3
    async with open_world() as world:
        async with world.client() as client:
            heard = Recorder(client)
            await restart_path(client.system, ROOT)
            started = [event.path for event in heard.of(ActorStarted)]
            ended = [event.path for event in heard.of(ActorEnded)]
        leaves = [path for path, strategy, _budget in PICTURE if strategy is None]
        assert [path for path in started if path in leaves] == leaves
        assert [path for path in ended if path in leaves] == leaves[::-1]


@on_trio
async def test_a_restart_reads_the_configuration_in_force(tmp_path: Path) -> None:
    # Beyond OTP 11: factories read the current snapshot, so a restart never brings an old value back
    file = tmp_path / "holdfast.toml"

    def write(retries: int) -> None:
        file.write_text(
            f'connection.url = "ws://127.0.0.1:{REALTIME_PORT}/realtime"\n'
            f'auth.api_endpoint = "http://127.0.0.1:8001"\nauth.api_key = "{API_KEY.reveal()}"\n'
            f"reconnect.max_retries = {retries}\n"
        )

    write(1)
    async with open_world() as world, world.client_of(file) as client:
        heard = Recorder(client)
        await client.connect()
        write(2)
        await restart_path(client.system, "holdfast/foundation/config")
        for path in ("session/link/reconnect", "session/link", "session", ""):
            await restart_path(client.system, f"holdfast/{path}".rstrip("/"))
        await client.connect()
        world.network.weather = "refusing"
        world.network.reset()
        await until(lambda: bool(heard.of(ReconnectExhausted)))
        assert heard.of(ReconnectExhausted)[0].max_retries == 2


@on_trio
async def test_an_avatar_that_keeps_crashing_is_switched_off_and_its_siblings_go_on() -> None:
    # Beyond OTP 5: `stop`
    async with open_world() as world, running(world) as story:
        for _ in range(4):
            world.crash(story.client, "session/avatar")
        await story.traffic.send(20)
        await story.traffic.settled()
        supervision = {info.id: info.state for info in (await story.client.root.which_children())}
        assert supervision == {"foundation": "running", "session": "running"}
        with pytest.raises(ActorGone):
            await story.client.avatar_state()
        await story.traffic.send(20)
        await story.traffic.settled()
