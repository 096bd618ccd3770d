"""A hub's settings from a command line and the environment.

Every setting of `HubSettings` can be given as ``name=value``; secrets come from
the environment alone, because command lines are seen by everybody on the
machine.
"""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Mapping, Sequence

import attrs
import cattrs

from holdfast.actors.hub.settings import HubSettings, InvalidHubSettings
from holdfast.runtime import Secret

__all__ = ["ADMIN_KEY", "API_KEYS", "read_settings"]

API_KEYS = "HOLDFAST_HUB_API_KEYS"
ADMIN_KEY = "HOLDFAST_HUB_ADMIN_KEY"

_SECRETS = {"api_keys": API_KEYS, "admin_key": ADMIN_KEY}
_NAMES = tuple(field.name for field in attrs.fields(HubSettings))


def read_settings(pairs: Sequence[str], environment: Mapping[str, str]) -> HubSettings:
    """Return the settings that ``name=value`` arguments and the environment describe.

    Raises `InvalidHubSettings`, which names the setting, what was wanted and what came.
    """
    given: dict[str, object] = dict(_pair(pair) for pair in pairs)
    keys = [key.strip() for key in environment.get(API_KEYS, "").split(",") if key.strip()]
    if not keys:
        raise InvalidHubSettings("api_keys", f"one or more keys, with commas, in ${API_KEYS}", None)
    given["api_keys"] = keys
    if environment.get(ADMIN_KEY):
        given["admin_key"] = environment[ADMIN_KEY]
    try:
        return _converter.structure(given, HubSettings)
    except cattrs.BaseValidationError as error:
        raise _named(error, given) from error


def _pair(argument: str) -> tuple[str, str]:
    name, found, value = argument.partition("=")
    name = name.strip().replace("-", "_")
    if not found:
        raise InvalidHubSettings(name, "name=value", argument)
    if name in _SECRETS:
        raise InvalidHubSettings(name, f"the environment variable {_SECRETS[name]}", "an argument")
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InvalidHubSettings(name, f"the name of a setting{hint}", name)
    return name, value


def _named(error: cattrs.BaseValidationError, given: Mapping[str, object]) -> InvalidHubSettings:
    """Return the error about the first setting that cannot be read."""
    for nested in error.exceptions:
        if isinstance(nested, InvalidHubSettings):
            return nested
        for note in getattr(nested, "__notes__", ()):
            if isinstance(note, cattrs.AttributeValidationNote):
                wanted = getattr(note.type, "__name__", str(note.type))
                return InvalidHubSettings(note.name, f"a value of type {wanted}", given.get(note.name))
    return InvalidHubSettings("settings", "values of the right types", [str(e) for e in error.exceptions])


_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _read_bool(value: object, _kind: object) -> bool:
    return _TRUTH[str(value).lower()]


def _read_names(value: object, _kind: object) -> tuple[str, ...]:
    return tuple(name.strip() for name in str(value).split(",") if name.strip())


def _read_range(value: object, _kind: object) -> tuple[float, float]:
    low, high = str(value).split(",")
    return float(low), float(high)


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(Secret, lambda value, _kind: Secret(str(value)))
_converter.register_structure_hook(pathlib.Path, lambda value, _kind: pathlib.Path(str(value)))
_converter.register_structure_hook(bool, _read_bool)
_converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _read_names)
_converter.register_structure_hook_func(lambda kind: kind == tuple[float, float], _read_range)
