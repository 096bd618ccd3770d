"""A stop hook that hangs after an end that nobody asked for: bounded, and wedged when it cannot be ended."""

from __future__ import annotations

import anyio
import pytest
from tests.supervisors.crew import Boom, Die, Finish

from holdfast.runtime import Actor, CrashReported, Outcome, StopHookOverdue, TaskWedged, on, open_system
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import FOREVER, KILL, ONE_FOR_ALL, TRANSIENT, start_tree, supervisor, worker


class Clinging(Actor):
    """Takes its time to stop, and shields itself when it is told to."""

    def __init__(self, seconds: float, *, shield: bool) -> None:
        self._seconds, self._shield = seconds, shield

    async def on_stop(self, outcome: Outcome) -> None:
        if self.context.incarnation == 1:
            with anyio.CancelScope(shield=self._shield):
                await anyio.sleep(self._seconds)

    @on(Die)
    def _die(self, _message: Die) -> None:
        raise Boom("clinging")

    @on(Finish)
    def _finish(self, message: Finish) -> None:
        self.context.stop(message.outcome)


@both_backends
@pytest.mark.parametrize("shutdown, allowed", [(3.0, 3.0), (KILL, 1.0), (0.0, 1.0)])
async def test_after_a_crash_the_hook_has_the_allowance_of_the_spec(shutdown: float, allowed: float) -> None:
    # S-B8: nobody asked for this stop, so nobody else bounds it
    async with open_system() as system:
        child = worker("x", lambda: Clinging(1000.0, shield=False), shutdown=shutdown)
        await start_tree(system, supervisor("top", child))
        crashes = system.events.subscribe(wanted=lambda event: isinstance(event, CrashReported))
        slot = system.ref("top/x").slot
        before = system.now()
        slot.ref.tell(Die())
        await anyio.sleep(60)
        assert slot.incarnation == 2
        assert slot.started_at - before == pytest.approx(allowed)
        said: list[str] = []
        while (event := crashes.get_nowait()) is not None:
            assert isinstance(event, CrashReported)
            said.append(event.exception)
        assert any(Boom.__name__ in line for line in said)
        assert any(StopHookOverdue.__name__ in line for line in said)


@both_backends
async def test_a_hook_that_cannot_be_ended_is_wedged_and_its_successor_starts() -> None:
    # S-B8
    async with open_system() as system:
        child = worker("x", lambda: Clinging(50.0, shield=True), shutdown=3.0)
        handle = await start_tree(system, supervisor("top", child, worker("y", Actor)))
        wedged = system.events.subscribe(wanted=lambda event: isinstance(event, TaskWedged))
        slot = system.ref("top/x").slot
        before = system.now()
        slot.ref.tell(Die())
        await anyio.sleep(10)
        assert slot.incarnation == 2
        assert slot.started_at - before == pytest.approx(4.0), "the allowance, and the grace of a kill"
        event = wedged.get_nowait()
        assert isinstance(event, TaskWedged)
        assert "on_stop" in event.stack
        assert (await handle.which_child("x")).wedged
        assert system.wedged == ("top/x",)
        await anyio.sleep(60)
        assert not (await handle.which_child("x")).wedged
        assert not system.statistics().wedged


@both_backends
async def test_an_orderly_end_whose_hook_hangs_is_a_failure() -> None:
    async with open_system() as system:
        child = worker("x", lambda: Clinging(1000.0, shield=False), shutdown=3.0, restart=TRANSIENT)
        await start_tree(system, supervisor("top", child))
        slot = system.ref("top/x").slot
        slot.ref.tell(Finish())
        await anyio.sleep(10)
        assert slot.incarnation == 2, "R5: a transient child is restarted after an abnormal end"


@both_backends
async def test_forever_is_for_ever() -> None:
    async with open_system() as system:
        child = worker("x", lambda: Clinging(1000.0, shield=False), shutdown=FOREVER)
        await start_tree(system, supervisor("top", child))
        slot = system.ref("top/x").slot
        slot.ref.tell(Die())
        await anyio.sleep(900)
        assert slot.incarnation == 1
        await anyio.sleep(200)
        assert slot.incarnation == 2


@both_backends
async def test_one_wedged_member_holds_up_its_group_for_its_allowance_and_no_longer() -> None:
    # S-B8, R18: a group restart goes on without it
    async with open_system() as system:
        spec = supervisor(
            "top",
            worker("a", lambda: Clinging(0.0, shield=False)),
            worker("b", lambda: Clinging(500.0, shield=True), shutdown=2.0),
            worker("c", lambda: Clinging(0.0, shield=False)),
            strategy=ONE_FOR_ALL,
        )
        handle = await start_tree(system, spec)
        before = system.now()
        system.ref("top/a").tell(Die())
        await anyio.sleep(20)
        started = [system.ref(f"top/{name}").slot.started_at - before for name in "abc"]
        assert started == [pytest.approx(3.0)] * 3, "2 s of allowance and 1 s of grace"
        assert [child.wedged for child in await handle.which_children()] == [False, True, False]
        await anyio.sleep(600)
