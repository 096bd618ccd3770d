"""The partition supervisor: n children of one kind, routed by key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from holdfast.runtime import Actor, InjectedFault, Message, Request, System, on, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    TRANSIENT,
    Budget,
    DynamicHandle,
    InvalidPartitionKey,
    InvalidSpec,
    NoPartitions,
    PartitionHandle,
    ResizeUnderWay,
    dynamic,
    partition,
    partition_of,
    start_tree,
    supervisor,
    template,
    worker,
)


class Remember(Message, frozen=True):
    text: str


class Told(Request[tuple[object, ...]], frozen=True):
    """What the partition was made with, and what it remembers."""


class Partition(Actor):
    def __init__(self, *arguments: object) -> None:
        self.told: list[object] = [*arguments]

    @on(Remember)
    def _remember(self, message: Remember) -> None:
        self.told.append(message.text)

    @on(Told)
    def _told(self, _question: Told) -> tuple[object, ...]:
        return tuple(self.told)


async def workers_of(
    system: System, partitions: int, child: Any = Partition, **options: Any
) -> PartitionHandle:
    spec = partition("workers", child, partitions=partitions, **options)
    await start_tree(system, supervisor("app", spec, budget=Budget(9, 5.0)))
    return PartitionHandle(system.ref("app/workers"))


@both_backends
async def test_a_key_always_finds_the_same_one_of_n_identical_children() -> None:
    async with open_system() as system:
        workers = await workers_of(system, 4)
        assert workers.count == 4
        assert [workers.ref_for(number).path for number in (0, 5, -1)] == [
            "app/workers/0",
            "app/workers/1",
            "app/workers/3",
        ]
        for key in ("ada", b"ada"):
            workers.ref_for(key).tell(Remember(str(key)))
        assert await workers.ref_for("ada").ask(Told()) == ("ada", "b'ada'")


def test_the_hash_of_a_key_is_the_same_in_every_process() -> None:
    assert [partition_of(key, 1000) for key in (7, 1007, True, "ada", b"ada", "é")] == [
        7,
        7,
        1,
        152,
        152,
        326,
    ]
    script = "from holdfast.supervisors import partition_of; print(partition_of('ada', 1000))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-P", "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        )
        assert done.stdout == "152\n"


@pytest.mark.parametrize("key", [1.0, None, ("a", 1)])
def test_a_key_without_a_stable_hash_is_refused(key: Any) -> None:
    with pytest.raises(InvalidPartitionKey, match="int, str or bytes"):
        partition_of(key, 4)


@both_backends
async def test_each_partition_has_arguments_of_its_own_at_each_start() -> None:
    # D5
    def arguments(number: int) -> Sequence[object]:
        return (f"shard {number}",)

    async with open_system() as system:
        workers = await workers_of(system, 2, arguments=arguments)
        assert await workers.ref_for(1).ask(Told()) == ("shard 1",)
        workers.ref_for(1).tell(InjectedFault(RuntimeError("a bug")))
        assert await workers.ref_for(1).ask(Told()) == ("shard 1",)


@both_backends
async def test_a_restart_of_one_partition_keeps_its_slot_and_mail_and_leaves_the_others_alone() -> None:
    async with open_system() as system:
        workers = await workers_of(system, 2)
        ref = workers.ref_for(0)
        workers.ref_for(1).tell(Remember("kept"))
        ref.tell(InjectedFault(RuntimeError("a bug")))
        ref.tell(Remember("waited"))
        assert await workers.ref_for(0).ask(Told()) == ("waited",)
        assert workers.ref_for(0) == ref
        assert await workers.ref_for(1).ask(Told()) == ("kept",)
        assert [(info.index, info.incarnation) for info in await workers.which_partitions()] == [
            (0, 2),
            (1, 1),
        ]


@both_backends
async def test_a_resize_runs_only_the_first_so_many_and_none_at_all_is_told_by_name() -> None:
    async with open_system() as system:
        workers = await workers_of(system, 3)
        last = workers.ref_for(2)
        last.tell(Remember("before the stop"))
        await workers.resize(1)
        assert workers.count == 1
        assert {workers.ref_for(key).path for key in range(6)} == {"app/workers/0"}
        assert [info.state for info in await workers.which_partitions()] == ["running", "stopped", "stopped"]

        await workers.resize(0)
        with pytest.raises(NoPartitions, match="app/workers has no partition"):
            workers.ref_for("ada")

        await workers.resize(3)
        assert workers.ref_for(2) == last
        assert await last.ask(Told()) == ()


@both_backends
async def test_a_resize_beyond_what_was_declared_is_refused_and_changes_nothing() -> None:
    async with open_system() as system:
        workers = await workers_of(system, 2)
        for wrong in (-1, 3, True):
            with pytest.raises(InvalidSpec, match="from 0 to 2"):
                await workers.resize(wrong)
        assert workers.count == 2


@both_backends
async def test_one_resize_at_a_time() -> None:
    class Slow(Partition):
        async def on_stop(self, outcome: object) -> None:
            await anyio.sleep(1)

    async with open_system() as system:
        workers = await workers_of(system, 2, Slow)
        async with anyio.create_task_group() as both:
            both.start_soon(workers.resize, 1)
            await settled()
            with pytest.raises(ResizeUnderWay):
                await PartitionHandle(workers.ref).resize(2)
        await workers.resize(2)
        assert workers.count == 2


@both_backends
async def test_a_crash_and_a_restart_of_the_supervisor_are_no_resize() -> None:
    async with open_system() as system:
        workers = await workers_of(system, 3)
        refs = [workers.ref_for(number) for number in range(3)]
        workers.ref.tell(InjectedFault(RuntimeError("the supervisor itself")))
        await settled()
        assert workers.ref.slot.incarnation == 2
        assert [workers.ref_for(number) for number in range(3)] == refs
        await workers.resize(2)
        workers.ref.tell(InjectedFault(RuntimeError("once more")))
        await settled()
        assert PartitionHandle(workers.ref).count == 3


@both_backends
async def test_keys_are_spread_as_declared_while_the_partitions_are_only_being_started() -> None:
    seen: list[tuple[int, str]] = []

    class Early(Partition):
        def on_start(self) -> None:
            handle = PartitionHandle(self.context.system.ref("app/workers"))
            seen.append((handle.count, handle.ref_for(5).path))

    async with open_system() as system:
        with pytest.raises(NoPartitions):
            PartitionHandle(system.ref("app/workers")).ref_for(5)
        await workers_of(system, 3, Early)
        assert seen == [(3, "app/workers/2")] * 3


@both_backends
async def test_a_partition_may_be_a_supervisor() -> None:
    async with open_system() as system:
        workers = await workers_of(system, 2, dynamic("pool", template("session", Partition)))
        child = await DynamicHandle(workers.ref_for("ada")).start_child("of ada")
        assert child.ref is not None
        assert await child.ref.ask(Told()) == ("of ada",)


def numbered(number: int) -> tuple[int]:
    return (number,)


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (Partition, {"partitions": 0}, "from 1 to"),
    (Partition, {"partitions": True}, "from 1 to"),
    (worker("w", Partition, restart=TRANSIENT), {"partitions": 2}, "permanent"),
    (worker("w", Partition, depends_on=["x"]), {"partitions": 2}, "depend on nobody"),
    (supervisor("s"), {"partitions": 2, "arguments": numbered}, "with a factory"),
    (Partition, {"partitions": 2, "arguments": (1, 2)}, "arguments is a function"),
]


@pytest.mark.parametrize("child, options, said", REFUSED)
def test_what_cannot_be_a_partition_is_refused_where_it_is_declared(
    child: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSpec, match=said):
        partition("workers", child, **options)
