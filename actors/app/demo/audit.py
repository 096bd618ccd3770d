"""What really happened to the messages, read from the logs that both processes left on disk.

Nothing here trusts what a process said of itself while it ran: the numbers come
from the client's journal (what it sent and what reached the application) and
from the hub's store (what took effect there), after both have ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self

import apsw
import attrs
import msgspec

__all__ = [
    "Direction",
    "Logs",
    "audit_direction",
    "count_full_restarts",
    "in_flight",
    "read_logs",
]


class _Numbered(msgspec.Struct):
    number: int


class _LogLine(msgspec.Struct):
    message: str = ""


@attrs.frozen
class Direction:
    """One way of the traffic, compared number by number."""

    sent: int
    received: int
    lost: int
    duplicated: int
    out_of_order: int

    @property
    def clean(self) -> bool:
        """Whether everything arrived once and in order."""
        return not (self.lost or self.duplicated or self.out_of_order)


@attrs.frozen
class Logs:
    """The numbers as they were written down, in the order of writing; times are the wall clock's."""

    sent: list[int]
    accepted: list[tuple[int, float]]
    """By the client, for delivery."""
    effects: list[tuple[int, float]]
    """At the hub."""
    received: list[tuple[int, float]]
    """By the application, what the hub had sent back."""

    def up(self) -> Direction:
        """Compare what was sent with what took effect at the hub."""
        return audit_direction(self.sent, [number for number, _at in self.effects])

    def down(self) -> Direction:
        """Compare what should have come back with what did."""
        return audit_direction(self.sent, [number for number, _at in self.received])

    def in_flight(self, at: float) -> tuple[int, int]:
        """Return how many messages were on their way up, and down, at a time."""
        effects, received = _first(self.effects), _first(self.received)
        return in_flight(at, _first(self.accepted), effects), in_flight(at, effects, received)


def audit_direction(sent: Sequence[int], received: Sequence[int]) -> Direction:
    """Compare what was sent with what arrived, both in their own order."""
    counts = Counter(received)
    first_arrivals = list(dict.fromkeys(received))
    return Direction(
        sent=len(sent),
        received=len(received),
        lost=sum(number not in counts for number in sent),
        duplicated=sum(count - 1 for count in counts.values()),
        out_of_order=sum(later < earlier for earlier, later in pairwise(first_arrivals)),
    )


def in_flight(at: float, left: Mapping[int, float], arrived: Mapping[int, float]) -> int:
    """Count what had left by then and arrived later, or never."""
    return sum(when <= at < arrived.get(number, float("inf")) for number, when in left.items())


def _first(rows: Sequence[tuple[int, float]]) -> dict[int, float]:
    times: dict[int, float] = {}
    for number, at in rows:
        times.setdefault(number, at)
    return times


def read_logs(journal: Path, hub: Path) -> Logs:
    """Read the client's journal and the hub's store."""
    with _Reader(journal) as client, _Reader(hub) as store:
        effects = store.rows("select payload, received_at from effects order by position")
        return Logs(
            sent=[
                number
                for (number,) in client.rows("select number from sent order by rowid")
                if isinstance(number, int)
            ],
            accepted=_timed(client.rows("select number, at from accepted order by rowid")),
            effects=_timed([(_number(payload), at) for payload, at in effects]),
            received=_timed(client.rows("select number, at from received order by rowid")),
        )


_Cell = int | float | str | bytes | None


def _timed(rows: Sequence[tuple[_Cell, ...]]) -> list[tuple[int, float]]:
    return [(number, float(at)) for number, at in rows if isinstance(number, int) and isinstance(at, float)]


def _number(payload: _Cell) -> int | None:
    try:
        return msgspec.json.decode(
            payload if isinstance(payload, bytes | str) else b"", type=_Numbered
        ).number
    except msgspec.MsgspecError:
        return None  # a message of the session that is not one of ours


class _Reader:
    """A database that is only read."""

    def __init__(self, path: Path) -> None:
        flags = apsw.SQLITE_OPEN_READONLY
        self._connection = apsw.Connection(str(path), flags=flags) if path.is_file() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def rows(self, query: str) -> list[tuple[_Cell, ...]]:
        """Return all rows; none when there is no database, because its process never came so far."""
        return [] if self._connection is None else list(self._connection.execute(query))


def count_full_restarts(log: Path) -> int:
    """Count the full restarts that the client's log tells of; -1 when there is no log."""
    if not log.is_file():
        return -1
    decode = msgspec.json.Decoder(_LogLine).decode
    count = 0
    for line in log.read_bytes().splitlines():
        try:
            count += decode(line).message == "supervisor:full_restart_completed"
        except msgspec.MsgspecError:
            continue  # a line that the kill of the process cut off
    return count
