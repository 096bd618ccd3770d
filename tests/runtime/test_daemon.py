"""How a process ends, and what it says then."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from holdfast.runtime import Actor, Message, Seams, on, open_system
from holdfast.runtime.daemon import ExitStatus, describe_end, exit_status, stop_signals
from holdfast.runtime.errors import StopDeadlineExceeded
from holdfast.runtime.outcomes import KILLED, NORMAL, SHUTDOWN, Crash, GaveUp, Outcome
from holdfast.runtime.testing import on_trio


@pytest.mark.parametrize(
    "outcome,status,words",
    [
        (GaveUp(("session/auth", "session", "holdfast")), ExitStatus.GAVE_UP, "session/auth -> session"),
        (Crash(ValueError("a bug")), ExitStatus.WEDGED, "a bug"),
        (KILLED, ExitStatus.WEDGED, "killed"),
        (SHUTDOWN, ExitStatus.FAILED, "nobody asked"),
        (NORMAL, ExitStatus.FAILED, "nobody asked"),
    ],
    ids=["gave up", "crashed", "killed", "shut down", "done"],
)
def test_an_end_that_nobody_asked_for_has_a_status_and_words_of_its_own(
    outcome: Outcome, status: ExitStatus, words: str
) -> None:
    assert exit_status(outcome) is status
    assert words in describe_end(outcome)


def test_the_statuses_are_those_of_sysexits_where_it_has_one() -> None:
    assert (os.EX_UNAVAILABLE, os.EX_SOFTWARE, os.EX_TEMPFAIL, os.EX_CONFIG) == (
        ExitStatus.UNAVAILABLE,
        ExitStatus.WEDGED,
        ExitStatus.GAVE_UP,
        ExitStatus.CONFIGURATION,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_stop_signal_asks_and_the_second_one_ends_the_process(number: signal.Signals) -> None:
    ended: list[int] = []
    forced = trio.Event()

    def end(status: int) -> None:
        ended.append(status)
        forced.set()

    async def main() -> None:
        with trio.fail_after(5):
            async with stop_signals(Seams(exit_process=end)) as asked:
                os.kill(os.getpid(), number)
                await asked.wait()
                assert ended == []

                os.kill(os.getpid(), number)
                await forced.wait()

    trio.run(main)

    assert ended == [128 + number]


class Cling(Message, frozen=True):
    pass


class Clinging(Actor):
    @on(Cling)
    def cling(self, _message: Cling) -> None:
        self.context.spawn(self._hold_on)

    async def _hold_on(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(3600)


@on_trio
async def test_a_process_that_cannot_be_stopped_in_time_ends_itself_with_70() -> None:
    ended: list[int] = []

    with pytest.raises(StopDeadlineExceeded):
        async with open_system(
            seams=Seams(exit_process=ended.append), stop_deadline=1.0, exit_when_wedged=True
        ) as system:
            wedged = await system.start("wedged", Clinging)
            wedged.tell(Cling())
            await trio.sleep(0.1)

    assert ended == [ExitStatus.WEDGED]
