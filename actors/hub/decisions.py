"""What a connection's machine orders, for the shell to carry out in order."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from holdfast.actors.hub.closing import CloseCode
from holdfast.actors.hub.codec import Connect, Frame
from holdfast.runtime import Secret

__all__ = [
    "Abort",
    "Apply",
    "Bind",
    "Close",
    "Decision",
    "EndSession",
    "Released",
    "Send",
    "Verify",
]


@attrs.frozen
class Send:
    """Queue this frame for the writer."""

    frame: Frame


@attrs.frozen
class Close:
    """Close the WebSocket after what is queued; the session stays unless `EndSession` came before."""

    code: CloseCode
    reason: str


@attrs.frozen
class Abort:
    """Drop the stream at once: nobody is there to shake hands with."""

    reason: str


@attrs.frozen
class Verify:
    """Have this token judged by the identity service."""

    token: Secret


@attrs.frozen
class Bind:
    """Find or make the session that `connect` asks for."""

    connect: Connect


@attrs.frozen
class Apply:
    """Commit this message of the client and carry its effect out; it is the next one, or has no number."""

    frame: Frame


@attrs.frozen
class Released:
    """The client has the session's messages up to `acked_seq`: forget them, send what there is room for."""


@attrs.frozen
class EndSession:
    """The client gave its session up."""

    reason: str


Decision: TypeAlias = Send | Close | Abort | Verify | Bind | Apply | Released | EndSession
