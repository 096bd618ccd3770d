"""The settings of the logger, validated when they are made.

The bounds of one record (depth, size of a string, size of a line) are not
settings: they protect the process and stand where they are kept, in
`runtime/redaction.py` and `machine.py`.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from holdfast.actors.logger.messages import BACKLOG_RECORDS, Level
from holdfast.runtime import HoldfastError

__all__ = ["InvalidLoggerSettings", "LoggerSettings"]

MIB = 1024 * 1024


class InvalidLoggerSettings(HoldfastError, ValueError):
    """A setting of the logger cannot be used; the message names it, what is wanted and what came."""

    def __init__(self, name: str, wanted: str, got: object) -> None:
        super().__init__(f"logging.{name} must be {wanted}, not {got!r}")
        self.name = name


@attrs.frozen(kw_only=True)
class LoggerSettings:
    """Sizes in bytes, times in seconds."""

    level: Level = Level.ERROR
    """What is accepted: this level and above.  An environment sets its own (A5.5)."""

    structured: bool = True
    """One JSON object a line; off: a line for human eyes with the same content."""

    include_timestamp: bool = True

    file: Path | None = None
    """Readable by its owner alone (0600)."""

    stderr: bool = True
    """Whether lines go to stderr, too."""

    rotation_bytes: int = 10 * MIB
    """A file that would grow beyond this is set aside and a new one begun."""

    retention_files: int = 5
    """Files set aside that are kept; with the defaults the log never takes more than about 60 MiB."""

    buffer_records: int = BACKLOG_RECORDS
    """Records that wait while the disk is slow or full; more are dropped and counted."""

    linger: float = 0.02
    """How long the first record of a batch waits for company.  An ERROR is written within 50 ms of its call;
    this leaves 30 ms for the writing itself."""

    retry_delay: float = 1.0
    """From one attempt to write to a failing file to the next."""

    def __attrs_post_init__(self) -> None:
        for name in ("rotation_bytes", "retention_files", "buffer_records"):
            if getattr(self, name) < 1:
                raise InvalidLoggerSettings(name, "1 or more", getattr(self, name))
        # Above 40 ms the promise of 50 ms for an ERROR could not be kept.
        if not 0 <= self.linger <= 0.04:
            raise InvalidLoggerSettings("linger", "from 0 to 0.04 s", self.linger)
        if not 0 < self.retry_delay < float("inf"):
            raise InvalidLoggerSettings("retry_delay", "more than 0 s and finite", self.retry_delay)
        if self.file is None and not self.stderr:
            raise InvalidLoggerSettings("file", "set where stderr is off, or lines would go nowhere", None)
