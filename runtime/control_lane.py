"""What is done to a running actor between two of its messages: looked at, held, changed (S21, S22).

A request overtakes the mail and is served while the mail is held back, but never
in the middle of a handler.  Whoever makes one waits for it, in the same graph of
waits as an ask: an actor that inspects itself, or closes a circle, is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from holdfast.runtime.asks import Waiter, check_cycle, waiting_cell
from holdfast.runtime.errors import InspectionTimeout

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.registry import Slot

__all__ = ["ControlLane", "ControlRequest", "running_cell", "served"]

T = TypeVar("T")


class ControlRequest(Generic[T]):
    """One thing to do with the actor, and who waits for it."""

    __slots__ = ("_do", "_waiter", "done", "error", "value")

    def __init__(self, do: Callable[[Actor], T], waiter: Waiter) -> None:
        self._do = do
        self._waiter = waiter
        self.done = False
        """Served, failed or withdrawn: nothing is done any more."""
        self.value: T | None = None
        self.error: Exception | None = None

    def serve(self, actor: Actor) -> None:
        """Do it now; what it raises is its asker's, never the actor's."""
        if self.done:
            return
        try:
            self.value = self._do(actor)
        except Exception as error:  # noqa: BLE001 - raised where the request was made
            self.error = error
        self.done = True
        self._waiter.wake()

    def fail(self, error: Exception) -> None:
        """End it undone."""
        if not self.done:
            self.done = True
            self.error = error
            self._waiter.wake()


class ControlLane:
    """The requests of one incarnation, in the order in which they came.

    Unbounded, because each entry is a task that waits: there are as many as askers.
    """

    __slots__ = ("_requests",)

    def __init__(self) -> None:
        self._requests: deque[ControlRequest[object]] = deque()

    def post(self, request: ControlRequest[object]) -> None:
        """Put a request at the end."""
        self._requests.append(request)

    def serve(self, actor: Actor) -> None:
        """Serve what waits; called by whoever handles the actor's mail, between two messages."""
        while self._requests:
            self._requests.popleft().serve(actor)

    def close(self, error: Exception) -> None:
        """The incarnation has ended: nothing is served any more."""
        while self._requests:
            self._requests.popleft().fail(error)


def running_cell(slot: Slot) -> Cell:
    """Return the incarnation that runs, if the caller may wait for it.

    `ActorGone` when none runs; `AskCycle` when waiting could never end.
    """
    cell = slot.cell
    if cell is None or cell.ended:
        raise slot.gone()
    asker = waiting_cell()
    if asker is not None:
        check_cycle(asker, slot)
    return cell


async def served(cell: Cell, do: Callable[[Actor], T], timeout: float) -> T:
    """Have `do` called with the actor between two of its messages, and return what it returned.

    Raises what `do` raised; `InspectionTimeout` when the present handler (or the start
    hook) took longer than `timeout` seconds, `do` is not called any more then; `ActorGone`
    when the incarnation ended first.  A cancelled wait withdraws the request.  The cell
    is one that `running_cell` returned.
    """
    slot, system = cell.slot, cell.system
    waiter = Waiter(waiting_cell(), slot)
    request: ControlRequest[T] = ControlRequest(do, waiter)
    deadline = system.deadlines.add(
        system.now() + timeout, lambda: request.fail(InspectionTimeout(slot.path, timeout))
    )
    try:
        cell.loop.control(request)  # type: ignore[arg-type]  # the lane reads no value
        await waiter.sleep()
    finally:
        request.done = True
        waiter.leave()
        deadline.cancel()
    error, request.error = request.error, None
    if error is not None:
        try:
            raise error
        finally:
            del error  # held by a frame of its own traceback, it would live until the next collection
    return request.value  # type: ignore[return-value]  # served without an error
