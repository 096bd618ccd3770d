"""What a failure means: retry or not, when, and with what.

The socket has mapped foreign exceptions, by type and errno, to the kinds of this
table; close codes and HTTP statuses carry their verdict in their range, so codes
that nobody has heard of yet are classified too (REALTIME 1.2).
"""

from __future__ import annotations

import attrs
import msgspec

from holdfast.actors.reconnect.messages import LinkFailure, Verdict

__all__ = ["ONCE", "POLICIES", "Policy", "classify", "close_policy", "status_policy"]


@attrs.frozen
class Policy:
    """`delay` is advice for people and logs (A2.6); the back-off decides, and what the remote demands."""

    verdict: Verdict
    delay: float

    @property
    def retryable(self) -> bool:
        return self.verdict != "terminal"


TERMINAL = Policy("terminal", 0.0)

# The delays of A2.6; the others are in the same spirit: a peer that is there but
# unwell is left alone longer than one that merely hung up.
POLICIES: dict[str, Policy] = {
    "refused": Policy("resume", 1.0),
    "reset": Policy("resume", 1.0),
    "timeout": Policy("resume", 2.0),
    "unreachable": Policy("resume", 2.0),
    "dns": Policy("resume", 5.0),
    "certificate": TERMINAL,
    "tls": Policy("resume", 5.0),
    "protocol": Policy("resume", 5.0),
    "zombie": Policy("resume", 0.0),
    "overflow": Policy("resume", 1.0),
    "draining": Policy("resume", 0.0),
    "auth": Policy("resume", 2.0),
    "local": Policy("resume", 1.0),
    "socket_crashed": Policy("resume", 0.0),
}
# A kind that is not in the table is treated as a network that misbehaves.
UNKNOWN = Policy("resume", 2.0)

# Without a figure from the server, this long after "try again later" (1013) and "rate limited" (4006).
BUSY_DELAY = 5.0

CLOSE_CODES: dict[int, Policy] = {
    # By mutual consent: whoever still wants a link starts over.
    1000: Policy("new_session", 0.0),
    # Protocol errors that the next connection would repeat.
    1002: TERMINAL,
    1003: TERMINAL,
    1007: TERMINAL,
    1009: TERMINAL,
    1010: TERMINAL,
    # Policy violation: how a proxy or an older hub says "bad token".  Once; see ONCE.
    1008: Policy("refresh", 0.0),
    1013: Policy("resume", BUSY_DELAY),
    4006: Policy("resume", BUSY_DELAY),
}
CLOSE_RANGES: tuple[tuple[range, Policy], ...] = (
    (range(4000, 4100), Policy("resume", 0.0)),
    (range(4100, 4200), Policy("new_session", 0.0)),
    (range(4200, 4300), Policy("refresh", 0.0)),
    (range(4300, 4400), TERMINAL),
)

STATUSES: dict[int, Policy] = {
    401: Policy("refresh", 0.0),
    403: TERMINAL,
    # "Upgrade required": the hub speaks another version.
    426: TERMINAL,
    429: Policy("resume", BUSY_DELAY),
    503: Policy("resume", BUSY_DELAY),
}

# Refused again with a token just refreshed: refreshing once more cannot help.
ONCE = frozenset({("rejected", 401), ("closed", 1008)})


def classify(failure: LinkFailure) -> LinkFailure:
    """Return the failure with its verdict, retryability and recommended delay."""
    policy = _policy(failure)
    return msgspec.structs.replace(
        failure, verdict=policy.verdict, retryable=policy.retryable, recommended_delay=policy.delay
    )


def close_policy(code: int | None) -> Policy:
    """What a close code asks for; codes outside every range are a lost connection."""
    if code is None:
        return Policy("resume", 0.0)
    if code in CLOSE_CODES:
        return CLOSE_CODES[code]
    for codes, policy in CLOSE_RANGES:
        if code in codes:
            return policy
    return Policy("resume", 0.0)


def status_policy(status: int | None) -> Policy:
    """What an HTTP answer in place of the upgrade asks for.

    Anything not listed is retried: a proxy in the middle of a deployment answers
    404 and 502 alike, and a captive portal redirects.
    """
    return STATUSES.get(status or 0, Policy("resume", BUSY_DELAY))


def _policy(failure: LinkFailure) -> Policy:
    match failure.kind:
        case "closed":
            return close_policy(failure.code)
        case "rejected":
            return status_policy(failure.code)
        case "auth" if not failure.retryable:
            return TERMINAL
        case kind:
            return POLICIES.get(kind, UNKNOWN)
