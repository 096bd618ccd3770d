"""A task of an actor beside its loop, for what takes time: a dial, a request, a read loop.

Child tasks live in the system's flat nursery under a scope of their own and
belong to the incarnation: they are cancelled when it stops, and it has not
ended before they have.  Their results come back as messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING

from holdfast.runtime.asks import Caller, set_caller
from holdfast.runtime.outcomes import unwrap

if TYPE_CHECKING:
    from holdfast.runtime.backend import Parker, TaskHandle
    from holdfast.runtime.cell import Cell

__all__ = ["ChildTask"]


class ChildTask:
    """One running child task."""

    __slots__ = ("_args", "_cell", "_ended", "_fn", "_forget", "_scope", "_task", "_waiter", "key")

    def __init__(
        self,
        cell: Cell,
        fn: Callable[..., Awaitable[None]],
        args: tuple[object, ...],
        forget: Callable[[], None],
    ) -> None:
        self._cell = cell
        self._fn = fn
        self._args = args
        self._forget = forget
        self._scope = cell.system.backend.scope()
        self._ended = False
        self._task: TaskHandle | None = None
        self._waiter: Parker | None = None
        self.key: Hashable = None

    async def run(self) -> None:
        """Run to the end; an exception is the actor's crash, a requested cancellation is nothing."""
        set_caller(Caller(self._cell, in_loop=False))
        self._task = self._cell.system.backend.current_task()
        failure: BaseException | None = None
        try:
            with self._scope:
                failure = await self._guarded()
        except BaseException as error:  # noqa: BLE001 - clean-up failed beside the cancellation
            failure = error
        self._ended = True
        self._forget()
        if failure is not None:
            self._cell.life.child_task_failed(failure)
        if self._waiter is not None:
            self._waiter.unpark()

    async def _guarded(self) -> BaseException | None:
        try:
            await self._fn(*self._args)
        except BaseException as error:
            if self._scope.cancel_called:
                raise
            backend = self._cell.system.backend
            if isinstance(unwrap(error), backend.cancelled):
                backend.forgive_cancellation()
            return error
        return None

    def cancel(self) -> None:
        """Cancel it; twice is once."""
        if not self._ended:
            self._scope.cancel()

    def stack(self) -> str:
        """Return where it stands, innermost frame last."""
        return "" if self._task is None else self._task.stack()

    async def wait_ended(self) -> None:
        """Wait for its end."""
        while not self._ended:
            self._waiter = self._cell.system.backend.parker()
            await self._waiter.park()
