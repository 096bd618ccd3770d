"""The two processes of the demo: a real hub and a real client, with their logs in files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import msgspec
import trio

from holdfast.runtime import HoldfastError

__all__ = ["HubAddresses", "HubProcess", "ProcessFailed", "TrafficProcess"]

START_TIMEOUT = 15.0
"""Seconds until a process is ready; a cold import on a busy machine takes a few."""

LOOK_EVERY = 0.02
"""Seconds between two looks whether a process is ready."""

STOP_TIMEOUT = 15.0
"""Seconds until a process that was asked to stop has ended: more than the overall stop deadline."""


class ProcessFailed(HoldfastError):
    """A process of the demo did not do what it should; its log says more."""

    def __init__(self, name: str, what: str, log: Path) -> None:
        super().__init__(f"the {name} process {what}; see {log}")


class HubAddresses(msgspec.Struct, frozen=True):
    """The line that the hub prints when it is ready."""

    pid: int
    api_url: str
    realtime_url: str

    @property
    def realtime_port(self) -> int:
        """The port that clients connect to."""
        return _port(self.realtime_url)


async def _start(command: Sequence[str], environ: Mapping[str, str], log: Path) -> trio.Process:
    with log.open("ab") as err:
        return await trio.lowlevel.open_process(
            [sys.executable, *command],
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
        )


@attrs.define
class HubProcess:
    """A hub alone in its process; it can be killed and started again on the same ports and store."""

    store: Path
    log: Path
    settings: Mapping[str, object]
    api_keys: str
    admin_key: str
    addresses: HubAddresses | None = None
    process: trio.Process | None = None
    name: str = "hub"

    async def start(self) -> HubAddresses:
        """Start it; again, with the ports of the first time."""
        pairs = [f"{name}={value}" for name, value in self.settings.items()]
        if self.addresses is not None:
            pairs += [
                f"token_port={_port(self.addresses.api_url)}",
                f"realtime_port={_port(self.addresses.realtime_url)}",
            ]
        self.process = await _start(
            ["-m", "holdfast.actors.hub", f"store_path={self.store}", *pairs],
            {"HOLDFAST_HUB_API_KEYS": self.api_keys, "HOLDFAST_HUB_ADMIN_KEY": self.admin_key},
            self.log,
        )
        assert self.process.stdout is not None
        line = b""
        with trio.move_on_after(START_TIMEOUT):
            while not line.endswith(b"\n"):
                chunk = await self.process.stdout.receive_some(4096)
                if not chunk:
                    break
                line += chunk
        if not line.endswith(b"\n"):
            raise ProcessFailed("hub", "was not ready in time", self.log)
        self.addresses = msgspec.json.decode(line, type=HubAddresses)
        return self.addresses

    async def kill(self) -> int:
        """Kill it with SIGKILL; return the status that it ended with (-9)."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        return await self.process.wait()

    async def stop(self) -> int:
        """Ask it to stop and wait for its end."""
        return await _stop("hub", self.process, self.log)


@attrs.define
class TrafficProcess:
    """The client process."""

    folder: Path
    config: Path
    control: Path
    log: Path
    process: trio.Process | None = None
    name: str = "client"

    @property
    def pid(self) -> int:
        """Its process id; 0 before the start."""
        return self.process.pid if self.process is not None else 0

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process is not None and self.process.poll() is None

    @property
    def journal(self) -> Path:
        """Where it writes down what it sent and received."""
        return self.folder / "journal.db"

    @property
    def report(self) -> Path:
        """What it leaves behind when it has ended."""
        return self.folder / "traffic.json"

    async def start(self) -> int:
        """Start it and return its process id."""
        command = ["-m", "holdfast.actors.app.demo.traffic"]
        files = [self.config, self.control, self.journal, self.report]
        self.process = await _start([*command, *map(str, files)], {}, self.log)
        with trio.move_on_after(START_TIMEOUT):
            while not self.control.exists():
                if self.process.poll() is not None:
                    raise ProcessFailed(
                        "client", f"ended with {self.process.returncode} at its start", self.log
                    )
                await trio.sleep(0.02)
            return self.process.pid
        raise ProcessFailed("client", "was not ready in time", self.log)

    async def _answers(self) -> bool:
        try:
            stream = await trio.open_unix_socket(str(self.control))
        except OSError:
            return False
        await trio.aclose_forcefully(stream)
        return True

    async def stop(self) -> int:
        """Ask it to stop, as a service manager does, and wait for its end."""
        return await _stop("client", self.process, self.log)


async def _stop(name: str, process: trio.Process | None, log: Path) -> int:
    if process is None:
        raise ProcessFailed(name, "was never started", log)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    with trio.move_on_after(STOP_TIMEOUT):
        return await process.wait()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    raise ProcessFailed(name, f"did not stop within {STOP_TIMEOUT:g} s and was killed", log)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
