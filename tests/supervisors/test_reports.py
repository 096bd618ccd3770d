from __future__ import annotations

import msgspec
import pytest

from holdfast.runtime import Event, event_name
from holdfast.supervisors import (
    AutoShutdownDecided,
    BudgetLeft,
    ChildBack,
    ChildDegraded,
    ChildGivenUp,
    ChildNotRestarted,
    ComponentFailed,
    ContradictionFound,
    FullRestartCompleted,
    FullRestartStarted,
    NoticeIgnored,
    OrderlyRestart,
    ProbeDecided,
    ProbeFailed,
    Report,
    RestartDecided,
    RestartDelayed,
    StartAttemptFailed,
    StopWentWrong,
    SupervisorGaveUp,
    SystemFailure,
)

LEFT = BudgetLeft(left=4, intensity=5, period=10.0, clears_in=8.2)

REPORTS: list[tuple[Report, str]] = [
    (
        RestartDecided(
            supervisor="s",
            at=1.0,
            child="a",
            why="was killed",
            strategy="rest_for_one",
            stops=("b",),
            starts=("a", "b"),
            budget=LEFT,
        ),
        "s/a was killed; rest_for_one restarts a, b; 4 of 5 restarts left in 8.2 s",
    ),
    (
        RestartDelayed(
            supervisor="s", at=1.0, child="a", why="could not be started", attempt=2, delay=1.5, stops=("b",)
        ),
        "s/a could not be started; restart attempt 2 in 1.50 s, b stopped meanwhile",
    ),
    (
        StartAttemptFailed(
            supervisor="s", at=1.0, child="a", cause="restart", reason="KeyError: 'x'", done="again"
        ),
        "s/a could not be started (restart): KeyError: 'x'; again",
    ),
    (
        ChildNotRestarted(
            supervisor="s", at=1.0, child="a", outcome="normal", restart="temporary", kept=False
        ),
        "s/a ended (normal); it is temporary and is forgotten",
    ),
    (
        ChildGivenUp(supervisor="s", at=1.0, child="a", why="crashed", intensity=3, period=30.0),
        "s/a crashed; its 3 restarts in 30 s are used up: it is stopped, its siblings go on",
    ),
    (
        ChildDegraded(
            supervisor="s",
            at=1.0,
            child="a",
            why="crashed",
            intensity=3,
            period=9.0,
            probe_in=4.0,
            told=("c",),
        ),
        "s/a crashed; it is switched off (own budget: 3 in 9 s), its siblings go on, c told; probed in 4.0 s",
    ),
    (
        ProbeDecided(supervisor="s", at=1.0, child="a", probe=2, degraded_for=12.0),
        "s/a is degraded for 12.0 s; probe 2 starts it, no charge",
    ),
    (
        ProbeFailed(
            supervisor="s", at=1.0, child="a", why="crashed", failed=2, probe_in=8.0, degraded_for=12.0
        ),
        "s/a crashed: probe 2 failed, it stays switched off; probed again in 8.0 s",
    ),
    (
        ChildBack(supervisor="s", at=1.0, child="a", degraded_for=50.0, stable_for=30.0),
        "s/a is back: up for 30 s after 50.0 s of degradation",
    ),
    (
        SupervisorGaveUp(supervisor="s", at=1.0, child="a", why="crashed", intensity=3, period=5.0, stops=()),
        "s/a crashed; s has used up its 3 restarts in 5 s and gives up",
    ),
    (
        AutoShutdownDecided(supervisor="s", at=1.0, child="a", rule="any_significant", stops=("b",)),
        "s/a is significant and ended; s shuts down (any_significant)",
    ),
    (
        StopWentWrong(supervisor="s", at=1.0, child="a", outcome="killed", rule="5 s", wedged=False),
        "s/a ended as killed while it was being stopped (rule: 5 s)",
    ),
    (
        NoticeIgnored(supervisor="s", at=1.0, child="a", incarnation=3, outcome="killed"),
        "the end of s/a, incarnation 3 (killed) had been dealt with already; nothing is done",
    ),
    (
        OrderlyRestart(
            supervisor="s", at=1.0, child="a", strategy="one_for_all", stops=(), starts=tuple("abcdefgh")
        ),
        "restart of s/a was asked for; one_for_all restarts a, b, c, d, e, f and 2 more, no charge",
    ),
    (
        OrderlyRestart(
            supervisor="s", at=1.0, child=None, strategy="one_for_one", stops=(), starts=("a", "b")
        ),
        "restart of all of s was asked for: a, b, no charge",
    ),
    (
        FullRestartStarted(supervisor="s", at=1.0, why="a crashed", drain=5.0, stop=10.0),
        "s begins a full restart: a crashed",
    ),
    (FullRestartCompleted(supervisor="s", at=1.0, seconds=0.25), "s completed its full restart in 0.25 s"),
    (
        SystemFailure(
            supervisor="s",
            at=1.0,
            failed_components=("a", "b"),
            recovery_strategy="full_restart",
            can_recover=True,
            window=5.0,
        ),
        "s: a, b failed within 5 s; full restart",
    ),
    (ComponentFailed(supervisor="s", at=1.0, component="a", error="no"), "s was told that a failed: no"),
    (ContradictionFound(supervisor="s", at=1.0, rule="cycle", arithmetic="1 > 0"), "s: 1 > 0"),
]


@pytest.mark.parametrize("report,sentence", REPORTS, ids=[type(report).__name__ for report, _ in REPORTS])
def test_a_report_says_itself_in_one_line(report: Report, sentence: str) -> None:
    # Beyond OTP 9; 3.3 case 91
    assert str(report) == sentence


@pytest.mark.parametrize("report", [report for report, _ in REPORTS])
def test_a_report_is_plain_data_with_a_name_of_its_own(report: Report) -> None:
    encoded = msgspec.json.decode(msgspec.json.encode(report))

    assert encoded["type"] == event_name(report)
    # Those of A4.5 and A9 have the names of the product's documents.
    assert encoded["type"].startswith(("supervisor:", "system:failure", "component:failed"))
    assert encoded["supervisor"] == "s"


def test_no_two_reports_share_a_name() -> None:
    kinds = {type(report) for report, _ in REPORTS}

    assert len({event_name(kind) for kind in kinds}) == len(kinds)
    assert kinds == set(Report.__subclasses__())
    assert issubclass(Report, Event)
