"""What a simulated run did, step by step: the proof that two runs were the same, or where they parted.

One entry for each step of each task (virtual time and the task's name, which for an
actor is its path), and one for whatever is noted beside, as the events of a system.
"""

from __future__ import annotations

import hashlib
import re

import attrs

__all__ = ["Difference", "Trace"]

# Entries that are hashed together: few calls, and little memory where only the digest is wanted.
CHUNK = 4_096

# Names made of an object's default text hold its address, which is another one each time.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@attrs.frozen
class Difference:
    """Where two runs of one seed parted; None stands for a run that had ended."""

    step: int
    """Entries that were the same."""
    first: str | None
    second: str | None

    def __str__(self) -> str:
        def told(entry: str | None) -> str:
            return entry if entry is not None else "(had ended)"

        return f"entry {self.step}: first run {told(self.first)}, second run {told(self.second)}"


class Trace:
    """The entries of one run, as a digest and, where `kept`, in full."""

    def __init__(self, *, kept: bool = False) -> None:
        self._kept = kept
        self._hash = hashlib.blake2b(digest_size=16)
        self._entries: list[tuple[float, str]] = []
        self._hashed = 0
        self.steps = 0
        """Steps of tasks."""

    def step(self, now: float, name: str) -> None:
        """Note that a task went on."""
        self.steps += 1
        self._entries.append((now, name))
        if len(self._entries) - self._hashed >= CHUNK:
            self._digest()

    def note(self, now: float, what: str) -> None:
        """Note something else that has to be the same each time."""
        self._entries.append((now, f"- {what}"))

    @property
    def digest(self) -> str:
        """The digest of everything so far, in hexadecimal."""
        self._digest()
        return self._hash.hexdigest()

    def _digest(self) -> None:
        fresh = self._entries[self._hashed :] if self._kept else self._entries
        self._hash.update("".join(f"{_line(entry)}\n" for entry in fresh).encode())
        if self._kept:
            self._hashed = len(self._entries)
        else:
            self._entries.clear()

    @property
    def entries(self) -> list[str]:
        """The entries as text; only of a trace that was kept."""
        assert self._kept, "only the digest was wanted of this run"
        return [_line(entry) for entry in self._entries]

    def difference(self, other: Trace) -> Difference | None:
        """Return where the other run, kept as this one, parted from it; None when it never did."""
        ours, theirs = self.entries, other.entries
        for step, (first, second) in enumerate(zip(ours, theirs, strict=False)):
            if first != second:
                return Difference(step, first, second)
        if len(ours) == len(theirs):
            return None
        step = min(len(ours), len(theirs))
        return Difference(step, _at(ours, step), _at(theirs, step))


def _at(entries: list[str], step: int) -> str | None:
    return entries[step] if step < len(entries) else None


def _line(entry: tuple[float, str]) -> str:
    now, name = entry
    return f"{now!r} {_ADDRESS.sub('', name) if ' at 0x' in name else name}"
