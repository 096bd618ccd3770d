"""Which token the hub has seen, and how it gets a newer one without a new connection (A1.8).

One `auth.refresh` is in flight at a time, its id names the connection, and a
token that a hub was shown is not shown again: a refresh that spans a reconnect
neither doubles nor overwrites anything (REALTIME, pain 16).  Pure.
"""

from __future__ import annotations

import attrs

from holdfast.actors.auth.messages import TokenChanged
from holdfast.actors.socket.codec import auth_refresh, control_frame
from holdfast.actors.socket.decisions import AskFreshToken, Decision, Write
from holdfast.actors.socket.phases import Connection, Phase

__all__ = ["TokenRefresh"]


@attrs.define
class TokenRefresh:
    presented: int | None = attrs.field(default=None, init=False)
    """The generation of the token that a hub was shown last, in whatever connection."""

    _newer: TokenChanged | None = attrs.field(default=None, init=False)
    """A token that came while the connection could not be told of it yet."""

    def upgraded(self, generation: int) -> None:
        """The upgrade has presented the token of this generation."""
        self.presented = generation
        if self._newer is not None and self._newer.token.generation <= generation:
            self._newer = None

    def changed(self, connection: Connection | None, fact: TokenChanged) -> list[Decision]:
        """There is a newer token: send it, or keep it until it can be sent."""
        token = fact.token
        if connection is None or (self.presented is not None and token.generation <= self.presented):
            # The next dial asks auth itself.
            return []
        if connection.phase is not Phase.READY or connection.refreshing is not None:
            # One refresh at a time: answers are told apart, and the hub is not asked in vain.
            self._newer = fact
            return []
        self.presented, self._newer = token.generation, None
        connection.refreshing = f"auth-{connection.generation}-{token.generation}"
        body = auth_refresh(token.access_token)
        return [Write((control_frame("auth.refresh", body, name=connection.refreshing),))]

    def catch_up(self, connection: Connection) -> list[Decision]:
        """The connection can be told again: send what was kept, if anything."""
        return self.changed(connection, self._newer) if self._newer is not None else []

    def answered(self, connection: Connection) -> list[Decision]:
        """The refresh in flight was taken or refused."""
        connection.refreshing = None
        return self.catch_up(connection)

    def expiring(self, connection: Connection) -> list[Decision]:
        """The hub says that its token ends soon: have auth replace it, unless a newer one is on its way."""
        replaced = self._newer is not None or connection.refreshing is not None
        if replaced or self.presented is None:
            return []
        return [AskFreshToken(self.presented)]
