from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from holdfast.actors.hub.messages import Refusal, VerifiedToken
from holdfast.actors.hub.tokens import TOKEN_LENGTH_MAX, TokenSigner
from holdfast.runtime import Secret

NOW = 1_795_000_000.0
SIGNER = TokenSigner(b"k" * 32, issuer="hub", audience="realtime")


def token(signer: TokenSigner = SIGNER, **changes: float) -> Secret:
    return signer.issue("alice", **{"token_id": "t-1", "wall_now": NOW, "lifetime": 300.0, **changes})  # type: ignore[arg-type]


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], claims: dict[str, Any], key: bytes = b"") -> Secret:
    signed = f"{b64(header)}.{b64(claims)}"
    mac = hmac.digest(key, signed.encode(), hashlib.sha256) if key else b""
    return Secret(f"{signed}.{b64(mac)}")


CLAIMS = {"iss": "hub", "aud": "realtime", "sub": "alice", "iat": NOW, "exp": NOW + 300, "jti": "t"}


def why(shown: Secret, now: float = NOW) -> str:
    verdict = SIGNER.verify(shown, now)
    assert isinstance(verdict, Refusal)
    assert (verdict.status, verdict.error) == (401, "invalid_token")
    return verdict.description


def test_a_token_holds_until_its_last_moment_and_not_at_it() -> None:  # D1
    good = token()

    assert SIGNER.verify(good, NOW + 299.9) == VerifiedToken("alice", "t-1", NOW + 300)
    assert why(good, NOW + 300) == "token expired"


def test_the_header_says_what_it_is_and_which_key() -> None:
    header = json.loads(base64.urlsafe_b64decode(token().reveal().split(".")[0] + "=="))

    assert header == {"alg": "Ed25519", "typ": "at+jwt", "kid": SIGNER.kid}


def test_a_restarted_hub_with_the_same_seed_accepts_its_tokens() -> None:
    again = TokenSigner(b"k" * 32, issuer="hub", audience="realtime")

    assert isinstance(again.verify(token(), NOW), VerifiedToken)


@pytest.mark.parametrize(
    "stranger, expected",
    [
        (TokenSigner(b"x" * 32, issuer="hub", audience="realtime"), "signed by this hub"),
        (TokenSigner(b"k" * 32, issuer="other", audience="realtime"), "issued by this hub"),
        (TokenSigner(b"k" * 32, issuer="hub", audience="other"), "for this service"),
    ],
)
def test_a_token_of_another_issuer_audience_or_key_is_refused(  # D1
    stranger: TokenSigner, expected: str
) -> None:
    assert expected in why(token(stranger))


def test_an_unsigned_token_is_refused() -> None:  # D1
    header = {"alg": "none", "typ": "at+jwt", "kid": SIGNER.kid}

    assert "signed by this hub" in why(forged(header, CLAIMS))


@pytest.mark.parametrize("key", [SIGNER.public_key, b"k" * 32])
def test_a_public_key_used_as_an_hmac_secret_is_refused(key: bytes) -> None:  # D1
    header = {"alg": "HS256", "typ": "at+jwt", "kid": SIGNER.kid}

    assert "signed by this hub" in why(forged(header, CLAIMS, key))


def signed_by_us(header: dict[str, Any], claims: dict[str, Any]) -> Secret:
    key = OKPKey.import_key(SIGNER._key.as_pem(private=True), {"use": "sig", "alg": "Ed25519"})
    given = {"alg": "Ed25519", "typ": "at+jwt", "kid": SIGNER.kid, **header}
    return Secret(jwt.encode(given, {**CLAIMS, **claims}, key, algorithms=["Ed25519"]))


def test_the_control_for_our_own_signature_is_accepted() -> None:
    assert isinstance(SIGNER.verify(signed_by_us({}, {}), NOW), VerifiedToken)


@pytest.mark.parametrize(
    "header, claims",
    [
        ({"typ": "JWT"}, {}),
        ({"kid": "another"}, {}),
        ({}, {"iat": NOW + 3_600}),
        ({}, {"exp": None}),
        ({}, {"exp": "soon"}),
        ({}, {"sub": None}),
        ({}, {"aud": ["realtime"]}),
    ],
)
def test_a_token_of_ours_that_is_no_access_token_is_refused(
    header: dict[str, Any], claims: dict[str, Any]
) -> None:
    why(signed_by_us(header, claims))


@pytest.mark.parametrize("shown", ["", "a", "..", "a.b.c", "é.é.é", "a" * (TOKEN_LENGTH_MAX + 1)])
def test_what_is_no_token_is_refused_without_being_quoted(shown: str) -> None:
    assert not shown or len(shown) == 1 or shown not in why(Secret(shown))


@pytest.mark.parametrize("header", ["5", "null", '"x"', "[]", "{}", '{"alg":[]}', "{" * 500])
def test_a_header_that_is_none_is_no_more_than_a_refusal(header: str) -> None:  # D1
    assert "signed by this hub" in why(Secret(f"{b64(header.encode())}.{b64(CLAIMS)}.{b64(b'x' * 64)}"))


@pytest.mark.parametrize("more", ['"crit":5', '"crit":[[]]', '"crit":["exp"]', '"b64":0', '"kid":5'])
def test_no_header_of_a_stranger_is_more_than_a_refusal(more: str) -> None:  # D1
    header = b64(f'{{"alg":"Ed25519",{more}}}'.encode())

    assert "signed by this hub" in why(Secret(f"{header}.{b64(CLAIMS)}.{b64(b'x' * 64)}"))


def test_a_changed_token_is_refused() -> None:
    head, body, signature = token().reveal().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "mallory"

    assert "signed by this hub" in why(Secret(f"{head}.{b64(claims)}.{signature}"))
