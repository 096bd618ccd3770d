"""Finer points of observing an actor: what is never told, what fails nobody, what outlives what."""

from __future__ import annotations

import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Ask, Fail, Forward, Note, Relay, Scribe, events_of, keeper

from holdfast.runtime import (
    REDACTED,
    Actor,
    CrashReported,
    DefinitionError,
    Message,
    Observed,
    ObserverRemoved,
    ReplyToken,
    Request,
    on,
)
from holdfast.runtime.testing import both_backends, settled

CANARY = "cn4ry-Zq81xT"


class Login(Request[str], frozen=True):
    user: str
    password: str


class Gate(Actor):
    @on(Login)
    def login(self, message: Login) -> str:
        return f"token={message.password}"


@every_tier
async def test_a_trace_tells_no_contents_unless_asked_and_then_redacted() -> None:
    traced: list[Observed] = []
    whole: list[Observed] = []
    async with open_system() as system:
        gate = await system.start("gate", Gate)
        inspection = system.inspect(gate)
        inspection.trace(traced.append)
        inspection.trace(whole.append, contents=True)

        await gate.ask(Login("ada", CANARY))
        await settled()

        assert "ada" not in repr((traced, inspection.log()))
        assert [entry.contents for entry in whole] == [
            {"user": "ada", "password": REDACTED},
            f"token={REDACTED}",
            None,
        ]
        assert CANARY not in repr((whole, [str(entry) for entry in whole]))


@every_tier
async def test_an_observer_that_raises_is_removed_with_an_event_and_the_actor_goes_on() -> None:
    def broken(_entry: Observed) -> None:
        raise ValueError("no more")

    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe([]))
        system.inspect(scribe).install("broken", broken)

        with events_of(system, ObserverRemoved) as removed:
            assert await scribe.ask(Ask()) == "asked"
            await settled()

        assert [
            (event.path, event.observer, event.reason)
            for event in removed
            if isinstance(event, ObserverRemoved)
        ] == [("scribe", "broken", "ValueError: no more")]
        assert scribe.slot.tap is None, "and nothing is paid any more"


@every_tier
async def test_a_subtree_is_traced_with_the_actors_that_come_later_and_after_restarts() -> None:
    traced: list[Observed] = []
    async with open_system() as system:
        parent = await keeper(system)
        await parent.start("a", lambda: Scribe([]))
        trace = system.inspect("keeper").trace(traced.append, subtree=True)
        await parent.start("b", lambda: Scribe([]))
        await system.start("keeperish", lambda: Scribe([]))

        system.ref("keeper/a").tell(Fail())
        await settled()
        await parent.start("a", lambda: Scribe([]))
        for path in ("keeper/a", "keeper/b", "keeperish"):
            system.ref(path).tell(Note("seen"))
            await settled()
        trace.stop()
        trace.stop()
        system.ref("keeper/a").tell(Note("unseen"))
        await parent.start("c", lambda: Scribe([]))
        await settled()

        assert [(entry.path, entry.incarnation, entry.what, entry.message_type) for entry in traced] == [
            ("keeper/a", 1, "in", "Fail"),
            ("keeper/a", 1, "crash", "Fail"),
            ("keeper", 1, "in", "Ended"),
            ("keeper", 1, "handled", "Ended"),
            ("keeper/a", 2, "in", "Note"),
            ("keeper/a", 2, "handled", "Note"),
            ("keeper/b", 1, "in", "Note"),
            ("keeper/b", 1, "handled", "Note"),
        ]
        assert [slot.path for slot in system.registry if slot.tap is not None] == []


class Later(Request[str], frozen=True):
    """Answer when told to."""


class Now(Message, frozen=True):
    """Answer what waits."""


class Slow(Actor):
    def __init__(self) -> None:
        self.token: ReplyToken | None = None

    @on(Later)
    def later(self, _question: Later) -> None:
        self.token = self.context.reply_later()

    @on(Now)
    def now(self, _message: Now) -> None:
        assert self.token is not None
        self.token.reply("at last")


@every_tier
async def test_an_answer_given_later_is_told_when_it_is_given() -> None:
    traced: list[Observed] = []
    async with open_system() as system:
        slow = await system.start("slow", Slow)
        inspection = system.inspect(slow)
        inspection.start_statistics()
        inspection.trace(traced.append)
        asker = await system.start("asker", lambda: Asker(slow.path))

        asker.tell(Now())
        await settled()
        slow.tell(Now())
        await settled()

        assert [entry.what for entry in traced] == ["in", "handled", "in", "reply", "handled"]
        counted = inspection.statistics().messages
        assert counted is not None
        assert (counted.messages_in, counted.messages_out) == (2, 1)


class Asker(Actor):
    def __init__(self, path: str) -> None:
        self.path = path

    @on(Now)
    def now(self, _message: Now) -> None:
        self.context.ask_later(self.context.system.ref(self.path), Later(), key="later")


@every_tier
async def test_the_flight_recorder_tells_single_messages_only_while_the_actor_is_observed() -> None:
    # Supervision 9
    async with open_system() as system:
        parent = await keeper(system)
        with events_of(system, CrashReported) as crashes:
            for observed in (False, True):
                cell = await parent.start("scribe", lambda: Scribe([]))
                if observed:
                    system.inspect("keeper/scribe").start_log()
                cell.slot.ref.tell(Note("before"))
                cell.slot.ref.tell(Fail())
                await cell.wait_ended()

    past = [
        [type(event).__name__ for event in crash.past]
        for crash in crashes
        if isinstance(crash, CrashReported)
    ]
    assert "Observed" not in past[0]
    assert past[1][-3:] == ["Observed", "Observed", "Observed"], "Note in and handled, Fail in"


@both_backends
async def test_an_ask_through_observed_actors_is_answered_as_ever() -> None:
    async with open_system() as system:
        relay = await system.start("relay", Relay)
        await system.start("end", Relay)
        for path in ("relay", "end"):
            system.inspect(path).start_statistics()

        assert await relay.ask(Forward(("end",))) == "end"


@pytest.mark.parametrize("size", [0, -1, 10_001])
@every_tier
async def test_a_log_without_a_sane_bound_is_refused(size: int) -> None:
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe([]))

        with pytest.raises(DefinitionError, match="1 to 10000 entries"):
            system.inspect(scribe).start_log(size)


# S-N4
@every_tier
async def test_a_log_shows_nothing_from_before_it_was_started() -> None:
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe([]))
        inspection = system.inspect(scribe)
        inspection.start_statistics()
        scribe.tell(Note("before"))
        await settled()
        assert inspection.log(), "statistics keep entries for a crash report"

        inspection.start_log()
        assert inspection.log() == ()
        scribe.tell(Note("after"))
        await settled()
        inspection.start_log(1)
        assert [entry.what for entry in inspection.log()] == ["handled"], "a new size keeps what fits"
