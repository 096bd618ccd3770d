from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from tests.supervisors.crew import Crew, Die, Finish, Whoami, kill, pile_up

from holdfast.runtime import NORMAL, SHUTDOWN, ActorGone, GaveUp, Shutdown, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    REST_FOR_ONE,
    STOP,
    TEMPORARY,
    TRANSIENT,
    AlreadyStarted,
    Budget,
    CallRefused,
    ChildCounts,
    ChildRestarting,
    ChildRunning,
    NoticeIgnored,
    Restart,
    Strategy,
)
from holdfast.supervisors.messages import StartChild, TerminateChild


@pytest.mark.parametrize("restart", [PERMANENT, TRANSIENT, TEMPORARY])
@pytest.mark.parametrize("end", [Finish(NORMAL), Finish(SHUTDOWN), Finish(Shutdown("x")), Die(), None])
@both_backends
async def test_a_child_that_ended_by_itself_is_restarted_kept_or_forgotten(
    restart: Restart, end: Finish | Die | None
) -> None:
    # R5, R6; 3.3 cases 45-54
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a", restart=restart))
        if end is None:
            kill(system, "top/a")
        else:
            system.ref("top/a").tell(end)
        await settled()
        found = {child.id: (child.state, child.incarnation) for child in await handle.which_children()}

        orderly = isinstance(end, Finish)
        if restart is TEMPORARY:
            assert found == {}
        elif restart is TRANSIENT and orderly:
            assert found == {"a": ("stopped", 1)}
        else:
            assert found == {"a": ("running", 2)}


@both_backends
async def test_a_crash_of_one_leaves_the_others_untouched_under_one_for_one() -> None:
    # R7, 3.3 case 30
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), budget=Budget(2, 5.0))
        for expected in (2, 3):
            system.ref("top/a").tell(Die())
            await settled()
            assert await system.ref("top/a").ask(Whoami()) == expected
        assert await system.ref("top/b").ask(Whoami()) == 1
        assert crew.take() == ["-a:crash", "+a"] * 2

        system.ref("top/a").tell(Die())
        assert await system.wait_ended(handle.ref) == GaveUp(("top/a", "top"))
        assert crew.take() == ["-a:crash", "-b:shutdown"]


@both_backends
async def test_rest_for_one_stops_and_starts_those_after_the_failed_one() -> None:
    # R7, 3.3 cases 41, 88: the order never depends on ids
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, *crew.members("mazcb"), strategy=REST_FOR_ONE)
        system.ref("top/z").tell(Die())
        await settled()

        assert crew.take() == ["-z:crash", "-b:shutdown", "-c:shutdown", "+z", "+c", "+b"]


@both_backends
async def test_one_for_all_stops_all_before_it_starts_any() -> None:
    # R7, 3.3 case 32, trap 5
    crew = Crew()
    crew.stop_takes = {"a": 1.0, "c": 1.0}
    async with open_system() as system:
        await crew.start(system, *crew.members("abc"), strategy=ONE_FOR_ALL)
        system.ref("top/b").tell(Die())
        await anyio.sleep(3.0)

        assert crew.take() == ["-b:crash", "-c:shutdown", "-a:shutdown", "+a", "+b", "+c"]


@both_backends
async def test_two_deaths_before_the_supervisor_reacts_are_one_group_restart() -> None:
    # R10, X2
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"), strategy=ONE_FOR_ALL, budget=Budget(1, 5.0))
        events = system.events.subscribe(wanted=lambda event: isinstance(event, NoticeIgnored))
        go_on = await pile_up(
            system, "top", lambda: system.ref("top/a").tell(Die()), lambda: system.ref("top/c").tell(Die())
        )
        await go_on()

        assert crew.take() == ["-a:crash", "-c:crash", "-b:shutdown", "+a", "+b", "+c"]
        assert (await handle.supervision()).budget_left == 0
        assert isinstance(events.get_nowait(), NoticeIgnored)


@both_backends
async def test_two_deaths_before_the_supervisor_reacts_cost_two_units_under_one_for_one() -> None:
    # R10
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), budget=Budget(1, 5.0))
        go_on = await pile_up(
            system, "top", lambda: system.ref("top/a").tell(Die()), lambda: system.ref("top/b").tell(Die())
        )
        await go_on()

        assert handle.ref.slot.outcome == GaveUp(("top/b", "top"))
        assert crew.take() == ["-a:crash", "-b:crash", "+a", "-a:shutdown"]


@both_backends
async def test_exits_are_handled_in_the_order_in_which_they_came() -> None:
    # R11, X3
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"), strategy=REST_FOR_ONE)
        go_on = await pile_up(
            system, "top", lambda: system.ref("top/c").tell(Die()), lambda: system.ref("top/a").tell(Die())
        )
        crew.take()
        await go_on()

        assert crew.take() == ["+c", "-c:shutdown", "-b:shutdown", "+a", "+b", "+c"]
        assert (await handle.supervision()).restarts == 2


@both_backends
async def test_the_notice_of_a_former_child_of_the_same_name_concerns_nobody() -> None:
    # trap 6: incarnations are counted anew in a new slot, so numbers alone would match
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("t", restart=TEMPORARY), crew.member("b"))
        top = handle.ref
        go_on = await pile_up(
            system,
            "top",
            lambda: top.tell(TerminateChild("t")),
            lambda: top.tell(StartChild(crew.member("t", restart=PERMANENT))),
            lambda: system.ref("top/t").tell(Die()),
        )
        await go_on()

        assert crew.take() == ["-t:crash", "+t"]
        assert (await handle.which_child("t")).incarnation == 1
        assert (await handle.supervision()).restarts == 0


@pytest.mark.parametrize(
    "strategy,expected",
    [
        (ONE_FOR_ALL, ["-c:shutdown", "-b:shutdown", "+a", "!b", "-a:shutdown", "+a", "+b", "+c"]),
        (REST_FOR_ONE, ["-c:shutdown", "-b:shutdown", "+a", "!b", "+b", "+c"]),
        (ONE_FOR_ONE, ["+a"]),
    ],
)
@both_backends
async def test_a_failing_restart_in_the_middle_is_tried_again(
    strategy: Strategy, expected: list[str]
) -> None:
    # R13, R14, X14; 3.3 cases 34, 43
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, *crew.members("abc"), strategy=strategy)
        crew.fails = {"b": {2}}
        system.ref("top/a").tell(Die())
        await settled()

        assert crew.take() == ["-a:crash", *expected]


@both_backends
async def test_a_start_that_always_fails_spends_the_budget_and_no_more() -> None:
    # R15, X5; 3.3 cases 31, 33, 42
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), budget=Budget(3, 5.0))
        crew.fails = {"a": range(2, 100)}
        system.ref("top/a").tell(Die())

        assert await system.wait_ended(handle.ref) == GaveUp(("top/a", "top"))
        assert crew.starts["a"] == 1 + 3
        assert crew.take() == ["-a:crash", "!a", "!a", "!a", "-b:shutdown"]


@both_backends
async def test_the_window_forgets() -> None:
    # W1, 3.3 case 29
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), budget=Budget(1, 1.0))
        for _ in range(4):
            system.ref("top/a").tell(Die())
            await anyio.sleep(2.1)

        assert handle.ref.slot.outcome is None
        assert crew.starts["a"] == 5


@both_backends
async def test_while_starts_keep_failing_calls_and_stops_are_served() -> None:
    # R13, R30, R31; 3.3 case 66: the start takes two seconds and fails
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), budget=Budget(8, 10.0))
        crew.fails, crew.start_takes = {"a": range(2, 100)}, {"a": 2.0}
        system.ref("top/a").tell(Die())
        await settled()

        counts = await handle.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1, 0, 0, 1)
        assert [child.state for child in await handle.which_children()] == ["restarting"]
        with pytest.raises(ChildRestarting):
            await handle.restart_child("a")
        await handle.terminate_child("a")
        assert (await handle.which_child("a")).state == "stopped"

        crew.fails = {}
        await handle.restart_child("a")
        assert (await handle.which_child("a")).state == "running"


@both_backends
async def test_a_stop_during_a_hot_restart_loop_is_honoured_at_once() -> None:
    # R13, X11
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), budget=Budget(1_000_000, 5.0))
        crew.fails = {"a": range(2, 10_000_000)}
        system.ref("top/a").tell(Die())
        while crew.starts["a"] < 50:
            await system.backend.checkpoint()
        before = crew.starts["a"]
        await handle.stop()

        assert str(handle.ref.slot.outcome) == "shutdown"
        assert crew.starts["a"] <= before + 3


@both_backends
async def test_calls_queued_behind_the_notice_that_ends_the_supervisor_have_no_effect() -> None:
    # R44
    crew = Crew()
    refused: list[BaseException] = []
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), budget=Budget(0, 5.0))

        async def call() -> None:
            try:
                await handle.start_child(crew.member("x"))
            except ActorGone as error:
                refused.append(error)

        async with anyio.create_task_group() as callers:
            go_on = await pile_up(
                system, "top", lambda: system.ref("top/a").tell(Die()), lambda: callers.start_soon(call)
            )
            await go_on()

        assert len(refused) == 1
        assert crew.take() == ["-a:crash", "-b:shutdown"]


@both_backends
async def test_calls_see_a_dead_child_as_running_while_its_notice_waits() -> None:
    # R35: only the count of active children looks at the task itself
    crew = Crew()
    found: list[object] = []
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"))

        async def call() -> None:
            deeds: list[Callable[[], Awaitable[object]]] = [
                lambda: handle.start_child(crew.member("a")),
                lambda: handle.restart_child("a"),
                lambda: handle.delete_child("a"),
                handle.count_children,
            ]
            async with anyio.create_task_group() as together:
                for deed in deeds:
                    together.start_soon(note, deed)

        async def note(deed: Callable[[], Awaitable[object]]) -> None:
            try:
                found.append(await deed())
            except CallRefused as error:
                found.append(error)

        async with anyio.create_task_group() as callers:
            go_on = await pile_up(
                system, "top", lambda: callers.start_soon(call), lambda: system.ref("top/a").tell(Die())
            )
            await go_on()

        kinds = {type(answer) for answer in found}
        assert kinds == {AlreadyStarted, ChildRunning, ChildCounts}
        (refused,) = [answer for answer in found if isinstance(answer, AlreadyStarted)]
        assert refused.ref == system.ref("top/a")
        (counts,) = [answer for answer in found if isinstance(answer, ChildCounts)]
        assert (counts.specs, counts.active, counts.workers) == (2, 1, 2)
        assert (await handle.which_child("a")).incarnation == 2


@both_backends
async def test_a_child_with_on_give_up_stop_is_stopped_and_its_siblings_go_on() -> None:
    # Beyond OTP 1 and 5: the product's avatar
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system,
            crew.member("avatar", on_give_up=STOP, budget=Budget(3, 30.0)),
            crew.member("client"),
            budget=Budget(0, 5.0),
        )
        for _ in range(4):
            system.ref("top/avatar").tell(Die())
            await settled()

        assert {child.id: child.state for child in await handle.which_children()} == {
            "avatar": "stopped",
            "client": "running",
        }
        assert crew.starts == {"avatar": 4, "client": 1}
        with pytest.raises(ActorGone):
            await system.ref("top/avatar").ask(Whoami())
        await handle.restart_child("avatar")
        assert await system.ref("top/avatar").ask(Whoami()) == 5


@both_backends
async def test_a_decision_is_in_the_flight_recorders_of_the_supervisor_and_of_the_child() -> None:
    # Beyond OTP 9
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, *crew.members("ab"), budget=Budget(5, 10.0))
        system.ref("top/a").tell(Die())
        await settled()

        sentence = "top/a crashed (Boom: a); one_for_one restarts a; 4 of 5 restarts left in 10.0 s"
        for path in ("top", "top/a"):
            assert sentence in [str(event) for event in system.ref(path).slot.recorder or ()]
        assert sentence not in [str(event) for event in system.ref("top/b").slot.recorder or ()]
