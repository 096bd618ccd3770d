"""Introspection as OTP's `sys` module has it: one test for each rule, S17 and S21-S23."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.cast import Ask, Note, Scribe
from tests.supervisors.crew import Crew, Die

from holdfast.runtime import AskTimeout, open_system
from holdfast.runtime.testing import both_backends, settled

# ---- S22: suspend and resume -----------------------------------------------------------------------


@both_backends
async def test_a_suspended_actors_mail_waits_and_a_call_times_out() -> None:
    # S22
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe(log))
        await system.inspect(scribe).suspend()

        scribe.tell(Note("one"))
        with pytest.raises(AskTimeout):
            await scribe.ask(Ask("late"), timeout=1.0)
        scribe.tell(Note("two"))
        await settled()

        assert log == ["+1"]
        assert system.inspect("scribe").suspended
    assert log == ["+1", "one", "two", "-shutdown"]


@both_backends
async def test_resume_serves_what_waited_in_order() -> None:
    # S22
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe(log))
        inspection = system.inspect(scribe)
        await inspection.suspend()
        scribe.tell(Note("one"))
        scribe.tell(Note("two"))

        await inspection.resume()
        assert await scribe.ask(Ask("three")) == "three"

        assert log == ["+1", "one", "two", "three"]
        assert not inspection.suspended


@both_backends
async def test_suspending_twice_and_resuming_twice_is_once() -> None:
    # S22
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe(log))
        inspection = system.inspect(scribe)
        await inspection.suspend()
        await inspection.suspend()
        scribe.tell(Note("waits"))
        await settled()
        assert log == ["+1"]

        await inspection.resume()
        await inspection.resume()

        assert await scribe.ask(Ask()) == "asked"


@both_backends
async def test_a_suspended_supervisor_serves_notices_and_calls_in_the_order_in_which_they_came() -> None:
    # S22
    crew = Crew()
    seen: list[str] = []
    async with open_system() as system:
        top = await crew.start(system, *crew.members("abc"))
        inspection = system.inspect(top.ref)
        await inspection.suspend()

        async def call() -> None:
            seen.extend(
                f"{child.id} {child.state} {child.incarnation}" for child in await top.which_children()
            )

        async with anyio.create_task_group() as calls:
            system.ref("top/a").tell(Die())
            await settled()
            calls.start_soon(call)
            await settled()
            system.ref("top/b").tell(Die())
            await settled()
            assert crew.take() == ["-a:crash", "-b:crash"], "both are dead before the supervisor reacts"
            assert seen == []

            await inspection.resume()
        await settled()

        # The call came between the two notices: a is restarted already, of b's end it knows nothing.
        assert seen == ["a running 2", "b running 1", "c running 1"]
        assert crew.take() == ["+a", "+b"]
