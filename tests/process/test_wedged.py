"""SIGTERM to a real daemon and a real hub with a task that shields itself: they end with 70 and name it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.process.daemon import BESIDE, PATIENCE, environment

from holdfast.actors.hub.arguments import API_KEYS
from holdfast.runtime.daemon import ExitStatus


# S-B8, S-C9
@pytest.mark.parametrize("what", ["run", "hub"])
def test_a_daemon_and_a_hub_with_a_wedged_task_end_with_70_and_name_it(what: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.process.wedged", what, str(tmp_path)],
        env={**environment(tmp_path), API_KEYS: "a-key-of-the-test", **BESIDE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            up = '"ready":true' if what == "hub" else '"type":"ready"'
            while (line := process.stdout.readline()) and up not in line:
                pass
            process.send_signal(signal.SIGTERM)
            shown, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()

    assert process.returncode == ExitStatus.WEDGED, said
    assert "limpet" in shown + said
    assert "did not within" not in said, "its own deadline ended it, not the last resort"
