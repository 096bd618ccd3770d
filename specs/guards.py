"""Refusing the real world during a simulated run: threads, sockets, processes, sleeping.

An audit hook sees most of them, whichever library asks.  It cannot be taken
back, so it is put in once and looks at a flag.  What the oldest supported Python
does not audit (threads, sleeping) is refused where it is called.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn

import trio.to_thread

from holdfast.runtime import RefusedInSimulation
from holdfast.runtime.testing.scheduler import thread_starter
from holdfast.specs.patches import replaced

__all__ = ["nothing_real"]

PROCESSES = "a test of processes"

# The interpreter's name of what happens, and the seam that it should have gone through.
REFUSED: dict[str, str] = {
    "socket.__new__": "Seams.connect or Seams.listen",
    "socket.connect": "Seams.connect",
    "socket.bind": "Seams.listen",
    "socket.getaddrinfo": "Seams.connect",
    "subprocess.Popen": PROCESSES,
    "os.posix_spawn": PROCESSES,
    "os.fork": PROCESSES,
    "os.exec": PROCESSES,
    "os.system": PROCESSES,
}


def _refusing(what: str, seam: str) -> Callable[..., NoReturn]:
    def refuse(*_arguments: object, **_named: object) -> NoReturn:
        raise RefusedInSimulation(what, seam)

    return refuse


def _at_their_names() -> list[tuple[object, str, object]]:
    places: list[tuple[object, str, str]] = [
        (threading.Thread, "start", "Seams.threads"),
        (trio.to_thread, "run_sync", "Seams.threads"),
        (time, "sleep", "Seams.clock"),
    ]
    # Idle threads are kept, so a second call would start none; and others have taken `run_sync` by its name.
    starter = thread_starter()
    if starter is not None:
        places.append((*starter, "Seams.threads"))
    return [(owner, name, _refusing(name, seam)) for owner, name, seam in places]


PATCHED = _at_their_names()


class _Guard:
    """The audit hook of the process, and whether it refuses at present."""

    def __init__(self) -> None:
        self.refusing = False
        self._installed = False

    def install(self) -> None:
        if not self._installed:
            sys.addaudithook(self._hear)
            self._installed = True

    def _hear(self, event: str, _arguments: tuple[object, ...]) -> None:
        if self.refusing and event in REFUSED:
            raise RefusedInSimulation(event, REFUSED[event])


_guard = _Guard()


@contextmanager
def nothing_real() -> Generator[None]:
    """Refuse all of it with `RefusedInSimulation`; entered inside the loop, which needs a socket pair."""
    _guard.install()
    before, _guard.refusing = _guard.refusing, True
    try:
        with replaced(*PATCHED):
            yield
    finally:
        _guard.refusing = before
