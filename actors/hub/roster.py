"""Who is there: the sessions by name, and which of them hear which channel.

Order is the order of arrival everywhere, so that a simulated run repeats itself.
"""

from __future__ import annotations

from holdfast.actors.hub.session import Session

__all__ = ["Roster"]


class Roster:
    """The sessions that the hub knows, attached or not."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._hearers: dict[str, dict[str, None]] = {}
        self._channels: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """Take a session in."""
        self._sessions[session.session] = session
        self._channels[session.session] = {}

    def get(self, name: str) -> Session | None:
        """Return a session by its name."""
        return self._sessions.get(name)

    def remove(self, session: Session) -> None:
        """Forget a session and what it hears."""
        for channel in list(self._channels.pop(session.session)):
            self._forget(session.session, channel)
        del self._sessions[session.session]

    def __contains__(self, session: Session) -> bool:
        return self._sessions.get(session.session) is session

    # -- channels

    def subscribe(self, session: str, channel: str) -> None:
        """Let a session hear a channel; twice is once."""
        self._hearers.setdefault(channel, {})[session] = None
        self._channels[session][channel] = None

    def unsubscribe(self, session: str, channel: str) -> None:
        """Let it hear the channel no more."""
        if channel in self._channels[session]:
            del self._channels[session][channel]
            self._forget(session, channel)

    def _forget(self, session: str, channel: str) -> None:
        hearers = self._hearers[channel]
        del hearers[session]
        if not hearers:
            del self._hearers[channel]

    def hearers(self, channel: str) -> list[Session]:
        """Return the sessions that hear a channel."""
        return [self._sessions[name] for name in self._hearers.get(channel, {})]

    def channels(self, session: str) -> int:
        """How many channels a session hears."""
        return len(self._channels[session])

    # -- bounds

    @property
    def attached(self) -> int:
        """How many sessions have a connection."""
        return sum(session.connection is not None for session in self._sessions.values())

    def expired(self, before: float) -> list[Session]:
        """Return the sessions whose last connection ended before that Unix time."""
        return [
            session
            for session in self._sessions.values()
            if session.detached_at is not None and session.detached_at < before
        ]

    def surplus(self, subject: str, client_id: str, *, per_client: int, in_all: int) -> list[Session]:
        """Return the detached sessions that must go so that one more of that client fits, oldest first."""
        own = [s for s in self._sessions.values() if (s.subject, s.client_id) == (subject, client_id)]
        return _oldest(own, len(own) + 1 - per_client) or _oldest(
            list(self._sessions.values()), len(self._sessions) + 1 - in_all
        )


def _oldest(sessions: list[Session], count: int) -> list[Session]:
    if count <= 0:
        return []
    detached = [(s.detached_at, s.session, s) for s in sessions if s.detached_at is not None]
    return [session for _, _, session in sorted(detached, key=lambda entry: entry[:2])[:count]]
