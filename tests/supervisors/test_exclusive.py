"""What a wedged task holds for itself: its successor is kept off, retried, charged, and starts in the end."""

from __future__ import annotations

import anyio
import pytest
from tests.supervisors.crew import Crew, Whoami
from tests.supervisors.limpet import CrashAndCling, Limpet, Rock, cling

from holdfast.runtime import ActorStartFailed, Backoff, Event, GaveUp, ResourceHeld, Subscription, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    KILL,
    ONE_FOR_ALL,
    Budget,
    ChildSpec,
    ChildStartFailed,
    RestartDecided,
    RestartDelayed,
    StartAttemptFailed,
    SupervisorGaveUp,
    start_tree,
    supervisor,
    worker,
)

HELD = "needs 'port 80' for itself, and the wedged task of top/port still holds it"


# More attempts than any of this makes, none of them forgotten meanwhile.
PLENTY = Budget(100, 60.0)


def port(rock: Rock) -> ChildSpec:
    return worker("port", lambda: Limpet(rock), shutdown=KILL, exclusive=["port 80"])


# S-B8, R13, R15
@both_backends
async def test_without_a_back_off_a_refused_successor_spends_the_budget_and_the_supervisor_gives_up() -> None:
    rock, crew = Rock(), Crew()
    async with open_system() as system:
        reports = system.events.subscribe(
            wanted=lambda event: isinstance(event, RestartDecided | StartAttemptFailed | SupervisorGaveUp)
        )
        spec = supervisor("top", port(rock), crew.member("other"), budget=Budget(3, 60.0))
        handle = await start_tree(system, spec)
        system.ref("top/port").tell(CrashAndCling())
        outcome = await system.wait_ended(handle.ref)

        assert isinstance(outcome, GaveUp)
        told = _all(reports)
        assert [type(report) for report in told] == [
            RestartDecided,
            *[StartAttemptFailed, RestartDecided] * 2,
            StartAttemptFailed,
            SupervisorGaveUp,
        ], "R15: one unit for each attempt"
        for report in told:
            if isinstance(report, StartAttemptFailed):
                assert report.child == "port"
                assert HELD in report.reason
        assert crew.take() == ["+other", "-other:shutdown"]
        assert system.statistics().wedged == ("top/port",)
        await rock.let_all_go()


# S-B8, S-B2, R13, R15
@both_backends
async def test_with_a_back_off_the_successor_starts_when_the_wedged_task_has_ended_after_all() -> None:
    rock, crew = Rock(), Crew()
    async with open_system() as system:
        reports = system.events.subscribe(
            wanted=lambda event: isinstance(event, RestartDelayed | RestartDecided | StartAttemptFailed)
        )
        spec = supervisor(
            "top",
            port(rock),
            crew.member("other"),
            budget=PLENTY,
            backoff=Backoff(initial=1.0, multiplier=2.0, cap=4.0),
        )
        handle = await start_tree(system, spec)
        system.ref("top/port").tell(CrashAndCling())
        await anyio.sleep(6.0)

        info = await handle.which_child("port")
        assert (info.state, info.ref, info.wedged) == ("restarting", None, True)
        assert await system.ref("top/other").ask(Whoami()) == 1, "the tree goes on"
        told = _all(reports)
        refused = [report for report in told if isinstance(report, StartAttemptFailed)]
        assert refused
        assert all(HELD in report.reason for report in refused)

        await rock.let_all_go()
        await anyio.sleep(4.5)
        info = await handle.which_child("port")
        assert (info.state, info.wedged, info.incarnation) == ("running", False, 2)
        told += _all(reports)
        attempts = sum(isinstance(report, RestartDecided) for report in told)
        refusals = sum(isinstance(report, StartAttemptFailed) for report in told)
        assert attempts == refusals + 1, "R15: one unit for each attempt, the last one starts it"
        assert (await handle.supervision()).budget.left == PLENTY.intensity - attempts


# S-B8, R14
@both_backends
async def test_a_group_restarts_its_refused_member_and_keeps_those_before_it() -> None:
    rock, crew = Rock(), Crew()
    async with open_system() as system:
        spec = supervisor(
            "top",
            crew.member("first"),
            port(rock),
            crew.member("last"),
            strategy=ONE_FOR_ALL,
            budget=PLENTY,
            backoff=Backoff(initial=2.0, multiplier=2.0, cap=2.0),
        )
        handle = await start_tree(system, spec)
        system.ref("top/port").tell(CrashAndCling())
        await anyio.sleep(8.0)
        states = [child.state for child in await handle.which_children()]
        assert states[1] == "restarting"

        await rock.let_all_go()
        await anyio.sleep(3.0)
        assert [child.state for child in await handle.which_children()] == ["running"] * 3
        await settled()
        assert crew.take()[-2:] == ["+first", "+last"]


# S-B8
@both_backends
async def test_what_two_wedged_tasks_hold_is_free_when_both_have_ended() -> None:
    rock = Rock()
    async with open_system() as system:
        both = [worker(name, lambda: Limpet(rock), shutdown=KILL, exclusive=["disk"]) for name in "ab"]
        handle = await start_tree(system, supervisor("top", *both))
        for name in "ab":
            await cling(system.ref(f"top/{name}"))
            await handle.terminate_child(name)
        assert system.statistics().wedged == ("top/a", "top/b")

        await rock.let_go(1)
        assert system.statistics().wedged == ("top/a",)
        with pytest.raises(ChildStartFailed) as refused:
            await handle.restart_child("b")
        reason = refused.value.reason
        assert isinstance(reason, ResourceHeld)
        assert (reason.path, reason.resource, reason.holder) == ("top/b", "disk", "top/a")

        await rock.let_go()
        assert (await handle.restart_child("b")).ref is not None


# S-B8
@both_backends
async def test_a_refused_start_is_an_event_with_path_resource_and_holder() -> None:
    rock = Rock()
    async with open_system() as system:
        handle = await start_tree(system, supervisor("top", port(rock)))
        failed = system.events.subscribe(wanted=lambda event: isinstance(event, ActorStartFailed))
        await cling(system.ref("top/port"))
        await handle.terminate_child("port")
        with pytest.raises(ChildStartFailed, match=HELD):
            await handle.restart_child("port")
        event = failed.get_nowait()
        assert isinstance(event, ActorStartFailed)
        assert event.path == "top/port"
        assert HELD in event.reason
        await rock.let_all_go()


def _all(reports: Subscription) -> list[Event]:
    found: list[Event] = []
    while (event := reports.get_nowait()) is not None:
        found.append(event)
    return found
