"""What a crash report tells, and what it costs when nobody reads it."""

from __future__ import annotations

import traceback

import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Boom, Fail, Note, Scribe, events_of, keeper

from holdfast.runtime import CrashReported, Event, Outcome
from holdfast.runtime.registry import Slot
from holdfast.runtime.testing import both_backends, settled


class Mute(Boom):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise LookupError("no words")


class MuteScribe(Scribe):
    async def on_stop(self, outcome: Outcome) -> None:
        raise Mute


def reports_in(events: tuple[Event, ...] | list[Event]) -> list[CrashReported]:
    return [event for event in events if isinstance(event, CrashReported)]


async def crash_times(times: int) -> tuple[list[CrashReported], Slot]:
    async with open_system() as system:
        parent = await keeper(system)
        with events_of(system, CrashReported) as events:
            for _ in range(times):
                cell = await parent.start("scribe", lambda: Scribe([]))
                cell.slot.ref.tell(Fail())
                await cell.wait_ended()
        return reports_in(events), system.registry.slot("keeper/scribe")


# Supervision 9: path, incarnation, message type, exception, last events
@every_tier
async def test_a_report_tells_who_over_what_why_and_what_came_before() -> None:
    reports, _slot = await crash_times(3)

    told = reports[-1].facts()
    assert list(told) == [
        "path",
        "incarnation",
        "exception",
        "message_type",
        "traceback",
        "recent",
        "at",
        "state",
    ]
    assert (told["path"], told["incarnation"], told["message_type"]) == ("keeper/scribe", 3, "Fail")
    assert told["exception"] == "Boom: told to"
    assert "Boom: told to\n" in str(told["traceback"])
    assert "raise Boom" in str(told["traceback"]), "with the line that failed"
    recent = reports[-1].recent
    assert "ActorStarted(path='keeper/scribe', incarnation=1" in recent[0]
    assert "keeper/scribe (incarnation 2) crashed over Fail: Boom: told to" in recent
    assert str(reports[-1]) == "keeper/scribe (incarnation 3) crashed over Fail: Boom: told to"


@every_tier
async def test_the_recorder_keeps_reports_without_what_these_tell_of_the_ones_before() -> None:
    reports, slot = await crash_times(5)

    assert len(reports[-1].past) == 8
    assert all(not report.past for report in reports_in(tuple(slot.recorder or ())))


@every_tier
async def test_no_text_is_made_of_a_crash_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("text was made")

    monkeypatch.setattr(traceback.StackSummary, "format", refuse)
    reports, _slot = await crash_times(2)

    with pytest.raises(AssertionError, match="text was made"):
        assert reports[0].traceback


@both_backends
async def test_an_exception_that_cannot_say_what_it_is_is_reported_all_the_same() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        with events_of(system, CrashReported) as events:
            cell = await parent.start("mute", lambda: MuteScribe([]))
            cell.slot.ref.tell(Note("handled"))
            await settled()
            await cell.stop(1.0, final=True)
        assert [report.exception for report in reports_in(events)] == [
            "Mute: its text cannot be had: LookupError"
        ]
        assert str(cell.outcome) == "crash(Mute: its text cannot be had: LookupError)"
