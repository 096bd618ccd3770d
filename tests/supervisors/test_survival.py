from __future__ import annotations

import pytest
from tests.supervisors.crew import Crew, Die, Finish, Note, Whoami, Work

from holdfast.runtime import ActorGone, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ONE_FOR_ALL,
    TEMPORARY,
    TRANSIENT,
)


@both_backends
async def test_the_mail_of_a_restarted_child_is_kept_and_its_message_in_flight_is_not() -> None:
    # What survives what: actor restart
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, crew.member("a"))
        a = system.ref("top/a")
        a.tell(Die())
        a.tell(Note("one"))
        a.tell(Note("two"))
        await settled()

        assert crew.take() == ["-a:crash", "+a", "a one", "a two"]
        assert system.statistics().dead_letters == 1


@both_backends
async def test_the_mail_of_a_whole_group_is_kept_over_its_restart() -> None:
    # What survives what: group restart; Actors 3
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, *crew.members("abc"), strategy=ONE_FOR_ALL)
        c = system.ref("top/c")
        c.tell(Work(0.5))
        await settled()
        c.tell(Note("after"))
        system.ref("top/a").tell(Die())
        assert await c.ask(Whoami()) == 2

        assert crew.take() == [
            "-a:crash",
            "c worked",
            "-c:shutdown",
            "-b:shutdown",
            "+a",
            "+b",
            "+c",
            "c after",
        ]


@both_backends
async def test_an_ask_that_waits_is_answered_by_the_next_incarnation() -> None:
    # Actors 5
    crew = Crew()
    async with open_system() as system:
        await crew.start(system, crew.member("a"))
        a = system.ref("top/a")
        a.tell(Die())

        assert await a.ask(Whoami()) == 2


@both_backends
async def test_asks_of_a_child_that_is_not_coming_back_fail_at_once() -> None:
    # Actors 5
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system, crew.member("r", restart=TRANSIENT), crew.member("t", restart=TEMPORARY), crew.member("s")
        )
        refs = [system.ref(f"top/{name}") for name in "rts"]
        refs[0].tell(Finish())
        refs[1].tell(Finish())
        await settled()
        await handle.terminate_child("s")
        before = system.now()

        for ref in refs:
            with pytest.raises(ActorGone):
                await ref.ask(Whoami())
        assert system.now() == before


@both_backends
async def test_a_revived_child_takes_mail_again_under_the_same_ref() -> None:
    # R9, Actors 2
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ALL)
        b = system.ref("top/b")
        await handle.terminate_child("b")
        system.ref("top/a").tell(Die())
        await settled()

        assert await b.ask(Whoami()) == 2


@both_backends
async def test_a_temporary_child_ends_its_slot_and_a_new_one_is_another() -> None:
    # Actors 2
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("t", restart=TEMPORARY))
        old = system.ref("top/t")
        old.tell(Finish())
        await settled()
        new = await handle.start_child(crew.member("t", restart=TEMPORARY))

        assert new.ref is not None
        assert new.ref != old
        assert await new.ref.ask(Whoami()) == 1
        with pytest.raises(ActorGone):
            await old.ask(Whoami())
