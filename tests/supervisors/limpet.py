"""Children that cannot be killed: they shield themselves until a test lets go of them."""

from __future__ import annotations

import anyio
import anyio.lowlevel
from tests.supervisors.crew import Boom, Die

from holdfast.runtime import Actor, Message, Ref, on
from holdfast.runtime.testing import settled

__all__ = ["Cling", "CrashAndCling", "Limpet", "Rock", "cling"]


class Cling(Message, frozen=True):
    """Hold on until the rock lets go, whoever cancels."""


class CrashAndCling(Message, frozen=True):
    """Crash, and leave a child task behind that holds on."""


class Rock:
    """What limpets hold on to: one each time, let go of one by one."""

    def __init__(self) -> None:
        self._holds: list[anyio.Event] = []

    async def hold(self) -> None:
        here = anyio.Event()
        self._holds.append(here)
        # Longer than any test, so that one that fails ends all the same.
        with anyio.CancelScope(shield=True), anyio.move_on_after(10_000.0):
            await here.wait()

    async def let_go(self, index: int = 0) -> None:
        self._holds.pop(index).set()
        await settled()

    async def let_all_go(self) -> None:
        while self._holds:
            await self.let_go()


class Limpet(Actor):
    """Shields itself."""

    def __init__(self, rock: Rock) -> None:
        self._rock = rock

    @on(Cling)
    async def _cling(self, _message: Cling) -> None:
        await self._rock.hold()

    @on(CrashAndCling)
    async def _crash(self, _message: CrashAndCling) -> None:
        self.context.spawn(self._rock.hold)
        await anyio.lowlevel.checkpoint()
        raise Boom("limpet")

    @on(Die)
    def _die(self, _message: Die) -> None:
        raise Boom("limpet")


async def cling(ref: Ref) -> None:
    """Have it hold on from now on."""
    ref.tell(Cling())
    await settled()
