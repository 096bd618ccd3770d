"""What Erlang's supervisor does, said a second time: a small model that shares nothing with the real machine.

Written from the rules (R1-R49) the way OTP works: processes, exit messages matched by
process, retries that a supervisor sends to itself and matches by id, and an inbox that is served
in order.  There is no time: every attempt counts against the intensity for ever.
It is validated against the recorded rows before it judges anybody.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterator, Mapping
from typing import Literal, TypeAlias

import attrs
from tests.conformance.plans import Leaf, Plan, TeamPlan

__all__ = ["Answer", "Reference", "Team"]

Answer: TypeAlias = object
Started: TypeAlias = "Process | Literal['ignore', 'error']"

ORDERLY = {"normal", "shutdown", "shutdown+info"}


@attrs.define(eq=False)
class Worker:
    """One run of a worker: what OTP calls a pid."""

    plan: Leaf
    attempt: int
    alive: bool = True


@attrs.define(eq=False)
class Line:
    """One child of a supervisor, in its list."""

    plan: Plan
    process: Process | None = None
    restarting: bool = False


@attrs.frozen
class Exit:
    """The notice that a process has ended by itself."""

    process: Process
    reason: str


@attrs.frozen
class Retry:
    """A supervisor's message to itself; it names the child by its id (R39)."""

    id: str


@attrs.frozen
class Call:
    """A call that waits for its answer under a number."""

    number: int
    verb: str
    subject: Plan | str


@attrs.define(eq=False)
class Team:
    """One run of a supervisor."""

    plan: TeamPlan
    world: Reference
    parent: Team | None
    lines: list[Line] = attrs.field(factory=list[Line])
    inbox: deque[Exit | Retry | Call] = attrs.field(factory=deque[Exit | Retry | Call])
    attempts: int = 0
    suspended: bool = False
    alive: bool = True
    reason: str | None = None

    @property
    def path(self) -> str:
        return self.plan.id if self.parent is None else f"{self.parent.path}/{self.plan.id}"

    # -- starting and stopping

    def boot(self) -> bool:
        """Start everybody in order; when one cannot, stop who runs and fail (R1-R3)."""
        for plan in self.plan.children:
            line = Line(plan)
            started = self.start(plan)
            if started == "error":
                self.stop_children(list(self.lines))
                self.alive = False
                return False
            if started != "ignore":
                line.process = started
            elif plan.restart == "temporary":
                continue
            self.lines.append(line)
        return True

    def start(self, plan: Plan) -> Started:
        if isinstance(plan, Leaf):
            return self.world.start_worker(plan)
        team = Team(plan, self.world, self)
        return team if team.boot() else "error"

    def stop_children(self, lines: list[Line]) -> None:
        """Stop these in reverse order; temporary ones are forgotten (R8)."""
        for line in reversed(lines):
            self.stop_process(line)
            line.process, line.restarting = None, False
            if line.plan.restart == "temporary" and line in self.lines:
                self.lines.remove(line)

    def stop_process(self, line: Line) -> None:
        process = line.process
        if process is None:
            return
        if process.alive:
            process.alive = False
            if isinstance(process, Team):
                process.stop_children(list(process.lines))
                process.leave_callers()
            elif not process.plan.kill:
                self.world.events.append(f"-{process.plan.id}:shutdown")
        # Whoever stops a child takes the notice of its death out of the inbox (R10, R34).
        absorbed = [item for item in self.inbox if isinstance(item, Exit) and item.process is process]
        for item in absorbed:
            self.inbox.remove(item)

    def end(self, reason: str) -> None:
        """End by oneself: everybody is stopped first (R16, R26)."""
        self.stop_children(list(self.lines))
        self.alive, self.reason = False, reason
        self.leave_callers()
        if self.parent is not None:
            self.parent.inbox.append(Exit(self, reason))

    def leave_callers(self) -> None:
        """Calls that wait when the supervisor ends raise and have no effect (R44)."""
        for item in self.inbox:
            if isinstance(item, Call):
                self.world.answers[item.number] = "ok" if item.verb == "stop" else "gone"
        self.inbox.clear()

    # -- one message after another (R11)

    def serve(self) -> None:
        item = self.inbox.popleft()
        if isinstance(item, Exit):
            line = next((line for line in self.lines if line.process is item.process), None)
            if line is not None:  # else a stranger's (R12)
                self.child_ended(line, item.reason)
        elif isinstance(item, Retry):
            line = self.find(item.id)
            if line is not None and line.restarting:  # else void (R14)
                self.restart(line)
        elif item.verb == "stop":
            self.world.answers[item.number] = "ok"
            self.end("shutdown")
        else:
            self.world.answers[item.number] = self.answer(item)

    def find(self, id: str) -> Line | None:  # noqa: A002 - the domain's word
        return next((line for line in self.lines if line.plan.id == id), None)

    def child_ended(self, line: Line, reason: str) -> None:
        kind = line.plan.restart
        if kind == "permanent" or (kind == "transient" and reason not in ORDERLY):
            self.restart(line)
            return
        line.process = None
        if kind == "temporary":
            self.lines.remove(line)
        if line.plan.significant and self.shuts_down():
            self.end("shutdown")

    def shuts_down(self) -> bool:
        """R25: a dead child whose notice waits counts as running (R35)."""
        if self.plan.auto_shutdown != "all_significant":
            return self.plan.auto_shutdown == "any_significant"
        return not any(
            line.plan.significant and (line.process is not None or line.restarting) for line in self.lines
        )

    def restart(self, line: Line) -> None:
        """Charge, then the whole rule with this child as its trigger (R7, R14-R16)."""
        self.attempts += 1
        line.process, line.restarting = None, False
        if self.attempts > self.plan.intensity:
            self.end("shutdown")
            return
        group = self.group_of(line)
        self.stop_children(group)
        for member in [member for member in group if member in self.lines]:
            started = self.start(member.plan)
            if started == "error":
                member.restarting = True
                self.inbox.append(Retry(member.plan.id))
                return
            member.process = None if started == "ignore" else started

    def group_of(self, line: Line) -> list[Line]:
        if self.plan.strategy == "one_for_one":
            return [line]
        first = 0 if self.plan.strategy == "one_for_all" else self.lines.index(line)
        return self.lines[first:]

    # -- calls (R28-R33)

    def answer(self, call: Call) -> Answer:
        if call.verb == "which":
            return tuple((line.plan.id, state_of(line)) for line in self.lines)
        if call.verb == "count":
            return self.counts()
        if isinstance(call.subject, str):
            line = self.find(call.subject)
            return "not_found" if line is None else getattr(self, call.verb)(line)
        return self.start_child(call.subject)

    def counts(self) -> tuple[int, int, int, int]:
        teams = sum(isinstance(line.plan, TeamPlan) for line in self.lines)
        active = sum(line.process is not None and line.process.alive for line in self.lines)
        return (len(self.lines), active, teams, len(self.lines) - teams)

    def start_child(self, plan: Plan) -> Answer:
        if plan.significant and (self.plan.auto_shutdown == "never" or plan.restart == "permanent"):
            return "refused"  # before the id is looked up (R43)
        known = self.find(plan.id)
        if known is not None:
            return "already_started" if known.process is not None else "already_present"
        started = self.start(plan)
        if started == "error":
            return "error"
        if started == "ignore":
            if plan.restart != "temporary":
                self.lines.append(Line(plan))
            return "ok:nothing"
        self.lines.append(Line(plan, started))
        return "ok"

    def terminate_child(self, line: Line) -> Answer:
        self.stop_children([line])
        return "ok"

    def restart_child(self, line: Line) -> Answer:
        if (refusal := refusal_unless_stopped(line)) is not None:
            return refusal
        started = self.start(line.plan)
        if started in {"error", "ignore"}:
            return "error" if started == "error" else "ok:nothing"
        assert not isinstance(started, str)
        line.process = started
        return "ok"

    def delete_child(self, line: Line) -> Answer:
        if (refusal := refusal_unless_stopped(line)) is not None:
            return refusal
        self.lines.remove(line)
        return "ok"


Process: TypeAlias = Worker | Team


def refusal_unless_stopped(line: Line) -> str | None:
    if line.restarting:
        return "restarting"
    return "running" if line.process is not None else None


def state_of(line: Line) -> str:
    return refusal_unless_stopped(line) or "stopped"


class Reference:
    """A tree of supervisors and workers, and what happens in it."""

    def __init__(
        self,
        plan: TeamPlan,
        fails: Mapping[str, Container[int]] | None = None,
        ignores: Mapping[str, Container[int]] | None = None,
    ) -> None:
        self.events: list[str] = []
        self.answers: dict[int, Answer] = {}
        self.starts: Counter[str] = Counter()
        self._fails = fails or {}
        self._ignores = ignores or {}
        self.top = Team(plan, self, None)
        self.started = self.top.boot()

    def start_worker(self, plan: Leaf) -> Started:
        self.starts[plan.id] += 1
        attempt = self.starts[plan.id]
        if attempt in self._ignores.get(plan.id, ()):
            self.events.append(f"?{plan.id}")
            return "ignore"
        if attempt in self._fails.get(plan.id, ()):
            self.events.append(f"!{plan.id}")
            return "error"
        self.events.append(f"+{plan.id}")
        return Worker(plan, attempt)

    # -- what a script does

    def fault(self, id: str, reason: str) -> None:  # noqa: A002
        """Let a running worker end by itself, or be killed, which leaves no event of its own."""
        team, worker = next((team, worker) for team, worker in self.workers() if worker.plan.id == id)
        worker.alive = False
        if reason != "killed":
            self.events.append(f"-{id}:{reason}")
        team.inbox.append(Exit(worker, reason))

    def kill_team(self, path: str) -> None:
        """Kill a supervisor: its children end with it, without a word (R23)."""
        team = self.team(path)
        for line in team.lines:
            if isinstance(line.process, Team) and line.process.alive:
                self.kill_team(line.process.path)
            elif line.process is not None:
                line.process.alive = False
        team.alive, team.reason = False, "killed"
        team.leave_callers()
        if team.parent is not None and team.parent.alive:
            team.parent.inbox.append(Exit(team, "killed"))

    def call(self, path: str, number: int, verb: str, subject: Plan | str) -> None:
        self.team(path).inbox.append(Call(number, verb, subject))

    def release(self, path: str) -> None:
        """Let a supervisor go on, if it is still there."""
        for team in self.teams():
            team.suspended = team.suspended and team.path != path

    def settle(self) -> None:
        """Serve every inbox that may be served, those at the leaves first."""
        while ready := [team for team in self.teams() if team.inbox and not team.suspended]:
            ready[-1].serve()

    # -- what there is

    def teams(self) -> list[Team]:
        """Return the supervisors that run, parents first."""
        return list(_teams_below(self.top)) if self.started else []

    def team(self, path: str) -> Team:
        return next(team for team in self.teams() if team.path == path)

    def workers(self) -> list[tuple[Team, Worker]]:
        """Return the workers that run, each with its supervisor."""
        return [
            (team, line.process)
            for team in self.teams()
            for line in team.lines
            if isinstance(line.process, Worker) and line.process.alive
        ]

    def final(self) -> dict[str, object]:
        """Return every child of a running supervisor: which attempt of it runs, or its state."""
        states: dict[str, object] = {}
        for team in self.teams():
            for line in team.lines:
                runs = line.process if isinstance(line.process, Worker) and line.process.alive else None
                states[f"{team.path}/{line.plan.id}"] = state_of(line) if runs is None else runs.attempt
        return states


def _teams_below(team: Team) -> Iterator[Team]:
    if team.alive:
        yield team
        for line in team.lines:
            if isinstance(line.process, Team):
                yield from _teams_below(line.process)
