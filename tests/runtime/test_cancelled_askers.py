"""A cancelled asker has asked nothing, whoever is asked and however busy the loop is (S-A6)."""

from __future__ import annotations

import anyio
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Ask, Note, Scribe

from holdfast.runtime.testing import settled


@every_tier
async def test_nothing_of_a_cancelled_asker_is_handled_also_where_the_asked_is_awake() -> None:  # S-A6
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe(log))
        await anyio.lowlevel.checkpoint()
        # Its turn is due before anybody hears of the cancellation, and would take the question along.
        scribe.tell(Note("awake"))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await scribe.ask(Ask("from nobody"))
        assert scope.cancelled_caught
        await anyio.lowlevel.checkpoint()
        assert log == ["+1", "awake"]


@every_tier
async def test_nothing_of_a_cancelled_asker_is_handled_where_the_asked_sleeps() -> None:  # S-A6
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe(log))
        for turns in range(4):  # however long ago it was cancelled
            await settled()
            with anyio.CancelScope() as scope:
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                await scribe.ask(Ask("from nobody"))
            assert scope.cancelled_caught
        await settled()
        assert log == ["+1"]
