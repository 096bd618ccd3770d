"""A stage for the pure machine: children that are only counted, and a clock that is only a number.

It does what the shell does with a plan and checks on the way what must hold of
every plan: nobody is started twice or stopped when not running, every call is
answered once, and nothing runs when the supervisor has ended.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

from holdfast.runtime import SHUTDOWN, Actor, Crash, Outcome
from holdfast.supervisors import ChildSpec, Report, worker
from holdfast.supervisors.calls import answer_call
from holdfast.supervisors.machine import SupervisorMachine
from holdfast.supervisors.messages import Call
from holdfast.supervisors.plan import (
    DONE,
    BringBack,
    CancelRetry,
    ChildEnded,
    Drain,
    EndSupervisor,
    Failed,
    FailStart,
    FinishFullRestart,
    Forget,
    Ignored,
    Plan,
    Prepare,
    Refuse,
    RefuseStarted,
    Reply,
    ReplyStarted,
    Result,
    Retire,
    RetryDue,
    ScheduleRetry,
    ShareStopDeadline,
    Start,
    Started,
    Step,
    Stop,
    Stopped,
    StoppedTogether,
    StopTogether,
    SwitchOff,
    Tell,
)

R = TypeVar("R", bound=Report)

__all__ = ["CRASH", "Stage", "child"]

CRASH = Crash(RuntimeError("boom"))


def child(name: str, **spec: object) -> ChildSpec:
    """Return the spec of a child that is never run."""
    return worker(name, Actor, **spec)  # type: ignore[arg-type]


class Stage:
    """A machine, and the world that it believes in."""

    def __init__(self, spec: ChildSpec, *, root: bool = True, chance: float = 0.5) -> None:
        self.machine = SupervisorMachine(spec, spec.id, root=root)
        self.now = 0.0
        self.chance = chance
        self.events: list[str] = []
        self.reports: list[Report] = []
        self.answers: list[object] = []
        self.incarnations: Counter[str] = Counter()
        self.running: dict[str, int] = {}
        self.starts: Counter[str] = Counter()
        self.fails: dict[str, range | set[int]] = {}
        self.ignores: dict[str, range | set[int]] = {}
        self.stops_as: dict[str, Outcome | None] = {}
        self.start_takes: dict[str, float] = {}
        self.prepare_fails = 0
        self.queue: deque[RetryDue] = deque()
        self.timers: dict[str, tuple[float, RetryDue]] = {}
        self.late: list[ChildEnded] = []
        """Notices that a test holds back."""
        self.ended: Outcome | None = None
        self.failed_start: Exception | None = None

    # -- what a test does

    def boot(self) -> Stage:
        self.carry_out(self.machine.start())
        return self

    def end(self, name: str, outcome: Outcome = CRASH) -> list[str]:
        """Let a child end by itself and the machine hear of it; return what happened."""
        return self.hear(self.notice(name, outcome))

    def notice(self, name: str, outcome: Outcome = CRASH) -> ChildEnded:
        """Let a child end by itself; the notice is still on its way."""
        return ChildEnded(name, self.running.pop(name), outcome)

    def hear(self, fact: ChildEnded | RetryDue) -> list[str]:
        self.events.clear()
        self.carry_out(self.machine.decide(fact, self.now, self.chance))
        return self.take()

    def call(self, call: Call) -> object:
        """Ask the machine; return the answer, or the error it was refused with."""
        before = len(self.answers)
        self.carry_out(answer_call(self.machine, call, self.now))
        assert len(self.answers) == before + 1, f"{call} was answered {len(self.answers) - before} times"
        return self.answers[-1]

    def retry(self) -> list[str]:
        """Let the oldest queued retry have its turn."""
        return self.hear(self.queue.popleft())

    def wait(self, seconds: float) -> list[str]:
        """Let time pass, with the delayed retries that come due."""
        self.events.clear()
        until = self.now + seconds
        while self.timers and self.ended is None:
            due, fact = min(self.timers.values(), key=lambda timer: timer[0])
            if due > until:
                break
            self.now = max(self.now, due)
            del self.timers[fact.child]
            self.carry_out(self.machine.decide(fact, self.now, self.chance))
        self.now = max(self.now, until)
        return self.take()

    def take(self) -> list[str]:
        events, self.events = self.events, []
        return events

    def states(self) -> dict[str, str]:
        return {line.id: line.state.value for line in self.machine.children}

    def said(self, kind: type[R]) -> list[R]:
        return [report for report in self.reports if isinstance(report, kind)]

    # -- what the shell does

    def carry_out(self, plan: Plan) -> None:
        assert self.ended is None, "a supervisor that has ended decides nothing"
        self.reports += plan.reports
        steps = deque(plan.steps)
        while steps:
            step = steps.popleft()
            result = self._perform[type(step)](self, step)
            after = self.machine.settle(step, result, self.now, self.chance)
            self.reports += after.reports
            if after.replaces:
                steps.clear()
            steps.extendleft(reversed(after.steps))
        # The ledger may take a dead child for a running one, never the other way round (R35).
        if self.ended is None:
            assert {line.id for line in self.machine.children if line.running} >= set(self.running)

    def _start(self, step: Start) -> Result:
        name = step.child
        assert name not in self.running, f"{name} is started while it runs"
        self.starts[name] += 1
        self.incarnations[name] += 1
        self.now += self.start_takes.get(name, 0.0)
        if self.starts[name] in self.ignores.get(name, ()):
            self.events.append(f"?{name}")
            return Ignored()
        if self.starts[name] in self.fails.get(name, ()):
            self.events.append(f"!{name}")
            return Failed(RuntimeError(f"start {self.starts[name]}"))
        self.events.append(f"+{name}")
        self.running[name] = self.incarnations[name]
        return Started(self.incarnations[name])

    def _stop_one(self, name: str) -> Outcome | None:
        if name not in self.running:
            return CRASH  # it was dead, and its notice waits
        del self.running[name]
        self.events.append(f"-{name}")
        return self.stops_as.get(name, SHUTDOWN)

    def _stop(self, step: Stop) -> Result:
        assert self.machine.children[step.child].running, f"{step.child} is stopped and does not run"
        return Stopped(self._stop_one(step.child))

    def _stop_together(self, step: StopTogether) -> Result:
        return StoppedTogether({name: self._stop_one(name) for name in step.children})

    def _retire(self, step: Retire) -> Result:
        self.events.append(f"retire {step.child}")
        return DONE

    def _switch_off(self, step: SwitchOff) -> Result:
        assert step.child not in self.running, f"{step.child} runs and is switched off"
        self.events.append(f"off {step.child}")
        return DONE

    def _tell(self, step: Tell) -> Result:
        self.events.append(f"tell {step.child} {type(step.message).__name__}")
        return DONE

    def _forget(self, step: Forget) -> Result:
        self.events.append(f"forget {step.child}")
        self.timers.pop(step.child, None)
        return DONE

    def _schedule(self, step: ScheduleRetry) -> Result:
        fact = RetryDue(step.child, step.serial)
        if step.delay is None:
            self.queue.append(fact)
        else:
            self.timers[step.child] = (self.now + step.delay, fact)
            self.events.append(f"{step.child} in {step.delay:g}")
        return DONE

    def _cancel(self, step: CancelRetry) -> Result:
        self.timers.pop(step.child, None)
        return DONE

    def _prepare(self, _step: Prepare) -> Result:
        self.events.append("prepare")
        if self.prepare_fails:
            self.prepare_fails -= 1
            return Failed(RuntimeError("prepare"))
        return DONE

    def _drain(self, step: Drain) -> Result:
        self.events.append(f"drain {step.within:g}")
        return DONE

    def _deadline(self, step: ShareStopDeadline) -> Result:
        self.events.append(f"stop within {step.within:g}")
        return DONE

    def _bring_back(self, _step: BringBack) -> Result:
        return DONE

    def _finish(self, _step: FinishFullRestart) -> Result:
        self.events.append("finish")
        return DONE

    def _answer(self, step: Step) -> Result:
        match step:
            case Reply(value):
                self.answers.append(value)
            case ReplyStarted(name):
                self.answers.append(f"started {name}" if name in self.running else f"ignored {name}")
            case Refuse(error):
                self.answers.append(error)
            case RefuseStarted(name):
                self.answers.append(f"already started {name}")
            case _:
                raise AssertionError(step)
        return DONE

    def _fail_start(self, step: FailStart) -> Result:
        assert not self.running, "a failed start leaves nothing running"
        self.failed_start = step.error
        self.ended = CRASH
        return DONE

    def _end(self, step: EndSupervisor) -> Result:
        assert not self.running, "a supervisor that ends leaves no running child"
        self.ended = step.outcome
        return DONE

    _perform: dict[type[object], Callable[..., Result]] = {  # noqa: RUF012 - a table
        Start: _start,
        Stop: _stop,
        StopTogether: _stop_together,
        Retire: _retire,
        SwitchOff: _switch_off,
        Tell: _tell,
        Forget: _forget,
        ScheduleRetry: _schedule,
        CancelRetry: _cancel,
        Prepare: _prepare,
        Drain: _drain,
        ShareStopDeadline: _deadline,
        FinishFullRestart: _finish,
        BringBack: _bring_back,
        Reply: _answer,
        ReplyStarted: _answer,
        Refuse: _answer,
        RefuseStarted: _answer,
        FailStart: _fail_start,
        EndSupervisor: _end,
    }
