"""The one thread that an event loop runs in, remembered so that others can be told to stay out.

What is written for one loop needs no locks, and says so by name when somebody
calls it from another thread.  Nothing here starts a thread.
"""

from __future__ import annotations

import threading

from holdfast.runtime.errors import HoldfastError

__all__ = ["LoopThread", "NotLoopThread"]


class NotLoopThread(HoldfastError, RuntimeError):
    """Something of an actor system was used from a thread that is not its loop's; nothing was done."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is used from its event loop's thread alone; another thread asks an actor through "
            f"system.portal, and that actor uses it"
        )


class LoopThread:
    """The thread in which it was made."""

    __slots__ = ("ident",)

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        """Its number among the threads of the process."""

    @property
    def here(self) -> bool:
        """Whether this code runs in it."""
        return threading.get_ident() == self.ident

    def check(self, what: str) -> None:
        """Raise `NotLoopThread` elsewhere."""
        if threading.get_ident() != self.ident:
            raise NotLoopThread(what)
