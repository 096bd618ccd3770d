"""A client whose configuration is changed while it works: A4.6 in the simulated world."""

from __future__ import annotations

import pytest
import trio
from tests.stories.story import BACK_WITHIN, running
from tests.stories.world import budgets, flat_nursery, incarnations, open_world

from holdfast.actors.config.messages import ConfigUpdated, ConfigurationError
from holdfast.runtime.testing import on_trio


@on_trio
async def test_a_change_reaches_those_it_concerns_while_messages_flow_and_nothing_is_lost() -> None:
    # A4.6, S-B11
    async with open_world() as world, running(world) as story:
        before, left = await incarnations(story.client), await budgets(story.client)
        async with flat_nursery() as nursery:
            nursery.start_soon(lambda: story.traffic.send(100, every=1 / 64))
            await trio.sleep(0.5)
            done = await story.client.update_configuration({"reconnect": {"max_retries": 4}})

        assert done.changed == ("reconnect.max_retries",)
        assert done.restarted == ("holdfast/session/link/reconnect",)
        assert done.at_next_start == ()
        await story.traffic.settled()
        assert await story.until("connected") < BACK_WITHIN
        after = await incarnations(story.client)
        grown = {path for path in after if after[path] != before.get(path)}
        assert grown == {"session/link/reconnect", "session/link/socket"}
        assert await budgets(story.client) == left, "S-B11: not charged"
        assert [event.component for event in story.heard.of(ConfigUpdated)] == ["websocket"]


@on_trio
async def test_a_change_that_is_wrong_restarts_nobody() -> None:
    # A4.6
    async with open_world() as world, running(world) as story:
        before = await incarnations(story.client)
        with pytest.raises(ConfigurationError, match=r"reconnect\.max_retries"):
            await story.client.update_configuration(
                {"reconnect": {"max_retries": "many"}, "socket": {"heartbeat": 9.0}}
            )
        assert await incarnations(story.client) == before
        assert story.heard.of(ConfigUpdated) == []
