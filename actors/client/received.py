"""A message of the hub as the application sees it, made of what delivery kept.

The socket lets only JSON objects through, and looks no further into them: a
number in one may be beyond any type of ours, and brackets nested deeper than a
reader goes.  Such a message is told of and passed over; handed out as an error
it would stop whoever receives, and given out again stand before all later ones.
"""

from __future__ import annotations

import msgspec

from holdfast.actors.client.messages import MessageUnreadable
from holdfast.actors.delivery.messages import Inbound

__all__ = ["ReceivedMessage", "read_message"]


class ReceivedMessage(msgspec.Struct, frozen=True):
    """A message of the hub, as the application sees it."""

    id: str
    type: str
    channel: str | None
    payload: dict[str, object]
    re: str | None
    """The id of the message that this one answers."""


def read_message(message: Inbound) -> ReceivedMessage | MessageUnreadable:
    """Return the message, or why nobody can read it."""
    payload = bytes(message.payload)
    try:
        decoded = msgspec.json.decode(payload, type=dict[str, object]) if payload else {}
    except (msgspec.MsgspecError, RecursionError) as error:
        return MessageUnreadable(message.id, message.type, message.channel, reason=str(error))
    return ReceivedMessage(message.id, message.type, message.channel, decoded, message.re)
