"""Which component a section of the configuration concerns, and what each is told of a change (A4.6).

Components are those of the events (A4, A9); one may have several sections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from holdfast.actors.config.messages import ConfigUpdated
from holdfast.actors.config.settings import Configuration

__all__ = ["COMPONENT_OF", "updates"]

COMPONENT_OF: Mapping[str, str] = MappingProxyType(
    {
        "connection": "websocket",
        "socket": "websocket",
        "reconnect": "websocket",
        "auth": "auth",
        "delivery": "session",
        "audio": "audio",
        "voice": "voice",
        "avatar": "avatar",
        "logging": "logger",
        "supervision": "config",
        "development": "config",
        "environment": "config",
    }
)


def updates(before: Configuration, after: Configuration, changed: Iterable[str]) -> Iterator[ConfigUpdated]:
    """Return what is said of each component that a change concerns: the keys that are new, secrets masked."""
    old, new = before.describe(), after.describe()
    by_component: dict[str, list[str]] = {}
    for path in changed:
        by_component.setdefault(COMPONENT_OF[path.partition(".")[0]], []).append(path)
    for component, paths in by_component.items():
        yield ConfigUpdated(
            component=component,
            previous_config={path: _shown(old, path) for path in paths},
            new_config={path: _shown(new, path) for path in paths},
        )


def _shown(described: Mapping[str, Mapping[str, object]], path: str) -> object:
    section, _, key = path.rpartition(".")
    return described.get(section or "general", {}).get(key)
