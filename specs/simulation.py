"""One trio run in virtual time that is the same, bit for bit, whenever it has the same seed.

`simulate` puts everything of specs around a main function: the order of tasks,
randomness, clocks, guards, limits and the trace.  It may run a thousand times in a
process; whatever a run does, the process is left as it was.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Generic, TypeVar

import attrs
import trio
import trio.testing

from holdfast.runtime.testing.scheduler import Order, RunAborted, Steering, ordered
from holdfast.specs.calendar import shown
from holdfast.specs.guards import nothing_real
from holdfast.specs.orders import Scheduler, SerialPct, order_of
from holdfast.specs.patches import replaced
from holdfast.specs.randomness import Seeds, seeded
from holdfast.specs.stalls import Limits, Watch, cpu_watched
from holdfast.specs.trace import Trace
from holdfast.specs.world import World

__all__ = ["Run", "SchedulerSeamLost", "Setup", "simulate"]

T = TypeVar("T")


class SchedulerSeamLost(RuntimeWarning):
    """The scheduler of this trio cannot be steered: runs work, but a seed may give several orders."""


@attrs.frozen
class Setup:
    """What a run depends on besides its main function."""

    seed: int = 0
    scheduler: Scheduler = "shuffle"
    steps: int | None = None
    """How many steps the run has, for "pct"; measured in a run of "fifo" when None."""
    limits: Limits = attrs.field(factory=Limits)
    keep_trace: bool = False
    """Whether the trace is kept in full, and not as its digest alone."""


@attrs.frozen(eq=False)
class Run(Generic[T]):
    """What came of a run."""

    setup: Setup
    trace: Trace
    virtual_seconds: float
    steered: bool
    """Whether the order of tasks was the seed's; False where trio's scheduler could not be reached."""
    returned: tuple[T, ...]
    """What main returned; empty when it did not."""
    error: BaseException | None
    """What main raised, or the `Stall` that was found."""
    effects: dict[str, int]
    """How often each kind of fault took effect."""

    @property
    def steps(self) -> int:
        """Steps of all tasks."""
        return self.trace.steps

    @property
    def digest(self) -> str:
        """What has to be the same in every run of this setup."""
        return self.trace.digest

    def result(self) -> T:
        """Return what main returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.returned[0]


@attrs.define(eq=False)
class _Ended(Generic[T]):
    returned: tuple[T, ...] = ()
    watch: Watch | None = None
    virtual_seconds: float = 0.0


def simulate(main: Callable[[World], Awaitable[T]], setup: Setup | None = None) -> Run[T]:
    """Run `main` in a new world to its end and return what came of it; raises nothing of main's.

    Not to be called from inside an event loop.  KeyboardInterrupt comes through.
    "pct" without `steps` runs `main` twice: once in order of age, to count.
    """
    setup = setup if setup is not None else Setup()
    if setup.scheduler == "pct" and setup.steps is None:
        counted = _simulate(main, attrs.evolve(setup, scheduler="fifo", keep_trace=False))
        setup = attrs.evolve(setup, steps=counted.steps)
    return _simulate(main, setup)


def _simulate(main: Callable[[World], Awaitable[T]], setup: Setup) -> Run[T]:
    seeds = Seeds(setup.seed)
    trace = Trace(kept=setup.keep_trace)
    world = World(setup.seed, trace)
    order = order_of(setup.scheduler, seeds.stream("order"), setup.steps)
    ended = _Ended[T]()
    error: BaseException | None = None
    with _collected_after(), ordered(order) as steering, seeded(seeds):
        if not steering.steered:
            warnings.warn("trio's scheduler cannot be steered", SchedulerSeamLost, stacklevel=3)
        try:
            trio.run(
                _rooted, main, world, setup, steering, order, ended,
                clock=trio.testing.MockClock(autojump_threshold=0),
            )  # fmt: skip
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 - it is the run's result
            error = raised
        if steering.aborted is not None:
            error = None  # trio's own, which holds the whole run; the stall is told instead
            _bury(steering)
    if ended.watch is not None and ended.watch.stall is not None:
        stall = ended.watch.stall
        if steering.aborted is not None:
            stall.add_note(str(RunAborted("the run was given up")))
        error, ended.returned = stall, ()
    return Run(
        setup, trace, ended.virtual_seconds, steering.steered, ended.returned, error, world.effects.counts()
    )


async def _rooted(
    main: Callable[[World], Awaitable[T]],
    world: World,
    setup: Setup,
    steering: Steering,
    order: Order,
    ended: _Ended[T],
) -> None:
    watch = ended.watch = Watch(world.trace, setup.limits, steering)
    began = trio.current_time()
    with ExitStack() as around:
        around.enter_context(cpu_watched(watch, setup.limits))
        around.enter_context(shown(world.calendar))
        around.enter_context(nothing_real())
        trio.lowlevel.add_instrument(watch)
        if isinstance(order, SerialPct):
            trio.lowlevel.add_instrument(_Forgetting(order))
        try:
            with watch.scope:
                ended.returned = (await main(world),)
        finally:
            ended.virtual_seconds = trio.current_time() - began
            world.close()


class _Forgetting(trio.abc.Instrument):
    def __init__(self, order: SerialPct) -> None:
        self._order = order

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._order.forget(task)


def _bury(steering: Steering) -> None:
    """Close what an aborted run left behind, while nobody is told what its clean-up thinks of that."""

    def unheard(_unraisable: object) -> None:
        pass

    with replaced((sys, "unraisablehook", unheard)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        steering.bury()
        gc.collect()


@contextmanager
def _collected_after() -> Generator[None]:
    """Keep the collector from running finalisers in the middle of a run, at a moment nobody decides.

    What lived before is set aside, so that the collection after the run looks at the run's own objects.
    """
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        if enabled:
            gc.enable()
