"""Where the configuration comes from, and where the one in force is held.

Reading is all that happens here: a TOML file, environment variables, secrets
in files of their own, and what a program passes.  `machine.decide` makes a
configuration of it.  `LiveConfiguration` belongs to the system, above the root:
factories read it at every start, so that a restart never brings an old value
back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import cast

import attrs
import msgspec

from holdfast.actors.config.machine import (
    PREFIX,
    Layer,
    decide,
    keys_of,
    variable,
)
from holdfast.actors.config.messages import ConfigurationError, Problem
from holdfast.actors.config.settings import SECTIONS, Configuration, Environment
from holdfast.actors.config.structuring import is_secret
from holdfast.runtime import Secret

__all__ = ["LiveConfiguration", "Sources", "load"]

# A configuration has a few kilobytes; a megabyte is another file taken by mistake.
FILE_BYTES_MAX = 1024 * 1024

# API_KEY_MAX_CHARS of the sections and a line end: more is another file taken by mistake.
SECRET_BYTES_MAX = 8_192

FILE_SUFFIX = "_file"


def _environ() -> Mapping[str, str]:
    return MappingProxyType(dict(os.environ))


@attrs.frozen(kw_only=True)
class Sources:
    """What is read, each time anew except the environment: that of a process does not change from outside."""

    file: Path | None = None
    environ: Mapping[str, str] = attrs.field(factory=_environ, repr=False)
    explicit: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False)
    """Sections of keys, with the highest priority: what the program itself says."""
    required: tuple[str, ...] = ()
    """Keys that this use cannot do without, such as ``connection.url`` for a client."""

    def with_said(self, values: Mapping[str, object]) -> Sources:
        """Return these sources with sections of keys that the program says now, above what it said before."""
        said = dict(self.explicit)
        for section, keys in values.items():
            before = said.get(section)
            if isinstance(before, Mapping) and isinstance(keys, Mapping):
                said[section] = {**cast("Mapping[str, object]", before), **cast("Mapping[str, object]", keys)}
            else:
                said[section] = keys
        return attrs.evolve(self, explicit=said)

    def read(self) -> Configuration:
        """Read everything and return the configuration; raises `ConfigurationError` with all problems."""
        problems: list[Problem] = []
        layers = [
            _with_secrets(Layer("the program", self.explicit), Path(), problems),
            _with_secrets(_environment_layer(self.environ, problems), Path(), problems),
        ]
        if self.file is not None:
            layer = _file_layer(self.file, problems)
            if layer is None:
                # Without the file everything in it would be named as missing.
                raise ConfigurationError(problems)
            layers.append(_with_secrets(layer, self.file.parent, problems))
        return _decide(layers, self.required, problems)


def load(
    file: Path | None = None,
    *,
    explicit: Mapping[str, object] | None = None,
    environment: Environment | None = None,
    environ: Mapping[str, str] | None = None,
    required: tuple[str, ...] = (),
) -> LiveConfiguration:
    """Read the sources and return the holder of the configuration; raises `ConfigurationError`."""
    said = dict(explicit or {})
    if environment is not None:
        said["environment"] = environment
    variables = _environ() if environ is None else environ
    return LiveConfiguration(Sources(file=file, environ=variables, explicit=said, required=required))


class LiveConfiguration:
    """The configuration in force.  It changes as a whole, between two statements of anybody else."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._current = sources.read()

    @property
    def current(self) -> Configuration:
        """The configuration in force; keep the value, not the holder, where all keys must fit together."""
        return self._current

    def swap(self, configuration: Configuration, sources: Sources | None = None) -> None:
        """Put another configuration in force, and the sources that it came from if those are others."""
        self._current = configuration
        self.sources = sources or self.sources

    def __repr__(self) -> str:
        return f"<LiveConfiguration of {self.sources.file or 'no file'}>"


def _decide(layers: list[Layer], required: tuple[str, ...], problems: list[Problem]) -> Configuration:
    try:
        configuration = decide(layers, required=required)
    except ConfigurationError as error:
        raise ConfigurationError([*problems, *error.problems]) from None
    if problems:
        raise ConfigurationError(problems)
    return configuration


def _file_layer(file: Path, problems: list[Problem]) -> Layer | None:
    try:
        content = _read(file, FILE_BYTES_MAX)
        values = cast("dict[str, object]", msgspec.toml.decode(content))
    except OSError as error:
        problems.append(Problem(str(file), f"cannot be read: {error.strerror or error}"))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # ValueError: broken UTF-8, a file that is too large, a number too long to be read.
        problems.append(Problem(str(file), f"must be a TOML file: {error}"))
    else:
        return Layer(str(file), values)
    return None


class _TooLarge(ValueError):
    """A file is larger than anything that could be meant."""


def _read(file: Path, limit: int) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(limit + 1)
    if len(content) > limit:
        raise _TooLarge(f"it has more than {limit} bytes")
    return content


def _environment_layer(environ: Mapping[str, str], problems: list[Problem]) -> Layer:
    """Return what the variables say.  An empty one counts as not set, as is usual in service files."""
    values: dict[str, object] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or not value:
            continue
        section, between, key = name.removeprefix(PREFIX).lower().partition("__")
        if section == "environment" and not between:
            values["environment"] = value
        elif between:
            keys = cast("dict[str, object]", values.setdefault(section, {}))
            keys[key] = value
        elif get_close_matches(name, [variable("environment")], cutoff=0.85):
            # Other variables of this prefix belong to other programs; this one was meant for us.
            problems.append(
                Problem(name, f"there is no such variable; did you mean {variable('environment')}?")
            )
    return Layer("the environment", values, text=True)


# ---- secrets in files ---------------------------------------------------------------------------------


def _with_secrets(layer: Layer, folder: Path, problems: list[Problem]) -> Layer:
    """Return the layer with every ``<secret>_file`` replaced by the secret that the file holds."""
    values = {
        section: _section_with_secrets(section, cast("Mapping[str, object]", keys), layer, folder, problems)
        if section in SECTIONS and isinstance(keys, Mapping)
        else keys
        for section, keys in layer.values.items()
    }
    return attrs.evolve(layer, values=values)


def _section_with_secrets(
    section: str, keys: Mapping[str, object], layer: Layer, folder: Path, problems: list[Problem]
) -> dict[str, object]:
    known = keys_of(section)
    taken: dict[str, object] = {}
    for key, value in keys.items():
        name = key.removesuffix(FILE_SUFFIX)
        if name == key or key in known or not is_secret(known.get(name)):
            taken[key] = value
            continue
        path = f"{section}.{key}"
        if name in keys:
            problems.append(Problem(path, f"is set beside {section}.{name}: set one", origin=layer.origin))
            continue
        secret = _read_secret(path, value, folder, problems)
        if secret is not None:
            taken[name] = secret
    return taken


def _read_secret(path: str, value: object, folder: Path, problems: list[Problem]) -> Secret | None:
    if not isinstance(value, str | Path):
        problems.append(Problem(path, "must be the path of a file that holds the secret"))
        return None
    file = folder / value
    try:
        secret = _read(file, SECRET_BYTES_MAX).decode().strip()
    except OSError as error:
        problems.append(Problem(path, f"cannot be read: {error.strerror or error}", str(file)))
        return None
    except ValueError:
        problems.append(Problem(path, f"must hold text of at most {SECRET_BYTES_MAX} bytes", str(file)))
        return None
    if not secret:
        problems.append(Problem(path, "must hold the secret; the file is empty", str(file)))
        return None
    return Secret(secret)
