"""G7: locks by key."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from holdfast.runtime import (
    Actor,
    KeyRegistry,
    LockBusy,
    LockReentered,
    LockTimeout,
    Message,
    Ref,
    StartFailed,
    System,
    key_locks,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled


class Enter(Message, frozen=True):
    """Hold the lock of a key for so long, in the handler."""

    key: object
    seconds: float = 1.0
    fails: bool = False


class Locker(Actor):
    def __init__(self, keys: KeyRegistry[None], log: list[str]) -> None:
        self._keys = keys
        self._log = log

    @on(Enter)
    async def _enter(self, message: Enter) -> None:
        async with self._keys.lock(message.key, timeout=60.0):
            self._log.append(f"+{self.context.path}")
            await anyio.sleep(message.seconds)
            if message.fails:
                raise RuntimeError("in the lock")
            self._log.append(f"-{self.context.path}")


async def lockers(system: System, count: int) -> tuple[KeyRegistry[None], list[str], list[Ref]]:
    keys = KeyRegistry[None](system)
    log: list[str] = []
    refs = [await system.start(f"l{number}", lambda: Locker(keys, log)) for number in range(count)]
    return keys, log, refs


@both_backends
async def test_a_lock_lets_one_in_at_a_time_in_the_order_in_which_they_came() -> None:
    # G7
    async with open_system() as system:
        keys, log, refs = await lockers(system, 3)
        for ref in refs:
            ref.tell(Enter("x"))
            await settled()
        assert log == ["+l0"]
        await anyio.sleep(4)
        assert log == ["+l0", "-l0", "+l1", "-l1", "+l2", "-l2"]
        assert len(keys._locks) == 0


@both_backends
async def test_locks_of_different_keys_are_independent() -> None:
    # G7, G3
    async with open_system() as system:
        _keys, log, refs = await lockers(system, 3)
        for ref, key in zip(refs, ("x", 1, 1.0), strict=True):
            ref.tell(Enter(key))
        await settled()
        assert sorted(log) == ["+l0", "+l1", "+l2"]


@both_backends
async def test_a_lock_is_released_when_its_holder_raises_or_is_killed() -> None:
    # G7
    async with open_system() as system:
        keys, log, refs = await lockers(system, 3)
        refs[0].tell(Enter("x", fails=True))
        await settled()
        refs[1].tell(Enter("x", seconds=1000))
        await settled()
        refs[2].tell(Enter("x"))
        await anyio.sleep(1.5)
        assert log == ["+l0", "+l1"]
        assert refs[1].slot.cell is not None
        refs[1].slot.cell.kill()
        await anyio.sleep(2)
        assert log == ["+l0", "+l1", "+l2", "-l2"]
        assert len(keys._locks) == 0


@both_backends
async def test_a_killed_waiter_blocks_nobody() -> None:
    # G7
    async with open_system() as system:
        keys, log, refs = await lockers(system, 3)
        for ref in refs:
            ref.tell(Enter("x"))
            await settled()
        assert refs[1].slot.cell is not None
        refs[1].slot.cell.kill()
        await anyio.sleep(3)
        assert log == ["+l0", "-l0", "+l2", "-l2"]
        assert len(keys._locks) == 0


@both_backends
async def test_a_waiter_that_is_cancelled_as_the_lock_becomes_its_own_passes_it_on() -> None:
    # G7
    async with open_system() as system:
        keys = KeyRegistry[None](system)
        entered: list[str] = []

        async def wait(name: str, scope: anyio.CancelScope) -> None:
            with scope:
                async with keys.lock("x"):
                    await anyio.lowlevel.checkpoint()
                    entered.append(name)

        async with anyio.create_task_group() as group:
            first, second = anyio.CancelScope(), anyio.CancelScope()
            async with keys.lock("x"):
                group.start_soon(wait, "first", first)
                await settled()
                group.start_soon(wait, "second", second)
                await settled()
            first.cancel()
        assert entered == ["second"]
        assert len(keys._locks) == 0


@both_backends
async def test_a_lock_that_is_late_crowded_or_held_by_the_same_handler_is_refused() -> None:
    # G7
    async with open_system() as system:
        keys = KeyRegistry[None](system)
        async with keys.lock("x"):
            with pytest.raises(LockTimeout, match="'x' was not free within 1 s"):
                async with keys.lock("x", timeout=1.0):
                    pass
        assert len(keys._locks) == 0

        class Twice(Actor):
            async def on_start(self) -> None:
                async with keys.lock("x"), keys.lock("x"):
                    pass

        with pytest.raises(StartFailed) as failed:
            await system.start("twice", Twice)
        assert isinstance(failed.value.reason, LockReentered)
        assert len(keys._locks) == 0


@both_backends
async def test_those_who_wait_for_a_lock_are_bounded() -> None:
    # G7
    async with open_system() as system:
        keys = KeyRegistry[None](system)

        async def wait() -> None:
            async with keys.lock("x"):
                pass

        async with keys.lock("x"), anyio.create_task_group() as group:
            for _ in range(key_locks.WAITERS_MAX):
                group.start_soon(wait)
            await settled()
            with pytest.raises(LockBusy):
                await wait()
            group.cancel_scope.cancel()
        assert len(keys._locks) == 0
