"""Who is told when an incarnation ends.

A watch is on the slot: one `Down` for each incarnation that ends, until unwatch
or the end of the slot.  A watch by an actor ends with the incarnation that
made it; a watch by an embedder lasts until it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from holdfast.runtime.messages import Down

__all__ = ["Watchers"]


class Watchers:
    """The watchers of one slot, told in the order in which they came."""

    __slots__ = ("_watchers",)

    def __init__(self) -> None:
        self._watchers: dict[Hashable, Callable[[Down], None]] = {}

    def add(self, key: Hashable, tell: Callable[[Down], None]) -> None:
        """Tell this watcher of each end; the same key again changes nothing."""
        self._watchers.setdefault(key, tell)

    def remove(self, key: Hashable) -> None:
        """Forget a watcher; an unknown one is nothing."""
        self._watchers.pop(key, None)

    def tell(self, down: Down) -> None:
        """Tell everyone."""
        for tell in tuple(self._watchers.values()):
            tell(down)

    def clear(self) -> None:
        """Forget everyone: the slot has ended."""
        self._watchers.clear()

    def __len__(self) -> int:
        return len(self._watchers)
