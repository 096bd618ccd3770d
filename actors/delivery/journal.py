"""The journal: what is committed before anybody is told that it happened.

One SQLite file, used through a connection that the embedder opened (the store
seam) and that outlives every actor.  Each method is one transaction, so there is
no moment at which a crash could leave half of one; `recover` returns what a new
incarnation starts from.

What the disk refuses is `StoreUnavailable`, and nothing of that transaction was
done.  A file that is corrupt, newer or not ours is `StoreRefused` when it is
opened: it is never repaired, moved or overwritten unasked.  The session's key is
in it in clear text: the store seam makes the file readable by its owner alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, TypeAlias, TypeVar

import apsw
import msgspec

from holdfast.actors.delivery.inbox import Intake
from holdfast.actors.delivery.machine import Memory, Opening
from holdfast.actors.delivery.messages import Append, Inbound, StoreRefused, StoreUnavailable
from holdfast.actors.delivery.outbox import Entry, Removal
from holdfast.actors.socket.messages import Position
from holdfast.runtime import Secret

__all__ = ["Journal"]

T = TypeVar("T")

Value: TypeAlias = str | int | float | bytes | None

SCHEMA_VERSION = 1
APPLICATION_ID = 0x48464A31  # "HFJ1", in the file's header: no other program's database is taken for ours

# Acknowledged messages stay as bare ids (no payload), so that a send repeated late is recognised; they are
# the rows up to acked_position.  Numbers of the session are in `seq`, NULL until the first transmission.
# `received` remembers ids longer than `inbox` keeps messages.  `since` is the inbox position at which the
# session began.
SCHEMA = """
create table client (one integer primary key check (one = 1), client_id text not null) strict;
create table session (
    one integer primary key check (one = 1), session text, key text, epoch text, sent_seq integer not null,
    acked_seq integer not null, acked_position integer not null, recv_seq integer not null,
    inbox_position integer not null, since integer not null) strict;
create table outbox (
    position integer primary key, id text not null unique, type text not null, channel text,
    payload blob not null, seq integer, size integer not null, accepted_at real not null) strict;
create table inbox (
    position integer primary key, id text not null, type text not null, channel text, payload blob not null,
    pos text, re text, seq integer, size integer not null) strict;
create table received (position integer primary key, id text unique, channel text) strict;
create table preserved (name text primary key, state blob not null) strict;
insert into session values (1, null, null, null, 0, 0, 0, 0, 0, 0);
"""

# Names in a ContinuityLost event; an application on more channels than this reloads everything anyway.
CHANNELS_MAX = 1_000

# The world's errors; every other one of SQLite is our own bug and crashes.
_DISK = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.FullError,
    apsw.IOError,
    apsw.LockedError,
    apsw.PermissionsError,
    apsw.ReadOnlyError,
)
_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError)

NO_OBJECT = b"{}"


class _Session(NamedTuple):
    """The one row of the session's table, column by column."""

    one: int
    session: str | None
    key: str | None
    epoch: str | None
    sent_seq: int
    acked_seq: int
    acked_position: int
    recv_seq: int
    inbox_position: int
    since: int


class _Waiting(NamedTuple):
    position: int
    size: int
    accepted_at: float
    seq: int | None


class _Content(NamedTuple):
    id: str
    type: str
    channel: str | None
    payload: bytes


class _Stored(NamedTuple):
    position: int
    id: str
    type: str
    channel: str | None
    payload: bytes
    pos: str | None
    re: str | None


class _Using:
    """Names what the store is used for when the disk refuses it or the file turns out to be damaged."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, _DISK):
            raise StoreUnavailable(self._operation, error) from error
        if isinstance(error, _DAMAGE):
            raise StoreRefused("a sound database", str(error)) from error


class Journal:
    """The tables of one client."""

    def __init__(self, connection: apsw.Connection, *, acked_ids: int, received_ids: int) -> None:
        """Make the tables in an empty store; `StoreRefused` when it holds anything else than ours, sound."""
        self._connection = connection
        self._acked_ids = acked_ids
        self._received_ids = received_ids
        with _Using("be opened"):
            self._open()

    def _open(self) -> None:
        (damage,) = self._rows(tuple[str], "pragma quick_check(1)")[0]
        if damage != "ok":
            raise StoreRefused("a sound database", f"damage: {damage}")
        (application,) = self._rows(tuple[int], "pragma application_id")[0]
        (version,) = self._rows(tuple[int], "pragma user_version")[0]
        if application == APPLICATION_ID:
            if version != SCHEMA_VERSION:
                raise StoreRefused(f"schema version {SCHEMA_VERSION}", f"version {version}")
            return
        if application or self._rows(tuple[str], "select name from sqlite_schema"):
            raise StoreRefused("a delivery store or an empty file", "another program's database")
        with self._connection:
            self._connection.execute(SCHEMA)
            self._connection.pragma("application_id", APPLICATION_ID)
            self._connection.pragma("user_version", SCHEMA_VERSION)

    def recover(self, fresh_client_id: Callable[[], str]) -> Memory:
        """Return what an incarnation starts from; the client's identity is made here, once for ever."""
        with _Using("be read"):
            known = self._first(tuple[str], "select client_id from client")
            client_id = fresh_client_id() if known is None else known[0]
            if known is None:
                self._connection.execute("insert into client values (1, ?)", (client_id,))
            session = self._rows(_Session, "select * from session")[0]
            entries = self._rows(
                _Waiting,
                "select position, size, accepted_at, seq from outbox where position > ? order by position",
                session.acked_position,
            )
            depth, size = self._rows(tuple[int, int], "select count(*), coalesce(sum(size), 0) from inbox")[0]
            return Memory(
                client_id=client_id,
                session=session.session,
                key=None if session.key is None else Secret(session.key),
                epoch=session.epoch,
                sent_seq=session.sent_seq,
                acked_seq=session.acked_seq,
                recv_seq=session.recv_seq,
                last_position=entries[-1].position if entries else session.acked_position,
                inbox_position=session.inbox_position,
                inbox_depth=depth,
                inbox_bytes=size,
                entries=tuple(Entry(*entry) for entry in entries),
            )

    # -- the outbox

    def position_of(self, message_id: str) -> int | None:
        """Return where a message with this id was accepted, also after its acknowledgement."""
        with _Using("be read"):
            found = self._first(tuple[int], "select position from outbox where id = ?", message_id)
            return None if found is None else found[0]

    def append(self, entry: Entry, message: Append) -> None:
        """Commit a message at the end of the outbox."""
        with _Using("accept a message"):
            self._connection.execute(
                "insert into outbox values (?, ?, ?, ?, ?, null, ?, ?)",
                (
                    entry.position,
                    message.id,
                    message.type,
                    message.channel,
                    bytes(message.payload),
                    entry.size,
                    entry.accepted_at,
                ),
            )

    def number(self, batch: Sequence[Entry], *, beyond: int) -> None:
        """Commit the numbers above `beyond` of a batch: a number is taken before the frame with it leaves."""
        new = [(entry.seq, entry.position) for entry in batch if entry.seq is not None and entry.seq > beyond]
        if not new:
            return
        with _Using("number messages"), self._connection:
            self._connection.executemany("update outbox set seq = ? where position = ?", new)
            self._connection.execute("update session set sent_seq = ?", (new[-1][0],))

    def contents(self, batch: Sequence[Entry]) -> tuple[Append, ...]:
        """Return the messages of a batch, in order."""
        with _Using("be read"):
            rows = self._rows(
                _Content,
                "select id, type, channel, payload from outbox"
                " where position between ? and ? order by position",
                batch[0].position,
                batch[-1].position,
            )
        assert len(rows) == len(batch), "a batch has no holes"
        return tuple(Append(row.id, row.type, row.channel, msgspec.Raw(row.payload)) for row in rows)

    def remove(self, removals: Iterable[Removal]) -> None:
        """Commit that messages have left undelivered."""
        with _Using("remove messages"), self._connection:
            self._remove(removals)

    def ids_of(self, removals: Iterable[Removal]) -> tuple[str, ...]:
        """Return the ids of messages that are about to be removed."""
        with _Using("be read"):
            query = "select id from outbox where position = ?"
            return tuple(self._rows(tuple[str], query, removal.position)[0][0] for removal in removals)

    # -- the session

    def open_link(self, opening: Opening) -> None:
        """Commit what a welcome says: the new key and what the hub has, or a new session altogether."""
        fact = opening.fact
        with _Using("record the session"), self._connection:
            if not fact.resumed:
                self._restart_numbers()
            elif opening.acked_position:
                self._acknowledge(fact.recv_seq, opening.acked_position)
            self._connection.execute(
                "update session set session = ?, key = ?, epoch = ?",
                (fact.session, fact.key.reveal(), fact.epoch),
            )
            self._remove(opening.removals)

    def forget_session(self) -> None:
        """Commit that there is no session; what waits keeps its order and its ids."""
        with _Using("forget the session"), self._connection:
            self._restart_numbers()
            self._connection.execute("update session set session = null, key = null, epoch = null")

    def channels(self) -> tuple[str, ...]:
        """Return the channels on which something came in this session."""
        with _Using("be read"):
            rows = self._rows(
                tuple[str],
                "select distinct channel from received, session"
                " where position > since and channel is not null order by channel limit ?",
                CHANNELS_MAX,
            )
        return tuple(channel for (channel,) in rows)

    # -- the inbox

    def known(self, ids: Iterable[str]) -> frozenset[str]:
        """Return which of these ids were received before, in whatever session."""
        query = "select 1 from received where id = ?"
        with _Using("be read"):
            return frozenset(name for name in ids if self._first(tuple[int], query, name) is not None)

    def take_in(self, intake: Intake) -> None:
        """Commit received messages, their ids, both cursors and the hub's acknowledgement, all or nothing."""
        if not intake.changes:
            return
        with _Using("store received messages"), self._connection:
            for position, frame in enumerate(intake.stored, intake.first_position):
                payload = bytes(frame.payload) or NO_OBJECT
                pos = None if frame.pos is None else msgspec.json.encode(frame.pos).decode()
                self._connection.execute(
                    "insert into inbox values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        position, frame.id or "", frame.type, frame.ch, payload, pos, frame.re, frame.seq,
                        len(frame.payload),
                    ),
                )  # fmt: skip
                if frame.seq is not None:
                    self._connection.execute(
                        "insert into received values (?, ?, ?)", (position, frame.id, frame.ch)
                    )
            last = intake.first_position + len(intake.stored) - 1
            self._connection.execute(
                "update session set recv_seq = ?, inbox_position = ?", (intake.recv_seq, last)
            )
            self._connection.execute("delete from received where position <= ?", (last - self._received_ids,))
            if intake.acked_position:
                self._acknowledge(intake.ack, intake.acked_position)

    def inbox_after(self, after: int, limit: int) -> tuple[Inbound, ...]:
        """Return the oldest messages beyond a position."""
        with _Using("be read"):
            rows = self._rows(
                _Stored,
                "select position, id, type, channel, payload, pos, re from inbox"
                " where position > ? order by position limit ?",
                after,
                limit,
            )
        return tuple(
            Inbound(
                position=row.position,
                id=row.id,
                type=row.type,
                channel=row.channel,
                payload=msgspec.Raw(row.payload),
                pos=None if row.pos is None else msgspec.json.decode(row.pos, type=Position),
                re=row.re,
            )
            for row in rows
        )

    def processed(self, through: int) -> tuple[int, int]:
        """Commit everything up to a position as processed; return how many messages and bytes have left."""
        with _Using("mark messages as processed"):
            gone = self._rows(tuple[int], "delete from inbox where position <= ? returning size", through)
            return len(gone), sum(size for (size,) in gone)

    # -- preserved state

    def preserve(self, name: str, state: bytes) -> None:
        """Commit an application's state under a name."""
        with _Using("preserve state"):
            self._connection.execute("insert or replace into preserved values (?, ?)", (name, state))

    def preserved(self, name: str) -> bytes | None:
        """Return what was preserved under a name."""
        with _Using("be read"):
            found = self._first(tuple[bytes], "select state from preserved where name = ?", name)
            return None if found is None else found[0]

    def preserved_names(self, *, besides: str) -> int:
        """Return how many other names have state."""
        with _Using("be read"):
            return self._rows(tuple[int], "select count(*) from preserved where name <> ?", besides)[0][0]

    # -- parts of transactions

    def _acknowledge(self, seq: int, position: int) -> None:
        self._connection.execute(
            "update outbox set payload = x'', seq = null where position <= ? and seq is not null", (position,)
        )
        self._connection.execute("delete from outbox where position <= ?", (position - self._acked_ids,))
        self._connection.execute("update session set acked_seq = ?, acked_position = ?", (seq, position))

    def _restart_numbers(self) -> None:
        self._connection.execute("update outbox set seq = null where seq is not null")
        self._connection.execute(
            "update session set sent_seq = 0, acked_seq = 0, recv_seq = 0, since = inbox_position"
        )

    def _remove(self, removals: Iterable[Removal]) -> None:
        self._connection.executemany(
            "delete from outbox where position = ?", [(removal.position,) for removal in removals]
        )

    def _rows(self, row: type[T], query: str, *bindings: Value) -> list[T]:
        """Return the rows, each checked to be what the code takes it for."""
        return [msgspec.convert(values, row) for values in self._connection.execute(query, bindings)]

    def _first(self, row: type[T], query: str, *bindings: Value) -> T | None:
        rows = self._rows(row, query, *bindings)
        return rows[0] if rows else None
