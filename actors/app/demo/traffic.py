"""The client process of the demo: a real client, numbered messages, a journal on disk.

Every number goes into the journal before it is sent, with the id that it is sent
under, and every number that comes back goes into the journal before the inbox is
told that it was processed.  The director asks for bursts over the control
socket, so that messages are in flight both ways when a fault strikes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw
import attrs
import msgspec
import trio

from holdfast.actors.app.verbs import daemon_verbs
from holdfast.actors.client import Client, open_client
from holdfast.actors.client.embed import REQUIRED
from holdfast.actors.config.sources import load
from holdfast.runtime import System
from holdfast.runtime.control import ControlError, ControlServer, Verbs
from holdfast.runtime.daemon import stop_signals
from holdfast.supervisors import Budget, start_tree, supervisor, worker

__all__ = ["Journal", "main"]

# A burst is a fraction of the demo's two thousand; anything larger is a mistake of whoever asks.
BURST_MAX = 2_000


class Journal:
    """What was sent and what arrived, committed at once."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.execute("pragma journal_mode=wal; pragma synchronous=normal").fetchall()
        self._connection.execute(
            "create table if not exists sent (number integer not null, id text not null);"
            "create table if not exists received (number integer not null, id text not null)"
        )

    def note_sent(self, rows: Sequence[tuple[int, str]]) -> None:
        """Write down what is about to be sent: numbers, and the ids that they are sent under."""
        with self._connection:
            self._connection.executemany("insert into sent (number, id) values (?, ?)", rows)

    def note_received(self, rows: Sequence[tuple[int, str]]) -> None:
        """Write down what reached the application."""
        with self._connection:
            self._connection.executemany("insert into received (number, id) values (?, ?)", rows)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


@attrs.define
class Traffic:
    """The numbers of one run."""

    client: Client
    journal: Journal
    nursery: trio.Nursery
    sent: int = 0
    received: int = 0
    in_turn: trio.Lock = attrs.field(factory=trio.Lock)
    """A burst waits for the one before it: the numbers are sent in their order."""

    async def burst(self, arguments: Mapping[str, object]) -> object:
        """Send `count` numbered messages over `seconds`, beside whatever else happens."""
        count, seconds = arguments.get("count"), arguments.get("seconds")
        if not isinstance(count, int) or not 0 < count <= BURST_MAX or not isinstance(seconds, int | float):
            raise ControlError(
                f"a burst is 1 to {BURST_MAX} messages over a number of seconds, got {arguments!r}"
            )
        first = self.sent + 1
        self.sent += count
        self.nursery.start_soon(self._send, first, count, seconds / count)
        return {"first": first, "count": count}

    async def _send(self, first: int, count: int, pause: float) -> None:
        rows = [(number, self.client.new_id()) for number in range(first, first + count)]
        self.journal.note_sent(rows)
        async with self.in_turn:
            for number, message_id in rows:
                await self.client.send({"number": number}, type="msg.echo", id=message_id)
                await trio.sleep(pause)

    async def receive(self) -> None:
        """Take what comes back, for ever."""
        while True:
            rows: list[tuple[int, str]] = []
            for message in await self.client.receive_batch():
                number = message.payload.get("number")
                if isinstance(number, int):
                    rows.append((number, message.re or message.id))
            self.journal.note_received(rows)
            self.received += len(rows)

    async def counts(self, _arguments: Mapping[str, object]) -> object:
        """Return how far it is."""
        return {"sent": self.sent, "received": self.received}


async def _run(config: Path, control: Path, journal_path: Path, report: Path) -> None:
    journal = Journal(journal_path)
    configuration = load(config, environ=os.environ, required=REQUIRED)
    systems: list[System] = []
    try:
        async with open_client(configuration) as client, trio.open_nursery() as nursery:
            systems.append(client.system)
            traffic = Traffic(client, journal, nursery)
            verbs: Verbs = {
                **daemon_verbs(
                    client,
                    client.root,
                    started_at=client.system.now(),
                    addresses={},
                    fault_injection=lambda: configuration.current.development.fault_injection,
                    ask_to_stop=lambda: os.kill(os.getpid(), signal.SIGTERM),
                ),
                "burst": traffic.burst,
                "counts": traffic.counts,
            }
            await start_tree(
                client.system,
                supervisor(
                    "daemon",
                    worker("control", lambda: ControlServer(control, verbs)),
                    budget=Budget(5, 60.0),
                ),
            )
            nursery.start_soon(traffic.receive)
            nursery.start_soon(client.connect)
            async with stop_signals(client.system.seams) as asked:
                await asked.wait()
            nursery.cancel_scope.cancel()
    finally:
        journal.close()
        # Written after everything has ended: what is still running now has leaked.
        leaked = sum(system.tasks_left for system in systems) + len(_tasks_left())
        report.write_bytes(msgspec.json.encode({"pid": os.getpid(), "leaked_tasks": leaked}))


def _tasks_left() -> list[str]:
    """Return the names of trio tasks other than this one and trio's own."""
    task = trio.lowlevel.current_task()
    return [
        child.name
        for nursery in (*task.child_nurseries, *((task.parent_nursery,) if task.parent_nursery else ()))
        for child in nursery.child_tasks
        if child is not task
    ]


def main() -> None:
    """Run from the arguments: configuration, control socket, journal, report."""
    config, control, journal, report = map(Path, sys.argv[1:5])
    trio.run(_run, config, control, journal, report)


if __name__ == "__main__":
    main()
