"""A question that was claimed and the graph of waits: whoever waits for a token waits for no handler."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.both_tiers import open_system

from holdfast.runtime import Actor, AskCycle, Ref, ReplyToken, Request, on
from holdfast.runtime.testing import both_backends, settled


class Later(Request[str], frozen=True):
    """Claimed; answered by a child task a second later."""

    answered_by_asking: bool = False


class Meanwhile(Request[str], frozen=True):
    """Ask the other one, in a handler."""


class Plain(Request[str], frozen=True):
    """Answered at once."""


class Clerk(Actor):
    def __init__(self, other: Ref) -> None:
        self._other = other

    async def _answer_soon(self, token: ReplyToken) -> None:
        await anyio.sleep(1)
        token.reply("later")

    @on(Later)
    async def later(self, question: Later) -> str:
        token = self.context.reply_later()
        if question.answered_by_asking:
            return await self._other.ask(Plain())  # this handler has not returned: nobody answers
        self.context.spawn(self._answer_soon, token)
        return ""

    @on(Meanwhile)
    async def meanwhile(self, _question: Meanwhile) -> str:
        return await self._other.ask(Plain())


class Asker(Actor):
    def __init__(self, clerk: Ref, *, again: bool = False) -> None:
        self._clerk = clerk
        self._again = again

    @on(Later)
    async def later(self, _question: Later) -> str:
        return await self._clerk.ask(Later(answered_by_asking=self._again))

    @on(Plain)
    def plain(self, _question: Plain) -> str:
        return "at once"


@both_backends
async def test_who_waits_for_a_token_is_no_edge_once_the_handler_has_returned() -> None:
    # S-A6: no false alarm
    async with open_system() as system:
        clerk, asker = system.ref("clerk"), system.ref("asker")
        await system.start("clerk", lambda: Clerk(asker))
        await system.start("asker", lambda: Asker(clerk))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asker.ask, Later())
            await settled()
            # The asker's handler waits for a token; the clerk's loop is free, and may wait for the asker.
            assert await clerk.ask(Meanwhile()) == "at once"
        assert not any(slot.cell and slot.cell.waiting_for for slot in system.registry)


@both_backends
async def test_while_the_handler_that_claimed_it_still_runs_the_circle_is_refused() -> None:
    # S-A6: no deadlock missed
    async with open_system() as system:
        clerk, asker = system.ref("clerk"), system.ref("asker")
        await system.start("clerk", lambda: Clerk(asker))
        await system.start("asker", lambda: Asker(clerk, again=True))
        reported = system.events.subscribe(wanted=lambda event: AskCycle.__name__ in str(event))
        before = system.now()
        with pytest.raises(Exception, match="clerk"):
            await asker.ask(Later())
        assert system.now() == before, "not by a time-out"
        assert reported.get_nowait() is not None


@both_backends
async def test_a_request_that_was_told_is_handled_and_its_answer_reaches_nobody() -> None:
    # OTP: a cast of a call; a program that tells what it should ask must not crash who is told
    async with open_system() as system:
        clerk = await system.start("clerk", lambda: Clerk(system.ref("asker")))
        await system.start("asker", lambda: Asker(clerk))
        clerk.tell(Later())
        system.ref("asker").tell(Plain())
        await anyio.sleep(2)
        assert system.counters.late_replies == 1, "the token's answer; a return value is nobody's business"
        assert (clerk.slot.incarnation, await clerk.ask(Meanwhile())) == (1, "at once")
