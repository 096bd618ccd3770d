"""A second model of back-off, written from the rules and nothing else (SEMANTICS, Beyond OTP 2).

It knows no plans, steps or serials: names with a state, when each that waits is
due, how far each delay has grown, and since when nobody needed one.  Scripts are
played on it and on the real thing; both must tell the same.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal, TypeAlias

import attrs

from holdfast.runtime import Backoff

__all__ = ["BACKOFF", "OTHER", "Always", "Deed", "Delays", "Kind", "script"]

Kind: TypeAlias = Literal["one_for_one", "rest_for_one", "one_for_all", "dynamic"]
Deed: TypeAlias = tuple[str, str]
"""What is done, and to whom or (`wait`) for how many seconds."""

BACKOFF = Backoff(initial=1.0, multiplier=2.0, cap=8.0, stable_after=10.0)
OTHER = Backoff(initial=3.0, multiplier=1.5, cap=5.0, stable_after=4.0)

# Deaths and time are what delays are made of; a stop ends the script.
_DEEDS: dict[str, int] = {
    "die": 8,
    "wait": 8,
    "terminate": 2,
    "restart_child": 3,
    "delete": 1,
    "restart": 1,
    "start": 1,
    "which": 1,
    "count": 1,
    "reconfigure": 1,
    "stop": 1,
}


class Always(random.Random):
    """Draws that are always the same."""

    def __init__(self, draw: float) -> None:
        super().__init__()
        self._draw = draw

    def random(self) -> float:
        return self._draw


def script(draw: random.Random, kind: Kind) -> list[Deed]:
    """Return up to 20 deeds; those for which somebody is needed name anybody at all."""
    names = ["p-1", "p-2", "p-3"] if kind == "dynamic" else ["a", "b", "c", "x"]
    deeds = draw.choices(list(_DEEDS), list(_DEEDS.values()), k=draw.randint(3, 20))
    # Off the grid of the delays, so that nothing is done at the moment when something is due.
    seconds = (0.03, 0.28, 1.03, 3.03, 9.03, 12.03)
    return [(deed, str(draw.choice(seconds)) if deed == "wait" else draw.choice(names)) for deed in deeds]


@attrs.define
class Delays:
    """A supervisor with back-off, as the rules describe it."""

    kind: Kind
    chance: float
    intensity: int
    period: float
    fails: dict[str, set[int]] = attrs.field(factory=dict[str, set[int]])
    start_takes: dict[str, float] = attrs.field(factory=dict[str, float])
    backoff: Backoff = BACKOFF
    now: float = 0.0
    states: dict[str, str] = attrs.field(factory=dict[str, str])
    due: dict[str, float] = attrs.field(factory=dict[str, float])
    grown: Counter[str] = attrs.field(factory=Counter[str])
    up_since: dict[str, float] = attrs.field(factory=dict[str, float])
    attempts: list[float] = attrs.field(factory=list[float])
    starts: Counter[str] = attrs.field(factory=Counter[str])
    events: list[str] = attrs.field(factory=list[str])
    answer: object = None
    ended: bool = False
    _instances: int = 0

    def boot(self) -> None:
        for name in "" if self.kind == "dynamic" else "abc":
            self._start(name)
        if self.kind == "dynamic":
            for _ in range(3):
                self.do(("start", ""))
        self.events.clear()

    def do(self, deed: Deed) -> list[str]:
        """Do it, and return what happened; the answer to a call is in `answer`."""
        verb, whom = deed
        self.answer = None
        self._deeds[verb](self, whom)
        events, self.events = self.events, []
        return events

    # -- the rules

    def _group(self, name: str) -> list[str]:
        names = list(self.states)
        if self.kind == "one_for_all":
            return names
        return names[names.index(name) :] if self.kind == "rest_for_one" else [name]

    def _key(self, name: str) -> str:
        """Whose delay it is: a group is restarted as one, and has one."""
        return "group" if self.kind in {"rest_for_one", "one_for_all"} else name

    def _start(self, name: str) -> bool:
        self.starts[name] += 1
        self.now += self.start_takes.get(name, 0.0)
        good = self.starts[name] not in self.fails.get(name, ())
        self.states[name] = "running" if good else "stopped"
        self.events.append(f"{'+' if good else '!'}{name}")
        return good

    def _stop(self, names: list[str]) -> None:
        """Nobody of these runs or waits any more."""
        for name in reversed(names):
            if self.states[name] == "running":
                self.events.append(f"-{name}")
            self.states[name] = "stopped"
            self.due.pop(name, None)

    def _settle_stability(self, key: str) -> None:
        since = self.up_since.pop(key, None)
        if since is not None and self.now - since >= self.backoff.stable_after:
            self.grown[key] = 0

    def _delay(self, name: str) -> None:
        key = self._key(name)
        ceiling = min(self.backoff.cap, self.backoff.initial * self.backoff.multiplier ** self.grown[key])
        self.grown[key] += 1
        self.up_since.pop(key, None)
        self._stop(self._group(name))
        self.states[name] = "restarting"
        self.due[name] = self.now + ceiling * self.chance

    def _start_group(self, name: str) -> None:
        group = self._group(name)
        self._stop(group)
        for member in group:
            if not self._start(member):
                self._delay(member)
                return
            self.up_since[self._key(member)] = self.now

    def _attempt(self, name: str) -> None:
        """Charge it now, not before (R15); one too many ends the supervisor (R16)."""
        counting = sum(self.now - at <= self.period for at in self.attempts)
        if counting >= self.intensity:
            del self.states[name], self.due[name]
            self._end("")
            return
        self.attempts.append(self.now)
        self._start_group(name)

    # -- the deeds

    def _end(self, _whom: str) -> None:
        self._stop(list(self.states))
        self.ended = True

    def _wait(self, seconds: str) -> None:
        until = self.now + float(seconds)
        while self.due and not self.ended:
            name = min(self.due, key=self.due.__getitem__)
            if self.due[name] > until:
                break
            self.now = max(self.now, self.due[name])
            self._attempt(name)
        self.now = max(self.now, until)

    def _die(self, name: str) -> None:
        if self.states.get(name) != "running":
            return
        self.states[name] = "stopped"
        self._settle_stability(self._key(name))
        self._delay(name)

    def _started_by_a_call(self, name: str) -> None:
        good = self._start(name)
        group_waits = self._key(name) == "group" and "restarting" in self.states.values()
        if good and not group_waits:
            self.up_since.setdefault(self._key(name), self.now)

    def _terminate(self, name: str) -> None:
        if name not in self.states:
            self.answer = "NoSuchChild"
            return
        self._stop([name])
        if self.kind == "dynamic":
            del self.states[name]

    def _restart_child(self, name: str) -> None:
        if self.kind == "dynamic":
            self.answer = "NotForDynamic"
            return
        refusals = {None: "NoSuchChild", "running": "ChildRunning", "restarting": "ChildRestarting"}
        self.answer = refusals.get(self.states.get(name))
        if self.answer is None:
            self._started_by_a_call(name)
            self.answer = None if self.states[name] == "running" else "ChildStartFailed"

    def _delete(self, name: str) -> None:
        if self.kind == "dynamic":
            self.answer = "NotForDynamic"
            return
        refusals = {None: "NoSuchChild", "running": "ChildRunning", "restarting": "ChildRestarting"}
        self.answer = refusals.get(self.states.get(name))
        if self.answer is None:
            self._forget(name)

    def _forget(self, name: str) -> None:
        del self.states[name]
        if self._key(name) == name:
            self.grown.pop(name, None)
            self.up_since.pop(name, None)

    def _restart(self, name: str) -> None:
        if name not in self.states:
            self.answer = "NoSuchChild"
            return
        self._settle_stability(self._key(name))
        self._start_group(name)
        self.answer = "ChildStartFailed" if any(event[0] == "!" for event in self.events) else None

    def _start_child(self, name: str) -> None:
        if self.kind == "dynamic":
            self._instances += 1
            name = f"p-{self._instances}"
        elif name in self.states:
            self.answer = "AlreadyStarted" if self.states[name] == "running" else "AlreadyPresent"
            return
        self._started_by_a_call(name)
        if self.states[name] == "stopped":
            self._forget(name)
            self.answer = "ChildStartFailed"

    def _reconfigure(self, _whom: str) -> None:
        """Other numbers: a delay that has begun is waited out, the next one is the first of the new ones."""
        self.backoff = OTHER if self.backoff is BACKOFF else BACKOFF
        self.grown.clear()
        self.up_since.clear()
        if self.kind != "dynamic":
            self.states = {name: self.states.get(name, "stopped") for name in "abc"} | self.states

    def _look(self, _whom: str) -> None:
        pass

    _deeds = {  # noqa: RUF012 - a table
        "wait": _wait,
        "die": _die,
        "terminate": _terminate,
        "restart_child": _restart_child,
        "delete": _delete,
        "restart": _restart,
        "start": _start_child,
        "reconfigure": _reconfigure,
        "which": _look,
        "count": _look,
        "stop": _end,
    }
