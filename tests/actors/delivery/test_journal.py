"""What is committed is there for the next incarnation; what the disk refuses has changed nothing."""

from __future__ import annotations

from pathlib import Path

import apsw
import attrs
import msgspec
import pytest

from holdfast.actors.delivery.inbox import Inbox, Intake
from holdfast.actors.delivery.journal import Journal
from holdfast.actors.delivery.machine import Opening
from holdfast.actors.delivery.messages import Append, LinkUp, StoreRefused, StoreUnavailable
from holdfast.actors.delivery.outbox import Entry
from holdfast.actors.socket.messages import Frame, Position
from holdfast.runtime import Secret
from holdfast.runtime.seams import open_store

PAYLOAD = msgspec.Raw(b'{"n":1}')


NOBODY: frozenset[str] = frozenset()


def journal(connection: apsw.Connection, *, acked_ids: int = 4_096, received_ids: int = 1_000) -> Journal:
    return Journal(connection, acked_ids=acked_ids, received_ids=received_ids)


def fill(made: Journal, count: int) -> list[Entry]:
    batch = [Entry(position, 10, 5.0) for position in range(1, count + 1)]
    for entry in batch:
        made.append(entry, Append(f"m{entry.position}", "msg.publish", "c", PAYLOAD))
    return batch


def numbered(batch: list[Entry]) -> list[Entry]:
    return [Entry(entry.position, entry.size, entry.accepted_at, entry.position) for entry in batch]


def intake(*frames: Frame, first_position: int = 1, ack: int = 0, acked_position: int = 0) -> Intake:
    inbox = Inbox(
        recv_seq=0,
        position=first_position - 1,
        depth=0,
        size=0,
        messages_max=100,
        size_max=10_000,
        ack_every=16,
    )
    proposed = inbox.weigh((*frames, Frame(type="ack", ack=ack)), NOBODY)
    return attrs.evolve(proposed, acked_position=acked_position)


def opening(*, resumed: bool) -> Opening:
    return Opening(
        fact=LinkUp(
            generation=1,
            session="s",
            key=Secret("key"),
            epoch="e",
            resumed=resumed,
            why=None,
            recv_seq=0,
            session_ttl=60.0,
            window_frames=10,
            window_bytes=1_000,
            max_frame=1_000,
        )
    )


def test_the_client_has_one_identity_for_ever() -> None:
    connection = apsw.Connection(":memory:")

    assert journal(connection).recover(lambda: "first").client_id == "first"
    assert journal(connection).recover(lambda: "second").client_id == "first"


# A3.4
def test_the_outbox_survives_in_order_with_its_numbers(tmp_path: Path) -> None:
    made = journal(open_store(tmp_path / "delivery.db"))
    made.recover(lambda: "c")
    batch = fill(made, 3)
    made.number(numbered(batch)[:2], beyond=0)

    memory = journal(open_store(tmp_path / "delivery.db")).recover(lambda: "c")

    assert [(entry.position, entry.seq) for entry in memory.entries] == [(1, 1), (2, 2), (3, None)]
    assert (memory.sent_seq, memory.acked_seq, memory.last_position) == (2, 0, 3)


def test_an_acknowledged_message_leaves_its_id_behind_for_a_while() -> None:
    connection = apsw.Connection(":memory:")
    made = journal(connection, acked_ids=2)
    batch = fill(made, 4)
    made.number(numbered(batch), beyond=0)

    made.take_in(intake(ack=4, acked_position=4))

    memory = made.recover(lambda: "c")
    assert (memory.entries, memory.acked_seq, memory.last_position) == ((), 4, 4)
    assert [made.position_of(f"m{n}") for n in (1, 2, 3, 4)] == [None, None, 3, 4]
    assert connection.execute("select sum(length(payload)) from outbox").fetchall() == [(0,)]


def test_a_message_and_its_cursor_and_its_id_are_one_commit() -> None:
    connection = apsw.Connection(":memory:")
    made = journal(connection)
    connection.set_commit_hook(lambda: True)

    with pytest.raises(apsw.ConstraintError):
        made.take_in(intake(Frame(type="msg.event", id="a", seq=1)))
    connection.set_commit_hook(None)

    memory = made.recover(lambda: "c")
    assert (memory.recv_seq, memory.inbox_depth, made.known(["a"])) == (0, 0, frozenset())
    made.take_in(intake(Frame(type="msg.event", id="a", seq=1)))
    memory = made.recover(lambda: "c")
    assert (memory.recv_seq, memory.inbox_depth, made.known(["a", "b"])) == (1, 1, frozenset({"a"}))


def test_a_message_comes_out_as_it_came_in() -> None:
    made = journal(apsw.Connection(":memory:"))
    frame = Frame(type="msg.event", id="a", seq=1, ch="c", re="q", pos=Position(7, "e"), payload=PAYLOAD)

    made.take_in(intake(frame, Frame(type="typing")))

    first, second = made.inbox_after(0, 10)
    assert (first.id, first.type, first.channel, first.re, first.pos) == (
        "a",
        "msg.event",
        "c",
        "q",
        Position(7, "e"),
    )
    assert first.payload == PAYLOAD
    assert (second.position, second.id, bytes(second.payload)) == (2, "", b"{}")


def test_positions_of_the_inbox_are_never_used_twice() -> None:
    made = journal(apsw.Connection(":memory:"))
    made.take_in(intake(Frame(type="msg.event", seq=1), Frame(type="msg.event", seq=2)))

    assert made.processed(2) == (2, 0)

    assert made.recover(lambda: "c").inbox_position == 2
    assert made.inbox_after(0, 10) == ()


def test_a_new_session_forgets_the_numbers_and_remembers_the_ids() -> None:
    made = journal(apsw.Connection(":memory:"))
    batch = fill(made, 2)
    made.number(numbered(batch), beyond=0)
    made.take_in(intake(Frame(type="msg.event", id="a", seq=1, ch="c")))
    assert made.channels() == ("c",)

    made.open_link(opening(resumed=False))

    memory = made.recover(lambda: "c")
    assert (memory.session, memory.epoch, memory.sent_seq, memory.recv_seq) == ("s", "e", 0, 0)
    assert memory.key == Secret("key")
    assert [entry.seq for entry in memory.entries] == [None, None]
    assert made.known(["a"]) == frozenset({"a"})
    assert made.channels() == (), "nothing came in this session yet"


def test_only_so_many_received_ids_are_remembered() -> None:
    made = journal(apsw.Connection(":memory:"), received_ids=2)

    made.take_in(intake(*(Frame(type="msg.event", id=f"a{n}", seq=n) for n in (1, 2, 3))))

    assert made.known(["a1", "a2", "a3"]) == frozenset({"a2", "a3"})


def test_a_full_disk_refuses_and_changes_nothing(tmp_path: Path) -> None:
    connection = open_store(tmp_path / "delivery.db")
    made = journal(connection)
    connection.pragma("max_page_count", connection.pragma("page_count"))

    with pytest.raises(
        StoreUnavailable, match=r"could not accept a message \(FullError: .*nothing was changed"
    ):
        made.append(Entry(1, 10, 0.0), Append("m1", "t", None, msgspec.Raw(b'"' + b"x" * 100_000 + b'"')))

    assert made.recover(lambda: "c").entries == ()
    connection.execute("pragma max_page_count = 100000")
    fill(made, 1)


def test_a_read_only_disk_refuses_and_says_so(tmp_path: Path) -> None:
    made = journal(open_store(tmp_path / "delivery.db"))
    made.recover(lambda: "c")
    connection = open_store(tmp_path / "delivery.db")
    connection.execute("pragma query_only = on")

    with pytest.raises(StoreUnavailable, match=r"ReadOnlyError"):
        fill(journal(connection), 1)


def test_another_programs_database_is_refused_and_left_alone() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("create table theirs (a)")

    with pytest.raises(
        StoreRefused, match=r"wanted a delivery store or an empty file, got another program's"
    ):
        journal(connection)

    assert connection.execute("select name from sqlite_schema").fetchall() == [("theirs",)]


def test_a_store_of_a_newer_version_is_refused() -> None:
    connection = apsw.Connection(":memory:")
    journal(connection)
    connection.pragma("user_version", 2)

    with pytest.raises(StoreRefused, match="wanted schema version 1, got version 2"):
        journal(connection)


def test_a_damaged_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "delivery.db"
    connection = open_store(path)
    made = journal(connection)
    fill(made, 500)
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 2 : 4096 * 6] = b"\xff" * (4096 * 4)
    path.write_bytes(damaged)

    with pytest.raises(StoreRefused, match="wanted a sound database, got"):
        journal(open_store(path))

    assert path.read_bytes() == bytes(damaged)


# A2.5
def test_preserved_state_is_replaced_under_its_name() -> None:
    made = journal(apsw.Connection(":memory:"))
    made.preserve("queue", b"1")
    made.preserve("queue", b"2")

    assert (made.preserved("queue"), made.preserved("other")) == (b"2", None)
    assert made.preserved_names(besides="queue") == 0
