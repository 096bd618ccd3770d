"""The hub: identity, realtime sessions and the avatar stand-in, the embedded default peer.

It shares no code with the client or its subsystems, only the runtime and the
supervisors.
"""

from __future__ import annotations

from holdfast.actors.hub.embedded import EmbeddedHub, open_embedded_hub
from holdfast.actors.hub.settings import HubSettings, InvalidHubSettings
from holdfast.actors.hub.topology import Hub, open_hub

__all__ = ["EmbeddedHub", "Hub", "HubSettings", "InvalidHubSettings", "open_embedded_hub", "open_hub"]
