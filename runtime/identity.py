"""Names of actors: a path like ``holdfast/session/link/socket``.

A path is a plain string, so that it prints, sorts and travels as one; this
module holds the rules for what a segment may be and how paths are cut.
"""

from __future__ import annotations

import re

from holdfast.runtime.errors import HoldfastError

__all__ = ["NAME_LENGTH_MAX", "InvalidName", "check_name", "check_path", "is_below", "join", "leaf", "parent"]

# Long enough for a UUID with a prefix; short enough that a path of ten levels fits a log line.
NAME_LENGTH_MAX = 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]*")


class InvalidName(HoldfastError, ValueError):
    """A name cannot be a segment of a path."""

    def __init__(self, name: object) -> None:
        super().__init__(
            f"a name is 1 to {NAME_LENGTH_MAX} letters, digits or _ . : @ - "
            f"and starts with a letter, a digit or _; got {name!r}"
        )
        self.name = name


def check_name(name: str) -> str:
    """Return the name if it can be a segment of a path, else raise `InvalidName`."""
    if not isinstance(name, str) or len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidName(name)
    return name


def check_path(path: str) -> str:
    """Return the path if each of its segments is a name, else raise `InvalidName`."""
    for name in path.split("/") if isinstance(path, str) else (path,):  # pyright: ignore[reportUnnecessaryIsInstance]
        check_name(name)
    return path


def join(path: str, name: str) -> str:
    """Return the path of the child `name` of `path`."""
    return f"{path}/{check_name(name)}"


def leaf(path: str) -> str:
    """Return the last segment."""
    return path.rpartition("/")[2]


def parent(path: str) -> str:
    """Return the path without its last segment; empty for a root."""
    return path.rpartition("/")[0]


def is_below(path: str, ancestor: str) -> bool:
    """Whether `path` is `ancestor` or lies under it."""
    return path == ancestor or path.startswith(ancestor + "/")
