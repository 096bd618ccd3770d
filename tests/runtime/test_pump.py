"""The pump under load and under Ctrl-C: who gets a turn in a tick, and what is left when one is cut short."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import CodeType, FrameType

import anyio
import pytest
from tests.runtime.cast import Note, Scribe, dead_letters

from holdfast.runtime import Actor, Message, Ref, on, open_system
from holdfast.runtime.loop import Loop
from holdfast.runtime.pump import Pump, PumpedLife
from holdfast.runtime.testing import both_backends, run, settled


class Again(Message, frozen=True):
    """Tell the next one the same."""


class Player(Actor):
    """Hands the ball on, to another or to itself."""

    def __init__(self, following: Callable[[], Ref]) -> None:
        self.following = following
        self.turns = 0

    @on(Again)
    def again(self, message: Again) -> None:
        self.turns += 1
        self.following().tell(message)


@both_backends
async def test_who_used_up_a_turn_has_the_next_one_in_each_tick_however_many_are_woken() -> None:  # S-A11
    async with open_system() as system:
        restless = Player(lambda: system.ref("restless"))
        player = Player(lambda: system.ref("b"))
        await system.start("restless", lambda: restless)
        await system.start("a", lambda: player)
        await system.start("b", lambda: Player(lambda: system.ref("a")))
        system.ref("restless").tell(Again())
        system.ref("a").tell(Again())
        for _ in range(4):
            await anyio.lowlevel.checkpoint()

        before = restless.turns
        woken = player.turns
        for _ in range(8):
            await anyio.lowlevel.checkpoint()

        # The two wake each other without end: in virtual time the front alone would fill every tick.
        assert player.turns - woken > 8 * 64
        assert restless.turns - before >= 7
        for name in ("restless", "a", "b"):
            cell = system.ref(name).slot.cell
            assert cell is not None
            cell.kill()


@contextmanager
def ctrl_c_at(code: CodeType) -> Generator[None, None, None]:
    """Raise `KeyboardInterrupt` once, where this function begins: as a signal does, between two steps."""

    def strike(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is code:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(strike)
    try:
        yield
    finally:
        sys.setprofile(None)


TEXTS = ("one", "two", "three")

MOMENTS: dict[str, CodeType] = {
    "between two ticks": Pump._tick.__code__,
    "before a turn": Pump._turn.__code__,
    "in a turn": PumpedLife.turn.__code__,
    "in a batch": Loop.batch_at_once.__code__,
    "before a handler": Scribe.note.__code__,
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_ctrl_c_in_the_middle_of_the_pump_ends_the_system_and_loses_no_message(  # S-O5, S-A12
    backend: str, moment: str
) -> None:
    log: list[str] = []
    letters: list[tuple[str, str]] = []

    async def interrupted() -> None:
        async with open_system() as system:
            ref = await system.start("scribe", lambda: Scribe(log))
            await settled()
            with dead_letters(system) as heard, ctrl_c_at(MOMENTS[moment]):
                for text in TEXTS:
                    ref.tell(Note(text))
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await settled()
                    letters.extend(heard)

    with pytest.raises(KeyboardInterrupt):
        run(backend, interrupted)

    # Whatever was cut short, the actor got the turn that it needed to end in order.
    assert log[0] == "+1"
    assert log[-1] in {"-shutdown", "-crash(KeyboardInterrupt)"}
    handled = log[1:-1]
    assert handled == list(TEXTS[: len(handled)])
    assert len(handled) + len(letters) == len(TEXTS)
