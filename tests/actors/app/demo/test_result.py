"""The demo fails when it should: each of its figures has a run in which it is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import msgspec
import pytest
import trio

from holdfast.actors.app.demo.journal import Journal
from holdfast.actors.app.demo.result import DemoResult, Observed, Recovery, conclude, verdict
from holdfast.actors.app.demo.script import Script, load_script
from holdfast.actors.app.demo.traffic import count_leaks
from holdfast.runtime import Actor, Message, System, on, open_system
from holdfast.runtime.errors import StopDeadlineExceeded
from holdfast.runtime.testing import on_trio

CANARY = "canary-5f1d3a7e9c"

# Message n leaves at n seconds; this much later it is at the hub, and back: at any time two are on their
# way up, or one is, and so it is on the way down.
UP, DOWN = 1.5, 3.0


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a perfect run leaves on disk."""
    folder = tmp_path_factory.mktemp("perfect")
    numbers = range(1, load_script().messages + 1)
    journal = Journal(folder / "journal.db")
    journal.note_sent([(number, f"id-{number}") for number in numbers])
    journal.note_accepted([(number, float(number)) for number in numbers])
    journal.note_received([(number, f"id-{number}", number + DOWN) for number in numbers])
    journal.close()
    hub = apsw.Connection(str(folder / "hub.db"))
    hub.execute("create table effects (position integer primary key, payload blob, received_at real)")
    hub.execute("create table refresh_tokens (hash blob)")
    rows = [(b'{"number":%d}' % number, number + UP) for number in numbers]
    with hub:
        hub.executemany("insert into effects (payload, received_at) values (?, ?)", rows)
    hub.close()
    (folder / "traffic.json").write_bytes(msgspec.json.encode({"pid": 1, "leaked_tasks": 0}))
    (folder / "client.jsonl").write_text('{"message":"supervisor:full_restart_completed"}\n')
    return folder


@pytest.fixture
def evidence(perfect: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(perfect, tmp_path / "evidence"))


def _observed(script: Script) -> Observed:
    recoveries = [
        Recovery(fault=fault.name, effective=True, action="", seconds=0.1, evidence="", struck_at=100.0)
        for fault in script.fault
    ]
    return Observed(
        recoveries=recoveries, same_process=True, same_facade=True, leaked_avatar_sessions=0, seconds=30.0
    )


def _conclude(folder: Path, observed: Observed | None = None) -> DemoResult:
    script = load_script()
    return conclude(folder, script, observed or _observed(script), [CANARY])


def test_a_perfect_run_has_no_problems(evidence: Path) -> None:
    result = _conclude(evidence)

    assert result.problems == ()
    assert (result.sent, result.received, result.full_restarts) == (4000, 4000, 1)
    assert {(recovery.in_flight_up, recovery.in_flight_down) for recovery in result.recoveries} == {(2, 1)}


@pytest.mark.parametrize(
    "file,change,problem",
    [
        ("journal.db", "delete from received where number = 1000", "lost: wanted 0, got 1"),
        ("journal.db", "insert into received values (1000, 'again', 9999.0)", "duplicated: wanted 0, got 1"),
        ("journal.db", "delete from sent where number = 1000", "sent: wanted 4000, got 3998"),
        ("hub.db", "delete from effects where position = 5", "lost: wanted 0, got 1"),
        ("hub.db", "update effects set position = -1 where position = 2", "out_of_order: wanted 0, got 1"),
        (
            "hub.db",
            "insert into effects (payload, received_at) select payload, 9999.0 from effects limit 1",
            "duplicated: wanted 0, got 1",
        ),
    ],
    ids=["lost down", "doubled down", "never sent", "lost up", "order up", "doubled up"],
)
def test_one_planted_message_fault_is_a_problem(evidence: Path, file: str, change: str, problem: str) -> None:
    connection = apsw.Connection(str(evidence / file))
    connection.execute(change)
    connection.close()

    assert problem in _conclude(evidence).problems


def test_a_leaked_task_a_secret_and_a_second_full_restart_are_problems(evidence: Path) -> None:
    (evidence / "traffic.json").write_bytes(msgspec.json.encode({"pid": 1, "leaked_tasks": 1}))
    (evidence / "hub.log").write_text(f"key {CANARY}\n")
    log = evidence / "client.jsonl"
    log.write_text(log.read_text() * 2)

    problems = _conclude(evidence).problems

    assert "leaked_tasks: wanted 0, got 1" in problems
    assert "secrets_in_logs: wanted 0, got 1" in problems
    assert "a secret stands in hub.log:1" in problems
    assert "full_restarts: wanted 1, got 2" in problems


def test_evidence_that_is_missing_is_a_problem(evidence: Path) -> None:
    (evidence / "traffic.json").unlink()
    (evidence / "client.jsonl").unlink()

    problems = _conclude(evidence).problems

    assert "leaked_tasks: wanted 0, got -1" in problems
    assert "full_restarts: wanted 1, got -1" in problems


def test_a_run_that_never_started_is_problems_and_no_crash(tmp_path: Path) -> None:
    result = _conclude(tmp_path, Observed(problems=["the hub process was not ready in time"]))

    assert result.problems[0] == "the hub process was not ready in time"
    assert "sent: wanted 4000, got 0" in result.problems
    assert "leaked_avatar_sessions: wanted 0, got -1" in result.problems


def test_another_process_another_facade_and_a_forgotten_avatar_session_are_problems(evidence: Path) -> None:
    observed = _observed(load_script())
    observed.same_process = observed.same_facade = False
    observed.leaked_avatar_sessions = 1

    assert _conclude(evidence, observed).problems == (
        "leaked_avatar_sessions: wanted 0, got 1",
        "same_process: wanted True, got False",
        "same_facade: wanted True, got False",
    )


def test_a_fault_that_struck_while_nothing_was_on_its_way_is_a_problem(evidence: Path) -> None:
    observed = _observed(load_script())
    observed.recoveries[0] = msgspec.structs.replace(observed.recoveries[0], struck_at=0.5)

    name = observed.recoveries[0].fault
    assert _conclude(evidence, observed).problems == (
        f"{name}: no message was on its way up when it struck",
        f"{name}: no message was on its way down when it struck",
    )


def test_a_fault_without_effect_is_a_problem_and_so_is_one_that_never_struck(evidence: Path) -> None:
    script = load_script()
    result = _conclude(evidence)
    idle = msgspec.structs.replace(result.recoveries[1], effective=False, evidence="0 connections reset")
    recoveries = (result.recoveries[0], idle, *result.recoveries[2:-1])

    assert verdict(msgspec.structs.replace(result, recoveries=recoveries), script) == [
        f"recoveries: wanted {len(script.fault)}, got {len(script.fault) - 1}",
        "connection reset: the fault took no effect (0 connections reset)",
    ]


class Cling(Message, frozen=True):
    """Start a task that does not let itself be cancelled for a while."""


class Clinging(Actor):
    @on(Cling)
    def cling(self, _message: Cling) -> None:
        self.context.spawn(self._hold_on)

    async def _hold_on(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)


@on_trio
async def test_a_leaked_task_of_an_actor_is_counted_and_a_clean_stop_counts_none() -> None:
    async with open_system(stop_deadline=1.0) as clean:
        await clean.start("quiet", Clinging)
    assert count_leaks([clean]) == 0

    leaking: list[System] = []
    with pytest.raises(StopDeadlineExceeded, match="leaky"):
        async with open_system(stop_deadline=1.0) as system:
            leaking.append(system)
            leaky = await system.start("leaky", Clinging)
            leaky.tell(Cling())
            await trio.sleep(0.1)
    assert count_leaks([clean, *leaking]) == 2


@on_trio
async def test_a_task_of_nobody_that_is_left_beside_everything_is_counted() -> None:
    async with trio.open_nursery() as nursery:
        assert count_leaks([]) == 0
        nursery.start_soon(trio.sleep_forever)
        assert count_leaks([]) == 1
        nursery.cancel_scope.cancel()
