"""The demo's script: which faults, in which order, with how many messages.

It is a file in the repository (`script.toml`); a shorter one can be given on the
command line.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec

from holdfast.runtime import HoldfastError

__all__ = ["KINDS", "Fault", "InvalidScript", "Script", "load_script"]

KINDS = ("kill_hub", "reset", "half_open", "refuse_refresh", "crash", "crash_avatar", "spend_budget")


class InvalidScript(HoldfastError):
    """A script cannot be carried out; nothing was started."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"the demo's script {source} is no good: {why}")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the script."""

    name: str
    kind: str
    path: str = ""
    """Which actor, where the fault is a crash."""
    down_seconds: float = 0.0
    """How long a killed process stays away."""
    retry_after: float = 0.0
    """What a refused client is told to wait."""
    burst_seconds: float = 0.0
    """Instead of the script's, for a fault that takes long to strike."""


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole script."""

    messages: int
    burst_seconds: float
    lead_seconds: float
    latency: float
    recover_within: float
    limit: float
    hub: dict[str, object]
    fault: tuple[Fault, ...]

    def __post_init__(self) -> None:
        for fault in self.fault:
            if fault.kind not in KINDS:
                raise ValueError(f"{fault.name!r}: a kind is one of {', '.join(KINDS)}, got {fault.kind!r}")
        if not 0 < len(self.fault) <= self.messages:
            raise ValueError(f"wanted 1 fault or more and a message for each, got {len(self.fault)}")

    @property
    def full_restarts(self) -> int:
        """How many coordinated full restarts it leads to: one for each budget that is spent."""
        return sum(fault.kind == "spend_budget" for fault in self.fault)

    @property
    def shares(self) -> tuple[int, ...]:
        """How many of the messages go with each fault; they differ by one at most."""
        whole, rest = divmod(self.messages, len(self.fault))
        return tuple(whole + (index < rest) for index in range(len(self.fault)))

    def burst_of(self, fault: Fault) -> float:
        """Return how long the messages of a fault take to send."""
        return fault.burst_seconds or self.burst_seconds


def load_script(file: Path | None = None) -> Script:
    """Read a script; None is the one that ships with the demo."""
    source = "script.toml" if file is None else str(file)
    try:
        if file is None:
            text = (resources.files("holdfast.actors.app.demo") / "script.toml").read_text()
        else:
            text = file.read_text()
        return msgspec.toml.decode(text, type=Script)
    except OSError as error:
        raise InvalidScript(source, error.strerror or str(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidScript(source, str(error)) from error
