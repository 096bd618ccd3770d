"""Real threads, real time: a blocked process says so while it is blocked, and a hung handler is restarted."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.process.daemon import BESIDE, PATIENCE

from holdfast.runtime.watchdog import EXIT_BLOCKED


def ran(backend: str, blocked_exit: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.process.hang", backend, str(blocked_exit)],
        env={**os.environ, **BESIDE},
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )


# S-L1, S-L2
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_blocked_thread_is_named_while_it_is_blocked_and_a_hung_handler_is_restarted(backend: str) -> None:
    process = ran(backend, 0)

    assert process.returncode == 0, process.stderr
    first, *_ = process.stderr.splitlines()
    assert first.startswith("holdfast: the event loop's thread has been blocked for 0.")
    assert "top/blocker (incarnation 1) holds it in its handler of Block" in first
    assert "threading.Event().wait(message.seconds)" in process.stderr
    assert "hunter2" not in process.stderr + process.stdout
    blocked, restarted, incarnation = process.stdout.splitlines()
    assert blocked.startswith("top/blocker (incarnation 1) in its handler of Block blocked the thread for ")
    assert restarted.startswith("top/hanger crashed (Unresponsive")
    assert incarnation == "incarnation 2"


# S-L2
def test_a_thread_that_stays_blocked_ends_the_process_if_that_was_asked_for() -> None:
    process = ran("trio", 0.5)

    assert process.returncode == EXIT_BLOCKED
    assert process.stderr.splitlines()[-1].endswith("ending the process")
    assert process.stdout == ""
