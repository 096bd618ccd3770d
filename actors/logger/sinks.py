"""Where lines end, and the log itself: what lives above the root and outlasts the actor.

Loguru owns the files: opening, rotation, retention.  It is used nowhere else,
imported when the first line is written, and run as an instance of our own, so
that an embedder's loguru neither gets our lines nor gives us its own.

Everything here that touches a disk is called in a worker thread, except
`Log.flush` and `Log.close`, which an embedder calls when the actors are gone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from holdfast.actors.logger.machine import Batch, clean_end, fill_batch, is_clean_end, render
from holdfast.actors.logger.messages import Backlog, Level, Logger, Record, SinkFailed
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.runtime import EventStream, Subscription, WallClock

if TYPE_CHECKING:
    import loguru

__all__ = ["FileSink", "Log", "StreamSink"]

# The last line is looked for in this much of a file; the mark of a clean end takes 120 bytes of it.
TAIL_BYTES = 4096

# How long the end of the process waits for a write that hangs in a worker thread.
HANGING_WRITE_S = 2.0


class FileSink:
    """A rotated file, readable by its owner alone.  A batch is written whole or not at all."""

    def __init__(self, path: Path, *, rotation_bytes: int, retention_files: int) -> None:
        self.path = path
        self._rotation_bytes = rotation_bytes
        self._retention_files = retention_files
        self._loguru: loguru.Logger | None = None
        self._torn = False
        self._file: TextIO | None = None
        """The file that loguru last asked us about."""
        self._just_opened: int | None = None
        """A descriptor that was opened since."""

    def ended_cleanly(self) -> bool:
        """Return whether the run before closed the file; a missing or empty one has nothing to say."""
        tail = self._tail()
        return not tail or is_clean_end(tail.rstrip(b"\n").rpartition(b"\n")[2].decode("utf-8", "replace"))

    def write(self, lines: str) -> None:
        """Append the lines.  Raises OSError, and then none of them is in the file."""
        if self._loguru is None:
            self._open()
        assert self._loguru is not None
        before = self._present_file()
        try:
            # A run that was killed in the middle of a line must not swallow our first one.
            self._loguru.opt(raw=True).info("\n" + lines if self._torn else lines)
        except OSError:
            self._take_back(before)
            self.close()
            raise
        self._torn = False

    def close(self) -> None:
        """Close the file; writing again opens it again."""
        if self._loguru is not None:
            with contextlib.suppress(OSError):
                self._loguru.remove()
        self._loguru = self._file = self._just_opened = None

    def _open(self) -> None:
        self._torn = self._tail()[-1:] not in (b"", b"\n")
        logger = _own_loguru()
        logger.add(
            # Loguru reads braces in a path as a format.
            str(self.path).replace("{", "{{").replace("}", "}}"),
            level=0,
            format="{message}",
            catch=False,
            rotation=self._is_full,
            retention=self._retention_files,
            # Somebody else's rotation may move the file away.
            watch=True,
            encoding="utf-8",
            opener=self._open_private,
        )
        self._loguru = logger

    def _tail(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                return file.read(TAIL_BYTES)
        except OSError:
            # Not there yet; or not ours to read, which writing will report.
            return b""

    def _open_private(self, path: str, flags: int) -> int:
        descriptor = os.open(path, flags, 0o600)
        if os.fstat(descriptor).st_mode & 0o077:
            with contextlib.suppress(OSError):  # a device is not ours to change
                os.fchmod(descriptor, 0o600)
        self._just_opened = descriptor
        return descriptor

    def _is_full(self, message: loguru.Message, file: TextIO) -> bool:
        self._file, self._just_opened = file, None
        file.seek(0, os.SEEK_END)
        size = file.tell()
        return size > 0 and size + len(message.encode()) > self._rotation_bytes

    def _present_file(self) -> tuple[int, int]:
        """Return which file it is and how long."""
        try:
            status = self.path.stat()
        except OSError:
            return 0, 0
        return status.st_ino, status.st_size

    def _take_back(self, before: tuple[int, int]) -> None:
        """Remove what came through of a batch that failed, from the file and from the buffers above it."""
        descriptor = self._open_descriptor()
        if descriptor is None:
            return
        same_file = os.fstat(descriptor).st_ino == before[0]
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, before[1] if same_file else 0)
        # Python's buffers keep what could not be written and would write it later, in the wrong place.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)

    def _open_descriptor(self) -> int | None:
        if self._just_opened is not None:
            return self._just_opened
        return self._file.fileno() if self._file is not None and not self._file.closed else None


class StreamSink:
    """A stream that was open before us, such as stderr.  What it refuses is counted and not repeated."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._loguru: loguru.Logger | None = None
        self.refused = 0
        """Batches that the stream did not take."""

    def write(self, lines: str) -> None:
        """Write the lines, or count them."""
        if self._loguru is None:
            self._loguru = _own_loguru()
            self._loguru.add(self._stream, level=0, format="{message}", catch=False, colorize=False)
        try:
            self._loguru.opt(raw=True).info(lines)
        except (OSError, ValueError):
            # ValueError: the stream is closed.
            self.refused += 1

    def close(self) -> None:
        """Let go of the stream without closing it."""
        if self._loguru is not None:
            self._loguru.remove()
            self._loguru = None


def _own_loguru() -> loguru.Logger:
    from loguru import logger

    # Loguru documents one logger for the process.  A second core is made with the constructor that makes the
    # first; the documented way, a deep copy, needs the embedder's handlers removed first.
    shared: Any = logger
    own: loguru.Logger = type(shared)(
        core=type(shared._core)(),
        exception=None,
        depth=0,
        record=False,
        lazy=False,
        colors=False,
        raw=False,
        capture=False,
        patchers=[],
        extra={},
    )
    return own


class Log:
    """The backlog, the batch being written and the sinks: the system's own, used by one actor at a time."""

    def __init__(
        self, settings: LoggerSettings, *, wall_clock: WallClock, stderr: TextIO | None = None
    ) -> None:
        self.settings = settings
        self.backlog = Backlog(level=settings.level, now=wall_clock.now, capacity=settings.buffer_records)
        self.front = Logger(self.backlog)
        """What everybody logs through."""
        self.pending: Batch | None = None
        """The batch being written.  It stays here until the file has it, whatever happens to the actor."""
        self.written = 0
        """Accepted records that are written."""
        self.failures = 0
        """Writes that failed since the log was opened."""
        self.subscription: Subscription | None = None
        """The actor's view of the system's events: kept here, so that a restart misses none."""
        self._stderr = stderr if stderr is not None else sys.stderr
        self._lock = threading.Lock()
        """Held while lines are written: a thread left behind and its successor must not both write."""
        self._sinks_settings = settings
        self._file, self._stream = self._make_sinks()
        self._begun: list[Path] = []
        """Files whose last line is ours."""
        self._missed = 0
        self._failing = False
        self._stream_has: Batch | None = None

    def apply(self, settings: LoggerSettings) -> None:
        """Take over changed settings; a level set at run time stays until the configured one changes."""
        if settings.level != self.settings.level:
            self.front.set_level(settings.level)
        self.backlog.capacity = settings.buffer_records
        self.settings = settings

    def take_missed(self) -> int:
        """Return how many events the subscription has dropped since the last time."""
        missed = 0 if self.subscription is None else self.subscription.missed
        new, self._missed = missed - self._missed, missed
        return new

    def follow(self, events: EventStream) -> Subscription:
        """Subscribe to the system's events, once; an embedder may do it before the actors start."""
        if self.subscription is None:
            self.subscription = events.subscribe()
        return self.subscription

    @property
    def waiting(self) -> bool:
        """Whether anything is left to write."""
        return self.pending is not None or bool(self.backlog.records) or self.backlog.dropped > 0

    def fill(self) -> Batch | None:
        """Make the next batch the pending one, if none is pending."""
        if self.pending is None:
            self.pending = fill_batch(self.backlog, self.settings)
        return self.pending

    def write_pending(self) -> None:
        """Begin the file, then write the pending batch; raises `SinkFailed` when the file takes nothing.

        A batch that was not taken stays pending.
        """
        with self._lock:
            self._renew_sinks()
            self._begin_file()
            batch = self.pending
            if batch is None:
                return
            self._write(batch)
            self.pending = None
            self.written += batch.records

    def flush(self) -> bool:
        """Write everything from the calling thread; for an embedder whose actors are gone.

        Returns False, and says so on stderr, when it cannot be written.  Never raises for it.
        """
        # A thread that hangs in a write has the lock; it must not hang the end of the process, too.
        if not self._lock.acquire(timeout=HANGING_WRITE_S):
            self._say(f"{len(self.backlog.records)} log records are lost: a write to the log hangs")
            return False
        self._lock.release()
        try:
            self.write_pending()
            while self.fill() is not None:
                self.write_pending()
        except SinkFailed as error:
            held = 0 if self.pending is None else self.pending.records
            lost = held + len(self.backlog.records)
            self._say(f"{lost} log records are not written: {error}")
            return False
        return True

    def close(self) -> bool:
        """Write everything and the mark of a clean end, and close the sinks; later records are counted."""
        complete = self.flush()
        self.backlog.capacity = 0
        if self.subscription is not None:
            self.subscription.close()
        if not self._lock.acquire(timeout=HANGING_WRITE_S):
            return False
        try:
            return self._close_sinks(clean=complete)
        finally:
            self._lock.release()

    def _close_sinks(self, *, clean: bool) -> bool:
        ended = clean and self._end_file()
        if self._file is not None:
            self._file.close()
        if self._stream is not None:
            self._stream.close()
        return ended

    def _make_sinks(self) -> tuple[FileSink | None, StreamSink | None]:
        settings = self._sinks_settings = self.settings
        file = None
        if settings.file is not None:
            file = FileSink(
                settings.file,
                rotation_bytes=settings.rotation_bytes,
                retention_files=settings.retention_files,
            )
        return file, StreamSink(self._stderr) if settings.stderr else None

    def _renew_sinks(self) -> None:
        if self.settings == self._sinks_settings:
            return
        if self._file is not None and self._file.path != self.settings.file:
            self._end_file()
        elif self._file is not None:
            self._file.close()
        if self._stream is not None:
            self._stream.close()
        self._file, self._stream = self._make_sinks()

    def _end_file(self) -> bool:
        if self._file is None:
            return True
        try:
            self._file.write(clean_end(self.backlog.now(), self._sinks_settings) + "\n")
        except OSError as error:
            self._say(f"the log {self._file.path} has no clean end: {error}")
            return False
        finally:
            self._file.close()
        return True

    def _begin_file(self) -> None:
        """Report the missing mark of the run before, whatever the level: it is the only trace of a crash."""
        file = self._file
        if file is None or file.path in self._begun:
            return
        if not file.ended_cleanly():
            message = "previous run ended without a clean end"
            data = {"file": str(file.path)}
            record = Record(int(Level.WARN), message, "logger", self.backlog.now(), data)
            self._write(Batch(render(record, self._sinks_settings) + "\n", 0))
        # From now on its last line is ours.
        self._begun.append(file.path)

    def _write(self, batch: Batch) -> None:
        # The stream first and once: it is not tried again with a file that fails.
        if self._stream is not None and self._stream_has is not batch:
            self._stream.write(batch.lines)
            self._stream_has = batch
        if self._file is None:
            return
        try:
            self._file.write(batch.lines)
        except OSError as error:
            self._note_failure(error)
            raise SinkFailed(str(self._file.path), error.strerror or str(error)) from error
        self._failing = False

    def _note_failure(self, error: OSError) -> None:
        self.failures += 1
        if not self._failing:
            self._failing = True
            kept = self.backlog.capacity
            self._say(
                f"the log cannot be written ({error}); up to {kept} records are kept, then they are dropped"
            )

    def _say(self, sentence: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stderr.write(f"holdfast: {sentence}\n")
            self._stderr.flush()
