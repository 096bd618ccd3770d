"""Every recorded row, replayed on the pure machine: no task, no clock, no shell."""

from __future__ import annotations

import pytest
from tests.supervisors.oracle import ROWS, Row, rows, rows_of
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import KILLED, NORMAL, SHUTDOWN, Outcome, Shutdown
from holdfast.supervisors import Budget, supervisor

OUTCOMES: dict[str, Outcome] = {
    "normal": NORMAL,
    "shutdown": SHUTDOWN,
    "shutdown+info": Shutdown("info"),
    "crash": CRASH,
    "killed": KILLED,
}


def replay(row: Row) -> tuple[tuple[str, ...], dict[int, str], str]:
    """Return events, final states and the supervisor's fate, in the notation of the rows."""
    children = [
        child(str(n), restart=row.restart[n - 1], significant=row.significant[n - 1]) for n in (1, 2, 3)
    ]
    spec = supervisor(
        "top",
        *children,
        strategy=row.strategy,
        budget=Budget(row.intensity, 5.0),
        auto_shutdown=row.auto_shutdown,
        give_up_as="shutdown",
    )
    stage = Stage(spec).boot()
    stage.fails = {str(n): set(attempts) for n, attempts in row.fail_starts.items()}
    happened = stage.end(str(row.victim), OUTCOMES[row.reason])
    while stage.queue and stage.ended is None:
        happened += stage.retry()

    own = [] if row.reason == "killed" else [f"-{row.victim}:{row.reason}"]
    events = [f"{event}:shutdown" if event[0] == "-" else event for event in happened if event[0] in "+-!"]
    final: dict[int, str] = dict.fromkeys((1, 2, 3), "absent")
    for line in stage.machine.children if stage.ended is None else ():
        running = "same" if line.incarnation == 1 else "new"
        final[int(line.id)] = running if line.running else line.state.value
    fate = "alive" if stage.ended is None else f"exited:{stage.ended}"
    return (*own, *events), final, fate


def test_there_are_as_many_rows_as_were_recorded() -> None:
    assert len(rows()) == ROWS


@pytest.mark.parametrize("kind", ["basic", "auto", "flaky"])
def test_the_machine_decides_what_the_recorded_supervisor_decided(kind: str) -> None:
    for row in rows_of(kind):
        assert replay(row) == (row.events, row.final, row.supervisor), row
