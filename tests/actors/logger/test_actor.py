"""The logger actor in a running system: batches, failures, restarts and events."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio
import pytest
import trio

from holdfast.actors.logger.actor import LoggerActor
from holdfast.actors.logger.messages import (
    Data,
    Flush,
    Level,
    LogRecovered,
    LogSinkFailed,
    SetLevel,
    SinkFailed,
)
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.actors.logger.sinks import Log
from holdfast.runtime import DeadLetter, Event, InjectedFault, Ref, Seams, Secret, System, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import start_tree, supervisor, worker

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Calendar:
    def now(self) -> float:
        return 1_795_218_098.0


class Inline:
    """The threads seam of a simulation: no thread, and the write can be made to take time."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.calls = 0

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        self.calls += 1
        if self.delay:
            await anyio.sleep(self.delay)
        return fn(*args)


class World:
    def __init__(self, file: Path, *, buffer_records: int = 65_536) -> None:
        self.file = file
        self.threads = Inline()
        self.stderr = io.StringIO()
        self.settings = LoggerSettings(
            level=Level.DEBUG, file=file, stderr=False, buffer_records=buffer_records
        )
        self.log = Log(self.settings, wall_clock=Calendar(), stderr=self.stderr)
        self.seams = Seams(wall_clock=Calendar(), threads=self.threads)

    def actor(self) -> LoggerActor:
        return LoggerActor(self.log, self.settings, encode=encode)

    async def start(self, system: System) -> Ref:
        root = supervisor("holdfast", worker("logger", self.actor))
        await start_tree(system, root)
        return system.ref("holdfast/logger")

    @property
    def messages(self) -> list[str]:
        if not self.file.exists():
            return []
        return [json.loads(line)["message"] for line in self.file.read_text().splitlines()]


class Noticed(Event, frozen=True):
    what: str
    key: Secret


def encode(event: Event) -> tuple[Level, str, Data] | None:
    match event:
        case Noticed():
            return Level.INFO, "noticed", {"event": event}
        case DeadLetter():
            return Level.WARN, f"dead letter: {event.message_type}", {}
        case _:
            return None


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "holdfast.log")


@both_backends
async def test_what_the_front_accepts_is_written_in_order(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        world.log.front.info("before the actor")
        await world.start(system)
        for number in range(1_000):
            world.log.front.info(f"n{number}")
        await anyio.sleep(0.1)

        assert world.messages == ["before the actor", *(f"n{number}" for number in range(1_000))]
    world.log.close()


# A5.4; SEMANTICS "What survives what": ERROR is written within 50 ms.
@both_backends
async def test_an_error_is_written_within_50_ms_of_its_call(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        await world.start(system)
        await anyio.sleep(1)
        world.log.front.debug("first")
        await anyio.sleep(0.001)
        world.log.front.error("now")
        await anyio.sleep(0.05)

        assert world.messages == ["first", "now"]
    world.log.close()


@both_backends
async def test_a_burst_is_written_in_few_batches(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        await world.start(system)
        await anyio.sleep(1)
        before = world.threads.calls
        for _ in range(512):
            world.log.front.info("x")
        await anyio.sleep(1)

        assert len(world.messages) == 512
        assert world.threads.calls - before <= 3
    world.log.close()


# A5.4: a slow disk does not stall the application, nor the actor's own mailbox.
@both_backends
async def test_while_a_write_takes_its_time_everything_else_goes_on(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        ref = await world.start(system)
        world.threads.delay = 30.0
        world.log.front.info("slow")
        await anyio.sleep(0.1)

        start = system.now()
        world.log.front.info("meanwhile")
        await ref.ask(SetLevel(Level.WARN))
        assert system.now() == start
        assert world.log.front.level is Level.WARN
        await anyio.sleep(70)
        assert world.messages == ["slow", "meanwhile"]
        world.threads.delay = 0
    world.log.close()


@both_backends
async def test_flush_answers_when_everything_accepted_before_is_written(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        ref = await world.start(system)
        await ref.ask(Flush())
        world.threads.delay = 1.0
        world.log.front.info("a")
        await anyio.sleep(0.5)
        world.log.front.info("b")

        await ref.ask(Flush())

        assert world.messages == ["a", "b"]
        assert not world.log.waiting
        world.threads.delay = 0
    world.log.close()


@both_backends
async def test_a_failing_disk_loses_nothing_up_to_the_bound_and_is_reported(tmp_path: Path) -> None:
    blocked = tmp_path / "not a folder"
    blocked.write_text("")
    world = World(blocked / "holdfast.log", buffer_records=300)
    async with open_system(seams=world.seams) as system:
        events = system.events.subscribe()
        ref = await world.start(system)
        world.log.front.info("first")
        await anyio.sleep(10)
        for number in range(400):
            world.log.front.info(f"n{number}")
        with pytest.raises(SinkFailed, match="cannot be written"):
            await ref.ask(Flush())
        blocked.unlink()
        await anyio.sleep(2)

        assert world.messages == [
            "first",
            *(f"n{number}" for number in range(256)),
            *(f"n{number}" for number in range(256, 300)),
            "100 records dropped",
        ]
        assert world.stderr.getvalue().count("\n") == 1
    seen = [
        event for event in iter(events.get_nowait, None) if isinstance(event, LogSinkFailed | LogRecovered)
    ]
    assert [type(event) for event in seen] == [LogSinkFailed, LogRecovered]
    world.log.close()


# SEMANTICS "What survives what": log records accepted | kept | kept | kept.
@both_backends
async def test_a_crash_of_the_actor_loses_no_record(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        ref = await world.start(system)
        for round_number in range(3):
            world.threads.delay = 0.5
            world.log.front.info(f"in flight {round_number}")
            await anyio.sleep(0.1)
            world.log.front.info(f"waiting {round_number}")
            ref.tell(InjectedFault(RuntimeError("crash")))
            world.log.front.info(f"behind {round_number}")
            await anyio.sleep(10)
        world.threads.delay = 0

    world.log.close()
    ours = [message for message in world.messages if message.split()[0] in {"in", "waiting", "behind"}]
    assert ours == [f"{what} {number}" for number in range(3) for what in ("in flight", "waiting", "behind")]


@both_backends
async def test_stopping_writes_what_is_accepted(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        await world.start(system)
        await settled()
        world.log.front.info("last words")

    assert world.messages == ["last words"]
    world.log.close()


@both_backends
async def test_a_drain_writes_what_is_accepted(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        ref = await world.start(system)
        await settled()
        world.log.front.info("before the full restart")
        cell = ref.slot.cell
        assert cell is not None

        await cell.drain()

        assert world.messages == ["before the full restart"]
        cell.resume()
    world.log.close()


@both_backends
async def test_a_stop_with_a_failing_disk_ends_all_the_same(tmp_path: Path) -> None:
    blocked = tmp_path / "not a folder"
    blocked.write_text("")
    world = World(blocked / "holdfast.log")
    async with open_system(seams=world.seams) as system:
        await world.start(system)
        world.log.front.info("kept")

    blocked.unlink()
    world.log.close()
    assert world.messages == ["kept", "clean end"]


@both_backends
async def test_an_unclean_end_of_the_run_before_is_the_first_line(world: World) -> None:
    world.file.write_text('{"level":"INFO","message":"killed"}\n')
    async with open_system(seams=world.seams) as system:
        await world.start(system)
        world.log.front.info("hello")
    world.log.close()

    assert world.messages == ["killed", "previous run ended without a clean end", "hello", "clean end"]


@both_backends
async def test_events_are_logged_as_topology_says_with_their_secrets_redacted(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        await world.start(system)
        system.events.publish(Noticed(what="it", key=Secret("s3cr3t-value")))
        await anyio.sleep(1)

    world.log.close()
    line = json.loads(world.file.read_text().splitlines()[0])
    assert line["component"] == "system"
    assert line["data"] == {"event": {"what": "it", "key": "[REDACTED]"}}


@both_backends
async def test_events_during_a_restart_of_the_logger_are_logged_too(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        ref = await world.start(system)
        await settled()
        ref.tell(InjectedFault(RuntimeError("crash")))
        system.events.publish(Noticed(what="it", key=Secret("x")))
        await anyio.sleep(1)
        system.events.publish(Noticed(what="it", key=Secret("x")))
        await anyio.sleep(1)

    world.log.close()
    assert world.messages.count("noticed") == 2


@both_backends
async def test_events_and_dead_letters_of_the_last_moment_are_logged_too(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        await world.start(system)
        await settled()
        for _ in range(15):
            system.events.publish(DeadLetter(path="a", message_type="Add", why="gone", at=0.0))

    world.log.close()
    assert world.messages == ["dead letter: Add"] * 10 + ["5 more dead letters", "clean end"]


@both_backends
async def test_events_that_were_missed_are_counted(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        world.log.follow(system.events)
        for _ in range(1_030):
            system.events.publish(Noticed(what="it", key=Secret("x")))
        await world.start(system)
        await anyio.sleep(1)

    world.log.close()
    missed = [message for message in world.messages if message.endswith("events missed")]
    assert sum(int(message.split()[0]) for message in missed) == 1_030 - world.messages.count("noticed")


# SEMANTICS "Actors" 10: dead letters are rate-limited in the log, never silent.
@both_backends
async def test_a_flood_of_dead_letters_is_ten_lines_and_a_count(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        await world.start(system)
        await anyio.sleep(1)
        for _ in range(500):
            system.events.publish(DeadLetter(path="a", message_type="Add", why="gone", at=0.0))
        await anyio.sleep(2)

    world.log.close()
    assert world.messages == ["dead letter: Add"] * 10 + ["490 more dead letters", "clean end"]


def test_with_the_real_seams_the_file_is_written_in_another_thread(tmp_path: Path) -> None:
    world = World(tmp_path / "holdfast.log")
    writers: list[threading.Thread] = []
    write_pending = world.log.write_pending

    def noted() -> None:
        writers.append(threading.current_thread())
        write_pending()

    async def main() -> None:
        async with open_system() as system:
            ref = await world.start(system)
            world.log.front.info("x")
            await ref.ask(Flush())

    # Real time: under a virtual clock a thread takes for ever.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.log, "write_pending", noted)
        trio.run(main)

    world.log.close()
    assert world.messages == ["x", "clean end"]
    assert threading.main_thread() not in writers


@both_backends
async def test_flushes_of_nothing_and_of_many_callers_are_answered(world: World) -> None:
    async with open_system(seams=world.seams) as system:
        ref = await world.start(system)
        world.threads.delay = 0.2
        async with anyio.create_task_group() as group:
            for number in range(20):
                world.log.front.info(f"n{number}")
                group.start_soon(ref.ask, Flush())
        assert len(world.messages) == 20
        world.threads.delay = 0
    world.log.close()
