"""The ledger of remote avatar sessions: what must be ended, even by a successor of who began it (A6.4).

A session's id is written here before the session is started and struck out only
when the service has confirmed its end.  Whatever stands here at the start of an
incarnation, of the tree or of the process is a session without an owner.

The connection belongs to the embedder and outlives the actor.  A row is
committed before `record` returns.  How many rows there can be is bounded by the
machine, which opens no session while too many wait for their end.
"""

from __future__ import annotations

import apsw
import attrs

__all__ = ["AvatarLedger", "RecordedSession"]


@attrs.frozen
class RecordedSession:
    """A session that was, or was about to be, started."""

    session_id: str
    avatar_id: str


class AvatarLedger:
    """The rows of one table in a store that somebody else owns."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        connection.execute(
            "create table if not exists avatar_sessions ("
            " position integer primary key autoincrement,"
            " session_id text not null unique,"
            " avatar_id text not null)"
        )

    def record(self, session: RecordedSession) -> None:
        """Write a session down; writing it twice is nothing."""
        self._connection.execute(
            "insert or ignore into avatar_sessions (session_id, avatar_id) values (?, ?)",
            (session.session_id, session.avatar_id),
        )

    def forget(self, session_id: str) -> None:
        """Strike a session out; one that is not there is nothing."""
        self._connection.execute("delete from avatar_sessions where session_id = ?", (session_id,))

    def recorded(self) -> tuple[RecordedSession, ...]:
        """Return what is written down, oldest first."""
        rows = self._connection.execute("select session_id, avatar_id from avatar_sessions order by position")
        return tuple(RecordedSession(str(session), str(avatar)) for session, avatar in rows)
