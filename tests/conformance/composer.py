"""Random scripts, and what the reference says should come of them.

A script is composed while the reference lives through it, so that every fault strikes a worker that
runs.  The same seed gives the same script.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.conformance.plans import Leaf, Plan, TeamPlan
from tests.conformance.reference import Reference, Team
from tests.conformance.script import Calls, Deed, Fault, Hold, KillTeam, Release, Result, Script

__all__ = ["compose", "expected"]

STEPS = 15
REASONS = ["normal", "shutdown", "shutdown+info", "crash", "crash", "crash", "killed", "killed"]
RESTARTS = ["permanent", "permanent", "transient", "temporary"]
STRATEGIES = ["one_for_one", "rest_for_one", "one_for_all"]
AUTO = ["never", "never", "never", "any_significant", "all_significant", "all_significant"]
VERBS = ["terminate_child", "restart_child", "delete_child", "start_child", "which", "count"]


class Composer:
    """Composes one script."""

    def __init__(self, seed: int, levels: int) -> None:
        self._draw = random.Random(f"{seed}/{levels}")
        self._names = iter(
            [*"abcdefghijklmnopqrstu", *(f"{a}{b}" for a in "ab" for b in "abcdefghijklmnopqrstu")]
        )
        self._deeds: list[Deed] = []
        self.fails: dict[str, set[int]] = {}
        self.ignores: dict[str, set[int]] = {}
        self.tree = self._team("top", levels)

    def _attempts(self) -> set[int]:
        """Return which attempts go wrong; the first one rarely does."""
        first = 1 if self._draw.random() < 0.03 else 2
        return {self._draw.randint(first, 5) for _ in range(self._draw.randint(0, 3))}

    def _team(self, id: str, levels: int) -> TeamPlan:  # noqa: A002
        auto = self._draw.choice(AUTO)
        children = [self._child(levels, auto) for _ in range(self._draw.randint(1, 4 if levels < 3 else 3))]
        return TeamPlan(
            id=id,
            children=tuple(children),
            strategy=self._draw.choice(STRATEGIES),  # type: ignore[arg-type]
            intensity=self._draw.choice([0, 1, 2, 4, 6, 8, 8, 8]),
            auto_shutdown=auto,  # type: ignore[arg-type]
        )

    def _child(self, levels: int, auto: str) -> Plan:
        restart = self._draw.choice(RESTARTS)
        significant = auto != "never" and restart != "permanent" and self._draw.random() < 0.5
        if levels > 1 and self._draw.random() < 0.5:
            team = self._team(f"s{next(self._names)}", levels - 1)
            return TeamPlan(
                id=team.id, children=team.children, strategy=team.strategy, intensity=team.intensity,
                auto_shutdown=team.auto_shutdown, restart=restart, significant=significant,  # type: ignore[arg-type]
            )  # fmt: skip
        return self._leaf(next(self._names), restart, significant)

    def _leaf(self, id: str, restart: str, significant: bool) -> Leaf:  # noqa: A002
        if id not in self.fails:
            self.fails[id] = self._attempts()
            self.ignores[id] = self._attempts() if self._draw.random() < 0.3 else set()
        kill = self._draw.random() < 0.1
        return Leaf(id=id, restart=restart, significant=significant, kill=kill)  # type: ignore[arg-type]

    def compose(self) -> tuple[Script, Result]:
        reference = Reference(self.tree, self.fails, self.ignores)
        if reference.started:
            for _ in range(self._draw.randint(STEPS // 2, STEPS)):
                if not reference.top.alive:
                    break
                self._deeds.append(self._next(reference))
                do(reference, len(self._deeds) - 1, self._deeds[-1])
        script = Script(tree=self.tree, fails=self.fails, ignores=self.ignores, deeds=tuple(self._deeds))
        return script, expected(script)

    def _next(self, reference: Reference) -> Deed:
        held = [team.path for team in reference.teams() if team.suspended]
        workers = reference.workers()
        deeds: list[Callable[[], Deed]] = [lambda: self._call(reference)] * 4
        if workers:
            deeds += [lambda: Fault(self._draw.choice(workers)[1].plan.id, self._draw.choice(REASONS))] * 3
        if not held:
            deeds += [lambda: Hold(self._draw.choice(reference.teams()).path)] * 3
        else:
            deeds += [lambda: Release(held[0])]
        below = reference.teams()[1:]
        if below and self._draw.random() < 0.2:
            deeds += [lambda: KillTeam(self._draw.choice(below).path)]
        return self._draw.choice(deeds)()

    def _call(self, reference: Reference) -> Deed:
        team = self._draw.choice(reference.teams())
        verb = self._draw.choice(VERBS)
        if self._draw.random() < 0.02:
            return Calls(team.path, "stop")
        if verb in {"which", "count"}:
            return Calls(team.path, verb)
        known = [line.plan.id for line in team.lines] or ["nobody"]
        if verb != "start_child":
            return Calls(team.path, verb, self._draw.choice([*known, *known, "nobody"]))
        return Calls(team.path, verb, self._new_child(team))

    def _new_child(self, team: Team) -> Plan:
        """Return what is to be started: under a new name, or under one that the supervisor may know."""
        restart, significant = self._draw.choice(RESTARTS), self._draw.random() < 0.2
        if significant and restart == "permanent":
            restart = "transient"
        leaves = [line.plan.id for line in team.lines if isinstance(line.plan, Leaf)]
        name = self._draw.choice([*leaves, *(f"{team.plan.id}-{letter}" for letter in "xyz")])
        if name not in leaves and self._draw.random() < 0.2:
            inner = self._leaf(f"{name}-in", self._draw.choice(RESTARTS), significant=False)
            return TeamPlan(id=f"{name}-team", children=(inner,), restart=restart, intensity=1)  # type: ignore[arg-type]
        return self._leaf(name, restart, significant)


def do(reference: Reference, number: int, deed: Deed) -> None:
    match deed:
        case Fault(child, reason):
            reference.fault(child, reason)
        case KillTeam(path):
            reference.kill_team(path)
        case Hold(path):
            reference.team(path).suspended = True
        case Release(path):
            reference.release(path)
        case Calls(path, verb, subject):
            reference.call(path, number, verb, subject)
    reference.settle()


def expected(script: Script) -> Result:
    """Return what the reference says comes of a script."""
    reference = Reference(script.tree, script.fails, script.ignores)
    if not reference.started:
        return Result(events=reference.events, answers={}, final={}, fate="not started")
    for number, deed in enumerate(script.deeds):
        do(reference, number, deed)
    for team in reference.teams():
        team.suspended = False
    reference.settle()
    fate = "alive" if reference.top.alive else f"exited:{reference.top.reason}"
    return Result(events=reference.events, answers=reference.answers, final=reference.final(), fate=fate)


def compose(seed: int, levels: int) -> tuple[Script, Result]:
    """Return a script of up to 15 deeds over a tree of so many levels, and what should come of it."""
    return Composer(seed, levels).compose()
