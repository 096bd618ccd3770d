"""The client process of the demo: a real client, numbered messages, a journal on disk.

The director asks for bursts over the control socket, so that messages are in
flight both ways when a fault strikes: each is sent to the hub, which sends it
back.  What the process says of itself here serves the live view and the
director's waiting; what the demo concludes comes from the journal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import msgspec
import trio

from holdfast.actors.app.demo.journal import Journal
from holdfast.actors.app.verbs import DaemonDoor, daemon_verbs
from holdfast.actors.avatar.messages import AvatarError
from holdfast.actors.client import Client, open_client
from holdfast.actors.client.embed import REQUIRED
from holdfast.actors.config.sources import load
from holdfast.runtime import AskError, System, WallClock
from holdfast.runtime.control import ControlError, ControlServer, Verbs
from holdfast.runtime.daemon import stop_signals
from holdfast.runtime.last_resort import StopRequest
from holdfast.supervisors import Budget, start_tree, supervisor, worker

__all__ = ["Counts", "count_leaks", "main"]

# A burst is a fraction of the demo's two thousand; anything larger is a mistake of whoever asks.
BURST_MAX = 2_000


class Counts(msgspec.Struct, frozen=True):
    """How far the process is, and who it is."""

    planned: int
    """Asked for by bursts so far."""
    accepted: int
    received: int
    pid: int
    facade: int
    """Names the one client object through which everything goes."""


@attrs.define
class Traffic:
    """The numbers of one run."""

    client: Client
    journal: Journal
    nursery: trio.Nursery
    clock: WallClock
    avatar_id: str
    planned: int = 0
    accepted: int = 0
    received: int = 0
    in_turn: trio.Lock = attrs.field(factory=trio.Lock)
    """A burst waits for the one before it: the numbers are sent in their order."""

    def verbs(self) -> Verbs:
        """Return what the director can ask beside what any daemon can be asked."""
        return {"burst": self.burst, "counts": self.counts, "avatar": self.avatar}

    async def burst(self, arguments: Mapping[str, object]) -> object:
        """Send `count` numbered messages over `seconds`, beside whatever else happens."""
        count, seconds = arguments.get("count"), arguments.get("seconds")
        if not isinstance(count, int) or not 0 < count <= BURST_MAX or not isinstance(seconds, int | float):
            raise ControlError(
                f"a burst is 1 to {BURST_MAX} messages over a number of seconds, got {arguments!r}"
            )
        first = self.planned + 1
        self.planned += count
        self.nursery.start_soon(self._send, first, count, seconds / count)
        return {"first": first, "count": count}

    async def _send(self, first: int, count: int, pause: float) -> None:
        rows = [(number, self.client.new_id()) for number in range(first, first + count)]
        self.journal.note_sent(rows)
        accepted: list[tuple[int, float]] = []
        async with self.in_turn:
            began = trio.current_time()
            for index, (number, message_id) in enumerate(rows):
                await self.client.send({"number": number}, type="msg.echo", id=message_id)
                accepted.append((number, self.clock.now()))
                self.accepted += 1
                # By the clock, not by pauses: what a slow commit costs is made up for.
                await trio.sleep_until(began + (index + 1) * pause)
        self.journal.note_accepted(accepted)

    async def receive(self) -> None:
        """Take what comes back, for ever."""
        while True:
            rows: list[tuple[int, str, float]] = []
            for message in await self.client.receive_batch():
                number = message.payload.get("number")
                if isinstance(number, int):
                    rows.append((number, message.re or message.id, self.clock.now()))
            self.journal.note_received(rows)
            self.received += len(rows)

    async def counts(self, _arguments: Mapping[str, object]) -> object:
        """Return how far it is."""
        return msgspec.to_builtins(
            Counts(self.planned, self.accepted, self.received, os.getpid(), id(self.client))
        )

    async def avatar(self, _arguments: Mapping[str, object]) -> object:
        """Return the avatar's session; opened if there is none."""
        try:
            session = await self.client.initialize_avatar(self.avatar_id)
        except (AvatarError, AskError) as error:
            raise ControlError(f"there is no avatar session: {error}") from error
        return {"session": session.session_id}


async def _run(config: Path, control: Path, journal_path: Path, report: Path) -> None:
    journal = Journal(journal_path)
    live = load(config, environ={}, required=REQUIRED)
    systems: list[System] = []
    try:
        async with open_client(live) as client, trio.open_nursery() as nursery:
            systems.append(client.system)
            clock = client.system.seams.wall_clock
            traffic = Traffic(client, journal, nursery, clock, live.current.avatar.avatar_id)
            async with stop_signals(client.system.seams) as asked:
                await _serve(client, control, traffic, asked)
                nursery.start_soon(traffic.receive)
                nursery.start_soon(client.connect)
                await asked.wait()
            nursery.cancel_scope.cancel()
    finally:
        journal.close()
        # Written after everything has ended: what is still running now has leaked.
        report.write_bytes(msgspec.json.encode({"pid": os.getpid(), "leaked_tasks": count_leaks(systems)}))


async def _serve(client: Client, control: Path, traffic: Traffic, asked: StopRequest) -> None:
    door = DaemonDoor(
        client=client,
        started_at=client.system.now(),
        addresses={},
        fault_injection=lambda: True,
        ask_to_stop=asked.set,
    )
    verbs: Verbs = {**daemon_verbs(door), **traffic.verbs()}
    server = worker("control", lambda: ControlServer(control, verbs))
    await start_tree(client.system, supervisor("daemon", server, budget=Budget(5, 60.0)))


def count_leaks(systems: list[System]) -> int:
    """Return how many tasks are left: of actors, when their system ended, and any other now."""
    return sum(system.tasks_left for system in systems) + len(_other_tasks())


def _other_tasks() -> list[str]:
    """Return the names of trio tasks other than this one and trio's own."""
    task = trio.lowlevel.current_task()
    nurseries = [*task.child_nurseries]
    if task.parent_nursery is not None:
        nurseries.append(task.parent_nursery)
    return [child.name for nursery in nurseries for child in nursery.child_tasks if child is not task]


def main() -> None:
    """Run from the arguments: configuration, control socket, journal, report."""
    config, control, journal, report = map(Path, sys.argv[1:5])
    trio.run(_run, config, control, journal, report)


if __name__ == "__main__":
    main()
