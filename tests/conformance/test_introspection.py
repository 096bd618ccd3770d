"""Introspection as OTP's `sys` module has it: one test for each rule, S17 and S21-S23."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.cast import Ask, Boom, Fail, Note, SlowScribe, Wait, events_of
from tests.supervisors.crew import Crew, Die

from holdfast.runtime import (
    Actor,
    ActorGone,
    AskTimeout,
    CallbackFailed,
    CrashReported,
    DefinitionError,
    InvalidTimeout,
    Message,
    Observed,
    Request,
    Shutdown,
    StoppedOtherwise,
    StopTimeout,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled

# ---- S22: suspend and resume -----------------------------------------------------------------------


@both_backends
async def test_a_suspended_actors_mail_waits_and_a_call_times_out() -> None:
    # S22
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe(log))
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
        scribe = await system.start("scribe", lambda: SlowScribe(log))
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
        scribe = await system.start("scribe", lambda: SlowScribe(log))
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


# ---- S21: the state --------------------------------------------------------------------------------


class Add(Message, frozen=True):
    amount: int


class Total(Request[int], frozen=True):
    """Answer with the total."""


class Ledger(Actor):
    """Adds up, and keeps what it was told."""

    def __init__(self) -> None:
        self.total = 0
        self.entries: list[int] = []

    @on(Add)
    def add(self, message: Add) -> None:
        self.total += message.amount
        self.entries.append(message.amount)

    @on(Total)
    def answer(self, _question: Total) -> int:
        return self.total


@both_backends
async def test_get_state_returns_the_attributes() -> None:
    # S21
    async with open_system() as system:
        ledger = await system.start("ledger", Ledger)
        ledger.tell(Add(2))
        ledger.tell(Add(3))
        await settled()

        assert await system.inspect(ledger).get_state() == {"total": 5, "entries": [2, 3]}


@both_backends
async def test_replace_state_gives_the_actor_what_the_function_returns() -> None:
    # S21
    async with open_system() as system:
        ledger = await system.start("ledger", Ledger)
        ledger.tell(Add(2))
        await settled()

        shown = await system.inspect(ledger).replace_state(lambda state: {**state, "total": 40})
        ledger.tell(Add(2))

        assert shown == {"total": 40, "entries": [2]}
        assert await ledger.ask(Total()) == 42


@both_backends
async def test_a_function_that_raises_leaves_the_state_unchanged_and_is_reported_as_such() -> None:
    # S21
    def spoil(state: dict[str, object]) -> dict[str, object]:
        entries = state["entries"]
        assert isinstance(entries, list)
        entries.clear()
        state["total"] = 0
        raise Boom("half way")

    async with open_system() as system:
        ledger = await system.start("ledger", Ledger)
        ledger.tell(Add(2))
        await settled()

        with pytest.raises(CallbackFailed, match=r"ledger is unchanged: .* Boom: half way") as failed:
            await system.inspect(ledger).replace_state(spoil)

        assert isinstance(failed.value.reason, Boom)
        assert await system.inspect(ledger).get_state() == {"total": 2, "entries": [2]}
        assert await ledger.ask(Total()) == 2, "and the actor lives"


@both_backends
async def test_the_state_is_read_and_replaced_while_the_actor_is_suspended() -> None:
    # S21
    async with open_system() as system:
        ledger = await system.start("ledger", Ledger)
        inspection = system.inspect(ledger)
        await inspection.suspend()
        ledger.tell(Add(2))

        assert await inspection.get_state() == {"total": 0, "entries": []}
        assert await inspection.replace_state(lambda state: {**state, "total": 40}) == {
            "total": 40,
            "entries": [],
        }
        await inspection.resume()

        assert await ledger.ask(Total()) == 42


# ---- S20: what is shown ----------------------------------------------------------------------------


class Guarded(Ledger):
    """Says itself what may be shown of it."""

    def format_state(self) -> object:
        return {"entries": len(self.entries)}

    @on(Fail)
    def fail(self, _message: Fail) -> None:
        raise Boom("told to")


@both_backends
async def test_a_hook_of_the_class_edits_what_is_shown_in_inspections_and_crash_reports() -> None:
    # S20
    async with open_system() as system:
        ledger = await system.start("ledger", Guarded)
        ledger.tell(Add(2))
        await settled()

        assert await system.inspect(ledger).get_state() == {"entries": 1}
        with events_of(system, CrashReported) as crashes:
            ledger.tell(Fail())
            await settled()

        assert [crash.state for crash in crashes if isinstance(crash, CrashReported)] == [{"entries": 1}]


# ---- S17: a stop from outside ----------------------------------------------------------------------


@both_backends
async def test_a_stop_from_outside_runs_the_stop_hook_and_returns_when_the_actor_is_gone() -> None:
    # S17
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe(log))
        scribe.tell(Note("before"))

        await system.inspect(scribe).stop(Shutdown("enough"))

        assert log == ["+1", "before", "-shutdown('enough')"], "queued like a message"
        assert scribe.slot.cell is None
        with pytest.raises(ActorGone):
            await system.inspect(scribe).stop()


@both_backends
async def test_another_end_than_the_one_asked_for_is_raised_at_the_stopper() -> None:
    # S17
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe([]))
        scribe.tell(Fail())

        with pytest.raises(StoppedOtherwise, match="as normal and ended as crash"):
            await system.inspect(scribe).stop()


@both_backends
async def test_a_stop_that_takes_too_long_fails_at_the_stopper_and_goes_on() -> None:
    # S17
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe(log))
        scribe.tell(Wait(3.0))
        await settled()

        with pytest.raises(StopTimeout, match="within 1 s"):
            await system.inspect(scribe).stop(timeout=1.0)
        assert log == ["+1", "busy"]

        await anyio.sleep(5.0)
        assert log == ["+1", "busy", "done", "-normal"]


@both_backends
async def test_an_invalid_timeout_or_outcome_of_a_stop_leaves_the_actor_alive() -> None:
    # S17
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe([]))

        with pytest.raises(InvalidTimeout):
            await system.inspect(scribe).stop(timeout=-1.0)
        with pytest.raises(DefinitionError, match="ends itself as"):
            await system.inspect(scribe).stop("normal")  # type: ignore[arg-type]

        assert await scribe.ask(Ask()) == "asked"


@both_backends
async def test_a_suspended_actor_is_stopped_all_the_same() -> None:
    # S17, S22
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe(log))
        await system.inspect(scribe).suspend()
        scribe.tell(Note("waits"))

        await system.inspect(scribe).stop(timeout=1.0)

    assert log == ["+1", "-normal"]


# ---- S23: statistics, log, trace, observers --------------------------------------------------------


@both_backends
async def test_statistics_are_counted_for_each_message_between_on_and_off() -> None:
    # S23
    async with open_system() as system:
        ledger = await system.start("ledger", Ledger)
        inspection = system.inspect(ledger)
        ledger.tell(Add(1))
        await settled()
        assert inspection.statistics().messages is None

        inspection.start_statistics()
        ledger.tell(Add(1))
        await ledger.ask(Total())
        await settled()
        counted = inspection.statistics()

        assert (counted.handled, counted.depth, counted.high_water, counted.started_at) == (3, 0, 2, 0.0)
        assert counted.messages is not None
        assert (counted.messages.messages_in, counted.messages.messages_out) == (2, 1)

        inspection.stop_statistics()
        await ledger.ask(Total())
        await settled()
        assert inspection.statistics().messages is None
        assert inspection.statistics().handled == 4


@both_backends
async def test_the_log_keeps_the_latest_messages_and_prints_them() -> None:
    # S23
    async with open_system() as system:
        ledger = await system.start("ledger", Ledger)
        inspection = system.inspect(ledger)
        inspection.start_log(3)
        ledger.tell(Add(1))
        await ledger.ask(Total())
        printed: list[str] = []

        inspection.print_log(printed.append)

        assert [(entry.what, entry.message_type) for entry in inspection.log()] == [
            ("in", "Total"),
            ("reply", "int"),
            ("handled", "Total"),
        ]
        assert [line.partition(" ledger ")[2].partition(" (")[0] for line in printed] == [
            "#1 in Total",
            "#1 reply int",
            "#1 handled Total",
        ]
        inspection.stop_log()
        assert inspection.log() == ()


@both_backends
async def test_a_trace_tells_its_sink_of_each_message_until_it_is_stopped() -> None:
    # S23
    traced: list[Observed] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe([]))
        with system.inspect(scribe).trace(traced.append):
            scribe.tell(Wait(2.0))
            await anyio.sleep(3.0)
            scribe.tell(Fail())
            await settled()

    assert [(entry.what, entry.message_type) for entry in traced] == [
        ("in", "Wait"),
        ("handled", "Wait"),
        ("in", "Fail"),
        ("crash", "Fail"),
    ]
    assert traced[1].seconds == pytest.approx(2.0, abs=0.01)
    assert traced[3].error == "Boom: told to"


@both_backends
async def test_an_observer_with_the_same_id_is_installed_once() -> None:
    # S23
    first: list[Observed] = []
    second: list[Observed] = []
    async with open_system() as system:
        ledger = await system.start("ledger", Ledger)
        inspection = system.inspect(ledger)

        assert inspection.install("mine", first.append)
        assert not inspection.install("mine", second.append)
        ledger.tell(Add(1))
        await settled()
        assert inspection.remove("mine")
        assert not inspection.remove("mine")
        ledger.tell(Add(1))
        await settled()

    assert [entry.what for entry in first] == ["in", "handled"]
    assert second == []


@both_backends
async def test_no_debug_switches_everything_off() -> None:
    # S23
    told: list[Observed] = []
    async with open_system() as system:
        ledger = await system.start("ledger", Ledger)
        inspection = system.inspect(ledger)
        inspection.start_statistics()
        inspection.start_log()
        inspection.install("mine", told.append)
        inspection.trace(told.append)

        inspection.no_debug()
        ledger.tell(Add(1))
        await settled()

        assert told == []
        assert inspection.log() == ()
        assert inspection.statistics().messages is None
