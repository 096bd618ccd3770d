"""What people see of the demo: faults, what the tree says about them, and the final table.

On a terminal the tree stands beside the events and both are redrawn while
things happen; a pipe gets the same events as plain lines.  ``--json`` gets
nothing but the result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import attrs
import msgspec
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from holdfast.actors.app.demo.result import DemoResult, Recovery
from holdfast.actors.app.demo.script import Script
from holdfast.actors.app.demo.stage import SeenEvent
from holdfast.actors.app.demo.traffic import Counts
from holdfast.actors.app.display import form_line, style_of, tree_text
from holdfast.supervisors import TreeNode

__all__ = ["Screen"]

# Events that say nothing to a spectator: one per message or per heartbeat.
QUIET = ("link:latency", "message:received", "dead:letter", "actor:started", "actor:ended")

# Lines of the live view that are kept; a terminal shows fewer.
LINES_KEPT = 200

# Columns of the tree in the live view: the longest name with its state and count.
TREE_WIDTH = 36

REDRAWS_PER_SECOND = 8


@attrs.define
class Screen:
    """Shows one run; `quiet` shows nothing (``--json``)."""

    console: Console
    script: Script
    quiet: bool = False
    _view: Live | None = None
    _lines: deque[Text] = attrs.field(factory=lambda: deque[Text](maxlen=LINES_KEPT))
    _tree: TreeNode | None = None
    _counts: Counts | None = None
    _recovered: int = 0

    @property
    def live(self) -> bool:
        """Whether it is redrawn all the time, and wants to know how far everything is."""
        return self._view is not None

    @contextmanager
    def drawing(self) -> Generator[None]:
        """Draw for the length of the body, where there is a terminal to draw on."""
        if self.quiet or not self.console.is_terminal or self.console.is_dumb_terminal:
            yield
            return
        with Live(
            console=self.console,
            get_renderable=self._drawn,
            refresh_per_second=REDRAWS_PER_SECOND,
            transient=True,
        ) as self._view:
            yield
        self._view = None

    # ---- what the director tells -------------------------------------------------------------------

    def fault(self, name: str) -> None:
        """A fault is about to strike."""
        self._line(Text.assemble(("⚡ ", "bold yellow"), (name, "bold")), before="\n")

    def recovery(self, recovery: Recovery) -> None:
        """A fault has been recovered from."""
        self._recovered += 1
        mark = ("✓ ", "bold green") if recovery.effective else ("✗ ", "bold red")
        self._line(Text.assemble(mark, f"{recovery.seconds:.2f} s: {recovery.action}; {recovery.evidence}"))

    def event(self, event: SeenEvent) -> None:
        """An event of the client."""
        if event.type.startswith(QUIET):
            return
        if self.live:
            name = (f"{event.type} ", style_of(event.type))
            self._line(Text.assemble((f"{event.at:5.1f} ", "dim"), name, event.text))
        else:
            self._line(form_line({"type": event.type, "text": event.text, "at": event.at}))

    def tree(self, tree: TreeNode) -> None:
        """The tree as it is now."""
        self._tree = tree
        if not self.live and not self.quiet:
            self.console.print(tree_text(tree))

    def progress(self, counts: Counts) -> None:
        """How far the messages are."""
        self._counts = counts

    def say(self, text: str) -> None:
        """Anything else that a spectator should know."""
        self._line(Text(text, style="dim"))

    def _line(self, text: Text, *, before: str = "") -> None:
        if self.quiet:
            return
        if self.live:
            self._lines.append(text)
        else:
            self.console.print(Text(before) + text)

    # ---- the live view -----------------------------------------------------------------------------

    def _drawn(self) -> RenderableType:
        height = max(10, self.console.height - 1)
        room = height - 4
        events = Text("\n", no_wrap=True, overflow="ellipsis").join([*self._lines][-room:])
        events.no_wrap, events.overflow = True, "ellipsis"
        layout = Layout()
        layout.split_column(Layout(name="upper"), Layout(self._bars(), size=2))
        layout["upper"].split_row(
            Layout(
                Panel(Text("\n").join(self._branches()), title="tree", border_style="dim"), size=TREE_WIDTH
            ),
            Layout(Panel(events, title="events", border_style="dim")),
        )
        return Group(layout) if height >= self.console.height else _Tall(layout, height)

    def _branches(self) -> Iterator[Text]:
        if self._tree is not None:
            yield from _branches(self._tree, 0)

    def _bars(self) -> RenderableType:
        counts = self._counts or Counts(0, 0, 0, 0, 0)
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=9)
        table.add_column(ratio=1)
        table.add_column(width=30, no_wrap=True)
        faults = f"fault {self._recovered} of {len(self.script.fault)}"
        for name, done, beside in (("sent", counts.accepted, faults), ("came back", counts.received, "")):
            bar = ProgressBar(total=self.script.messages, completed=done)
            table.add_row(name, bar, f"{done} of {self.script.messages}  {beside}")
        return table

    # ---- the end -----------------------------------------------------------------------------------

    def result(self, result: DemoResult) -> None:
        """Show the final table and the numbers."""
        if self.quiet:
            return
        table = Table("fault", "in flight", "what the tree did", title="Recoveries", show_lines=False)
        table.add_column("seconds", justify="right")
        for row in result.recoveries:
            table.add_row(
                Text(row.fault) if row.effective else Text(f"NO EFFECT: {row.fault}", style="bold red"),
                f"{row.in_flight_up}↑ {row.in_flight_down}↓",
                row.action,
                f"{row.seconds:.2f}",
            )
        self.console.print()
        # The console wraps nothing by itself; a table must fit.
        self.console.print(table, soft_wrap=False, width=min(self.console.width, 100))
        for name, value in msgspec.to_builtins(result).items():
            if not isinstance(value, list | tuple):
                self.console.print(f"{name:<24} {value}")
        word = Text("FAILED", style="bold red") if result.problems else Text("proved", style="bold green")
        self.console.print(word)


@attrs.frozen
class _Tall:
    """A renderable of a given height: a layout would fill the screen and make it scroll."""

    layout: Layout
    height: int

    def __rich_console__(self, console: Console, options: object) -> Iterator[RenderableType]:
        yield from console.render(self.layout, console.options.update(height=self.height))  # type: ignore[misc]


def _branches(node: TreeNode, depth: int) -> Iterator[Text]:
    name = node.path.rpartition("/")[2]
    times = f"  {node.incarnation}." if node.incarnation > 1 else ""
    full = f"  {node.full_restarts} full restart" if node.full_restarts else ""
    style = "green" if node.state == "running" else "bold yellow"
    yield Text.assemble("  " * depth, (name, style), (times + full, style_of("supervisor:")))
    for child in node.children:
        yield from _branches(child, depth + 1)
