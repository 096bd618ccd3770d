"""The one room that knows which event loop runs: parking, scopes, alarms, threads, stacks.

trio is the reference; asyncio is served through anyio.  Everything above this
room is written once.  Where trio's own calls are several times cheaper than
anyio's wrappers (parking, scopes, the clock) they are used directly.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import CoroutineType, FrameType, TracebackType
from typing import Protocol, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
import sniffio
import trio
from trio.lowlevel import Abort

__all__ = ["Alarm", "Backend", "Nursery", "Parker", "Scope", "TaskHandle", "current_backend", "new_parker"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Parker(Protocol):
    """Lets one task sleep until someone wakes it."""

    @property
    def asleep(self) -> bool:
        """Whether a task sleeps here that has been neither woken nor cancelled yet."""
        ...

    async def park(self) -> None:
        """Sleep until `unpark`; an `unpark` that came before is not lost.  A cancel point."""
        ...

    def unpark(self) -> None:
        """Wake the sleeper, or keep its next `park` from sleeping.  Never waits; waking twice is nothing."""
        ...


class Scope(Protocol):
    """A cancel scope."""

    @property
    def cancel_called(self) -> bool: ...
    @property
    def cancelled_caught(self) -> bool: ...
    def cancel(self) -> None: ...
    def __enter__(self) -> object: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class TaskHandle(Protocol):
    """A running task, for its stack alone."""

    def stack(self) -> str:
        """Return where the task stands, innermost frame last; empty when it has ended."""
        ...


class Nursery(Protocol):
    """Where tasks live; left when all of them have ended."""

    def start_soon(
        self, fn: Callable[[*Ts], Coroutine[object, object, object]], /, *args: *Ts, name: object = None
    ) -> object: ...


class Alarm(Protocol):
    """Calls back once at the set time; setting it again moves it."""

    def set(self, when: float) -> None: ...
    def close(self) -> None: ...


class Backend(Protocol):
    """What the kernel needs of an event loop."""

    name: str
    cancelled: type[BaseException]
    cancels_late: bool
    """Whether others may have turns before a cancelled task hears of it: who begins something looks first."""

    def now(self) -> float: ...
    def clock(self) -> Callable[[], float]: ...
    def parker(self) -> Parker: ...
    def scope(self, *, shield: bool = False) -> Scope: ...
    async def checkpoint(self) -> None: ...
    async def checkpoint_if_cancelled(self) -> None: ...
    async def sleep_until(self, when: float, /) -> None: ...
    def nursery(self) -> AbstractAsyncContextManager[Nursery]: ...
    def alarm(self, callback: Callable[[], None], nursery: Nursery) -> Alarm: ...
    def current_task(self) -> TaskHandle: ...
    def forgive_cancellation(self) -> None: ...
    def is_stray_cancellation(self) -> bool: ...
    async def run_in_thread(self, fn: Callable[[*Ts], T], *args: *Ts) -> T: ...
    def thread_gate(self) -> Callable[[Callable[[], None]], None]: ...


# ---- trio ------------------------------------------------------------------------------------------


class _TrioParker:
    __slots__ = ("_task", "_woken")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._woken = False

    @property
    def asleep(self) -> bool:
        return self._task is not None

    async def park(self) -> None:
        if self._woken:
            self._woken = False
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def unpark(self) -> None:
        task = self._task
        if task is None:
            self._woken = True
            return
        # The slot is cleared first: a task is rescheduled at most once, and never after its death.
        self._task = None
        trio.lowlevel.reschedule(task)


class _TrioTask:
    __slots__ = ("_task",)

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self._task = task

    def stack(self) -> str:
        frames = list(self._task.iter_await_frames())
        return "".join(traceback.StackSummary.extract(iter(frames)).format())


class _TrioAlarm:
    """A task that sleeps under a deadline that can be moved: trio has no call_at."""

    def __init__(self, callback: Callable[[], None], nursery: Nursery) -> None:
        self._callback = callback
        self._when = float("inf")
        self._sleep: trio.CancelScope | None = None
        self._closed = False
        self._parker = _TrioParker()
        nursery.start_soon(self._run, name="holdfast.alarm")

    async def _run(self) -> None:
        while not self._closed:
            with trio.CancelScope(deadline=self._when) as self._sleep:
                await self._parker.park()
            self._sleep = None
            if self._when <= trio.current_time() and not self._closed:
                self._when = float("inf")
                self._callback()

    def set(self, when: float) -> None:
        self._when = when
        if self._sleep is not None:
            self._sleep.deadline = when

    def close(self) -> None:
        self._closed = True
        self._parker.unpark()


class _TrioBackend:
    name = "trio"
    cancelled: type[BaseException] = trio.Cancelled
    cancels_late = False
    now = staticmethod(trio.current_time)
    checkpoint = staticmethod(trio.lowlevel.checkpoint)
    checkpoint_if_cancelled = staticmethod(trio.lowlevel.checkpoint_if_cancelled)
    sleep_until = staticmethod(trio.sleep_until)

    def clock(self) -> Callable[[], float]:
        """Return the loop's clock itself: `now` looks for the running loop at each call."""
        return trio.lowlevel.current_clock().current_time

    def parker(self) -> Parker:
        return _TrioParker()

    def scope(self, *, shield: bool = False) -> Scope:
        return trio.CancelScope(shield=shield)

    def nursery(self) -> AbstractAsyncContextManager[Nursery]:
        """Return trio's own: a task group of anyio puts a scope and an event around each task."""
        return trio.open_nursery()

    def alarm(self, callback: Callable[[], None], nursery: Nursery) -> Alarm:
        return _TrioAlarm(callback, nursery)

    def current_task(self) -> TaskHandle:
        return _TrioTask(trio.lowlevel.current_task())

    def forgive_cancellation(self) -> None:
        """Nothing to do: trio delivers a cancellation by scope, so a stray one has no trace."""

    def is_stray_cancellation(self) -> bool:
        """Never: only a scope around the task can cancel it."""
        return False

    async def run_in_thread(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        return await trio.to_thread.run_sync(fn, *args)

    def thread_gate(self) -> Callable[[Callable[[], None]], None]:
        """Return what other threads call to have something run on this loop's thread, soon."""
        return trio.lowlevel.current_trio_token().run_sync_soon


# ---- asyncio ---------------------------------------------------------------------------------------


class _AsyncioParker:
    __slots__ = ("_future", "_woken")

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    @property
    def asleep(self) -> bool:
        return self._future is not None and not self._future.done()

    async def park(self) -> None:
        if self._woken:
            self._woken = False
            await anyio.lowlevel.checkpoint_if_cancelled()
            return
        self._future = future = asyncio.get_running_loop().create_future()
        try:
            await future
        finally:
            self._future = None

    def unpark(self) -> None:
        future = self._future
        if future is None:
            self._woken = True
            return
        self._future = None
        if not future.done():
            future.set_result(None)


class _AsyncioTask:
    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task

    def stack(self) -> str:
        # Task.get_stack stops at the outermost frame of a task that waits.
        frames: list[tuple[FrameType, int]] = []
        awaited: object = self._task.get_coro()
        while isinstance(awaited, CoroutineType) and awaited.cr_frame is not None:
            frames.append((awaited.cr_frame, awaited.cr_frame.f_lineno))
            awaited = awaited.cr_await
        return "".join(traceback.StackSummary.extract(iter(frames)).format())


class _AsyncioAlarm:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        # Not that of whoever sets it: a handle would keep the actor alive that ran then.
        self._context = contextvars.copy_context()

    def set(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if when != float("inf"):
            self._handle = asyncio.get_running_loop().call_at(when, self._callback, context=self._context)

    def close(self) -> None:
        self.set(float("inf"))


class _AsyncioBackend:
    name = "asyncio"
    cancelled: type[BaseException] = asyncio.CancelledError
    cancels_late = True
    sleep_until = staticmethod(anyio.sleep_until)
    checkpoint_if_cancelled = staticmethod(anyio.lowlevel.checkpoint_if_cancelled)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def clock(self) -> Callable[[], float]:
        """Return the loop's clock itself: `now` looks for the running loop at each call."""
        return asyncio.get_running_loop().time

    async def checkpoint(self) -> None:
        # Half the cost of anyio's checkpoint; a cancelled scope cancels the task: this is a cancel point too.
        await asyncio.sleep(0)

    def parker(self) -> Parker:
        return _AsyncioParker()

    def scope(self, *, shield: bool = False) -> Scope:
        return anyio.CancelScope(shield=shield)

    def nursery(self) -> AbstractAsyncContextManager[Nursery]:
        return anyio.create_task_group()

    def alarm(self, callback: Callable[[], None], nursery: Nursery) -> Alarm:
        return _AsyncioAlarm(callback)

    def current_task(self) -> TaskHandle:
        task = asyncio.current_task()
        assert task is not None, "only called from inside a task"
        return _AsyncioTask(task)

    def forgive_cancellation(self) -> None:
        """Take back the mark that a stray `task.cancel()` left, so that the task can end in peace."""
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()

    def is_stray_cancellation(self) -> bool:
        """Whether the cancellation that has just come is of no scope around the task."""
        return anyio.current_effective_deadline() != float("-inf")

    async def run_in_thread(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        return await anyio.to_thread.run_sync(fn, *args)

    def thread_gate(self) -> Callable[[Callable[[], None]], None]:
        """Return what other threads call to have something run on this loop's thread, soon."""
        loop = asyncio.get_running_loop()

        def call(fn: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(fn)

        return call


_BACKENDS: dict[str, Backend] = {"trio": _TrioBackend(), "asyncio": _AsyncioBackend()}


def current_backend() -> Backend:
    """Return the backend of the running loop; `sniffio.AsyncLibraryNotFoundError` when none runs."""
    return _BACKENDS[sniffio.current_async_library()]


def new_parker() -> Parker:
    """Return a parker for the running loop."""
    return current_backend().parker()


# Named here so that a type checker sees what a child task may be.
ChildTask = Callable[..., Awaitable[None]]
