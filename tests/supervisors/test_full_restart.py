from __future__ import annotations

import anyio
import pytest
from tests.supervisors.crew import Crew, Die, Note, Whoami, Work

from holdfast.runtime import Backoff, Down, GaveUp, System, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    PERMANENT,
    REST_FOR_ONE,
    Budget,
    ChildSpec,
    FullRestart,
    FullRestartCompleted,
    FullRestartStarted,
    PreparationFailed,
    Report,
    StartAttemptFailed,
    SupervisorHandle,
    dynamic,
    restart_path,
    start_tree,
    supervisor,
)

SMALL = Budget(0, 5.0)
THREE = Budget(3, 300.0)


def product(crew: Crew, full: FullRestart, *, budget: Budget = THREE, **options: object) -> ChildSpec:
    """Return a tree in the shape of the product's."""
    foundation = supervisor("foundation", *crew.members("cl"), strategy=REST_FOR_ONE, budget=SMALL)
    session = supervisor("session", *crew.members("ads"), budget=SMALL)
    return supervisor(
        "root",
        foundation,
        session,
        strategy=ONE_FOR_ALL,
        budget=budget,
        full_restart=full,
        **options,  # type: ignore[arg-type]
    )


async def start(system: System, spec: ChildSpec, crew: Crew) -> SupervisorHandle:
    handle = await start_tree(system, spec)
    crew.take()
    crew.records_drains = True
    return handle


@both_backends
async def test_everything_is_drained_then_stopped_in_reverse_and_started_in_order() -> None:
    # Beyond OTP 7
    crew = Crew()
    async with open_system() as system:
        handle = await start(system, product(crew, FullRestart()), crew)
        system.ref("root/session/a").tell(Die())
        await settled()
        await anyio.sleep(1.0)

        happened = crew.take()
        # session gave up and stopped its own; foundation is drained and stopped; all start in order.
        assert happened[:3] == ["-a:crash", "-s:shutdown", "-d:shutdown"]
        assert sorted(happened[3:5]) == ["~c", "~l"]
        assert happened[5:] == ["-l:shutdown", "-c:shutdown", "+c", "+l", "+a", "+d", "+s"]
        supervision = await handle.supervision()
        assert (supervision.full_restarts, supervision.restarts, supervision.budget_left) == (1, 1, 2)


@both_backends
async def test_it_is_announced_before_and_after_with_the_time_it_took() -> None:
    # Beyond OTP 7
    crew = Crew()
    async with open_system() as system:
        spec = product(crew, FullRestart(), backoff=Backoff(initial=4.0, cap=4.0))
        await start(system, spec, crew)
        events = system.events.subscribe(
            wanted=lambda event: isinstance(event, FullRestartStarted | FullRestartCompleted)
        )
        before = system.now()
        system.ref("root/session/a").tell(Die())
        started, completed = await events.get(), await events.get()

        assert isinstance(started, FullRestartStarted)
        assert started.sentence() == (
            "root begins a full restart: session gave up (root/session/a -> root/session)"
        )
        assert isinstance(completed, FullRestartCompleted)
        assert completed.seconds == pytest.approx(system.now() - before)
        assert 0.0 < completed.seconds <= 4.0


@both_backends
async def test_mail_waits_and_refs_and_watches_live_on() -> None:
    # What survives what: full restart
    crew = Crew()
    crew.drain_takes = {"l": 1.0}
    async with open_system() as system:
        await start(system, product(crew, FullRestart()), crew)
        logger = system.ref("root/foundation/l")
        downs: list[Down] = []
        system.watch(logger, downs.append)
        system.ref("root/session/a").tell(Die())
        await anyio.sleep(0.5)
        logger.tell(Note("during the drain"))

        assert await logger.ask(Whoami()) == 2
        assert crew.take()[-1] == "l during the drain"
        assert [(down.path, down.incarnation) for down in downs] == [("root/foundation/l", 1)]


@both_backends
async def test_a_handler_in_progress_is_finished_before_its_actor_is_stopped() -> None:
    # Beyond OTP 7
    crew = Crew()
    async with open_system() as system:
        await start(system, product(crew, FullRestart()), crew)
        logger = system.ref("root/foundation/l")
        logger.tell(Work(2.0))
        logger.tell(Note("later"))
        await settled()
        system.ref("root/session/a").tell(Die())
        await logger.ask(Whoami(), timeout=60.0)

        happened = crew.take()
        order = [happened.index(event) for event in ("l worked", "~l", "-l:shutdown", "+l", "l later")]
        assert order == sorted(order)


@both_backends
async def test_the_drain_ends_at_its_deadline() -> None:
    # Beyond OTP 7
    crew = Crew()
    async with open_system() as system:
        await start(system, product(crew, FullRestart(drain=3.0, stop=10.0)), crew)
        crew.drain_takes = {"l": 100.0}
        before = system.now()
        system.ref("root/session/a").tell(Die())
        await anyio.sleep(30.0)

        # 3 s of drain, then 5 s of allowance, in which it still flushes: it is killed then.
        assert system.ref("root/foundation/l").slot.started_at - before == pytest.approx(8.0)
        assert "-l:shutdown" not in crew.take()


@both_backends
async def test_all_stops_share_one_deadline_and_what_is_left_then_is_killed() -> None:
    # Beyond OTP 7
    crew = Crew()
    async with open_system() as system:
        await start(system, product(crew, FullRestart(drain=0.0, stop=6.0)), crew)
        crew.stop_takes = {"l": 4.0, "c": 4.0}
        before = system.now()
        system.ref("root/session/a").tell(Die())
        await anyio.sleep(30.0)

        happened = crew.take()
        assert "-l:shutdown" in happened
        assert "-c:shutdown" not in happened
        assert system.ref("root/foundation/c").slot.started_at - before == pytest.approx(6.0)


@both_backends
async def test_the_hook_runs_when_everything_is_stopped_and_before_anything_starts() -> None:
    # Beyond OTP 7: where the configuration is read again
    crew = Crew()

    async def reload() -> None:
        await anyio.sleep(0.1)
        crew.events.append("reload")

    async with open_system() as system:
        await start(system, product(crew, FullRestart(before_start=reload)), crew)
        system.ref("root/session/a").tell(Die())
        await anyio.sleep(1.0)

        happened = crew.take()
        middle = happened.index("reload")
        assert all(event[0] in "-~" for event in happened[:middle])
        assert happened[middle + 1 :] == ["+c", "+l", "+a", "+d", "+s"]


@pytest.mark.parametrize("failure", ["raises", "hangs"])
@both_backends
async def test_a_hook_that_fails_is_a_failed_attempt_and_is_tried_again(failure: str) -> None:
    crew = Crew()
    calls: list[float] = []

    async def reload() -> None:
        calls.append(1.0)
        if len(calls) == 1:
            if failure == "raises":
                raise ValueError("no such file")
            await anyio.sleep(1000.0)

    async with open_system() as system:
        full = FullRestart(before_start=reload, prepare=2.0)
        handle = await start(system, product(crew, full), crew)
        events = system.events.subscribe(wanted=lambda event: isinstance(event, StartAttemptFailed))
        system.ref("root/session/a").tell(Die())
        await anyio.sleep(10.0)

        report = events.get_nowait()
        assert isinstance(report, StartAttemptFailed)
        assert PreparationFailed.__name__ in report.reason
        assert len(calls) == 2
        assert {child.state for child in await handle.which_children()} == {"running"}
        assert (await handle.supervision()).restarts == 2


@both_backends
async def test_it_has_its_own_budget_and_beyond_that_the_root_gives_up() -> None:
    # Beyond OTP 7
    crew = Crew()
    async with open_system() as system:
        handle = await start(system, product(crew, FullRestart(), budget=Budget(2, 300.0)), crew)
        for _ in range(3):
            system.ref("root/session/a").tell(Die())
            await anyio.sleep(1.0)

        assert handle.ref.slot.outcome == GaveUp(("root/session/a", "root/session", "root"))
        assert system.tasks == 0


@both_backends
async def test_an_operator_restarts_the_root_with_the_same_ceremony_and_no_charge() -> None:
    # Beyond OTP 7 and 11
    crew = Crew()
    async with open_system() as system:
        handle = await start(system, product(crew, FullRestart(), budget=Budget(0, 300.0)), crew)
        events = system.events.subscribe(wanted=lambda event: isinstance(event, Report))
        await restart_path(system, "root")

        happened = crew.take()
        assert sorted(happened[:5]) == ["~a", "~c", "~d", "~l", "~s"]
        assert happened[5:10] == [f"-{name}:shutdown" for name in "sdalc"]
        assert happened[10:] == ["+c", "+l", "+a", "+d", "+s"]
        supervision = await handle.supervision()
        assert (supervision.full_restarts, supervision.restarts) == (1, 0)
        assert isinstance(events.get_nowait(), FullRestartStarted)


@both_backends
async def test_calls_and_stops_are_served_while_a_full_restart_waits_for_its_back_off() -> None:
    # Beyond OTP 2 and 7
    crew = Crew()
    async with open_system() as system:
        spec = product(crew, FullRestart(), backoff=Backoff(initial=50.0, cap=50.0))
        handle = await start(system, spec, crew)
        system.ref("root/session/a").tell(Die())
        await settled()

        assert [child.state for child in await handle.which_children()] == ["stopped", "restarting"]
        before = system.now()
        await handle.stop()
        assert system.now() == before


@both_backends
async def test_children_of_dynamic_supervisors_are_drained_too() -> None:
    crew = Crew()
    async with open_system() as system:
        spec = supervisor(
            "root",
            crew.member("a"),
            dynamic("pool", crew.pattern("w", restart=PERMANENT)),
            strategy=ONE_FOR_ALL,
            full_restart=FullRestart(),
        )
        await start(system, spec, crew)
        from holdfast.supervisors import DynamicHandle

        await DynamicHandle(system.ref("root/pool")).start_child()
        crew.take()
        system.ref("root/a").tell(Die())
        await settled()

        assert crew.take() == ["-a:crash", "~w", "-w:shutdown", "+a"]
