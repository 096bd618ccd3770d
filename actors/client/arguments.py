"""What a program hands to the facade, checked before any actor is asked.

An actor that crashed over a caller's mistake would be restarted for it and
asked the same again: one wrong call would spend the budget of the whole tree.
What a value may be beyond its type (lengths, rates) its owner says.
"""

from __future__ import annotations

import msgspec

from holdfast.actors.client.messages import InvalidArgument

__all__ = ["audio", "json_object", "optional_text", "text", "whole_number"]

# Of a value that is shown in an error.
SHOWN_CHARS = 80


def text(name: str, value: object) -> str:
    """Return the value if it is a string that can be sent."""
    if not isinstance(value, str):
        raise InvalidArgument(name, "a string", _shown(value))
    if not _encodable(value):
        raise InvalidArgument(name, "a string that UTF-8 can encode", "one with a lone surrogate")
    return value


def optional_text(name: str, value: object) -> str | None:
    """Return None, or the value if it is a string that can be sent."""
    return None if value is None else text(name, value)


def whole_number(name: str, value: object) -> int:
    """Return the value if it is an integer."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgument(name, "a whole number", _shown(value))
    return value


def audio(name: str, value: object) -> bytes:
    """Return the value if it is bytes."""
    if not isinstance(value, bytes):
        raise InvalidArgument(name, "bytes", _shown(value))
    return value


def json_object(name: str, value: object) -> bytes:
    """Return the value as the JSON of one object."""
    try:
        encoded = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidArgument(name, "a mapping that JSON can hold", str(error)) from error
    if not encoded.startswith(b"{"):
        # Only its type: what a program sends concerns no error message.
        raise InvalidArgument(name, "a mapping, a JSON object", type(value).__name__)
    return encoded


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    said = repr(value)
    return f"{type(value).__name__} {said[:SHOWN_CHARS]}{'...' if len(said) > SHOWN_CHARS else ''}"
