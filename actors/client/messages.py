"""What the client actor hears and says, the events of a session's life, and its errors."""

from __future__ import annotations

from typing import Literal

import attrs
import msgspec

from holdfast.actors.reconnect.messages import LinkState
from holdfast.runtime import Event, HoldfastError, Request

__all__ = [
    "Authenticating",
    "CleanupAuth",
    "CleanupSession",
    "ClientIntent",
    "ClientState",
    "ConnectClient",
    "ConnectFailed",
    "ConnectTimeout",
    "Connected",
    "Connecting",
    "DisconnectClient",
    "Disconnected",
    "Disconnecting",
    "GetClientState",
    "InvalidArgument",
    "MessageUnreadable",
    "OutboxAbandoned",
    "Ready",
    "RecoverFromError",
    "RecoveryCompleted",
    "RecoveryFailed",
    "RecoveryKind",
    "RecoveryStarted",
    "RetryLink",
    "SystemError",
    "SystemStatus",
    "UnknownRecovery",
    "ValidateSystemState",
]

RecoveryKind = Literal["auth_failure", "connection_failure", "avatar_failure"]


@attrs.define
class ClientIntent:
    """What was asked of the client; owned by the system, so that it outlives the actor's crash."""

    wanted: bool = False


class ClientState(msgspec.Struct, frozen=True):
    """The session as the embedder sees it."""

    phase: str
    """idle, authenticating, linking, opening_avatar, ready or disconnecting."""
    link: LinkState
    avatar: str
    """off, opening, open, voice_only or closing."""


class SystemStatus(msgspec.Struct, frozen=True):
    """What `validate_system_state` found, after it tried to mend it."""

    valid: bool
    problems: tuple[str, ...] = ()


# ---- heard -----------------------------------------------------------------------------------------


class ConnectClient(Request[None], frozen=True):
    """Bring the session up and answer when it is ready (A4.1).

    Raises `ConnectFailed` at a verdict that no retry cures.  An outage is no such
    verdict: the question waits until its time is over, and the link is tried on.
    """


class DisconnectClient(Request[None], frozen=True):
    """Take the session down in order and answer when that is done (A4.3).  It can be resumed later."""


class RetryLink(Request[None], frozen=True):
    """Try the link now, whatever it waits for; leaves `failed` and `suspended`."""


class ValidateSystemState(Request[SystemStatus], frozen=True):
    """Look for a lost token and mend it (A4.4)."""


class RecoverFromError(Request[bool], frozen=True):
    """Mend one kind of failure; True when it is mended, else False, and `recovery:failed` says why.

    A connection is mended when the link is up: waited for up to 30 s, and tried on after that.
    """

    kind: RecoveryKind


class GetClientState(Request[ClientState], frozen=True):
    """Where the session stands."""


# ---- events ----------------------------------------------------------------------------------------


class Connecting(Event, frozen=True, tag="connecting"):
    """`connect()` was called."""


class Authenticating(Event, frozen=True, tag="authenticating"):
    """A token is being got."""


class Connected(Event, frozen=True, tag="connected"):
    """The link is up and the session resumed or begun."""

    session: str


class Ready(Event, frozen=True, tag="ready"):
    """Everything that was configured is up."""

    session: str


class Disconnecting(Event, frozen=True, tag="disconnecting"):
    """`disconnect()` was called."""


class CleanupAuth(Event, frozen=True, tag="cleanup:auth"):
    """Nothing uses the token any more; it is kept (only a logout wipes it)."""


class CleanupSession(Event, frozen=True, tag="cleanup:session"):
    """The link is closed; what was not acknowledged stays in the store."""


class Disconnected(Event, frozen=True, tag="disconnected"):
    """The session is down."""


class SystemError(Event, frozen=True, tag="error:system"):  # noqa: A001 - the seed's name
    """A subsystem's state is not valid."""

    source: str
    error: str


class RecoveryStarted(Event, frozen=True, tag="recovery:started"):
    """A recovery begins."""

    source: str


class RecoveryCompleted(Event, frozen=True, tag="recovery:completed"):
    """It worked."""

    source: str


class RecoveryFailed(Event, frozen=True, tag="recovery:failed"):
    """It did not work; the state is as bad as before."""

    source: str
    error: str


class OutboxAbandoned(Event, frozen=True, tag="outbox:abandoned"):
    """The client ended before the hub had acknowledged these, and its store was in memory: they are lost.

    Configure `delivery.store`, or `flush` before the end.
    """

    messages: int


# ---- errors ----------------------------------------------------------------------------------------


class ConnectFailed(HoldfastError):
    """The session cannot come up, and waiting does not help.  `source` is auth or link."""

    def __init__(self, source: str, reason: str, *, code: int | None = None) -> None:
        said = f" ({code})" if code is not None else ""
        super().__init__(
            f"the session cannot come up: {source} refused for good{said}: {reason}; "
            f"mend that, then connect again"
        )
        self.source = source
        self.reason = reason
        self.code = code


class ConnectTimeout(HoldfastError):
    """The session did not come up in time.  It is still wanted: the link is tried on in the background."""

    def __init__(self, timeout: float, where: str) -> None:
        super().__init__(
            f"the session was not ready within {timeout:g} s (it is {where}); it is tried on: "
            f"call connect() again to wait on, or disconnect()"
        )
        self.timeout = timeout


class InvalidArgument(HoldfastError, ValueError):
    """A call was given a value of the wrong kind; nobody was asked and nothing was changed."""

    def __init__(self, name: str, wanted: str, got: str) -> None:
        super().__init__(f"{name} must be {wanted}, got {got}")
        self.name = name


class UnknownRecovery(HoldfastError, ValueError):
    """There is no such kind of recovery."""

    def __init__(self, kind: object) -> None:
        super().__init__(
            f"a recovery is one of auth_failure, connection_failure, avatar_failure; got {kind!r}"
        )


class MessageUnreadable(Event, frozen=True):
    """message:unreadable: a received message's payload cannot be decoded; it counts as processed."""

    id: str
    message_type: str
    channel: str | None
    reason: str
