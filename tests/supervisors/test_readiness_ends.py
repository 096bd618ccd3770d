"""Readiness where it meets something else: a stop, a kill, a death, a group, a probe (Beyond OTP 3, B1)."""

from __future__ import annotations

import random
from collections.abc import Iterable

import anyio
import pytest
from tests.supervisors.crew import Crew, Die, Note, Whoami, kill

from holdfast.runtime import Backoff, Ref, Seams, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    DEGRADE,
    ONE_FOR_ALL,
    REST_FOR_ONE,
    Budget,
    ChildBack,
    ChildStartFailed,
    ProbeFailed,
    Readiness,
    StartAttemptFailed,
    Strategy,
    start_tree,
    supervisor,
)

PROBES = Backoff(initial=10.0, multiplier=1.0, cap=10.0, stable_after=20.0)


class Checks:
    """A check whose answers are given in advance; when there are no more it never returns."""

    def __init__(self, answers: Iterable[bool]) -> None:
        self.answers = iter(answers)
        self.log: list[str] = []

    async def __call__(self, ref: Ref) -> bool:
        self.log.append(f"asked of {await ref.ask(Whoami())}")
        try:
            answer = next(self.answers, None)
            if answer is None:
                await anyio.sleep_forever()
            return answer is True
        finally:
            self.log.append("left")


@both_backends
async def test_a_supervisor_killed_in_the_middle_of_a_check_leaves_nothing_behind() -> None:
    # R23: the check is cancelled, and the child that was being checked is gone
    crew, checks = Crew(), Checks([True])
    async with open_system() as system:
        child = crew.member("a", ready=Readiness(checks, timeout=1000.0))
        await start_tree(system, supervisor("root", supervisor("top", child, crew.member("b"))))
        system.ref("root/top/a").tell(Die())
        await settled()
        assert checks.log[2:] == ["asked of 2"]
        checks.answers = iter([True])
        before = system.now()
        kill(system, "root/top")
        await settled()

        assert checks.log[2:] == ["asked of 2", "left", "asked of 3", "left"]
        assert system.now() - before < 0.001
        assert await system.ref("root/top/a").ask(Whoami()) == 3
        assert sum(event == "+a" for event in crew.events) == 3
    assert system.tasks == 0


@both_backends
async def test_a_stop_waits_no_longer_than_the_limit_of_a_check_that_never_returns() -> None:
    crew, checks = Crew(), Checks([True])
    async with open_system() as system:
        child = crew.member("a", ready=Readiness(checks, timeout=3.0))
        top = await crew.start(system, child, crew.member("b"))
        system.ref("top/a").tell(Die())
        await settled()
        before = system.now()
        await top.stop()

        assert system.now() - before == pytest.approx(3.0, abs=0.001)
        assert checks.log == ["asked of 1", "left", "asked of 2", "left"]
        assert crew.take() == ["-a:crash", "+a", "-a:shutdown", "-b:shutdown"]
        assert system.tasks == 0


@both_backends
async def test_a_cancelled_start_of_a_tree_cancels_its_check() -> None:
    crew, checks = Crew(), Checks([])
    async with open_system() as system:
        child = crew.member("a", ready=Readiness(checks, timeout=1000.0))
        with anyio.move_on_after(1.0) as limit:
            await start_tree(system, supervisor("top", child))
        assert limit.cancelled_caught
        await settled()

        assert checks.log == ["asked of 1", "left"]
        assert system.tasks == 0


@both_backends
async def test_one_that_dies_while_it_is_checked_is_retried_once_and_its_notice_absorbed() -> None:
    # R10: one failed start, one charge; the exit notice is of an incarnation that has been dealt with
    crew = Crew()
    tries: list[int] = []

    async def check(ref: Ref) -> bool:
        tries.append(await ref.ask(Whoami()))
        if len(tries) == 2:
            ref.tell(Die())
            await ref.ask(Whoami(), timeout=1.0)
        return True

    async with open_system() as system:
        top = await crew.start(system, crew.member("a", ready=Readiness(check, timeout=2.0)))
        system.ref("top/a").tell(Die())
        await anyio.sleep(10.0)

        assert tries == [1, 2, 3]
        assert crew.take() == ["-a:crash", "+a", "-a:crash", "+a"]
        assert (await top.supervision()).restarts == 2


@pytest.mark.parametrize(
    "strategy, happened",
    [
        (REST_FOR_ONE, ["-b:crash", "-c:shutdown", "+b", "-b:shutdown", "+b", "+c"]),
        (
            ONE_FOR_ALL,
            [
                *["-b:crash", "-c:shutdown", "-a:shutdown", "+a", "+b", "-b:shutdown", "-a:shutdown"],
                "+a",
                "+b",
                "+c",
            ],
        ),
    ],
)
@both_backends
async def test_a_group_restart_goes_on_behind_a_member_when_that_is_ready(
    strategy: Strategy, happened: list[str]
) -> None:
    # R7, R13, R14: who is not ready has failed to start, and its mail waits for the next attempt
    crew, checks = Crew(), Checks([True, False, True])
    async with open_system() as system:
        b = crew.member("b", ready=Readiness(checks))
        top = await crew.start(system, crew.member("a"), b, crew.member("c"), strategy=strategy)
        failed = system.events.subscribe(wanted=lambda event: isinstance(event, StartAttemptFailed))
        system.ref("top/b").tell(Die())
        await settled()

        assert crew.take() == happened
        assert (await top.supervision()).restarts == 2
        report = failed.get_nowait()
        assert isinstance(report, StartAttemptFailed)
        assert "top/b is not ready: the check answered False" in report.reason


@both_backends
async def test_an_added_child_that_is_not_ready_is_gone_and_the_caller_told_its_path() -> None:
    # R28, R45
    crew = Crew()
    async with open_system() as system:
        top = await crew.start(system)
        child = crew.member("a", ready=Readiness(Checks([False])))
        with pytest.raises(ChildStartFailed, match=r"top/a is not ready: the check answered False"):
            await top.start_child(child)

        assert await top.which_children() == ()
        assert crew.take() == ["+a", "-a:shutdown"]


@both_backends
async def test_a_probe_is_up_only_when_it_is_ready() -> None:
    # Beyond OTP 3 and 5: a probe that is not ready has failed, and costs the supervisor nothing
    crew, checks = Crew(), Checks([False, False, True])
    async with open_system(seams=Seams(random=random.Random(3))) as system:
        soft = crew.member(
            "b", ready=Readiness(checks), on_give_up=DEGRADE, budget=Budget(0, 5.0), probing=PROBES
        )
        top = await crew.start(system, crew.member("a"), soft)
        probes = system.events.subscribe(wanted=lambda event: isinstance(event, ProbeFailed | ChildBack))
        assert [child.state for child in await top.which_children()] == ["running", "degraded"]

        await anyio.sleep(60.0)
        failed, back = probes.get_nowait(), probes.get_nowait()
        assert isinstance(failed, ProbeFailed)
        assert "top/b is not ready: the check answered False" in failed.why
        assert isinstance(back, ChildBack)
        assert probes.get_nowait() is None
        assert [child.state for child in await top.which_children()] == ["running", "running"]
        assert (await top.supervision()).restarts == 0


@both_backends
async def test_what_is_sent_to_one_that_is_not_ready_waits_for_the_next_attempt() -> None:
    # S-A5
    crew = Crew()
    answers = iter([True, False, True])

    async def check(ref: Ref) -> bool:
        ready = next(answers)
        if not ready:
            cell = ref.slot.cell
            assert cell is not None
            cell.suspend()
            ref.tell(Note("kept"))
        return ready

    async with open_system() as system:
        await crew.start(system, crew.member("a", ready=Readiness(check)))
        system.ref("top/a").tell(Die())
        await settled()

        assert crew.take() == ["-a:crash", "+a", "-a:shutdown", "+a", "a kept"]
