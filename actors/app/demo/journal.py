"""The client process's own log of the numbers: what it sent, what was accepted, what came back.

A number is written down before it is sent, with the id that it is sent under,
and when it comes back before the inbox is told that it was processed.  Times
are the wall clock's, so that they can be compared with the hub's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

__all__ = ["Journal"]


class Journal:
    """A file that is committed at every call."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.execute("pragma journal_mode=wal; pragma synchronous=normal")
        self._connection.execute(
            "create table if not exists sent (number integer not null, id text not null);"
            "create table if not exists accepted (number integer not null, at real not null);"
            "create table if not exists received"
            " (number integer not null, id text not null, at real not null)"
        )

    def note_sent(self, rows: Sequence[tuple[int, str]]) -> None:
        """Write down what is about to be sent: numbers, and the ids that they are sent under."""
        self._insert("insert into sent (number, id) values (?, ?)", rows)

    def note_accepted(self, rows: Sequence[tuple[int, float]]) -> None:
        """Write down when the client had taken each number on."""
        self._insert("insert into accepted (number, at) values (?, ?)", rows)

    def note_received(self, rows: Sequence[tuple[int, str, float]]) -> None:
        """Write down what reached the application, and when."""
        self._insert("insert into received (number, id, at) values (?, ?, ?)", rows)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _insert(self, statement: str, rows: Sequence[tuple[int | str | float, ...]]) -> None:
        with self._connection:
            self._connection.executemany(statement, rows)
