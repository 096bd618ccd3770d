"""A function over many inputs, as supervised tasks, so many at once and in order (T4).

Nothing runs but the tasks: the one who iterates starts the next ones while it
asks for the next item, so that inputs are taken no further ahead than the
declared number, and a slow reader slows everything down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Generic, Literal, Self, TypeVar, cast, get_args

import attrs

from holdfast.runtime.asks import Caller, waiting_cell
from holdfast.runtime.loop_thread import LoopThread
from holdfast.runtime.seconds import is_seconds_above_zero
from holdfast.supervisors.errors import InvalidSpec, TaskTimeout
from holdfast.supervisors.jobs import Job
from holdfast.supervisors.messages import ChildHandle
from holdfast.supervisors.task_waits import sleep_until_done

__all__ = ["CONCURRENCY", "StreamItem", "TaskStream"]

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - the type of an input

OnTimeout = Literal["fail", "item"]

# As many connections as a polite client opens to one server, give or take.
CONCURRENCY = 8
# Each is an actor: more at once is no stream but a load of its own.
CONCURRENCY_MAX = 1000


@attrs.frozen
class StreamItem(Generic[I, T]):
    """What became of one input."""

    index: int
    """The place of the input, from 0."""
    value: T | None = None
    error: BaseException | None = None
    input: I | None = None
    """The input itself, where the stream was made `with_input`."""

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return cast("T", self.value)


class TaskStream(Generic[I, T]):
    """An async iterator over `StreamItem`s; made by `TaskSupervisorHandle.stream`.

    **Order**: that of the inputs, or with `ordered=False` that of the ends.
    **Bound**: at most `concurrency` inputs are taken and not yet handed out; a slow
    first one holds the others back, so nothing piles up.  **Failures** are items.
    **Time**: each task has `timeout` seconds.  One that takes longer is cancelled; with
    `on_timeout="item"` that is its item, with "fail" the iteration raises `TaskTimeout`.
    **End**: when the iteration ends in whatever way (`break`, an exception, a
    cancellation, the end of the actor) the tasks that run are cancelled and nobody is
    told of them any more.  `async with` waits until they are gone as well.  An
    exception of the inputs, and `TooManyChildren`, end the iteration.
    """

    def __init__(
        self,
        start: Callable[[Job], Awaitable[ChildHandle]],
        fn: Callable[[I], Awaitable[T]],
        inputs: Iterable[I],
        *,
        owner: str,
        caller: Caller | None,
        concurrency: int,
        ordered: bool,
        timeout: float | None,
        on_timeout: OnTimeout,
        with_input: bool,
    ) -> None:
        owner = f"stream of {owner}"
        if type(concurrency) is not int or not 1 <= concurrency <= CONCURRENCY_MAX:
            raise InvalidSpec(owner, f"concurrency is a number from 1 to {CONCURRENCY_MAX}", concurrency)
        if timeout is not None and not is_seconds_above_zero(timeout):
            raise InvalidSpec(owner, "timeout is None or seconds above 0", timeout)
        if on_timeout not in get_args(OnTimeout):
            raise InvalidSpec(owner, "on_timeout is 'fail' or 'item'", on_timeout)
        if not isinstance(inputs, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSpec(owner, "inputs is an iterable (not an asynchronous one)", inputs)
        self._start = start
        self._fn = fn
        self._inputs: Iterator[I] | None = iter(inputs)
        self._caller = caller
        self._concurrency = concurrency
        self._ordered = ordered
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._with_input = with_input
        self._taken = 0
        self._out: dict[Job, tuple[int, I | None]] = {}
        """The jobs whose items are not handed out yet, in the order of the inputs."""
        self._closed = self._busy = False
        self._thread = LoopThread()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamItem[I, T]:
        if self._busy:
            raise RuntimeError("a stream of tasks has one reader: make a stream for each")
        if self._closed:
            raise StopAsyncIteration
        self._busy = True
        try:
            await self._fill()
            if not self._out:
                raise StopAsyncIteration
            return self._item(await self._next_done())
        except BaseException:
            self.close()
            raise
        finally:
            self._busy = False

    async def _fill(self) -> None:
        while self._inputs is not None and len(self._out) < self._concurrency:
            try:
                given = next(self._inputs)
            except StopIteration:
                self._inputs = None
                return
            job = Job(self._fn, (given,), self._caller, linked=True)
            job.collected = True
            index, self._taken = self._taken, self._taken + 1
            kept = given if self._with_input else None
            del given
            await self._start(job)
            self._out[job] = (index, kept)
            if self._timeout is not None and not job.done:
                job.limit(self._timeout)

    async def _next_done(self) -> Job:
        while (job := self._ready()) is None:
            await sleep_until_done(waiting_cell(), [job for job in self._out if not job.done])
        return job

    def _ready(self) -> Job | None:
        if self._ordered:
            first = next(iter(self._out))
            return first if first.done else None
        return min((job for job in self._out if job.done), key=lambda job: job.ended_as, default=None)

    def _item(self, job: Job) -> StreamItem[I, T]:
        index, given = self._out.pop(job)
        error = job.error
        if isinstance(error, TaskTimeout) and job.timed_out and self._on_timeout == "fail":
            raise error
        value = cast("T", job.collect()) if error is None else None
        return StreamItem(index, value, error, given)

    # -- the end

    def close(self) -> None:
        """Cancel what runs and take no more inputs; never waits, twice is once."""
        self._closed = True
        self._inputs = None
        for job in self._out:
            job.withdraw()

    async def aclose(self) -> None:
        """Cancel what runs, and return when it is gone; cancelled itself, it leaves that to the tasks."""
        self.close()
        for job in tuple(self._out):
            while not job.done:
                await sleep_until_done(waiting_cell(), [job])
        self._out.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # What a `break` leaves behind.  In another thread (a collection of garbage there) nothing may
        # be touched; the tasks end with their owner or by their time limit then.
        with contextlib.suppress(AttributeError):  # one that was refused has no fields
            if self._out and self._thread.here:
                self.close()
