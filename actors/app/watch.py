"""A tree that is drawn anew while it changes: ``holdfast tree --watch``.

On a terminal the picture stands still and its numbers move, as in `top`; into a
pipe goes one picture after the other, with the time above it.  A daemon that
ends while it is watched ends the watching, with the status of one that does
not answer.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import msgspec
import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from holdfast.actors.app.display import console, tree_text
from holdfast.runtime.clock import WallClock, iso_timestamp
from holdfast.supervisors import TreeNode

__all__ = ["INTERVAL_MIN", "watch_tree"]

# Each look asks every supervisor of the tree; ten a second are as many as an eye can follow.
INTERVAL_MIN = 0.1


async def watch_tree(
    look: Callable[[], Awaitable[object]],
    *,
    interval: float,
    clock: WallClock,
    json: bool,
    out: Console | None = None,
) -> None:
    """Draw what `look` returns, every `interval` seconds, until cancelled or until `look` raises."""
    out = out or console()
    if json:
        await _print_each(look, interval)
        return
    live = Live(console=out, screen=True, auto_refresh=False) if out.is_terminal else nullcontext()
    with live as screen:
        while True:
            picture = _picture(await look(), clock)
            if screen is None:
                out.print(picture, end="\n\n")
            else:
                screen.update(picture, refresh=True)
            await trio.sleep(interval)


async def _print_each(look: Callable[[], Awaitable[object]], interval: float) -> None:
    while True:
        sys.stdout.write(msgspec.json.encode(await look()).decode() + "\n")
        sys.stdout.flush()
        await trio.sleep(interval)


def _picture(tree: object, clock: WallClock) -> Text:
    return Text.assemble(
        (iso_timestamp(clock.now()), "dim"), "\n", tree_text(msgspec.convert(tree, TreeNode))
    )
