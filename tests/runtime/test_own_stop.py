"""An actor that stops itself while it is being asked to stop: its own word counts (R21)."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.cast import Scribe, Wait, keeper

from holdfast.runtime import Shutdown, on, open_system
from holdfast.runtime.testing import both_backends, settled


class Leaver(Scribe):
    @on(Wait)
    async def wait(self, message: Wait) -> None:
        await anyio.sleep(message.seconds)
        self.context.stop(Shutdown("done"))


# Outcomes; R21
@pytest.mark.parametrize("final", [False, True], ids=["for a restart", "for good"])
@both_backends
async def test_what_it_said_itself_is_kept_although_it_was_asked_to_stop_meanwhile(*, final: bool) -> None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("leaver", lambda: Leaver([]))
        cell.slot.ref.tell(Wait(1.0))
        await settled()

        assert await cell.stop(5.0, final=final) == Shutdown("done")
        assert parent.ended == [], "it was asked for, so it is no end by itself for its parent"
