"""Refusing the real world during a simulated run: threads, sockets, processes, sleeping.

An audit hook sees every one of them, whichever library asks.  It cannot be
taken back, so it is put in once and looks at a flag.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from holdfast.runtime import RefusedInSimulation

__all__ = ["REFUSED", "nothing_real"]

# The interpreter's name of what happens, and the seam that it should have gone through.
REFUSED: dict[str, str] = {
    "_thread.start_new_thread": "Seams.threads",
    "socket.__new__": "Seams.connect or Seams.listen",
    "socket.connect": "Seams.connect",
    "socket.bind": "Seams.listen",
    "socket.getaddrinfo": "Seams.connect",
    "subprocess.Popen": "a test of processes",
    "os.posix_spawn": "a test of processes",
    "os.fork": "a test of processes",
    "os.exec": "a test of processes",
    "os.system": "a test of processes",
    "time.sleep": "Seams.clock",
}

_guarding = False
_installed = False


def _hook(event: str, _arguments: tuple[object, ...]) -> None:
    if _guarding and event in REFUSED:
        raise RefusedInSimulation(event, REFUSED[event])


@contextmanager
def nothing_real() -> Generator[None]:
    """Refuse all of it inside, with `RefusedInSimulation`; enter it inside the loop, which needs a socket pair."""
    global _guarding, _installed  # noqa: PLW0603 - an audit hook has no other place
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    before, _guarding = _guarding, True
    try:
        yield
    finally:
        _guarding = before
