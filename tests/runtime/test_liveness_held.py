"""Handlers that take long while their actor is held back, or stopped: judged, or said to hold it up."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.cast import events_of
from tests.runtime.test_liveness import Rest, scene

from holdfast.runtime import (
    Crash,
    HandlerSlow,
    InspectionTimeout,
    LivenessSpec,
    Unresponsive,
    open_system,
)
from holdfast.runtime.testing import both_backends
from holdfast.runtime.vigil import REPORTS_MAX


# S-L1
@pytest.mark.parametrize("hold", ["suspend", "drain"])
@both_backends
async def test_a_handler_that_began_before_a_suspension_or_a_drain_is_judged(hold: str) -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        cell = system.ref("keeper/sleeper").slot.cell
        assert cell is not None
        stage.tell(Rest(30.0))
        await anyio.sleep(1.0)
        if hold == "suspend":
            cell.suspend()
            await anyio.sleep(8.9)
        else:
            with anyio.move_on_after(8.9):
                await cell.drain()
        assert [event.seconds for event in stage.slow] == pytest.approx([2.0, 4.0, 8.0])
        assert stage.keeper.ended == []
        await anyio.sleep(0.2)
        (notice,) = stage.keeper.ended
        assert isinstance(notice.outcome, Crash)
        assert isinstance(notice.outcome.exception, Unresponsive)


@both_backends
async def test_whoever_is_held_back_with_no_handler_at_work_is_not_judged() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        cell = system.ref("keeper/sleeper").slot.cell
        assert cell is not None
        stage.tell(Rest(1.5))
        await anyio.sleep(1.0)
        cell.suspend()
        stage.tell(Rest(1.0))
        await anyio.sleep(100.0)
        assert stage.log == ["+1", "rested 1.5"]
        cell.resume()
        await anyio.sleep(1.5)
        await cell.drain()
        await anyio.sleep(100.0)
        assert stage.log == ["+1", "rested 1.5", "rested 1"]
        assert stage.slow == []


# S-L1
@both_backends
async def test_a_suspension_that_timed_out_does_not_switch_liveness_off() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        stage.tell(Rest(1000.0))
        await anyio.sleep(1.0)
        with pytest.raises(InspectionTimeout):
            await system.inspect("keeper/sleeper").suspend(timeout=1.0)
        await anyio.sleep(8.1)
        (notice,) = stage.keeper.ended
        assert isinstance(notice.outcome, Crash)
        assert isinstance(notice.outcome.exception, Unresponsive)


# S-L1
@both_backends
async def test_who_holds_up_a_stop_is_reported_on_and_on_and_not_failed() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper()
        cell = system.ref("keeper/sleeper").slot.cell
        assert cell is not None
        stage.tell(Rest(400.0))
        await anyio.sleep(3.0)
        await cell.stop(None, final=True)

        assert stage.log == ["+1", "rested 400", "-shutdown"]
        assert [event.seconds for event in stage.slow] == pytest.approx([2.0 * 2**n for n in range(8)])
        first, *others = stage.slow
        assert (first.stopping, first.limit) == (False, 10.0)
        assert {(event.stopping, event.limit) for event in others} == {(True, None)}
        assert "it was asked to stop, and holds that up; it waits at" in str(others[0])


# S-L1
@both_backends
async def test_a_stop_asked_for_after_the_last_report_is_reported_again() -> None:
    async with open_system() as system:
        stage = await scene(system)
        await stage.sleeper(liveness=LivenessSpec(slow=1.0, hung=None))
        stage.tell(Rest(1000.0))
        await anyio.sleep(100.0)
        assert len(stage.slow) == REPORTS_MAX
        cell = system.ref("keeper/sleeper").slot.cell
        assert cell is not None
        with events_of(system, HandlerSlow) as told:
            cell.request_stop(final=False)
            await anyio.sleep(101.0)
        assert [round(event.seconds) for event in told if isinstance(event, HandlerSlow)] == [101, 128]
