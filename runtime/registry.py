"""The slots of a system, by path.

A slot is what a ref names: path, mailbox, incarnation counter and watchers.
It is owned by the system and lives as long as the child's spec: through the
restart of the actor, of its group, of its parent supervisor, and the full
restart.  Deleting the spec, or the end of a temporary child, ends it; a new
child under the same path is a new slot.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

from holdfast.runtime.errors import ActorDegraded, ActorGone, MailboxFull
from holdfast.runtime.events import RECORDER_CAPACITY, Event, SubscriberRemoved
from holdfast.runtime.identity import parent
from holdfast.runtime.mailbox import (
    OVERFLOW_NEWEST,
    OVERFLOW_OLDEST,
    Envelope,
    Mailbox,
    Notice,
    Parcel,
    Question,
    StopMark,
)
from holdfast.runtime.messages import Down
from holdfast.runtime.observation import Observer, Tap
from holdfast.runtime.outcomes import SHUTDOWN, Outcome
from holdfast.runtime.ref import Ref
from holdfast.runtime.watches import Watchers

if TYPE_CHECKING:
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.system import System

__all__ = ["Registry", "Slot", "SlotState"]

SlotState: TypeAlias = Literal["awaited", "starting", "running", "stopping", "down", "stopped", "removed"]
# awaited: named by a ref, never started      down: between two incarnations; mail waits
# stopped: not coming back unless revived; mail is refused          removed: the slot has ended


class Slot:
    """One actor's place in the system."""

    __slots__ = (
        "__weakref__", "_ref", "cell", "handled", "incarnation", "mailbox", "outcome", "path", "probe_at",
        "recorder", "started_at", "state", "system", "tap", "watchers",
    )  # fmt: skip

    def __init__(self, system: System, path: str) -> None:
        self.system = system
        self.path = path
        self.mailbox = Mailbox(path)
        self.mailbox.keeper = self
        self.incarnation = 0
        self.cell: Cell | None = None
        self.state: SlotState = "awaited"
        self.outcome: Outcome | None = None
        """How the latest incarnation ended; None while one runs: a crash holds frames and what is in them."""
        self.probe_at: float | None = None
        """When an actor that is switched off is tried again; None for one that is not."""
        self.handled = 0
        self.started_at = 0.0
        self.watchers: Watchers | None = None
        self.recorder: list[Event] | None = None
        self.tap: Tap | None = None
        """Who observes its messages; looked at once a batch."""
        self._ref: Ref | None = None

    @property
    def ref(self) -> Ref:
        """The name that others hold of it."""
        if self._ref is None:
            self._ref = Ref(self)
        return self._ref

    @property
    def running(self) -> bool:
        """Whether an incarnation serves the mailbox now."""
        return self.state == "running"

    def post(self, item: object) -> None:
        """Put an item of the runtime into the mailbox, outside the bound; to a dead slot it is counted."""
        if self.mailbox.closed and self.state in {"stopped", "removed"}:
            self.system.counters.stale_notices += 1
            return
        self.mailbox.post(item)

    def watch(self, key: Hashable, watcher: Slot, incarnation: int) -> None:
        """Tell one incarnation of `watcher` of each end; at once when the slot is dead."""
        if self.state in {"stopped", "removed"}:
            watcher.post(Notice(self._down(), incarnation))
            return
        if self.watchers is None:
            self.watchers = Watchers()
        self.watchers.add(key, lambda down: watcher.post(Notice(down, incarnation)))

    def watch_from_outside(self, tell: Callable[[Down], None]) -> Callable[[], None]:
        """Tell an embedder of each end, until what is returned is called; at once when the slot is dead."""
        if self.state in {"stopped", "removed"}:
            tell(self._down())
            return lambda: None
        if self.watchers is None:
            self.watchers = Watchers()
        key = object()

        def tell_guarded(down: Down) -> None:
            try:
                tell(down)
            except Exception as error:  # noqa: BLE001 - a watcher must not fail what it watches
                self.unwatch(key)
                self.system.events.publish(
                    SubscriberRemoved(subscriber=repr(tell), reason=f"{type(error).__name__}: {error}")
                )

        self.watchers.add(key, tell_guarded)
        return lambda: self.unwatch(key)

    def unwatch(self, key: Hashable) -> None:
        """Forget a watcher."""
        if self.watchers is not None:
            self.watchers.remove(key)

    def tell_watchers(self) -> None:
        """Tell everyone who watches that the latest incarnation has ended."""
        if self.watchers is not None:
            self.watchers.tell(self._down())

    def _down(self) -> Down:
        return Down(path=self.path, incarnation=self.incarnation, outcome=self.outcome or SHUTDOWN)

    def close(self, outcome: Outcome | None = None, *, probe_at: float | None = None) -> None:
        """The actor is not coming back unless it is revived: refuse mail, fail every question at once."""
        if outcome is not None:
            self.outcome = outcome
        self.probe_at = probe_at
        if self.state != "removed":
            self.state = "stopped"
        self.mailbox.close()
        self.discard("gone")

    def discard(self, why: str) -> None:
        """Turn the waiting mail into dead letters and failed questions."""
        for item in self.mailbox.take_all():
            self.drop(item, why)
        self.mailbox.admit_senders()

    def drop(self, item: object, why: str) -> None:
        """Turn mail that is not going to be handled into a dead letter, or a failed question."""
        if isinstance(item, Question | Parcel):
            item.pending.fail(self._refusal(why))
        elif isinstance(item, Envelope):
            self.system.counters.stale_notices += not isinstance(item, StopMark)
        else:
            self.system.dead_letter(self.path, item, why)

    def _refusal(self, why: str) -> ActorGone | MailboxFull:
        if why in {OVERFLOW_NEWEST, OVERFLOW_OLDEST}:
            return MailboxFull(self.path, self.mailbox.capacity)
        return self.gone() if why == "gone" else ActorGone(self.path, self.outcome, why)

    def gone(self) -> ActorGone:
        """Return the error for whoever needs an actor that is not there."""
        if self.probe_at is not None and self.state == "stopped":
            return ActorDegraded(self.path, self.outcome, max(0.0, self.probe_at - self.system.now()))
        return ActorGone(self.path, self.outcome)

    def record(self, event: Event) -> None:
        """Keep an event in the flight recorder."""
        recorder = self.recorder
        if recorder is None:
            self.recorder = [event]
            return
        recorder.append(event)
        if len(recorder) > RECORDER_CAPACITY:
            del recorder[0]

    def announce(self, event: Event) -> None:
        """Keep an event in the flight recorder, and publish it if anybody hears."""
        self.record(event)
        if self.system.events.heard:
            self.system.events.publish(event)

    def recent(self, count: int) -> tuple[Event, ...]:
        """Return the latest events of the flight recorder, with single messages while it is observed."""
        events: tuple[Event, ...] = tuple(self.recorder or ())
        if self.tap is not None:
            events = tuple(sorted((*events, *self.tap.log), key=_when))
        return events[-count:]

    # -- observed

    def observe(self, key: Hashable, observer: Observer) -> bool:
        """Tell this observer of each message from the next batch on; False when the key is there already."""
        tap = self.tap_on()
        if key in tap.observers:
            return False
        tap.observers[key] = observer
        return True

    def unobserve(self, key: Hashable) -> bool:
        """Tell it no more; False for an unknown one."""
        found = self.tap is not None and self.tap.observers.pop(key, None) is not None
        self.tap_off()
        return found

    def tap_on(self) -> Tap:
        """Return the slot's tap, made on first use."""
        if self.tap is None:
            self.tap = Tap(self)
        return self.tap

    def tap_off(self) -> None:
        """Forget the tap if nothing is switched on any more."""
        if self.tap is not None and self.tap.idle:
            self.tap = None

    def __repr__(self) -> str:
        return f"<Slot {self.path} {self.state} incarnation={self.incarnation} mail={self.mailbox.depth}>"


def _when(event: Event) -> float:
    at: object = getattr(event, "at", 0.0)
    return at if isinstance(at, float) else 0.0


class Registry:
    """All slots of a system, in the order in which they were made."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._slots: dict[str, Slot] = {}
        # The paths directly under a path: a subtree is found without looking at the rest of the system,
        # or ending 100,000 dynamic children one by one would be quadratic.
        self._children: dict[str, dict[str, None]] = {}
        self.observers_below: dict[Hashable, tuple[str, Observer]] = {}
        """Observers of whole subtrees, by key: those of actors to come are told of them when they come."""

    def slot(self, path: str) -> Slot:
        """Return the slot of a path; made on first use, so that mail can wait for an actor to come."""
        slot = self._slots.get(path)
        if slot is None:
            slot = self._slots[path] = Slot(self._system, path)
            self._children.setdefault(parent(path), {})[path] = None
            for key, (top, observer) in self.observers_below.items():
                if path == top or path.startswith(f"{top}/"):
                    slot.observe(key, observer)
        return slot

    def find(self, path: str) -> Slot | None:
        """Return the slot of a path if there is one."""
        return self._slots.get(path)

    def below(self, path: str) -> list[Slot]:
        """Return the slots at and under a path, parents first."""
        found: list[Slot] = []
        paths = [path]
        while paths:
            at = paths.pop()
            slot = self._slots.get(at)
            if slot is not None:
                found.append(slot)
            paths.extend(self._children.get(at, ()))
        return found

    def close_below(
        self, path: str, outcome: Outcome | None = None, *, probe_at: float | None = None
    ) -> None:
        """The subtree is not coming back unless it is revived: refuse mail, fail questions at once.

        With `probe_at` it is switched off until that moment, and the questions are failed so.
        """
        for slot in self.below(path):
            if slot.cell is None:
                slot.close(outcome if slot.path == path else None, probe_at=probe_at)

    def remove(self, path: str) -> None:
        """End the slots at and under a path; a later child under the same path is another slot."""
        for slot in self.below(path):
            slot.state = "removed"
            slot.close()
            if slot.watchers is not None:
                slot.watchers.clear()
            self._forget(slot.path)

    def _forget(self, path: str) -> None:
        del self._slots[path]
        above = parent(path)
        siblings = self._children[above]
        del siblings[path]
        if not siblings:
            del self._children[above]

    def __iter__(self) -> Iterator[Slot]:
        return iter(tuple(self._slots.values()))

    def __len__(self) -> int:
        return len(self._slots)
