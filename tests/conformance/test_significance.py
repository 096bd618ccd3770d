"""3.3, significant children: cases 70-76 (77-83 are in `test_reconfiguration.py`)."""

from __future__ import annotations

import pytest
from tests.conformance.views import ended, incarnations, running
from tests.supervisors.crew import Crew, Die, Finish, kill

from holdfast.runtime import SHUTDOWN, Actor, System, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ANY_SIGNIFICANT,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    InvalidSpec,
    Strategy,
    SupervisorHandle,
    dynamic,
    start_tree,
    supervisor,
    template,
    worker,
)

ENDS = ["call", "kill", "crash", "normal"]
BOTH = [ANY_SIGNIFICANT, ALL_SIGNIFICANT]


async def let_end(system: System, handle: SupervisorHandle, name: str, end: str) -> None:
    if end == "call":
        await handle.terminate_child(name)
    elif end == "kill":
        kill(system, f"top/{name}")
    else:
        running(system, f"top/{name}").tell(Finish() if end == "normal" else Die())
    await settled()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("auto", list(AutoShutdown))
@both_backends
async def test_the_end_of_a_temporary_child_that_is_not_significant_never_stops_the_supervisor(
    auto: AutoShutdown, end: str
) -> None:
    # case 70: nonsignificant_temporary
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a", restart=TEMPORARY), auto_shutdown=auto)
        await let_end(system, handle, "a", end)

        assert await incarnations(handle) == {}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("auto", list(AutoShutdown))
@both_backends
async def test_the_end_of_a_transient_child_that_is_not_significant_never_stops_the_supervisor(
    auto: AutoShutdown, end: str
) -> None:
    # case 71: nonsignificant_transient
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a", restart=TRANSIENT), auto_shutdown=auto)
        await let_end(system, handle, "a", end)

        assert await incarnations(handle) == {"a": 2 if end in {"kill", "crash"} else 1}


@pytest.mark.parametrize("end", ENDS)
@both_backends
async def test_any_end_by_itself_of_a_significant_temporary_child_is_one(end: str) -> None:
    # case 72: significant_temporary
    crew = Crew()
    first, second = crew.members("ab", restart=TEMPORARY, significant=True)
    async with open_system() as system:
        handle = await crew.start(system, first, second, crew.member("c"), auto_shutdown=ANY_SIGNIFICANT)
        await let_end(system, handle, "a", end)
        assert handle.ref.slot.running is (end == "call")
        if end != "call":
            assert crew.events[-2:] == ["-c:shutdown", "-b:shutdown"]
            return
        await handle.stop()

        handle = await crew.start(system, first, second, crew.member("c"), auto_shutdown=ALL_SIGNIFICANT)
        await let_end(system, handle, "a", "crash")
        assert handle.ref.slot.running
        await let_end(system, handle, "b", "kill")
        assert ended(handle.ref) == SHUTDOWN


@pytest.mark.parametrize("end", ENDS)
@both_backends
async def test_only_an_orderly_end_by_itself_of_a_significant_transient_child_is_one(end: str) -> None:
    # case 73: significant_transient
    crew = Crew()
    children = crew.members("ab", restart=TRANSIENT, significant=True)
    async with open_system() as system:
        handle = await crew.start(system, *children, auto_shutdown=ANY_SIGNIFICANT)
        await let_end(system, handle, "a", end)
        assert handle.ref.slot.running is (end != "normal")
        if end in {"kill", "crash"}:
            assert await incarnations(handle) == {"a": 2, "b": 1}
        if end != "normal":
            await handle.stop()

        handle = await crew.start(system, *children, auto_shutdown=ALL_SIGNIFICANT)
        await let_end(system, handle, "a", "normal")
        assert handle.ref.slot.running
        await let_end(system, handle, "b", "normal")
        assert ended(handle.ref) == SHUTDOWN


def test_a_dynamic_supervisor_has_no_automatic_shutdown() -> None:
    # case 74: significant_simple, D1
    for auto in BOTH:
        with pytest.raises(TypeError, match="auto_shutdown"):
            dynamic("pool", template("a", Actor), auto_shutdown=auto)  # type: ignore[call-arg]
    with pytest.raises(InvalidSpec, match="never significant"):
        dynamic("pool", worker("a", Actor, restart=TRANSIENT, significant=True))
    pool = dynamic("pool", template("a", Actor))
    assert pool.group is not None
    assert pool.group.auto_shutdown is AutoShutdown.NEVER


@pytest.mark.parametrize("auto", BOTH)
@pytest.mark.parametrize("strategy", list(Strategy))
@both_backends
async def test_significant_siblings_that_a_group_restart_stops_shut_nothing_down(
    strategy: Strategy, auto: AutoShutdown
) -> None:
    # case 75: significant_bystander
    crew = Crew()
    first, third = crew.members("ac", restart=TRANSIENT, significant=True)
    async with open_system() as system:
        middle = crew.member("b", restart=TRANSIENT)
        handle = await crew.start(system, first, middle, third, strategy=strategy, auto_shutdown=auto)
        await let_end(system, handle, "b", "kill")
        assert (await incarnations(handle))["b"] == 2
        await handle.stop()

        assert ended(handle.ref) == SHUTDOWN


@pytest.mark.parametrize("significant", [True, False])
@both_backends
async def test_the_automatic_shutdown_of_a_significant_supervisor_goes_on_upwards(significant: bool) -> None:
    # case 76: significant_escalation
    crew = Crew()
    async with open_system() as system:
        leaf = crew.member("w", restart=TRANSIENT, significant=True)
        inner = supervisor(
            "b", leaf, restart=TRANSIENT, significant=significant, auto_shutdown=ANY_SIGNIFICANT
        )
        handle = await start_tree(system, supervisor("top", inner, auto_shutdown=ANY_SIGNIFICANT))
        running(system, "top/b/w").tell(Finish())
        await settled()

        assert not system.ref("top/b").slot.running
        assert handle.ref.slot.running is not significant
