"""One incarnation from its start to its end: start, stop, kill, and what cannot be killed."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import (
    Ask,
    Boom,
    Fail,
    Keeper,
    Note,
    Scribe,
    SlowScribe,
    Wait,
    dead_letters,
    events_of,
    keeper,
)

from holdfast.runtime import (
    IGNORE,
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorEnded,
    ActorGone,
    ActorStarted,
    ActorStartFailed,
    Cell,
    Crash,
    CrashReported,
    DefinitionError,
    Ignore,
    Info,
    Message,
    NameTaken,
    Outcome,
    ResourceHeld,
    Shutdown,
    StartFailed,
    StartTimeout,
    StrayCancellation,
    TaskWedged,
    on,
)
from holdfast.runtime.testing import both_backends, on_asyncio, settled

# -- the start -----------------------------------------------------------------------------------------


class Starter(Scribe):
    """Starts as its reply says, or fails with it."""

    def __init__(self, reply: object, seconds: float = 0) -> None:
        super().__init__([])
        self.reply = reply
        self.seconds = seconds

    async def on_start(self) -> Ignore | Info | None:  # type: ignore[override]
        if self.seconds:
            await anyio.sleep(self.seconds)
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply  # type: ignore[return-value]


# S1
@both_backends
async def test_start_returns_when_the_hook_has_with_none_info_or_ignore() -> None:
    async with open_system() as system:
        parent = await keeper(system)

        assert await parent.open("a", lambda: Starter(None)).start() is None
        assert await parent.open("b", lambda: Starter(Info(7), 2)).start() == Info(7)
        assert await parent.open("c", lambda: Starter(IGNORE)).start() == IGNORE
        assert parent.ended == [], "there was nothing to run, and that is no end (R3)"
        assert system.ref("keeper/c").slot.cell is None


# S1: never a hang
@pytest.mark.parametrize("garbage", ["text", 0, False, object(), NORMAL])
@both_backends
async def test_a_start_hook_that_returns_garbage_has_failed(garbage: object) -> None:
    async with open_system() as system:
        parent = await keeper(system)
        with pytest.raises(StartFailed, match=r"on_start of keeper/a returns None, IGNORE or Info") as caught:
            await parent.open("a", lambda: Starter(garbage)).start()
        assert isinstance(caught.value.reason, DefinitionError)


@both_backends
async def test_a_start_that_raises_is_told_to_the_starter_alone() -> None:
    class Unbuildable(Actor):
        def __init__(self) -> None:
            raise Boom("in the constructor")

    async with open_system() as system:
        parent = await keeper(system)
        with events_of(system, ActorStartFailed, CrashReported, ActorEnded) as events:
            for factory, said in (
                (Unbuildable, "in the constructor"),
                (lambda: Starter(Boom("in the hook")), "in the hook"),
                (lambda: Starter(ExceptionGroup("of one", [Boom("grouped")])), "grouped"),
            ):
                with pytest.raises(
                    StartFailed, match=f"keeper/a could not be started: Boom: {said}"
                ) as caught:
                    await parent.open("a", factory).start()
                assert isinstance(caught.value.__cause__, Boom)
        assert [type(event) for event in events] == [ActorStartFailed] * 3
        assert parent.ended == []


@both_backends
async def test_a_factory_that_makes_no_actor_has_failed() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        with pytest.raises(StartFailed, match=r"the factory of keeper/a returns an Actor, got str: 'oops'"):
            await parent.open("a", lambda: "oops").start()  # type: ignore[arg-type, return-value]


# S1: init slower than the time-out is killed
@both_backends
async def test_a_start_that_takes_too_long_is_killed() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        start = system.now()

        with pytest.raises(StartFailed, match=r"start_timeout of 2 s") as caught:
            await parent.open("a", lambda: Starter(None, seconds=60)).start(2)

        assert isinstance(caught.value.reason, StartTimeout)
        assert system.now() - start == pytest.approx(2)
        await settled()
        assert system.tasks == 1
        assert parent.ended == []


# trap 10: a hook that shields itself does not hold up whoever waits for the start
@both_backends
async def test_a_start_hook_that_cannot_be_killed_is_wedged_and_holds_nobody_up() -> None:
    class Shielded(Actor):
        async def on_start(self) -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(30)

    async with open_system() as system:
        parent = await keeper(system)
        with events_of(system, TaskWedged) as wedged, pytest.raises(StartFailed, match="start_timeout"):
            await parent.open("a", Shielded).start(2)

        assert len(wedged) == 1
        assert list(system.wedged) == ["keeper/a"]
        await anyio.sleep(30)
        assert list(system.wedged) == []
        assert parent.ended == []


# S3: the name is free before anyone is told
@both_backends
async def test_the_name_is_free_as_soon_as_the_start_has_failed() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        for _ in range(20):
            with pytest.raises(StartFailed):
                await parent.open("a", lambda: Starter(Boom("no"))).start()
            await parent.open("a", lambda: Starter(IGNORE)).start()
        cell = await parent.start("a", lambda: Starter(None))
        assert cell.incarnation == 41


# S2
@every_tier
async def test_a_start_under_a_taken_name_runs_nothing_and_harms_nobody() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("a", lambda: Scribe(log))
        top = await system.start("top", lambda: Scribe(log))

        with pytest.raises(StartFailed, match=r"keeper/a is taken: its incarnation 1") as caught:
            await parent.start("a", lambda: Scribe(log))
        assert isinstance(caught.value.reason, NameTaken)
        with pytest.raises(StartFailed, match=r"top is taken"):
            await system.start("top", lambda: Scribe(log))

        assert log == ["+1", "+1"], "the newcomer's hook does not run"
        assert cell.running
        assert await cell.slot.ref.ask(Ask("still here")) == "still here"
        assert await top.ask(Ask("me too")) == "me too"
    assert log[-1] == "-shutdown", "who was there first is still stopped with the system"


@both_backends
async def test_mail_waits_while_the_start_hook_runs() -> None:
    log: list[str] = []

    class Slow(SlowScribe):
        async def on_start(self) -> None:  # type: ignore[override]
            await anyio.sleep(2)
            self.log.append("ready")

    async with open_system() as system:
        system.ref("slow").tell(Note("early"))
        await system.start("slow", lambda: Slow(log))
        await settled()
        assert log == ["ready", "early"]


# -- the stop ------------------------------------------------------------------------------------------


# R22: a final stop handles what came before it, and nothing after
@both_backends
async def test_a_final_stop_handles_what_came_before_and_refuses_what_comes_later() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: SlowScribe(log))
        ref = cell.slot.ref
        ref.tell(Wait(1))
        ref.tell(Note("before"))
        await settled()
        with dead_letters(system) as dead:
            cell.request_stop(final=True)
            ref.tell(Note("after"))
            with pytest.raises(ActorGone):
                await ref.ask(Ask(), timeout=60)
            with pytest.raises(ActorGone):
                await ref.send(Note("after"))
            assert await cell.wait_ended() == SHUTDOWN

        assert log == ["+1", "busy", "done", "before", "-shutdown"]
        assert dead == [("Note", "gone")]
        assert parent.ended == [], "who asked for the stop is not told of it again"


# SEMANTICS Actors 3: a declared difference from R22
@both_backends
async def test_a_stop_for_a_restart_neither_closes_nor_drains() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: SlowScribe(log))
        ref = cell.slot.ref
        ref.tell(Wait(1))
        ref.tell(Note("queued"))
        await settled()
        cell.request_stop(final=False)
        ref.tell(Note("joins"))
        assert await cell.wait_ended() == SHUTDOWN
        assert log == ["+1", "busy", "done", "-shutdown"], "the handler in progress is the last"
        ref.tell(Note("while down"))

        await parent.start("scribe", lambda: SlowScribe(log))
        await settled()
        assert log[4:] == ["+2", "queued", "joins", "while down"]


# R18, SEMANTICS Actors 7
@both_backends
async def test_a_handler_runs_to_its_allowance_and_is_cancelled_then() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        for seconds, allowance, expected in ((2, 5, SHUTDOWN), (9, 5, KILLED), (9, None, SHUTDOWN)):
            cell = await parent.start("scribe", lambda: SlowScribe(log))
            cell.slot.ref.tell(Wait(seconds))
            await settled()
            start = system.now()
            with dead_letters(system) as dead:
                outcome = await cell.stop(allowance, final=False)
            assert outcome == expected
            assert system.now() - start == pytest.approx(min(seconds, allowance or seconds), abs=1e-3)
            killed = [("Wait", "being handled when the actor ended")]
            assert dead == (killed if expected == KILLED else [])
        assert log == ["+1", "busy", "done", "-shutdown", "+2", "busy", "+3", "busy", "done", "-shutdown"]


# R18: KILL
@every_tier
async def test_an_allowance_of_zero_kills_without_asking() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: Scribe(log))
        cell.slot.ref.tell(Note("queued"))

        assert await cell.stop(0, final=True) == KILLED

        assert log == ["+1"], "no message is handled after a kill, and no hook runs"
        assert await cell.stop(5, final=True) == KILLED, "stopping what has ended answers how it did"


# SEMANTICS Actors 3: what overtakes
@every_tier
async def test_kill_and_a_stop_for_a_restart_overtake_the_mail() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: Scribe(log))
        for n in range(100):
            cell.slot.ref.tell(Note(str(n)))
        await cell.stop(5, final=False)
        assert log == ["+1", "-shutdown"]
        assert cell.slot.mailbox.depth == 100


# R21
@every_tier
async def test_a_child_that_ends_by_itself_while_it_is_stopped_keeps_its_own_outcome() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("scribe", lambda: Scribe([]))
        cell.slot.ref.tell(Fail())
        cell.request_stop(final=True)
        outcome = await cell.wait_ended()
        await settled()

        assert isinstance(outcome, Crash)
        assert parent.ended == []


class Finish(Message, frozen=True):
    """End by yourself."""

    outcome: Outcome


class Finisher(Scribe):
    @on(Finish)
    def finish(self, message: Finish) -> None:
        self.context.stop(message.outcome)


# S18: the hook runs for every end but a kill
@every_tier
async def test_an_own_stop_ends_after_the_handler_with_its_outcome() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        for outcome in (NORMAL, Shutdown("done with it")):
            cell = await parent.start("finisher", lambda: Finisher(log))
            cell.slot.ref.tell(Finish(outcome))
            cell.slot.ref.tell(Note("left"))
            assert await cell.wait_ended() == outcome
        await settled()
        assert log == ["+1", "-normal", "+2", "left", "-shutdown('done with it')"]
        assert [ended.outcome for ended in parent.ended] == [NORMAL, Shutdown("done with it")]
        assert cell.slot.mailbox.depth == 1


# S19
@both_backends
async def test_what_the_stop_hook_raises_is_the_outcome() -> None:
    class Clumsy(SlowScribe):
        async def on_stop(self, outcome: Outcome) -> None:
            raise KeyError("in the stop hook")

    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("clumsy", lambda: Clumsy([]))
        outcome = await cell.stop(5, final=True)
        assert isinstance(outcome, Crash)
        assert isinstance(outcome.exception, KeyError)

        cell = await parent.start("clumsy", lambda: Clumsy([]))
        with events_of(system, CrashReported) as reports:
            cell.slot.ref.tell(Fail())
            outcome = await cell.wait_ended()
        assert isinstance(outcome, Crash)
        assert isinstance(outcome.exception, KeyError)
        told = [report.exception for report in reports if isinstance(report, CrashReported)]
        assert told == ["Boom: told to", "KeyError: 'in the stop hook'"], "the root cause is not masked"


# -- what cannot be killed -----------------------------------------------------------------------------


class Stubborn(Scribe):
    """Shields itself in a handler, in its stop hook or in a child task."""

    @on(Wait)
    async def wait(self, message: Wait) -> None:
        await self._shielded(message.seconds)

    @on(Note)
    def beside(self, message: Note) -> None:
        self.context.spawn(self._shielded, float(message.text))

    async def _shielded(self, seconds: float) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(seconds)


# SEMANTICS Supervision 8, trap 10
@both_backends
async def test_a_task_that_shields_itself_is_wedged_reported_and_pins_nobody() -> None:
    async with open_system(kill_grace=1) as system:
        parent = await keeper(system)
        cell = parent.open("stubborn", lambda: Stubborn([]), exclusive=("port 80",))
        await cell.start()
        failures: list[BaseException] = []

        async def ask() -> None:
            try:
                await cell.slot.ref.ask(Ask(), timeout=90)
            except ActorGone as error:
                failures.append(error)

        cell.slot.ref.tell(Wait(60))
        await settled()
        start = system.now()
        with events_of(system, TaskWedged) as wedged, dead_letters(system) as dead:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await settled()
                assert await cell.stop(2, final=True) is None
                assert system.now() - start == pytest.approx(3, abs=1e-3)

        assert cell.wedged
        assert len(failures) == 1
        assert ("Wait", "being handled when the actor ended") in dead
        [event] = wedged
        assert isinstance(event, TaskWedged)
        assert (event.path, event.resources) == ("keeper/stubborn", ("port 80",))
        assert "_shielded" in event.stack, "where it stands, innermost frame last"
        assert await cell.stop(30, final=True) is None
        assert system.now() - start == pytest.approx(3, abs=1e-3), "it is not waited for again"

        with pytest.raises(StartFailed, match="wedged task of keeper/stubborn still holds it") as caught:
            await parent.open("stubborn", lambda: Stubborn([]), exclusive=("port 80",)).start()
        assert isinstance(caught.value.reason, ResourceHeld)
        successor = await parent.start("stubborn", lambda: SlowScribe([]))
        assert await successor.slot.ref.ask(Ask("served")) == "served"
        cell.request_stop(final=True)
        assert await successor.slot.ref.ask(Ask("still")) == "still", "the old one has no say in the slot"

        await anyio.sleep(60)
        assert system.wedged == ()
        await parent.open("other", lambda: Stubborn([]), exclusive=("port 80",)).start()


@both_backends
async def test_a_wedged_handler_handles_nothing_more_when_it_goes_on() -> None:
    log: list[str] = []

    class Waker(Stubborn):
        @on(Ask)
        def answer(self, message: Ask) -> str:
            self.log.append(f"by {self.context.incarnation}")
            return ""

    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("waker", lambda: Waker(log))
        cell.slot.ref.tell(Wait(30))
        await settled()
        assert await cell.stop(1, final=False) is None
        await parent.start("waker", lambda: Waker(log))
        await anyio.sleep(40)
        await cell.slot.ref.ask(Ask())

        assert log == ["+1", "+2", "by 2"]


@both_backends
async def test_the_question_that_a_wedged_task_handles_fails_at_once() -> None:
    class Stuck(Actor):
        @on(Ask)
        async def answer(self, message: Ask) -> str:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(50)
            return "too late"

    async with open_system() as system:
        ref = await system.start("stuck", Stuck)
        failed: list[float] = []

        async def ask() -> None:
            try:
                await ref.ask(Ask(), timeout=200)
            except Exception:
                failed.append(system.now() - start)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await settled()
            start = system.now()
            assert ref.slot.cell is not None
            assert await ref.slot.cell.stop(0, final=True) is None
        assert failed == [pytest.approx(1, abs=1e-3)]
        await anyio.sleep(60)
        assert system.statistics().late_replies == 1


# trap 11: child tasks end with their actor
@both_backends
async def test_a_child_task_that_shields_itself_holds_up_no_stop_not_even_one_without_limit() -> None:
    for allowance in (None, 3.0, 0.0):
        async with open_system() as system:
            parent = await keeper(system)
            cell = await parent.start("stubborn", lambda: Stubborn([]))
            cell.slot.ref.tell(Note("20"))
            await settled()
            start = system.now()
            with events_of(system, TaskWedged) as wedged:
                assert await cell.stop(allowance, final=False) is None
            assert system.now() - start == pytest.approx(1, abs=1e-3)
            assert isinstance(wedged[0], TaskWedged)
            assert "_shielded" in wedged[0].stack
            assert "cannot be ended; it goes on at File" in str(wedged[0])
            await anyio.sleep(30)
            assert system.tasks == 1


# SEMANTICS Supervision 8: a wedged grandchild does not make its parent so
@both_backends
async def test_only_the_task_that_is_wedged_is_reported_as_such() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        inner: list[Keeper] = []

        def factory() -> Keeper:
            inner.append(Keeper())
            return inner[-1]

        middle = await parent.start("middle", factory)
        leaves = [await inner[0].start(f"leaf{n}", lambda: Stubborn([])) for n in range(3)]
        for leaf in leaves:
            leaf.slot.ref.tell(Wait(30))
        await settled()
        start = system.now()

        assert await middle.stop(0, final=False) == KILLED

        assert system.now() - start == pytest.approx(1, abs=1e-3), "one grace for all of them"
        assert set(system.wedged) == {"keeper/middle/leaf0", "keeper/middle/leaf1", "keeper/middle/leaf2"}
        await anyio.sleep(30)


# R23
@every_tier
async def test_a_parent_that_ends_for_any_reason_leaves_no_running_child() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        for end in ("kill", "crash"):
            made: list[Keeper] = []

            class Crashing(Keeper):
                @on(Fail)
                def fail(self, message: Fail) -> None:
                    raise Boom("the parent")

            def factory(made: list[Keeper] = made, kind: type[Keeper] = Crashing) -> Keeper:
                made.append(kind())
                return made[-1]

            middle = await parent.start("middle", factory)
            leaf = await made[0].start("leaf", lambda: Scribe([]))
            if end == "kill":
                await middle.stop(0, final=False)
            else:
                middle.slot.ref.tell(Fail())
                await middle.wait_ended()
            assert leaf.outcome == KILLED
            assert system.tasks == 1
            assert leaf.slot.state == "down", "its mail waits for the parent's restart"


# -- child tasks ---------------------------------------------------------------------------------------


class Brood(Scribe):
    """Runs what it is told as a child task."""

    @on(Note)
    def begin(self, message: Note) -> None:
        self.context.spawn(getattr(self, f"_{message.text}"))

    async def _fails(self) -> None:
        await anyio.sleep(1)
        raise ExceptionGroup("of one", [Boom("child task")])

    async def _cleans_up_badly(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("in its clean-up")

    async def _goes_on(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.log.append("cleaned up")

    async def _spawns_at_the_end(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.context.spawn(self._goes_on)


@every_tier
async def test_an_exception_in_a_child_task_is_the_actors_crash() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("brood", lambda: Brood(log))
        cell.slot.ref.tell(Note("goes_on"))
        cell.slot.ref.tell(Note("fails"))
        outcome = await cell.wait_ended()

        assert isinstance(outcome, Crash)
        assert isinstance(outcome.exception, Boom), "a group of one is unwrapped (trap 9)"
        assert isinstance(outcome.raised, ExceptionGroup), "and kept whole for the report"
        assert log == ["+1", "-crash(Boom: child task)", "cleaned up"] or log == [
            "+1", "cleaned up", "-crash(Boom: child task)",
        ]  # fmt: skip
        assert system.tasks == 1


@every_tier
async def test_a_child_task_whose_clean_up_fails_is_not_silent() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("brood", lambda: Brood([]))
        cell.slot.ref.tell(Note("cleans_up_badly"))
        await settled()
        outcome = await cell.stop(5, final=True)
        assert isinstance(outcome, Crash)
        assert isinstance(outcome.exception, KeyError)

        cell = await parent.start("brood", lambda: Brood([]))
        cell.slot.ref.tell(Note("cleans_up_badly"))
        await settled()
        with events_of(system, CrashReported) as reports:
            cell.slot.ref.tell(Fail())
            assert "told to" in str(await cell.wait_ended())
        told = [report.exception for report in reports if isinstance(report, CrashReported)]
        assert told == ["Boom: told to", "KeyError: 'in its clean-up'"]


# trap 11
@every_tier
async def test_no_child_task_outlives_its_actor_not_even_one_spawned_by_a_clean_up() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("brood", lambda: Brood(log))
        cell.slot.ref.tell(Note("spawns_at_the_end"))
        await settled()
        assert await cell.stop(5, final=True) == SHUTDOWN
        assert system.tasks == 1


@both_backends
async def test_a_cancelled_child_task_frees_its_key_at_once_and_harms_nobody() -> None:
    class Keyed(Brood):
        @on(Ask)
        def again(self, message: Ask) -> str:
            self.context.cancel_task("k")
            self.context.spawn(self._goes_on, key="k")
            return ""

        @on(Wait)
        async def twice(self, message: Wait) -> None:
            self.context.spawn(self._goes_on, key="k")

    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("keyed", lambda: Keyed(log))
        await cell.slot.ref.ask(Ask())
        await settled()
        await cell.slot.ref.ask(Ask())
        await settled()
        assert log == ["+1", "cleaned up"]
        cell.slot.ref.tell(Wait(0))
        assert "already runs a task 'k'" in str(await cell.wait_ended())


# SEMANTICS Actors 2: what a child task delivers is for its own incarnation
@every_tier
async def test_a_result_delivered_to_a_dead_incarnation_is_dropped_and_counted() -> None:
    actors: list[Scribe] = []
    log: list[str] = []

    def factory() -> Scribe:
        actors.append(Scribe(log))
        return actors[-1]

    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("scribe", factory)
        actors[0].context.deliver(Note("mine"))
        await settled()
        await cell.stop(1, final=False)
        await parent.start("scribe", factory)
        actors[0].context.deliver(Note("stale"))
        await settled()

        assert log == ["+1", "mine", "-shutdown", "+2"]
        assert system.statistics().stale_notices == 1


# -- control -------------------------------------------------------------------------------------------


# S22
@every_tier
async def test_suspend_holds_the_mail_back_and_resume_lets_it_go_each_twice_is_once() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("scribe", lambda: Scribe(log))
        cell = ref.slot.cell
        assert cell is not None
        cell.resume()
        cell.suspend()
        cell.suspend()
        ref.tell(Note("waits"))
        with pytest.raises(Exception, match="did not answer"):
            await ref.ask(Ask(), timeout=1)
        assert cell.suspended
        assert log == ["+1"]
        cell.resume()
        cell.resume()
        await settled()
        assert log == ["+1", "waits"]


@every_tier
async def test_a_suspended_actor_is_stopped_like_any_other() -> None:
    for final in (True, False):
        log: list[str] = []
        async with open_system() as system:
            parent = await keeper(system)
            cell = await parent.start("scribe", lambda log=log: Scribe(log))  # type: ignore[misc]
            cell.suspend()
            cell.slot.ref.tell(Note("waits"))
            await settled()
            assert await cell.stop(5, final=final) == SHUTDOWN
            assert log == (["+1", "waits", "-shutdown"] if final else ["+1", "-shutdown"])


class Drainer(Scribe):
    async def on_drain(self) -> None:
        await anyio.sleep(2)
        self.log.append("drained")


class SlowDrainer(Drainer, SlowScribe):
    """The same, able to be busy."""


# SEMANTICS Supervision 7
@both_backends
async def test_a_drain_finishes_the_handler_writes_out_and_holds_the_mail() -> None:
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("drainer", lambda: SlowDrainer(log))
        cell.slot.ref.tell(Wait(1))
        cell.slot.ref.tell(Note("queued"))
        await settled()
        start = system.now()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cell.drain)
            tasks.start_soon(cell.drain)
        assert system.now() - start == pytest.approx(3)
        await cell.drain()
        assert log == ["+1", "busy", "done", "drained"]
        await cell.stop(5, final=False)
        await parent.start("drainer", lambda: SlowDrainer(log))
        await settled()
        assert log[4:] == ["-shutdown", "+2", "queued"]


@both_backends
async def test_a_drain_ends_when_the_actor_does_or_is_let_go() -> None:
    class Broken(Drainer):
        async def on_drain(self) -> None:
            raise Boom("in the drain")

    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("broken", lambda: Broken([]))
        await cell.drain()
        assert isinstance(await cell.wait_ended(), Crash)

        cell = await parent.start("busy", lambda: Drainer([]))
        cell.slot.ref.tell(Wait(5))
        await settled()
        start = system.now()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cell.drain)
            await settled()
            cell.resume()
        assert system.now() - start < 1, "called off before it began"


# -- stray cancellations (traps 7 and 8) -----------------------------------------------------------------


class Strayed(Scribe):
    """Raises a cancellation that nobody has requested."""

    @on(Wait)
    async def wait(self, message: Wait) -> None:
        raise await stray()

    @on(Note)
    def beside(self, message: Note) -> None:
        self.context.spawn(self._stray)

    async def _stray(self) -> None:
        raise await stray()


async def stray() -> BaseException:
    """Return a cancellation that was requested somewhere else."""
    caught: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except BaseException as error:
            caught.append(error)
            raise
    return caught[0]


# traps 7, 8; Outcomes
@both_backends
async def test_a_cancellation_that_nobody_requested_is_a_crash_and_no_sibling_is_touched() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        sibling = await parent.start("sibling", lambda: SlowScribe([]))
        for message in (Wait(0), Note("beside")):
            cell = await parent.start("strayed", lambda: Strayed([]))
            cell.slot.ref.tell(message)
            outcome = await cell.wait_ended()
            assert isinstance(outcome, Crash)
            assert isinstance(outcome.exception, StrayCancellation)
        assert await sibling.slot.ref.ask(Ask("unharmed")) == "unharmed"


# trap 7: three bodies that are cancelled
@both_backends
async def test_what_was_requested_decides_and_never_the_type_of_the_exception() -> None:
    class Polite(SlowScribe):
        @on(Wait)
        async def wait(self, message: Wait) -> None:
            await anyio.sleep(message.seconds)

    class Rude(SlowScribe):
        @on(Wait)
        async def wait(self, message: Wait) -> None:
            try:
                await anyio.sleep(message.seconds)
            finally:
                raise KeyError("in a finally")

    class Deaf(SlowScribe):
        @on(Wait)
        async def wait(self, message: Wait) -> None:
            try:
                await anyio.sleep(message.seconds)
            except BaseException:
                return

    async with open_system() as system:
        parent = await keeper(system)
        for kind in (Polite, Rude, Deaf):
            log: list[str] = []
            with events_of(system, CrashReported) as reports:
                cell: Cell = await parent.start("body", lambda kind=kind, log=log: kind(log))  # type: ignore[misc]
                cell.slot.ref.tell(Wait(60))
                cell.slot.ref.tell(Note("never"))
                await settled()
                assert await cell.stop(1, final=True) == KILLED
            assert log == [f"+{cell.incarnation}"], "after a kill nothing is handled"
            assert len(reports) == (kind is Rude)


@every_tier
async def test_the_events_of_a_life_are_published_in_order() -> None:
    async with open_system() as system:
        parent = await keeper(system)
        with events_of(system, ActorStarted, CrashReported, ActorEnded, ActorStartFailed) as events:
            cell = await parent.start("scribe", lambda: Scribe([]))
            cell.slot.ref.tell(Fail())
            await cell.wait_ended()
        assert [type(event) for event in events] == [ActorStarted, CrashReported, ActorEnded]
        assert isinstance(events[1], CrashReported)
        assert events[1].message_type == "Fail"
        assert "Boom: told to" in events[1].traceback
        assert cell.slot.recorder is not None
        assert [type(event) for event in cell.slot.recorder] == [type(event) for event in events]


# SEMANTICS Supervision 9: the flight recorder is bounded, and so is what a report tells of it
@every_tier
async def test_reports_do_not_grow_with_the_crashes_before_them() -> None:
    sizes: list[int] = []
    async with open_system() as system:
        parent = await keeper(system)
        with events_of(system, CrashReported) as reports:
            for _ in range(50):
                cell = await parent.start("scribe", lambda: Scribe([]))
                cell.slot.ref.tell(Fail())
                await cell.wait_ended()
        slot = system.ref("keeper/scribe").slot
        for report in reports:
            assert isinstance(report, CrashReported)
            sizes.append(len(str(report)))
            assert len(report.recent) <= 8
        assert max(sizes) < 10_000
        assert len(slot.recorder or ()) == 32


# trap 8: asyncio lets anyone cancel a task, at any moment
@on_asyncio
async def test_a_task_cancelled_by_a_stranger_is_a_crash_of_that_actor_alone() -> None:
    class Slow(Scribe):
        async def on_stop(self, outcome: Outcome) -> None:
            await anyio.sleep(1)
            super().on_stop(outcome)

        @on(Note)
        def note(self, message: Note) -> None:
            self.context.spawn(self._cleans_up_slowly)

        async def _cleans_up_slowly(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1.5)

    def strike() -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "keeper/victim":
                task.cancel()

    async with open_system() as system:
        parent = await keeper(system)
        sibling = await parent.start("sibling", lambda: Scribe([]))
        for moment in ("idle", "handler", "stop hook", "taking down"):
            cell = await parent.start("victim", lambda: Slow([]))
            if moment == "handler":
                cell.slot.ref.tell(Wait(5))
            elif moment == "taking down":
                cell.slot.ref.tell(Note("begin"))
            await settled()
            if moment in {"stop hook", "taking down"}:
                cell.request_stop(final=False)
                await anyio.sleep(1.2 if moment == "taking down" else 0.5)
            strike()
            outcome = await cell.wait_ended()
            if moment == "taking down":
                assert outcome == SHUTDOWN, "its own code had ended before"
            else:
                assert isinstance(outcome, Crash), moment
                assert isinstance(outcome.exception, StrayCancellation), moment
        assert await sibling.slot.ref.ask(Ask("unharmed")) == "unharmed"
        assert system.tasks == 1
