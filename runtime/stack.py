"""The stack of an error as text: where it was raised, and what caused it.

Python's own formatting reads source files from disk to show their lines; this
one reads nothing, is bounded, and survives errors that raise when they are
looked at.  It redacts nothing: `redaction.py` does.
"""

from __future__ import annotations

from typing import cast

__all__ = ["safe_text", "stack", "type_name"]

# Bounds of one traceback: both ends of a deep recursion, and a chain longer than anybody reads.
FRAMES_SHOWN = 40
CHAIN_SHOWN = 8


def type_name(value: object) -> str:
    """Return the name of the value's class, without asking the value."""
    return str(type.__dict__["__name__"].__get__(type(value)))


def stack(error: BaseException) -> list[str]:
    """Return the traceback, the oldest cause first; without source lines, which are read from disk."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(chain) < CHAIN_SHOWN and not any(link is seen for seen in chain):
        chain.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    lines: list[str] = []
    for link in reversed(chain):
        lines += _frames(link)
        lines.append(f"{type_name(link)}: {safe_text(link)}")
        if isinstance(link, BaseExceptionGroup):
            inner = cast("BaseExceptionGroup[BaseException]", link).exceptions[:CHAIN_SHOWN]
            lines += [f"  + {type_name(part)}: {safe_text(part)}" for part in inner]
        notes: object = getattr(cast("object", link), "__notes__", None)
        if isinstance(notes, list):
            lines += [safe_text(note) for note in cast("list[object]", notes)[:CHAIN_SHOWN]]
    return lines


def _frames(error: BaseException) -> list[str]:
    lines: list[str] = []
    frame = error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{frame.tb_lineno} in {code.co_name}")
        frame = frame.tb_next
    if len(lines) > FRAMES_SHOWN:
        half = FRAMES_SHOWN // 2
        lines = [*lines[:half], f"  ... {len(lines) - FRAMES_SHOWN} frames ...", *lines[-half:]]
    return lines


def safe_text(value: object) -> str:
    """Return the value as text, whatever it does when asked for it."""
    try:
        return str(value)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a hostile error must not take the log with it
        return f"<unprintable {type_name(value)}>"
