"""A value that must never be seen: printed, logged, put into an error or a trace.

Masking by type is the first of two nets; the logger's masking by key name is
the second.  `reveal` is the only way out, so that a search for it lists every
place where a secret leaves its wrapper.
"""

from __future__ import annotations

import hmac

__all__ = ["REDACTED", "Secret"]

REDACTED = "[REDACTED]"


class Secret:
    """A string whose `str` and `repr` are masked; compared in constant time, never pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a Secret wraps a str, got {type(value).__name__}")
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself; call it where the value leaves the process, nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({REDACTED!r})"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, _spec: str) -> str:
        return REDACTED

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # An encoding error would carry the value into a traceback; with surrogatepass there is none.
        return hmac.compare_digest(
            self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled or copied out of the process: reveal() it where it is used")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: dict[int, object]) -> Secret:
        return self
