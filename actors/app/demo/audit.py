"""What really happened to the messages, read from the logs that both processes left on disk.

Nothing here trusts what a process said of itself while it ran: the numbers come
from the client's journal (what it sent and what reached the application) and
from the hub's store (what took effect there), after both have ended.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import apsw
import attrs
import msgspec

__all__ = ["Direction", "audit_direction", "find_secrets", "read_effects", "read_journal"]

# A signed token, whoever made it: two or three base64url parts that begin like JSON.
_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")


class _Numbered(msgspec.Struct):
    number: int


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


def read_journal(path: Path, table: str) -> list[int]:
    """Return the numbers of one table of the client's journal, in the order in which they were written."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [number for (number,) in connection.execute(f"select number from {table} order by rowid")]  # noqa: S608 - a constant
    finally:
        connection.close()


def read_effects(store: Path) -> list[int]:
    """Return the numbers of the messages that took effect at the hub, in order."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        rows = connection.execute("select payload from effects order by position")
        return [number for (payload,) in rows if (number := _number(payload)) is not None]
    finally:
        connection.close()


def _number(payload: bytes | str) -> int | None:
    try:
        return msgspec.json.decode(payload, type=_Numbered).number
    except msgspec.ValidationError:
        return None  # a message of the session that is not one of ours


def find_secrets(files: Iterable[Path], canaries: Iterable[str]) -> list[str]:
    """Return where a known secret, or anything that looks like a signed token, stands in these files."""
    wanted = [canary.encode() for canary in canaries]
    found: list[str] = []
    for path in files:
        if not path.is_file():
            continue
        for line_number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if any(canary in line for canary in wanted) or _TOKEN.search(line):
                found.append(f"{path.name}:{line_number}")
    return found
