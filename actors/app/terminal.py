"""What people read goes through this console: colours where the terminal has them, plain text where not."""

from __future__ import annotations

from rich.console import Console

__all__ = ["PipeConsole"]


class PipeConsole(Console):
    """A console whose reader may go away: that is for the command line to judge, not for rich."""

    def on_broken_pipe(self) -> None:
        """Let the error through; rich would end the process with status 1."""
        raise  # noqa: PLE0704 - called from the handler of the BrokenPipeError
