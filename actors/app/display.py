"""How people see a running tree: one line an event, one line an actor.

Colours where the terminal has them, plain text where not (a pipe, ``NO_COLOR``,
``TERM=dumb``).  Nothing here decides anything; programs read ``--json`` instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

import msgspec
from rich.console import Console
from rich.text import Text

from holdfast.actors.app.terminal import PipeConsole, plain
from holdfast.actors.client.events import event_form, event_payload
from holdfast.runtime import CrashReported, DeadLetter, Event, HandlerSlow, TaskWedged, ThreadBlocked
from holdfast.runtime.daemon import ExitStatus
from holdfast.supervisors import Report, TreeNode, render_tree

__all__ = [
    "console",
    "describe",
    "event_line",
    "form_line",
    "show_actor",
    "show_status",
    "show_tree",
    "style_of",
    "tree_text",
]

# An event's payload on one line; the whole of it is in `--json` and in the log.
LINE_MAX = 160

# A decision is told with its reason, which may quote an exception, and ends in what was done about it.
DECISION_MAX = 320

# The longest name of an event of ours has 33 characters.
NAME_WIDTH = 33

_DECISIONS = ("supervisor:", "system:")

_STYLES = (
    ("actor:started", "green"),
    ("actor:ended", "yellow"),
    ("crash:", "bold red"),
    ("task:wedged", "bold red"),
    ("handler:slow", "bold yellow"),
    ("thread:blocked", "bold red"),
    ("dead:letter", "dim"),
    ("supervisor:gave_up", "bold red"),
    ("system:failure", "bold red"),
    ("supervisor:full_restart", "bold magenta"),
    ("supervisor:", "magenta"),
    ("auth:error", "red"),
    ("token:", "cyan"),
    ("reconnect:", "yellow"),
    ("state:changed", "blue"),
    ("link:up", "green"),
    ("link:down", "yellow"),
    ("ready", "bold green"),
    ("connected", "green"),
    ("error", "red"),
)


def console(stream: TextIO | None = None, *, stderr: bool = False) -> Console:
    """Return the console that people read; rich finds out what the terminal can do."""
    return PipeConsole(file=stream, stderr=stderr, highlight=False, soft_wrap=True)


def describe(event: Event) -> str:
    """Say the event in one line, without its name."""
    match event:
        case Report():
            return event.sentence()
        case CrashReported():
            return str(event)
        case DeadLetter():
            return f"{event.message_type} to {event.path}: {event.why}"
        case HandlerSlow() | ThreadBlocked() | TaskWedged():
            return str(event)
        case _:
            return _pairs(event_payload(event))


def event_line(event: Event, at: float) -> Text:
    """Return an event as people see it, `at` seconds after the start."""
    form = event_form(event)
    return _line(str(form["type"]), describe(event), at)


def form_line(form: Mapping[str, object]) -> Text:
    """Return an event that came over the control socket, with its own sentence, as people see it."""
    at = form.get("at")
    return _line(
        str(form.get("type", "?")), str(form.get("text", "")), at if isinstance(at, int | float) else 0.0
    )


def _line(name: str, text: str, at: float) -> Text:
    decided = name.startswith(_DECISIONS)
    shown = plain(_cut_inside(text, DECISION_MAX) if decided else _cut(text, LINE_MAX))
    return Text.assemble(
        (f"{at:9.3f}  ", "dim"), (f"{plain(name):<{NAME_WIDTH}}", style_of(name)), f" {shown}"
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _cut_inside(text: str, limit: int) -> str:
    """Keep both ends: who and why, and what was done and is left."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[: half - 1]}…{text[-half:]}"


def style_of(name: str) -> str:
    """Return the colour of an event by the start of its name."""
    return next((style for start, style in _STYLES if name.startswith(start)), "")


def _pairs(payload: Mapping[str, object]) -> str:
    return "  ".join(
        f"{key}={_short(value)}"
        for key, value in payload.items()
        if key != "at" and value is not None and value != ""
    )


def _short(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


_STATES = (
    ("running", "green"),
    ("restarting", "yellow"),
    ("degraded", "bold yellow"),
    ("stopped", "dim"),
    ("wedged", "bold red"),
    ("busy", "yellow"),
    ("suspended", "bold yellow"),
)


def tree_text(tree: TreeNode) -> Text:
    """Return a tree as people see it: a heading, then one actor a line."""
    heading, _, body = render_tree(tree).partition("\n")
    text = Text(body)
    for word, style in _STATES:
        text.highlight_words([f" {word}"], style)
    return Text.assemble((heading, "dim"), "\n", text)


def show_tree(tree: object) -> int:
    """Print a tree that came over the control socket."""
    console().print(tree_text(msgspec.convert(tree, TreeNode)))
    return ExitStatus.CLEAN


def show_actor(actor: object) -> int:
    """Print what `inspect` answered: the counts, the state, the latest events."""
    out = console()
    rows = msgspec.convert(actor, dict[str, object])
    events = msgspec.convert(rows.pop("events"), list[dict[str, object]])
    show_status(rows)
    for event in events:
        out.print(form_line(event))
    return ExitStatus.CLEAN


def show_status(status: object) -> int:
    """Print what `status` answered."""
    out = console()
    for name, value in _flat("", status):
        # What is not there is in `--json`; people look for what is.
        if value not in (None, "", []):
            out.print(Text.assemble((f"{name:<28} ", "dim"), plain(str(value))))
    return ExitStatus.CLEAN


def _flat(prefix: str, value: object) -> list[tuple[str, object]]:
    if not isinstance(value, dict):
        return [(prefix, value)]
    keys = msgspec.convert(value, dict[str, object])
    return [row for key, inner in keys.items() for row in _flat(f"{prefix}.{key}" if prefix else key, inner)]
