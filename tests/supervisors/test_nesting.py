from __future__ import annotations

import anyio
import pytest
from tests.supervisors.crew import PLENTY, Crew, Die, Finish, Note, Whoami, Work, kill, pile_up

from holdfast.runtime import SHUTDOWN, ActorGone, GaveUp, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ANY_SIGNIFICANT,
    ONE_FOR_ALL,
    PERMANENT,
    TEMPORARY,
    TRANSIENT,
    Budget,
    ChildStartFailed,
    Restart,
    SupervisorHandle,
    start_tree,
    supervisor,
)


@both_backends
async def test_nested_budgets_multiply() -> None:
    # W3, X6: mid 2, top 3 -> (2 + 1) x (3 + 1) starts of the leaf
    crew = Crew()
    async with open_system() as system:
        mid = supervisor("mid", crew.member("leaf"), budget=Budget(2, 1000.0))
        handle = await start_tree(system, supervisor("top", mid, budget=Budget(3, 1000.0)))
        while handle.ref.slot.outcome is None:
            system.ref("top/mid/leaf").tell(Die())
            await settled()

        assert crew.starts["leaf"] == 12
        assert handle.ref.slot.outcome == GaveUp(("top/mid/leaf", "top/mid", "top"))


@pytest.mark.parametrize(
    "restart,otp,here",
    [
        (PERMANENT, "running", "running"),
        (TRANSIENT, "stopped", "running"),
        (TEMPORARY, "absent", "absent"),
    ],
)
@pytest.mark.parametrize("give_up_as", ["gave_up", "shutdown"])
@both_backends
async def test_giving_up_reaches_the_parent_as_a_failure_unless_it_is_declared_a_shutdown(
    restart: Restart, otp: str, here: str, give_up_as: str
) -> None:
    # X7, R47, R49, Outcomes: with give_up_as="shutdown" a transient subtree vanishes silently, as in OTP
    crew = Crew()
    async with open_system() as system:
        mid = supervisor(
            "mid",
            crew.member("leaf"),
            budget=Budget(0, 5.0),
            restart=restart,
            give_up_as=give_up_as,  # type: ignore[arg-type]
        )
        handle = await start_tree(system, supervisor("top", mid))
        system.ref("top/mid/leaf").tell(Die())
        await settled()
        states = {child.id: child.state for child in await handle.which_children()}

        assert states.get("mid", "absent") == (here if give_up_as == "gave_up" else otp)


@both_backends
async def test_a_sub_supervisor_stopped_for_good_is_revived_by_a_group_restart() -> None:
    # R9, R47; 3.3 case 57
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system,
            crew.member("a"),
            supervisor("sub", crew.member("x"), restart=TRANSIENT),
            strategy=ONE_FOR_ALL,
        )
        await handle.terminate_child("sub")
        with pytest.raises(ActorGone):
            await system.ref("top/sub/x").ask(Whoami())
        system.ref("top/a").tell(Die())
        await settled()

        assert await system.ref("top/sub/x").ask(Whoami()) == 2


@both_backends
async def test_a_subtree_that_gave_up_starts_anew_with_what_was_declared_and_not_what_was_added() -> None:
    # 3.3 case 57
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system,
            supervisor("s1", *crew.members("ab")),
            supervisor("s2", crew.member("c"), budget=Budget(0, 5.0)),
            strategy=ONE_FOR_ALL,
        )
        s2 = SupervisorHandle(system.ref("top/s2"))
        added = await s2.start_child(crew.member("d"))
        assert added.ref is not None
        system.ref("top/s2/c").tell(Die())
        await settled()

        assert [child.incarnation for child in await handle.which_children()] == [2, 2]
        assert [child.id for child in await s2.which_children()] == ["c"]
        assert await system.ref("top/s1/a").ask(Whoami()) == 2
        with pytest.raises(ActorGone):
            await added.ref.ask(Whoami())
        counts = await handle.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (2, 2, 2, 0)


@both_backends
async def test_the_mail_of_a_childs_child_is_kept_over_the_restart_of_its_supervisor() -> None:
    # What survives what: supervisor restart; R16
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, supervisor("mid", *crew.members("ab"), budget=Budget(0, 5.0)))
        b = system.ref("top/mid/b")
        b.tell(Work(1.0))
        await settled()
        b.tell(Note("kept"))
        system.ref("top/mid/a").tell(Die())

        assert await b.ask(Whoami()) == 2
        assert crew.take() == ["-a:crash", "b worked", "-b:shutdown", "+a", "+b", "b kept"]


@both_backends
async def test_a_sub_supervisor_that_cannot_come_up_charges_its_parent_once_for_each_attempt() -> None:
    # R46: each attempt starts and stops again everything before the failing leaf
    crew = Crew()
    async with open_system() as system:
        mid = supervisor("mid", *crew.members("ab"), budget=PLENTY)
        handle = await crew.start(system, mid, budget=Budget(2, 5.0))
        crew.fails = {"b": range(2, 100)}
        kill(system, "top/mid")

        assert isinstance(await system.wait_ended(handle.ref), GaveUp)
        assert crew.take() == ["+a", "!b", "-a:shutdown"] * 2


@both_backends
async def test_bringing_a_sub_supervisor_up_by_hand_costs_nothing() -> None:
    # R46, R17
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, supervisor("mid", *crew.members("ab")), budget=Budget(0, 5.0))
        await handle.terminate_child("mid")
        crew.fails = {"b": {2}}
        with pytest.raises(ChildStartFailed):
            await handle.restart_child("mid")

        assert (await handle.which_child("mid")).state == "stopped"
        await handle.restart_child("mid")
        assert (await handle.supervision()).restarts == 0


@pytest.mark.parametrize("significant", [True, False])
@both_backends
async def test_automatic_shutdown_cascades_upwards_through_a_significant_supervisor(
    significant: bool,
) -> None:
    # R26; 3.3 case 76
    crew = Crew()
    async with open_system() as system:
        leaf = crew.member("leaf", restart=TRANSIENT, significant=True)
        b = supervisor("b", leaf, auto_shutdown=ANY_SIGNIFICANT, restart=TRANSIENT, significant=significant)
        handle = await start_tree(system, supervisor("a", b, auto_shutdown=ANY_SIGNIFICANT))
        system.ref("a/b/leaf").tell(Finish())
        await settled()

        assert handle.ref.slot.outcome == (SHUTDOWN if significant else None)


@both_backends
async def test_a_parent_can_tell_giving_up_from_an_automatic_shutdown() -> None:
    # R49
    crew = Crew()
    async with open_system() as system:
        child = crew.member("leaf", restart=TRANSIENT, significant=True)
        for name, end in (("gives-up", Die()), ("shuts-down", Finish())):
            handle = await start_tree(
                system,
                supervisor(name, child, budget=Budget(0, 5.0), auto_shutdown=ANY_SIGNIFICANT),
            )
            system.ref(f"{name}/leaf").tell(end)
            outcome = await system.wait_ended(handle.ref)
            assert isinstance(outcome, GaveUp) == (name == "gives-up")


@both_backends
async def test_a_whole_tree_stops_depth_first_in_reverse() -> None:
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system,
            crew.member("a"),
            supervisor("s", crew.member("b"), supervisor("t", *crew.members("cd"))),
            crew.member("e"),
        )
        await handle.stop()

        assert crew.take() == [f"-{name}:shutdown" for name in "edcba"]


@both_backends
async def test_a_final_stop_of_a_supervisor_is_a_final_stop_of_its_children() -> None:
    # R22, Actors 3: what they received before is still handled
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, supervisor("mid", crew.member("leaf")))
        leaf = system.ref("top/mid/leaf")
        leaf.tell(Work(1.0))
        leaf.tell(Note("before"))
        await settled()
        await handle.terminate_child("mid")

        assert crew.take() == ["leaf worked", "leaf before", "-leaf:shutdown"]


@both_backends
async def test_calls_queued_at_a_supervisor_that_gives_up_have_no_effect_on_its_successor() -> None:
    # R44
    crew = Crew()
    refused: list[BaseException] = []
    async with open_system() as system:
        await crew.start(system, supervisor("mid", crew.member("a"), budget=Budget(0, 5.0)))
        mid = SupervisorHandle(system.ref("top/mid"))

        async def call() -> None:
            try:
                await mid.start_child(crew.member("x"))
            except ActorGone as error:
                refused.append(error)

        async with anyio.create_task_group() as callers:
            go_on = await pile_up(
                system,
                "top/mid",
                lambda: system.ref("top/mid/a").tell(Die()),
                lambda: callers.start_soon(call),
            )
            await go_on()

        assert len(refused) == 1
        assert [child.id for child in await mid.which_children()] == ["a"]
        assert crew.take() == ["-a:crash", "+a"]
