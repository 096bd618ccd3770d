"""The form of tokens and the judgement of failed exchanges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.auth.tokens import ExchangeFailure, Fault, validate_token_format
from holdfast.runtime import Secret


# A1.5: the seed's own table, and what must not slip past the form.
@pytest.mark.parametrize(
    "token,valid,reason",
    [
        (None, False, "null_token"),
        ("", False, "empty_token"),
        ("invalid", False, "malformed_token"),
        ("valid.jwt.token", True, "valid_format"),
        ("two.parts", False, "malformed_token"),
        ("one.two.three.four", False, "malformed_token"),
        ("empty..part", False, "malformed_token"),
        (".a.b", False, "malformed_token"),
        ("a.b.", False, "malformed_token"),
        ("pad.ded.token=", False, "malformed_token"),
        ("plus+.and.slash/", False, "malformed_token"),
        ("a.b.c\n", False, "malformed_token"),
        (" a.b.c", False, "malformed_token"),
        ("a-_9.b.c", True, "valid_format"),
    ],
)
def test_a_token_is_judged_by_its_form_alone(token: str | None, valid: bool, reason: str) -> None:
    verdict = validate_token_format(token)

    assert (verdict.valid, verdict.reason) == (valid, reason)


def test_a_secret_is_judged_like_its_content() -> None:
    assert validate_token_format(Secret("a.b.c")).valid
    assert validate_token_format(Secret("")).reason == "empty_token"


PART = st.text("abcXYZ019-_", min_size=1)


# A1.5
@given(st.lists(PART, min_size=1, max_size=5))
def test_exactly_three_parts_make_a_token(parts: list[str]) -> None:
    assert validate_token_format(".".join(parts)).valid == (len(parts) == 3)


# A1.3: 401 and 403 are final, 429 and 5xx retryable; no answer at all is retryable, a bad certificate is not.
@pytest.mark.parametrize(
    "fault,status,retryable,may_have_spent",
    [
        (Fault.REFUSED, 400, False, False),
        (Fault.REFUSED, 401, False, False),
        (Fault.REFUSED, 403, False, False),
        (Fault.REFUSED, 302, False, False),
        (Fault.REFUSED, 408, True, False),
        (Fault.REFUSED, 429, True, False),
        (Fault.REFUSED, 500, True, True),
        (Fault.REFUSED, 502, True, True),
        (Fault.REFUSED, 503, True, False),
        (Fault.REFUSED, 504, True, True),
        (Fault.MALFORMED, 200, True, True),
        (Fault.UNREACHABLE, 0, True, False),
        (Fault.LOST, 0, True, True),
        (Fault.CERTIFICATE, 0, False, False),
    ],
)
def test_a_failure_is_classified_by_what_happened(
    fault: Fault, status: int, retryable: bool, may_have_spent: bool
) -> None:
    failure = ExchangeFailure(fault, status, "error")

    assert (failure.retryable, failure.may_have_spent) == (retryable, may_have_spent)
    assert failure.event.retryable == retryable
    assert failure.raised(retry_after=3.0).retry_after == (3.0 if retryable else None)


@pytest.mark.parametrize("fault", [Fault.MALFORMED, Fault.LOST])
def test_only_a_refusal_can_say_that_a_grant_is_invalid(fault: Fault) -> None:
    assert ExchangeFailure(Fault.REFUSED, 400, "invalid_grant").invalid_grant
    assert not ExchangeFailure(fault, 400, "invalid_grant").invalid_grant


def test_an_error_says_what_came_and_what_to_do() -> None:
    later = ExchangeFailure(Fault.REFUSED, 429, "rate_limited", "too fast").raised(retry_after=7)
    final = ExchangeFailure(Fault.REFUSED, 401, "invalid_credentials").raised()
    silent = ExchangeFailure(Fault.UNREACHABLE, 0, "unreachable").raised()

    assert str(later) == (
        "no access token: the token endpoint answered 429 rate_limited (too fast); "
        "ask again later, in 7.0 s at the earliest"
    )
    assert str(final) == (
        "no access token: the token endpoint answered 401 invalid_credentials; "
        "mend the credentials and authenticate again"
    )
    assert str(silent) == "no access token: unreachable; ask again later"
