"""The demo: proof with real processes that nothing is lost, doubled or reordered.

A hub process and a client process on loopback, a fault proxy between them, and a
script of faults (`script.toml`).  Everything that it concludes is computed after
both processes have ended, from what they left on disk.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import msgspec
import trio

from holdfast.actors.app.claims import claim
from holdfast.actors.app.demo.director import Director
from holdfast.actors.app.demo.processes import HubProcess, TrafficProcess, end_all
from holdfast.actors.app.demo.profile import client_profile, write_profile
from holdfast.actors.app.demo.proxy import FaultProxy
from holdfast.actors.app.demo.result import DemoResult, Observed, conclude
from holdfast.actors.app.demo.screen import Screen
from holdfast.actors.app.demo.script import Script, load_script
from holdfast.actors.app.demo.stage import Stage
from holdfast.actors.app.display import console
from holdfast.runtime import HoldfastError, Seams
from holdfast.runtime.daemon import ExitStatus
from holdfast.runtime.outcomes import unwrap

__all__ = ["run_demo"]

RESULT = Path("build/demo.json")
FOLDER = Path("build/demo")
"""Stores and logs of the last run, for whoever wants to look."""

# 256 bits each, made anew for every run; they are also what the logs are searched for.
KEY_BYTES = 32


async def run_demo(script_file: Path | None = None, *, json: bool = False) -> int:
    """Run the script and write the result; 0 only if every fault took effect and nothing was lost."""
    script = load_script(script_file)
    screen = Screen(console(stderr=json), script, quiet=json)
    with (
        claim(FOLDER, instead="wait until that demo is over"),
        # A unix socket's path is short; the checkout's may be long.
        TemporaryDirectory(prefix="holdfast-demo-") as short,
    ):
        rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        with screen.drawing():
            result = await _run(FOLDER.resolve(), Path(short) / "control.sock", script, screen)
        encoded = msgspec.json.format(msgspec.json.encode(result), indent=2)
        RESULT.write_bytes(encoded + b"\n")
    screen.result(result)
    if json:
        sys.stdout.write(encoded.decode() + "\n")
        sys.stdout.flush()
    for problem in result.problems:
        sys.stderr.write(f"holdfast demo: {problem}\n")
    return ExitStatus.FAILED if result.problems else ExitStatus.CLEAN


async def _run(folder: Path, control: Path, script: Script, screen: Screen) -> DemoResult:
    seams = Seams()
    api_key, admin_key = seams.entropy(KEY_BYTES).hex(), seams.entropy(KEY_BYTES).hex()
    hub = HubProcess(folder / "hub.db", folder / "hub.log", script.hub, api_key, admin_key)
    traffic = TrafficProcess(folder, folder / "client.toml", control, folder / "client.err")
    observed = Observed()
    began = trio.current_time()
    try:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(script.limit) as limit, _noting(observed):
                addresses = await hub.start()
                proxy = FaultProxy(addresses.realtime_port, latency=script.latency)
                port = await nursery.start(proxy.serve)
                write_profile(traffic.config, client_profile(addresses, port, api_key, folder))
                pid = await traffic.start()
                screen.say(f"hub process {addresses.pid}, client process {pid}, fault proxy on port {port}")
                stage = Stage(script, hub, traffic, proxy, folder / "events.jsonl", screen.event, seams)
                await Director(stage, screen, observed).run()
            if limit.cancelled_caught:
                observed.problems.append(f"not done within {script.limit:g} s")
            await _end(traffic, hub, observed)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await end_all(traffic, hub)
    observed.seconds = round(trio.current_time() - began, 2)
    return conclude(folder, script, observed, [api_key, admin_key])


@contextmanager
def _noting(observed: Observed) -> Generator[None]:
    """Note what goes wrong inside as a problem of the run; whatever is not of our making goes on."""
    try:
        yield
    except HoldfastError as error:
        observed.problems.append(str(error))
    except BaseExceptionGroup as group:
        ours, others = group.split(HoldfastError)
        if others is not None or ours is None:
            raise
        observed.problems.append(str(unwrap(ours)))


async def _end(traffic: TrafficProcess, hub: HubProcess, observed: Observed) -> None:
    """Stop both, the client first; in between the avatar service tells what the client has left there."""
    observed.same_process = observed.same_process and traffic.running
    await _stop(traffic, observed)
    with _noting(observed):
        observed.leaked_avatar_sessions = len(await hub.avatar_sessions("active"))
    await _stop(hub, observed)


async def _stop(process: HubProcess | TrafficProcess, observed: Observed) -> None:
    with _noting(observed):
        status = await process.stop()
        if status:
            observed.problems.append(
                f"the {process.name} process ended with {status}, wanted 0; see {process.log}"
            )
