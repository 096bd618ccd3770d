"""The TLS context of the seams is the one that connections use."""

from __future__ import annotations

import ssl

import pytest
import trio

from holdfast.runtime import Address, Seams
from holdfast.runtime.testing import on_trio


class ContextAskedFor(Exception):
    """The given context was wanted."""


@on_trio
async def test_a_given_tls_context_is_the_one_that_connections_use() -> None:
    def tls() -> ssl.SSLContext:
        raise ContextAskedFor

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    with pytest.raises(ContextAskedFor):
        await Seams(tls=tls).connect(Address("127.0.0.1", port, tls=True))
    for listener in listeners:
        await listener.aclose()
