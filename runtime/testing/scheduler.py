"""The one room that knows trio's private scheduler: it lets an `Order` say who runs next.

trio collects everything that can run into a batch and draws its order.  Under
trio's own switch for Hypothesis the batch is sorted by age and then given to
the `shuffle` of a generator of trio's; that generator is what is replaced here.
The names are private, so a canary tries them before the first use: where they
have gone, `ordered` says so and steers nothing.

Tried with trio 0.22 to 0.35.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Protocol

import attrs
import trio
import trio._core._run as trio_run
import trio._core._thread_cache as trio_threads
import trio.testing

from holdfast.runtime.errors import HoldfastError

__all__ = ["Order", "RunAborted", "Steering", "ordered", "seam_holds", "seed_order", "thread_starter"]

Task = trio.lowlevel.Task


class Order(Protocol):
    """Decides who of those that can run goes first."""

    def choose(self, ready: list[Task]) -> Sequence[Task]:
        """Return who runs now, first one first; the others of `ready` are asked about again at once.

        `ready` is sorted by age and never empty.  Called once a tick of the event loop;
        it must not wait, and at least one task must be returned.
        """
        ...


class RunAborted(HoldfastError):
    """A run did not end although it was cancelled, and was broken off without its clean-up."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}; it did not end when cancelled, so it was broken off without its clean-up"
        )


@attrs.define(eq=False)
class Steering:
    """What can be done to a run from outside its tasks."""

    steered: bool
    """Whether the order is really ours; without it a seed promises nothing about who goes first."""

    left: list[Task] = attrs.field(factory=list[Task])
    """The tasks that an aborted run left behind."""

    _abort: BaseException | None = None

    def abort(self, error: BaseException) -> None:
        """Break the run off at its next tick: whatever its tasks catch, nothing of them runs any more."""
        self._abort = error

    @property
    def aborted(self) -> BaseException | None:
        """Why the run was broken off."""
        return self._abort

    def bury(self) -> None:
        """Close the coroutines of an aborted run; what their clean-up raises is nobody's concern."""
        for task in reversed(self.left):
            with suppress(BaseException):
                task.coro.close()
            for nursery in task.child_nurseries:
                nursery._children.clear()  # it would complain when it is collected
        self.left.clear()


class _Hook:
    """Stands where trio's random generator does."""

    def __init__(self, order: Order, steering: Steering) -> None:
        self._choose = order.choose
        self._steering = steering

    def shuffle(self, batch: list[Task]) -> None:
        if self._steering.aborted is not None:
            runner = trio_run.GLOBAL_RUN_CONTEXT.runner
            self._steering.left.extend(sorted(runner.tasks, key=_age))
            raise self._steering.aborted
        if not batch:
            return
        chosen = self._choose(batch)
        if len(chosen) < len(batch):
            running = {id(task) for task in chosen}
            waiting = [task for task in batch if id(task) not in running]
            trio_run.GLOBAL_RUN_CONTEXT.runner.runq.extend(waiting)
        # trio takes them from the end.
        batch[:] = reversed(chosen)

    def random(self) -> float:
        return 1.0


def _age(task: Task) -> int:
    return task._counter


@contextmanager
def ordered(order: Order) -> Generator[Steering]:
    """Have `order` decide in every `trio.run` of the body; not to be entered inside a run.

    Yields the steering, whose `steered` is False where trio's scheduler is no longer what it was.
    """
    if not seam_holds():
        yield Steering(steered=False)
        return
    with _hooked(order) as steering:
        yield steering


@contextmanager
def _hooked(order: Order) -> Generator[Steering]:
    steering = Steering(steered=True)
    before = vars(trio_run)["_r"], vars(trio_run)["_ALLOW_DETERMINISTIC_SCHEDULING"]
    _put(trio_run, "_r", _Hook(order, steering))
    _put(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    try:
        yield steering
    finally:
        _put(trio_run, "_r", before[0])
        _put(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", before[1])


def _put(module: ModuleType, name: str, value: object) -> None:
    setattr(module, name, value)


def seed_order(seed: int) -> None:
    """Seed trio's own draws and have them decide, for good: what the harness needs."""
    _put(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    trio_run._r.seed(seed)


@functools.cache
def seam_holds() -> bool:
    """Whether the scheduler obeys: three tasks are run one at a time, last one first, and watched."""
    ran: list[str] = []

    class LastOneFirst:
        def choose(self, ready: list[Task]) -> Sequence[Task]:
            return ready[-1:]

    async def step(name: str) -> None:
        for _ in range(2):
            ran.append(name)
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(step, name)

    try:
        with _hooked(LastOneFirst()):
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    except (AttributeError, KeyError, TypeError, trio.TrioInternalError):
        return False
    return ran == ["c", "c", "b", "b", "a", "a"]


def thread_starter() -> tuple[type, str] | None:
    """Return the class and the name of the method with which trio starts or reuses a thread."""
    cache: type = trio_threads.ThreadCache
    starter: Callable[..., object] | None = getattr(cache, "start_thread_soon", None)
    return None if starter is None else (cache, "start_thread_soon")
