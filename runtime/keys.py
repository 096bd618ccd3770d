"""Keys that actors own while they live: unique names, or groups of many (G1-G7).

A registry is an object that a program makes beside its tree and hands to its
actors' factories.  An entry belongs to one incarnation and is gone before
anybody is told of that incarnation's end; a dead owner is seen through even
while its clean-up still runs (G2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, TypeVarTuple

import attrs

from holdfast.runtime.errors import ActorGone, DefinitionError, HoldfastError
from holdfast.runtime.events import Event
from holdfast.runtime.key_identity import ANY, identity, matches
from holdfast.runtime.key_locks import LOCK_TIMEOUT, KeyLock, KeyLocks
from holdfast.runtime.loop_thread import LoopThread
from holdfast.runtime.tracing import EventStream

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor, StartReply
    from holdfast.runtime.cell import Cell
    from holdfast.runtime.context import Context
    from holdfast.runtime.ref import Ref
    from holdfast.runtime.system import System

__all__ = [
    "AlreadyRegistered",
    "KeyEntry",
    "KeyRegistered",
    "KeyRegistry",
    "KeyUnregistered",
    "NotRegistered",
    "RegistryFull",
]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Ts = TypeVarTuple("Ts")

# A key for each of a hundred thousand sessions: about 50 MB with what belongs to it.
CAPACITY = 100_000


class AlreadyRegistered(HoldfastError):
    """A unique key has a living owner; `owner` is its ref (already_started, for a start under a name)."""

    def __init__(self, registry: str, key: object, owner: Ref) -> None:
        super().__init__(f"{key!r} belongs to {owner.path} in the registry {registry!r}")
        self.key = key
        self.owner = owner


class NotRegistered(HoldfastError):
    """Only the owner of a key may do this, and this actor is not."""

    def __init__(self, registry: str, key: object, path: str) -> None:
        super().__init__(
            f"{path} has not registered {key!r} in the registry {registry!r}: its owner only may"
        )
        self.key = key
        self.path = path


class RegistryFull(HoldfastError):
    """A registry has as many entries as it may; nothing was registered."""

    def __init__(self, registry: str, capacity: int) -> None:
        super().__init__(f"the registry {registry!r} has {capacity} entries, its bound")
        self.capacity = capacity


class KeyRegistered(Event, frozen=True):
    """A key has an owner more."""

    registry: str
    key: object
    owner: str
    incarnation: int


class KeyUnregistered(Event, frozen=True):
    """A key has an owner less: it said so, or it has ended."""

    registry: str
    key: object
    owner: str
    incarnation: int


@attrs.frozen
class KeyEntry(Generic[V]):
    """One entry as it was when it was looked up."""

    key: object
    owner: Ref
    value: V


class _Record(Generic[V]):
    __slots__ = ("cell", "key", "name", "value")

    def __init__(self, cell: Cell, key: object, name: Hashable, value: V) -> None:
        self.cell = cell
        self.key = key
        self.name = name
        self.value = value

    @property
    def alive(self) -> bool:
        return _alive(self.cell)

    def entry(self) -> KeyEntry[V]:
        return KeyEntry(self.key, self.cell.slot.ref, self.value)


class KeyRegistry(Generic[V]):
    """Keys and their owners.  For the loop's thread alone: there are no locks in it, and nothing waits.

    A key is its type and its value (1, 1.0 and True are three keys), see
    `key_identity.py`.  `unique` gives each key one owner at most; otherwise a key may
    have many entries, several of one owner too.
    """

    def __init__(
        self, system: System, name: str = "keys", *, unique: bool = True, capacity: int = CAPACITY
    ) -> None:
        if type(capacity) is not int or capacity < 1:
            raise DefinitionError(f"a registry's capacity is a whole number of 1 or more, got {capacity!r}")
        self.name = name
        self.unique = unique
        self.capacity = capacity
        self.events = EventStream()
        """`KeyRegistered` and `KeyUnregistered`, in order; `subscribe` gives a bounded view (G5)."""
        self._thread = LoopThread()
        self._locks = KeyLocks(system)
        self._keys: dict[Hashable, dict[_Record[V], None]] = {}
        self._owners: dict[Cell, dict[_Record[V], None]] = {}
        self._size = 0

    # -- what owners do

    def register(self, context: Context, key: object, value: V) -> None:
        """Make the actor of `context` the owner of the key, for as long as this incarnation lives (G1).

        `AlreadyRegistered` for a unique key of a living owner, itself included;
        `RegistryFull`; `InvalidKey`; `ActorGone` for an incarnation that has ended.
        """
        name = self._name(key)
        cell = context.cell
        if not _alive(cell):
            raise ActorGone(cell.slot.path, cell.outcome)
        if self.unique:
            self._refuse_taken(key, name)
            # What is left is of owners that are dead while their clean-up still runs (G2).
            for record in tuple(self._keys.get(name, ())):
                self._remove(record)
        if self._size >= self.capacity:
            raise RegistryFull(self.name, self.capacity)
        record = _Record(cell, key, name, value)
        if cell not in self._owners:
            cell.holdings.attach(self, lambda: self._owner_ended(cell))
        self._owners.setdefault(cell, {})[record] = None
        self._keys.setdefault(name, {})[record] = None
        self._size += 1
        self._publish(KeyRegistered, record)

    def unregister(self, context: Context, key: object) -> None:
        """Take back all that this actor has registered under the key; nothing is nothing (G3)."""
        name = self._name(key)
        for record in tuple(self._owners.get(context.cell, ())):
            if record.name == name:
                self._remove(record)

    def update_value(self, context: Context, key: object, update: Callable[[V], V]) -> V:
        """Put what `update` makes of the value in its place, and return it; `NotRegistered` for others (G3).

        In a registry of duplicates all entries of the owner under the key are updated, and
        the last value is returned.  When `update` raises, nothing has changed.
        """
        name = self._name(key)
        own = [record for record in self._owners.get(context.cell, ()) if record.name == name]
        if not own:
            raise NotRegistered(self.name, key, context.path)
        values = [update(record.value) for record in own]
        for record, value in zip(own, values, strict=True):
            record.value = value
        return values[-1]

    # -- what everybody may ask

    def lookup(self, key: object) -> tuple[KeyEntry[V], ...]:
        """Return the entries of the key, oldest first; at most one where keys are unique."""
        return tuple(record.entry() for record in self._living(key))

    def whereis(self, key: object) -> Ref | None:
        """Return the (oldest) owner of the key, to talk to; None when it has none."""
        return next((record.cell.slot.ref for record in self._living(key)), None)

    def values(self, key: object) -> tuple[V, ...]:
        """Return the values under the key, oldest first."""
        return tuple(record.value for record in self._living(key))

    def keys(self, owner: Ref) -> tuple[object, ...]:
        """Return the keys of the actor's present incarnation, a key as often as it was registered (G1)."""
        self._thread.check("a key registry")
        cell = owner.slot.cell
        if cell is None or not _alive(cell):
            return ()
        return tuple(record.key for record in self._owners.get(cell, ()))

    def count(self) -> int:
        """Return how many entries there are."""
        self._thread.check("a key registry")
        return sum(len(records) for cell, records in self._owners.items() if _alive(cell))

    def select(self, where: Callable[[KeyEntry[V]], bool]) -> tuple[KeyEntry[V], ...]:
        """Return the entries that a predicate chooses, by the age of their keys (G3)."""
        return tuple(entry for entry in self._entries() if where(entry))

    def match(self, key: object = ANY, value: object = ANY) -> tuple[KeyEntry[V], ...]:
        """Return the entries of that shape: `ANY` fits all, tuples part by part, the rest exactly (G3).

        ``keys.match(("room", ANY))`` finds ``("room", 7)``.
        """
        return self.select(lambda entry: matches(key, entry.key) and matches(value, entry.value))

    def dispatch(self, key: object, fn: Callable[[tuple[KeyEntry[V], ...]], object]) -> None:
        """Call `fn` once with all entries of the key; not at all when it has none (G4)."""
        entries = self.lookup(key)
        if entries:
            fn(entries)

    def lock(self, key: object, *, timeout: float = LOCK_TIMEOUT) -> KeyLock:
        """Return `async with` for code that is to be alone with this key; see `KeyLocks.lock` (G7).

        A lock has nothing to do with who has registered the key.
        """
        return self._locks.lock(key, timeout=timeout)

    # -- names for actors

    def via(self, key: object, factory: Callable[[*Ts], Actor], value: V) -> Callable[[*Ts], Actor]:
        """Return a factory of actors that own the key from before their start hook on (G6).

        While the key has a living owner the start fails with `AlreadyRegistered`, which
        names it, and the factory is not called; a start that fails leaves the key free.
        """
        name = self._name(key)

        def make(*args: *Ts) -> Actor:
            self._refuse_taken(key, name)
            actor = factory(*args)

            def on_start() -> StartReply | Awaitable[StartReply]:
                del actor.__dict__["on_start"]  # its own again
                self.register(actor.context, key, value)
                return actor.on_start()

            actor.__dict__["on_start"] = on_start
            return actor

        return make

    # -- within

    def _name(self, key: object) -> Hashable:
        self._thread.check("a key registry")
        return identity(key)

    def _refuse_taken(self, key: object, name: Hashable) -> None:
        for record in self._keys.get(name, ()) if self.unique else ():
            if record.alive:
                raise AlreadyRegistered(self.name, key, record.cell.slot.ref)

    def _living(self, key: object) -> Iterator[_Record[V]]:
        records = tuple(self._keys.get(self._name(key), ()))
        return (record for record in records if record.alive)

    def _entries(self) -> Iterator[KeyEntry[V]]:
        self._thread.check("a key registry")
        for records in tuple(self._keys.values()):
            yield from (record.entry() for record in tuple(records) if record.alive)

    def _owner_ended(self, cell: Cell) -> None:
        for record in tuple(self._owners.get(cell, ())):
            self._remove(record)

    def _remove(self, record: _Record[V]) -> None:
        _take(self._keys, record.name, record)
        if _take(self._owners, record.cell, record) and not record.cell.ended:
            record.cell.holdings.detach(self)
        self._size -= 1
        self._publish(KeyUnregistered, record)

    def _publish(self, kind: type[KeyRegistered | KeyUnregistered], record: _Record[V]) -> None:
        cell = record.cell
        self.events.publish(kind(self.name, record.key, cell.slot.path, cell.incarnation))


def _alive(cell: Cell) -> bool:
    """Whether an incarnation can still do anything: killed it cannot, though its clean-up may still run."""
    return cell.slot.cell is cell and not (cell.ended or cell.wedged or cell.loop.killed or cell.life.leaving)


def _take(table: dict[K, dict[_Record[V], None]], name: K, record: _Record[V]) -> bool:
    """Take a record out, and its line when that is empty then; return whether it was."""
    line = table[name]
    del line[record]
    if line:
        return False
    del table[name]
    return True
