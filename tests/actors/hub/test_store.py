from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from holdfast.actors.hub.session import SessionRecord
from holdfast.actors.hub.store import (
    Effect,
    Outgoing,
    SessionStore,
    StoreDamaged,
    StoreForeign,
    StoreVersionUnknown,
)
from holdfast.runtime import Seams


def record(name: str = "s-1", *, recv_seq: int = 0, sent_seq: int = 0) -> SessionRecord:
    return SessionRecord(name, "alice", "laptop", b"key", recv_seq=recv_seq, sent_seq=sent_seq)


def effect(seq: int, name: str | None = None) -> Effect:
    return Effect("s-1", "laptop", seq, name or f"m-{seq}", "msg.publish", "room", b'{"n":1}')


def new_store() -> SessionStore:
    return SessionStore(apsw.Connection(":memory:"), lambda: "epoch-1")


def reopened(path: Path) -> SessionStore:
    return SessionStore(Seams().store(path), lambda: "another epoch")


def test_a_message_is_logged_once_for_a_clients_id_in_whichever_session() -> None:
    store = new_store()

    assert store.receive("alice", effect(1), 0.0)
    assert not store.receive("alice", effect(5, "m-1"), 1.0)
    assert store.receive("bob", effect(1), 1.0), "ids are the client's own"
    assert [each.id for each in store.effects()] == ["m-1", "m-1"]


def test_nothing_of_a_turn_that_fails_is_kept() -> None:
    store = new_store()

    with pytest.raises(ZeroDivisionError), store.transaction():
        store.save(record(recv_seq=1))
        store.receive("alice", effect(1), 0.0)
        raise ZeroDivisionError

    assert list(store.sessions()) == []
    assert store.effects() == []


def test_what_waits_for_a_client_comes_in_order_until_it_is_acknowledged() -> None:
    store = new_store()
    for seq in (1, 2, 3):
        store.append("s-1", Outgoing(seq, f"e-{seq}", "msg.event", None, "room", b"{}"), 10 * seq)
    store.save(record(sent_seq=3))

    store.acknowledge("s-1", 1)

    assert [message.seq for message in store.outgoing("s-1", 0, 10)] == [2, 3]
    assert [message.seq for message in store.outgoing("s-1", 2, 10)] == [3]
    assert [message.seq for message in store.outgoing("s-1", 0, 1)] == [2]
    assert [sizes for _, sizes in store.sessions()] == [[20, 30]]


def test_a_deleted_session_leaves_its_effects_and_the_memory_of_its_ids() -> None:
    store = new_store()
    store.save(record())
    store.subscribe("s-1", "room")
    store.receive("alice", effect(1), 0.0)
    store.append("s-1", Outgoing(1, "e", "msg.event", None, None, b""), 1)

    store.delete("s-1")

    assert list(store.sessions()) == []
    assert store.subscriptions() == []
    assert store.outgoing("s-1", 0, 9) == []
    assert len(store.effects()) == 1
    assert not store.receive("alice", effect(1), 1.0)


def test_a_store_that_starts_knows_of_no_connection() -> None:
    store = new_store()
    store.save(record())

    store.detach_all(77.0)

    assert [found.detached_at for found, _ in store.sessions()] == [77.0]


def test_ids_and_the_log_are_bounded_by_age_and_number() -> None:
    store = new_store()
    for seq in range(1, 11):
        store.receive("alice", effect(seq), float(seq))

    store.prune(seen_before=3.0, seen_max=5, effects_max=4)

    assert [each.seq for each in store.effects()] == [7, 8, 9, 10]
    assert [store.receive("alice", effect(seq), 11.0) for seq in (5, 6)] == [True, False]


def test_the_epoch_belongs_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"

    first = SessionStore(Seams().store(path), lambda: "epoch-1")

    assert (first.epoch, reopened(path).epoch) == ("epoch-1", "epoch-1")
    assert SessionStore(apsw.Connection(":memory:"), lambda: "epoch-2").epoch == "epoch-2"


def test_a_file_of_a_newer_hub_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    connection = Seams().store(path)
    connection.execute("pragma user_version = 99")

    with pytest.raises(StoreVersionUnknown, match="got version 99"):
        SessionStore(connection, lambda: "e")

    assert connection.execute("select count(*) from sqlite_schema").fetchall() == [(0,)]


def test_another_programs_database_is_refused_and_gets_no_tables_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    connection = Seams().store(path)
    connection.execute("create table mine (a)")

    with pytest.raises(StoreForeign, match="another program's database"):
        SessionStore(connection, lambda: "e")

    assert connection.execute("select name from sqlite_schema").fetchall() == [("mine",)]


def test_a_damaged_file_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    connection = Seams().store(path)
    SessionStore(connection, lambda: "e")
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()
    connection.close()
    damaged = path.read_bytes()[:4096] + b"\x5a" * (path.stat().st_size - 4096)
    path.write_bytes(damaged)

    with pytest.raises(StoreDamaged, match="wanted a sound hub store"):
        reopened(path)

    assert path.read_bytes() == damaged


# A process that commits a message, says so, begins the next and is killed before it commits.
_VICTIM = """
import pathlib, sys
from holdfast.actors.hub.session import SessionRecord
from holdfast.actors.hub.store import Effect, Outgoing, SessionStore
from holdfast.runtime import Seams

store = SessionStore(Seams().store(pathlib.Path(sys.argv[1])), lambda: "epoch-1")
for seq in range(1, 1_000_000):
    with store.transaction():
        store.receive("alice", Effect("s-1", "laptop", seq, f"m-{seq}", "msg.echo", None, b"{}"), 0.0)
        store.append("s-1", Outgoing(seq, f"e-{seq}", "msg.event", f"m-{seq}", None, b"{}"), 2)
        store.save(SessionRecord("s-1", "alice", "laptop", b"key", recv_seq=seq, sent_seq=seq))
    print(seq, flush=True)
"""


def test_a_kill_takes_back_nothing_that_was_committed_and_leaves_no_half_of_a_turn(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    promised = 0
    with subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(path)], stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        for _ in range(200):
            promised = int(victim.stdout.readline())
        victim.send_signal(signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL
        rest = victim.stdout.read().split()
    promised = int(rest[-1]) if rest else promised

    store = reopened(path)
    ((found, sizes),) = store.sessions()

    assert found.recv_seq >= promised >= 200
    assert [each.seq for each in store.effects()] == list(range(1, found.recv_seq + 1))
    assert len(sizes) == found.sent_seq == found.recv_seq
    assert store.epoch == "epoch-1"
