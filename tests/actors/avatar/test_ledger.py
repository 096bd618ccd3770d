from __future__ import annotations

from pathlib import Path

from holdfast.actors.avatar.ledger import AvatarLedger, RecordedSession
from holdfast.runtime import Seams


def test_the_ledger_outlives_its_connection(tmp_path: Path) -> None:  # A6.4
    store = Seams().store
    first = AvatarLedger(store(tmp_path / "store.db"))
    first.record(RecordedSession("s-1", "avatar-1"))
    # No close: the process was killed.
    again = AvatarLedger(store(tmp_path / "store.db"))
    assert again.recorded() == (RecordedSession("s-1", "avatar-1"),)


def test_sessions_come_back_oldest_first_and_twice_is_once() -> None:
    ledger = AvatarLedger(Seams().store(None))
    for name in ("b", "a", "b"):
        ledger.record(RecordedSession(name, "avatar"))
    assert [row.session_id for row in ledger.recorded()] == ["b", "a"]


def test_forgetting_what_is_not_there_is_nothing() -> None:
    ledger = AvatarLedger(Seams().store(None))
    ledger.record(RecordedSession("s-1", "avatar"))
    ledger.forget("s-2")
    ledger.forget("s-1")
    assert ledger.recorded() == ()
