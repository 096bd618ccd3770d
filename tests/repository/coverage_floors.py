"""Enforces the coverage floors: lines and branches of the whole suite, per folder.

Run by ``make test`` after the suite.  The floors are the product's (auth and
reconnect 95 %, socket 90 %, logger 85 %, avatar 80 %, everything 85 %); they are
floors, not the goal.
"""

from __future__ import annotations

import io
import sys

import coverage

FLOORS = {
    "actors/auth/*": 95.0,
    "actors/reconnect/*": 95.0,
    "actors/socket/*": 90.0,
    "actors/logger/*": 85.0,
    "actors/avatar/*": 80.0,
    "*": 85.0,
}


def main() -> int:
    measured = coverage.Coverage()
    measured.load()
    failed = False
    for pattern, floor in FLOORS.items():
        total = measured.report(include=None if pattern == "*" else [pattern], file=io.StringIO())
        ok = total >= floor
        failed = failed or not ok
        print(f"coverage {pattern:22} {total:6.2f} %  floor {floor:g} %  {'ok' if ok else 'TOO LOW'}")
    if failed:
        print(
            "coverage is below a floor: add the tests that are missing; see build/.coverage", file=sys.stderr
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
