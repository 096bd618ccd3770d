"""One at a time for each key: fair locks that are released whatever becomes of the holder (G7).

A lock is held by a block of code, so that an exception, a cancellation or a
kill gives it back by leaving the block.  What cannot be killed has not left it:
a wedged holder keeps others out, as with exclusive resources (S-B8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from types import TracebackType
from typing import TYPE_CHECKING

from holdfast.runtime.asks import waiting_cell
from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.key_identity import identity
from holdfast.runtime.loop_thread import LoopThread

if TYPE_CHECKING:
    from holdfast.runtime.backend import Parker
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.system import System

__all__ = ["LOCK_TIMEOUT", "KeyLock", "KeyLocks", "LockBusy", "LockReentered", "LockTimeout"]

# As an ask: what is held longer than a call may take is no lock but a state.
LOCK_TIMEOUT = 5.0
# As a mailbox: who waits behind a thousand others has been refused already.
WAITERS_MAX = 1024


class LockTimeout(HoldfastError):
    """A lock was not free in time; it was not taken."""

    def __init__(self, key: object, timeout: float) -> None:
        super().__init__(f"the lock of {key!r} was not free within {timeout:g} s")
        self.key = key
        self.timeout = timeout


class LockBusy(HoldfastError):
    """As many wait for a lock as may; come back later."""

    def __init__(self, key: object, waiters: int) -> None:
        super().__init__(f"{waiters} wait for the lock of {key!r} already, its bound")
        self.key = key


class LockReentered(HoldfastError):
    """A handler took a lock that its own actor's handler holds: it would wait for itself."""

    def __init__(self, key: object, path: str) -> None:
        super().__init__(f"{path} holds the lock of {key!r} in this very handler: release it first")
        self.key = key
        self.path = path


class _Claim:
    """One who holds a lock or waits for it."""

    __slots__ = ("asker", "granted", "parker")

    def __init__(self, parker: Parker, asker: Cell | None) -> None:
        self.parker = parker
        self.asker = asker
        self.granted = False


class KeyLocks:
    """The locks of all keys; a lock that nobody holds takes no memory."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._thread = LoopThread()
        self._lines: dict[Hashable, deque[_Claim]] = {}
        """For each key that is locked: the holder, then those who wait, in the order in which they came."""

    def lock(self, key: object, *, timeout: float = LOCK_TIMEOUT) -> KeyLock:
        """Return `async with` for the code that must be alone with this key.

        First come, first served; other keys are independent.  Raises `LockTimeout`
        after `timeout` seconds of waiting (never longer than the question that a handler
        is answering may take), `LockBusy` behind 1,024 others, `LockReentered` instead
        of a handler's wait for itself.  Whoever is cancelled or killed while it waits
        leaves the line.
        """
        self._thread.check("a lock")
        return KeyLock(self, key, timeout)

    def __len__(self) -> int:
        """Return how many keys are locked now."""
        return len(self._lines)

    async def _acquire(self, key: object, name: Hashable, timeout: float) -> _Claim:
        self._thread.check("a lock")
        asker = waiting_cell()
        claim = _Claim(self._system.backend.parker(), asker)
        line = self._lines.get(name)
        if line is None:
            claim.granted = True
            self._lines[name] = deque([claim])
            return claim
        if asker is not None and line[0].asker is asker:
            raise LockReentered(key, asker.slot.path)
        if len(line) > WAITERS_MAX:
            raise LockBusy(key, len(line) - 1)
        now = self._system.now()
        when = now + timeout
        if asker is not None and asker.loop.question is not None:
            when = min(when, asker.loop.question.when)
        line.append(claim)
        deadline = self._system.deadlines.add(when, claim.parker.unpark)
        try:
            await claim.parker.park()
        except BaseException:
            self._leave(name, claim)
            raise
        finally:
            deadline.cancel()
        if not claim.granted:
            self._leave(name, claim)
            raise LockTimeout(key, when - now)
        return claim

    def _leave(self, name: Hashable, claim: _Claim) -> None:
        """Give the lock to the next in line, or leave the line."""
        line = self._lines[name]
        if not claim.granted:
            line.remove(claim)
            return
        line.popleft()
        if not line:
            del self._lines[name]
            return
        line[0].granted = True
        line[0].parker.unpark()


class KeyLock:
    """One lock to be taken once: ``async with keys.lock("room:7"):``."""

    __slots__ = ("_claim", "_key", "_locks", "_name", "_timeout")

    def __init__(self, locks: KeyLocks, key: object, timeout: float) -> None:
        self._locks = locks
        self._key = key
        self._name = identity(key)
        self._timeout = timeout
        self._claim: _Claim | None = None

    async def __aenter__(self) -> None:
        if self._claim is not None:
            raise RuntimeError("a lock object is entered once: call lock(key) for each block")
        self._claim = await self._locks._acquire(self._key, self._name, self._timeout)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._claim is not None, "entered before it is left"
        self._locks._leave(self._name, self._claim)
