"""The two processes of the demo: a real hub and a real client, with their logs in files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import httpx2
import msgspec
import trio

from holdfast.runtime import HoldfastError

__all__ = ["HubAddresses", "HubProcess", "ProcessFailed", "TrafficProcess", "end_all"]

START_TIMEOUT = 15.0
"""Seconds until a process is ready; a cold import on a busy machine takes a few."""

LOOK_EVERY = 0.02
"""Seconds between two looks whether a process is ready."""

STOP_TIMEOUT = 15.0
"""Seconds until a process that was asked to stop has ended: more than the overall stop deadline."""


HTTP_TIMEOUT = 5.0
"""Seconds for an answer of the hub's operator's routes."""


class ProcessFailed(HoldfastError):
    """A process of the demo did not do what it should; its log says more."""

    def __init__(self, name: str, what: str, log: Path) -> None:
        super().__init__(f"the {name} process {what}; see {log}")


class _AvatarSession(msgspec.Struct, frozen=True):
    id: str
    end_reason: str = ""


class _AvatarPage(msgspec.Struct, frozen=True):
    results: tuple[_AvatarSession, ...]


class _AvatarAnswer(msgspec.Struct, frozen=True):
    data: _AvatarPage


class HubAddresses(msgspec.Struct, frozen=True):
    """The line that the hub prints when it is ready."""

    pid: int
    api_url: str
    realtime_url: str
    avatar_url: str

    @property
    def realtime_port(self) -> int:
        """The port that clients connect to."""
        return _port(self.realtime_url)


async def _start(command: Sequence[str], environ: Mapping[str, str], log: Path) -> trio.Process:
    # Whatever this user has configured for real is none of the demo's business.
    own = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    with log.open("ab") as err:
        return await trio.lowlevel.open_process(
            [sys.executable, "-m", "holdfast.actors.app.demo.tethered", *command],
            env={**own, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
        )


@attrs.define
class HubProcess:
    """A hub alone in its process; it can be killed and started again on the same ports and store."""

    store: Path
    log: Path
    settings: Mapping[str, object]
    api_key: str
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
            ["holdfast.actors.hub", f"store_path={self.store}", *pairs],
            {"HOLDFAST_HUB_API_KEYS": self.api_key, "HOLDFAST_HUB_ADMIN_KEY": self.admin_key},
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

    async def refuse_next_refresh(self, retry_after: float) -> None:
        """Have it refuse one refresh, by the operator's switch."""
        await self._http(
            "POST",
            "/admin/refuse-next",
            {"Authorization": f"Bearer {self.admin_key}"},
            {"n": 1, "status": 503, "retry_after": retry_after, "grant_type": "refresh_token"},
        )

    async def avatar_sessions(self, kind: str) -> Mapping[str, str]:
        """Return the ids of the avatar service's sessions (`active` or `historic`), and why each ended."""
        path = f"/v1/sessions?type={kind}&page_size=100"
        content = await self._http("GET", path, {"X-API-KEY": self.api_key})
        page = msgspec.json.decode(content, type=_AvatarAnswer).data
        return {session.id: session.end_reason for session in page.results}

    async def _http(self, method: str, path: str, headers: Mapping[str, str], body: object = None) -> bytes:
        assert self.addresses is not None
        try:
            async with httpx2.AsyncClient(timeout=HTTP_TIMEOUT) as http:
                answer = await http.request(
                    method, self.addresses.api_url + path, headers=dict(headers), json=body
                )
                answer.raise_for_status()
                return answer.content
        except httpx2.HTTPError as error:
            raise ProcessFailed("hub", f"did not answer {path}: {error!r}", self.log) from error

    async def kill(self) -> int:
        """Kill it with SIGKILL; return the status that it ended with, -9 if that is what ended it."""
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
        command = ["holdfast.actors.app.demo.traffic"]
        files = [self.config, self.control, self.journal, self.report]
        self.process = await _start([*command, *map(str, files)], {}, self.log)
        with trio.move_on_after(START_TIMEOUT):
            while not await self._answers():
                if self.process.poll() is not None:
                    raise ProcessFailed(
                        "client", f"ended with {self.process.returncode} at its start", self.log
                    )
                await trio.sleep(LOOK_EVERY)
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


async def end_all(*processes: HubProcess | TrafficProcess) -> None:
    """End what still runs, at once: the demo itself is being ended."""
    for owner in processes:
        process = owner.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


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
