"""What people see of the demo while it runs: faults, what the tree says about them, and the final table.

A terminal gets colours and the live tree after each fault; a pipe gets the same lines plain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdfast.actors.app.display import form_line, tree_text
from holdfast.supervisors import TreeNode

__all__ = ["Screen"]

# Events that say nothing to a spectator: one per message or per heartbeat.
QUIET = ("link:latency", "message:received", "dead:letter", "actor:started", "actor:ended")


@attrs.define
class Screen:
    """Shows one run; `quiet` shows nothing (``--json``)."""

    console: Console
    quiet: bool = False

    def show(self, kind: str, what: Mapping[str, object]) -> None:
        """Hear from the director."""
        if self.quiet:
            return
        match kind:
            case "fault":
                self.console.print(Text.assemble(("\n⚡ ", "bold yellow"), (str(what["name"]), "bold")))
            case "recovery":
                seconds = what["seconds"]
                self.console.print(
                    Text.assemble(("✓ ", "bold green"), f"recovered in {seconds} s: {what['action']}")
                )
            case "event" if not str(what.get("type", "")).startswith(QUIET):
                self.console.print(form_line(what))
            case _:
                pass

    def tree(self, tree: TreeNode) -> None:
        """Show a tree."""
        if not self.quiet:
            self.console.print(tree_text(tree))

    def say(self, text: str) -> None:
        """Say how far it is."""
        if not self.quiet:
            self.console.print(text, style="dim")

    def result(self, result: Mapping[str, object], recoveries: Sequence[Mapping[str, object]]) -> None:
        """Show the final table and the numbers."""
        if self.quiet:
            return
        table = Table("fault", "took effect", "what the tree did", "seconds", title="Recoveries")
        for row in recoveries:
            table.add_row(
                str(row["fault"]),
                "yes" if row["effective"] else "NO",
                str(row["action"]),
                f"{row['seconds']:.2f}",
            )
        self.console.print()
        self.console.print(table)
        for name, value in result.items():
            if not isinstance(value, list):
                self.console.print(f"{name:<16} {value}")
