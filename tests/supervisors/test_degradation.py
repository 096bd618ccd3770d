"""`on_give_up=DEGRADE` with real actors on both backends: SEMANTICS, Beyond OTP 5, and Actors 5."""

from __future__ import annotations

import random

import anyio
import pytest
from tests.supervisors.crew import Crew, Die, Member, Note, Whoami, fill, start_pool

from holdfast.runtime import ActorDegraded, ActorGone, Backoff, Down, Seams, on, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    DEGRADE,
    ONE_FOR_ALL,
    Budget,
    ChildBack,
    ChildDegraded,
    ChildSpec,
    ChildStartFailed,
    DependencyBack,
    DependencyDegraded,
    ProbeFailed,
    render_tree,
    snapshot,
    supervisor,
    worker,
)

PROBES = Backoff(initial=10.0, multiplier=2.0, cap=40.0, stable_after=30.0)
OFF: dict[str, object] = {"on_give_up": DEGRADE, "budget": Budget(0, 5.0), "probing": PROBES}


def seeded(seed: int = 3) -> Seams:
    return Seams(random=random.Random(seed))


def draws(count: int, seed: int = 3) -> list[float]:
    source = random.Random(seed)
    return [source.random() for _ in range(count)]


@both_backends
async def test_queued_and_new_questions_fail_at_once_with_the_path_and_the_time_of_the_probe() -> None:
    # Actors 5: when the actor is not coming back, every waiting and queued ask fails at once
    crew = Crew()
    errors: list[ActorDegraded] = []
    async with open_system(seams=seeded()) as system:
        await crew.start(system, crew.member("a"), crew.member("b", **OFF))
        b = system.ref("top/b")

        async def ask() -> None:
            with pytest.raises(ActorDegraded) as raised:
                await b.ask(Whoami())
            errors.append(raised.value)

        async with anyio.create_task_group() as tasks:
            b.tell(Die())
            tasks.start_soon(ask)  # it waits behind what kills the actor
        tasks_done = system.now()
        await ask()
        with pytest.raises(ActorDegraded):
            await b.send(Note("lost"))
        b.tell(Note("a dead letter"))

        assert system.now() == tasks_done == 0.0
        (draw,) = draws(1)
        for error in errors:
            assert error.probe_in == pytest.approx(10.0 * (0.5 + draw / 2))
            assert "top/b" in str(error)
            assert "is switched off and is probed in" in str(error)
        assert len(errors) == 2
        assert await system.ref("top/a").ask(Whoami()) == 1


@both_backends
async def test_it_is_probed_without_charge_until_it_is_back_and_the_reports_say_so() -> None:
    # Beyond OTP 5
    crew = Crew()
    async with open_system(seams=seeded()) as system:
        handle = await crew.start(system, crew.member("b", **OFF), budget=Budget(0, 5.0))
        events = system.events.subscribe(
            wanted=lambda event: isinstance(event, ChildDegraded | ProbeFailed | ChildBack)
        )
        crew.fails = {"b": {2, 3}}
        system.ref("top/b").tell(Die())
        await anyio.sleep(200.0)

        said = [event for _ in range(4) if (event := events.get_nowait()) is not None]
        first, second, third = draws(3)
        delays = [report.probe_in for report in said if isinstance(report, ChildDegraded | ProbeFailed)]
        assert delays == pytest.approx(
            [10 * (0.5 + first / 2), 20 * (0.5 + second / 2), 40 * (0.5 + third / 2)]
        )
        assert isinstance(said[-1], ChildBack)
        assert "top/b is back: up for 30 s" in str(said[-1])
        assert crew.take() == ["-b:crash", "!b", "!b", "+b"]
        assert (await handle.supervision()).budget_left == 0
        assert await system.ref("top/b").ask(Whoami()) == 4


@both_backends
async def test_the_state_is_shown_in_the_list_the_count_and_the_picture() -> None:
    crew = Crew()
    async with open_system(seams=seeded()) as system:
        handle = await crew.start(system, crew.member("a"), crew.member("b", **OFF))
        system.ref("top/b").tell(Die())
        await settled()

        a, b = await handle.which_children()
        assert (a.state, a.degraded, b.state, b.degraded, b.ref) == ("running", False, "degraded", True, None)
        assert b.probe_in is not None
        assert 5.0 <= b.probe_in < 10.0
        counts = await handle.count_children()
        assert (counts.specs, counts.active, counts.workers, counts.degraded) == (2, 1, 2, 1)
        picture = render_tree(await snapshot(system, handle.ref))
        assert "degraded, probe in " in picture
        await anyio.sleep(10.0)
        picture = render_tree(await snapshot(system, handle.ref))
        assert "running on probation" in picture
        assert (await handle.count_children()).degraded == 1
        await anyio.sleep(30.0)
        assert (await handle.count_children()).degraded == 0


class Dependant(Member):
    """Writes down what it is told about whom it depends on."""

    @on(DependencyDegraded)
    def _degraded(self, news: DependencyDegraded) -> None:
        assert news.probe_in is not None
        self._crew.events.append(f"{self._name} without {news.path}")

    @on(DependencyBack)
    def _back(self, news: DependencyBack) -> None:
        self._crew.events.append(f"{self._name} with {news.path}")


@both_backends
async def test_its_dependants_are_told_if_they_have_a_handler_for_it() -> None:
    crew = Crew()

    def dependant(name: str) -> ChildSpec:
        return worker(name, lambda: Dependant(crew, name), depends_on=("b",))

    async with open_system(seams=seeded()) as system:
        indifferent = crew.member("d", depends_on=("b",))
        await crew.start(system, crew.member("a"), crew.member("b", **OFF), dependant("c"), indifferent)
        system.ref("top/b").tell(Die())
        await settled()
        assert crew.take() == ["-b:crash", "c without top/b"]

        system.ref("top/c").tell(Die())
        await settled()
        assert crew.take() == ["-c:crash", "+c", "c without top/b"]
        await anyio.sleep(40.0)
        assert crew.take() == ["+b", "c with top/b"]
        assert system.counters.dead_letters == 2  # what killed b, and c


@both_backends
async def test_mail_and_watches_of_the_slot_are_good_again_when_it_is_probed() -> None:
    crew = Crew()
    downs: list[Down] = []
    async with open_system(seams=seeded()) as system:
        await crew.start(system, crew.member("b", **OFF))
        b = system.ref("top/b")
        b.slot.watch_from_outside(downs.append)
        b.tell(Die())
        await anyio.sleep(10.0)
        b.tell(Note("heard"))
        b.tell(Die())
        await settled()

        assert crew.take() == ["-b:crash", "+b", "b heard", "-b:crash"]
        assert [down.incarnation for down in downs] == [1, 2]
        with pytest.raises(ActorDegraded):
            await b.ask(Whoami())


@both_backends
async def test_a_whole_subtree_is_switched_off_and_its_members_say_so() -> None:
    crew = Crew()
    async with open_system(seams=seeded()) as system:
        below = supervisor(
            "sub",
            crew.member("b"),
            budget=Budget(0, 5.0),
            on_give_up=DEGRADE,
            own_budget=Budget(1, 60.0),
            probing=PROBES,
        )
        handle = await crew.start(system, crew.member("a"), below, strategy=ONE_FOR_ALL)
        system.ref("top/sub/b").tell(Die())
        await settled()
        system.ref("top/sub/b").tell(Die())
        await settled()

        assert [child.state for child in await handle.which_children()] == ["running", "degraded"]
        with pytest.raises(ActorDegraded, match="top/sub/b is gone"):
            await system.ref("top/sub/b").ask(Whoami())
        await anyio.sleep(10.0)
        assert await system.ref("top/sub/b").ask(Whoami()) == 3


@both_backends
async def test_calls_while_it_is_switched_off_are_served_at_once() -> None:
    crew = Crew()
    async with open_system(seams=seeded()) as system:
        handle = await crew.start(system, crew.member("a"), crew.member("b", **OFF))
        b = system.ref("top/b")
        b.tell(Die())
        await settled()
        crew.fails = {"b": {2}}
        with pytest.raises(ChildStartFailed, match="start 2 of b"):
            await handle.restart_child("b")
        with pytest.raises(ActorDegraded):
            await b.ask(Whoami())
        assert (await handle.restart_child("b")).ref == b
        await handle.terminate_child("b")
        with pytest.raises(ActorGone) as gone:
            await b.ask(Whoami())
        assert not isinstance(gone.value, ActorDegraded)
        await anyio.sleep(1000.0)
        assert [child.state for child in await handle.which_children()] == ["running", "stopped"]
        assert crew.starts["b"] == 3


@both_backends
async def test_a_stop_while_it_is_switched_off_is_at_once_and_ends_the_probing() -> None:
    crew = Crew()
    async with open_system(seams=seeded()) as system:
        handle = await crew.start(system, *crew.members("a"), crew.member("b", **OFF))
        system.ref("top/b").tell(Die())
        await settled()
        before = system.now()
        await handle.stop()

        assert system.now() == before
        await anyio.sleep(100.0)
        assert crew.take() == ["-b:crash", "-a:shutdown"]
        with pytest.raises(ActorGone) as gone:
            await system.ref("top/b").ask(Whoami())
        assert not isinstance(gone.value, ActorDegraded)


@both_backends
async def test_a_restart_of_its_supervisor_starts_it_anew_and_a_failing_start_does_not_keep_it_down() -> None:
    crew = Crew()
    async with open_system(seams=seeded()) as system:
        below = supervisor("sub", crew.member("a"), crew.member("b", **OFF), budget=Budget(0, 5.0))
        await crew.start(system, below)
        system.ref("top/sub/b").tell(Die())
        await settled()
        crew.fails = {"b": {2}}
        system.ref("top/sub/a").tell(Die())
        await settled()

        assert crew.take() == ["-b:crash", "-a:crash", "+a", "!b"]
        assert await system.ref("top/sub/a").ask(Whoami()) == 2
        with pytest.raises(ActorDegraded):
            await system.ref("top/sub/b").ask(Whoami())


@both_backends
async def test_a_dynamic_child_is_switched_off_and_probed_with_what_it_was_started_with() -> None:
    # P14
    crew = Crew()
    async with open_system(seams=seeded()) as system:
        pool = await start_pool(system, crew.pattern("p", **OFF), budget=Budget(0, 5.0), max_children=2)
        bad, good = await fill(pool, 2)
        bad.tell(Die())
        await settled()

        assert [child.state for child in await pool.which_children()] == ["degraded", "running"]
        assert await good.ask(Whoami()) == 1
        await anyio.sleep(10.0)
        assert await bad.ask(Whoami()) == 2
        await pool.terminate_child(bad)
        assert len(await pool.which_children()) == 1
