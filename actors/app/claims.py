"""One daemon at a time for each control socket and each store.

A lock file beside what is claimed, held for the life of the process: the kernel
lets go of it however the process ends, so no claim is ever stale.  The lock is
taken before anything is opened, because a second process in the same stores
would do harm before it noticed the first.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from holdfast.runtime import HoldfastError

__all__ = ["AlreadyClaimed", "NotClaimable", "claim"]


class AlreadyClaimed(HoldfastError):
    """Another process holds it; nothing was touched."""

    def __init__(self, path: Path, holder: str, instead: str) -> None:
        who = f"process {holder}" if holder else "another process"
        super().__init__(f"{path} is in use by {who}: stop that one, or {instead}")


class NotClaimable(HoldfastError):
    """The place cannot be written to."""

    def __init__(self, path: Path, reason: str, instead: str) -> None:
        super().__init__(f"cannot write to {path.parent} ({reason}): make it writable, or {instead}")


@contextmanager
def claim(path: Path, *, instead: str) -> Generator[None]:
    """Hold `path` for this process alone; `instead` tells people what else they can do."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise NotClaimable(path, error.strerror or str(error), instead) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyClaimed(path, _holder(descriptor), instead) from None
        # For people alone: the lock is what counts.  The file stays, taking it away would race.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    written = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return written if written.isdigit() else ""
