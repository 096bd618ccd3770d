"""What the demo concludes, from what both processes left on disk, and whether it proves what it should."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import msgspec

from holdfast.actors.app.demo.audit import count_full_restarts, read_logs
from holdfast.actors.app.demo.script import Script
from holdfast.actors.app.demo.secrets import find_secrets, refresh_token_hashes, session_keys

__all__ = ["DemoResult", "Observed", "Recovery", "conclude", "verdict"]


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What one fault led to."""

    fault: str
    effective: bool
    action: str
    """What the tree did."""
    seconds: float
    """From the strike until the link was up and a message sent after the strike had come back."""
    evidence: str
    """What shows that it took effect, or what is missing."""
    struck_at: float
    """Wall clock, for the comparison with the logs."""
    in_flight_up: int = 0
    in_flight_down: int = 0


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `build/demo.json` says."""

    sent: int
    received: int
    lost: int
    duplicated: int
    out_of_order: int
    full_restarts: int
    recoveries: tuple[Recovery, ...]
    leaked_tasks: int
    leaked_avatar_sessions: int
    secrets_in_logs: int
    same_process: bool
    same_facade: bool
    seconds: float
    problems: tuple[str, ...] = ()


@attrs.define
class Observed:
    """What the director saw with its own eyes; everything else is in the logs."""

    recoveries: list[Recovery] = attrs.field(factory=list[Recovery])
    same_process: bool = False
    same_facade: bool = False
    leaked_avatar_sessions: int = -1
    """Sessions that the avatar service still had when the client had ended; -1 when it was not asked."""
    seconds: float = 0.0
    problems: list[str] = attrs.field(factory=list[str])


class _Report(msgspec.Struct):
    leaked_tasks: int


def conclude(folder: Path, script: Script, observed: Observed, keys: Sequence[str]) -> DemoResult:
    """Compute the result; both processes have ended."""
    logs = read_logs(folder / "journal.db", folder / "hub.db")
    up, down = logs.up(), logs.down()
    written = [*folder.glob("*.log"), *folder.glob("*.err"), *folder.glob("*.jsonl*")]
    known = [*keys, *session_keys(folder / "client.db")]
    secrets = find_secrets(written, known, hashes=refresh_token_hashes(folder / "hub.db"))
    recoveries: list[Recovery] = []
    for recovery in observed.recoveries:
        above, below = logs.in_flight(recovery.struck_at)
        recoveries.append(msgspec.structs.replace(recovery, in_flight_up=above, in_flight_down=below))
    result = DemoResult(
        sent=up.sent + down.sent,
        received=up.received + down.received,
        lost=up.lost + down.lost,
        duplicated=up.duplicated + down.duplicated,
        out_of_order=up.out_of_order + down.out_of_order,
        full_restarts=count_full_restarts(folder / "client.jsonl"),
        recoveries=tuple(recoveries),
        leaked_tasks=_leaked_tasks(folder / "traffic.json"),
        leaked_avatar_sessions=observed.leaked_avatar_sessions,
        secrets_in_logs=len(secrets),
        same_process=observed.same_process,
        same_facade=observed.same_facade,
        seconds=observed.seconds,
    )
    places = [f"a secret stands in {place}" for place in secrets[:3]]
    return msgspec.structs.replace(result, problems=(*observed.problems, *verdict(result, script), *places))


def _leaked_tasks(report: Path) -> int:
    """Return what the client process said last of all; -1 when it did not get so far."""
    return msgspec.json.decode(report.read_bytes(), type=_Report).leaked_tasks if report.is_file() else -1


def verdict(result: DemoResult, script: Script) -> list[str]:
    """Return what is wrong with a result; nothing when it proves what it should."""
    wanted: dict[str, tuple[object, object]] = {
        "sent": (2 * script.messages, result.sent),
        "received": (2 * script.messages, result.received),
        "lost": (0, result.lost),
        "duplicated": (0, result.duplicated),
        "out_of_order": (0, result.out_of_order),
        "full_restarts": (script.full_restarts, result.full_restarts),
        "leaked_tasks": (0, result.leaked_tasks),
        "leaked_avatar_sessions": (0, result.leaked_avatar_sessions),
        "secrets_in_logs": (0, result.secrets_in_logs),
        "recoveries": (len(script.fault), len(result.recoveries)),
        "same_process": (True, result.same_process),
        "same_facade": (True, result.same_facade),
    }
    wrong = [f"{name}: wanted {want}, got {got}" for name, (want, got) in wanted.items() if want != got]
    for recovery in result.recoveries:
        if not recovery.effective:
            wrong.append(f"{recovery.fault}: the fault took no effect ({recovery.evidence})")
        for way, count in (("up", recovery.in_flight_up), ("down", recovery.in_flight_down)):
            if not count:
                wrong.append(f"{recovery.fault}: no message was on its way {way} when it struck")
    return wrong
