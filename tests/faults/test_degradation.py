"""A part that keeps failing is switched off; the session goes on without it, and gets it back."""

from __future__ import annotations

import trio
from tests.stories.story import running
from tests.stories.world import open_world

from holdfast.actors.client.facade import Client
from holdfast.actors.hub.avatar_sessions import SANDBOX_AVATAR
from holdfast.runtime.testing import on_trio
from holdfast.supervisors import FullRestartStarted, SupervisorHandle

AVATAR = "session/avatar"
AVATAR_ON = {"enabled": True, "avatar_id": SANDBOX_AVATAR, "is_sandbox": True}

# The avatar's own budget, and the crash that is one too many.
SPENT = 4


async def _state_of_avatar(client: Client) -> str:
    session = SupervisorHandle(client.system.ref("holdfast/session"))
    return (await session.which_child("avatar")).state


@on_trio
async def test_an_avatar_that_keeps_crashing_is_switched_off_and_comes_back_by_itself() -> None:
    # Beyond OTP 5, A8 level 3: the session goes on without it
    async with open_world() as world:
        async with running(world, avatar=AVATAR_ON) as story:
            for _ in range(SPENT):
                world.crash(story.client, AVATAR)
                await trio.sleep(1)
            assert await _state_of_avatar(story.client) == "degraded"
            state = await story.client.state()
            assert (state.phase, state.avatar) == ("ready", "voice_only")
            await story.traffic.send(20, every=1 / 64)
            await story.traffic.settled()
            assert not story.heard.of(FullRestartStarted)

            await trio.sleep(60)
            assert await _state_of_avatar(story.client) == "running"
            assert (await story.client.state()).avatar == "open"
        assert not world.hub.avatars.active
