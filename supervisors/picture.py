"""A tree as people see it: one actor a line, its numbers in columns.

Plain text and nothing else, so that it reads the same in a terminal, a log and
an issue; who has colours adds them.  Programs read the `TreeNode` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.supervisors.tree import TreeNode

__all__ = ["render_tree"]

HEADINGS = ("ACTOR", "STATE", "STRATEGY", "RESTARTS", "BUDGET LEFT", "MAIL", "UP")

# Numbers that are compared down a column stand at its right edge.
RIGHT = frozenset({"RESTARTS", "MAIL", "UP"})

GAP = "  "


def render_tree(root: TreeNode) -> str:
    """Draw the tree: a heading, then one actor a line, in start order.

    What a column has nothing to say about is left empty: a worker has no strategy,
    what does not run has no uptime, and no restart and no mail are no news.
    """
    rows = [HEADINGS, *_rows(root, "", "")]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(width) if heading in RIGHT else cell.ljust(width)
        for heading, cell, width in zip(HEADINGS, row, widths, strict=True)
    )
    return GAP.join(cells).rstrip()


def _rows(node: TreeNode, first: str, rest: str) -> Iterator[tuple[str, ...]]:
    yield (
        first + (node.path if node.state == "gone" else node.path.rpartition("/")[2]),
        _state(node),
        node.strategy or "",
        _restarts(node),
        _budget(node),
        str(node.mailbox or ""),
        "" if node.uptime is None else _duration(node.uptime),
    )
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield from _rows(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _state(node: TreeNode) -> str:
    """Return the state, and what is remarkable about it."""
    on_probation = node.degraded and node.state == "running"
    marks = (
        ("suspended", node.suspended),
        ("busy", node.busy),
        ("wedged", node.wedged),
        ("on probation", on_probation),
    )
    flags = [name for name, raised in marks if raised]
    state = " ".join([node.state, *flags])
    return state if node.probe_in is None else f"{state}, probe in {_duration(node.probe_in)}"


def _restarts(node: TreeNode) -> str:
    """Return how often it was restarted; of the root, how often everything was."""
    own = str(node.restarts) if node.restarts else ""
    return f"{own} {node.full_restarts} full".strip() if node.full_restarts else own


def _budget(node: TreeNode) -> str:
    if node.intensity is None:
        return ""
    left = f"{node.budget_left} of {node.intensity} in {node.period:g} s"
    return f"{left}, +1 in {_duration(node.clears_in)}" if node.clears_in else left


def _duration(seconds: float) -> str:
    """Return a time as people say it: the two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f}s" if whole < 10 else f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"
