"""The reference model is held against the recorded rows before it judges anybody."""

from __future__ import annotations

import pytest
from tests.conformance.plans import Leaf, TeamPlan
from tests.conformance.reference import Reference
from tests.supervisors.oracle import ROWS, Row, rows_of


def tree_of(row: Row) -> TeamPlan:
    children = tuple(
        Leaf(id=str(n), restart=row.restart[n - 1].value, significant=row.significant[n - 1])
        for n in (1, 2, 3)
    )
    return TeamPlan(
        id="top",
        children=children,
        strategy=row.strategy.value,
        intensity=row.intensity,
        auto_shutdown=row.auto_shutdown.value,
    )


def replay(row: Row) -> tuple[tuple[str, ...], dict[int, str], str]:
    """Return events, final states and the supervisor's fate, in the notation of the rows."""
    fails = {str(child): set(attempts) for child, attempts in row.fail_starts.items()}
    reference = Reference(tree_of(row), fails)
    assert reference.events == ["+1", "+2", "+3"]
    reference.events.clear()
    reference.fault(str(row.victim), row.reason)
    reference.settle()

    final: dict[int, str] = {1: "absent", 2: "absent", 3: "absent"}
    for path, state in reference.final().items():
        name = int(path.removeprefix("top/"))
        final[name] = str(state) if isinstance(state, str) else ("same" if state == 1 else "new")
    fate = "alive" if reference.top.alive else f"exited:{reference.top.reason}"
    return tuple(reference.events), final, fate


@pytest.mark.parametrize("kind", ["basic", "auto", "flaky"])
def test_the_reference_does_what_the_recorded_supervisor_did(kind: str) -> None:
    for row in rows_of(kind):
        assert replay(row) == (row.events, row.final, row.supervisor), row


def test_every_kind_of_row_is_replayed() -> None:
    assert sum(len(rows_of(kind)) for kind in ("basic", "auto", "flaky")) == ROWS
