"""What a daemon answers about single actors: the picture, the trace, suspend and resume; and no secret."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import msgspec
import pytest
import trio
from tests.runtime.cast import Ask, Boom, Note, SlowScribe, Wait

from holdfast.actors.app.inspecting import inspecting_verbs
from holdfast.runtime import REDACTED, Actor, HoldfastError, Request, Secret, System, on, open_system
from holdfast.runtime.control import ControlError
from holdfast.runtime.testing import on_trio, settled

CANARY = "cn4ry-Zq81xT"


async def ask(system: System, verb: str, **arguments: object) -> Mapping[str, object]:
    reply = inspecting_verbs([system], 0.0)[verb](arguments)
    assert not isinstance(reply, AsyncGenerator)
    return msgspec.convert(msgspec.json.decode(msgspec.json.encode(await reply)), dict[str, object])


async def follow(system: System, lines: list[object], **arguments: object) -> None:
    reply = inspecting_verbs([system], 0.0)["trace"](arguments)
    assert isinstance(reply, AsyncGenerator)
    lines.extend([msgspec.json.decode(msgspec.json.encode(line)) async for line in reply])


class Login(Request[str], frozen=True):
    user: str
    password: str


class Vault(Actor):
    def __init__(self) -> None:
        self.user = "ada"
        self.held = Secret(CANARY)
        self.api_key = CANARY

    def format_state(self) -> object:
        return vars(self)

    @on(Login)
    def login(self, message: Login) -> str:
        if message.user == "eve":
            raise Boom(f"password={message.password}")
        return f"token={message.password}"


@on_trio
async def test_inspect_shows_counts_state_and_the_latest_events() -> None:
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe([]))
        await scribe.ask(Ask())
        await settled()

        picture = await ask(system, "inspect", path="scribe")

    assert (picture["status"], picture["handled"], picture["depth"]) == ("running", 1, 0)
    assert picture["suspended"] is False
    assert picture["state"] == {"log": ["+1", "asked"], "downs": []}
    events = msgspec.convert(picture["events"], list[dict[str, object]])
    assert [event["type"] for event in events] == ["actor:started"]


@on_trio
async def test_a_busy_actor_is_shown_as_busy_without_its_state() -> None:
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe([]))
        scribe.tell(Wait(60.0))
        await settled()

        picture = await ask(system, "inspect", path="scribe")

    assert (picture["busy"], picture["state"], picture["handling"]) == (True, None, "Wait")


@on_trio
async def test_suspend_and_resume_over_the_socket_hold_and_release_the_mail() -> None:
    log: list[str] = []
    async with open_system() as system:
        scribe = await system.start("scribe", lambda: SlowScribe(log))

        assert await ask(system, "suspend", path="scribe") == {"suspended": "scribe", "waiting": 0}
        scribe.tell(Note("waits"))
        await settled()
        assert log == ["+1"]
        assert (await ask(system, "inspect", path="scribe"))["suspended"] is True

        assert await ask(system, "resume", path="scribe") == {"resumed": "scribe", "was_suspended": True}
        await settled()
        assert log == ["+1", "waits"]
        assert await ask(system, "resume", path="scribe") == {"resumed": "scribe", "was_suspended": False}


@on_trio
async def test_a_trace_streams_lines_until_its_seconds_are_over_and_leaves_nothing_behind() -> None:
    lines: list[object] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        scribe = await system.start("scribe", lambda: SlowScribe([]))
        nursery.start_soon(lambda: follow(system, lines, path="scribe", seconds=5))
        await settled()
        scribe.tell(Note("seen"))
        await trio.sleep(6.0)

        said = [msgspec.convert(line, dict[str, object])["text"] for line in lines]
        assert said == ["scribe #1 in Note", "scribe #1 handled Note (0.000 ms)"]
        assert scribe.slot.tap is None


@on_trio
async def test_no_secret_is_ever_shown_by_inspect_or_trace() -> None:
    lines: list[object] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        vault = await system.start("vault", Vault)
        nursery.start_soon(lambda: follow(system, lines, path="vault", seconds=5, contents=True))
        await settled()
        await vault.ask(Login("ada", CANARY))
        before = await ask(system, "inspect", path="vault")
        with pytest.raises(HoldfastError):
            await vault.ask(Login("eve", CANARY))
        after = await ask(system, "inspect", path="vault")
        await trio.sleep(6.0)

    state = msgspec.convert(before["state"], dict[str, object])
    assert (state["user"], state["held"], state["api_key"]) == ("ada", REDACTED, REDACTED)
    shown = msgspec.json.encode([before, after, lines]).decode()
    assert len(lines) == 5
    assert "Login" in shown
    assert "crash" in shown
    assert REDACTED in shown
    assert CANARY not in shown


@pytest.mark.parametrize("verb", ["inspect", "suspend", "resume", "trace"])
@on_trio
async def test_a_path_that_does_not_exist_is_refused_by_name(verb: str) -> None:
    async with open_system() as system:
        with pytest.raises(ControlError, match=r"no actor 'nobody'; 'holdfast tree' lists the paths"):
            await ask(system, verb, path="nobody")
        with pytest.raises(ControlError, match="path must be a path"):
            await ask(system, verb, path=3)


@pytest.mark.parametrize("wrong", [{"seconds": -1}, {"seconds": "soon"}, {"subtree": "yes"}, {"contents": 1}])
@on_trio
async def test_a_trace_with_wrong_arguments_is_refused(wrong: dict[str, object]) -> None:
    async with open_system() as system:
        await system.start("scribe", lambda: SlowScribe([]))

        with pytest.raises(ControlError, match="must be"):
            await ask(system, "trace", path="scribe", **wrong)
