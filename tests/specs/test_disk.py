"""The simulated disk: what SQLite promises holds on it, and its faults are those of real disks."""

from __future__ import annotations

import random
from collections.abc import Generator
from pathlib import Path
from typing import cast

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.runtime.seams import StoreUnreadable
from holdfast.specs import FIRST_DAY, Disk, Effects

STORE = Path("/var/lib/store.db")


def _disk(seed: int = 1) -> Disk:
    return Disk(random.Random(seed), lambda: FIRST_DAY, Effects())


@pytest.fixture
def disk() -> Generator[Disk]:
    made = _disk()
    yield made
    made.close()


def _open(disk: Disk) -> apsw.Connection:
    store = disk.open_store(STORE)
    store.execute("create table if not exists said (n integer primary key, what blob)")
    return store


def _say(store: apsw.Connection, *numbers: int) -> None:
    for number in numbers:
        store.execute("insert into said values (?, ?)", (number, bytes(700)))


def _said(store: apsw.Connection) -> list[int]:
    assert store.pragma("integrity_check") == "ok"
    rows = cast("list[tuple[int]]", store.execute("select n from said order by n").fetchall())
    return [n for (n,) in rows]


def test_a_store_is_opened_as_on_a_real_disk(disk: Disk) -> None:
    store = _open(disk)

    assert store.pragma("journal_mode") == "wal"
    assert store.pragma("synchronous") == 1
    assert store.pragma("foreign_keys") == 1
    rows = cast("list[tuple[str]]", store.execute("select datetime('now')").fetchall())
    assert rows == [("2026-11-18 11:06:40",)]
    store.close()


def test_a_killed_process_keeps_what_it_committed_and_reaches_the_disk_no_more(disk: Disk) -> None:
    dead = _open(disk)
    _say(dead, *range(50))
    dead.execute("begin")
    _say(dead, 100)
    disk.kill()

    # Whatever the dead one's clean-up does: end its transaction, write on, fold its log into the file.
    dead.execute("commit")
    _say(dead, 200)
    dead.close()
    assert _said(_open(disk)) == list(range(50))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 1_000_000), st.integers(1, 60), st.booleans())
def test_a_power_cut_loses_the_latest_commits_at_most_and_never_a_part_of_one(
    seed: int, count: int, checkpoint: bool
) -> None:
    # what open_store promises, on a disk that reorders and tears what was not synced
    disk = _disk(seed)
    dead = _open(disk)
    _say(dead, *range(10))
    dead.execute("pragma wal_checkpoint(full)").fetchall()
    _say(dead, *range(10, 10 + count))
    if checkpoint:
        dead.execute("pragma wal_checkpoint(full)").fetchall()
    disk.cut_power()

    left = _said(_open(disk))
    assert left == list(range(len(left)))
    assert len(left) >= (10 + count if checkpoint else 10)
    dead.close()


def test_some_power_cuts_do_lose_commits() -> None:
    # the positive control of the rule above
    lost = 0
    for seed in range(20):
        disk = _disk(seed)
        store = _open(disk)
        _say(store, *range(20))
        disk.cut_power()
        lost += len(_said(_open(disk))) < 20
    assert lost > 10


def test_a_full_disk_refuses_a_commit_whole_and_takes_it_when_there_is_room(disk: Disk) -> None:
    store = _open(disk)
    _say(store, 0)
    disk.capacity = disk.used() + 1_000
    with pytest.raises(apsw.FullError):
        _say(store, *range(1, 1_000))
    before = _said(store)
    disk.capacity = None
    _say(store, 5_000)
    assert _said(store) == [*before, 5_000]


def test_a_disk_that_has_become_read_only_refuses_writing_and_lets_read(disk: Disk) -> None:
    store = _open(disk)
    _say(store, 0)
    disk.read_only = True
    with pytest.raises(apsw.ReadOnlyError):
        _say(store, 1)
    assert _said(store) == [0]
    disk.read_only = False
    store.close()


def test_a_read_only_disk_lets_no_store_be_made_and_says_which(disk: Disk) -> None:
    disk.read_only = True
    with pytest.raises(StoreUnreadable) as refused:
        disk.open_store(STORE)
    assert refused.value.path == STORE


@pytest.mark.parametrize("seed", range(8))
def test_a_failed_sync_is_told_and_what_it_should_have_saved_is_not_tried_again(seed: int) -> None:
    # as Linux does it; without the cut nobody notices, and with it all is lost, not a part
    disk = _disk(seed)
    store = _open(disk)
    _say(store, 0)
    disk.failing_syncs = 1
    with pytest.raises(apsw.IOError):
        store.execute("pragma wal_checkpoint(full)").fetchall()
    assert _said(store) == [0]
    log = disk.files[f"{STORE}-wal"]
    assert log.data
    assert not log.pending
    disk.cut_power()
    assert _said(_open(disk)) == []


def test_faults_are_counted_when_they_took_effect() -> None:
    effects = Effects()
    disk = Disk(random.Random(1), lambda: FIRST_DAY, effects)
    store = _open(disk)
    disk.read_only = True
    assert effects.counts() == {}
    with pytest.raises(apsw.ReadOnlyError):
        _say(store, 1)
    assert effects["disk:read_only"] == 1
    disk.read_only = False
    store.close()


def test_nothing_of_another_store_in_memory_is_on_the_disk(disk: Disk) -> None:
    disk.open_store(None).execute("create table t (x)")
    assert disk.files == {}
