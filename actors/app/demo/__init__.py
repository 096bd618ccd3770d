"""The demo: proof with real processes that nothing is lost, doubled or reordered.

A hub process and a client process on loopback, a fault proxy between them, and a
script of faults (`script.toml`).  Everything that it concludes is computed after
both processes have ended, from what they left on disk.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import attrs
import msgspec
import trio

from holdfast.actors.app.demo.audit import audit_direction, find_secrets, read_effects, read_journal
from holdfast.actors.app.demo.director import Director, Recovery, Script, load_script
from holdfast.actors.app.demo.processes import HubProcess, TrafficProcess
from holdfast.actors.app.demo.profile import client_profile
from holdfast.actors.app.demo.proxy import FaultProxy
from holdfast.actors.app.demo.screen import Screen
from holdfast.actors.app.display import console
from holdfast.runtime import HoldfastError, Seams
from holdfast.runtime.daemon import ExitStatus

__all__ = ["DemoResult", "conclude", "run_demo", "verdict"]

RESULT = Path("build/demo.json")
FOLDER = Path("build/demo")
"""Stores and logs of the last run, for whoever wants to look."""

# 256 bits each, made anew for every run; they are also what the logs are searched for.
KEY_BYTES = 32


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `build/demo.json` says."""

    sent: int
    received: int
    lost: int
    duplicated: int
    out_of_order: int
    full_restarts: int
    recoveries: tuple[Mapping[str, object], ...]
    leaked_tasks: int
    secrets_in_logs: int
    seconds: float
    same_process: bool
    problems: tuple[str, ...] = ()


async def run_demo(*, json: bool = False) -> int:
    """Run the script and write the result; 0 only if every fault took effect and nothing was lost."""
    screen = Screen(console(stderr=json), quiet=json)
    script = load_script()
    rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    # A unix socket's path is short; the checkout's may be long.
    with TemporaryDirectory(prefix="holdfast-demo-") as short:
        result = await _run(FOLDER.resolve(), Path(short) / "control.sock", script, screen)
    encoded = msgspec.json.format(msgspec.json.encode(result), indent=2)
    RESULT.write_bytes(encoded + b"\n")
    screen.result(msgspec.to_builtins(result), result.recoveries)
    if json:
        sys.stdout.write(encoded.decode() + "\n")
    for problem in result.problems:
        sys.stderr.write(f"holdfast demo: {problem}\n")
    return ExitStatus.FAILED if result.problems else ExitStatus.CLEAN


async def _run(folder: Path, control: Path, script: Script, screen: Screen) -> DemoResult:
    seams = Seams()
    api_key, admin_key = seams.entropy(KEY_BYTES).hex(), seams.entropy(KEY_BYTES).hex()
    hub = HubProcess(folder / "hub.db", folder / "hub.log", script.hub, api_key, admin_key)
    traffic = TrafficProcess(folder, folder / "client.toml", control, folder / "client.err")
    began = trio.current_time()
    problems: list[str] = []
    recoveries: list[Recovery] = []
    same_process = False
    async with trio.open_nursery() as nursery:
        addresses = await hub.start()
        proxy = FaultProxy(addresses.realtime_port)
        port = await nursery.start(proxy.serve)
        traffic.config.write_text(client_profile(addresses, port, api_key, folder))
        pid = await traffic.start()
        screen.say(f"hub process {addresses.pid}, client process {pid}, fault proxy on port {port}")
        director = Director(script, hub, traffic, proxy, screen.show, seams)
        try:
            with trio.fail_after(script.limit):
                screen.tree(await director.tree())
                await director.run()
                screen.tree(await director.tree())
        except (HoldfastError, trio.TooSlowError) as error:
            problems.append(str(error) or f"not done within {script.limit:g} s")
        recoveries = director.recoveries
        same_process = traffic.pid == pid and traffic.running
        for process in (traffic, hub):
            try:
                status = await process.stop()
            except HoldfastError as error:
                problems.append(str(error))
            else:
                if status:
                    problems.append(
                        f"the {process.name} process ended with {status}, wanted 0; see {process.log.name}"
                    )
        nursery.cancel_scope.cancel()
    seconds = round(trio.current_time() - began, 2)
    return conclude(
        folder, script, recoveries, [api_key, admin_key], seconds, problems, same_process=same_process
    )


def conclude(
    folder: Path,
    script: Script,
    recoveries: list[Recovery],
    canaries: list[str],
    seconds: float,
    problems: list[str],
    *,
    same_process: bool,
) -> DemoResult:
    """Compute the result from what both processes left on disk."""
    sent = read_journal(folder / "journal.db", "sent")
    up = audit_direction(sent, read_effects(folder / "hub.db"))
    down = audit_direction(sent, read_journal(folder / "journal.db", "received"))
    report = folder / "traffic.json"
    left = msgspec.json.decode(report.read_bytes(), type=dict[str, int]) if report.is_file() else {}
    logs = [*folder.glob("*.log"), *folder.glob("*.err"), *folder.glob("*.jsonl")]
    result = DemoResult(
        sent=up.sent + down.sent,
        received=up.received + down.received,
        lost=up.lost + down.lost,
        duplicated=up.duplicated + down.duplicated,
        out_of_order=up.out_of_order + down.out_of_order,
        full_restarts=_full_restarts(folder / "client.jsonl"),
        recoveries=tuple(attrs.asdict(recovery) for recovery in recoveries),
        leaked_tasks=left.get("leaked_tasks", -1),
        secrets_in_logs=len(find_secrets(logs, canaries)),
        seconds=seconds,
        same_process=same_process,
    )
    return msgspec.structs.replace(result, problems=(*problems, *verdict(result, script)))


def verdict(result: DemoResult, script: Script) -> list[str]:
    """Return what is wrong with a result; nothing when it proves what it should."""
    wanted: dict[str, tuple[object, object]] = {
        "sent": (2 * script.messages, result.sent),
        "received": (2 * script.messages, result.received),
        "lost": (0, result.lost),
        "duplicated": (0, result.duplicated),
        "out_of_order": (0, result.out_of_order),
        "full_restarts": (1, result.full_restarts),
        "leaked_tasks": (0, result.leaked_tasks),
        "secrets_in_logs": (0, result.secrets_in_logs),
        "recoveries": (len(script.fault), len(result.recoveries)),
        "same_process": (True, result.same_process),
    }
    wrong = [f"{name}: wanted {want}, got {got}" for name, (want, got) in wanted.items() if want != got]
    idle = [str(row["fault"]) for row in result.recoveries if not row["effective"]]
    return [*wrong, *(f"{fault}: the fault took no effect" for fault in idle)]


def _full_restarts(log: Path) -> int:
    if not log.is_file():
        return -1
    return sum(
        b'"message":"supervisor:full_restart_completed"' in line for line in log.read_bytes().splitlines()
    )
