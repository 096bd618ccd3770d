"""Correlated failures through real actors: deep trees, busy supervisors, and one full restart for all."""

from __future__ import annotations

import anyio
import pytest
from tests.supervisors.crew import PLENTY, Crew, Die, Finish, kill

from holdfast.runtime import Event, GaveUp, System, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    Backoff,
    Budget,
    ChildSpec,
    ComponentFailed,
    Correlation,
    FullRestart,
    FullRestartCompleted,
    FullRestartStarted,
    NotCorrelating,
    RestartDecided,
    SupervisorHandle,
    SystemFailure,
    UnknownComponent,
    start_tree,
    supervisor,
)

THREE = Budget(3, 300.0)


def product(crew: Crew, **options: object) -> ChildSpec:
    """Return a tree in the shape of the product's, three deep, that correlates three in 5 s."""
    given: dict[str, object] = {
        "strategy": ONE_FOR_ALL,
        "budget": THREE,
        "full_restart": FullRestart(),
        "correlate": (3, 5.0),
        **options,
    }
    return supervisor(
        "root",
        supervisor("base", *crew.members("cl"), budget=PLENTY),
        supervisor(
            "session",
            *crew.members("ad"),
            supervisor("link", *crew.members("rs"), strategy=ONE_FOR_ALL, budget=PLENTY),
            budget=PLENTY,
        ),
        **given,  # type: ignore[arg-type]
    )


class Told:
    """What the supervisors said about correlated failures and full restarts."""

    def __init__(self, system: System) -> None:
        self.events: list[Event] = []
        system.events.call(self._note)

    def _note(self, event: Event) -> None:
        if isinstance(event, SystemFailure | FullRestartStarted | FullRestartCompleted | RestartDecided):
            self.events.append(event)

    def failures(self) -> list[tuple[str, ...]]:
        return [event.failed_components for event in self.events if isinstance(event, SystemFailure)]

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


async def start(system: System, spec: ChildSpec, crew: Crew) -> tuple[SupervisorHandle, Told]:
    handle = await start_tree(system, spec)
    crew.take()
    return handle, Told(system)


def die(system: System, *paths: str) -> None:
    for path in paths:
        system.ref(f"root/{path}").tell(Die())


@both_backends
async def test_the_third_failure_is_not_restarted_by_its_own_supervisor_but_with_everybody() -> None:
    # S-B6: first failures at once as always, then the strategy is pre-empted
    crew = Crew()
    async with open_system() as system:
        handle, told = await start(system, product(crew), crew)
        for path in ("base/c", "session/a"):
            die(system, path)
            await settled()
        assert crew.take() == ["-c:crash", "+c", "-a:crash", "+a"]
        assert not told.failures()

        die(system, "session/link/s")
        await anyio.sleep(30)
        assert crew.take() == [
            *["-s:crash", "-r:shutdown", "-d:shutdown", "-a:shutdown", "-l:shutdown", "-c:shutdown"],
            *["+c", "+l", "+a", "+d", "+r", "+s"],
        ]
        assert told.failures() == [("base/c", "session/a", "session/link/s")]
        assert told.count(FullRestartStarted) == told.count(FullRestartCompleted) == 1
        supervision = await handle.supervision()
        assert (supervision.full_restarts, supervision.budget_left) == (1, 2)


@both_backends
@pytest.mark.parametrize("at, failures", [((0, 2, 5.0), 1), ((0, 2, 5.001), 0), ((0, 0), 0), ((0, 0, 0), 1)])
async def test_three_within_the_window_and_its_edge(at: tuple[float, ...], failures: int) -> None:
    # S-B6
    crew = Crew()
    async with open_system() as system:
        _, told = await start(system, product(crew), crew)
        began = system.now()
        for seconds, path in zip(at, ("base/c", "session/a", "session/link/s"), strict=False):
            await anyio.sleep(max(0.0, began + seconds - system.now()))
            die(system, path)
            await settled()
        await anyio.sleep(30)
        assert len(told.failures()) == told.count(FullRestartCompleted) == failures


@both_backends
async def test_it_is_off_by_default() -> None:
    crew = Crew()
    async with open_system() as system:
        _, told = await start(system, product(crew, correlate=None), crew)
        die(system, "base/c", "base/l", "session/a", "session/d", "session/link/s")
        await anyio.sleep(30)
        assert not told.failures()
        assert not told.count(FullRestartStarted)


@both_backends
async def test_what_a_restart_takes_along_is_no_failure() -> None:
    # S-B6: siblings stopped by a group, also those whose stop goes wrong, and children of a killed supervisor
    crew = Crew()
    crew.stop_raises = {"r"}
    async with open_system() as system:
        _, told = await start(system, product(crew), crew)
        die(system, "session/link/s")
        await settled()
        kill(system, "root/base")
        await settled()
        system.ref("root/session/a").tell(Finish())
        await anyio.sleep(30)
        assert not told.failures()
        assert told.count(FullRestartCompleted) == 1, "of base alone, as always"


@both_backends
async def test_a_supervisor_that_gives_up_is_no_second_component() -> None:
    # S-B6: giving up follows from a child that has counted
    crew = Crew()
    async with open_system() as system:
        spec = supervisor(
            "root",
            supervisor("x", crew.member("a"), budget=Budget(0, 5.0)),
            supervisor("y", crew.member("b")),
            budget=THREE,
            correlate=(3, 5.0),
        )
        _, told = await start(system, spec, crew)
        die(system, "x/a", "y/b")
        await anyio.sleep(30)
        assert not told.failures()
        assert crew.take().count("+a") == 1


@both_backends
async def test_failures_are_counted_when_they_happen_however_busy_those_in_between_are() -> None:
    # S-B6: a supervisor that starts a child for four seconds hears nothing meanwhile
    crew = Crew()
    async with open_system() as system:
        _, told = await start(system, product(crew), crew)
        crew.start_takes = {"a": 4.0}
        die(system, "session/a")
        await anyio.sleep(1)
        die(system, "session/d")
        await settled()
        before = system.now()
        die(system, "session/link/s")
        await settled()
        assert told.failures() == [("session/a", "session/d", "session/link/s")]
        (failure,) = [event for event in told.events if isinstance(event, SystemFailure)]
        assert failure.at == before
        crew.start_takes.clear()
        await anyio.sleep(60)
        assert told.count(FullRestartCompleted) == 1
        assert {slot.state for slot in system.registry} == {"running"}


@both_backends
async def test_more_of_them_while_it_is_under_way_are_still_one() -> None:
    # S-B6: one system:failure, one full restart, whatever fails meanwhile
    crew = Crew()
    crew.drain_takes = {"l": 3.0}
    async with open_system() as system:
        handle, told = await start(system, product(crew, backoff=Backoff(initial=4.0, cap=4.0)), crew)
        die(system, "base/c", "session/a", "session/d", "session/link/s", "session/link/r")
        for _ in range(6):
            await anyio.sleep(0.3)
            for path in ("base/c", "session/a", "session/d"):
                if system.ref(f"root/{path}").slot.running:
                    kill(system, f"root/{path}")
        await anyio.sleep(60)
        assert len(told.failures()) == told.count(FullRestartCompleted) == 1
        assert (await handle.supervision()).restarts == 1
        assert {slot.state for slot in system.registry} == {"running"}


@both_backends
async def test_beyond_its_budget_the_root_gives_up_with_the_last_failure_named() -> None:
    # S-B7: the daemon's exit status is that of giving up
    crew = Crew()
    async with open_system() as system:
        handle, told = await start(system, product(crew, budget=Budget(1, 300.0)), crew)
        for _ in range(2):
            die(system, "base/c", "session/a", "session/link/s")
            await anyio.sleep(10)
        failures = [event for event in told.events if isinstance(event, SystemFailure)]
        assert [failure.can_recover for failure in failures] == [True, False]
        assert isinstance(handle.ref.slot.outcome, GaveUp)
        assert handle.ref.slot.outcome.chain[-1] == "root"
        assert system.tasks == 0


@both_backends
async def test_a_correlation_inside_a_correlation_leaves_it_to_the_one_above() -> None:
    crew = Crew()
    async with open_system() as system:
        inner = supervisor("inner", *crew.members("abc"), budget=THREE, correlate=(2, 5.0))
        spec = supervisor("root", inner, crew.member("x"), budget=THREE, correlate=(2, 5.0))
        _, told = await start(system, spec, crew)
        die(system, "inner/a")
        await settled()
        die(system, "inner/b")
        await anyio.sleep(30)
        assert told.failures() == [("inner/a", "inner/b")]
        assert [event.supervisor for event in told.events if isinstance(event, SystemFailure)] == ["root"]


@both_backends
async def test_failures_reported_from_outside_lead_there_too() -> None:
    # A9: handle_component_failure
    crew = Crew()
    async with open_system() as system:
        table = {"auth": ("session/a",), "websocket": ("session/link",)}
        spec = product(crew, correlate=Correlation(components=table))
        handle, told = await start(system, spec, crew)
        heard = system.events.subscribe(wanted=lambda event: isinstance(event, ComponentFailed))
        await handle.report_failure("auth", KeyError("token"))
        await handle.report_failure("websocket", "silent")
        await settled()
        assert not told.failures()
        with pytest.raises(UnknownComponent, match="auth, websocket, base/c"):
            await handle.report_failure("nothing", "?")
        die(system, "base/c")
        await anyio.sleep(10)
        assert told.failures() == [("auth", "websocket", "base/c")]
        assert str(heard.get_nowait()) == "root was told that auth failed: KeyError: 'token'"


@both_backends
async def test_whoever_correlates_nothing_refuses_a_report() -> None:
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))
        with pytest.raises(NotCorrelating, match="top does not correlate"):
            await handle.report_failure("a", "?")
        assert await handle.which_children()
