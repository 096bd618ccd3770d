"""The picture of a tree: columns that line up, and nothing where there is nothing to say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.supervisors import TreeNode, render_tree


def _worker(name: str, **fields: object) -> TreeNode:
    return TreeNode(**{"path": name, "kind": "worker", "state": "running", **fields})  # type: ignore[arg-type]


def _tree(*children: TreeNode, **fields: object) -> TreeNode:
    known = {
        "path": "top", "kind": "supervisor", "state": "running", "strategy": "one_for_all",
        "intensity": 3, "period": 300.0, "budget_left": 3, "uptime": 75.4,
    }  # fmt: skip
    return TreeNode(**{**known, **fields}, children=children)  # type: ignore[arg-type]


def test_the_picture_has_a_line_for_each_actor_and_its_numbers_in_columns() -> None:
    session = _tree(
        _worker("top/session/a", uptime=3.25, restarts=1),
        _worker("top/session/b", uptime=3.25),
        path="top/session",
        strategy="one_for_one",
        intensity=5,
        period=60.0,
        budget_left=4,
        clears_in=8.2,
    )
    picture = render_tree(_tree(session, _worker("top/c", uptime=75.4, mailbox=17), full_restarts=2))

    assert picture.splitlines() == [
        "ACTOR       STATE    STRATEGY     RESTARTS  BUDGET LEFT                 MAIL     UP",
        "top         running  one_for_all    2 full  3 of 3 in 300 s                   1m15s",
        "├─ session  running  one_for_one            4 of 5 in 60 s, +1 in 8.2s        1m15s",
        "│  ├─ a     running                      1                                     3.2s",
        "│  └─ b     running                                                            3.2s",
        "└─ c        running                                                       17  1m15s",
    ]


@pytest.mark.parametrize(
    "fields, state",
    [
        ({"state": "restarting"}, "restarting"),
        ({"state": "degraded"}, "degraded"),
        ({"wedged": True}, "running wedged"),
        ({"state": "stopped", "wedged": True}, "stopped wedged"),
        ({"busy": True}, "running busy"),
        ({"suspended": True}, "running suspended"),
        ({"state": "degraded", "probe_in": 4.2}, "degraded, probe in 4.2s"),
        ({"state": "degraded", "probe_in": 4.2, "wedged": True}, "degraded wedged, probe in 4.2s"),
    ],
)
def test_what_is_remarkable_about_an_actor_stands_beside_its_state(
    fields: dict[str, object], state: str
) -> None:
    heading, line = render_tree(_worker("a", **fields)).splitlines()

    assert line[heading.index("STATE") : heading.index("STRATEGY")].strip() == state


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (0.0, "0.0s"), (9.94, "9.9s"), (59.9, "59s"), (61.0, "1m01s"), (3600.0, "1h00m"),
        (86399.0, "23h59m"), (90000.0, "1d01h"),
    ],
)  # fmt: skip
def test_times_are_shown_in_their_two_largest_units(seconds: float, shown: str) -> None:
    assert render_tree(_worker("a", uptime=seconds)).split()[-1] == shown


@given(st.lists(st.integers(0, 10**6), max_size=6), st.integers(0, 10**4))
def test_no_line_is_cut_and_no_number_lost_however_large(mails: list[int], restarts: int) -> None:
    tree = _tree(*(_worker(f"top/{n}", mailbox=mail, restarts=restarts) for n, mail in enumerate(mails)))
    lines = render_tree(tree).splitlines()

    assert len(lines) == 2 + len(mails)
    for mail, line in zip(mails, lines[2:], strict=True):
        assert [int(word) for word in line.split()[2:] if word.isdigit()][-2:] == [
            number for number in (restarts, mail) if number
        ]
