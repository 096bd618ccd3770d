"""The demo's zeros mean something: the same scans find what is planted."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.app.demo import DemoResult, conclude, verdict
from holdfast.actors.app.demo.audit import audit_direction, find_secrets, read_journal
from holdfast.actors.app.demo.director import Recovery, Script, load_script
from holdfast.actors.app.demo.traffic import Journal
from holdfast.actors.logger.messages import Level
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.actors.logger.sinks import Log
from holdfast.runtime import Actor, Message, Secret, SystemWallClock, on, open_system
from holdfast.runtime.testing import on_trio

CANARY = "canary-5f1d3a7e9c"
NUMBERS = list(range(1, 41))


def test_what_arrives_once_and_in_order_is_clean() -> None:
    assert audit_direction(NUMBERS, NUMBERS).clean


def test_a_dropped_message_is_found() -> None:
    assert audit_direction(NUMBERS, [n for n in NUMBERS if n != 7]).lost == 1


def test_a_doubled_message_is_found() -> None:
    assert audit_direction(NUMBERS, [*NUMBERS, 7]).duplicated == 1


def test_a_message_out_of_order_is_found() -> None:
    assert audit_direction(NUMBERS, [2, 1, *NUMBERS[2:]]).out_of_order == 1


@given(st.lists(st.integers(1, 30), max_size=60))
def test_clean_means_exactly_that_what_arrived_is_what_was_sent(received: list[int]) -> None:
    sent = list(range(1, 31))

    assert audit_direction(sent, received).clean == (received == sent)


def _logged(folder: Path, *, redacted: bool) -> Path:
    """Write the canary to a log: through the logger, or as a program without redaction would."""
    path = folder / "client.jsonl"
    record = {"api_key": CANARY, "note": f"Authorization: Bearer {CANARY}"}
    if not redacted:
        path.write_bytes(
            msgspec.json.encode({"level": "INFO", "message": "signed in", "data": record}) + b"\n"
        )
        return path
    log = Log(LoggerSettings(level=Level.DEBUG, file=path, stderr=False), wall_clock=SystemWallClock())
    log.front.info("signed in", {**record, "token": Secret(CANARY)})
    assert log.close()
    return path


def test_the_scan_for_secrets_finds_the_canary_with_redaction_off_and_not_with_it_on(tmp_path: Path) -> None:
    plain, masked = tmp_path / "plain", tmp_path / "masked"
    plain.mkdir()
    masked.mkdir()

    assert find_secrets([_logged(plain, redacted=False)], [CANARY]) == ["client.jsonl:1"]
    assert find_secrets([_logged(masked, redacted=True)], [CANARY]) == []


def test_the_scan_for_secrets_finds_a_signed_token_that_nobody_named(tmp_path: Path) -> None:
    log = tmp_path / "hub.log"
    log.write_text("all is well\nnew token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln\n")

    assert find_secrets([log], []) == ["hub.log:2"]


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
async def test_a_leaked_task_is_counted_and_a_clean_stop_counts_none() -> None:
    async with open_system(stop_deadline=1.0) as clean:
        await clean.start("quiet", Clinging)
    assert clean.tasks_left == 0

    with pytest.raises(Exception, match="leaky"):
        async with open_system(stop_deadline=1.0) as system:
            leaky = await system.start("leaky", Clinging)
            leaky.tell(Cling())
            await trio.sleep(0.1)
    assert system.tasks_left >= 1


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """What a perfect run leaves on disk."""
    script = load_script()
    rows = [(number, f"id-{number}") for number in range(1, script.messages + 1)]
    journal = Journal(tmp_path / "journal.db")
    journal.note_sent(rows)
    journal.note_received(rows)
    journal.close()
    hub = apsw.Connection(str(tmp_path / "hub.db"))
    hub.execute("create table effects (position integer primary key, payload blob not null)")
    with hub:
        hub.executemany(
            "insert into effects (payload) values (?)", [(b'{"number":%d}' % number,) for number, _id in rows]
        )
    hub.close()
    (tmp_path / "traffic.json").write_bytes(msgspec.json.encode({"pid": 1, "leaked_tasks": 0}))
    (tmp_path / "client.jsonl").write_text('{"message":"supervisor:full_restart_completed"}\n')
    return tmp_path


def _conclude(folder: Path, script: Script) -> DemoResult:
    recoveries = [Recovery(fault.name, effective=True, action="", seconds=0.1) for fault in script.fault]
    return conclude(folder, script, recoveries, [CANARY], 30.0, [], same_process=True)


def test_a_perfect_run_has_no_problems(evidence: Path) -> None:
    result = _conclude(evidence, load_script())

    assert result.problems == ()
    assert (result.sent, result.received) == (4000, 4000)


@pytest.mark.parametrize(
    "file,change,problem",
    [
        ("journal.db", "delete from received where number = 1000", "lost: wanted 0, got 1"),
        ("journal.db", "insert into received values (1000, 'again')", "duplicated: wanted 0, got 1"),
        ("hub.db", "delete from effects where position = 5", "lost: wanted 0, got 1"),
    ],
    ids=["lost on the way down", "doubled on the way down", "lost on the way up"],
)
def test_one_planted_message_fault_is_one_problem(
    evidence: Path, file: str, change: str, problem: str
) -> None:
    connection = apsw.Connection(str(evidence / file))
    connection.execute(change)
    connection.close()

    assert problem in _conclude(evidence, load_script()).problems


def test_a_leaked_task_a_secret_and_a_second_full_restart_are_problems(evidence: Path) -> None:
    (evidence / "traffic.json").write_bytes(msgspec.json.encode({"pid": 1, "leaked_tasks": 1}))
    (evidence / "hub.log").write_text(f"key {CANARY}\n")
    log = evidence / "client.jsonl"
    log.write_text(log.read_text() * 2)

    problems = _conclude(evidence, load_script()).problems

    assert "leaked_tasks: wanted 0, got 1" in problems
    assert "secrets_in_logs: wanted 0, got 1" in problems
    assert "full_restarts: wanted 1, got 2" in problems


def test_evidence_that_is_missing_is_a_problem(evidence: Path) -> None:
    (evidence / "traffic.json").unlink()
    shutil.move(evidence / "client.jsonl", evidence / "elsewhere")

    problems = _conclude(evidence, load_script()).problems

    assert "leaked_tasks: wanted 0, got -1" in problems
    assert "full_restarts: wanted 1, got -1" in problems


def test_a_fault_without_effect_is_a_problem(evidence: Path) -> None:
    script = load_script()
    result = _conclude(evidence, script)
    idle = [{**row, "effective": row["fault"] != "connection reset"} for row in result.recoveries]

    assert verdict(msgspec.structs.replace(result, recoveries=tuple(idle)), script) == [
        "connection reset: the fault took no effect"
    ]


def test_the_journal_keeps_the_order_of_writing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.note_sent([(3, "c"), (1, "a")])
    journal.note_sent([(2, "b")])
    journal.close()

    assert read_journal(tmp_path / "journal.db", "sent") == [3, 1, 2]
