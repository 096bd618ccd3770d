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
from contextlib import ExitStack, contextmanager
from typing import NoReturn
from unittest.mock import patch

import trio.to_thread

from holdfast.runtime import RefusedInSimulation

__all__ = ["nothing_real"]

# The interpreter's name of what happens, and the seam that it should have gone through.
REFUSED: dict[str, str] = {
    "socket.__new__": "Seams.connect or Seams.listen",
    "socket.connect": "Seams.connect",
    "socket.bind": "Seams.listen",
    "socket.getaddrinfo": "Seams.connect",
    "subprocess.Popen": "a test of processes",
    "os.posix_spawn": "a test of processes",
    "os.fork": "a test of processes",
    "os.exec": "a test of processes",
    "os.system": "a test of processes",
}
# The same for what is refused at its name.  trio keeps idle threads, so a second call would start none.
PATCHED: tuple[tuple[object, str, str], ...] = (
    (threading.Thread, "start", "Seams.threads"),
    (trio.to_thread, "run_sync", "Seams.threads"),
    (time, "sleep", "Seams.clock"),
)

_guarding = False
_installed = False


def _hook(event: str, _arguments: tuple[object, ...]) -> None:
    if _guarding and event in REFUSED:
        raise RefusedInSimulation(event, REFUSED[event])


def _refusing(what: str, seam: str) -> Callable[..., NoReturn]:
    def refuse(*_arguments: object, **_named: object) -> NoReturn:
        raise RefusedInSimulation(what, seam)

    return refuse


@contextmanager
def nothing_real() -> Generator[None]:
    """Refuse all of it with `RefusedInSimulation`; entered inside the loop, which needs a socket pair."""
    global _guarding, _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    before, _guarding = _guarding, True
    with ExitStack() as patches:
        for owner, name, seam in PATCHED:
            patches.enter_context(patch.object(owner, name, _refusing(name, seam)))
        try:
            yield
        finally:
            _guarding = before
