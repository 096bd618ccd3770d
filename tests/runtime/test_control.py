"""The control socket: the owner's alone, bounded, and not to be harmed by whoever talks to it."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from holdfast.runtime import Actor, InjectedFault, Seams, StartFailed, System, open_system
from holdfast.runtime import control as rules
from holdfast.runtime.control import (
    ControlError,
    ControlRefused,
    ControlServer,
    NoDaemon,
    Verbs,
    ask_daemon,
    stream_daemon,
)
from holdfast.supervisors import Budget, start_tree, supervisor, worker

PATIENCE = 10.0


class Teapot(ControlError):
    pass


async def _echo(arguments: Mapping[str, object]) -> object:
    return dict(arguments)


async def _refuse(_arguments: Mapping[str, object]) -> object:
    raise Teapot("short and stout")


async def _large(_arguments: Mapping[str, object]) -> object:
    return "x" * 4_000_000


async def _count(arguments: Mapping[str, object]) -> AsyncGenerator[object, None]:
    for number in range(msgspec.convert(arguments.get("to"), int)):
        yield number


async def _endless(_arguments: Mapping[str, object]) -> AsyncGenerator[object, None]:
    while True:
        yield "x" * 10_000
        await trio.lowlevel.checkpoint()


async def _fail_later(_arguments: Mapping[str, object]) -> AsyncGenerator[object, None]:
    yield 1
    raise Teapot("in the middle")


VERBS: Verbs = {
    "echo": _echo,
    "refuse": _refuse,
    "large": _large,
    "count": _count,
    "endless": _endless,
    "fail_later": _fail_later,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "control.sock"


@asynccontextmanager
async def serving(path: Path) -> AsyncGenerator[System]:
    with trio.fail_after(PATIENCE):
        async with open_system() as system:
            server = worker("control", lambda: ControlServer(path, VERBS))
            await start_tree(system, supervisor("daemon", server, budget=Budget(3, 5.0)))
            yield system


def ask(path: Path, verb: str, **arguments: object) -> Callable[[], object]:
    async def asking() -> object:
        return await ask_daemon(path, verb, arguments, seams=Seams())

    return lambda: trio.run(asking)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def raw(path: Path, sent: bytes) -> bytes:
    """Say something of our own and return all that comes back."""
    answer = b""
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(sent)
        try:
            while chunk := await stream.receive_some(65_536):
                answer += chunk
        except trio.BrokenResourceError:
            pass
    return answer


async def works(path: Path) -> bool:
    return await ask_daemon(path, "echo", {"a": 1}, seams=Seams()) == {"a": 1}


def test_the_socket_is_its_owners_alone_in_a_folder_of_its_owners_alone(path: Path) -> None:
    async def main() -> tuple[int, int]:
        async with serving(path):
            return mode_of(path), mode_of(path.parent)

    before = os.umask(0)
    try:
        assert trio.run(main) == (0o600, 0o700)
    finally:
        os.umask(before)


def test_binding_sets_the_processs_mask_back_before_anything_else_runs(path: Path) -> None:
    """A folder that another task makes meanwhile must not lose its owner's right to enter it."""
    masks: list[int] = []

    async def watch() -> None:
        while True:
            masks.append(os.umask(0o022))
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        os.umask(0o022)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            async with serving(path):
                assert await works(path)
            nursery.cancel_scope.cancel()

    before = os.umask(0o022)
    try:
        trio.run(main)
    finally:
        os.umask(before)
    assert set(masks) == {0o022}


def test_an_answer_an_error_and_a_stream_come_as_they_are(path: Path) -> None:
    async def main() -> None:
        async with serving(path):
            assert await works(path)
            with pytest.raises(ControlRefused, match="short and stout") as refused:
                await ask_daemon(path, "refuse", {}, seams=Seams())
            assert refused.value.kind == "Teapot"
            assert [item async for item in stream_daemon(path, "count", seams=Seams(), to=3)] == [0, 1, 2]

    trio.run(main)


def test_an_error_in_the_middle_of_a_stream_reaches_the_reader_and_harms_nobody(path: Path) -> None:
    async def main() -> None:
        async with serving(path) as system:
            with pytest.raises(ControlRefused, match="in the middle"):
                async for _item in stream_daemon(path, "fail_later", seams=Seams()):
                    pass
            assert system.ref("daemon/control").slot.incarnation == 1

    trio.run(main)


@pytest.mark.parametrize(
    "sent,words",
    [
        (
            b'{"verb":"dance"}\n',
            b"the verbs are count, echo, endless, fail_later, large, refuse; got 'dance'",
        ),
        (b"hello\n", b"wanted one line such as"),
        (b"\xff\xfe\xfd\n", b"wanted one line such as"),
        (b'{"verb":3}\n', b"wanted one line such as"),
        (b'{"verb":"echo","more":1}\n', b"wanted one line such as"),
        (b"[" * 60_000 + b"\n", b"wanted one line such as"),
        (b'{"verb":"echo","arguments":{"a":' + b"[" * 60_000 + b"\n", b"wanted one line such as"),
        (b"x" * 200_000, b"a line has at most 65536 bytes"),
    ],
    ids=["unknown verb", "no JSON", "no text", "no verb", "an unknown key", "deep", "deeper", "too long"],
)
def test_a_bad_request_is_answered_by_name_and_harms_nobody(path: Path, sent: bytes, words: bytes) -> None:
    async def main() -> None:
        async with serving(path) as system:
            assert words in await raw(path, sent)
            assert await works(path)
            assert system.ref("daemon/control").slot.incarnation == 1

    trio.run(main)


def test_a_client_that_says_nothing_is_told_and_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "REQUEST_TIMEOUT", 0.05)

    async def main() -> None:
        async with serving(path):
            assert b"got no end of line" in await raw(path, b'{"verb":')

    trio.run(main)


def test_clients_that_hang_up_or_do_not_read_harm_nobody(path: Path) -> None:
    async def main() -> None:
        async with serving(path) as system, await trio.open_unix_socket(str(path)) as deaf:
            await deaf.send_all(b'{"verb":"endless"}\n')
            for verb in (b"endless", b"large"):
                gone = await trio.open_unix_socket(str(path))
                await gone.send_all(b'{"verb":"%s"}\n' % verb)
                await trio.aclose_forcefully(gone)
            assert await works(path)
            assert system.ref("daemon/control").slot.incarnation == 1

    trio.run(main)


def test_an_answer_that_is_not_taken_in_time_is_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serving(path) as system:
            with monkeypatch.context() as patched:
                patched.setattr(rules, "ANSWER_TIMEOUT", 0.0)
                assert len(await raw(path, b'{"verb":"large"}\n')) < 4_000_000
            assert await works(path)
            assert system.ref("daemon/control").slot.incarnation == 1

    trio.run(main)


def test_the_connection_after_the_last_allowed_one_is_told_why_and_the_next_is_served(path: Path) -> None:
    async def main() -> None:
        async with serving(path):
            held = [await trio.open_unix_socket(str(path)) for _ in range(rules.CONNECTIONS_MAX)]
            with pytest.raises(ControlRefused, match="16 connections are open"):
                await ask_daemon(path, "echo", {}, seams=Seams())
            for stream in held:
                await stream.aclose()
            while True:
                try:
                    assert await works(path)
                    return
                except ControlRefused:  # the server learns of the closed ones in its own time
                    await trio.lowlevel.checkpoint()

    trio.run(main)


def test_a_crash_is_restarted_and_the_socket_comes_back(path: Path) -> None:
    async def main() -> None:
        async with serving(path) as system:
            server = system.ref("daemon/control")
            watcher = await trio.open_unix_socket(str(path))
            server.tell(InjectedFault(RuntimeError("a bug")))
            # Its connections end with it.
            assert await watcher.receive_some(1) == b""
            await watcher.aclose()
            while not server.slot.running or server.slot.incarnation < 2:
                await trio.lowlevel.checkpoint()
            assert await works(path)

    trio.run(main)


def test_a_socket_that_nobody_serves_is_taken_over(path: Path) -> None:
    async def main() -> None:
        path.parent.mkdir(mode=0o700)
        left = trio.socket.socket(trio.socket.AF_UNIX)
        await left.bind(str(path))
        left.close()
        with pytest.raises(NoDaemon, match="the one that made it has ended"):
            await ask_daemon(path, "echo", {}, seams=Seams())
        async with serving(path):
            assert await works(path)

    trio.run(main)
    assert not path.exists()


def _refusal(path: Path, server: Callable[[], Actor]) -> str:
    async def main() -> str:
        with trio.fail_after(PATIENCE):
            async with open_system() as system:
                with pytest.raises(StartFailed) as failed:
                    await system.start("control", server)
                return str(failed.value)

    return trio.run(main)


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")

    assert "is no socket: it is left alone" in _refusal(path, lambda: ControlServer(path, VERBS))
    assert path.read_text() == "precious"


def test_a_socket_that_somebody_serves_is_left_alone(path: Path) -> None:
    async def main() -> None:
        async with serving(path), open_system(name="second") as second:
            with pytest.raises(StartFailed, match="a daemon already serves"):
                await second.start("control", lambda: ControlServer(path, VERBS))
            assert await works(path)

    trio.run(main)


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_refused(path: Path, mode: int) -> None:
    path.parent.mkdir()
    path.parent.chmod(mode)

    assert "others may write" in _refusal(path, lambda: ControlServer(path, VERBS))


def test_a_shared_folder_in_which_nobody_can_touch_anothers_files_is_fine(path: Path) -> None:
    async def main() -> None:
        path.parent.mkdir()
        path.parent.chmod(0o1777)
        async with serving(path):
            assert await works(path)

    trio.run(main)


def test_a_folder_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(mode=0o700)
    ours = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
    if ours == 0:
        os.chown(path.parent, 12345, 12345)

    assert "belongs to user" in _refusal(path, lambda: ControlServer(path, VERBS))


def test_a_path_that_is_too_long_is_refused_with_its_length(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)

    assert "at most 103 bytes" in _refusal(path, lambda: ControlServer(path, VERBS))


def test_a_peer_of_another_user_is_refused_on_either_side(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's mode keeps others out already; this holds where a folder's or a file's mode was changed."""

    def stranger(_stream: trio.abc.Stream) -> int:
        return os.geteuid() + 7

    async def main() -> None:
        async with serving(path):
            monkeypatch.setattr(rules, "peer_user", stranger)
            assert b"alone, not for user" in await raw(path, b'{"verb":"echo"}\n')
            with pytest.raises(ControlError, match="is served by user"):
                await ask_daemon(path, "echo", {}, seams=Seams())

    trio.run(main)


def test_the_peers_user_is_what_the_kernel_says(path: Path) -> None:
    async def main() -> int | None:
        async with serving(path), await trio.open_unix_socket(str(path)) as stream:
            return rules.peer_user(stream)

    assert trio.run(main) == os.geteuid()


def test_no_socket_at_all_says_what_to_do(path: Path) -> None:
    with pytest.raises(NoDaemon, match=r"there is no such socket.*holdfast run"):
        ask(path, "echo")()


def test_a_stranger_behind_the_socket_is_named(path: Path) -> None:
    async def main() -> None:
        path.parent.mkdir(mode=0o700)
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(str(path))
        listener.listen()

        async def stranger() -> None:
            connection, _address = await listener.accept()
            await connection.send(b"220 mail.example.com ESMTP\r\n")
            connection.close()

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stranger)
                with pytest.raises(ControlError, match="no holdfast daemon"):
                    await ask_daemon(path, "echo", {}, seams=Seams())
        listener.close()

    trio.run(main)
