"""Runs a module as a process that ends when the demo does, however that ends.

`python -m holdfast.actors.app.demo.tethered MODULE ARGUMENT...`: standard input
is the tether.  The demo holds the other end; when it is gone, killed or not, the
end of the input asks this process to stop as a service manager would.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

__all__ = ["main"]


def _hold() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Become the module of the first argument."""
    # A thread, not a task: the module brings its own event loop, and must end even while that is stuck.
    threading.Thread(target=_hold, name="tether", daemon=True).start()
    module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
