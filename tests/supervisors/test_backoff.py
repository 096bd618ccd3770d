from __future__ import annotations

import random

import anyio
import pytest
from tests.supervisors.crew import Crew, Die, Note, Whoami, fill, start_pool
from tests.supervisors.delays import Always

from holdfast.runtime import Backoff, Seams, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    REST_FOR_ONE,
    Budget,
    ChildRestarting,
    FullRestartCompleted,
    NoSuchChild,
    RestartDelayed,
    start_tree,
    supervisor,
)

BACKOFF = Backoff(initial=1.0, multiplier=2.0, cap=8.0, stable_after=30.0)


@both_backends
async def test_attempts_are_spaced_by_draws_below_a_ceiling_that_grows() -> None:
    # Beyond OTP 2
    crew = Crew()
    async with open_system(seams=Seams(random=random.Random(7))) as system:
        await crew.start(system, crew.member("a"), backoff=BACKOFF)
        events = system.events.subscribe(wanted=lambda event: isinstance(event, RestartDelayed))
        crew.fails = {"a": range(2, 6)}
        system.ref("top/a").tell(Die())
        await anyio.sleep(60.0)

        delays: list[float] = []
        while (report := events.get_nowait()) is not None:
            assert isinstance(report, RestartDelayed)
            delays.append(report.delay)
        draws = random.Random(7)
        assert delays == pytest.approx([ceiling * draws.random() for ceiling in (1.0, 2.0, 4.0, 8.0, 8.0)])
        assert crew.take() == ["-a:crash", "!a", "!a", "!a", "!a", "+a"]


@both_backends
async def test_while_a_child_waits_its_mail_waits_and_calls_are_served() -> None:
    # Beyond OTP 2, R30
    crew = Crew()
    async with open_system(seams=Seams(random=random.Random(1))) as system:
        handle = await crew.start(
            system, *crew.members("abc"), strategy=REST_FOR_ONE, backoff=Backoff(initial=100.0, cap=100.0)
        )
        b = system.ref("top/b")
        b.tell(Die())
        await settled()
        b.tell(Note("waited"))

        assert [child.state for child in await handle.which_children()] == [
            "running",
            "restarting",
            "stopped",
        ]
        with pytest.raises(ChildRestarting):
            await handle.restart_child("b")
        assert crew.take() == ["-b:crash", "-c:shutdown"]
        assert await b.ask(Whoami(), timeout=200.0) == 2
        await settled()
        assert crew.take() == ["+b", "b waited", "+c"]


@both_backends
async def test_terminating_or_restarting_the_child_cancels_its_delay() -> None:
    # Beyond OTP 2 and 11, R36
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), backoff=Backoff(initial=100.0, cap=100.0))
        for name in "ab":
            system.ref(f"top/{name}").tell(Die())
        await settled()
        await handle.terminate_child("a")
        await handle.restart("b")
        await anyio.sleep(1000.0)

        assert [child.state for child in await handle.which_children()] == ["stopped", "running"]
        assert crew.starts == {"a": 1, "b": 2}
        assert (await handle.supervision()).restarts == 0


@both_backends
async def test_a_stop_cancels_the_delay_at_once() -> None:
    # Beyond OTP 2
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), backoff=Backoff(initial=100.0, cap=100.0))
        system.ref("top/a").tell(Die())
        await settled()
        before = system.now()
        await handle.stop()

        assert system.now() == before
        assert crew.take() == ["-a:crash", "-b:shutdown"]


@both_backends
async def test_children_of_a_dynamic_supervisor_wait_each_for_itself_and_calls_are_served() -> None:
    # Beyond OTP 2, R32, R36, D4
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("p"), backoff=Backoff(initial=100.0, cap=100.0))
        refs = await fill(pool, 3)
        for ref in refs[:2]:
            ref.tell(Die())
        await settled()
        before = system.now()
        await pool.start_child()
        counts = await pool.count_children()
        assert (counts.workers, counts.active) == (4, 2)
        await pool.terminate_child(refs[0])
        with pytest.raises(NoSuchChild):
            await pool.terminate_child(refs[0])
        await pool.restart(refs[1])
        assert await refs[1].ask(Whoami()) == 2
        assert (await pool.supervision()).restarts == 0
        refs[2].tell(Die())
        await settled()
        await pool.stop()

        assert system.now() - before < 0.001
        assert crew.starts == {"p": 5}


@both_backends
async def test_the_restart_that_answers_failures_which_belong_together_waits_for_a_draw_too() -> None:
    # Beyond OTP 2 and 6
    crew = Crew()
    async with open_system(seams=Seams(random=Always(0.75))) as system:
        spec = supervisor(
            "top",
            supervisor("s", *crew.members("ab")),
            budget=Budget(3, 300.0),
            correlate=(2, 5.0),
            backoff=BACKOFF,
        )
        await start_tree(system, spec)
        events = system.events.subscribe(wanted=lambda event: isinstance(event, FullRestartCompleted))
        for name in "ab":
            system.ref(f"top/s/{name}").tell(Die())
        await anyio.sleep(60.0)

        report = events.get_nowait()
        assert isinstance(report, FullRestartCompleted)
        assert report.seconds == pytest.approx(0.75 * BACKOFF.initial)
