"""A client in the middle of its life: connected, receiving, watched."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import attrs
import trio
from tests.stories.traffic import Traffic
from tests.stories.world import TICK, Recorder, World, budgets, flat_nursery, incarnations

from holdfast.actors.client import Client
from holdfast.runtime import CrashReported

__all__ = ["BACK_WITHIN", "Story", "running"]

# A2.7: the success metric of the seed.
BACK_WITHIN = 30.0


@attrs.define(eq=False)
class Story:
    """A client, its traffic, and what its system said."""

    world: World
    client: Client
    traffic: Traffic
    heard: Recorder

    async def until(self, state: str, *, within: float = BACK_WITHIN) -> float:
        """Wait until the link is in this state; return how long it took."""
        began = trio.current_time()
        with trio.fail_after(within):
            while (await self.client.state()).link.state != state:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(TICK)
        return trio.current_time() - began

    async def untouched(self) -> None:
        """Nobody crashed or was restarted, no budget was charged: a remote's fault is nobody's crash."""
        assert not self.heard.of(CrashReported)
        assert set((await incarnations(self.client)).values()) == {1}
        assert all(left == whole for left, whole in (await budgets(self.client)).values())


@asynccontextmanager
async def running(
    world: World, *, connect: bool = True, **sections: Mapping[str, object]
) -> AsyncGenerator[Story]:
    """Open a client that receives all the time, and connect it."""
    async with world.client("teller", **sections) as client, flat_nursery() as nursery:
        story = Story(world, client, Traffic(world, client), Recorder(client))
        nursery.start_soon(story.traffic.receive)
        if connect:
            await client.connect()
        yield story
        nursery.cancel_scope.cancel()
