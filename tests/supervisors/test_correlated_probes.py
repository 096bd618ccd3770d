"""Who counts as a failed component, where children hang or are switched off: S-B5, S-B6, S-L1."""

from __future__ import annotations

import random

import anyio
import pytest
from tests.supervisors.crew import Crew, Die, Work

from holdfast.runtime import Backoff, Event, LivenessSpec, Seams, System, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    DEGRADE,
    Budget,
    ChildBack,
    ChildSpec,
    ProbeFailed,
    SystemFailure,
    start_tree,
    supervisor,
)

PROBES = Backoff(initial=10.0, multiplier=1.0, cap=10.0, stable_after=30.0)
PLENTY = Budget(100, 300.0)


def failures(system: System) -> list[tuple[str, ...]]:
    """Return a list that grows with each failure of the whole."""
    told: list[tuple[str, ...]] = []

    def note(event: Event) -> None:
        if isinstance(event, SystemFailure):
            told.append(event.failed_components)

    system.events.call(note)
    return told


def shaky(crew: Crew, *, nested: bool) -> ChildSpec:
    """Return `x`, which is switched off at its first failure: a worker, or a supervisor over one."""
    if not nested:
        return crew.member("x", on_give_up=DEGRADE, budget=Budget(0, 60.0), probing=PROBES)
    return supervisor(
        "x", crew.member("w"), budget=PLENTY, on_give_up=DEGRADE, own_budget=Budget(0, 60.0), probing=PROBES
    )


def tree(crew: Crew, *, nested: bool) -> ChildSpec:
    inner = supervisor("s", shaky(crew, nested=nested), crew.member("a"), budget=PLENTY)
    return supervisor("root", inner, crew.member("b"), budget=PLENTY, correlate=(2, 5.0))


@pytest.mark.parametrize("nested", [False, True], ids=["worker", "supervisor"])
@both_backends
async def test_a_probe_that_fails_is_expected_and_no_failed_component(nested: bool) -> None:
    crew = Crew()
    async with open_system(seams=Seams(random=random.Random(3))) as system:
        await start_tree(system, tree(crew, nested=nested))
        told = failures(system)
        probes = system.events.subscribe(wanted=lambda event: isinstance(event, ProbeFailed))
        if nested:
            cell = system.ref("root/s/x").slot.cell
            assert cell is not None
            cell.kill()
        else:
            system.ref("root/s/x").tell(Die())
        await anyio.sleep(11.0)  # the failure that switched it off counts no more, the probe is up
        shaken = system.ref("root/s/x/w" if nested else "root/s/x")
        shaken.tell(Die())
        await settled()
        assert (probes.get_nowait() is None) == nested, "a supervisor restarts its worker, also as a probe"
        system.ref("root/b").tell(Die())
        await settled()
        assert told == []

        # It is the probe that does not count, not the child: the other one does.
        system.ref("root/s/a").tell(Die())
        await anyio.sleep(60.0)
        assert told == [("b", "s/a")]


@both_backends
async def test_one_that_is_back_counts_again_and_so_does_the_failure_that_switches_it_off() -> None:
    crew = Crew()
    async with open_system(seams=Seams(random=random.Random(3))) as system:
        await start_tree(system, tree(crew, nested=False))
        told = failures(system)
        back = system.events.subscribe(wanted=lambda event: isinstance(event, ChildBack))
        system.ref("root/s/x").tell(Die())
        await anyio.sleep(45.0)
        assert back.get_nowait() is not None
        for path in ("root/s/x", "root/b"):
            system.ref(path).tell(Die())
            await settled()

        await anyio.sleep(60.0)
        assert told == [("s/x", "b")]


@both_backends
async def test_one_that_hangs_past_its_limit_has_failed_by_itself_and_counts() -> None:
    crew = Crew()
    async with open_system() as system:
        hung = crew.member("h", liveness=LivenessSpec(slow=1.0, hung=4.0))
        inner = supervisor("s", hung, budget=PLENTY)
        spec = supervisor("root", inner, crew.member("b"), budget=PLENTY, correlate=(2, 5.0))
        await start_tree(system, spec)
        told = failures(system)
        system.ref("root/s/h").tell(Work(1000.0))
        await anyio.sleep(4.5)
        system.ref("root/b").tell(Die())
        await anyio.sleep(60.0)

        assert told == [("s/h", "b")]
