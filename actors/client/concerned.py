"""Whom a changed configuration concerns: who takes it over at once, by a restart, or when the process starts.

Factories read the configuration of the moment, so an orderly restart is how an
actor takes a change over: nothing that was accepted is lost by it (S-V), and
no half of an actor runs on old values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs

__all__ = ["ConfigurationUpdate", "at_next_start", "concerned"]

# In start order.  Who restarts the reconnect actor restarts the socket with it (rest_for_one).
RESTARTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "foundation/logger": ("logging",),
        "session/auth": ("auth", "connection"),
        "session/delivery": ("delivery",),
        "session/link/reconnect": ("reconnect",),
        "session/link/socket": ("socket", "connection"),
        "session/avatar": ("avatar", "connection"),
        "session/client": ("avatar.avatar_id", "avatar.enabled"),
    }
)

# Read once: what is opened above the root, and the tree's own budgets and limits.
AT_NEXT_START = ("supervision", "delivery.store")


@attrs.frozen
class ConfigurationUpdate:
    """What came of an update."""

    changed: tuple[str, ...]
    """The keys whose values are new, as ``section.key``."""
    restarted: tuple[str, ...]
    """The paths of the actors that were restarted to take them over, in order."""
    at_next_start: tuple[str, ...]
    """The keys that are in force only when the process is started again; they are not kept until then."""


def concerned(changed: Iterable[str]) -> tuple[str, ...]:
    """Return which actors take these keys over by a restart, in start order."""
    live = [path for path in changed if not _under(path, AT_NEXT_START)]
    found = [actor for actor, parts in RESTARTED.items() if any(_under(path, parts) for path in live)]
    if "session/link/reconnect" in found and "session/link/socket" in found:
        found.remove("session/link/socket")
    return tuple(found)


def at_next_start(changed: Iterable[str]) -> tuple[str, ...]:
    """Return which of these keys nobody takes over while the process runs."""
    return tuple(path for path in changed if _under(path, AT_NEXT_START))


def _under(path: str, parts: tuple[str, ...]) -> bool:
    return any(path == part or path.startswith(f"{part}.") for part in parts)
