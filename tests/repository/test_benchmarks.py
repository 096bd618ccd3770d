"""The picture of the figures shows what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmarks.kernel import Result
from tests.benchmarks.plot import draw, headroom


def _result(value: float, target: str) -> Result:
    return Result("a figure", value, value, value, "us", target, met=True)


@pytest.mark.parametrize(
    "value,target,times",
    [
        (10.0, "<= 40 us", 4.0),
        (80.0, "<= 40 us", 0.5),
        (60.0, ">= 40 %", 1.5),
        (20.0, ">= 10 x (ours 0.3, theirs 3 us)", 2.0),
        (500.0, "<= 1,000 us", 2.0),
    ],
)
def test_a_figure_is_drawn_by_how_many_times_it_is_better_than_its_target(
    value: float, target: str, times: float
) -> None:
    assert headroom(_result(value, target)) == pytest.approx(times)


@pytest.mark.parametrize("target", ["the measure", "skipped: erl is not here", "<= 3 turns (here 2.9)"])
def test_a_figure_without_a_number_to_reach_is_not_drawn(target: str) -> None:
    assert headroom(_result(5.0, target)) is None


def test_both_pictures_are_written_where_they_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="it comes with `make bench`")

    png, svg = draw([_result(10.0, "<= 40 us"), _result(80.0, "<= 40 us")], tmp_path)

    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()
