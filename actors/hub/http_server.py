"""Serving an ASGI application with hypercorn's trio worker, on a port that we bind.

hypercorn would bind port 0 itself and tell nobody but its log; the socket is
therefore made here and handed over by its descriptor.  It says nothing on its
own account below an error, and its end is bounded.
"""

from __future__ import annotations

import logging
import socket

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve  # pyright: ignore[reportUnknownVariableType]
from starlette.types import ASGIApp

from holdfast.actors.hub.berth import Berth

__all__ = ["bind", "serve"]

# Linux's default bound for a listening queue.
BACKLOG = 128

# What requests in flight get when the service stops; the kernel's grace for a stopping task is 1 s.
GRACEFUL_TIMEOUT = 0.5

# An idle keep-alive connection; the auth client asks once in minutes and opens a new one anyway.
KEEP_ALIVE_TIMEOUT = 5.0


def bind(berth: Berth) -> socket.socket:
    """Return a listening socket; the berth knows its port from now on."""
    family = socket.AF_INET6 if ":" in berth.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restarted service takes its port back although old connections still linger on it.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((berth.host, berth.port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    berth.port = listening.getsockname()[1]
    return listening


async def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until cancelled; then let requests in flight end, for `GRACEFUL_TIMEOUT` at most."""
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("holdfast.hub.http")
    config.graceful_timeout = GRACEFUL_TIMEOUT
    config.keep_alive_timeout = KEEP_ALIVE_TIMEOUT
    config.include_server_header = False
    stopping = trio.Event()

    async def stop_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            stopping.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_when_cancelled)
        with trio.CancelScope(shield=True):
            await hypercorn_serve(app, config, shutdown_trigger=stopping.wait)  # type: ignore[arg-type]
        nursery.cancel_scope.cancel()
