"""3.3, what ends mean: cases 44-55."""

from __future__ import annotations

import pytest
from tests.conformance.views import counts, incarnations, running, states
from tests.supervisors.crew import Boom, Crew, Die, Finish, kill

from holdfast.runtime import (
    NORMAL,
    SHUTDOWN,
    Message,
    Outcome,
    Shutdown,
    StartFailed,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    PERMANENT,
    REST_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    FailedToStartChild,
    Report,
    Restart,
    Strategy,
    start_tree,
    supervisor,
)


@both_backends
async def test_a_call_reports_nothing_and_the_first_report_of_a_crash_says_what_ended_and_what_is_done() -> (
    None
):
    # case 44: external_start_no_progress_log
    crew = Crew()
    said: list[str] = []
    async with open_system() as system:
        handle = await crew.start(system)
        system.events.call(lambda event: said.append(event.sentence()) if isinstance(event, Report) else None)
        await handle.start_child(crew.member("a"))
        await handle.terminate_child("a")
        await handle.restart_child("a")
        assert said == []
        system.ref("top/a").tell(Die())
        await settled()

        assert len(said) == 1
        assert said[0].startswith("top/a crashed (Boom")
        assert "one_for_one restarts a" in said[0]


@pytest.mark.parametrize(
    "restart,end,left",
    [
        (PERMANENT, NORMAL, "new"),  # case 45: permanent_normal
        (TRANSIENT, NORMAL, "stopped"),  # case 46: transient_normal
        (TEMPORARY, NORMAL, "gone"),  # case 47: temporary_normal
        (PERMANENT, SHUTDOWN, "new"),  # case 48: permanent_shutdown
        (PERMANENT, Shutdown("info"), "new"),  # case 48: permanent_shutdown
        (TRANSIENT, SHUTDOWN, "stopped"),  # case 49: transient_shutdown
        (TRANSIENT, Shutdown("info"), "stopped"),  # case 49: transient_shutdown
        (TEMPORARY, SHUTDOWN, "gone"),  # case 50: temporary_shutdown
        (TEMPORARY, Shutdown("info"), "gone"),  # case 50: temporary_shutdown
        (PERMANENT, None, "new"),  # case 52: permanent_abnormal
        (TRANSIENT, None, "new"),  # case 53: transient_abnormal
        (TEMPORARY, None, "gone"),  # case 54: temporary_abnormal
    ],
)
@both_backends
async def test_restart_and_outcome_decide_whether_a_child_is_new_stopped_or_gone(
    restart: Restart, end: Outcome | None, left: str
) -> None:
    # cases 45-50, 52-54; None is a crash
    crew = Crew()
    message: Message = Die() if end is None else Finish(end)
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a", restart=restart))
        running(system, "top/a").tell(message)
        await settled()

        if left == "new":
            assert await incarnations(handle) == {"a": 2}
        elif left == "stopped":
            assert (await states(handle), await counts(handle)) == ({"a": "stopped"}, (1, 0, 0, 1))
            await handle.restart_child("a")
            running(system, "top/a").tell(message)
            await settled()
            assert await states(handle) == {"a": "stopped"}
        else:
            assert await counts(handle) == (0, 0, 0, 0)
            await handle.start_child(crew.member("a", restart=restart))
            assert running(system, "top/a").slot.incarnation == 1


@both_backends
async def test_a_fault_deep_in_the_tree_surfaces_where_the_tree_is_started() -> None:
    # case 51: faulty_application_shutdown
    crew = Crew()
    crew.fails["leaf"] = {1}
    tree = supervisor("app", crew.member("first"), supervisor("mid", crew.member("leaf")))
    async with open_system() as system:
        with pytest.raises(StartFailed) as failed:
            await start_tree(system, tree)

        outer = failed.value.reason
        assert isinstance(outer, FailedToStartChild)
        assert (outer.path, outer.child) == ("app", "mid")
        inner = outer.reason
        assert isinstance(inner, FailedToStartChild)
        assert inner.child == "leaf"
        assert isinstance(inner.reason, Boom)
        assert inner.reason.__traceback__ is not None
        assert crew.events == ["+first", "!leaf", "-first:shutdown"]


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, REST_FOR_ONE])
@both_backends
async def test_a_temporary_bystander_is_stopped_with_the_group_and_not_brought_back(
    strategy: Strategy,
) -> None:
    # case 55: temporary_bystander
    crew = Crew()
    async with open_system() as system:
        bystander = crew.member("b", restart=TEMPORARY)
        handle = await crew.start(system, crew.member("a"), bystander, strategy=strategy)
        kill(system, "top/a")
        await settled()

        assert crew.take() == ["-b:shutdown", "+a"]
        assert await states(handle) == {"a": "running"}
