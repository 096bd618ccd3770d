"""One running actor, looked at from outside: held, released, asked for its state (S17, S21-S23).

`system.inspect(ref_or_path)` returns an `Inspection`.  It names the slot, as a ref does,
so that it survives restarts; what is asked of it concerns the incarnation that runs at
that moment.  Everything here overtakes the mail and is served between two messages,
never in the middle of a handler, and also while the mail is held back.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from math import inf
from typing import TYPE_CHECKING, Self

import attrs

from holdfast.runtime.control_lane import running_cell, served
from holdfast.runtime.errors import DefinitionError, InvalidTimeout, StoppedOtherwise, StopTimeout
from holdfast.runtime.mailbox import StopRequest
from holdfast.runtime.observation import LOG_SIZE, LOG_SIZE_MAX, Counts, Observed, Observer
from holdfast.runtime.outcomes import NORMAL, Crash, Normal, Outcome, Shutdown
from holdfast.runtime.redaction import Json
from holdfast.runtime.seconds import is_number
from holdfast.runtime.state import replace_attributes, shown_state
from holdfast.runtime.statistics import ActorStatistics, MessageStatistics

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor
    from holdfast.runtime.registry import Slot

__all__ = ["INSPECTION_TIMEOUT", "Inspection", "Trace"]

# OTP's default for `sys` calls: long for a handler, short enough that a person is still looking.
INSPECTION_TIMEOUT = 5.0

_traces = itertools.count(1)


class Inspection:
    """What can be asked of one actor, and done to it, while it runs.

    Each `timeout` is in seconds: how long the present handler may take until the request
    is served.  `InspectionTimeout` when it takes longer, `ActorGone` when no incarnation
    runs, `InvalidTimeout` for a time limit that is none, `AskCycle` for an actor that
    inspects itself from a handler.
    """

    __slots__ = ("_slot",)

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    @property
    def path(self) -> str:
        """The actor's path."""
        return self._slot.path

    # -- its state

    async def get_state(self, *, timeout: float = INSPECTION_TIMEOUT) -> Json:
        """Return what may be shown of the actor's state, as plain data (S21).

        It is what the class's `format_state` returns, all attributes by default, with
        secrets masked by type, by name and by look, cut to 1,000 values, 8 levels and
        32,768 characters.  A snapshot between two messages, of a suspended actor too.
        """
        return await served(running_cell(self._slot), shown_state, checked_timeout(timeout))

    async def replace_state(
        self,
        change: Callable[[dict[str, object]], Mapping[str, object]],
        *,
        timeout: float = INSPECTION_TIMEOUT,
    ) -> Json:
        """Have `change` make a new state of the old one; return what may be shown of the new one (S21).

        `change` is given the attributes by name, unmasked, and returns those that the
        actor is to have: what is missing is deleted.  It runs between two messages and
        must not wait.  Dicts, lists, sets and deques in the state are copies, so that
        changing them in place counts only when `change` returns; other objects are
        the actor's own.  `CallbackFailed` when it raises or returns no mapping of names:
        the state is unchanged then, as it is after an `InspectionTimeout`.
        """
        cell = running_cell(self._slot)

        def replace(actor: Actor) -> Json:
            replace_attributes(actor, change, self._slot.path)
            return shown_state(actor)

        return await served(cell, replace, checked_timeout(timeout))

    # -- held and released

    async def suspend(self, *, timeout: float = INSPECTION_TIMEOUT) -> None:
        """Hold the actor's mail back; return when its present handler is over (S22).  Twice is once.

        Messages, questions, ticks and exit notices queue in the order in which they
        come and are handled in that order after `resume`: this is also how several
        deaths and calls are queued before a supervisor reacts to any.  Inspection,
        stop and kill are served meanwhile.  Timers run on, deadlines of questions pass.
        It concerns this incarnation; a successor handles its mail.  Out of time, the
        actor holds its mail when the handler is over all the same.
        """
        cell = running_cell(self._slot)
        seconds = checked_timeout(timeout)
        cell.suspend()
        await served(cell, _nothing, seconds)

    async def resume(self, *, timeout: float = INSPECTION_TIMEOUT) -> None:
        """Let the actor handle its mail again, in order (S22); on one that is not suspended it is nothing.

        The mail that a full restart holds back stays held.
        """
        cell = running_cell(self._slot)
        seconds = checked_timeout(timeout)
        if cell.loop.suspended:
            cell.resume()
            await served(cell, _nothing, seconds)

    @property
    def suspended(self) -> bool:
        """Whether the actor holds its mail back, or will when its present handler is over."""
        cell = self._slot.cell
        return cell is not None and cell.loop.suspended

    # -- ended

    async def stop(self, outcome: Outcome = NORMAL, *, timeout: float = inf) -> None:
        """Have the actor end itself with `outcome`; return when it is gone (S17).

        Queued like a message: what it was sent before is handled first; a suspended one
        ends at once.  Its stop hook runs.  A child counts as having ended by itself, and
        its supervisor decides whether it is restarted (`terminate_child` is the other
        way); one at the top of the system is gone for good.

        `ActorGone` when it is gone already; `StoppedOtherwise` when it ended another way
        (its stop hook raised, it crashed before); `StopTimeout` when it has not ended in
        time: it may still be stopping.  An invalid timeout or outcome does nothing.
        """
        cell = running_cell(self._slot)
        seconds = checked_timeout(timeout)
        if not isinstance(outcome, Normal | Shutdown | Crash):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"an actor ends itself as Normal, Shutdown or Crash, got {outcome!r}")
        if cell.loop.suspended:
            cell.context.stop(outcome)
        else:
            self._slot.mailbox.post(StopRequest(cell.incarnation, outcome))
        ended = await cell.wait_ended(None if seconds == inf else seconds)
        if ended is None:
            raise StopTimeout(self._slot.path, seconds)
        if ended != outcome:
            raise StoppedOtherwise(self._slot.path, outcome, ended)

    # -- counted

    def statistics(self) -> ActorStatistics:
        """Return what is counted of the actor; at any time, also when none runs (S23)."""
        slot, mailbox, tap = self._slot, self._slot.mailbox, self._slot.tap
        counts = None if tap is None else tap.counts
        return ActorStatistics(
            path=slot.path,
            state=slot.state,
            incarnation=slot.incarnation,
            started_at=slot.started_at if slot.running else None,
            uptime=slot.system.now() - slot.started_at if slot.running else None,
            handled=slot.handled,
            depth=mailbox.depth,
            high_water=mailbox.high_water,
            dropped=mailbox.dropped,
            refused=mailbox.refused,
            suspended=self.suspended,
            messages=None if counts is None else MessageStatistics(**attrs.asdict(counts)),
        )

    def start_statistics(self) -> None:
        """Count each message from the next batch on, until `stop_statistics`; twice is once (S23)."""
        tap = self._slot.tap_on()
        if tap.counts is None:
            tap.counts = Counts(self._slot.system.now())

    def stop_statistics(self) -> None:
        """Count single messages no more, and forget what was counted of them."""
        if self._slot.tap is not None:
            self._slot.tap.counts = None
            self._slot.tap_off()

    # -- observed

    def install(
        self, key: Hashable, observer: Callable[[Observed], object], *, contents: bool = False
    ) -> bool:
        """Have `observer` told of each message from the next batch on, also after restarts (S23).

        It is called at once and must not wait; when it raises it is removed, with an
        `ObserverRemoved` event.  The same key again installs nothing and returns False.
        With `contents` it is given messages and answers, too, redacted.
        """
        return self._slot.observe(key, Observer(observer, contents))

    def remove(self, key: Hashable) -> bool:
        """Take the observer with this key away; False when there is none."""
        return self._slot.unobserve(key)

    def trace(
        self, sink: Callable[[Observed], object], *, subtree: bool = False, contents: bool = False
    ) -> Trace:
        """Have `sink` told of each message until the trace is stopped; `subtree` includes all below (S23).

        Actors that are started below meanwhile are traced from their first message on.
        Otherwise as `install`.
        """
        return Trace(self._slot, Observer(sink, contents), subtree=subtree)

    def start_log(self, size: int = LOG_SIZE) -> None:
        """Keep the latest `size` entries from the next batch on, at most 10,000 (S23).

        It begins empty, also where something else that is on has kept entries before.  On a log that
        was started already it changes the size, and what fits stays.
        """
        if not 1 <= size <= LOG_SIZE_MAX:
            raise DefinitionError(f"a log keeps 1 to {LOG_SIZE_MAX} entries, got {size!r}")
        tap = self._slot.tap_on()
        tap.log = deque(tap.log if tap.logged else (), maxlen=size)
        tap.logged = True

    def log(self) -> tuple[Observed, ...]:
        """Return the entries kept, oldest first; something is kept while anything of S23 is on."""
        return () if self._slot.tap is None else tuple(self._slot.tap.log)

    def print_log(self, write: Callable[[str], object] = print) -> None:
        """Write the log, a line for each entry."""
        for entry in self.log():
            write(str(entry))

    def stop_log(self) -> None:
        """Keep no log for its own sake any more."""
        if self._slot.tap is not None:
            self._slot.tap.logged = False
            self._slot.tap_off()

    def no_debug(self) -> None:
        """Switch everything off for this actor: statistics, log, observers, its part of every trace (S23)."""
        self._slot.tap = None

    def __repr__(self) -> str:
        return f"<Inspection of {self._slot.path} {self._slot.state}>"


class Trace:
    """A trace that is on; `stop` it, or use it in a ``with``."""

    __slots__ = ("_key", "_slot")

    def __init__(self, slot: Slot, observer: Observer, *, subtree: bool) -> None:
        self._slot = slot
        self._key = f"trace {next(_traces)} of {slot.path}"
        registry = slot.system.registry
        if subtree:
            registry.observers_below[self._key] = (slot.path, observer)
        for traced in registry.below(slot.path) if subtree else [slot]:
            traced.observe(self._key, observer)

    def stop(self) -> None:
        """Tell the sink nothing more; twice is once."""
        registry = self._slot.system.registry
        registry.observers_below.pop(self._key, None)
        for traced in {self._slot, *registry.below(self._slot.path)}:
            traced.unobserve(self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.stop()


def checked_timeout(timeout: float) -> float:
    """Return the time limit, or refuse what is none (S17: nothing has happened then)."""
    if not is_number(timeout) or not timeout > 0:
        raise InvalidTimeout(timeout)
    return float(timeout)


def _nothing(_actor: Actor) -> None:
    """Stand for a request that only waits for its turn."""
