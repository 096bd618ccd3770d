"""Failures of several components of the whole client, in the simulated world: A4.5, A9, S-B6."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stories.story import BACK_WITHIN, Story, running
from tests.stories.world import budgets, flat_nursery, incarnations, open_world, until

from holdfast.actors.client.events import event_form
from holdfast.actors.client.messages import RecoveryCompleted, RecoveryFailed, UnknownRecovery
from holdfast.actors.delivery.messages import ContinuityLost
from holdfast.runtime.testing import on_trio, run
from holdfast.supervisors import (
    FullRestartCompleted,
    FullRestartStarted,
    SystemFailure,
    UnknownComponent,
)

COMPONENTS = {
    "session/auth": "auth",
    "session/link/socket": "websocket",
    "session/link/reconnect": "websocket",
    "session/delivery": "session",
    "session/client": "session",
    "session/avatar": "avatar",
    "foundation/config": "config",
    "foundation/logger": "logger",
}


async def crash(story: Story, *paths: str, every: float = 1.0) -> None:
    """Crash these actors one after the other, and wait until each has."""
    for number, path in enumerate(paths):
        if number:
            await trio.sleep(every)
        story.world.crash(story.client, path)


@on_trio
async def test_three_components_within_five_seconds_are_one_failure_and_one_full_restart() -> None:
    # A4.5, S-B6; nothing that was accepted is lost, doubled or reordered
    async with open_world() as world, running(world) as story:
        await story.client.preserve_state({"draft": "dear"})
        async with flat_nursery() as nursery:
            nursery.start_soon(lambda: story.traffic.send(300, every=1 / 64))
            await trio.sleep(1)
            await crash(story, "session/auth", "session/link/socket", "session/delivery")
        await until(lambda: bool(story.heard.of(FullRestartCompleted)))
        await story.traffic.settled()
        assert await story.until("connected") < BACK_WITHIN

        (failure,) = story.heard.of(SystemFailure)
        form = event_form(failure)
        assert form["type"] == "system:failure"
        payload = form["payload"]
        assert isinstance(payload, dict)
        assert payload["failedComponents"] == ("auth", "websocket", "session")
        assert payload["recoveryStrategy"] == "full_restart"
        assert payload["canRecover"] is True
        assert len(story.heard.of(FullRestartStarted)) == len(story.heard.of(FullRestartCompleted)) == 1
        # The first two were restarted at once as always, the third with everybody.
        assert await incarnations(story.client) == {
            path: 3 if path in {"session/auth", "session/link/socket"} else 2 for path in COMPONENTS
        }
        assert (await budgets(story.client))["holdfast"] == (2, 3)
        assert (await story.client.state()).phase == "ready"
        assert await story.client.preserved_state() == {"draft": "dear"}
        assert not story.heard.of(ContinuityLost)


@on_trio
@pytest.mark.parametrize("every, restarts", [(2.5, 1), (2.5005, 0)])
async def test_the_edge_of_the_window_counts_and_nothing_beyond_it(every: float, restarts: int) -> None:
    # S-B6: 5.0 s exactly, and 5.001 s
    async with open_world() as world, running(world) as story:
        await crash(story, "session/auth", "session/avatar", "foundation/logger", every=every)
        await trio.sleep(30)
        assert len(story.heard.of(SystemFailure)) == len(story.heard.of(FullRestartCompleted)) == restarts


@on_trio
async def test_two_components_are_handled_one_by_one_however_many_actors_they_have() -> None:
    # S-B6; SEMANTICS "Components and actors"
    async with open_world() as world, running(world) as story:
        paths = ("session/delivery", "session/client", "session/link/reconnect", "session/link/socket")
        await crash(story, *paths, every=0.5)
        await trio.sleep(30)
        assert not story.heard.of(SystemFailure, FullRestartStarted)
        assert (await story.client.state()).phase == "ready"


@settings(max_examples=8, deadline=None, database=None)
@given(
    st.lists(st.sampled_from(sorted(COMPONENTS)), min_size=1, max_size=4),
    st.sampled_from([0.0, 1 / 16, 1.0]),
)
def test_any_burst_is_answered_as_the_table_says_and_loses_nothing(paths: list[str], every: float) -> None:
    # A4.5, S-B6, D4.3
    async def story_of_a_burst() -> None:
        async with open_world() as world, running(world) as story:
            async with flat_nursery() as nursery:
                nursery.start_soon(lambda: story.traffic.send(100, every=1 / 64))
                for number, path in enumerate(paths):
                    if number:
                        await trio.sleep(every)
                    # Who does not run, or is being restarted with another, is not crashed a second time.
                    if story.client.system.ref(f"holdfast/{path}").slot.running:
                        world.crash(story.client, path)
                    await trio.sleep(1 / 64)
            await trio.sleep(20)
            await story.traffic.settled()
            within = {COMPONENTS[path] for path in paths}
            assert len(story.heard.of(SystemFailure)) <= 1
            assert len(story.heard.of(SystemFailure)) == (len(within) >= 3)
            assert len(story.heard.of(FullRestartCompleted)) == (len(within) >= 3)
            assert (await story.client.state()).phase == "ready"

    run("trio", story_of_a_burst)


# ---- the facade's verbs -----------------------------------------------------------------------------


@on_trio
async def test_failures_that_a_program_reports_count_like_those_of_actors() -> None:
    # A9: handle_component_failure
    async with open_world() as world, running(world) as story:
        await story.client.handle_component_failure("audio", RuntimeError("no device"))
        await story.client.handle_component_failure("voice", "the same actor")
        await story.client.handle_component_failure("auth", "refused twice")
        assert not story.heard.of(SystemFailure)
        with pytest.raises(UnknownComponent, match=r"auth, websocket, session, avatar.*got 'video'"):
            await story.client.handle_component_failure("video", "?")
        await story.client.handle_component_failure("websocket", "silent")
        await until(lambda: bool(story.heard.of(FullRestartCompleted)))
        (failure,) = story.heard.of(SystemFailure)
        assert failure.failed_components == ("avatar", "auth", "websocket")
        assert await story.until("connected") < BACK_WITHIN


@on_trio
async def test_a_connection_is_mended_when_the_link_is_up_and_not_before() -> None:
    # A4, A8: the answer means what it says
    async with open_world() as world, running(world) as story:
        assert await story.client.recover_from_error("connection_failure"), "it is up"
        world.kill_hub()
        await story.until("reconnecting")
        answers: list[bool] = []

        async def mend() -> None:
            answers.append(await story.client.recover_from_error("connection_failure"))

        async with flat_nursery() as nursery:
            nursery.start_soon(mend)
            await trio.sleep(2)
            assert answers == []
            await world.start_hub()
        assert answers == [True]
        assert (await story.client.state()).link.state == "connected"
        assert [event.source for event in story.heard.of(RecoveryCompleted)] == ["websocket"] * 2


@on_trio
async def test_a_connection_that_is_not_back_in_time_is_not_mended_and_says_so() -> None:
    async with open_world() as world, running(world) as story:
        world.kill_hub()
        await story.until("reconnecting")
        before = trio.current_time()
        assert not await story.client.recover_from_error("connection_failure")
        assert trio.current_time() - before == pytest.approx(30.0)
        (failed,) = story.heard.of(RecoveryFailed)
        assert failed.error == "the link was not back within 30 s; it is tried on"
        await world.start_hub()
        await story.until("connected")


@on_trio
async def test_a_connection_that_nobody_wants_cannot_be_mended() -> None:
    async with open_world() as world, running(world, connect=False) as story:
        assert not await story.client.recover_from_error("connection_failure")
        (failed,) = story.heard.of(RecoveryFailed)
        assert "connect() first" in failed.error


@on_trio
async def test_each_kind_of_recovery_works_on_the_real_tree() -> None:
    # A4: recover_from_error, validate_system_state, preserve_state
    async with open_world() as world, running(world) as story:
        assert await story.client.recover_from_error("auth_failure")
        assert (await story.client.validate_system_state()).valid
        with pytest.raises(UnknownRecovery):
            await story.client.recover_from_error("everything")  # type: ignore[arg-type]
        await story.client.preserve_state({"n": 1}, name="mine")
        assert await story.client.preserved_state(name="mine") == {"n": 1}
        assert not story.heard.of(RecoveryFailed)
