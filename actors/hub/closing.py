"""The close codes of `rt.v1.json`: the range of a code carries the verdict (REALTIME 1.2)."""

from __future__ import annotations

import enum

__all__ = ["REASON_MAX", "CloseCode"]

# RFC 6455 5.5: a control frame holds 125 bytes, two of them are the code.
REASON_MAX = 123


class CloseCode(enum.IntEnum):
    """Why the hub closes a connection, and by its range what the client should do then."""

    NORMAL = 1000
    TRY_AGAIN_LATER = 1013

    # Reconnect and resume.
    SLOW_CONSUMER = 4002
    DRAINING = 4003
    SEQ_GAP = 4004

    # Reconnect with a new session.
    BACKLOG_OVERFLOW = 4104

    # Refresh credentials, then resume.
    TOKEN_EXPIRED = 4200
    AUTH_TIMEOUT = 4202

    # Terminal.
    AUTH_FAILED = 4300
    FORBIDDEN = 4301
    SESSION_TAKEN_OVER = 4304
    FRAME_TOO_BIG = 4306
    TOO_MANY_ERRORS = 4308
