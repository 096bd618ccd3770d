"""The tree that is drawn anew: one picture after the other into a pipe, in place on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
import trio

from holdfast.actors.app.terminal import PipeConsole
from holdfast.actors.app.watch import watch_tree
from holdfast.runtime.control import NoDaemon
from holdfast.runtime.testing import on_trio
from holdfast.supervisors import TreeNode


class _Calendar:
    def now(self) -> float:
        return trio.current_time() % 1.0 + 1_000_000_000.0


class _Daemon:
    """Answers with a tree in which one more message waits each time, until it is gone."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.times: list[float] = []

    async def look(self) -> object:
        await trio.lowlevel.checkpoint()
        if len(self.times) == self.looks:
            raise NoDaemon(Path("control.sock"), "gone")
        self.times.append(trio.current_time())
        tree = TreeNode(path="top", kind="supervisor", state="running", mailbox=len(self.times))
        return msgspec.to_builtins(tree)


async def _watch(daemon: _Daemon, *, terminal: bool = False, json: bool = False) -> str:
    shown = io.StringIO()
    out = PipeConsole(file=shown, force_terminal=terminal, color_system=None, width=80, height=5)
    with pytest.raises(NoDaemon):
        await watch_tree(daemon.look, interval=2.0, clock=_Calendar(), json=json, out=out)
    return shown.getvalue()


@on_trio
async def test_into_a_pipe_goes_one_picture_after_the_other_with_its_time() -> None:
    daemon = _Daemon(looks=3)
    pictures = (await _watch(daemon)).strip().split("\n\n")

    assert [picture.splitlines()[0][:10] for picture in pictures] == ["2001-09-09"] * 3
    assert [picture.split()[-1] for picture in pictures] == ["1", "2", "3"]
    assert [later - daemon.times[0] for later in daemon.times] == [0.0, 2.0, 4.0]


@on_trio
async def test_on_a_terminal_it_is_drawn_in_place_and_the_screen_is_given_back() -> None:
    shown = await _watch(_Daemon(looks=2), terminal=True)

    assert shown.startswith("\x1b[?1049h")
    assert shown.rstrip().endswith(("\x1b[?1049l", "\x1b[?25h"))
    assert "\x1b[?1049l" in shown


@on_trio
async def test_programs_get_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert await _watch(_Daemon(looks=2), json=True) == ""
    nodes = [msgspec.json.decode(line, type=TreeNode) for line in capsys.readouterr().out.splitlines()]

    assert [node.mailbox for node in nodes] == [1, 2]
