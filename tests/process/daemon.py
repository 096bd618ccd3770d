"""A daemon as a process of its own, with everything of its own in one folder, and commands to it."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import msgspec
import trio

from holdfast.runtime import Seams
from holdfast.runtime.control import ask_daemon

# Real processes on a busy machine: far more than any of this takes.
PATIENCE = 25.0

HOLDFAST = (sys.executable, "-P", "-m", "holdfast.actors.app")

# Where a process finds the programs of this folder: safe paths hide the folder that it stands in.
BESIDE = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which everything is below the folder, and nothing of this user's counts."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return {**own, "XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder), "NO_COLOR": "1"}


class Daemon:
    """One `holdfast run`."""

    def __init__(self, folder: Path, *options: str, config: str = "") -> None:
        self.folder = folder
        self.config = folder / "holdfast.toml"
        self.config.write_text(config)
        self.control = folder / "holdfast" / "control.sock"
        self._errors = (folder / "stderr").open("ab")
        self.process = subprocess.Popen(
            [*HOLDFAST, "run", "--config", str(self.config), *options],
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.shown: list[str] = []
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._errors.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    def until_shown(self, words: str) -> str:
        """Read its output until a line has these words, and return the line."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                while b"\n" in self._rest:
                    line, _, self._rest = self._rest.partition(b"\n")
                    self.shown.append(line.decode())
                    if words in self.shown[-1]:
                        return self.shown[-1]
                left = deadline - time.monotonic()
                assert left > 0, f"{words!r} was never shown: {self.shown} {self.errors}"
                assert selector.select(left), f"{words!r} was never shown: {self.shown} {self.errors}"
                chunk = os.read(self.process.stdout.fileno(), 65_536)
                assert chunk, f"it ended before {words!r} was shown: {self.shown} {self.errors}"
                self._rest += chunk

    def ask(self, verb: str, **arguments: object) -> object:
        """Ask over the control socket, without the start of another process."""

        async def asking() -> object:
            return await ask_daemon(self.control, verb, arguments, seams=Seams())

        return trio.run(asking)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line against it."""
        return subprocess.run(
            [*HOLDFAST, *arguments],
            env=environment(self.folder),
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE,
        )

    def stopped_by(self, number: int) -> int:
        """Send it a signal and return the status that it ended with."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def field(answer: object, *names: str) -> object:
    """Return a field of nested JSON objects."""
    for name in names:
        answer = msgspec.convert(answer, Mapping[str, object])[name]
    return answer
