from __future__ import annotations

import errno

import pytest
import trio
import trio.testing

from holdfast.actors.hub.accepting import accept_all
from holdfast.runtime import Address
from holdfast.runtime.testing import on_trio


class Listener:
    """Fails as told, then hands out one stream, then waits."""

    def __init__(self, *errors: int) -> None:
        self.address = Address("127.0.0.1", 1)
        self.closed = False
        self._script: list[int | None] = [*errors, None]

    async def accept(self) -> trio.abc.Stream:
        if not self._script:
            await trio.sleep_forever()
        code = self._script.pop(0)
        if code is not None:
            raise OSError(code, "as told")
        return trio.testing.memory_stream_pair()[0]

    async def aclose(self) -> None:
        self.closed = True


@on_trio
async def test_a_process_out_of_descriptors_waits_and_goes_on() -> None:
    listener, taken = Listener(errno.EMFILE, errno.ENFILE), list[trio.abc.Stream]()

    with trio.move_on_after(1):
        await accept_all(listener, taken.append)

    assert len(taken) == 1
    assert listener.closed


@on_trio
async def test_a_broken_listener_is_a_crash() -> None:
    listener, taken = Listener(errno.EBADF), list[trio.abc.Stream]()

    with pytest.raises(OSError, match="as told"):
        await accept_all(listener, taken.append)

    assert listener.closed
