"""What the system owns above the root, for tests that only look at the tree."""

from __future__ import annotations

import httpx2

from holdfast.actors.auth.vault import TokenStore
from holdfast.actors.avatar.ledger import AvatarLedger
from holdfast.actors.client.events import log_line
from holdfast.actors.client.topology import Belongings
from holdfast.actors.config.sources import load
from holdfast.actors.logger.sinks import Log
from holdfast.runtime import Seams

__all__ = ["belongings"]


def belongings() -> Belongings:
    """Return belongings with stores in memory and a configuration that points nowhere."""
    seams = Seams()
    live = load(
        explicit={
            "connection": {"url": "ws://127.0.0.1:9/realtime"},
            "auth": {"api_endpoint": "http://127.0.0.1:9", "api_key": "not-a-real-key"},
        },
        environ={},
    )
    return Belongings(
        configuration=live,
        log=Log(live.current.logging, wall_clock=seams.wall_clock),
        encode=log_line,
        tokens=TokenStore(),
        store=seams.store(None),
        avatars=AvatarLedger(seams.store(None)),
        http=lambda: httpx2.MockTransport(lambda _request: httpx2.Response(503)),
    )
