"""Taking connections from a listener for as long as a service runs."""

from __future__ import annotations

import errno
from collections.abc import Callable

import trio

from holdfast.runtime import Listener

__all__ = ["accept_all"]

# The process is out of descriptors or memory: wait for some to be freed, as trio.serve_listeners does.
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
PAUSE = 0.1


async def accept_all(listener: Listener, welcome: Callable[[trio.abc.Stream], None]) -> None:
    """Hand every connection to `welcome` until cancelled; the listener is closed then."""
    try:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                await trio.sleep(PAUSE)
            else:
                welcome(stream)
    finally:
        with trio.CancelScope(shield=True):
            await listener.aclose()
