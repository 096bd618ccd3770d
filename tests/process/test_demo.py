"""The demo proves what it says, through the public command, with a shortened script."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
from tests.process.daemon import HOLDFAST, environment

from holdfast.actors.app.demo.result import DemoResult

SCRIPT = Path(__file__).with_name("demo_script.toml")


def test_the_demo_proves_that_nothing_is_lost_and_that_every_fault_took_effect(tmp_path: Path) -> None:
    done = subprocess.run(
        [*HOLDFAST, "demo", "--script", str(SCRIPT), "--json"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        check=False,
        timeout=50,
    )

    result = msgspec.json.decode(done.stdout, type=DemoResult)
    assert (result.problems, done.stderr, done.returncode) == ((), b"", 0)
    assert (result.sent, result.received) == (600, 600)
    assert (result.lost, result.duplicated, result.out_of_order) == (0, 0, 0)
    assert (result.full_restarts, result.leaked_tasks, result.leaked_avatar_sessions) == (1, 0, 0)
    assert (result.same_process, result.same_facade, result.secrets_in_logs) == (True, True, 0)
    assert [recovery.effective for recovery in result.recoveries] == [True] * 5
    assert all(recovery.in_flight_up and recovery.in_flight_down for recovery in result.recoveries)
    assert result.recoveries[-1].action.startswith("one coordinated full restart")
    # What it wrote is what it said.
    assert msgspec.json.decode((tmp_path / "build/demo.json").read_bytes(), type=DemoResult) == result
