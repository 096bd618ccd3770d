"""Refresh tokens: stored as hashes, rotated at each use, revoked as a family when one is stolen.

A refresh token is used once.  Using it is ONE conditional update, so that of two
requests that race exactly one rotates.  Presented again within the grace period
by the same API key it yields the same successor (the answer was lost on its
way); after that somebody else has it, and the whole family dies (RFC 9700,
4.14.2).

Only SHA-256 hashes are kept, and yet the same successor can be given twice: it
is derived from the predecessor, which the client shows again, and a nonce,
which the store has.  Neither alone is enough.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import apsw
import attrs

from holdfast.actors.hub.store import committed, open_tables
from holdfast.actors.hub.tokens import SEED_LENGTH
from holdfast.runtime import Secret

__all__ = ["GrantStore", "Reused", "Rotated", "Unknown", "hash_secret"]

TOKEN_BYTES = 32


def hash_secret(secret: Secret) -> bytes:
    """Return what is stored of a secret with full entropy; a plain hash is enough for those."""
    return hashlib.sha256(secret.reveal().encode()).digest()


@attrs.frozen
class Rotated:
    """The token was good; this is its successor."""

    client_id: str
    successor: Secret


@attrs.frozen
class Reused:
    """The token had been rotated longer ago than the grace allows; its family is revoked now."""

    client_id: str
    family: str


@attrs.frozen
class Unknown:
    """Never issued, expired, revoked, or shown with another API key; which one is nobody's business."""


class GrantStore:
    """The tables of the identity service."""

    def __init__(self, connection: apsw.Connection, entropy: Callable[[int], bytes], *, keep: int) -> None:
        open_tables(connection)
        self._connection = connection
        self._entropy = entropy
        self._keep = keep

    def signing_seed(self, wall_now: float) -> bytes:
        """Return the signing key's seed; it is made at the first start of all."""
        with committed(self._connection):
            row = self._connection.execute(
                "select private_key from signing_keys where kid = 'first'"
            ).fetchone()
            if row is not None:
                return bytes(row[0])
            seed = self._entropy(SEED_LENGTH)
            self._connection.execute("insert into signing_keys values ('first', ?, ?)", (seed, wall_now))
            return seed

    def issue(self, client_id: str, api_key: Secret, *, wall_now: float, lifetime: float) -> Secret:
        """Start a family: return its first refresh token."""
        token = Secret(_text(self._entropy(TOKEN_BYTES)))
        family = self._entropy(8).hex()
        with committed(self._connection):
            self._insert(token, family, client_id, hash_secret(api_key), wall_now, wall_now + lifetime)
        return token

    def rotate(
        self, token: Secret, api_key: Secret, *, wall_now: float, lifetime: float, grace: float
    ) -> Rotated | Reused | Unknown:
        """Use a refresh token."""
        key_hash = hash_secret(api_key)
        nonce = self._entropy(TOKEN_BYTES)
        with committed(self._connection):
            won = self._connection.execute(
                "update refresh_tokens set rotated_at = ?, successor_nonce = ?"
                " where hash = ? and api_key_hash = ? and rotated_at is null and revoked_at is null"
                " and expires_at > ? returning family, client_id",
                (wall_now, nonce, hash_secret(token), key_hash, wall_now),
            ).fetchone()
            if won is None:
                return self._used(token, key_hash, wall_now=wall_now, grace=grace)
            family, client_id = str(won[0]), str(won[1])
            successor = _successor(token, nonce)
            self._insert(successor, family, client_id, key_hash, wall_now, wall_now + lifetime)
            return Rotated(client_id, successor)

    def _used(
        self, token: Secret, key_hash: bytes, *, wall_now: float, grace: float
    ) -> Rotated | Reused | Unknown:
        row = self._connection.execute(
            "select family, client_id, rotated_at, successor_nonce from refresh_tokens"
            " where hash = ? and api_key_hash = ? and revoked_at is null and expires_at > ?",
            (hash_secret(token), key_hash, wall_now),
        ).fetchone()
        if row is None:
            return Unknown()
        family, client_id, rotated_at, nonce = row
        if 0 <= wall_now - rotated_at <= grace:
            return Rotated(client_id, _successor(token, nonce))
        self._connection.execute(
            "update refresh_tokens set revoked_at = ? where family = ? and revoked_at is null",
            (wall_now, family),
        )
        return Reused(client_id, family)

    def _insert(
        self, token: Secret, family: str, client_id: str, key_hash: bytes, issued_at: float, expires_at: float
    ) -> None:
        self._connection.execute(
            "insert into refresh_tokens values (?, ?, ?, ?, ?, ?, null, null, null)",
            (hash_secret(token), family, client_id, key_hash, issued_at, expires_at),
        )
        # Row numbers only grow, so this keeps the newest `keep` without counting them.
        self._connection.execute(
            "delete from refresh_tokens where rowid <= (select max(rowid) from refresh_tokens) - ?",
            (self._keep,),
        )


def _successor(token: Secret, nonce: bytes) -> Secret:
    return Secret(_text(hmac.digest(token.reveal().encode(), nonce, "sha256")))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
