"""What people read goes through this console: colours where the terminal has them, plain text where not.

What came from a peer is shown without its control characters: an escape sequence
in a channel's name must not move the cursor of whoever watches.
"""

from __future__ import annotations

from rich.console import Console

__all__ = ["PipeConsole", "plain"]


class PipeConsole(Console):
    """A console whose reader may go away: that is for the command line to judge, not for rich."""

    def on_broken_pipe(self) -> None:
        """Let the error through; rich would end the process with status 1."""
        raise  # noqa: PLE0704 - called from the handler of the BrokenPipeError


def plain(text: str) -> str:
    """Return the text on one line, with `?` for everything that a terminal would obey instead of show."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
