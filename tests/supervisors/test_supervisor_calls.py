from __future__ import annotations

import gc
import weakref

import pytest
from tests.supervisors.crew import Boom, Crew, Die, Finish, Whoami

from holdfast.runtime import SHUTDOWN, Actor, ActorGone, AskCycle, Message, Ref, Request, on, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ANY_SIGNIFICANT,
    ONE_FOR_ALL,
    REST_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    AlreadyPresent,
    AlreadyStarted,
    Budget,
    ChildRunning,
    ChildStartFailed,
    DynamicHandle,
    InvalidSpec,
    NoSuchChild,
    NotForDynamic,
    RestartDecided,
    SupervisorHandle,
    start_tree,
    supervisor,
    worker,
)
from holdfast.supervisors.messages import GetSpec, StartChild, TerminateChild


@both_backends
async def test_the_whole_life_of_a_child_through_calls() -> None:
    # R28-R32; 3.3 case 23
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), budget=Budget(0, 5.0))
        first = (await handle.which_child("a")).ref
        with pytest.raises(AlreadyStarted) as running:
            await handle.start_child(crew.member("a"))
        assert running.value.ref == first
        for call in (handle.terminate_child, handle.delete_child, handle.restart_child, handle.which_child):
            with pytest.raises(NoSuchChild, match="top has no child 'nobody'"):
                await call("nobody")

        await handle.terminate_child("a")
        assert crew.take() == ["-a:shutdown"]
        counts = await handle.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1, 0, 0, 1)
        await handle.terminate_child("a")
        with pytest.raises(AlreadyPresent, match="restart_child"):
            await handle.start_child(crew.member("a"))

        again = await handle.restart_child("a")
        assert again.ref is not None
        assert await again.ref.ask(Whoami()) == 2
        with pytest.raises(ChildRunning):
            await handle.restart_child("a")
        with pytest.raises(ChildRunning):
            await handle.delete_child("a")

        await handle.terminate_child("a")
        await handle.delete_child("a")
        counts = await handle.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (0, 0, 0, 0)
        with pytest.raises(NoSuchChild):
            await handle.restart_child("a")
        assert (await handle.supervision()).restarts == 0


@both_backends
async def test_a_deleted_child_ends_its_slot() -> None:
    # Actors 2
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))
        old = system.ref("top/a")
        await handle.terminate_child("a")
        await handle.delete_child("a")
        new = await handle.start_child(crew.member("a"))

        assert new.ref != old
        with pytest.raises(ActorGone):
            await old.ask(Whoami())


@both_backends
async def test_extra_information_of_the_start_reaches_the_caller_unchanged() -> None:
    # 3.3 case 25
    crew = Crew()
    crew.infos = {"a": {"port": 4711}}
    async with open_system() as system:
        handle = await crew.start(system)
        assert (await handle.start_child(crew.member("a"))).info == {"port": 4711}

        system.ref("top/a").tell(Die())
        await settled()
        assert await system.ref("top/a").ask(Whoami()) == 2
        await handle.terminate_child("a")
        assert (await handle.restart_child("a")).info == {"port": 4711}


@both_backends
async def test_a_failing_start_through_a_call_is_told_and_not_reported_as_a_restart() -> None:
    # R28, R30, R45; 3.3 cases 10, 11
    crew = Crew()
    crew.fails = {"x": {1}, "a": {2}}
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), budget=Budget(0, 5.0))
        events = system.events.subscribe(wanted=lambda event: isinstance(event, RestartDecided))
        with pytest.raises(ChildStartFailed) as failed:
            await handle.start_child(crew.member("x"))
        assert isinstance(failed.value.reason, Boom)
        await handle.terminate_child("a")
        with pytest.raises(ChildStartFailed):
            await handle.restart_child("a")

        assert [(child.id, child.state) for child in await handle.which_children()] == [("a", "stopped")]
        assert events.get_nowait() is None
        assert (await handle.start_child(crew.member("x"))).ref is not None


@both_backends
async def test_an_ignored_start_through_a_call_answers_without_a_ref() -> None:
    # R28, 3.3 cases 3, 5
    crew = Crew()
    crew.ignores = {"x": {1}, "t": {1}}
    async with open_system() as system:
        handle = await crew.start(system)

        assert (await handle.start_child(crew.member("x"))).ref is None
        assert (await handle.start_child(crew.member("t", restart=TEMPORARY))).ref is None
        assert [child.id for child in await handle.which_children()] == ["x"]


@both_backends
async def test_terminating_touches_no_sibling() -> None:
    # R29
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"), strategy=ONE_FOR_ALL)
        await handle.terminate_child("b")

        assert crew.take() == ["-b:shutdown"]


@both_backends
async def test_children_are_listed_in_start_order() -> None:
    # R32, beyond OTP 12: OTP lists newest first
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("mza"))
        await handle.start_child(crew.member("b"))

        assert [child.id for child in await handle.which_children()] == ["m", "z", "a", "b"]


@both_backends
async def test_counts_tell_supervisors_from_workers_alive_or_not() -> None:
    # R32, 3.3 case 57
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system, crew.member("w"), supervisor("s", crew.member("x")), supervisor("u", restart=TRANSIENT)
        )
        await handle.terminate_child("u")
        counts = await handle.count_children()

        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (3, 2, 2, 1)


@both_backends
async def test_the_spec_of_a_child_can_be_read_back() -> None:
    # 3.3 case 13
    crew = Crew()
    spec = crew.member("a", restart=TRANSIENT, shutdown=0.5)
    async with open_system() as system:
        handle = await crew.start(system, spec)

        assert await handle.get_spec("a") == spec
        with pytest.raises(NoSuchChild):
            await handle.get_spec("nobody")


@both_backends
async def test_a_spec_that_does_not_fit_the_supervisor_is_refused_to_the_caller() -> None:
    # R27, R43
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))

        with pytest.raises(InvalidSpec, match="a significant child needs auto_shutdown"):
            await handle.start_child(crew.member("a", restart=TRANSIENT, significant=True))


@both_backends
async def test_a_child_added_at_run_time_is_at_the_end_of_the_group() -> None:
    # R28, R7
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=REST_FOR_ONE)
        await handle.start_child(crew.member("0"))
        system.ref("top/b").tell(Die())
        await settled()

        assert crew.take() == ["+0", "-b:crash", "-0:shutdown", "+b", "+0"]


@both_backends
async def test_what_a_temporary_child_was_started_with_is_garbage_once_it_runs() -> None:
    # R33; 3.3 case 62, trap 17
    class Big:
        pass

    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system)

        async def start() -> weakref.ref[Big]:
            big = Big()

            def factory() -> Actor:
                assert big is not None
                return Actor()

            await handle.start_child(worker("t", factory, restart=TEMPORARY))
            return weakref.ref(big)

        seen = await start()
        assert (await handle.which_child("t")).state == "running"
        gc.collect()
        assert seen() is None


@both_backends
async def test_auto_shutdown_stops_the_rest_in_reverse_and_ends_with_shutdown() -> None:
    # R24-R26; 3.3 cases 72, 73
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system,
            crew.member("a", restart=TRANSIENT, significant=True),
            *crew.members("bc"),
            auto_shutdown=ANY_SIGNIFICANT,
        )
        system.ref("top/a").tell(Die())
        await settled()
        await handle.terminate_child("a")
        await handle.restart_child("a")
        crew.take()
        system.ref("top/a").tell(Finish())

        assert await system.wait_ended(handle.ref) == SHUTDOWN
        assert crew.take() == ["-a:normal", "-c:shutdown", "-b:shutdown"]


@both_backends
async def test_one_significant_child_stopped_by_a_call_leaves_the_decision_to_the_other() -> None:
    # R25, X15
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system,
            *crew.members("ab", restart=TRANSIENT, significant=True),
            auto_shutdown=ALL_SIGNIFICANT,
        )
        await handle.terminate_child("a")
        system.ref("top/b").tell(Finish())

        assert await system.wait_ended(handle.ref) == SHUTDOWN


@both_backends
async def test_an_orderly_restart_has_the_groups_effect_and_no_charge() -> None:
    # Beyond OTP 11
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"), strategy=REST_FOR_ONE, budget=Budget(0, 5.0))
        await handle.restart("b")

        assert crew.take() == ["-c:shutdown", "-b:shutdown", "+b", "+c"]
        assert (await handle.supervision()).restarts == 0


@both_backends
async def test_calls_of_the_other_kind_of_supervisor_are_refused_by_name() -> None:
    # 3.3 case 24
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))

        with pytest.raises(NotForDynamic):
            await DynamicHandle(handle.ref).start_child()
        with pytest.raises(NoSuchChild):
            await DynamicHandle(handle.ref).terminate_child(handle.ref)


class AskYourSupervisor(Request[str], frozen=True):
    """Ask the supervisor from within; what the supervisor waits for meanwhile decides what comes of it."""


class Curious(Actor):
    def __init__(self, top: Ref) -> None:
        self._top = top

    @on(AskYourSupervisor)
    async def _ask(self, _question: AskYourSupervisor) -> str:
        return (await SupervisorHandle(self._top).which_children())[0].id

    async def on_stop(self, outcome: object) -> None:
        try:
            await SupervisorHandle(self._top).which_children()
        except AskCycle as error:
            COMPLAINTS.append(error.chain)


COMPLAINTS: list[tuple[str, ...]] = []


@both_backends
async def test_a_child_may_ask_its_supervisor_unless_that_is_waiting_for_it() -> None:
    # trap 12
    COMPLAINTS.clear()
    async with open_system() as system:
        handle = await start_tree(system, supervisor("top", worker("a", lambda: Curious(system.ref("top")))))
        assert await system.ref("top/a").ask(AskYourSupervisor()) == "a"

        before = system.now()
        await handle.terminate_child("a")
        assert COMPLAINTS == [("top/a", "top", "top/a")]
        assert system.now() == before


@both_backends
async def test_a_call_that_is_told_instead_of_asked_is_carried_out_all_the_same() -> None:
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))
        messages: list[Message] = [
            TerminateChild("a"),
            TerminateChild("nobody"),
            GetSpec("nobody"),
            StartChild(crew.member("b")),
            StartChild(crew.member("b")),
        ]
        for message in messages:
            handle.ref.tell(message)
        await settled()

        assert crew.take() == ["-a:shutdown", "+b"]
