"""What the configuration is: layers merged by priority, every value checked, all problems named at once.

Pure: sources are read elsewhere, and what they said comes in as layers.  The
priority is that of A7.1: what a user says (code, then environment variables,
then the file) > defaults of the environment > defaults of the component >
defaults of the system.  A value that a higher layer hides is checked all the
same: a mistake must not wait for the day it is uncovered.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Union, cast, get_args, get_origin, get_type_hints

import attrs

from holdfast.actors.config.messages import ConfigurationError, Problem
from holdfast.actors.config.settings import (
    ENVIRONMENT_DEFAULTS,
    PLAIN_NUMBERS,
    SECTIONS,
    SHARED,
    SYSTEM_DEFAULTS,
    Configuration,
    Environment,
    host_of,
)
from holdfast.actors.config.structuring import Duration, Unfit, is_secret, shown_briefly, structure
from holdfast.runtime import REDACTED, HoldfastError, Secret

__all__ = [
    "Keep",
    "Layer",
    "Swap",
    "decide",
    "decide_reload",
    "keys_of",
    "variable",
]

PREFIX = "HOLDFAST_"

# Socket settings cannot be checked without an address; this one is never dialled (RFC 2606).
NOWHERE = "wss://nowhere.invalid/"

# What production must not be pointed at.
ENDPOINTS = ("connection.url", "auth.api_endpoint", "avatar.api_url")
LOCAL_SUFFIXES = (".localhost", ".local", ".localdomain")


@attrs.frozen
class Layer:
    """What one source says."""

    origin: str
    values: Mapping[str, object]
    """Sections of keys, as in a file; `environment` stands beside them."""
    text: bool = False
    """Whether values are text to be read, as environment variables are."""

    def origin_of(self, path: str) -> str:
        """Return where a key of this layer can be found."""
        return variable(path) if self.text else self.origin


def variable(path: str) -> str:
    """Return the environment variable that sets this key."""
    return PREFIX + path.upper().replace(".", "__")


@cache
def keys_of(section: str) -> dict[str, object]:
    """Return the keys of a section that can be set, with their types."""
    kind = SECTIONS[section]
    hints = get_type_hints(kind)
    names = [field.name for field in attrs.fields(kind) if field.init]
    return {
        name: hints[name] if f"{section}.{name}" in PLAIN_NUMBERS else _as_duration(hints[name])
        for name in names
        if f"{section}.{name}" not in SHARED
    }


def _as_duration(annotation: object) -> object:
    if annotation is float:
        return Duration
    if get_origin(annotation) in (Union, UnionType) and float in get_args(annotation):
        return Duration | None
    return annotation


# ---- merging ------------------------------------------------------------------------------------------


def decide(layers: Sequence[Layer], *, required: Sequence[str] = ()) -> Configuration:
    """Return the configuration that these layers, highest priority first, make above all defaults.

    `required` names keys that this use cannot do without.  Raises `ConfigurationError`.
    """
    problems: list[Problem] = []
    said = _Said(problems)
    for layer in layers:
        said.add(layer)
    sections = _build_sections(said, problems)
    problems += _missing(said, sections, required)
    problems += _misfits(said)
    if problems:
        raise ConfigurationError(problems)
    make = cast("Callable[..., Configuration]", Configuration)
    return make(environment=said.environment, **sections)


class _Said:
    """What the users' layers say, structured; the highest layer that says something has the word."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self.environment: Environment | None = None
        self.values: dict[str, object] = {}
        self.origins: dict[str, str] = {}

    def add(self, layer: Layer) -> None:
        for section, keys in layer.values.items():
            if section == "environment":
                self._take(section, Environment, keys, layer)
            elif section not in SECTIONS:
                self._problems.append(_unknown_section(section, keys, layer))
            elif isinstance(keys, Mapping):
                self._add_section(section, cast("Mapping[str, object]", keys), layer)
            else:
                self._problems.append(
                    Problem(section, "must be a section of keys", shown_briefly(keys), layer.origin)
                )
        environment = self.values.get("environment")
        assert environment is None or isinstance(environment, Environment)
        self.environment = environment

    def _add_section(self, section: str, keys: Mapping[str, object], layer: Layer) -> None:
        known = keys_of(section)
        for key, value in keys.items():
            if key in known:
                self._take(f"{section}.{key}", known[key], value, layer)
            else:
                self._problems.append(_unknown_key(section, key, layer))

    def _take(self, path: str, annotation: object, value: object, layer: Layer) -> None:
        origin = layer.origin_of(path)
        try:
            structured = structure(value, annotation, text=layer.text)
        except Unfit as error:
            shown = REDACTED if is_secret(annotation) else shown_briefly(value)
            self._problems.append(Problem(path, str(error), shown, origin))
            return
        if path not in self.values:
            self.values[path] = structured
            self.origins[path] = origin

    def value(self, path: str) -> object:
        """Return what holds for a key, by the priority of A7.1; None when no layer says anything."""
        for values in self._layers(path):
            if path in values:
                return values[path]
        return None

    def _layers(self, path: str) -> Iterator[Mapping[str, object]]:
        yield self.values
        if self.environment is not None:
            yield ENVIRONMENT_DEFAULTS[self.environment]
        yield _component_defaults()
        name = path.rpartition(".")[2]
        yield {path: SYSTEM_DEFAULTS[name]} if name in SYSTEM_DEFAULTS else {}


@cache
def _component_defaults() -> dict[str, object]:
    return {
        f"{section}.{field.name}": field.default
        for section, kind in SECTIONS.items()
        for field in attrs.fields(kind)
        if field.init and field.default is not attrs.NOTHING
    }


def _unknown_section(section: str, keys: object, layer: Layer) -> Problem:
    near = difflib.get_close_matches(section, [*SECTIONS, "environment"], 1)
    hint = f"did you mean {near[0]}?" if near else f"the sections are {', '.join(SECTIONS)}"
    first = next(iter(cast("Mapping[str, object]", keys)), "") if isinstance(keys, Mapping) else ""
    origin = layer.origin_of(f"{section}.{first}" if first else section)
    return Problem(section, f"there is no such section; {hint}", origin=origin)


def _unknown_key(section: str, key: str, layer: Layer) -> Problem:
    path = f"{section}.{key}"
    origin = layer.origin_of(path)
    if path in SHARED:
        return Problem(path, f"is set once for all sections: set {SHARED[path]}", origin=origin)
    # The value is not shown: a misspelt name may be a secret's.
    return Problem(path, f"there is no such key; {_nearest(section, key)}", origin=origin)


def _nearest(section: str, key: str) -> str:
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
    own = difflib.get_close_matches(plain, keys_of(section), 1)
    if own:
        return f"did you mean {section}.{own[0]}?"
    paths = {name: f"{other}.{name}" for other in SECTIONS for name in keys_of(other)}
    other = difflib.get_close_matches(plain, paths, 1)
    if other:
        return f"did you mean {paths[other[0]]}?"
    return f"{section} has {', '.join(keys_of(section))}"


# ---- making the sections ------------------------------------------------------------------------------


def _build_sections(said: _Said, problems: list[Problem]) -> dict[str, object]:
    sections: dict[str, object] = {}
    for section in SECTIONS:
        if section == "socket" and said.value("connection.url") is None:
            _build("socket", said, problems, fixed={"url": NOWHERE})
            sections[section] = None
        else:
            sections[section] = _build(section, said, problems, fixed={})
    return sections


def _build(section: str, said: _Said, problems: list[Problem], fixed: dict[str, object]) -> object:
    """Return the section; after its problems were noted, what stands in for it or None."""
    values = _values_of(section, said) | fixed
    error = _refusal(section, values)
    if error is None:
        return _make(section, values)
    noted = len(problems)
    # A section names one problem at a time.  Each value that was set is tried among values known to be good,
    # so that one mistake does not hide another; what then remains is a combination.
    good = _known_good(section)
    for key in _set_keys(section, said):
        single = _refusal(section, good | {key: values[key]} | _companions(key, values))
        if single is not None:
            problems.append(_problem(section, key, single, said))
            values[key] = good.get(key)
    rest = _refusal(section, values)
    if rest is not None or len(problems) == noted:
        problems.append(_problem(section, getattr(rest or error, "name", None), rest or error, said))
    return None if rest is not None else _make(section, values)


def _values_of(section: str, said: _Said) -> dict[str, object]:
    names = [field.name for field in attrs.fields(SECTIONS[section]) if field.init]
    paths = {name: SHARED.get(f"{section}.{name}", f"{section}.{name}") for name in names}
    return {name: said.value(path) for name, path in paths.items()}


def _set_keys(section: str, said: _Said) -> list[str]:
    """Return the keys of a section that a user set, here or where several sections share them."""
    names = [field.name for field in attrs.fields(SECTIONS[section]) if field.init]
    return [name for name in names if SHARED.get(f"{section}.{name}", f"{section}.{name}") in said.values]


def _companions(key: str, values: Mapping[str, object]) -> dict[str, object]:
    # An address is judged by whether plain text is allowed.
    plaintext = "allow_plaintext"
    return {plaintext: values[plaintext]} if plaintext in values and key != plaintext else {}


def _known_good(section: str) -> dict[str, object]:
    nothing = _Said([])
    return _values_of(section, nothing) | ({"url": NOWHERE} if section == "socket" else {})


def _make(section: str, values: Mapping[str, object]) -> object:
    make = cast("Callable[..., object]", SECTIONS[section])
    return make(**values)


def _refusal(section: str, values: Mapping[str, object]) -> HoldfastError | None:
    try:
        _make(section, values)
    except HoldfastError as error:
        return error
    return None


def _problem(section: str, key: str | None, error: HoldfastError, said: _Said) -> Problem:
    known = key is not None and key in {field.name for field in attrs.fields(SECTIONS[section])}
    path = SHARED.get(f"{section}.{key}", f"{section}.{key}") if known else section
    # "socket.url must be ..." -> "must be ...": the path is said already.
    reason = re.sub(rf"^({section}\.)?{key} ", "", str(error)) if known else str(error)
    if path not in said.values:
        return Problem(path, reason)
    value = said.values[path]
    shown = REDACTED if isinstance(value, Secret) else shown_briefly(value)
    return Problem(path, reason, shown, said.origins[path])


# ---- rules over several sections ----------------------------------------------------------------------


def _missing(said: _Said, sections: Mapping[str, object], required: Sequence[str]) -> list[Problem]:
    """Name what is required and not set: by this use, by having a URL, by having the avatar switched on."""
    wanted = list(required)
    if said.value("connection.url") is not None:
        wanted += [f"auth.{name}" for name in _says_missing(sections["auth"])]
    wanted += [f"avatar.{name}" for name in _says_missing(sections["avatar"])]
    return [
        Problem(path, f"is required and not set: set it in the file or as {variable(path)}")
        for path in dict.fromkeys(wanted)
        if not said.value(path)
    ]


def _says_missing(settings: object) -> tuple[str, ...]:
    missing: Callable[[], tuple[str, ...]] | None = getattr(settings, "missing", None)
    return () if missing is None else missing()


def _misfits(said: _Said) -> Iterator[Problem]:
    """Name what does not fit production (A7.2); the other environments allow everything."""
    if said.environment is not Environment.PRODUCTION:
        return
    for path in ENDPOINTS:
        url = said.values.get(path)
        if not isinstance(url, str) or not url:
            continue
        if url.startswith(("ws://", "http://")):
            yield _misfit(path, "must be encrypted (wss:// or https://) in production", said)
        if is_local(host_of(url)):
            yield _misfit(path, "must not be a local endpoint in production", said)
    for path in ("connection.allow_plaintext", "development.fault_injection"):
        if said.value(path):
            yield _misfit(path, "must be off in production", said)


def _misfit(path: str, reason: str, said: _Said) -> Problem:
    return Problem(path, reason, shown_briefly(said.values[path]), said.origins[path])


def is_local(host: str) -> bool:
    """Return whether a host is this machine or its link."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified or address.is_link_local


# ---- reloading ----------------------------------------------------------------------------------------


@attrs.frozen
class Swap:
    """Put this configuration in force."""

    configuration: Configuration
    changed: tuple[str, ...]
    """Empty when it says the same as before."""


@attrs.frozen
class Keep:
    """Keep the configuration in force, and say why."""

    problems: tuple[str, ...]


def decide_reload(current: Configuration, read: Configuration | ConfigurationError) -> Swap | Keep:
    """Return what to do with what the sources say now: all of it, or nothing."""
    if isinstance(read, ConfigurationError):
        return Keep(tuple(str(problem) for problem in read.problems))
    before, after = current.values(), read.values()
    # A key is missing on one side where there is no URL and hence no socket section.
    changed = tuple(path for path in before | after if before.get(path) != after.get(path))
    return Swap(read, changed)
