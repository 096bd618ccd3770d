"""Finer points of introspection: who may not wait, what a timeout leaves, what survives a restart."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Ask, Fail, Note, Scribe, SlowScribe, Wait, keeper

from holdfast.runtime import (
    Actor,
    ActorGone,
    AskCycle,
    AskTimeout,
    HoldfastError,
    InspectionTimeout,
    InvalidTimeout,
    NoSuchActor,
    Request,
)
from holdfast.runtime import on as handles
from holdfast.runtime.testing import both_backends, settled


@both_backends
async def test_a_path_that_nobody_has_named_is_refused_and_leaves_no_trace() -> None:
    async with open_system() as system:
        slots = system.statistics().slots

        with pytest.raises(NoSuchActor, match="no actor 'nobody'"):
            system.inspect("nobody")

        assert system.statistics().slots == slots


@every_tier
async def test_what_does_not_run_cannot_be_suspended() -> None:
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe([]))
        scribe.tell(Fail())
        await settled()

        with pytest.raises(ActorGone, match="told to"):
            await system.inspect(scribe).suspend()
        with pytest.raises(ActorGone):
            await system.inspect(system.ref("to/come")).resume()


@both_backends
async def test_suspend_returns_when_the_present_handler_is_over() -> None:
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe(log))
        scribe.tell(Wait(3.0))
        scribe.tell(Note("next"))
        await settled()
        started = system.now()

        await system.inspect(scribe).suspend()

        assert system.now() - started == pytest.approx(3.0, abs=0.01)
        assert log == ["+1", "busy", "done"]


@both_backends
async def test_an_actor_too_busy_to_be_suspended_is_suspended_when_its_handler_is_over() -> None:
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe(log))
        scribe.tell(Wait(3.0))
        scribe.tell(Note("next"))
        await settled()

        with pytest.raises(InspectionTimeout, match="busy with one message for 1 s"):
            await system.inspect(scribe).suspend(timeout=1.0)
        await anyio.sleep(5.0)

        assert log == ["+1", "busy", "done"]
        await system.inspect(scribe).resume()
        await settled()
        assert log[-1] == "next"


@both_backends
async def test_an_incarnation_that_ends_first_fails_the_request_at_once() -> None:
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe([]))
        scribe.tell(Wait(3.0))
        await settled()
        failed: list[HoldfastError] = []

        async def suspend() -> None:
            try:
                await system.inspect(scribe).suspend(timeout=60.0)
            except ActorGone as error:
                failed.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(suspend)
            await settled()
            cell = scribe.slot.cell
            assert cell is not None
            cell.kill()

        assert [str(error) for error in failed] == ["scribe is gone (it ended: killed)"]
        assert system.now() < 10.0


@every_tier
async def test_a_successor_is_not_suspended() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: Scribe(log))
        inspection = system.inspect("keeper/scribe")
        await inspection.suspend()
        cell.slot.ref.tell(Note("kept"))

        await cell.stop(1.0, final=False)
        await parent.start("scribe", lambda: Scribe(log))
        await settled()

        assert not inspection.suspended
        assert log == ["+1", "-shutdown", "+2", "kept"]


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), True, "soon"])
@every_tier
async def test_a_time_limit_that_is_none_is_refused_and_nothing_is_done(timeout: float) -> None:
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe([]))

        with pytest.raises(InvalidTimeout, match="seconds above 0"):
            await system.inspect(scribe).suspend(timeout=timeout)

        assert not system.inspect(scribe).suspended
        assert await scribe.ask(Ask()) == "asked"


class HoldYourself(Request[str], frozen=True):
    """Suspend yourself from a handler."""


class Navel(Actor):
    @handles(HoldYourself)
    async def hold(self, _message: HoldYourself) -> str:
        try:
            await self.context.system.inspect(self.context.ref).suspend()
        except AskCycle as error:
            await self.context.system.inspect("other").suspend()
            return str(error)
        return "went on"


@every_tier
async def test_an_actor_that_inspects_itself_from_a_handler_is_refused_at_once() -> None:
    async with open_system() as system:
        navel = await system.start("navel", Navel)
        await system.start("other", lambda: Scribe([]))

        said = await navel.ask(HoldYourself())

        assert "navel -> navel" in said
        assert not system.inspect(navel).suspended
        assert system.inspect("other").suspended


class Counter(Actor):
    """All its handlers are plain: it has no task of its own."""

    def __init__(self) -> None:
        self.count = 0

    @handles(HoldYourself)
    def add(self, _message: HoldYourself) -> str:
        self.count += 1
        return str(self.count)


@every_tier
async def test_an_actor_without_a_task_is_suspended_shown_observed_and_stopped_like_any_other() -> None:
    # S17, S21, S22, S23, S-A12
    async with open_system() as system:
        counter = await system.start("counter", Counter)
        inspection = system.inspect(counter)
        inspection.start_statistics()
        await inspection.suspend()

        with pytest.raises(AskTimeout):
            await counter.ask(HoldYourself(), timeout=1.0)
        assert await inspection.get_state() == {"count": 0}
        assert await inspection.replace_state(lambda _state: {"count": 40}) == {"count": 40}
        await inspection.resume()

        assert await counter.ask(HoldYourself()) == "41"
        await settled()
        counted = inspection.statistics().messages
        assert counted is not None
        assert (counted.messages_in, counted.messages_out) == (1, 1)
        await inspection.stop(timeout=1.0)
        with pytest.raises(ActorGone):
            await inspection.get_state()
