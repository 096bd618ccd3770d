"""SIGTERM to real processes that do not want to end: they end in time, with 70, and say who held them up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.process.daemon import BESIDE, PATIENCE, environment
from tests.process.stubborn import WITHIN

from holdfast.actors.hub.arguments import API_KEYS
from holdfast.runtime.daemon import ExitStatus

# What a loaded machine may add to a deadline.
LOAD = 3.0


@contextmanager
def ready(*arguments: str) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **BESIDE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready")
            yield process
        finally:
            process.kill()


def terminated(process: subprocess.Popen[str], *signals: int) -> tuple[int, str, str, float]:
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
    shown, said = process.communicate(timeout=PATIENCE)
    return process.returncode, shown, said, time.monotonic() - began


# S-B8
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_process_whose_thread_is_blocked_for_ever_ends_in_time_and_names_who_blocks_it(
    backend: str,
) -> None:
    with ready("tests.process.stubborn", "block", backend) as process:
        status, _shown, said, took = terminated(process, signal.SIGTERM)

    assert status == ExitStatus.WEDGED, said
    assert WITHIN <= took < WITHIN + LOAD
    report = said[said.index("asked to end, this process did not within 1.5 s") :]
    assert "top/stubborn (incarnation 1) holds it in its handler of Block" in report
    assert "threading.Event().wait()" in report
    assert "top/quiet (incarnation 1) is running" in report
    assert "hunter2" not in said


# S-B8
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_process_with_a_task_that_shields_itself_ends_with_70_and_names_it(backend: str) -> None:
    with ready("tests.process.stubborn", "cling", backend) as process:
        status, shown, said, took = terminated(process, signal.SIGTERM)

    assert status == ExitStatus.WEDGED, said
    assert took < LOAD
    assert "top/stubborn" in shown
    assert "in cling" in shown
    assert "hunter2" not in shown + said


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_process_that_ends_when_it_is_asked_to_is_left_alone(backend: str) -> None:
    with ready("tests.process.stubborn", "nothing", backend) as process:
        status, shown, said, _took = terminated(process, signal.SIGTERM)

    assert (status, shown, said) == (0, "", "")


# S-C6
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_second_signal_ends_a_blocked_process_at_once(backend: str) -> None:
    with ready("tests.process.stubborn", "block", backend) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        # As a person does: again, until it ends.  Of two signals at once Python may notice one with the next.
        while process.poll() is None and time.monotonic() - began < PATIENCE:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.3)
        status, _shown, said, _took = terminated(process)

    # The signal's status, not the deadline's 70.  Both may be there before the first is looked at,
    # and then the lower number comes first.
    assert status in (128 + signal.SIGTERM, 128 + signal.SIGINT), said


# S-B8, S-C6
@pytest.mark.parametrize("what", ["run", "hub"])
def test_a_daemon_and_a_hub_whose_thread_is_blocked_end_in_time_too(what: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.process.held", what, str(tmp_path)],
        env={**environment(tmp_path), **BESIDE, API_KEYS: "a-key-of-the-test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
            while process.stdout.readline() not in ("held\n", ""):
                pass
            status, _shown, said, took = terminated(process, signal.SIGTERM)
        finally:
            process.kill()

    assert status == ExitStatus.WEDGED, said
    assert 1.0 <= took < 1.0 + LOAD
    assert "asked to end, this process did not within 1 s" in said
    assert "in block_when_told" in said
    named = {"run": "holdfast/session/delivery (incarnation 1) is running", "hub": "holdfast-hub/realtime"}
    assert named[what] in said
