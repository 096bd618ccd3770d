"""From what a file or the environment says to a value of the type that a setting has.

Cattrs does the structuring; the hooks here say what each type takes.  There are
two ways of writing: a file and a program have types, and a wrong one is refused
(`"8000"` is no number); the environment has only text, and text is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import Enum, EnumMeta
from pathlib import Path
from types import UnionType
from typing import Final, NewType, TypeAlias, Union, cast, get_args, get_origin

import cattrs

from holdfast.runtime import REDACTED, HoldfastError, Secret

__all__ = ["Duration", "Unfit", "is_secret", "show", "structure"]

Duration = NewType("Duration", float)
"""Seconds; written as a number or with a unit."""

_Annotation: TypeAlias = object

UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*")
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_OFF = frozenset({"off", "none"})

# For an optional one of these "off" is a value like others.
_TEXTS: Final[tuple[object, ...]] = (str, Path, Secret)

# What a message shows of a value: enough to find it again.
SHOWN_CHARS = 80


class Unfit(HoldfastError, ValueError):
    """A value does not fit its setting; says what would."""

    def __init__(self, wanted: str) -> None:
        super().__init__(f"must be {wanted}")


def structure(value: object, annotation: _Annotation, *, text: bool) -> object:
    """Return the value as the annotated type; `text` says that it comes from the environment.

    Raises `Unfit`.
    """
    inner = _inner(annotation)
    if inner is not annotation and not any(inner is kind for kind in _TEXTS) and _says_off(value):
        return None
    converter = _TEXTUAL if text else _TYPED
    return converter.structure(value, cast("type[object]", annotation))


def is_secret(annotation: _Annotation) -> bool:
    """Return whether a setting of this type must not be shown."""
    return _inner(annotation) is Secret


def show(value: object) -> object:
    """Return a value as it may be shown: secrets masked, credentials cut out of addresses."""
    if isinstance(value, Secret):
        return REDACTED if value else None
    if isinstance(value, Enum):
        return value.name if isinstance(value, int) else value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and "://" in value:
        return re.sub(r"://[^/\s]*@", f"://{REDACTED}@", value).partition("?")[0]
    return value


def shown_briefly(value: object) -> str:
    """Return a value as a message may quote it."""
    text = repr(show(value))
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."


def _inner(annotation: _Annotation) -> _Annotation:
    """Return the type behind an optional one."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        if len(kinds) == 1:
            return cast("_Annotation", kinds[0])
    return annotation


def _says_off(value: object) -> bool:
    # TOML has no null: an optional number or duration is switched off by name.
    return value is False or (isinstance(value, str) and value.strip().lower() in _OFF)


# ---- typed: files and programs --------------------------------------------------------------------------


def _bool(value: object, _kind: object) -> bool:
    if isinstance(value, bool):
        return value
    raise Unfit("true or false")


def _int(value: object, _kind: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Unfit("a whole number")


def _finite(value: object) -> float | None:
    """Return a number as a float; None when it is none, or too large for one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _float(value: object, _kind: object) -> float:
    number = _finite(value)
    if number is None:
        raise Unfit("a finite number")
    return number


def _duration(value: object, _kind: object) -> float:
    written = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = _finite(value if written is None else float(written[1]) * UNITS[written[2]])
    if seconds is not None:
        return seconds
    raise Unfit('a duration: a number of seconds, or text such as "30s", "250ms" or "2m"')


def _str(value: object, _kind: object) -> str:
    if isinstance(value, str):
        return value
    raise Unfit("text")


def _path(value: object, _kind: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unfit("a path")
    if value.startswith("~"):
        raise Unfit("a path written out: ~ is not expanded")
    return Path(value)


def _secret(value: object, _kind: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str) and value:
        return Secret(value)
    raise Unfit("a secret as text that is not empty")


def _enum(value: object, kind: type[Enum]) -> Enum:
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        for member in kind:
            if member.name.lower() == value.strip().lower():
                return member
    raise Unfit(f"one of {', '.join(str(show(member)) for member in kind)}")


# ---- textual: the environment ---------------------------------------------------------------------------


def _read_bool(value: object, _kind: object) -> bool:
    word = _WORDS.get(str(value).strip().lower())
    if word is None:
        raise Unfit("true or false")
    return word


def _read_int(value: object, kind: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return _int(None, kind)


def _read_float(value: object, kind: object) -> float:
    try:
        return _float(float(str(value)), kind)
    except ValueError:
        return _float(None, kind)


def _read_duration(value: object, kind: object) -> float:
    try:
        return _duration(float(str(value)), kind)
    except ValueError:
        return _duration(value, kind)


_Hook: TypeAlias = Callable[[object, object], object]

_SAME: Final[dict[object, _Hook]] = {str: _str, Path: _path, Secret: _secret}


def _whole(read: _Hook) -> _Hook:
    # Cattrs gives an IntEnum to the hook of its base.
    def hook(value: object, kind: object) -> object:
        if isinstance(kind, EnumMeta):
            return _enum(value, cast("type[Enum]", kind))
        return read(value, kind)

    return hook


def _converter(hooks: dict[object, _Hook]) -> cattrs.Converter:
    converter = cattrs.Converter()
    for kind, hook in (_SAME | hooks).items():
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _enum
    )
    return converter


_TYPED: Final = _converter({bool: _bool, int: _whole(_int), float: _float, Duration: _duration})
_TEXTUAL: Final = _converter(
    {bool: _read_bool, int: _whole(_read_int), float: _read_float, Duration: _read_duration}
)
