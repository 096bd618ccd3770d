"""Where a daemon keeps its files, by the XDG base directory rules.

Every place is the owner's alone.  A path of a unix socket has at most about a
hundred bytes, so the control socket lives in the run-time directory, not beside
the stores.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["control_socket", "state_directory"]


def control_socket(environ: Mapping[str, str]) -> Path:
    """Return the default path of the control socket: one daemon for each user."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "holdfast" / "control.sock"
    # Without a run-time directory of the session: a folder that carries the user's number, made 0700.
    return Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}" / "control.sock"


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return the default folder of the stores."""
    state = environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "holdfast"
