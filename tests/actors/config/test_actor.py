"""The config actor in a running system: reloading, and what broken sources do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest

from holdfast.actors.config.actor import ConfigActor
from holdfast.actors.config.messages import ConfigRejected, ConfigReloaded, GetConfiguration, Reload
from holdfast.actors.config.sources import LiveConfiguration, load
from holdfast.runtime import Event, Seams, Subscription, event_name, open_system
from holdfast.runtime.testing import both_backends

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def write(file: Path, text: str) -> None:
    file.write_text(text)


def remove(file: Path) -> None:
    file.unlink()


class Inline:
    """The threads seam of a simulation."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        return fn(*args)


SEAMS = Seams(threads=Inline())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "holdfast.toml"
    path.write_text("[reconnect]\nmax_retries = 1\n")
    return path


@pytest.fixture
def live(file: Path) -> LiveConfiguration:
    return load(file, environ={})


def config_events(events: Subscription) -> list[Event]:
    seen = iter(events.get_nowait, None)
    return [event for event in seen if isinstance(event, ConfigRejected | ConfigReloaded)]


@both_backends
async def test_the_configuration_in_force_can_be_asked_for(live: LiveConfiguration) -> None:
    async with open_system(seams=SEAMS) as system:
        ref = await system.start("config", lambda: ConfigActor(live))

        assert await ref.ask(GetConfiguration()) is live.current


@both_backends
async def test_a_reload_takes_over_what_changed_and_says_so(live: LiveConfiguration, file: Path) -> None:
    async with open_system(seams=SEAMS) as system:
        events = system.events.subscribe()
        ref = await system.start("config", lambda: ConfigActor(live))
        write(file, "[reconnect]\nmax_retries = 2\n")

        result = await ref.ask(Reload())

        assert result.accepted
        assert result.changed == ("reconnect.max_retries",)
        assert live.current.reconnect.max_retries == 2
        assert config_events(events) == [ConfigReloaded(changed=("reconnect.max_retries",))]


@both_backends
async def test_a_reload_of_the_same_is_silent_and_keeps_the_very_value(live: LiveConfiguration) -> None:
    async with open_system(seams=SEAMS) as system:
        events = system.events.subscribe()
        before = live.current
        ref = await system.start("config", lambda: ConfigActor(live))

        result = await ref.ask(Reload())

        assert (result.accepted, result.changed) == (True, ())
        assert live.current is before
        assert not config_events(events)


# SEMANTICS "Supervision beyond OTP" 7: a broken file keeps the last good one, and says so.
@both_backends
async def test_a_broken_file_keeps_the_last_good_configuration_and_says_so(
    live: LiveConfiguration, file: Path
) -> None:
    async with open_system(seams=SEAMS) as system:
        events = system.events.subscribe()
        ref = await system.start("config", lambda: ConfigActor(live))
        before = live.current
        write(file, "[reconnect]\nmax_retries = -1\n[audio]\nchannels = 2\n")

        result = await ref.ask(Reload())

        assert not result.accepted
        assert live.current is before
        (rejected,) = config_events(events)
        assert isinstance(rejected, ConfigRejected)
        assert event_name(rejected) == "config:rejected"
        assert rejected.problems == result.problems
        assert "reconnect.max_retries = -1" in rejected.problems[0]


# SEMANTICS "Supervision beyond OTP" 7 and 11: a restart reads again; a broken file does not hinder it.
@both_backends
async def test_a_start_reads_the_sources_again(live: LiveConfiguration, file: Path) -> None:
    write(file, "[reconnect]\nmax_retries = 3\n")
    async with open_system(seams=SEAMS) as system:
        await system.start("config", lambda: ConfigActor(live))
        assert live.current.reconnect.max_retries == 3

    remove(file)
    async with open_system(seams=SEAMS) as system:
        events = system.events.subscribe()
        ref = await system.start("config", lambda: ConfigActor(live))

        assert (await ref.ask(GetConfiguration())).reconnect.max_retries == 3
        assert isinstance(config_events(events)[0], ConfigRejected)
