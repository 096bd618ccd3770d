"""Looks for secrets in everything that the demo's processes wrote.

Three kinds are looked for: secrets that are known (the keys of this run, and the
session's key from the client's store), anything with the shape of a credential,
and refresh tokens, which nobody knows but whose hashes are in the hub's store.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

import apsw

from holdfast.actors.hub.grants import hash_secret
from holdfast.runtime import Secret

__all__ = ["find_secrets", "refresh_token_hashes", "session_keys"]

# Signed tokens, whoever made them: parts in base64url that begin like JSON.  Then the two credentials
# of an avatar session: its token, and the key in the address of its WebSocket.
_SHAPES = re.compile(
    rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}|session\.[0-9a-f]{32}\.[0-9a-f]{32}|[?&]key=[0-9a-f]{16}"
)

# 256 bits in base64url, as a word of its own.
_WORDS = re.compile(rb"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")


def find_secrets(
    files: Iterable[Path], known: Iterable[str], *, hashes: Collection[bytes] = frozenset()
) -> list[str]:
    """Return where a secret stands in these files: a known one, one by its shape, one by its hash."""
    wanted = [secret.encode() for secret in known if secret]
    found: list[str] = []
    for path in files:
        if not path.is_file():
            continue
        for line_number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if any(secret in line for secret in wanted) or _SHAPES.search(line) or _hashed(line, hashes):
                found.append(f"{path.name}:{line_number}")
    return found


def _hashed(line: bytes, hashes: Collection[bytes]) -> bool:
    return any(hash_secret(Secret(word.decode())) in hashes for word in _WORDS.findall(line))


def session_keys(client_store: Path) -> list[str]:
    """Return the key of the session, from the store of the client."""
    return [str(key) for (key,) in _rows(client_store, "select key from session where key is not null")]


def refresh_token_hashes(hub_store: Path) -> frozenset[bytes]:
    """Return what the hub keeps of the refresh tokens that it gave out."""
    rows = _rows(hub_store, "select hash from refresh_tokens")
    return frozenset(found for (found,) in rows if isinstance(found, bytes))


def _rows(store: Path, query: str) -> list[tuple[object, ...]]:
    if not store.is_file():
        return []
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [tuple(row) for row in connection.execute(query)]
    finally:
        connection.close()
