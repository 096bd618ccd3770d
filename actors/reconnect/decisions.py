"""What the machine of reconnect orders its shell to do."""

from __future__ import annotations

import attrs

from holdfast.actors.reconnect.messages import LinkStateChanged
from holdfast.actors.socket.messages import Dial, HangUp
from holdfast.runtime import Event, Message

__all__ = ["Announce", "Decision", "Emit", "StartTimer", "StopTimer", "TellSocket"]


@attrs.frozen
class TellSocket:
    message: Dial | HangUp


@attrs.frozen
class Announce:
    """Tell the listeners."""

    message: LinkStateChanged


@attrs.frozen
class Emit:
    event: Event


@attrs.frozen
class StartTimer:
    key: str
    delay: float
    message: Message


@attrs.frozen
class StopTimer:
    key: str


Decision = TellSocket | Announce | Emit | StartTimer | StopTimer
