"""Several children of one kind, and a rule that says which of them a key belongs to.

What would queue behind one actor is spread over n of them: the same key always
finds the same partition.  They are the children of an ordinary supervisor,
called ``0`` to ``n - 1``; a partition that is restarted keeps its ref and mail.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Literal
from weakref import WeakSet

import attrs

from holdfast.runtime.behavior import Actor
from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.identity import join
from holdfast.runtime.ref import Ref
from holdfast.runtime.registry import Slot
from holdfast.supervisors.child_spec import (
    BUDGET,
    ChildSpec,
    OnGiveUp,
    Restart,
)
from holdfast.supervisors.declarations import supervisor, worker
from holdfast.supervisors.errors import CallRefused, ChildRunning, InvalidSpec
from holdfast.supervisors.handle import SupervisorHandle
from holdfast.supervisors.intensity import Budget
from holdfast.supervisors.supervisor import Supervisor

__all__ = [
    "InvalidPartitionKey",
    "NoPartitions",
    "PartitionHandle",
    "PartitionInfo",
    "ResizeUnderWay",
    "partition",
    "partition_of",
]

# More partitions than this are not spread over, they are addressed: a dynamic supervisor does that.
PARTITIONS_MAX = 10_000


class NoPartitions(HoldfastError):
    """A key was looked up where no partition runs: it was resized to 0, or has ended or not begun."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} has no partition now: resize it, or see whether it runs")
        self.path = path


class InvalidPartitionKey(HoldfastError, TypeError):
    """A key that has no stable hash."""

    def __init__(self, key: object) -> None:
        super().__init__(f"a key of a partition is an int, str or bytes, got {type(key).__name__}: {key!r}")
        self.key = key


class ResizeUnderWay(CallRefused):
    """Another resize of the same partitions has not come to its end."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is being resized: wait for that")
        self.path = path


@attrs.frozen
class PartitionInfo:
    """One partition as its supervisor sees it."""

    index: int
    ref: Ref | None
    """None when it does not run."""
    state: Literal["running", "stopped", "restarting", "degraded"]
    incarnation: int


def partition_of(key: int | str | bytes, partitions: int) -> int:
    """Return the number of the partition of a key, among so many: the same in every process.

    An int by modulo (True is 1, -1 belongs to the last); a str by the CRC-32 of its UTF-8,
    bytes by their own.  Python's own hash of a str differs from process to process.
    """
    if isinstance(key, int):
        return key % partitions
    if isinstance(key, str):
        return zlib.crc32(key.encode("utf-8", "surrogatepass")) % partitions
    if isinstance(key, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        return zlib.crc32(key) % partitions
    raise InvalidPartitionKey(key)


def partition(
    id: str,  # noqa: A002 - the domain's word
    child: ChildSpec | Callable[..., Actor],
    *,
    partitions: int,
    arguments: Callable[[int], Sequence[object]] | None = None,
    budget: Budget = BUDGET,
    depends_on: Sequence[str] = (),
    on_give_up: OnGiveUp = OnGiveUp.ESCALATE,
    own_budget: Budget | None = None,
) -> ChildSpec:
    """Declare n children of one kind under a supervisor; `PartitionHandle` finds the one of a key.

    `child` is a factory, or a spec made by `worker`, `template`, `supervisor` or
    `dynamic` whose id is replaced by the partition's number.  The factory is called with
    `arguments(number)`, for every incarnation.  Partitions are permanent.
    """
    owner = f"partition {id!r}"
    if type(partitions) is not int or not 1 <= partitions <= PARTITIONS_MAX:
        raise InvalidSpec(owner, f"partitions is a number from 1 to {PARTITIONS_MAX}", partitions)
    if arguments is not None and not callable(arguments):  # pyright: ignore[reportUnnecessaryComparison]
        raise InvalidSpec(
            owner, "arguments is a function from the partition's number to a sequence", arguments
        )
    pattern = child if isinstance(child, ChildSpec) else worker("partition", child)
    if pattern.restart is not Restart.PERMANENT:
        raise InvalidSpec(owner, "a partition is permanent", pattern.restart.name)
    if pattern.depends_on:
        raise InvalidSpec(owner, "partitions depend on nobody", pattern.depends_on)
    if arguments is not None and pattern.factory is None:
        raise InvalidSpec(owner, "arguments are for a child with a factory", pattern.id)
    return supervisor(
        id,
        *(_numbered(pattern, number, arguments) for number in range(partitions)),
        budget=budget,
        depends_on=depends_on,
        on_give_up=on_give_up,
        own_budget=own_budget,
    )


def _numbered(
    pattern: ChildSpec, number: int, arguments: Callable[[int], Sequence[object]] | None
) -> ChildSpec:
    factory = pattern.factory
    if arguments is not None and factory is not None:
        factory = functools.partial(_make, factory, arguments, number)
    return attrs.evolve(pattern, id=str(number), factory=factory)


def _make(factory: Callable[..., Actor], arguments: Callable[[int], Sequence[object]], number: int) -> Actor:
    return factory(*arguments(number))


_resizing: WeakSet[Slot] = WeakSet()


class PartitionHandle:
    """Partitions to be looked up by key; `PartitionHandle(system.ref("app/workers"))`."""

    def __init__(self, ref: Ref) -> None:
        self.ref = ref
        self._supervisor = SupervisorHandle(ref)
        self._slots: list[Slot] = []

    @property
    def path(self) -> str:
        """The supervisor's path."""
        return self.ref.path

    @property
    def count(self) -> int:
        """How many partitions keys are spread over now; those being restarted count."""
        # A resize stops partitions at the end alone.  What stands is read from the slots, which outlive
        # every restart: there is no second place that could say something else.
        slots = self._declared()
        count = len(slots)
        while count and slots[count - 1].state == "stopped":
            count -= 1
        return count

    def _declared(self) -> list[Slot]:
        """Return the slots of all declared partitions; while the supervisor is down, those it had."""
        cell = self.ref.slot.cell
        actor = None if cell is None else cell.life._actor
        group = actor._spec.group if isinstance(actor, Supervisor) else None
        gone = bool(self._slots) and self._slots[0].state == "removed"
        if group is None:
            return [] if gone else self._slots
        if gone or len(self._slots) != len(group.children):
            registry = self.ref.slot.system.registry
            self._slots = [registry.slot(join(self.path, child.id)) for child in group.children]
        return self._slots

    def number_of(self, key: int | str | bytes) -> int:
        """Return the number of the key's partition.  `NoPartitions`, `InvalidPartitionKey`."""
        count = self.count
        if not count:
            raise NoPartitions(self.path)
        return partition_of(key, count)

    def ref_for(self, key: int | str | bytes) -> Ref:
        """Return the partition of the key, to talk to.  `NoPartitions`, `InvalidPartitionKey`.

        The ref stays good through restarts.  After a resize a key may belong elsewhere: look it up each time.
        """
        return self._declared()[self.number_of(key)].ref

    async def which_partitions(self) -> tuple[PartitionInfo, ...]:
        """Describe all declared partitions, stopped ones too."""
        children = await self._supervisor.which_children()
        return tuple(
            PartitionInfo(number, child.ref, child.state, child.incarnation)
            for number, child in enumerate(children)
        )

    async def resize(self, partitions: int) -> None:
        """Run only the first so many, from 0 to what was declared; returns when it is so.

        Those at the end are stopped for good, each by its rule after the mail it has, or
        started again.  A restart of the whole supervisor brings the declared number back.
        `InvalidSpec`, `ResizeUnderWay`; an error of a start leaves the smaller number.
        """
        slot = self.ref.slot
        if slot in _resizing:
            raise ResizeUnderWay(self.path)
        _resizing.add(slot)
        try:
            await self._resize(partitions)
        finally:
            _resizing.discard(slot)

    async def _resize(self, partitions: int) -> None:
        present = await self.which_partitions()
        if type(partitions) is not int or not 0 <= partitions <= len(present):
            raise InvalidSpec(
                f"resize of {self.path}", f"partitions is a number from 0 to {len(present)}", partitions
            )
        for info in reversed(present[partitions:]):
            if info.state != "stopped":
                await self._supervisor.terminate_child(str(info.index))
        for info in present[:partitions]:
            if info.state == "stopped":
                await self._start(str(info.index))

    async def _start(self, child: str) -> None:
        try:
            await self._supervisor.restart_child(child)
        except ChildRunning:
            return  # a restart of the group has brought it back meanwhile
