"""What a simulated run refuses, and which seam it names."""

from __future__ import annotations

import operator
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from holdfast.runtime import Address, RefusedInSimulation, Seams
from holdfast.runtime.testing import on_trio
from holdfast.specs import nothing_real


def _start_thread() -> None:
    threading.Thread(target=print).start()


def _open_socket() -> None:
    socket.socket().close()


def _look_up() -> None:
    socket.getaddrinfo("localhost", 80)


def _start_process() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def _sleep() -> None:
    operator.methodcaller("sleep", 0)(time)


@pytest.mark.parametrize(
    "real, seam",
    [
        (_start_thread, "Seams.threads"),
        (_open_socket, "Seams.connect or Seams.listen"),
        (_look_up, "Seams.connect"),
        (_start_process, "a test of processes"),
        (_sleep, "Seams.clock"),
    ],
)
def test_what_is_real_is_refused_by_the_name_of_its_seam(real: Callable[[], None], seam: str) -> None:
    # ARCHITECTURE 7, last rule: the positive control
    with nothing_real(), pytest.raises(RefusedInSimulation) as refused:
        real()
    assert refused.value.seam == seam
    real()  # and outside it is allowed


@on_trio
async def test_the_default_seams_do_not_work_in_a_simulated_run() -> None:
    # ARCHITECTURE 7: forgetting a seam is found, not papered over
    real = Seams()
    with nothing_real():
        with pytest.raises(RefusedInSimulation):
            await real.connect(Address("127.0.0.1", 1))
        with pytest.raises(RefusedInSimulation):
            await real.threads.run(print)
