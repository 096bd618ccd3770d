"""A hub inside another program, with a key of its own: for `holdfast run` without a URL, examples, tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from holdfast.actors.hub.settings import HubSettings
from holdfast.actors.hub.topology import Hub, open_hub
from holdfast.runtime import Seams, Secret

__all__ = ["EmbeddedHub", "open_embedded_hub"]

# 256 bits: the key is made anew for each process and never leaves it.
KEY_BYTES = 32


@attrs.frozen
class EmbeddedHub:
    """A running hub and the key that its one client needs."""

    hub: Hub
    api_key: Secret

    def client_configuration(self) -> Mapping[str, Mapping[str, object]]:
        """Return the sections of a client's configuration that point at this hub."""
        return {
            "connection": {"url": self.hub.realtime_url},
            "auth": {"api_endpoint": self.hub.api_url, "api_key": self.api_key},
            "avatar": {"api_url": self.hub.avatar_url, "api_key": self.api_key},
        }


@asynccontextmanager
async def open_embedded_hub(
    *, store: Path | None = None, seams: Seams | None = None, exit_when_wedged: bool = False
) -> AsyncGenerator[EmbeddedHub]:
    """Open a hub on loopback ports of the system's choice; None keeps its store in memory."""
    world = seams if seams is not None else Seams()
    api_key = Secret(world.entropy(KEY_BYTES).hex())
    settings = HubSettings(api_keys=(api_key,), store_path=store)
    async with open_hub(settings, seams=world, exit_when_wedged=exit_when_wedged) as hub:
        yield EmbeddedHub(hub, api_key)
