"""Ctrl-C in a task that an actor started beside the runtime: what is true on each backend."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.process.daemon import BESIDE, PATIENCE


# "Limits": asyncio's loop raises KeyboardInterrupt and SystemExit out of the step of a task, and whoever runs
# the loop then cancels every task in it; nobody in between can turn that into an ordered stop.
@pytest.mark.parametrize("backend, how", [("trio", "in order"), ("asyncio", "out of order")])
def test_ctrl_c_in_a_raw_task_ends_everything_and_is_raised_but_in_order_on_trio_alone(
    backend: str, how: str
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.process.raw_task", backend],
        env={**os.environ, **BESIDE},
        capture_output=True,
        check=True,
        text=True,
        timeout=PATIENCE,
    )

    assert process.stdout.splitlines() == [
        f"ended {how}",
        "the system raised ctrl-c",
        "the loop raised ctrl-c",
    ]
