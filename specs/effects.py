"""How often each kind of fault really did something: a campaign whose faults did nothing proves nothing.

A fault is counted where it takes effect (a dial refused, bytes swallowed, a write
that failed), not where it was asked for.
"""

from __future__ import annotations

__all__ = ["Effects"]


class Effects:
    """Counts by kind, as "network:reset"."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, kind: str) -> None:
        """Note that a fault of this kind took effect."""
        self._counts[kind] = self._counts.get(kind, 0) + 1

    def __getitem__(self, kind: str) -> int:
        return self._counts.get(kind, 0)

    def counts(self) -> dict[str, int]:
        """Return all counts, by kind in order."""
        return dict(sorted(self._counts.items()))
