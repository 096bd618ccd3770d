"""What the hub must not forget: sessions, received messages, messages on their way, subscriptions.

One SQLite file above the root of the tree, so that it survives every restart of
an actor and a kill of the process.  Everything that an acknowledgement promises
is written in one transaction before the acknowledgement leaves: the caller
opens it with `transaction`, and what is sent is sent after.

`effects` is the log of every message that took effect, each once, in order per
client; audits read it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import apsw
import attrs

from holdfast.actors.hub.session import SessionRecord
from holdfast.runtime import HoldfastError

__all__ = [
    "Effect",
    "Outgoing",
    "SessionStore",
    "StoreDamaged",
    "StoreForeign",
    "StoreVersionUnknown",
    "committed",
    "open_tables",
]

# Raised with every change of the tables below; a newer file is refused, not guessed at.
VERSION = 1

# Marks the file as a hub's ("HFhb"), so that no other program's is ever taken for it.
APPLICATION_ID = 0x48466862

_TABLES = """
create table if not exists meta (name text primary key, value text not null) without rowid;
create table if not exists sessions (
    session text primary key, subject text not null, client_id text not null,
    key_hash blob not null, previous_key_hash blob not null, generation integer not null,
    recv_seq integer not null, sent_seq integer not null, acked_seq integer not null, detached_at real
) without rowid;
create table if not exists effects (
    position integer primary key autoincrement,
    session text not null, subject text not null, client_id text not null, seq integer not null,
    id text not null, type text not null, channel text, payload blob not null, received_at real not null
);
create table if not exists seen (
    subject text not null, client_id text not null, id text not null, seen_at real not null,
    primary key (subject, client_id, id)
);
create index if not exists seen_by_age on seen (seen_at);
create table if not exists outgoing (
    session text not null, seq integer not null, id text not null, type text not null,
    re text, channel text, payload blob not null, size integer not null,
    primary key (session, seq)
) without rowid;
create table if not exists subscriptions (
    session text not null, channel text not null, primary key (session, channel)
) without rowid;
create table if not exists signing_keys (
    kid text primary key, private_key blob not null, created_at real not null
) without rowid;
create table if not exists refresh_tokens (
    hash blob primary key, family text not null, client_id text not null, api_key_hash blob not null,
    issued_at real not null, expires_at real not null, rotated_at real, successor_nonce blob, revoked_at real
);
create index if not exists refresh_tokens_by_family on refresh_tokens (family);
"""


class StoreVersionUnknown(HoldfastError):
    """The hub's store was written by a newer hub.  It is left as it is."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"wanted a hub store of version {VERSION} or older, got version {version}: "
            f"run the hub that wrote it, or configure another store_path"
        )
        self.version = version


class StoreForeign(HoldfastError):
    """The file is a database, and not a hub's.  It gets no tables of ours."""

    def __init__(self) -> None:
        super().__init__(
            "wanted a hub store or an empty file, got another program's database: "
            "configure another store_path, nothing in this one was changed"
        )


class StoreDamaged(HoldfastError):
    """The hub's store cannot be read.  It is left as it is: nothing is thrown away unasked."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"wanted a sound hub store, got {reason}: restore it, or move it away to begin with none"
        )


@attrs.frozen
class Outgoing:
    """A message for a client that it has not acknowledged."""

    seq: int
    id: str
    type: str
    re: str | None
    channel: str | None
    payload: bytes


@attrs.frozen
class Effect:
    """A message of a client that took effect."""

    session: str
    client_id: str
    seq: int
    id: str
    type: str
    channel: str | None
    payload: bytes


def open_tables(connection: apsw.Connection) -> None:
    """Make the tables of an empty file; refuse one that is damaged, another's, or a newer hub's."""
    with _naming_damage():
        _open_tables(connection)


def _open_tables(connection: apsw.Connection) -> None:
    (version,) = connection.execute("pragma user_version").fetchone() or (0,)
    if version > VERSION:
        raise StoreVersionUnknown(version)
    (application,) = connection.execute("pragma application_id").fetchone() or (0,)
    if application != APPLICATION_ID:
        if application or connection.execute("select 1 from sqlite_schema").fetchone():
            raise StoreForeign
        with connection:
            connection.execute(_TABLES)
            connection.execute(f"pragma user_version = {VERSION}")
            connection.execute(f"pragma application_id = {APPLICATION_ID}")


@contextmanager
def _naming_damage() -> Generator[None]:
    """Say of which file it is that SQLite complains; only what is read at the start is looked at."""
    try:
        yield
    except apsw.CorruptError as error:
        raise StoreDamaged(str(error)) from error


@contextmanager
def committed(connection: apsw.Connection) -> Generator[None]:
    """Commit everything inside, or nothing when it raises."""
    with connection:
        yield


class SessionStore:
    """The tables of the realtime service."""

    def __init__(self, connection: apsw.Connection, make_epoch: Callable[[], str]) -> None:
        open_tables(connection)
        self._connection = connection
        with _naming_damage():
            self.epoch = self._epoch(make_epoch)
        """Names this storage; a client that knows another one must not trust its numbers."""

    def _epoch(self, make_epoch: Callable[[], str]) -> str:
        insert = "insert into meta values ('epoch', ?) on conflict do nothing"
        self._connection.execute(insert, (make_epoch(),))
        ((epoch,),) = self._rows("select value from meta where name = 'epoch'")
        return str(epoch)

    def transaction(self) -> AbstractContextManager[None]:
        """Commit everything inside, or nothing when it raises."""
        return committed(self._connection)

    # -- sessions

    def sessions(self) -> Iterator[tuple[SessionRecord, list[int]]]:
        """Return every session with the sizes of what waits for it, oldest message first."""
        columns = ", ".join(field.name for field in attrs.fields(SessionRecord))
        rows = self._rows(f"select {columns} from sessions order by session")  # noqa: S608 - our own names
        for row in rows:
            record = SessionRecord(*row)
            sizes = self._rows("select size from outgoing where session = ? order by seq", record.session)
            yield record, [size for (size,) in sizes]

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        """Return all rows; their types are those of the columns, which SQLite does not tell a checker."""
        return cast("list[tuple[Any, ...]]", self._connection.execute(query, values).fetchall())

    def detach_all(self, wall_now: float) -> None:
        """Note that no session has a connection: the hub has just started."""
        self._connection.execute("update sessions set detached_at = ? where detached_at is null", (wall_now,))

    def save(self, record: SessionRecord) -> None:
        """Write a session's row."""
        self._connection.execute(
            "insert or replace into sessions values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", attrs.astuple(record)
        )

    def delete(self, session: str) -> None:
        """Forget a session and what waits in it.  Its effects and the ids of its client stay."""
        for table in ("sessions", "outgoing", "subscriptions"):
            self._connection.execute(f"delete from {table} where session = ?", (session,))  # noqa: S608

    # -- what clients sent

    def receive(self, subject: str, effect: Effect, wall_now: float) -> bool:
        """Log a message; false when the client's id is known, from whichever of its sessions."""
        connection = self._connection
        connection.execute(
            "insert into seen values (?, ?, ?, ?) on conflict do nothing",
            (subject, effect.client_id, effect.id, wall_now),
        )
        if connection.changes() == 0:
            return False
        connection.execute(
            "insert into effects (session, subject, client_id, seq, id, type, channel, payload, received_at)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                effect.session, subject, effect.client_id, effect.seq, effect.id,
                effect.type, effect.channel, effect.payload, wall_now,
            ),
        )  # fmt: skip
        return True

    def effects(self) -> list[Effect]:
        """Return the log, oldest first."""
        rows = self._rows(
            "select session, client_id, seq, id, type, channel, payload from effects order by position"
        )
        return [Effect(*row) for row in rows]

    # -- what waits for clients

    def append(self, session: str, message: Outgoing, size: int) -> None:
        """Keep a message until its client acknowledges it."""
        self._connection.execute(
            "insert into outgoing values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                session, message.seq, message.id, message.type, message.re,
                message.channel, message.payload, size,
            ),
        )  # fmt: skip

    def outgoing(self, session: str, after: int, limit: int) -> list[Outgoing]:
        """Return the next messages for a client."""
        rows = self._rows(
            "select seq, id, type, re, channel, payload from outgoing"
            " where session = ? and seq > ? order by seq limit ?",
            session,
            after,
            limit,
        )
        return [Outgoing(*row) for row in rows]

    def acknowledge(self, session: str, through: int) -> None:
        """Forget what a client has."""
        self._connection.execute("delete from outgoing where session = ? and seq <= ?", (session, through))

    # -- subscriptions

    def subscribe(self, session: str, channel: str) -> None:
        """Remember that a session hears a channel; twice is once."""
        self._connection.execute(
            "insert into subscriptions values (?, ?) on conflict do nothing", (session, channel)
        )

    def unsubscribe(self, session: str, channel: str) -> None:
        """Forget it."""
        self._connection.execute(
            "delete from subscriptions where session = ? and channel = ?", (session, channel)
        )

    def subscriptions(self) -> list[tuple[str, str]]:
        """Return (session, channel) pairs."""
        rows = self._connection.execute(
            "select session, channel from subscriptions order by session, channel"
        )
        return [(str(session), str(channel)) for session, channel in rows]

    # -- bounds

    def prune(self, *, seen_before: float, seen_max: int, effects_max: int) -> None:
        """Forget ids that are old or too many, and the oldest of a log that is too long."""
        self._connection.execute("delete from seen where seen_at < ?", (seen_before,))
        self._connection.execute(
            "delete from seen where rowid <= (select max(rowid) from seen) - ?", (seen_max,)
        )
        self._connection.execute(
            "delete from effects where position <= (select max(position) from effects) - ?", (effects_max,)
        )
