"""What survives a full restart, and what does not: the cells of the table that no other file has."""

from __future__ import annotations

import anyio
import pytest
from tests.runtime.cast import Ask, Note, SlowScribe, Wait, dead_letters

from holdfast.runtime import ActorStarted, System, on, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    FullRestart,
    SupervisorHandle,
    start_tree,
    supervisor,
    worker,
)

PATH = "root/session/scribe"


class Timed(SlowScribe):
    """Sets a timer in each incarnation; its note says which one set it."""

    def on_start(self) -> None:
        super().on_start()
        self.context.after(3.0, Note(f"timer of {self.context.incarnation}"))

    @on(Ask)
    def answer(self, message: Ask) -> str:
        return f"{message.text} {self.context.incarnation}"


async def start(system: System, log: list[str]) -> SupervisorHandle:
    spec = supervisor(
        "root",
        supervisor("session", worker("scribe", lambda: Timed(log))),
        strategy=ONE_FOR_ALL,
        full_restart=FullRestart(drain=1.0, stop=1.0),
    )
    return await start_tree(system, spec)


@both_backends
async def test_timers_are_lost_and_the_successor_sets_its_own() -> None:
    # What survives what: timers
    log: list[str] = []
    async with open_system() as system:
        root = await start(system, log)
        await anyio.sleep(1.0)
        await root.restart_all()
        began = system.now()
        await anyio.sleep(2.5)
        assert log == ["+1", "-shutdown", "+2"], "the first one's timer would have been due half a second ago"

        await anyio.sleep(1.0)
        assert log[-1] == "timer of 2"
        assert system.now() - began == pytest.approx(3.5)


@both_backends
async def test_a_message_that_is_not_finished_in_time_is_a_dead_letter_and_the_mail_behind_it_is_kept() -> (
    None
):
    # What survives what: the handler's message in flight, and the mail behind it
    log: list[str] = []
    async with open_system() as system:
        root = await start(system, log)
        scribe = system.ref(PATH)
        scribe.tell(Wait(100.0))
        scribe.tell(Note("behind it"))
        await settled()
        with dead_letters(system) as dead:
            await root.restart_all()
            await settled()

        assert dead == [("Wait", "being handled when the actor ended")]
        assert log == ["+1", "busy", "+2", "behind it"]


@both_backends
async def test_refs_and_subscriptions_of_embedders_are_kept() -> None:
    # What survives what: refs, event subscriptions of embedders
    async with open_system() as system:
        root = await start(system, [])
        scribe = system.ref(PATH)
        events = system.events.subscribe(wanted=lambda event: isinstance(event, ActorStarted))
        await root.restart_all()

        assert system.ref(PATH) == scribe
        assert await scribe.ask(Ask("incarnation")) == "incarnation 2"
        heard = [event.path for event in iter(events.get_nowait, None) if isinstance(event, ActorStarted)]
        assert heard == [PATH, "root/session"]
