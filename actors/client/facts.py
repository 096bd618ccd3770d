"""What the client's machine is told, and what it has done: facts in, effects out."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from holdfast.actors.client.messages import RecoveryKind
from holdfast.actors.reconnect.messages import LinkState
from holdfast.runtime import Event

__all__ = [
    "Answer",
    "AvatarAnswered",
    "AvatarClosed",
    "ConnectRequested",
    "DisconnectRequested",
    "Effect",
    "Emit",
    "Fact",
    "Intend",
    "LinkChanged",
    "Mended",
    "Order",
    "OrderName",
    "RecoverRequested",
    "Started",
    "TokenAnswered",
    "ValidateRequested",
    "Validated",
]

OrderName: TypeAlias = Literal[
    "get_token",
    "log_in",
    "link",
    "retry_link",
    "mend_link",
    "unlink",
    "open_avatar",
    "close_avatar",
    "validate_token",
    "authenticate",
]


# ---- facts -----------------------------------------------------------------------------------------


@attrs.frozen
class Started:
    """A new incarnation; `wanted` is what had been asked of the one before."""

    wanted: bool
    avatar: bool
    """Whether an avatar is to be opened with each session."""


@attrs.frozen
class ConnectRequested:
    waiter: int


@attrs.frozen
class TokenAnswered:
    """None when there is a token; `final` when asking again will not help."""

    error: str | None
    final: bool = False
    status: int | None = None


@attrs.frozen
class LinkChanged:
    state: LinkState
    session: str = ""


@attrs.frozen
class AvatarAnswered:
    error: str | None


@attrs.frozen
class AvatarClosed:
    """The clean-up at a disconnect is over, one way or the other."""


@attrs.frozen
class DisconnectRequested:
    waiter: int


@attrs.frozen
class ValidateRequested:
    waiter: int


@attrs.frozen
class Validated:
    """Whether there is a good token; `error` when nobody could say."""

    valid: bool
    error: str = ""


@attrs.frozen
class RecoverRequested:
    waiter: int
    kind: RecoveryKind


@attrs.frozen
class Mended:
    """What came of a recovery."""

    source: str
    error: str | None


Fact: TypeAlias = (
    Started
    | ConnectRequested
    | TokenAnswered
    | LinkChanged
    | AvatarAnswered
    | AvatarClosed
    | DisconnectRequested
    | ValidateRequested
    | Validated
    | RecoverRequested
    | Mended
)


# ---- effects ---------------------------------------------------------------------------------------


@attrs.frozen
class Emit:
    event: Event


@attrs.frozen
class Order:
    """Have a subsystem do something."""

    what: OrderName


@attrs.frozen
class Intend:
    """Remember, above the tree, whether a session is wanted."""

    wanted: bool


@attrs.frozen
class Answer:
    """Answer a waiting question; an exception is raised at the asker."""

    waiter: int
    value: object = None


Effect: TypeAlias = Emit | Order | Intend | Answer
