"""What holds for every supervisor, whatever happens to it: random trees, faults, calls and times."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import KILLED, NORMAL, SHUTDOWN, Backoff, Outcome
from holdfast.supervisors import (
    NEVER,
    PERMANENT,
    TEMPORARY,
    AutoShutdown,
    Budget,
    ChildSpec,
    FullRestart,
    RestartDecided,
    Strategy,
    dynamic,
    supervisor,
)
from holdfast.supervisors.child_spec import Restart
from holdfast.supervisors.messages import (
    DeleteChild,
    RestartAll,
    RestartChild,
    RestartPath,
    StartChild,
    StartInstance,
    TerminateChild,
)

ENDS: list[Outcome] = [NORMAL, SHUTDOWN, CRASH, KILLED]
OUTCOMES = st.sampled_from(ENDS)
PERIOD = 10.0


@st.composite
def groups(draw: st.DrawFn) -> ChildSpec:
    """A supervisor of up to four children, any strategy, with or without back-off and full restart."""
    strategy = draw(st.sampled_from(Strategy))
    auto_shutdown = draw(st.sampled_from(AutoShutdown))
    children: list[ChildSpec] = []
    for name in "abcd"[: draw(st.integers(1, 4))]:
        restart = draw(st.sampled_from(Restart))
        can_matter = restart is not PERMANENT and auto_shutdown is not NEVER
        children.append(child(name, restart=restart, significant=can_matter and draw(st.booleans())))
    backoff = Backoff(initial=0.5, cap=2.0, stable_after=3.0) if draw(st.booleans()) else None
    full = FullRestart() if strategy is Strategy.ONE_FOR_ALL and draw(st.booleans()) else None
    return supervisor(
        "top",
        *children,
        strategy=strategy,
        auto_shutdown=auto_shutdown,
        budget=Budget(draw(st.integers(0, 4)), PERIOD),
        backoff=backoff,
        full_restart=full,
        restart=draw(st.sampled_from(Restart)),
    )


def provoke(stage: Stage, data: st.DataObject) -> None:
    """Do one thing to the supervisor, or let it hear of one that was done before."""
    names = [line.id for line in stage.machine.children]
    any_name = st.sampled_from([*names, "nobody"])
    deeds: list[Callable[[], object]] = [
        lambda: stage.wait(data.draw(st.floats(0.0, 4.0))),
        lambda: stage.call(TerminateChild(data.draw(any_name))),
        lambda: stage.call(RestartChild(data.draw(any_name))),
        lambda: stage.call(DeleteChild(data.draw(any_name))),
        lambda: stage.call(RestartPath(data.draw(any_name))),
        lambda: stage.call(RestartAll()),
        lambda: stage.call(StartInstance()),
        lambda: stage.call(StartChild(child(data.draw(st.sampled_from("abxy"))))),
    ]
    if stage.running:
        victim = st.sampled_from(sorted(stage.running))
        deeds += [lambda: stage.end(data.draw(victim), data.draw(OUTCOMES))] * 4
        deeds += [lambda: stage.late.append(stage.notice(data.draw(victim), data.draw(OUTCOMES)))]
    if stage.late:
        deeds += [lambda: stage.hear(stage.late.pop(0))] * 3
    if stage.queue:
        deeds += [stage.retry] * 3
    data.draw(st.sampled_from(deeds))()


def live(spec: ChildSpec, data: st.DataObject) -> Stage:
    """Lead a supervisor through up to 25 provocations; `Stage` checks every plan on the way."""
    stage = Stage(spec, chance=data.draw(st.floats(0.0, 1.0, exclude_max=True)))
    bad = st.sets(st.integers(2, 12), max_size=4)
    stage.fails = {name: data.draw(bad) for name in "abcdxy"}
    stage.ignores = {name: data.draw(bad) for name in "abcdxy"}
    stage.boot()
    for _ in range(data.draw(st.integers(0, 25))):
        if stage.ended is not None:
            break
        provoke(stage, data)
    return stage


@given(st.data())
def test_no_window_ever_holds_more_attempts_than_the_intensity(data: st.DataObject) -> None:
    # R15, W1, W2
    spec = data.draw(groups())
    stage = live(spec, data)
    charges = [report.at for report in stage.said(RestartDecided)]

    assert spec.group is not None
    for start in charges:
        assert sum(0 <= t - start <= PERIOD for t in charges) <= spec.group.budget.intensity


@given(st.data())
def test_the_order_of_the_ledger_is_that_of_the_specs(data: st.DataObject) -> None:
    # R40: initial children first, in their order, then those added, unless deleted and added again
    spec = data.draw(groups())
    stage = live(spec, data)
    assert spec.group is not None
    initial = [line.id for line in stage.machine.children if not line.added]

    assert initial == [one.id for one in spec.group.children if one.id in set(initial)]


@given(st.data())
def test_a_temporary_child_is_never_stopped_or_restarting_it_is_there_or_gone(data: st.DataObject) -> None:
    # R5, R6, R8
    stage = live(data.draw(groups()), data)

    assert all(line.running for line in stage.machine.children if line.temporary and stage.ended is None)


@given(st.data())
def test_a_child_that_is_restarting_always_has_a_retry_on_its_way(data: st.DataObject) -> None:
    # R13: nobody is left restarting for ever
    stage = live(data.draw(groups()), data)
    coming = {fact.child for fact in stage.queue} | set(stage.timers)

    if stage.ended is None:
        assert {name for name, state in stage.states().items() if state == "restarting"} <= coming


@given(st.data())
def test_left_alone_with_starts_that_succeed_a_supervisor_recovers(data: st.DataObject) -> None:
    # R13, R14: whatever happened before, if nothing more happens it comes to rest
    stage = live(data.draw(groups()), data)
    stage.fails = {}
    stage.now += PERIOD + 1.0
    rounds = 0
    while stage.ended is None and (stage.queue or stage.timers):
        stage.wait(10.0)
        if stage.queue and stage.ended is None:
            stage.retry()
        rounds += 1
        assert rounds < 50

    assert stage.ended is not None or "restarting" not in stage.states().values()


@given(st.data())
def test_a_dynamic_supervisor_holds_exactly_who_runs_or_is_being_restarted(data: st.DataObject) -> None:
    # D4, D6
    restart = data.draw(st.sampled_from(Restart))
    stage = live(dynamic("pool", child("a", restart=restart), budget=Budget(5, PERIOD)), data)

    if stage.ended is None:
        assert "stopped" not in stage.states().values()
        if restart is TEMPORARY:
            assert "restarting" not in stage.states().values()
