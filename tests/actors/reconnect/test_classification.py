from __future__ import annotations

import pytest

from holdfast.actors.reconnect.classification import POLICIES, classify
from holdfast.actors.reconnect.messages import LinkFailure


@pytest.mark.parametrize(
    "kind,retryable,delay",
    [("refused", True, 1.0), ("certificate", False, 0.0), ("timeout", True, 2.0), ("dns", True, 5.0)],
)
def test_the_four_errors_of_the_seed_have_its_delays(kind: str, *, retryable: bool, delay: float) -> None:
    # A2.6
    failure = classify(LinkFailure(kind=kind))

    assert (failure.retryable, failure.recommended_delay) == (retryable, delay)


@pytest.mark.parametrize(
    "code,verdict",
    [
        (1000, "new_session"),
        (1001, "resume"),
        (1002, "terminal"),
        (1003, "terminal"),
        (1005, "resume"),
        (1006, "resume"),
        (1007, "terminal"),
        (1008, "refresh"),
        (1009, "terminal"),
        (1010, "terminal"),
        (1011, "resume"),
        (1012, "resume"),
        (1013, "resume"),
        (1014, "resume"),
        (1015, "resume"),
        (4000, "resume"),
        (4004, "resume"),
        (4099, "resume"),
        (4100, "new_session"),
        (4199, "new_session"),
        (4200, "refresh"),
        (4299, "refresh"),
        (4300, "terminal"),
        (4306, "terminal"),
        (4399, "terminal"),
        (4400, "resume"),
        (3000, "resume"),
        (None, "resume"),
    ],
)
def test_the_range_of_a_close_code_carries_its_verdict(code: int | None, verdict: str) -> None:
    # REALTIME 1.2, close codes; unknown codes are classified by their range too
    assert classify(LinkFailure(kind="closed", code=code)).verdict == verdict


@pytest.mark.parametrize(
    "status,verdict",
    [
        (401, "refresh"),
        (403, "terminal"),
        (426, "terminal"),
        (404, "resume"),
        (429, "resume"),
        (502, "resume"),
        (503, "resume"),
        (302, "resume"),
        (None, "resume"),
    ],
)
def test_a_refused_upgrade_is_classified_by_its_status(status: int | None, verdict: str) -> None:
    # A1.3, A3.1
    assert classify(LinkFailure(kind="rejected", code=status)).verdict == verdict


def test_auth_itself_says_whether_its_failure_is_final() -> None:
    # A1.3: 401 invalid_credentials is final, 429 and 5xx are not
    final = classify(LinkFailure(kind="auth", code=401, retryable=False))
    passing = classify(LinkFailure(kind="auth", code=503, retryable=True))

    assert final.verdict == "terminal"
    assert not final.retryable
    assert passing.verdict == "resume"


def test_a_kind_nobody_has_heard_of_is_retried() -> None:
    failure = classify(LinkFailure(kind="gremlins"))

    assert failure.retryable
    assert failure.verdict == "resume"


def test_only_a_certificate_is_terminal_among_the_kinds() -> None:
    # SEMANTICS "Time": terminal are 43xx and the certificate
    assert [kind for kind, policy in POLICIES.items() if not policy.retryable] == ["certificate"]


def test_classifying_keeps_what_was_seen() -> None:
    failure = classify(LinkFailure(kind="closed", detail="why", code=1013, retry_after=7.0))

    assert (failure.detail, failure.code, failure.retry_after) == ("why", 1013, 7.0)
