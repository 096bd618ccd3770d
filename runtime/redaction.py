"""What may be shown of a value, as plain JSON: the last net under every secret (A5.7).

Secrets are caught in three ways: by type (`Secret`), by the name that they
stand under at any depth, and by their look in free text (`password=...`, Bearer
tokens, JWTs, card numbers), wherever text appears: messages, data, keys,
exceptions, tracebacks.

Logs, states shown by inspection and contents of traces all come through here.
The walk is also what makes any data showable: it is bounded in depth, nodes
and characters, survives circles and objects that raise when looked at, never
consumes an iterator and reads nothing from disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import TypeAlias, cast

import attrs
import msgspec

from holdfast.runtime.secret import REDACTED, Secret
from holdfast.runtime.stack import safe_text, stack, type_name

__all__ = ["Json", "clean", "clean_string", "clean_text", "is_secret_name"]

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

# Bounds of one record: a generous page of data.  At 1 us a node, a hostile one costs the loop about 1 ms.
DEPTH_MAX = 8
NODES_MAX = 1_000
STRING_CHARS_MAX = 8_192
RECORD_CHARS_MAX = 32_768

# Keys up to this length are remembered with what was found out about them; longer ones may hold data.
KEY_CHARS = 40

# A secret that the cut would split is seen whole up to this far beyond it.
OVERLAP_CHARS = 512

CUT = "[TRUNCATED]"

# ---- names ------------------------------------------------------------------------------------------

# Compared without case and punctuation: apiKey, api_key and API-KEY are one name.
_ANYWHERE = (
    "password", "passwd", "passphrase", "secret", "apikey", "authorization", "accesstoken", "refreshtoken",
    "creditcard", "cardnumber", "privatekey", "credential",
)  # fmt: skip
_AT_THE_END = (
    "token", "cookie", "cookies", "pwd", "jwt", "bearer", "accesskey", "signingkey", "encryptionkey",
    "sessionkey", "resumekey",
)  # fmt: skip
_EXACTLY = frozenset({"tokens", "pass", "otp", "cvv", "cvc", "pan", "bearertoken", "authheader"})

# Every secret name has one of these in it, however it is spelt.
_STEMS = (
    "token", "key", "pass", "secret", "auth", "cookie", "cred", "card", "jwt", "pwd", "bearer", "otp", "cvv",
    "cvc", "pan",
)  # fmt: skip

_PUNCTUATION = re.compile(r"[\W_]+")


@lru_cache(maxsize=4096)  # names repeat, and there are few; longer ones never come here
def is_secret_name(name: str) -> bool:
    """Return whether what stands under this name is never shown."""
    plain = _PUNCTUATION.sub("", name).lower().rstrip("0123456789")
    return plain in _EXACTLY or plain.endswith(_AT_THE_END) or any(word in plain for word in _ANYWHERE)


@lru_cache(maxsize=4096)
def _known_key(key: str) -> tuple[str, bool]:
    """Return how a key is shown, and whether its value is a secret."""
    return clean_text(_printable(key)), is_secret_name(key)


def _names_secret(key: object) -> bool:
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    if isinstance(key, Enum):
        key = key.value
    return isinstance(key, str) and is_secret_name(str.__str__(key)[:256])


# ---- free text --------------------------------------------------------------------------------------

# A name and its "=" or ":", as written in queries, headers, reprs, JSON and JSON inside JSON.
_PAIR = re.compile(r"(?<![\w-])([\w-]{1,256}+)(\\{0,3}[\"']?\s{0,16}[=:,]\s{0,16})")
_VALUE = re.compile(
    r"Secret\('\[REDACTED\]'\)|\[REDACTED\]"
    r"|[bru]{0,2}\"(?:[^\"\\\n]|\\.)*\"?|[bru]{0,2}'(?:[^'\\\n]|\\.)*'?"
    r"|\\{1,3}\"[^\"\n]*\"?|[\[{(][^\n]*|[^\s,;&\"')\]}]+"
)
# Header values have spaces in them; what follows on the line goes, too.
_HEADER_VALUE = re.compile(r"[bru]{0,2}\\{0,3}\"[^\"\n]*\"?|[bru]{0,2}'[^'\n]*'?|[^\n\"']+")
_BEARER = re.compile(r"\bbearer(?:\s{1,4}|%20|\+)[\"']?[\w.~+/=-]+", re.IGNORECASE)
# Lenient at the end: a JWT that was cut is still one.
_JWT = re.compile(r"(?<![A-Za-z0-9])eyJ[\w-]{8,}(?:\.[\w-]*){0,4}")
_USERINFO = re.compile(r"://[^/\s@]{1,256}@")
# A digit that begins a number, and what could be twelve more.  Possessive, like `_PAIR`: linear on any text.
_DIGIT_RUN = re.compile(r"\d(?<![\dA-Za-z].)(?<!\d\..)[\d -]{12,}+")
# Every issuer's layout has groups of three digits or more.
_GROUP = re.compile(r"\d{3,}+")

# The product's own event names look like a token with a value.
_EVENT_WORD = re.compile(r"(?:acquired|refreshed|expired)\b")


# Texts that were looked at and have no secret in them: who crashes in a loop says the same again and again.
# What had something to clean is never kept.  At most 250 KB.
_SPOTLESS: set[str] = set()
SPOTLESS_MAX = 1024
SPOTLESS_CHARS = 160


def clean_text(text: str) -> str:
    """Return the text without what looks like a secret."""
    if text in _SPOTLESS:
        return text
    cleaned = _cleaned(text)
    if cleaned == text and len(text) <= SPOTLESS_CHARS:
        if len(_SPOTLESS) >= SPOTLESS_MAX:
            _SPOTLESS.clear()
        _SPOTLESS.add(text)
    return cleaned


def _cleaned(text: str) -> str:
    # Most text has nothing of the kind; looking for a few letters costs a tenth of a regular expression.
    if "=" in text or ":" in text or "," in text:
        lower = text.lower()
        for stem in _STEMS:
            if stem in lower:
                text = _clean_pairs(text)
                break
        if "@" in text:
            text = _USERINFO.sub(f"://{REDACTED}@", text)
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    if "bearer" in text.lower():
        text = _BEARER.sub(f"Bearer {REDACTED}", text)
    if len(text) >= 13:
        text = _DIGIT_RUN.sub(_clean_digits, text)
    return text


def clean_string(text: str, limit: int) -> str:
    """Return at most `limit` characters of the text, cleaned; and say so where it was cut."""
    if len(text) <= limit:
        return clean_text(_printable(text))
    return clean_text(_printable(text[: limit + OVERLAP_CHARS]))[:limit] + CUT


def _printable(text: str) -> str:
    # JSON has no lone surrogates, and file names in Python do.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _clean_pairs(text: str) -> str:
    kept: list[str] = []
    copied = position = 0
    while (pair := _PAIR.search(text, position)) is not None:
        position = pair.end()
        pattern = _value_pattern(pair[1], pair[2], text, position)
        value = pattern.match(text, position) if pattern is not None else None
        if value is not None:
            kept += (text[copied:position], REDACTED)
            copied = position = value.end()
    return "".join((*kept, text[copied:])) if kept else text


def _value_pattern(name: str, between: str, text: str, at: int) -> re.Pattern[str] | None:
    if name == "key":
        return _VALUE if "=" in between else None
    if not is_secret_name(name) or (between == ":" and _EVENT_WORD.match(text, at)):
        return None
    header = name.lower().endswith(("authorization", "cookie"))
    if "," in between:
        # The repr of a list of headers: (b'authorization', b'Basic ...').  Elsewhere a comma ends an item.
        return _HEADER_VALUE if header and between[0] in "\"'" else None
    return _HEADER_VALUE if header else _VALUE


def _clean_digits(run: re.Match[str]) -> str:
    """Mask the card numbers among groups of digits; a run may hold other numbers beside one."""
    text = run[0]
    groups = [(group.start(), group.end()) for group in _GROUP.finditer(text)]
    kept: list[str] = []
    copied = first = 0
    while first < len(groups):
        digits = ""
        for last in range(first, len(groups)):
            digits += text[slice(*groups[last])]
            if len(digits) > 19:
                break
            if _is_card(digits):
                kept += (text[copied : groups[first][0]], REDACTED)
                copied, first = groups[last][1], last
                break
        first += 1
    return "".join((*kept, text[copied:]))


def _is_card(digits: str) -> bool:
    # Issuers' numbers begin with 2 to 6; times in milliseconds and nanoseconds begin with 1.
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456":
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


# ---- values -----------------------------------------------------------------------------------------


def clean(value: object) -> Json:
    """Return what may be shown of a value, as plain JSON."""
    return _Walk().show(value, 0)


class _Walk:
    """One walk over one record's data, and what is left of its bounds."""

    __slots__ = ("_chars", "_nodes", "_open")

    def __init__(self) -> None:
        self._nodes = NODES_MAX
        self._chars = RECORD_CHARS_MAX
        self._open: set[int] = set()
        """The containers around the present value, to find circles."""

    def show(self, value: object, depth: int) -> Json:
        self._nodes -= 1
        if self._nodes < 0:
            return CUT
        kind = type(value)
        if kind is str:
            return self.text(cast("str", value))
        if kind is int:
            return _integer(cast("int", value))
        if value is None or kind is bool:
            return cast("bool | None", value)
        if kind is dict:
            return self._container(value, depth)
        try:
            return self._show(value, depth)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - an object that cannot be looked at must not take the log with it
            return f"<unprintable {type_name(value)}>"

    def _show(self, value: object, depth: int) -> Json:
        if isinstance(value, Secret):
            return REDACTED
        scalar = _scalar(value)
        if scalar is not None:
            return self.text(scalar)
        if isinstance(value, int):
            return _integer(int.__int__(value))
        if isinstance(value, float):
            return _float(float.__float__(value))
        return self._container(value, depth)

    def _container(self, value: object, depth: int) -> Json:
        if id(value) in self._open:
            return "[CIRCULAR]"
        if depth >= DEPTH_MAX:
            return CUT
        self._open.add(id(value))
        try:
            return self._inside(value, depth + 1)
        finally:
            self._open.discard(id(value))

    def _inside(self, value: object, depth: int) -> Json:
        if type(value) is dict or isinstance(value, Mapping):
            return self._pairs(cast("Mapping[object, object]", value).items(), depth)
        if isinstance(value, BaseException):
            return self._error(value)
        names = _field_names(value)
        if names is not None:
            return self._pairs(((name, getattr(value, name, None)) for name in names), depth)
        if isinstance(value, list | tuple):
            return self._sequence(cast("list[object]", value), depth)
        if isinstance(value, AbstractSet):
            # Sets have no order of their own; a log line must have one.
            shown = [
                self.show(item, depth) for item in islice(cast("AbstractSet[object]", value), self._room)
            ]
            return sorted(shown, key=str)
        return self.text(repr(value))

    def _pairs(self, pairs: Iterable[tuple[object, object]], depth: int) -> Json:
        shown: dict[str, Json] = {}
        # The first one too many is looked at only to say that there are more.
        room = self._room
        for key, value in islice(pairs, room + 1):
            if len(shown) >= room:
                shown[CUT] = CUT
                break
            name, secret = _known_key(key) if type(key) is str and len(key) <= KEY_CHARS else self._key(key)
            if name in shown:
                name = f"{name} ({len(shown)})"
            if secret and value is not None:
                self._nodes -= 1
                shown[name] = REDACTED
            else:
                shown[name] = self.show(value, depth)
        return _mask_named_value(shown)

    def _sequence(self, items: list[object] | tuple[object, ...], depth: int) -> Json:
        # Headers are often lists of pairs: ("Authorization", "Bearer ...").
        if len(items) == 2 and items[1] is not None and _names_secret(items[0]):
            return [self.show(items[0], depth), REDACTED]
        room = self._room
        shown = [self.show(item, depth) for item in islice(items, room)]
        return [*shown, CUT] if len(items) > room else shown

    @property
    def _room(self) -> int:
        return max(0, self._nodes)

    def _key(self, key: object) -> tuple[str, bool]:
        return str(self.show(key, DEPTH_MAX)), _names_secret(key)

    def text(self, text: str) -> str:
        shown = clean_string(text, min(STRING_CHARS_MAX, self._chars))
        self._chars = max(0, self._chars - len(shown))
        return shown

    # -- exceptions

    def _error(self, error: BaseException) -> Json:
        return {
            "name": type_name(error),
            "message": self.text(safe_text(error)),
            "stack": self.text("\n".join(stack(error))),
        }


def _mask_named_value(shown: dict[str, Json]) -> dict[str, Json]:
    """Mask {"name": "Authorization", "value": ...}, the other way of writing headers down."""
    if "value" in shown:
        for naming in ("name", "key", "header"):
            if _names_secret(shown.get(naming)):
                shown["value"] = REDACTED
    return shown


def _float(number: float) -> Json:
    # JSON has no infinities.
    return number if number - number == 0 else repr(number)


def _integer(number: int) -> Json:
    if not -(2**63) <= number < 2**64:
        return f"<integer of {number.bit_length()} bits>"
    return REDACTED if number > 10**12 and _is_card(str(number)) else number


def _scalar(value: object) -> str | None:
    """Return the text of what is one value and no container; None for everything else."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray | memoryview | msgspec.Raw):
        return f"<{memoryview(cast('bytes', value)).nbytes} bytes>"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, PurePath | Decimal):
        return str(value)
    return None


def _field_names(value: object) -> list[str] | None:
    """Return the fields of a record of any make: msgspec, attrs, dataclass, named tuple."""
    kind = type(value)
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind)]
    for own in ("__struct_fields__", "__dataclass_fields__", "_fields"):
        names: object = getattr(kind, own, None)
        if isinstance(names, tuple | dict):
            return [name for name in cast("Iterable[object]", names) if isinstance(name, str)]
    return None
