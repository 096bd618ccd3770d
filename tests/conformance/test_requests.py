"""3.6, the request/reply actor: what the runtime's own tests do not say (S12, S13, S15, S16); and D2."""

from __future__ import annotations

import time

import anyio
import pytest
from tests.conformance.views import running, states
from tests.supervisors.crew import Crew

from holdfast.runtime import Actor, AskError, MailboxSpec, Message, Ref, Request, on, open_system
from holdfast.runtime.testing import both_backends, on_trio, settled
from holdfast.supervisors import AlreadyStarted, DynamicHandle, dynamic, start_tree, supervisor


class Ping(Request[int], frozen=True):
    """Answer."""


class Noise(Message, frozen=True):
    """Nothing to do."""


class Measure(Request[float], frozen=True):
    """Ask many times and say what that cost, in CPU seconds."""

    whom: Ref


class Answering(Actor):
    @on(Ping)
    def _ping(self, _question: Ping) -> int:
        return 1

    @on(Noise)
    def _noise(self, _message: Noise) -> None:
        """Hear it."""


@both_backends
async def test_a_tell_to_nobody_returns_at_once_and_never_raises() -> None:
    # S12: to an unknown actor it waits for one to come, to one that is gone it is a dead letter
    async with open_system() as system:
        system.ref("nobody").tell(Noise())
        ref = await system.start("gone", Answering)
        cell = ref.slot.cell
        assert cell is not None
        cell.kill()
        await settled()
        ref.tell(Noise())

        assert system.statistics().dead_letters == 1


@both_backends
async def test_several_are_asked_at_once_and_the_bad_answers_leave_no_late_message() -> None:
    # S12: OTP's multi_call is a task group here; each ask has its own deadline
    answers: dict[str, object] = {}
    async with open_system() as system:
        good, slow = await system.start("good", Answering), await system.start("slow", Answering)
        gone = await system.start("gone", Answering)
        await system.inspect(slow).suspend()
        assert gone.slot.cell is not None
        gone.slot.cell.kill()
        await settled()

        async def ask(ref: Ref) -> None:
            try:
                answers[ref.path] = await ref.ask(Ping(), timeout=1.0)
            except AskError as error:
                answers[ref.path] = type(error).__name__

        async with anyio.create_task_group() as asking:
            for ref in (good, slow, gone):
                asking.start_soon(ask, ref)
        assert answers == {"good": 1, "slow": "AskTimeout", "gone": "ActorGone"}
        await system.inspect(slow).resume()
        await settled()

        assert slow.slot.mailbox.depth == 0
        assert len(answers) == 3


class Busy(Actor):
    """Asks others while its own mail piles up."""

    mailbox = MailboxSpec(capacity=100_000)

    @on(Noise)
    def _noise(self, _message: Noise) -> None:
        """Hear it."""

    @on(Measure)
    async def _measure(self, question: Measure) -> float:
        before = time.thread_time()
        for _ in range(200):
            await question.whom.ask(Ping())
        return time.thread_time() - before


@on_trio
async def test_a_call_takes_no_longer_when_the_callers_own_queue_is_long() -> None:
    # S13; a tenth of OTP's 500,000 messages
    async with open_system() as system:
        answering, busy = await system.start("answering", Answering), await system.start("busy", Busy)
        await busy.ask(Measure(answering))
        alone = await busy.ask(Measure(answering))
        costs: list[float] = []

        async def measure() -> None:
            costs.append(await busy.ask(Measure(answering), timeout=60.0))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(measure)
            await anyio.lowlevel.checkpoint()
            for _ in range(50_000):
                busy.tell(Noise())

        assert costs[0] < 10 * alone


class Quiet(Message, frozen=True):
    """Nothing came for a while."""


class Listener(Actor):
    """Notices when nothing comes for two seconds; the timer's key replaces the one before."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def on_start(self) -> None:
        self.context.after(2.0, Quiet(), key="quiet")

    @on(Noise)
    def _noise(self, _message: Noise) -> None:
        self._heard.append("noise")
        self.context.after(2.0, Quiet(), key="quiet")

    @on(Quiet)
    def _quiet(self, _message: Quiet) -> None:
        self._heard.append("quiet")


@both_backends
async def test_an_inactivity_time_out_fires_only_if_nothing_comes_in_time() -> None:
    # S15
    heard: list[str] = []
    async with open_system() as system:
        ref = await system.start("listener", lambda: Listener(heard))
        for _ in range(3):
            await anyio.sleep(1.5)
            ref.tell(Noise())
        await settled()
        assert heard == ["noise"] * 3
        await anyio.sleep(2.5)

    assert heard == ["noise"] * 3 + ["quiet"]


class Step(Message, frozen=True):
    """Go on, so many more times."""

    left: int


class Steady(Actor):
    """Continues after its start and after a handler; an actor without a task of its own."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def on_start(self) -> None:
        self.context.continue_with(Step(2))

    @on(Step)
    def _step(self, message: Step) -> None:
        self._note(f"step {message.left}")
        if message.left == 0:
            return
        self.context.continue_with(Step(message.left - 1))

    @on(Noise)
    def _noise(self, _message: Noise) -> None:
        self._note("noise")
        self.context.continue_with(Step(0))

    @on(Quiet)
    def _quiet(self, _message: Quiet) -> None:
        self.context.stop()
        self.context.continue_with(Step(9))

    def _note(self, text: str) -> None:
        self._heard.append(text)


class Waiting(Steady):
    """The same with a task of its own."""

    @on(Ping)
    async def _ping(self, _question: Ping) -> int:
        return 1


@pytest.mark.parametrize("kind", [Steady, Waiting])
@both_backends
async def test_what_is_continued_with_comes_before_anything_that_waits(kind: type[Steady]) -> None:
    # S16: after the start and after a handler, chained; and a handler may stop instead
    heard: list[str] = []
    async with open_system() as system:
        early = system.ref("steady")
        early.tell(Noise())
        early.tell(Noise())
        await system.start("steady", lambda: kind(heard))
        await settled()
        assert heard == ["step 2", "step 1", "step 0", "noise", "step 0", "noise", "step 0"]

        early.tell(Quiet())
        await settled()
        assert heard[-1] == "step 0"
        assert not early.slot.running


@both_backends
async def test_dynamic_supervisors_live_beside_each_other_and_a_second_of_one_name_is_refused() -> None:
    # D2
    crew = Crew()
    async with open_system() as system:
        handle = await start_tree(system, supervisor("top", dynamic("first", crew.pattern("a"))))
        await handle.start_child(dynamic("second", crew.pattern("b")))
        for name in ("first", "second"):
            await DynamicHandle(running(system, f"top/{name}")).start_child()
        with pytest.raises(AlreadyStarted):
            await handle.start_child(dynamic("second", crew.pattern("c")))

        assert await states(handle) == {"first": "running", "second": "running"}
        assert crew.take() == ["+a", "+b"]
