"""The benchmark's actor, written for Pykka: a thread with a queue."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import pykka
from tests.benchmarks.kernel import Item, Ping

__all__ = ["Peer"]


class _Sink(pykka.ThreadingActor):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: object) -> object:
        if isinstance(message, Item):
            self.total += 1
            return None
        return self.total


class Peer:
    """One running Pykka actor, and what it costs to talk to it: CPU seconds of the whole process."""

    def __enter__(self) -> Self:
        self._ref = _Sink.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ref.stop()

    def tell(self, count: int) -> float:
        """Return the seconds for each message; the ask at the end returns when all are handled."""
        message = Item(1)
        started = time.process_time()
        for _ in range(count):
            self._ref.tell(message)
        self._ref.ask(Ping())
        return (time.process_time() - started) / count

    def ask(self, count: int) -> float:
        """Return the seconds for each question, one after the other."""
        started = time.process_time()
        for _ in range(count):
            self._ref.ask(Ping())
        return (time.process_time() - started) / count
