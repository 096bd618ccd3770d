from __future__ import annotations

import anyio
import pytest
from tests.supervisors.crew import Crew, Die, Finish, Note, Whoami, Work, kill

from holdfast.runtime import (
    NORMAL,
    SHUTDOWN,
    Actor,
    Crash,
    InjectedFault,
    Killed,
    Message,
    Outcome,
    ResourceHeld,
    Shutdown,
    StopDeadlineExceeded,
    System,
    TaskWedged,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    FOREVER,
    KILL,
    ONE_FOR_ALL,
    PERMANENT,
    TEMPORARY,
    TRANSIENT,
    ChildStartFailed,
    Restart,
    StopWentWrong,
    start_tree,
    supervisor,
    worker,
)


def outcome_of(system: System, path: str) -> Outcome | None:
    slot = system.registry.find(path)
    return None if slot is None else slot.outcome


@both_backends
async def test_everybody_is_stopped_in_reverse_order_and_the_supervisor_ends_with_shutdown() -> None:
    # R18, 3.3 case 88
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("cab"))
        await handle.stop()

        assert crew.take() == ["-b:shutdown", "-a:shutdown", "-c:shutdown"]
        assert handle.ref.slot.outcome == SHUTDOWN


@both_backends
async def test_the_end_of_the_system_stops_the_tree_in_order() -> None:
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, *crew.members("ab"))

    assert crew.take() == ["-b:shutdown", "-a:shutdown"]


@both_backends
async def test_a_busy_child_is_killed_after_its_allowance_and_an_obedient_one_is_not() -> None:
    # R18, R20; 3.3 case 17
    crew = Crew()
    async with open_system() as system:
        events = system.events.subscribe(wanted=lambda event: isinstance(event, StopWentWrong))
        handle = await crew.start(system, *crew.members("ab", shutdown=1.0))
        system.ref("top/b").tell(Work(60.0))
        await settled()
        before = system.now()
        await handle.stop()

        assert system.now() - before == pytest.approx(1.0)
        assert outcome_of(system, "top/a") == SHUTDOWN
        assert outcome_of(system, "top/b") == Killed()
        assert handle.ref.slot.outcome == SHUTDOWN
        report = events.get_nowait()
        assert isinstance(report, StopWentWrong)
        assert report.sentence() == "top/b ended as killed while it was being stopped (rule: 1 s)"


@both_backends
async def test_kill_ends_at_once_without_asking() -> None:
    # R18, 3.3 case 19
    crew = Crew()
    async with open_system() as system:
        events = system.events.subscribe(wanted=lambda event: isinstance(event, StopWentWrong))
        handle = await crew.start(system, crew.member("a"), crew.member("b", shutdown=KILL))
        await handle.stop()

        assert crew.take() == ["-a:shutdown"]
        assert outcome_of(system, "top/b") == Killed()
        assert events.get_nowait() is None


@both_backends
async def test_forever_waits_as_long_as_it_takes() -> None:
    # R18, 3.3 case 16
    crew = Crew()
    crew.stop_takes = {"a": 1000.0}
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a", shutdown=FOREVER))
        before = system.now()
        await handle.stop()

        assert system.now() - before == pytest.approx(1000.0)


@both_backends
async def test_static_children_are_stopped_one_after_another_each_with_its_own_allowance() -> None:
    # R19, X12: three stuck children at 0.3 s each take 0.9 s
    crew = Crew()
    crew.stop_takes = dict.fromkeys("abc", 60.0)
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc", shutdown=0.3))
        before = system.now()
        await handle.stop()

        assert system.now() - before == pytest.approx(0.9)


@both_backends
async def test_everything_received_before_a_final_stop_is_still_handled() -> None:
    # R22, X10
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))
        a = system.ref("top/a")
        a.tell(Work(1.0))
        a.tell(Note("two"))
        await settled()

        async with anyio.create_task_group() as callers:
            callers.start_soon(handle.terminate_child, "a")
            await settled()
            a.tell(Note("late"))

        assert crew.take() == ["a worked", "a two", "-a:shutdown"]
        assert system.statistics().dead_letters == 1


@both_backends
async def test_the_mail_before_a_final_stop_is_bounded_by_the_allowance() -> None:
    # R22
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a", shutdown=2.5))
        for _ in range(5):
            system.ref("top/a").tell(Work(1.0))
        await settled()
        before = system.now()
        await handle.terminate_child("a")

        assert system.now() - before == pytest.approx(2.5)
        assert crew.take() == ["a worked", "a worked"]


@pytest.mark.parametrize("restart", [PERMANENT, TRANSIENT, TEMPORARY])
@pytest.mark.parametrize("own", [NORMAL, SHUTDOWN, Shutdown("x"), None])
@both_backends
async def test_a_child_that_ends_by_itself_during_the_stop_keeps_its_outcome_and_is_not_restarted(
    restart: Restart, own: Outcome | None
) -> None:
    # R21; 3.3 case 21: A first, Z last with a long clean-up, the one between them ends meanwhile
    crew = Crew()
    crew.stop_takes = {"z": 1.0}
    async with open_system() as system:
        handle = await crew.start(
            system, crew.member("a"), crew.member("m", restart=restart), crew.member("z", shutdown=2.0)
        )
        middle = system.ref("top/m")
        async with anyio.create_task_group() as callers:
            callers.start_soon(handle.stop)
            await anyio.sleep(0.2)
            middle.tell(Die() if own is None else Finish(own))

        ended = (
            "crash" if own is None else {"x": "shutdown+info"}.get(str(getattr(own, "info", "")), str(own))
        )
        assert crew.take() == [f"-m:{ended}", "-z:shutdown", "-a:shutdown"]
        assert crew.starts == {"a": 1, "m": 1, "z": 1}
        assert handle.ref.slot.outcome == SHUTDOWN


@both_backends
async def test_a_clean_up_that_crashes_is_reported_and_the_stop_goes_on() -> None:
    # R20
    crew = Crew()
    crew.stop_raises = {"b"}
    async with open_system() as system:
        events = system.events.subscribe(wanted=lambda event: isinstance(event, StopWentWrong))
        handle = await crew.start(system, *crew.members("abc"))
        await handle.stop()

        assert crew.take() == ["-c:shutdown", "-b:shutdown", "-a:shutdown"]
        assert isinstance(outcome_of(system, "top/b"), Crash)
        report = events.get_nowait()
        assert isinstance(report, StopWentWrong)
        assert (report.child, report.outcome) == ("b", "crash(Boom: stop of b)")


@both_backends
async def test_a_killed_supervisor_leaves_no_running_child() -> None:
    # R23, X13; Beyond OTP 10
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, crew.member("a"), supervisor("mid", crew.member("b")))
        kill(system, "top")
        await settled()

        assert system.tasks == 0
        assert outcome_of(system, "top") == outcome_of(system, "top/mid/b") == Killed()


@both_backends
async def test_a_supervisor_that_crashes_stops_its_children_first() -> None:
    # Beyond OTP 10
    crew = Crew()
    async with open_system() as system:
        handle = await start_tree(system, supervisor("top", supervisor("mid", *crew.members("ab"))))
        crew.take()
        system.ref("top/mid").tell(InjectedFault(RuntimeError("a bug in the supervisor")))
        await settled()

        assert crew.take() == ["-b:shutdown", "-a:shutdown", "+a", "+b"]
        assert (await handle.which_child("mid")).incarnation == 2


class Cling(Message, frozen=True):
    """Hold on for so many seconds, whoever cancels."""

    seconds: float


class Limpet(Actor):
    """A child that shields itself: it cannot be killed in-process."""

    @on(Cling)
    async def _cling(self, message: Cling) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(message.seconds)


@both_backends
async def test_a_child_that_cannot_be_killed_does_not_hold_up_its_supervisor() -> None:
    # Beyond OTP 8, trap 10; 3.3 case 56
    crew = Crew()
    async with open_system(kill_grace=1.0) as system:
        events = system.events.subscribe(wanted=lambda event: isinstance(event, TaskWedged | StopWentWrong))
        handle = await crew.start(system, worker("limpet", Limpet, shutdown=2.0))
        system.ref("top/limpet").tell(Cling(100.0))
        await settled()
        before = system.now()
        await handle.terminate_child("limpet")

        assert system.now() - before == pytest.approx(3.0)
        wedged, report = events.get_nowait(), events.get_nowait()
        assert isinstance(wedged, TaskWedged)
        assert "_cling" in wedged.stack
        assert isinstance(report, StopWentWrong)
        assert report.wedged
        assert (await handle.which_child("limpet")).wedged

        await anyio.sleep(200.0)
        assert not (await handle.which_child("limpet")).wedged


@both_backends
async def test_a_successor_is_not_started_on_resources_that_a_wedged_task_holds() -> None:
    # Beyond OTP 8
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system,
            worker("port", Limpet, shutdown=KILL, exclusive=["port 80"]),
            worker("free", Limpet, shutdown=KILL),
        )
        for name in ("port", "free"):
            system.ref(f"top/{name}").tell(Cling(100.0))
            await settled()
            await handle.terminate_child(name)

        with pytest.raises(ChildStartFailed) as refused:
            await handle.restart_child("port")
        assert isinstance(refused.value.reason, ResourceHeld)
        assert (await handle.restart_child("free")).ref is not None

        await anyio.sleep(200.0)
        assert (await handle.restart_child("port")).ref is not None


@both_backends
async def test_a_group_restart_goes_on_without_waiting_for_a_wedged_member() -> None:
    # Beyond OTP 8
    crew = Crew()
    async with open_system() as system:
        await crew.start(
            system, crew.member("a"), worker("limpet", Limpet, shutdown=1.0), strategy=ONE_FOR_ALL
        )
        system.ref("top/limpet").tell(Cling(50.0))
        await settled()
        system.ref("top/a").tell(Die())
        await anyio.sleep(5.0)

        assert await system.ref("top/a").ask(Whoami()) == 2
        assert system.ref("top/limpet").slot.incarnation == 2
        await anyio.sleep(100.0)


@both_backends
async def test_the_overall_deadline_names_what_could_not_be_stopped() -> None:
    # Beyond OTP 8
    raised: list[StopDeadlineExceeded] = []
    try:
        async with open_system(stop_deadline=5.0) as system:
            await start_tree(system, supervisor("top", worker("limpet", Limpet, shutdown=FOREVER)))
            system.ref("top/limpet").tell(Cling(60.0))
            await settled()
    except* StopDeadlineExceeded as group:
        raised += [error for error in group.exceptions if isinstance(error, StopDeadlineExceeded)]

    assert raised[0].wedged == ("top/limpet",)
