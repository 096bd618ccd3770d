"""The daemon as people and service managers meet it: a real process, its command line, its signals."""

from __future__ import annotations

import itertools
import select
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest
from tests.process.daemon import HOLDFAST, PATIENCE, Daemon, environment, field

from holdfast.runtime.control import ControlError, ControlRefused
from holdfast.runtime.daemon import ExitStatus

FAULTS = "[development]\nfault_injection = true\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Generator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as running:
        running.until_shown(" ready ")
        yield running
        assert running.stopped_by(signal.SIGTERM) == ExitStatus.CLEAN
        assert running.errors.splitlines()[-2:] == ["holdfast: stopping", "holdfast: stopped"]
        assert "Traceback" not in running.errors


def test_it_says_where_everything_is_then_the_tree_then_what_happens(daemon: Daemon) -> None:
    said = daemon.errors.splitlines()

    assert said[0] == f"holdfast: starting; the configuration is {daemon.config}"
    assert said[1].startswith("holdfast: no connection.url is configured: embedded hub ws://127.0.0.1:")
    assert said[2] == f"holdfast: messages are kept in {daemon.folder}/holdfast/client.db"
    assert said[3] == f"holdfast: control socket {daemon.control}"
    assert daemon.shown[0].startswith("ACTOR ")
    assert daemon.shown[1].split()[:3] == ["holdfast", "running", "one_for_all"]
    names = [line.split()[-1] for line in daemon.shown if " actor:started " in line]
    assert not any("daemon" in name for name in names)
    events = [line.split()[1] for line in daemon.shown[13:]]
    assert events[:2] == ["connecting", "authenticating"]


def test_status_names_the_process_and_its_session(daemon: Daemon) -> None:
    status = daemon.ask("status")

    assert field(status, "pid") == daemon.process.pid
    assert field(status, "state", "link", "state") == "connected"
    assert field(status, "auth", "authenticated") is True


def test_the_commands_show_people_text_and_programs_json(daemon: Daemon) -> None:
    tree, status = daemon.command("tree"), daemon.command("status", "--json")

    assert (tree.returncode, tree.stderr) == (0, "")
    heading, root, *_ = tree.stdout.splitlines()
    assert heading.split() == ["ACTOR", "STATE", "STRATEGY", "RESTARTS", "BUDGET", "LEFT", "MAIL", "UP"]
    assert root.split()[:3] == ["holdfast", "running", "one_for_all"]
    assert "\x1b" not in tree.stdout
    assert status.returncode == 0
    assert field(msgspec.json.decode(status.stdout), "pid") == daemon.process.pid


def test_a_watched_tree_is_drawn_anew_until_its_reader_goes(daemon: Daemon) -> None:
    with subprocess.Popen(
        [*HOLDFAST, "tree", "--watch", "--interval", "0.1"],
        env=environment(daemon.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        lines = (line.decode() for line in watching.stdout)
        pictures = list(itertools.islice((line for line in lines if line.startswith("ACTOR ")), 3))
        watching.stdout.close()
        assert watching.wait(PATIENCE) == ExitStatus.CLEAN
        assert watching.stderr.read() == b""

    assert len(pictures) == 3


def test_the_embedded_hub_has_a_tree_of_its_own(daemon: Daemon) -> None:
    assert field(daemon.ask("tree"), "path") == "holdfast"
    assert field(daemon.ask("tree", of="hub"), "path") == "holdfast-hub"
    with pytest.raises(ControlError, match="has the trees client, hub; got 'moon'"):
        daemon.ask("tree", of="moon")


def test_a_message_that_is_sent_reaches_the_hub_and_comes_back(daemon: Daemon) -> None:
    sent = daemon.ask("send", payload={"n": 1}, type="msg.echo")

    assert field(sent, "id")
    assert "{'n': 1}" in daemon.until_shown("message:received")


def test_an_actor_that_does_not_exist_cannot_be_restarted_and_the_error_says_so(daemon: Daemon) -> None:
    with pytest.raises(ControlRefused, match=r"'holdfast/nobody'.*'holdfast tree' lists the paths"):
        daemon.ask("restart", path="holdfast/nobody")
    done = daemon.command("restart", "nobody")

    assert (done.returncode, done.stdout) == (ExitStatus.FAILED, "")
    assert done.stderr.startswith("holdfast: 'nobody' cannot be restarted")
    assert len(done.stderr.splitlines()) == 1


def test_an_actor_is_inspected_suspended_resumed_and_traced_by_its_path(daemon: Daemon) -> None:
    path = "holdfast/session/delivery"
    told = daemon.command("inspect", path, "--json")
    assert (told.returncode, told.stderr) == (0, "")
    picture = msgspec.json.decode(told.stdout)
    assert (field(picture, "path"), field(picture, "status")) == (path, "running")
    assert field(picture, "state")
    shown = daemon.command("inspect", path).stdout
    assert "actor:started" in shown
    assert "handled" in shown

    assert daemon.command("suspend", path).stdout == f"suspended {path}\n"
    assert field(daemon.ask("inspect", path=path), "suspended") is True
    assert daemon.command("resume", path).stdout == f"resumed {path}\n"
    assert field(daemon.ask("inspect", path=path), "suspended") is False

    traced = daemon.command("trace", "holdfast-hub", "--subtree", "--seconds", "0.2", "--json")
    assert (traced.returncode, traced.stderr) == (0, "")


def test_the_reader_of_events_may_leave_and_the_command_ends_without_a_word(daemon: Daemon) -> None:
    with subprocess.Popen(
        [*HOLDFAST, "events", "--json"],
        env=environment(daemon.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        # Something happens until the first line is there; afterwards nothing does.
        while not _readable(reader.stdout.fileno()):
            daemon.ask("restart", path="holdfast/session/avatar")
        assert msgspec.json.decode(reader.stdout.readline(), type=dict[str, object])["type"]
        reader.stdout.close()
        assert reader.wait(PATIENCE) == ExitStatus.CLEAN
        assert reader.stderr.read() == b""


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0.05)[0])


def test_faults_are_refused_unless_the_configuration_allows_them(daemon: Daemon) -> None:
    with pytest.raises(ControlRefused, match=r"development\.fault_injection = true"):
        daemon.ask("crash", path="holdfast/session/auth")


@pytest.mark.parametrize("other", [(), ("--control", "{folder}/other.sock")], ids=["socket", "stores"])
def test_a_second_daemon_is_refused_before_it_touches_anything(
    daemon: Daemon, other: tuple[str, ...]
) -> None:
    """The same socket is refused, and so are the same stores behind another socket."""
    options = [option.format(folder=daemon.folder) for option in other]

    done = daemon.command("run", *options)

    assert done.returncode == ExitStatus.FAILED
    assert f"is in use by process {daemon.process.pid}: stop that one, or " in done.stderr
    assert done.stdout == ""
    assert field(daemon.ask("status"), "state", "link", "generation") == 1


def test_a_crash_of_the_control_actor_leaves_the_session_alone_and_the_socket_comes_back(
    tmp_path: Path,
) -> None:
    """And a re-read configuration counts: it is what allows the crash here."""
    with Daemon(tmp_path, "--json") as daemon:
        daemon.until_shown('"type":"ready"')
        daemon.config.write_text(FAULTS)
        assert daemon.ask("restart", path="holdfast") == {"restarted": "holdfast"}
        assert field(daemon.ask("tree"), "full_restarts") == 1

        daemon.ask("crash", path="daemon/control")
        daemon.until_shown('"path":"daemon/control","incarnation":2')
        assert field(daemon.ask("status"), "pid") == daemon.process.pid

        # A second daemon in a loop of a service manager would wait for the first to be gone.
        stopped = daemon.command("stop")
        assert (stopped.returncode, stopped.stdout) == (0, "stopped\n")
        assert daemon.process.wait(PATIENCE) == ExitStatus.CLEAN
        assert not daemon.control.exists()


def test_a_daemon_whose_root_gave_up_ends_with_75_and_says_why(tmp_path: Path) -> None:
    config = FAULTS + "[supervision]\nroot_intensity = 0\nsession_intensity = 0\n"
    with Daemon(tmp_path, config=config) as daemon:
        daemon.until_shown(" ready ")
        daemon.ask("crash", path="holdfast/session/auth")

        assert daemon.process.wait(PATIENCE) == ExitStatus.GAVE_UP
        assert "holdfast: the tree gave up (" in daemon.errors
        assert "(status 75)" in daemon.errors
        assert "Traceback (most" not in daemon.errors.replace('"traceback":"Traceback (most', "")


def test_what_a_killed_daemon_left_behind_stops_nobody_and_sigint_ends_the_next_one(tmp_path: Path) -> None:
    with Daemon(tmp_path) as first:
        first.until_shown(" ready ")
        assert first.stopped_by(signal.SIGKILL) == -signal.SIGKILL
        assert first.control.is_socket()
        left = first.command("status")
        assert left.returncode == ExitStatus.UNAVAILABLE
        assert "has ended" in left.stderr

    with Daemon(tmp_path) as second:
        assert "resumed=True" in second.until_shown(" link:up ")
        assert second.stopped_by(signal.SIGINT) == ExitStatus.CLEAN
        assert not second.control.exists()
