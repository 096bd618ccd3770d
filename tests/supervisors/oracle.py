"""The recorded runs of a real Erlang supervisor (OTP 25): how to read a row, and what a row says."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping, Sequence

import msgspec

from holdfast.supervisors import AutoShutdown, Restart, Strategy

# Recorded: basic 1,215 (strategy x restart x victim x outcome), auto 1,728, flaky 324.
ROWS = 3_267


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recorded run: what was set up, what was done, what happened."""

    kind: str
    strategy: Strategy
    restart: tuple[Restart, Restart, Restart]
    auto_shutdown: AutoShutdown
    significant: tuple[bool, bool, bool]
    intensity: int
    fail_starts: Mapping[int, Sequence[int]]
    victim: int
    reason: str
    events: tuple[str, ...]
    final: Mapping[int, str]
    supervisor: str


@functools.cache
def rows() -> tuple[Row, ...]:
    """Return every recorded row."""
    text = importlib.resources.files("holdfast.specs").joinpath("oracle/otp_single_fault.jsonl").read_bytes()
    return tuple(msgspec.json.decode(line, type=Row, strict=False) for line in text.splitlines())


def rows_of(kind: str) -> tuple[Row, ...]:
    """Return the rows of one kind."""
    return tuple(row for row in rows() if row.kind == kind)
