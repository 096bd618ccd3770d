"""What the config actor hears and says; and what is said of a configuration that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import msgspec

from holdfast.actors.config.settings import Configuration
from holdfast.runtime import Event, HoldfastError, Request

__all__ = [
    "ConfigRejected",
    "ConfigReloaded",
    "ConfigUpdated",
    "ConfigurationError",
    "GetConfiguration",
    "Problem",
    "Reload",
    "ReloadResult",
    "UpdateConfiguration",
]


@attrs.frozen
class Problem:
    """One thing that is wrong, and where."""

    path: str
    """``section.key``, or the source that could not be read."""
    reason: str
    value: str | None = None
    """What came, as it may be shown."""
    origin: str | None = None
    """The layer that said so."""

    def __str__(self) -> str:
        got = "" if self.value is None else f" = {self.value}"
        where = "" if self.origin is None else f" (from {self.origin})"
        return f"{self.path}{got}{where}: {self.reason}"


class ConfigurationError(HoldfastError, ValueError):
    """The configuration cannot be used; `problems` are all of them, and the message has one on each line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class GetConfiguration(Request[Configuration], frozen=True):
    """Answered with the configuration in force."""


class ReloadResult(msgspec.Struct, frozen=True):
    """What came of a reload."""

    accepted: bool
    changed: tuple[str, ...] = ()
    """The keys whose values are new, as ``section.key``."""
    problems: tuple[str, ...] = ()
    """Why the sources were rejected; the configuration in force stayed."""


class Reload(Request[ReloadResult], frozen=True):
    """Read the sources again.  All of it is taken over, or nothing."""


class UpdateConfiguration(Request[ReloadResult], frozen=True):
    """Put these sections of keys above all sources, and read those again.  All of it holds, or nothing."""

    values: Mapping[str, object]


class ConfigRejected(Event, frozen=True):
    """The sources are broken: the last good configuration stays in force."""

    problems: tuple[str, ...]


class ConfigReloaded(Event, frozen=True):
    """Another configuration is in force.  Actors take it over when they are started again."""

    changed: tuple[str, ...]


class ConfigUpdated(Event, frozen=True):
    """A component has another configuration, by an update (A4.6): the keys that are new, secrets masked."""

    component: str
    previous_config: dict[str, object]
    new_config: dict[str, object]
