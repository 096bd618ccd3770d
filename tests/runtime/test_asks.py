"""Questions: each ends exactly once, in time, and never in a place where nobody is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import (
    Ask,
    Boom,
    Forward,
    Keeper,
    Note,
    Relay,
    Scribe,
    SlowScribe,
    Wait,
    WaitLong,
    keeper,
)

from holdfast.runtime import (
    KILLED,
    Actor,
    ActorCrashed,
    ActorGone,
    Answer,
    AskCycle,
    AskTimeout,
    DefinitionError,
    MailboxFull,
    MailboxSpec,
    NoHandler,
    NotRunning,
    Outcome,
    Ref,
    ReplyToken,
    Request,
    System,
    on,
)
from holdfast.runtime.testing import both_backends, settled


class Crash(Request[str], frozen=True):
    """Crash over this question."""


class Unheard(Request[str], frozen=True):
    """Nobody handles this."""


class Servant(Scribe):
    @on(Crash)
    async def crash(self, message: Crash) -> str:
        raise Boom("over the question")


class SlowServant(Servant, SlowScribe):
    """The same, able to be busy."""


class Later(Actor):
    """Claims its questions and answers when told to."""

    def __init__(self, tokens: list[ReplyToken]) -> None:
        self.tokens = tokens

    @on(Ask)
    def claim(self, message: Ask) -> str:
        self.tokens.append(self.context.reply_later())
        return "ignored"

    @on(Note)
    def reply(self, message: Note) -> None:
        self.tokens.pop(0).reply(message.text)


async def refusal(call: Callable[[], Awaitable[object]]) -> BaseException:
    """Return what the call raises."""
    try:
        await call()
    except Exception as error:
        return error
    raise AssertionError("it was answered")


# SEMANTICS Actors 1
@both_backends
async def test_what_a_handler_returns_is_the_answer_be_it_def_or_async_def() -> None:
    async with open_system() as system:
        ref = await system.start("scribe", lambda: SlowScribe([]))

        assert await ref.ask(Ask("at once")) == "at once"
        assert await ref.ask(WaitLong(2)) == "late"


# SEMANTICS Actors 6
@both_backends
async def test_an_ask_ends_after_5_s_by_default_and_its_late_reply_is_counted() -> None:
    async with open_system() as system:
        ref = await system.start("scribe", lambda: SlowScribe([]))
        start = system.now()

        with pytest.raises(AskTimeout, match=r"scribe did not answer WaitLong within 5 s"):
            await ref.ask(WaitLong(8))

        assert system.now() - start == pytest.approx(5)
        await anyio.sleep(4)
        assert system.statistics().late_replies == 1  # S7
        assert system.statistics().deadlines == 0


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("-inf")])
@every_tier
async def test_a_time_out_that_has_run_out_already_asks_nothing(timeout: float) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("scribe", lambda: Scribe(log))

        with pytest.raises(AskTimeout):
            await ref.ask(Ask(), timeout=timeout)

        await settled()
        assert log == ["+1"]


@both_backends
async def test_a_question_out_of_time_while_it_waits_is_not_handled() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("scribe", lambda: SlowScribe(log))
        ref.tell(Wait(3))

        with pytest.raises(AskTimeout):
            await ref.ask(Ask(), timeout=1)

        await anyio.sleep(5)
        assert log == ["+1", "busy", "done"]


# SEMANTICS Actors 6: a cancelled caller withdraws its request (trap 13)
@both_backends
async def test_a_cancelled_asker_withdraws_its_question() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("scribe", lambda: SlowScribe(log))
        ref.tell(Wait(3))

        with anyio.move_on_after(1):
            await ref.ask(Ask(), timeout=30)

        assert system.statistics().deadlines == 0
        await anyio.sleep(5)
        assert log == ["+1", "busy", "done"]


# SEMANTICS Actors 6: deadlines travel along a chain of asks
@both_backends
async def test_a_deadline_travels_along_a_chain_of_asks() -> None:
    errors: list[BaseException] = []

    class Middle(Actor):
        @on(Ask)
        async def ask_on(self, message: Ask) -> str:
            start = self.context.now()
            errors.append(
                await refusal(lambda: self.context.system.ref("slow").ask(WaitLong(50), timeout=40))
            )
            waited.append(self.context.now() - start)
            return "too late"

    waited: list[float] = []
    async with open_system() as system:
        await system.start("slow", lambda: SlowScribe([]))
        middle = await system.start("middle", Middle)

        with pytest.raises(AskTimeout, match=r"middle did not answer Ask within 2 s"):
            await middle.ask(Ask(), timeout=2)
        await settled()

        assert waited == [pytest.approx(2)]
        assert isinstance(errors[0], AskTimeout)


# SEMANTICS Actors 6: ... as the correlation id does
@both_backends
async def test_a_correlation_id_travels_along_a_chain_and_differs_between_chains() -> None:
    seen: list[tuple[str, str | None]] = []

    class Link(Relay):
        @on(Forward)
        async def forward(self, message: Forward) -> str:
            seen.append((self.context.path, self.context.correlation))
            return await super().forward(message)

    async with open_system() as system:
        for name in ("a", "b", "c"):
            await system.start(name, Link)
        await system.ref("a").ask(Forward(("b", "c")))
        await system.ref("c").ask(Forward(()))

    first, second, third, other = (correlation for _, correlation in seen)
    assert first == second == third
    assert first is not None
    assert other not in {first, None}


@every_tier
async def test_a_question_that_nobody_handles_fails_at_once_and_the_actor_goes_on() -> None:
    async with open_system() as system:
        ref = await system.start("scribe", lambda: Scribe([]))

        with pytest.raises(NoHandler, match=r"scribe has no handler for Unheard: declare one"):
            await ref.ask(Unheard())

        assert await ref.ask(Ask("still there")) == "still there"


# SEMANTICS Actors 5, trap 13
@both_backends
async def test_the_question_being_handled_fails_at_once_when_its_handler_crashes() -> None:
    class SlowToStop(Servant):
        async def on_stop(self, outcome: Outcome) -> None:
            await anyio.sleep(3)

    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("servant", lambda: SlowToStop([]))
        start = system.now()

        with pytest.raises(ActorCrashed, match=r"servant ended while it handled the question: crash\(Boom"):
            await cell.slot.ref.ask(Crash())

        assert system.now() == start, "the stop hook is not waited for"


# SEMANTICS Actors 5, S8: a declared difference
@both_backends
async def test_questions_that_are_queued_wait_for_the_successor_within_their_own_deadline() -> None:
    answers: list[object] = []
    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("servant", lambda: Servant([]))
        ref = cell.slot.ref

        async def ask(request: Request[str], timeout: float) -> None:
            try:
                answers.append(await ref.ask(request, timeout=timeout))
            except (AskTimeout, ActorCrashed) as error:
                answers.append(type(error).__name__)

        async with anyio.create_task_group() as tasks:
            for request, timeout in ((Crash(), 5.0), (Ask("patient"), 5.0), (Ask("hurried"), 1.0)):
                tasks.start_soon(ask, request, timeout)
                await settled()
            await anyio.sleep(2)
            await parent.start("servant", lambda: Servant([]))

    assert answers == ["ActorCrashed", "AskTimeout", "patient"]


# SEMANTICS Actors 5
@both_backends
async def test_every_question_fails_at_once_when_the_actor_is_not_coming_back() -> None:
    failures: list[BaseException] = []
    async with open_system() as system:
        ref = await system.start("servant", lambda: SlowServant([]))

        async def ask(request: Request[str]) -> None:
            failures.append(await refusal(lambda: ref.ask(request, timeout=60)))

        start = system.now()
        async with anyio.create_task_group() as tasks:
            ref.tell(Wait(1))
            await settled()
            tasks.start_soon(ask, Crash())
            await settled()
            tasks.start_soon(ask, Ask())
        assert system.now() - start == pytest.approx(1)

        with pytest.raises(ActorGone, match=r"servant is gone \(it ended: crash\(Boom"):  # S8
            await ref.ask(Ask(), timeout=60)
        assert system.now() - start == pytest.approx(1)
        assert {type(failure) for failure in failures} == {ActorCrashed, ActorGone}


@every_tier
async def test_an_ask_to_a_path_where_nobody_was_started_yet_waits_for_its_start() -> None:
    async with open_system() as system:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await system.ref("scribe").ask(Ask("early")))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(3)
            await system.start("scribe", lambda: Scribe([]))

        assert answers == ["early"]


# SEMANTICS Actors 6: except from a start or stop hook
@both_backends
async def test_a_hook_that_asks_what_is_not_running_is_refused_at_once() -> None:
    refused: list[BaseException] = []

    class Hasty(Actor):
        async def on_start(self) -> None:
            refused.append(await refusal(lambda: self.context.system.ref("absent").ask(Ask())))

        async def on_stop(self, outcome: Outcome) -> None:
            refused.append(await refusal(lambda: self.context.system.ref("absent").ask(Ask())))

    async with open_system() as system:
        start = system.now()
        await system.start("hasty", Hasty)
    assert [type(error) for error in refused] == [NotRunning, NotRunning]
    assert "ask from a handler instead" in str(refused[0])
    assert system.now() == start


@both_backends
async def test_a_hook_may_ask_what_runs() -> None:
    answers: list[str] = []

    class Polite(Actor):
        async def on_start(self) -> None:
            answers.append(await self.context.system.ref("scribe").ask(Ask("on start")))

        async def on_stop(self, outcome: Outcome) -> None:
            answers.append(await self.context.system.ref("scribe").ask(Ask("on stop")))

    async with open_system() as system:
        await system.start("scribe", lambda: SlowScribe([]))
        await system.start("polite", Polite)
    assert answers == ["on start", "on stop"]


# SEMANTICS Actors 1, S6
@every_tier
async def test_a_reply_token_answers_from_a_later_handler() -> None:
    tokens: list[ReplyToken] = []
    answers: list[str] = []
    async with open_system() as system:
        ref = await system.start("later", lambda: Later(tokens))

        async def ask() -> None:
            answers.append(await ref.ask(Ask()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await settled()
            assert not tokens[0].expired
            ref.tell(Note("finally"))

    assert answers == ["finally"]


@every_tier
async def test_a_token_used_twice_or_too_late_reaches_nobody_and_is_counted() -> None:
    tokens: list[ReplyToken] = []
    async with open_system() as system:
        ref = await system.start("later", lambda: Later(tokens))

        with pytest.raises(AskTimeout):
            await ref.ask(Ask(), timeout=1)

        assert tokens[0].expired
        tokens[0].reply("too late")
        tokens[0].fail(Boom("too late"))
        assert system.statistics().late_replies == 2


@every_tier
async def test_a_claimed_question_fails_at_once_when_the_incarnation_ends() -> None:
    tokens: list[ReplyToken] = []
    async with open_system() as system:
        ref = await system.start("later", lambda: Later(tokens))
        failures: list[BaseException] = []

        async def ask() -> None:
            failures.append(await refusal(lambda: ref.ask(Ask(), timeout=60)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await settled()
            cell = ref.slot.cell
            assert cell is not None
            await cell.stop(5, final=True)
            await settled()
            assert len(failures) == 2

        assert [str(failure) for failure in failures] == [
            "later ended while it handled the question: shutdown"
        ] * 2
        assert failures[0] is not failures[1], "an exception raised in two tasks would mix their tracebacks"


@every_tier
async def test_a_token_is_given_once_for_a_question() -> None:
    class Greedy(Actor):
        @on(Ask)
        def claim_twice(self, message: Ask) -> str:
            self.context.reply_later()
            self.context.reply_later()
            return ""

    async with open_system() as system:
        parent = await keeper(system)
        cell = await parent.start("greedy", Greedy)
        with pytest.raises(ActorCrashed, match=f"{DefinitionError.__name__}.*claimed already"):
            await cell.slot.ref.ask(Ask())
        await cell.wait_ended()


# S11: what a handler passes to the token is raised at the asker
@every_tier
async def test_a_failed_token_raises_its_error_at_the_asker() -> None:
    class Refuser(Actor):
        @on(Ask)
        def refuse(self, message: Ask) -> str:
            self.context.reply_later().fail(Boom("not today"))
            return ""

    async with open_system() as system:
        ref = await system.start("refuser", Refuser)
        with pytest.raises(Boom, match="not today"):
            await ref.ask(Ask())


class Curious(Actor):
    """Asks without waiting; keeps the answers."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers

    @on(Note)
    def ask(self, message: Note) -> None:
        self.context.ask_later(self.context.system.ref(message.text), Ask(), key=message.text, timeout=2)

    @on(Answer)
    def answer(self, message: Answer) -> None:
        self.answers.append(message)


# SEMANTICS Actors 1, S10
@every_tier
async def test_ask_later_brings_the_answer_or_the_error_as_a_message_with_its_key() -> None:
    answers: list[Answer] = []
    async with open_system() as system:
        curious = await system.start("curious", lambda: Curious(answers))
        await system.start("scribe", lambda: Scribe([]))
        gone = await system.start("gone", lambda: Scribe([]))
        assert gone.slot.cell is not None
        await gone.slot.cell.stop(1, final=True)
        for name in ("scribe", "gone", "never"):
            curious.tell(Note(name))

        await anyio.sleep(3)

    assert [(answer.key, answer.value, type(answer.error)) for answer in answers] == [
        ("gone", None, ActorGone),
        ("scribe", "asked", type(None)),
        ("never", None, AskTimeout),
    ]


@both_backends
async def test_ask_later_to_a_full_mailbox_answers_that_it_is_full() -> None:
    class Tiny(SlowScribe):
        mailbox = MailboxSpec(capacity=1)

    answers: list[Answer] = []
    async with open_system() as system:
        curious = await system.start("curious", lambda: Curious(answers))
        tiny = await system.start("tiny", lambda: Tiny([]))
        tiny.tell(Wait(5))
        await settled()
        tiny.tell(Note("x"))

        curious.tell(Note("tiny"))
        await settled()

        assert isinstance(answers[0].error, MailboxFull)


@both_backends
async def test_what_an_ended_incarnation_asked_later_is_withdrawn() -> None:
    answers: list[Answer] = []
    log: list[str] = []
    async with open_system() as system:
        parent = await keeper(system)
        scribe = await system.start("scribe", lambda: SlowScribe(log))
        scribe.tell(Wait(1))
        cell = await parent.start("curious", lambda: Curious(answers))
        cell.slot.ref.tell(Note("scribe"))
        await settled()

        await cell.stop(1, final=False)
        await parent.start("curious", lambda: Curious(answers))

        assert system.statistics().deadlines == 0
        await anyio.sleep(5)
        assert answers == []
        assert log == ["+1", "busy", "done"], "nobody wants it handled"


# Outcomes, trap 13: callee killed
@both_backends
async def test_a_killed_actor_fails_the_question_that_it_handles() -> None:
    async with open_system() as system:
        ref = await system.start("scribe", lambda: SlowScribe([]))
        failures: list[BaseException] = []

        async def ask() -> None:
            failures.append(await refusal(lambda: ref.ask(WaitLong(60), timeout=90)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await settled()
            assert ref.slot.cell is not None
            await ref.slot.cell.stop(0, final=True)
            await settled()

        assert isinstance(failures[0], ActorCrashed)
        assert failures[0].outcome == KILLED


async def chain_of(system: System, *names: str) -> list[Ref]:
    """Start a relay under each name."""
    return [await system.start(name, Relay) for name in names]


# SEMANTICS Actors 6, S9, trap 12: the graph itself is in test_cycles.py
@both_backends
async def test_asking_oneself_is_refused_at_once() -> None:
    async with open_system() as system:
        [a] = await chain_of(system, "a")
        parent: Keeper = await keeper(system)
        assert parent.context.path == "keeper"

        with pytest.raises(ActorCrashed) as caught:
            await a.ask(Forward(("a",)))

        assert isinstance(caught.value.outcome.exception, AskCycle)  # type: ignore[union-attr]
        assert "a -> a" in str(caught.value)
