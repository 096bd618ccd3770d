"""Every recorded row, replayed through real actors and the public API, on both backends.

The events come from the actors' own start and stop hooks, the final states from
`which_children`, the supervisor's fate from its outcome.  Nothing is read from
reports and nothing is sorted.
"""

from __future__ import annotations

import pytest
from tests.supervisors.oracle import Row, rows_of

from holdfast.runtime import (
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorGone,
    Crash,
    GaveUp,
    Killed,
    Message,
    Normal,
    Outcome,
    Ref,
    Shutdown,
    System,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import Budget, ChildSpec, start_tree, supervisor, worker

# Each test runs for a second or two, and rows share a system so that it is opened less often.
BATCH = 450
ROWS_PER_SYSTEM = 25


class EndYourself(Message, frozen=True):
    """End as the row says."""

    reason: str


class Story:
    """What the children of one row have lived through, in the order in which they lived it."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.events: list[str] = []
        self.starts: dict[int, int] = {1: 0, 2: 0, 3: 0}


class RecordedChild(Actor):
    def __init__(self, story: Story, number: int) -> None:
        self._story = story
        self._number = number

    def on_start(self) -> None:
        story, number = self._story, self._number
        story.starts[number] += 1
        if story.starts[number] in story.row.fail_starts.get(number, ()):
            story.events.append(f"!{number}")
            raise RuntimeError("this start fails")
        story.events.append(f"+{number}")

    def on_stop(self, outcome: Outcome) -> None:
        self._story.events.append(f"-{self._number}:{in_the_notation_of_the_rows(outcome)}")

    @on(EndYourself)
    def _end(self, message: EndYourself) -> None:
        match message.reason:
            case "normal":
                self.context.stop(NORMAL)
            case "shutdown":
                self.context.stop(SHUTDOWN)
            case "shutdown+info":
                self.context.stop(Shutdown("info"))
            case _:
                raise RuntimeError("boom")


def in_the_notation_of_the_rows(outcome: Outcome) -> str:
    match outcome:
        case Normal():
            return "normal"
        case Shutdown(info=None):
            return "shutdown"
        case Shutdown():
            return "shutdown+info"
        case Crash():
            return "crash"
        case Killed() | GaveUp():
            raise AssertionError(f"a stop hook is not called with {outcome}")


def tree_of(row: Row, story: Story, name: str) -> ChildSpec:
    def child(number: int) -> ChildSpec:
        return worker(
            str(number),
            lambda: RecordedChild(story, number),
            restart=row.restart[number - 1],
            significant=row.significant[number - 1],
        )

    return supervisor(
        name,
        child(1),
        child(2),
        child(3),
        strategy=row.strategy,
        budget=Budget(row.intensity, 5.0),
        auto_shutdown=row.auto_shutdown,
    )


def fate_of(ref: Ref) -> str:
    outcome = ref.slot.outcome
    if outcome is None:
        return "alive"
    # OTP calls giving up a shutdown; here it is an outcome of its own.
    assert outcome == SHUTDOWN or isinstance(outcome, GaveUp), outcome
    return "exited:shutdown"


async def replay(system: System, row: Row, name: str) -> None:
    story = Story(row)
    handle = await start_tree(system, tree_of(row, story, name))
    assert story.events == ["+1", "+2", "+3"]
    story.events.clear()

    victim = system.ref(f"{name}/{row.victim}")
    if row.reason == "killed":
        assert victim.slot.cell is not None
        victim.slot.cell.kill()
    else:
        victim.tell(EndYourself(row.reason))
    await settled()

    try:
        listed = {int(child.id): child for child in await handle.which_children()}
    except ActorGone:
        listed = {}
    final: dict[int, str] = {}
    for number in (1, 2, 3):
        child = listed.get(number)
        if child is None:
            final[number] = "absent"
        elif child.state == "running":
            final[number] = "same" if child.incarnation == 1 else "new"
        else:
            final[number] = child.state
    assert (tuple(story.events), final, fate_of(handle.ref)) == (row.events, row.final, row.supervisor), row
    if listed:
        await handle.stop()


BATCHES = [
    (kind, start) for kind in ("basic", "auto", "flaky") for start in range(0, len(rows_of(kind)), BATCH)
]


@pytest.mark.parametrize("tasks_only", [False, True], ids=["taskless", "task"])
@pytest.mark.parametrize("kind,start", BATCHES)
@both_backends
async def test_a_recorded_run_of_erlang_is_repeated_to_the_letter(
    kind: str, start: int, tasks_only: bool
) -> None:
    batch = rows_of(kind)[start : start + BATCH]
    for first in range(0, len(batch), ROWS_PER_SYSTEM):
        async with open_system(tasks_only=tasks_only) as system:
            for number, row in enumerate(batch[first : first + ROWS_PER_SYSTEM]):
                await replay(system, row, f"row-{number}")
