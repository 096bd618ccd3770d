"""What a program says while it runs (A4.6): all or nothing, above every source, announced by component."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.actors.config.test_actor import Inline

from holdfast.actors.client.concerned import AT_NEXT_START, RESTARTED, at_next_start, concerned
from holdfast.actors.config.actor import ConfigActor
from holdfast.actors.config.components import COMPONENT_OF
from holdfast.actors.config.messages import ConfigRejected, ConfigUpdated, Reload, UpdateConfiguration
from holdfast.actors.config.settings import SECTIONS
from holdfast.actors.config.sources import LiveConfiguration, load
from holdfast.runtime import Seams, open_system
from holdfast.runtime.testing import both_backends

SEAMS = Seams(threads=Inline())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "holdfast.toml"
    path.write_text("[reconnect]\nmax_retries = 1\n")
    return path


@pytest.fixture
def live(file: Path) -> LiveConfiguration:
    return load(file, environ={})


# A4.6
@both_backends
async def test_an_update_is_in_force_above_the_file_and_stays_so(live: LiveConfiguration) -> None:
    async with open_system(seams=SEAMS) as system:
        ref = await system.start("config", lambda: ConfigActor(live))
        result = await ref.ask(UpdateConfiguration({"reconnect": {"max_retries": 7}}))

        assert (result.accepted, result.changed) == (True, ("reconnect.max_retries",))
        assert live.current.reconnect.max_retries == 7
        await ref.ask(Reload())
        assert live.current.reconnect.max_retries == 7
        await ref.ask(UpdateConfiguration({"reconnect": {"cap": 6.0}}))
        assert live.current.reconnect.max_retries == 7, "what was said before stays said"


# A4.6
@both_backends
async def test_an_invalid_update_changes_nothing_anywhere_and_names_every_problem(
    live: LiveConfiguration,
) -> None:
    async with open_system(seams=SEAMS) as system:
        ref = await system.start("config", lambda: ConfigActor(live))
        events = system.events.subscribe(
            wanted=lambda event: isinstance(event, ConfigUpdated | ConfigRejected)
        )
        before = live.current
        result = await ref.ask(
            UpdateConfiguration({"reconnect": {"max_retries": -4}, "avatar": {"nonsense": 1}, "audio": 3})
        )

        assert not result.accepted
        assert {problem.split(":")[0].split()[0] for problem in result.problems} == {
            "avatar.nonsense",
            "audio",
            "reconnect.max_retries",
        }
        assert live.current is before
        assert isinstance(events.get_nowait(), ConfigRejected)
        assert events.get_nowait() is None
        assert (await ref.ask(Reload())).changed == (), "nothing of it is left for later"


# A4.6
@both_backends
async def test_each_component_concerned_is_announced_once_with_what_is_new_and_no_secret(
    live: LiveConfiguration,
) -> None:
    async with open_system(seams=SEAMS) as system:
        ref = await system.start("config", lambda: ConfigActor(live))
        events = system.events.subscribe(wanted=lambda event: isinstance(event, ConfigUpdated))
        await ref.ask(
            UpdateConfiguration(
                {
                    "reconnect": {"max_retries": 2},
                    "connection": {"client_id": "me"},
                    "auth": {"api_key": "hunter2hunter2"},
                }
            )
        )
        told: dict[str, ConfigUpdated] = {}
        while isinstance(event := events.get_nowait(), ConfigUpdated):
            assert event.component not in told
            told[event.component] = event

        assert set(told) == {"websocket", "auth"}
        websocket = told["websocket"]
        assert websocket.previous_config["reconnect.max_retries"] == 1
        assert websocket.new_config["reconnect.max_retries"] == 2
        assert websocket.new_config["connection.client_id"] == "me"
        assert "hunter2" not in repr(told)


def test_every_section_belongs_to_a_component() -> None:
    assert set(COMPONENT_OF) == {*SECTIONS, "environment"}


# A4.6
def test_who_takes_a_change_over_by_a_restart_and_what_waits_for_the_next_start() -> None:
    assert concerned(["reconnect.cap", "socket.heartbeat"]) == ("session/link/reconnect",), "rest_for_one"
    assert concerned(["socket.heartbeat"]) == ("session/link/socket",)
    assert concerned(["avatar.enabled"]) == ("session/avatar", "session/client")
    assert concerned(["delivery.store", "supervision.root_period"]) == ()
    assert at_next_start(["delivery.store", "supervision.root_period", "socket.heartbeat"]) == (
        "delivery.store",
        "supervision.root_period",
    )
    sections = {part.partition(".")[0] for parts in (*RESTARTED.values(), AT_NEXT_START) for part in parts}
    assert sections >= set(SECTIONS) - {"audio", "voice", "development"}, "these nobody keeps a copy of"
