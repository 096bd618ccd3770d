"""What is shown of a state, what never is, and what a replacement may and may not do."""

from __future__ import annotations

import json
from collections import deque

import anyio
import pytest
from tests.runtime.both_tiers import every_tier, open_system
from tests.runtime.cast import Boom, Fail, Scribe, SlowScribe, Wait, events_of

from holdfast.runtime import (
    REDACTED,
    Actor,
    CallbackFailed,
    CrashReported,
    DefinitionError,
    InspectionTimeout,
    Secret,
    on,
)
from holdfast.runtime.testing import both_backends, on_trio, settled

CANARY = "cn4ry-Zq81xT"


class Vault(Actor):
    """Has secrets under every kind of name, and one under none."""

    def __init__(self) -> None:
        self.user = "ada"
        self.key = Secret(CANARY)
        self._password = CANARY
        self.nested = {"session": [{"api_key": CANARY}, ("Authorization", CANARY)]}
        self.note = f"token={CANARY}"

    @on(Fail)
    def fail(self, _message: Fail) -> None:
        raise Boom(f"the server said password={CANARY}")


@every_tier
async def test_secrets_are_masked_by_type_by_name_and_by_look_at_any_depth() -> None:
    # S20
    async with open_system() as system:
        vault = await system.start("vault", Vault)

        shown = await system.inspect(vault).get_state()

    assert shown == {
        "user": "ada",
        "key": REDACTED,
        "_password": REDACTED,
        "nested": {"session": [{"api_key": REDACTED}, ["Authorization", REDACTED]]},
        "note": f"token={REDACTED}",
    }
    assert CANARY not in json.dumps(shown)


class Careless(Vault):
    """Its hook returns everything: what it returns is redacted all the same."""

    def format_state(self) -> object:
        return {"all": vars(self), "secret": CANARY}


@every_tier
async def test_a_crash_report_shows_no_secret_of_the_state_nor_of_the_exception() -> None:
    # S20
    async with open_system() as system:
        vault = await system.start("vault", Careless)
        with events_of(system, CrashReported) as crashes:
            vault.tell(Fail())
            await settled()
        recorded = vault.slot.recorder

    assert len(crashes) == 1
    assert CANARY not in repr(crashes)
    assert "Boom" in repr(crashes)
    assert "ada" in repr(crashes)
    assert CANARY not in repr(recorded)


@every_tier
async def test_a_crash_report_shows_nothing_of_a_class_that_did_not_say_what_may_be_shown() -> None:
    # S20
    async with open_system() as system:
        vault = await system.start("vault", Vault)
        with events_of(system, CrashReported) as crashes:
            vault.tell(Fail())
            await settled()

    assert [crash.state for crash in crashes if isinstance(crash, CrashReported)] == [None]


class Chained(Actor):
    @on(Fail)
    def fail(self, _message: Fail) -> None:
        try:
            raise Boom(f"password={CANARY}")
        except Boom as error:
            raise RuntimeError("could not log in") from error


@every_tier
async def test_the_cause_of_a_crash_shows_no_secret_either() -> None:
    async with open_system() as system:
        chained = await system.start("chained", Chained)
        with events_of(system, CrashReported) as crashes:
            chained.tell(Fail())
            await settled()

    assert "could not log in" in repr(crashes)
    assert CANARY not in repr(crashes)


class Broken(Vault):
    def format_state(self) -> object:
        raise Boom(CANARY)


@every_tier
async def test_a_hook_that_raises_shows_nothing_in_place_of_what_it_meant_to_hide() -> None:
    # S20
    async with open_system() as system:
        await system.start("broken", Broken)

        assert await system.inspect("broken").get_state() == "<format_state raised Boom>"


async def late(_self: Actor) -> object:
    return None


def test_a_hook_that_would_have_to_be_awaited_is_refused_when_the_class_is_made() -> None:
    # S20
    with pytest.raises(DefinitionError, match="format_state is a plain def"):
        type("Late", (Actor,), {"format_state": late})


class Hoarder(Actor):
    """Has more than anybody reads, and a circle."""

    def __init__(self) -> None:
        self.heap = [{"value": "x" * 100_000, "n": n} for n in range(10_000)]
        deep: list[object] = []
        self.deep = deep
        for _ in range(100):
            deep.append([])
            deep = deep[0]  # type: ignore[assignment]
        self.me = [self.deep, self]


@on_trio
async def test_a_large_and_deep_state_is_cut() -> None:
    async with open_system() as system:
        await system.start("hoarder", Hoarder)

        shown = json.dumps(await system.inspect("hoarder").get_state())

    assert len(shown) < 120_000
    assert "[TRUNCATED]" in shown


class Slotted(Actor):
    __slots__ = ("__hidden", "plain")

    def __init__(self) -> None:
        self.plain = 1
        self.__hidden = 2
        self.more = 3

    @property
    def sum(self) -> int:
        return self.plain + self.__hidden + self.more


@every_tier
async def test_attributes_in_slots_are_state_like_any_other() -> None:
    # S21
    made: list[Slotted] = []

    def factory() -> Slotted:
        made.append(Slotted())
        return made[-1]

    async with open_system() as system:
        await system.start("slotted", factory)
        inspection = system.inspect("slotted")
        assert await inspection.get_state() == {"_Slotted__hidden": 2, "plain": 1, "more": 3}

        await inspection.replace_state(lambda state: dict.fromkeys(state, 10))

        assert made[0].sum == 30


@both_backends
async def test_a_busy_actor_is_waited_for_and_then_given_up_with_its_state_unchanged() -> None:
    # S21
    called: list[str] = []

    def change(state: dict[str, object]) -> dict[str, object]:
        called.append("changed")
        return state

    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe([]))
        scribe.tell(Wait(3.0))
        await settled()

        with pytest.raises(InspectionTimeout):
            await system.inspect(scribe).get_state(timeout=1.0)
        with pytest.raises(InspectionTimeout):
            await system.inspect(scribe).replace_state(change, timeout=1.0)
        await anyio.sleep(5.0)

        assert called == []


@both_backends
async def test_the_state_is_never_seen_in_the_middle_of_a_handler() -> None:
    # S21
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe([]))
        scribe.tell(Wait(3.0))
        await settled()

        assert await system.inspect(scribe).get_state() == {"log": ["+1", "busy", "done"], "downs": []}


@pytest.mark.parametrize("wrong", [None, [("total", 1)], {1: 2}, {"not a name": 1}, {"context": None}])
@every_tier
async def test_what_is_no_state_is_refused_and_changes_nothing(wrong: object) -> None:
    # S21
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe([]))

        with pytest.raises(CallbackFailed, match="the new state"):
            await system.inspect(scribe).replace_state(lambda _state: wrong)  # type: ignore[arg-type,return-value]

        assert await system.inspect(scribe).get_state() == {"log": ["+1"], "downs": []}


@every_tier
async def test_what_was_not_changed_stays_the_object_that_others_hold() -> None:
    # S21
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe(log))
        inspection = system.inspect(scribe)

        shown = await inspection.replace_state(lambda state: {**state, "downs": deque([1], maxlen=2)})
        log.append("seen")

        assert shown == {"log": ["+1"], "downs": "deque([1], maxlen=2)"}
        assert await inspection.get_state() == {"log": ["+1", "seen"], "downs": "deque([1], maxlen=2)"}


@every_tier
async def test_an_attribute_that_the_new_state_leaves_out_is_gone() -> None:
    # S21
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: Scribe([]))

        assert await system.inspect(scribe).replace_state(lambda state: {"log": state["log"]}) == {
            "log": ["+1"]
        }
