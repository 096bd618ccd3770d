"""Run every benchmark, write `build/bench.json` and draw it: `python -m tests.benchmarks [--json]`.

The JSON holds one object for each name: its value, unit, target, and whether the
target is met.  With `--json` it is printed instead of the table.  The exit status
says nothing of the targets: a benchmark on a shared machine is read, not obeyed.
How to read the figures is in `kernel.py`, of restarts in `restart.py`, of spawning in
`spawn.py`, of latency beside busy actors in `fairness.py`, of the peers in `peers.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.benchmarks import endurance, fairness, kernel, logging, peers, plot, restart, spawn
from tests.benchmarks.kernel import Result

OUTPUT = Path(__file__).resolve().parents[2] / "build" / "bench.json"


def _logging() -> list[Result]:
    # A5.4: the caller of the logger pays 10 us at most; the rest is for orientation.
    results: list[Result] = []
    for name, value, unit in logging.cases():
        caller = unit == "us"
        target = "<= 10 us (A5.4)" if caller else "the measure"
        shown = round(value, 2)
        results.append(Result(name, shown, shown, shown, unit, target, not caller or value <= 10))
    return results


def _table(results: list[Result]) -> Table:
    table = Table("benchmark", "median", "spread", "unit", "target", "met")
    for result in results:
        spread = f"{result.lowest:g} .. {result.highest:g}"
        met = "yes" if result.met else "NO"
        table.add_row(result.name, f"{result.value:g}", spread, result.unit, result.target, met)
    return table


def main() -> None:
    """Measure, write the file, print."""
    results = [
        *kernel.measure("trio"),
        *kernel.measure("asyncio"),
        *peers.measure(),
        *restart.measure(),
        *spawn.measure(),
        *fairness.measure(),
        *endurance.measure(),
        *_logging(),
    ]
    report = {
        result.name: {
            "value": result.value,
            "unit": result.unit,
            "target": result.target,
            "met": result.met,
        }
        for result in results
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    text = json.dumps(report, indent=2) + "\n"
    OUTPUT.write_text(text)
    if "--json" in sys.argv[1:]:
        sys.stdout.write(text)
    else:
        Console().print(_table(results))
    pictures = plot.draw(results, OUTPUT.parent)
    said = ", ".join(str(path.relative_to(OUTPUT.parents[1])) for path in pictures)
    print(f"drawn: {said}" if pictures else "not drawn: matplotlib is not installed", file=sys.stderr)


if __name__ == "__main__":
    main()
