"""A disk in memory for stores: SQLite itself runs on it, and it fails, fills up and tears on command.

It stands behind the seam `Seams.store` as a file system of SQLite's (a VFS written
with apsw), so that the product's own statements, its WAL and its recovery run
unchanged.  What was written and not yet synced is kept apart: the death of a
process loses none of it, a power cut any part.

Simpler than a real one: a file's creation and deletion are durable at once, there
is one process at a time (its databases are locked exclusively, so the WAL needs no
shared memory), and only what goes through `open_store` is on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import cast

import apsw
import attrs

from holdfast.runtime.seams import StoreUnreadable, prepare_store
from holdfast.specs.effects import Effects
from holdfast.specs.randomness import Random

__all__ = ["Disk"]

# What a disk writes as one; a torn write ends at one of its edges.
SECTOR = 512

# Days from the beginning of the Julian calendar to that of unix time, as SQLite counts.
UNIX_EPOCH_DAYS = 2_440_587.5

_numbers = itertools.count()


@attrs.define(eq=False)
class _File:
    """One file: what programs read, what a power cut leaves, and what lies between the two."""

    data: bytearray = attrs.field(factory=bytearray)
    durable: bytearray = attrs.field(factory=bytearray)
    pending: list[tuple[int, bytes | None]] = attrs.field(factory=list[tuple[int, bytes | None]])
    """Writes since the last sync: where, and what; None truncates there."""

    def change(self, offset: int, data: bytes | None) -> None:
        _apply(self.data, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
        self.pending.clear()

    def copy(self) -> _File:
        return _File(self.data.copy(), self.durable.copy(), self.pending.copy())

    def after_power_cut(self, source: Random) -> _File:
        left = self.durable.copy()
        for offset, data in self.pending:
            luck = source.random()
            if data is not None and luck < 1 / 4:
                _apply(left, offset, data[: source.randrange(len(data) // SECTOR + 1) * SECTOR])
            elif luck < 5 / 8:
                _apply(left, offset, data)
        return _File(left, left.copy())


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Disk:
    """What a process keeps when it dies; the files of one machine."""

    def __init__(self, source: Random, now: Callable[[], float], effects: Effects | None = None) -> None:
        self._random = source
        self._effects = effects if effects is not None else Effects()
        self.files: dict[str, _File] = {}
        self.capacity: int | None = None
        """Bytes; a write beyond them meets a full disk.  None is no limit."""
        self.read_only = False
        self.failing_syncs = 0
        """How many of the next syncs fail; what they should have saved is never durable."""
        self._now = now
        self._boots: list[_FileSystem] = []
        self._boot(self.files)

    def _boot(self, files: dict[str, _File]) -> None:
        # Each process has a way of its own to the disk: what a dead one still does reaches the files no more.
        self.files = files
        self._boots.append(_FileSystem(self, files, self._now))

    def open_store(self, path: Path | None) -> apsw.Connection:
        """Open a store on this disk, as `Seams.store` does on the real one; None is one in memory.

        Raises `StoreUnreadable` where the file is no usable database, or the disk lets none be made.
        """
        if path is None:
            return apsw.Connection(":memory:")
        try:
            connection = apsw.Connection(str(path), vfs=self._boots[-1].name)
            connection.execute("pragma locking_mode=exclusive").fetchall()
            prepare_store(connection)
        except apsw.Error as error:
            raise StoreUnreadable(path, str(error)) from error
        return connection

    def kill(self) -> None:
        """End the process that used it: its open files lead nowhere from now on, what it wrote is kept."""
        self._boot({name: file.copy() for name, file in self.files.items()})

    def cut_power(self) -> None:
        """End the machine: what was not synced is lost in part, a write may be torn at a sector's edge."""
        if any(file.pending for file in self.files.values()):
            self._effects.count("disk:power_cut")
        self._boot({name: file.after_power_cut(self._random) for name, file in self.files.items()})

    def close(self) -> None:
        """Forget it at SQLite; no store of it may be open."""
        for boot in self._boots:
            boot.unregister()
        self._boots.clear()

    # -- what the file system asks

    def used(self) -> int:
        """Return the bytes of all files."""
        return sum(len(file.data) for file in self.files.values())

    def let_grow(self, count: int) -> None:
        """Let a file grow by this many bytes, or raise what SQLite understands as a full disk."""
        if self.capacity is not None and count > 0 and self.used() + count > self.capacity:
            self._effects.count("disk:full")
            raise apsw.FullError(f"the simulated disk holds {self.capacity} bytes")

    def let_write(self) -> None:
        if self.read_only:
            self._effects.count("disk:read_only")
            raise apsw.ReadOnlyError("the simulated disk is read-only")

    def fails_sync(self) -> bool:
        if not self.failing_syncs:
            return False
        self.failing_syncs -= 1
        self._effects.count("disk:sync")
        return True

    def draw(self, count: int) -> bytes:
        return self._random.randbytes(count)


class _OpenFile:
    """What SQLite holds of a file; the method names are its own."""

    def __init__(self, disk: Disk, file: _File) -> None:
        self._disk = disk
        self._file = file

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._file.data[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.let_write()
        self._disk.let_grow(offset + len(data) - len(self._file.data))
        self._file.change(offset, bytes(data))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.let_write()
        self._file.change(size, None)

    def xSync(self, _flags: int) -> None:  # noqa: N802
        if self._disk.fails_sync():
            # As Linux does: what could not be saved is not tried again.
            self._file.pending.clear()
            raise apsw.IOError("the simulated disk failed to sync")
        self._file.sync()

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._file.data)

    def xClose(self) -> None:  # noqa: N802
        pass

    def xLock(self, _level: int) -> None:  # noqa: N802
        pass

    def xUnlock(self, _level: int) -> None:  # noqa: N802
        pass

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, _operation: int, _pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0


class _FileSystem(apsw.VFS):
    """SQLite's way to the disk; its time and its randomness are the run's, too."""

    def __init__(self, disk: Disk, files: dict[str, _File], now: Callable[[], float]) -> None:
        # One for the process; it is in no trace.
        self.name = f"holdfast-{next(_numbers)}"
        super().__init__(self.name, "")
        self._disk = disk
        self._files = files
        self._now = now

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        files = self._files
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return self._opened(_File())  # a temporary one, gone when it is closed
        if path not in files:
            if not flags[0] & apsw.SQLITE_OPEN_CREATE:
                raise apsw.CantOpenError(f"there is no {path} on the simulated disk")
            self._disk.let_write()
            files[path] = _File()
        flags[1] = flags[0]
        return self._opened(files[path])

    def _opened(self, file: _File) -> apsw.VFSFile:
        # SQLite calls it by its methods' names; the class of that name opens real files.
        return cast("apsw.VFSFile", _OpenFile(self._disk, file))

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self._disk.let_write()
        self._files.pop(filename, None)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        return pathname in self._files

    def xRandomness(self, numbytes: int) -> bytes:  # noqa: N802
        return self._disk.draw(numbytes)

    def xSleep(self, microseconds: int) -> int:  # noqa: N802
        return microseconds  # nobody else could let go of a lock meanwhile

    def xCurrentTime(self) -> float:  # noqa: N802
        return UNIX_EPOCH_DAYS + self._now() / 86_400

    def xCurrentTimeInt64(self) -> int:  # noqa: N802
        return int(self.xCurrentTime() * 86_400_000)

    def xGetLastError(self) -> tuple[int, str]:  # noqa: N802
        return 0, ""
