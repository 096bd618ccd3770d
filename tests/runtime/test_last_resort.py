"""The overall deadline of a process that was asked to end, with its thread replaced by the seam."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import attrs

from holdfast.runtime import Actor, Message, Seams, on, open_system
from holdfast.runtime.last_resort import INTERVAL, NAMED_MAX, TELLING, StopRequest
from holdfast.runtime.testing import both_backends, settled

EXIT = 70


@attrs.define
class Threads:
    """The seam: each thread has its rounds when a test says so."""

    now: float = 0.0
    rounds: list[Callable[[float], None]] = attrs.field(factory=list[Callable[[float], None]])
    exits: list[int] = attrs.field(factory=list[int])
    said: list[str] = attrs.field(factory=list[str])
    stuck: str = ""

    def repeat(self, fn: Callable[[float], None], interval: float, name: str) -> Callable[[], None]:
        if name != self.stuck:
            self.rounds.append(fn)
        return lambda: self.rounds.remove(fn)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += INTERVAL
            for fn in tuple(self.rounds):
                fn(self.now)

    @property
    def seams(self) -> Seams:
        return Seams(repeat=self.repeat, exit_process=self.exits.append)

    def request(self, within: float = 10.0) -> StopRequest:
        return StopRequest(self.seams, within, self.said.append)


@both_backends
async def test_nothing_happens_before_anybody_asks_and_nothing_within_the_deadline() -> None:
    threads = Threads()
    request = threads.request()
    with request.kept():
        threads.pass_time(1000.0)
        assert not request.is_set()
        request.set()
        await request.wait()
        threads.pass_time(9.75)
    assert (threads.exits, threads.said, threads.rounds) == ([], [], [])


@both_backends
async def test_past_the_deadline_the_report_is_said_once_and_then_the_process_ends() -> None:
    threads = Threads()
    request = threads.request()
    with request.kept():
        threads.pass_time(5.0)
        request.set()
        threads.pass_time(10.0 + INTERVAL)
        (said,) = threads.said
        assert threads.exits == []
        threads.pass_time(INTERVAL)

    assert said.startswith("asked to end, this process did not within 10 s: ending it with status 70")
    assert set(threads.exits) == {EXIT}
    assert len(threads.said) == 1


@both_backends
async def test_an_end_that_nobody_asked_for_is_bounded_too_and_asking_again_gains_no_time() -> None:
    threads = Threads()
    request = threads.request()
    with request.kept():
        request.arm()
        threads.pass_time(9.0)
        request.set()
        threads.pass_time(1.0 + 3 * INTERVAL)
    assert threads.exits[0] == EXIT


@both_backends
async def test_a_process_that_was_stopped_and_continued_has_its_time_all_the_same() -> None:
    threads = Threads()
    request = threads.request()
    with request.kept():
        request.set()
        threads.pass_time(1.0)
        threads.now += 3600.0
        threads.pass_time(8.0)
    assert threads.exits == []


@both_backends
async def test_a_report_that_cannot_be_written_does_not_keep_the_process_alive() -> None:
    threads = Threads(stuck="holdfast.last-words")
    request = threads.request(1.0)
    with request.kept():
        request.set()
        threads.pass_time(1.0 + TELLING)
        assert threads.exits == []
        threads.pass_time(2 * INTERVAL)
    assert set(threads.exits) == {EXIT}


@both_backends
async def test_the_second_request_by_signal_ends_the_process_in_the_handler_itself() -> None:
    threads = Threads()
    request = threads.request()
    request.signalled(15)
    assert (request.is_set(), threads.exits) == (True, [])
    request.signalled(2)
    assert threads.exits == [128 + 2]


class Hold(Message, frozen=True):
    """Have the handler call this."""

    what: Callable[[], None]


class Holder(Actor):
    """Blocks its thread, as far as anybody can see."""

    @on(Hold)
    def hold(self, message: Hold) -> None:
        message.what()


class Cling(Message, frozen=True):
    """Outlive a kill."""


class Clinging(Actor):
    """Shields itself."""

    def __init__(self, free: anyio.Event) -> None:
        self.free = free

    @on(Cling)
    async def cling(self, _message: Cling) -> None:
        with anyio.CancelScope(shield=True):
            await self.free.wait()


@both_backends
async def test_the_report_names_who_holds_the_thread_who_is_wedged_and_who_else_is_there() -> None:
    threads = Threads()
    request = threads.request(1.0)
    free = anyio.Event()
    async with open_system(seams=threads.seams) as system:
        request.covers(system)
        wedged = await system.start("clinging", lambda: Clinging(free))
        wedged.tell(Cling())
        await settled()
        cell = wedged.slot.cell
        assert cell is not None
        await cell.stop(0, final=True)
        for number in range(NAMED_MAX):
            await system.start(f"idle-{number}", Holder)
        holder = await system.start("holder", Holder)
        with request.kept():
            request.set()
            holder.tell(Hold(lambda: threads.pass_time(1.5)))
            await settled()
        free.set()

    (said,) = threads.said
    assert "holder (incarnation 1) holds it in its handler of Hold" in said
    assert "in pass_time" in said
    assert "clinging (incarnation 1) is wedged; it stands at" in said
    assert "await self.free.wait()" in said
    assert "idle-0 (incarnation 1) is running" in said
    assert said.endswith("and 1 more")


def test_the_real_threads_tell_and_end() -> None:
    ended = threading.Event()
    said: list[str] = []

    async def main() -> None:
        request = StopRequest(Seams(exit_process=lambda _status: ended.set()), 0.3, said.append)
        with request.kept():
            request.set()
            ended.wait(10.0)

    anyio.run(main, backend="trio")
    assert ended.is_set()
    assert len(said) == 1
