"""The figures as a picture: how far each is from its target, `build/bench.png` and `build/bench.svg`.

Every figure has another unit, so what is drawn is the share of the target that is
met: right of the line is better than asked for.  Figures without a target that is a
number are left out; the table and the JSON have them.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.kernel import Result

__all__ = ["draw", "headroom"]

_TARGET = re.compile(r"^(<=|>=|>|<)\s*([\d,.]+)")

MET, MISSED = "#2a7f62", "#b3402e"

# A figure ten times better than asked for says all there is to say.
SHOWN_MAX = 10.0


def headroom(result: Result) -> float | None:
    """Return how many times better than its target a figure is; None for a target that is no number."""
    found = _TARGET.match(result.target)
    if found is None or not result.value or "turns" in result.target:
        return None
    target = float(found[2].replace(",", ""))
    return target / result.value if found[1].startswith("<") else result.value / target


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write both pictures and return their paths; nothing when matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    shown = [(result, room) for result in results if (room := headroom(result)) is not None]
    importlib.import_module("matplotlib").use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(11, 1.2 + 0.3 * len(shown)), layout="constrained")
    rooms = [min(room, SHOWN_MAX) for _, room in shown]
    axes.barh(
        [result.name for result, _ in shown],
        rooms,
        color=[MET if result.met else MISSED for result, _ in shown],
    )
    for place, (result, room) in enumerate(shown):
        axes.text(min(room, SHOWN_MAX), place, f" {result.value:g} {result.unit}", va="center", fontsize=8)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(0.1, SHOWN_MAX * 3)
    axes.set_xlabel("times better than the target (the line); the figure itself beside the bar")
    axes.set_title("Holdfast: what was asked for, and what was measured")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    written = [folder / "bench.png", folder / "bench.svg"]
    for path in written:
        figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return written
