"""A simulated process: killed, it reaches nobody and keeps its disk; started again, it goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import trio

from holdfast.runtime import Actor, Address, Message, Seams, on, open_system
from holdfast.specs import Process, World, simulate
from holdfast.supervisors import start_tree, supervisor, worker

STORE = Path("/store.db")
HUB = Address("hub", 1)


async def _counter(seams: Seams) -> None:
    """A server that counts its connections on its disk and says the number."""
    store = seams.store(STORE)
    store.execute("create table if not exists seen (n integer primary key)")
    listener = await seams.listen(HUB)
    try:
        while True:
            stream = await listener.accept()
            store.execute("insert into seen default values")
            await stream.send_all(f"{store.last_insert_rowid()}\n".encode())
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
            store.execute("delete from seen")  # a clean-up that must reach nothing after a kill
            store.close()


async def _ask(world: World) -> str:
    stream = await world.network.connect(HUB)
    said = b""
    while not said.endswith(b"\n"):
        said += await stream.receive_some()
    return said.decode().strip()


def test_a_killed_process_goes_on_from_its_disk_whatever_its_clean_up_does() -> None:
    async def main(world: World) -> list[str]:
        process = Process(world, "hub", _counter)
        said: list[str] = []
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                process.start(nursery)
                await trio.sleep(1)
                said += [await _ask(world), await _ask(world)]
                process.kill()
                assert not process.alive
                with pytest.raises(ConnectionRefusedError):
                    await _ask(world)
        # Every clean-up is through by now, and deleted nothing.
        store = process.disk.open_store(STORE)
        assert len(cast("list[object]", store.execute("select n from seen").fetchall())) == 6
        return said

    run = simulate(main)
    assert run.result() == ["1", "2", "3", "4", "5", "6"]
    assert run.effects["process:kill"] == 3


def test_an_orderly_stop_waits_for_the_clean_up_and_that_reaches_the_disk() -> None:
    async def main(world: World) -> str:
        process = Process(world, "hub", _counter)
        async with trio.open_nursery() as nursery:
            process.start(nursery)
            await trio.sleep(1)
            await _ask(world)
            await process.stop()
            process.start(nursery)
            await trio.sleep(1)
            said = await _ask(world)
            process.kill()
        return said

    assert simulate(main).result() == "1"


def test_a_dead_process_can_neither_dial_nor_listen() -> None:
    met: list[str] = []

    async def stubborn(seams: Seams) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for way in (seams.connect, seams.listen):
                    try:
                        await way(HUB)
                    except OSError as error:
                        met.append(str(error))

    async def main(world: World) -> None:
        await world.network.listen(HUB)
        process = Process(world, "stubborn", stubborn)
        async with trio.open_nursery() as nursery:
            process.start(nursery)
            await trio.sleep(1)
            process.kill()

    simulate(main).result()
    assert len(met) == 2
    assert all("was killed" in each for each in met)


def test_what_a_living_process_raises_is_raised_and_what_a_dead_one_raises_is_not() -> None:
    async def failing(_seams: Seams) -> None:
        try:
            await trio.sleep(2)
        finally:
            raise OSError("of the clean-up")

    async def main(world: World, *, kill: bool) -> None:
        process = Process(world, "failing", failing)
        async with trio.open_nursery() as nursery:
            process.start(nursery)
            await trio.sleep(1)
            if kill:
                process.kill()

    async def killed(world: World) -> None:
        await main(world, kill=True)

    async def left_alone(world: World) -> None:
        await main(world, kill=False)

    simulate(killed).result()
    assert simulate(left_alone).error is not None


def test_a_process_that_ends_itself_is_cut_off_with_its_status() -> None:
    async def giving_up(seams: Seams) -> None:
        seams.exit_process(70)
        await trio.sleep(1)

    async def main(world: World) -> tuple[int | None, bool]:
        process = Process(world, "hub", giving_up)
        async with trio.open_nursery() as nursery:
            process.start(nursery)
        return process.exit_status, process.alive

    assert simulate(main).result() == (70, False)


class Add(Message, frozen=True):
    """Count one more."""


class Adder(Actor):
    """Counts on its disk, by the store of its process."""

    @on(Add)
    def _add(self, _message: Add) -> None:
        store = self.context.seams.store(STORE)
        store.execute("create table if not exists added (n integer primary key)")
        store.execute("insert into added default values")
        store.close()


def test_a_whole_tree_is_killed_as_its_process_is() -> None:
    async def tree(seams: Seams) -> None:
        async with open_system("app", seams=seams) as system:
            await start_tree(system, supervisor("root", worker("adder", Adder)))
            for _ in range(10):
                system.ref("root/adder").tell(Add())
                await trio.sleep(1)

    async def main(world: World) -> int:
        process = Process(world, "app", tree)
        async with trio.open_nursery() as nursery:
            process.start(nursery)
            await trio.sleep(3.5)
            process.kill()
        store = process.disk.open_store(STORE)
        return len(cast("list[object]", store.execute("select n from added").fetchall()))

    assert simulate(main).result() == 4
