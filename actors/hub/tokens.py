"""Access tokens: signed, expiring JWTs, and the one place that says when one holds.

Ed25519 (RFC 9864), named explicitly on both sides: the algorithm is never taken
from a token, so that neither ``none`` nor a public key used as an HMAC secret
gets in.  The signing key is made from the entropy seam and kept in the store,
so that a restarted hub still accepts the tokens that it has issued.
"""

from __future__ import annotations

import base64
import hashlib

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from holdfast.actors.hub.messages import Refusal, VerifiedToken
from holdfast.runtime import Secret

__all__ = ["TokenSigner"]

ALGORITHM = "Ed25519"
TYPE = "at+jwt"  # RFC 9068: an access token and nothing else, so an id token cannot pass for one

# RFC 9700: bound what is parsed before anything is known of it.
TOKEN_LENGTH_MAX = 8_192

SEED_LENGTH = 32
# RFC 8410: the PKCS #8 wrapping of a raw Ed25519 private key, which is what lets the seed come from a seam.
_PKCS8_PREFIX = bytes.fromhex("302e020100300506032b657004220420")


class _Claims(msgspec.Struct, frozen=True):
    """What a token must say, in these types; more is ignored."""

    iss: str
    aud: str
    sub: str
    exp: float
    iat: float
    jti: str


class TokenSigner:
    """Issues tokens under one key and judges them."""

    def __init__(self, seed: bytes, *, issuer: str, audience: str) -> None:
        assert len(seed) == SEED_LENGTH, f"an Ed25519 seed has {SEED_LENGTH} bytes"
        pem = base64.encodebytes(_PKCS8_PREFIX + seed)
        text = b"-----BEGIN PRIVATE KEY-----\n" + pem + b"-----END PRIVATE KEY-----\n"
        self._key = OKPKey.import_key(text, {"use": "sig", "alg": ALGORITHM})
        self.kid = hashlib.sha256(self.public_key).hexdigest()[:16]
        self._issuer = issuer
        self._audience = audience

    @property
    def public_key(self) -> bytes:
        """The public half, as PEM."""
        return self._key.as_pem(private=False)

    def issue(self, subject: str, *, token_id: str, wall_now: float, lifetime: float) -> Secret:
        """Return a token for `subject` that holds from now on."""
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "iat": wall_now,
            "exp": wall_now + lifetime,
            "jti": token_id,
        }
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": self.kid}
        return Secret(jwt.encode(header, claims, self._key, algorithms=[ALGORITHM]))

    def verify(self, token: Secret, wall_now: float) -> VerifiedToken | Refusal:
        """Say what a token grants, or why it grants nothing.

        The reasons name what was wanted and never quote the token.
        """
        text = token.reveal()
        if len(text) > TOKEN_LENGTH_MAX:
            return _invalid(f"wanted a token of at most {TOKEN_LENGTH_MAX} characters, got {len(text)}")
        try:
            signed = jws.deserialize_compact(text, self._key, algorithms=[ALGORITHM])
            claims = msgspec.json.decode(signed.payload, type=_Claims)
        except (JoseError, ValueError, TypeError, msgspec.DecodeError, RecursionError) as error:
            # TypeError: joserfc goes through a `crit` header without looking at what it is.
            return _invalid(f"wanted a token signed by this hub with {ALGORITHM}: {type(error).__name__}")
        if signed.protected.get("typ") != TYPE or signed.protected.get("kid") != self.kid:
            return _invalid(f"wanted an access token ({TYPE}) under the present key")
        if claims.iss != self._issuer or claims.aud != self._audience:
            return _invalid("wanted a token issued by this hub for this service")
        if claims.iat > wall_now + CLOCK_SKEW:
            return _invalid("wanted a token that was issued already")
        if claims.exp <= wall_now:
            return _invalid("token expired")
        return VerifiedToken(subject=claims.sub, token_id=claims.jti, expires_unix=claims.exp)


# The hub judges its own tokens by its own clock; this allows for one that was set back since.
CLOCK_SKEW = 60.0


def _invalid(why: str) -> Refusal:
    return Refusal(401, "invalid_token", why)
