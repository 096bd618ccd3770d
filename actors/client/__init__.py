"""The client: the product's tree, and the door for embedders."""

from __future__ import annotations

from holdfast.actors.client.embed import open_client
from holdfast.actors.client.facade import Client, SendFailed
from holdfast.actors.client.messages import ConnectFailed, ConnectTimeout, InvalidArgument

__all__ = ["Client", "ConnectFailed", "ConnectTimeout", "InvalidArgument", "SendFailed", "open_client"]
