"""What an exception and its frames were, as light data; the text is made when somebody reads it.

Formatting a traceback costs some 300 microseconds, ten times as much as the restart
that it tells of, and most of them are never read.  Writing down where each
frame stood costs one microsecond, and holds neither the exception nor a frame,
so nothing of the dead actor stays alive.  What exceptions say is cleaned of secrets
at once.  The source lines come from the files when the text is made.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import msgspec

from holdfast.runtime.outcomes import members
from holdfast.runtime.redaction import clean_string

__all__ = ["Backtrace", "Frame", "backtrace_of", "innermost", "own_place"]

# The innermost frames tell the story; a recursion's thousand do not.
FRAMES_MAX = 20

# Causes and members of groups in all: what failed first is at either end, and a group may hold thousands.
EXCEPTIONS_MAX = 16

# As much of an exception's own text as a screen shows; a text may quote a whole document.
TEXT_MAX = 4_000

# Outer frames in this folder lead to the actor's code; where there is none beyond them, the last one is kept.
_KERNEL = str(Path(__file__).parent)

# What stands between an actor that waits and the operating system.
_LOOPS = re.compile(r"[/\\\\](trio|anyio|asyncio|outcome)[/\\\\]")

Frame: TypeAlias = tuple[str, int, str]
"""File, line, function."""

_BECAUSE = "The above exception was the direct cause of the following exception:"
_MEANWHILE = "During handling of the above exception, another exception occurred:"


class Backtrace(msgspec.Struct, frozen=True):
    """One exception with what led to it; `str` of it is the text that Python would print."""

    kind: str
    """The class, with its module."""
    text: str
    notes: tuple[str, ...]
    frames: tuple[Frame, ...]
    """Outermost first."""
    left_out: int
    """Outer frames beyond the bound."""
    before: Backtrace | None
    """What it was raised from, or while it was being handled."""
    direct: bool
    """Whether `before` was named as the cause."""
    members: tuple[Backtrace, ...]
    """The exceptions of a group."""

    def __str__(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        if self.before is not None:
            yield from self.before._lines()
            yield from ("", _BECAUSE if self.direct else _MEANWHILE, "")
        if self.frames:
            yield "Traceback (most recent call last):"
            if self.left_out:
                yield f"  ({self.left_out} outer frames left out)"
            for line in _with_source(self.frames):
                yield line.rstrip("\n")
        yield f"{self.kind}: {self.text}" if self.text else self.kind
        yield from self.notes
        for number, member in enumerate(self.members, 1):
            yield f"  +---------------- {number} of {len(self.members)} ----------------"
            for line in member._lines():
                yield f"  | {line}"


def _with_source(frames: tuple[Frame, ...]) -> list[str]:
    summaries = (traceback.FrameSummary(file, line, name, lookup_line=False) for file, line, name in frames)
    return traceback.StackSummary.from_list(list(summaries)).format()


def backtrace_of(error: BaseException) -> Backtrace:
    """Return the backtrace of an exception; it keeps neither the exception nor any frame."""
    return _written(error, set())


def innermost(stack: str, frames: int = FRAMES_MAX) -> str:
    """Return so many of the innermost frames of a formatted stack."""
    mark = '  File "'
    return "".join([mark + frame for frame in stack.split(mark)[1:][-frames:]])


def own_place(stack: str) -> str:
    """Return the innermost frame of a formatted stack that is the actor's own; empty without any frame.

    The frames inside of it are the event loop's and this runtime's, and are the same for everybody who waits.
    """
    frames = [line.strip() for line in stack.splitlines() if line.startswith('  File "')]
    own = [frame for frame in frames if _KERNEL not in frame and not _LOOPS.search(frame)]
    return (own or frames or [""])[-1]


def _written(error: BaseException, seen: set[int]) -> Backtrace:
    """Write down an exception and what belongs to it; `seen` bounds it, and breaks circles."""
    seen.add(id(error))
    direct = error.__cause__ is not None
    before = error.__cause__ if direct else None if error.__suppress_context__ else error.__context__
    frames, left_out = _frames(error.__traceback__)
    notes: list[object] | None = getattr(error, "__notes__", None)
    return Backtrace(
        kind=_kind(type(error)),
        text=_text(error),
        notes=() if notes is None else tuple([clean_string(str(note), TEXT_MAX) for note in notes]),
        frames=frames,
        left_out=left_out,
        before=None if before is None else _if_room(before, seen),
        direct=direct,
        members=_members(error, seen) if isinstance(error, BaseExceptionGroup) else (),
    )


def _members(group: BaseException, seen: set[int]) -> tuple[Backtrace, ...]:
    told = (_if_room(inner, seen) for inner in members(group))
    return tuple(one for one in told if one is not None)


def _if_room(error: BaseException, seen: set[int]) -> Backtrace | None:
    return None if id(error) in seen or len(seen) >= EXCEPTIONS_MAX else _written(error, seen)


def _frames(trace: TracebackType | None) -> tuple[tuple[Frame, ...], int]:
    frames: list[Frame] = []
    inside = False
    while trace is not None:
        code, after = trace.tb_frame.f_code, trace.tb_next
        # The outer frames are of the loop that called the handler: the same in every report.
        inside = inside or after is None or not code.co_filename.startswith(_KERNEL)
        if inside:
            frames.append((code.co_filename, trace.tb_lineno, code.co_name))
        trace = after
    left_out = len(frames) - FRAMES_MAX
    return (tuple(frames), 0) if left_out <= 0 else (tuple(frames[left_out:]), left_out)


def _kind(kind: type[BaseException]) -> str:
    module = kind.__module__
    return kind.__qualname__ if module in {"builtins", "__main__"} else f"{module}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - a user's class; its report must not fail with it
        return f"<its text cannot be had: {type(failure).__name__}>"
    return clean_string(text, TEXT_MAX)
