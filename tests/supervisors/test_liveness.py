"""What supervisors make of children that hang in a handler, and that they are not judged themselves."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.cast import events_of
from tests.supervisors.crew import Crew, Die, Work

from holdfast.runtime import HandlerSlow, LivenessSpec, open_system
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    FOREVER,
    Budget,
    InvalidSpec,
    RestartDecided,
    Strategy,
    SupervisorGaveUp,
    worker,
)
from holdfast.supervisors.child_spec import ChildSpec, Group

LIMITS = LivenessSpec(slow=1.0, hung=4.0)


# S-L1
@both_backends
async def test_a_hung_child_is_restarted_by_the_strategy_and_charged() -> None:
    async with open_system() as system:
        crew = Crew()
        children = (crew.member("a"), crew.member("b", liveness=LIMITS), crew.member("c"))
        await crew.start(system, *children, strategy=Strategy.REST_FOR_ONE, budget=Budget(1, 60.0))
        with events_of(system, RestartDecided, SupervisorGaveUp) as told:
            system.ref("top/b").tell(Work(1000.0))
            await anyio.sleep(4.001)
            assert crew.take() == ["-c:shutdown", "+b", "+c"]
            system.ref("top/b").tell(Work(1000.0))
            await anyio.sleep(4.001)

        assert [type(event) for event in told] == [RestartDecided, SupervisorGaveUp]
        assert "Unresponsive" in str(told[0])


# S-L1
@both_backends
async def test_a_supervisor_busy_with_a_long_restart_is_neither_slow_nor_hung() -> None:
    async with open_system(liveness=LIMITS) as system:
        crew = Crew()
        await crew.start(system, crew.member("a", start_timeout=500.0), crew.member("b"))
        crew.start_takes["a"] = 300.0
        with events_of(system, HandlerSlow) as slow:
            system.ref("top/a").tell(Die())
            await anyio.sleep(299.0)
            assert crew.take() == ["-a:crash"]
            await anyio.sleep(2.0)

        assert slow == []
        assert crew.take() == ["+a"]


# S-L1
@both_backends
async def test_a_group_held_up_for_ever_by_a_child_says_who_it_is() -> None:
    async with open_system() as system:
        crew = Crew()
        top = await crew.start(system, crew.member("a"), crew.member("b", shutdown=FOREVER, liveness=LIMITS))
        crew.take()
        system.ref("top/b").tell(Work(100.0))
        await anyio.sleep(0.5)
        with events_of(system, HandlerSlow) as told:
            await top.stop()
        assert crew.take() == ["b worked", "-b:shutdown", "-a:shutdown"]
        said = [str(event).split("; ")[:2] for event in told]
        assert [what for what, _ in said] == [
            f"top/b (incarnation 1) has been handling Work for {n} s" for n in (1, 2, 4, 8, 16, 32, 64)
        ]
        assert {why for _, why in said} == {"it was asked to stop, and holds that up"}


def test_a_liveness_that_is_none_is_refused_and_so_is_one_of_a_supervisor() -> None:
    with pytest.raises(InvalidSpec, match="liveness is a LivenessSpec"):
        worker("a", Crew().member("a").factory or Crew, liveness=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="a supervisor has no liveness"):
        ChildSpec(id="a", group=Group(children=()), liveness=LIMITS)
