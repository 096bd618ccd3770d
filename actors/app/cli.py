"""The command line: ``holdfast``.

Commands follow the habits of the Unix world: what a program may read goes to
standard output (``--json`` for one object or one object a line), what people read
about it goes to standard error, and the exit status means something
(`ExitStatus`).  Heavy imports happen inside the commands: ``holdfast --help`` must
answer at once.
"""

from __future__ import annotations

import functools
import math
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import trio
from cyclopts import App, CycloptsError, Parameter

from holdfast.actors.app.places import control_socket
from holdfast.actors.app.terminal import PipeConsole, plain
from holdfast.runtime import HoldfastError, Seams
from holdfast.runtime.control import ControlError, NoDaemon, ask_daemon, stream_daemon
from holdfast.runtime.daemon import ExitStatus

__all__ = ["app", "main"]

T = TypeVar("T")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]
Control = Annotated[
    Path | None, Parameter(name="--control", help="The daemon's control socket; the user's own by default.")
]
Hub = Annotated[bool, Parameter(name="--hub", negative="", help="The tree of the embedded hub instead.")]
Watch = Annotated[bool, Parameter(name="--watch", negative="", help="Draw it anew until interrupted.")]
Interval = Annotated[float, Parameter(name="--interval", help="Seconds between two looks, with --watch.")]
Seconds = Annotated[float | None, Parameter(name="--seconds", help="End after this many seconds.")]
Subtree = Annotated[
    bool,
    Parameter(name="--subtree", negative="", help="All below PATH as well, and what starts there later."),
]
Contents = Annotated[
    bool, Parameter(name="--contents", negative="", help="Messages and answers as well, secrets masked.")
]
Script = Annotated[
    Path | None,
    Parameter(name="--script", help="Another script of faults than the one that ships with the demo."),
]
Config = Annotated[Path | None, Parameter(name=["--config", "-c"], help="A TOML file.")]

app = App(
    name="holdfast",
    help="Keeps realtime sessions alive.",
    help_epilogue=(
        "Exit statuses: 0 done, 1 failed, 2 usage, 69 no daemon answers, 70 a task could not be stopped or "
        "the root failed, 75 the budget of full restarts is spent, 78 the configuration is wrong."
    ),
    version_flags=["--version"],
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    console=PipeConsole(),
)

# Of an argument that is no good, in an error message: enough to recognise it.
SHOWN_MAX = 80

# What a shell reports of a program that SIGINT ended.
INTERRUPTED = 130

# The daemon has 10 s for its ordered stop and 5 s to disconnect before that.
STOP_TIMEOUT = 30.0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its status."""
    sys.exit(_status_of(arguments))


def _status_of(arguments: list[str] | None) -> int:
    try:
        status = app(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        return _complain(f"{error}  Try 'holdfast --help'.", ExitStatus.USAGE)
    except NoDaemon as error:
        return _complain(str(error), ExitStatus.UNAVAILABLE)
    except HoldfastError as error:
        return _complain(str(error), _status_for(error))
    except BrokenPipeError:
        # Whoever read the output went away (`holdfast events | head`): that is how they end it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.CLEAN
    except OSError as error:
        # The disk is full, a file cannot be opened: the world's fault, and not worth a traceback.
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", ExitStatus.FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return status if isinstance(status, int) else ExitStatus.CLEAN


def _status_for(error: HoldfastError) -> ExitStatus:
    from holdfast.actors.config.messages import ConfigurationError

    return ExitStatus.CONFIGURATION if isinstance(error, ConfigurationError) else ExitStatus.FAILED


def _complain(text: str, status: ExitStatus) -> ExitStatus:
    """Say what is wrong, each line under the program's name: several problems are several lines."""
    for line in text.splitlines():
        print(f"holdfast: {plain(line)}", file=sys.stderr)
    return status


@app.command
def run(*, config: Config = None, control: Control = None, json: Json = False) -> int:
    """Run the daemon: keep the configured session alive until SIGTERM or SIGINT.

    Without a configured connection.url it connects to an embedded hub of its own.
    """
    # Said before the heavy imports: people see at once that something happens.
    source = (
        f"the configuration is {config}" if config is not None else "no --config: defaults and environment"
    )
    print(f"holdfast: starting; {source}", file=sys.stderr, flush=True)
    from holdfast.actors.app.run import RunOptions, run_daemon

    options = RunOptions(config=config, control=_control(control), json=json, environ=os.environ)
    return _in_trio(functools.partial(run_daemon, options))


@app.command
def hub(*settings: str) -> int:
    """Run a hub alone: token endpoint, realtime endpoint, avatar stand-in.

    SETTINGS are NAME=VALUE pairs, as in `holdfast hub token_port=8080 store_path=hub.db`; ports
    of 0 are chosen by the system.  API keys come from HOLDFAST_HUB_API_KEYS.  It prints one JSON
    line with its addresses when it is ready.
    """
    from holdfast.actors.hub.__main__ import main as run_hub

    return run_hub(settings)


@app.command
def check(file: Path, /, *, json: Json = False) -> int:
    """Say what is wrong with a configuration file, or show what it means, secrets masked."""
    from holdfast.actors.app.check import check_file

    return check_file(file, os.environ, json=json)


@app.command
def status(*, control: Control = None, json: Json = False) -> int:
    """Show how the daemon is: session, link, queues."""
    from holdfast.actors.app.display import show_status

    found = _ask(control, "status")
    return _print(found) if json else show_status(found)


@app.command
def tree(
    *,
    hub: Hub = False,
    watch: Watch = False,
    interval: Interval = 1.0,
    control: Control = None,
    json: Json = False,
) -> int:
    """Show the daemon's supervision tree: states, restarts, what is left of each budget, waiting mail."""
    of = "hub" if hub else "client"
    if watch:
        return _watch(_control(control), of, interval, json=json)
    from holdfast.actors.app.display import show_tree

    found = _ask(control, "tree", of=of)
    return _print(found) if json else show_tree(found)


def _watch(control: Path, of: str, interval: float, *, json: bool) -> int:
    from holdfast.actors.app.watch import INTERVAL_MIN, watch_tree

    if not INTERVAL_MIN <= interval < math.inf:
        return _complain(f"--interval is {INTERVAL_MIN:g} s or more, got {interval:g}", ExitStatus.USAGE)
    seams = Seams()

    async def look() -> object:
        return await ask_daemon(control, "tree", {"of": of}, seams=seams)

    async def follow() -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_reader_left, nursery.cancel_scope)
            await watch_tree(look, interval=interval, clock=seams.wall_clock, json=json)
        return ExitStatus.CLEAN

    return _in_trio(follow)


@app.command
def events(*, control: Control = None, json: Json = False) -> int:
    """Follow what happens in the daemon, one line an event, until interrupted."""
    return _follow(control, "events", {}, json=json)


@app.command
def inspect(path: str, /, *, control: Control = None, json: Json = False) -> int:
    """Show one actor: its counts, its state with secrets masked, its latest events."""
    from holdfast.actors.app.display import show_actor

    found = _ask(control, "inspect", path=path)
    return _print(found) if json else show_actor(found)


@app.command
def trace(
    path: str,
    /,
    *,
    seconds: Seconds = None,
    subtree: Subtree = False,
    contents: Contents = False,
    control: Control = None,
    json: Json = False,
) -> int:
    """Follow an actor's messages, one line each: taken, handled, answered, crashed; until interrupted."""
    if seconds is not None and not seconds > 0:
        return _complain(f"--seconds is a number above 0, got {seconds:g}", ExitStatus.USAGE)
    arguments = {"path": path, "seconds": seconds, "subtree": subtree, "contents": contents}
    return _follow(control, "trace", arguments, json=json)


@app.command
def suspend(path: str, /, *, control: Control = None, json: Json = False) -> int:
    """Have an actor hold its mail back until it is resumed; what comes meanwhile waits."""
    found = _ask(control, "suspend", path=path)
    return _print(found) if json else _say(f"suspended {path}")


@app.command
def resume(path: str, /, *, control: Control = None, json: Json = False) -> int:
    """Have a suspended actor handle its mail again, in order."""
    found = _ask(control, "resume", path=path)
    return _print(found) if json else _say(f"resumed {path}")


@app.command
def restart(path: str, /, *, control: Control = None, json: Json = False) -> int:
    """Restart an actor in an orderly way, with its strategy's group; the root means everything."""
    found = _ask(control, "restart", path=path)
    return _print(found) if json else _say(f"restarted {path}")


@app.command
def send(
    payload: str,
    /,
    *,
    channel: str | None = None,
    type: str = "msg.publish",  # noqa: A002
    control: Control = None,
    json: Json = False,
) -> int:
    """Send a JSON object as a message of the daemon's session; it is on disk when this returns."""
    try:
        decoded = msgspec.json.decode(payload, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        shown = payload if len(payload) <= SHOWN_MAX else payload[:SHOWN_MAX] + "…"
        return _complain(f"PAYLOAD must be a JSON object, got {shown!r}: {error}", ExitStatus.USAGE)
    found = msgspec.convert(
        _ask(control, "send", payload=decoded, channel=channel, type=type), dict[str, str]
    )
    return _print(found) if json else _say(f"accepted as {found['id']}")


@app.command
def stop(*, control: Control = None, json: Json = False) -> int:
    """Stop the daemon: drain, disconnect, stop everything in order; returns when it has ended."""
    found = _ask(control, "stop")
    if not _in_trio(functools.partial(_wait_released, _control(control))):
        raise ControlError(f"the daemon was asked to stop and is still at it after {STOP_TIMEOUT:g} s")
    return _print(found) if json else _say("stopped")


@app.command
def demo(*, script: Script = None, json: Json = False) -> int:
    """Prove it: real processes, real faults, nothing lost.  Takes up to a minute; writes build/demo.json."""
    from holdfast.actors.app.demo import run_demo

    return _in_trio(functools.partial(run_demo, script, json=json))


def _follow(control: Path | None, verb: str, arguments: Mapping[str, object], *, json: bool) -> int:
    """Print what the daemon streams, one line an item, until it ends or the reader goes away."""
    from holdfast.actors.app.display import console, form_line

    out = console()

    async def follow() -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_reader_left, nursery.cancel_scope)
            async for item in stream_daemon(_control(control), verb, seams=Seams(), **arguments):
                if json:
                    _print(item)
                else:
                    out.print(form_line(msgspec.convert(item, dict[str, object])))
            nursery.cancel_scope.cancel()
        return ExitStatus.CLEAN

    return _in_trio(follow)


async def _wait_released(control: Path) -> bool:
    """Wait until no process holds the claim on the control socket; false when it takes too long."""
    from holdfast.actors.app.claims import AlreadyClaimed, claim

    with trio.move_on_after(STOP_TIMEOUT):
        while True:
            try:
                with claim(control, instead="wait"):
                    return True
            except AlreadyClaimed:
                await trio.sleep(0.05)
    return False


async def _until_reader_left(scope: trio.CancelScope) -> None:
    """End when nobody reads the pipe any more: the next event, which would tell, may be hours away."""
    try:
        descriptor = sys.stdout.fileno()
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return
        # Nothing can be read from this end of a pipe; what wakes the wait is the other end's going.
        await trio.lowlevel.wait_readable(descriptor)
    except (OSError, ValueError):
        return  # no descriptor to wait on, or a system that cannot: the next write tells
    scope.cancel()


def _control(given: Path | None) -> Path:
    return given if given is not None else control_socket(os.environ)


def _ask(control: Path | None, verb: str, **arguments: object) -> object:
    return _in_trio(functools.partial(ask_daemon, _control(control), verb, arguments, seams=Seams()))


def _in_trio(main_of: Callable[[], Awaitable[T]]) -> T:
    """Run to the end; an error that comes alone in a group is raised as it is."""
    try:
        return trio.run(main_of)
    except BaseExceptionGroup as group:
        from holdfast.runtime.outcomes import unwrap

        alone = unwrap(group)
        if alone is group:
            raise
        raise alone from group


def _print(value: object) -> int:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
    return ExitStatus.CLEAN


def _say(text: str) -> int:
    print(text)
    return ExitStatus.CLEAN


if __name__ == "__main__":
    main()
