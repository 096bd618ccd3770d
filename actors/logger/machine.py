"""What the logger decides: how a record becomes a line, what makes a batch, when to write, what to hold back.

Pure: no disk, no clock, no task.  Records go in, ready lines come out; facts
about writing go in (`due`, `written`, `failed`), the next step comes out.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

import attrs
import msgspec

from holdfast.actors.logger.messages import Backlog, Level, Record
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.runtime import iso_timestamp
from holdfast.runtime.redaction import CUT, Json, clean, clean_string

__all__ = ["Batch", "DeadLetterLimit", "Pace", "Step", "clean_end", "fill_batch", "is_clean_end", "render"]

# Enough to make one write cheap; at 2 to 4 us a record about a millisecond of the loop.
BATCH_RECORDS = 256

# Heavy records, at up to 50 us, make a shorter batch for the same reason.
BATCH_CHARS = 32_768

# What readers of log lines commonly accept; a record's text is bounded to half of it before.
LINE_BYTES_MAX = 65_536

MESSAGE_CHARS_MAX = 8_192

# Dead letters come in floods, and the tenth of a second says nothing that the first did not.
DEAD_LETTERS_PER_SECOND = 10

CLEAN_END = "clean end"
COMPONENT = "logger"

_LEVEL_NAMES = {int(level): level.name for level in Level}

_encoder = msgspec.json.Encoder()


class _Mark(msgspec.Struct, frozen=True):
    """What a line must say to be the mark of a clean end."""

    message: str
    component: str


# ---- lines --------------------------------------------------------------------------------------------


def render(record: Record, settings: LoggerSettings) -> str:
    """Return the record as one redacted line without its line end.  Never raises for what a record holds."""
    try:
        shown = _shown(record)
        line = _encode(shown, settings)
        if len(line) > LINE_BYTES_MAX:
            shown["data"] = {CUT: len(line)}
            line = _encode(shown, settings)
        return line
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one strange record must not take its batch with it
        return _encode(
            _base(Level.ERROR, f"a record could not be rendered: {type(error).__name__}", 0), settings
        )


def _shown(record: Record) -> dict[str, Json]:
    message: object = record.message
    text = message if type(message) is str else repr(message)
    shown = _base(record.level, clean_string(text, MESSAGE_CHARS_MAX), record.time)
    shown["component"] = _component(str(record.component))
    if record.data is not None:
        data = clean(record.data)
        shown["data"] = data if isinstance(data, dict) else {"value": data}
    return shown


def _base(level: int, message: str, time: float) -> dict[str, Json]:
    second, fraction = divmod(time, 1)
    return {
        "level": _LEVEL_NAMES[level],
        "message": message,
        "component": COMPONENT,
        "timestamp": f"{_whole_second(second)}.{int(fraction * 1000):03d}Z",
        "data": {},
    }


@lru_cache(maxsize=8)
def _whole_second(second: float) -> str:
    # Formatting a date costs as much as the rest of a small record, and neighbours share their second.
    return iso_timestamp(second).partition(".")[0]


@lru_cache(maxsize=256)
def _component(name: str) -> str:
    return clean_string(name, 256)


def _encode(shown: dict[str, Json], settings: LoggerSettings) -> str:
    if not settings.include_timestamp:
        shown = {key: value for key, value in shown.items() if key != "timestamp"}
    if settings.structured:
        return _encoder.encode(shown).decode()
    data = _encoder.encode(shown["data"]).decode() if shown["data"] else ""
    parts = (
        shown.get("timestamp", ""),
        shown["level"],
        shown["component"],
        _one_line(shown["message"]),
        data,
    )
    return " ".join(str(part) for part in parts if part)


def _one_line(message: Json) -> str:
    # A message with a line end in it must not look like two lines, and a terminal must not obey one.
    text = str(message)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def clean_end(time: float, settings: LoggerSettings) -> str:
    """Return the last line of a run: its absence at the next start tells of a crash."""
    return _encode(_base(Level.INFO, CLEAN_END, time), settings)


def is_clean_end(line: str) -> bool:
    """Return whether this last line of a file says that the run before ended as it should."""
    try:
        shown = msgspec.json.decode(line, type=_Mark)
    except msgspec.MsgspecError:
        return line.endswith(f"{Level.INFO.name} {COMPONENT} {CLEAN_END}")
    return shown == _Mark(CLEAN_END, COMPONENT)


# ---- batches ------------------------------------------------------------------------------------------


@attrs.frozen
class Batch:
    """Ready lines, each with its line end, and how many accepted records they stand for."""

    lines: str
    records: int


def fill_batch(backlog: Backlog, settings: LoggerSettings) -> Batch | None:
    """Take up to 256 records from the backlog as ready lines; None when there are none.

    How many were dropped is said where they are missing.
    """
    lines: list[str] = []
    chars = taken = 0
    while backlog.records and taken < BATCH_RECORDS and chars < BATCH_CHARS:
        line = render(backlog.records.popleft(), settings)
        lines.append(line)
        chars += len(line)
        taken += 1
        if backlog.dropped:
            lines += _dropped(backlog, settings)
    lines += _dropped(backlog, settings)
    if not lines:
        return None
    return Batch("\n".join(lines) + "\n", taken)


def _dropped(backlog: Backlog, settings: LoggerSettings) -> list[str]:
    count = backlog.take_dropped()
    if not count:
        return []
    message = f"{count} records dropped"
    return [render(Record(int(Level.WARN), message, COMPONENT, backlog.now(), {"dropped": count}), settings)]


# ---- pace ---------------------------------------------------------------------------------------------


class Step(Enum):
    """What the actor does next."""

    NOTHING = "nothing"
    LINGER = "linger"
    """Set the timer: the first record waits for company."""
    WRITE = "write"
    PARK = "park"
    """Nothing waits: have the front wake us."""
    RETRY = "retry"
    """Set the timer of the next attempt."""


@attrs.define
class Pace:
    """When to write.  One write at a time; a failing file is tried again at intervals, for ever."""

    _writing: bool = False
    _lingering: bool = False
    failures: int = 0
    """Attempts since the file last took anything."""

    def woken(self) -> Step:
        """A record came to an empty backlog."""
        if self._writing or self._lingering or self.failures:
            return Step.NOTHING
        self._lingering = True
        return Step.LINGER

    def due(self, *, waiting: bool) -> Step:
        """A timer ran out, or somebody wants everything written now."""
        if self._writing:
            return Step.NOTHING
        self._lingering = False
        self._writing = waiting
        return Step.WRITE if waiting else Step.PARK

    def written(self, *, waiting: bool) -> Step:
        """The file took a batch."""
        self._writing = False
        self.failures = 0
        return self.due(waiting=waiting)

    def failed(self) -> Step:
        """The file refused a batch, which is kept."""
        self._writing = False
        self.failures += 1
        return Step.RETRY


@attrs.define
class DeadLetterLimit:
    """At most ten dead letters a second are logged; the others are counted."""

    _since: float = float("-inf")
    _shown: int = 0
    held_back: int = 0

    def admit(self, now: float) -> bool:
        """Return whether to log one that came now."""
        if now - self._since >= 1.0:
            self._since, self._shown = now, 0
        self._shown += 1
        if self._shown <= DEAD_LETTERS_PER_SECOND:
            return True
        self.held_back += 1
        return False

    def take_held_back(self) -> int:
        """Return how many were held back since the last time, and start counting anew."""
        count, self.held_back = self.held_back, 0
        return count
