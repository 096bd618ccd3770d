from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.runtime import Actor, Backoff, InvalidName
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ANY_SIGNIFICANT,
    DEGRADE,
    ESCALATE,
    FOREVER,
    KILL,
    NEVER,
    ONE_FOR_ALL,
    PERMANENT,
    STOP,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    Budget,
    ChildSpec,
    FullRestart,
    InvalidSpec,
    Kind,
    Restart,
    dynamic,
    supervisor,
    template,
    worker,
)
from holdfast.supervisors.dependencies import start_order


def test_a_minimal_worker_is_permanent_with_five_seconds_to_stop() -> None:
    # 3.3 case 13
    spec = worker("a", Actor)

    assert (spec.restart, spec.shutdown, spec.kind, spec.significant) == (PERMANENT, 5.0, Kind.WORKER, False)
    assert spec.on_give_up is ESCALATE


def test_a_minimal_supervisor_waits_for_ever_when_it_is_stopped() -> None:
    # 3.3 case 13
    spec = supervisor("a")

    assert (spec.restart, spec.shutdown, spec.kind) == (PERMANENT, FOREVER, Kind.SUPERVISOR)
    assert spec.group is not None
    assert spec.group.budget == Budget(3, 5.0)


@pytest.mark.parametrize("restart,shutdown", list(itertools.product(Restart, [KILL, 0, 0.5, FOREVER])))
def test_every_valid_combination_of_restart_and_shutdown_passes(restart: Restart, shutdown: Any) -> None:
    # 3.3 case 26; a shutdown of 0 is valid
    assert worker("a", Actor, restart=restart, shutdown=shutdown).shutdown == shutdown


@pytest.mark.parametrize(
    "fields,wanted",
    [
        ({"factory": "no callable"}, "factory is a callable"),
        ({"factory": None}, "factory is a callable"),
        ({"restart": "permanent"}, "restart is one of PERMANENT, TRANSIENT, TEMPORARY"),
        ({"shutdown": -1}, "shutdown is KILL, FOREVER or seconds"),
        ({"shutdown": math.inf}, "shutdown is KILL, FOREVER or seconds"),
        ({"shutdown": math.nan}, "shutdown is KILL, FOREVER or seconds"),
        ({"shutdown": "5"}, "shutdown is KILL, FOREVER or seconds"),
        ({"shutdown": True}, "shutdown is KILL, FOREVER or seconds"),
        ({"significant": 1}, "significant is True or False"),
        ({"depends_on": "config"}, "depends_on is a sequence of names"),
        ({"depends_on": [3]}, "depends_on is a sequence of names"),
        ({"depends_on": [""]}, "depends_on is a sequence of names"),
        ({"exclusive": "port"}, "exclusive is a sequence of names"),
        ({"start_timeout": 0}, "start_timeout is a finite number"),
        ({"start_timeout": math.inf}, "start_timeout is a finite number"),
        ({"start_timeout": None}, "a worker has a start_timeout"),
        ({"on_give_up": "stop"}, "on_give_up is one of ESCALATE, STOP, DEGRADE"),
        ({"budget": 3, "on_give_up": STOP}, "budget is a Budget"),
    ],
)
def test_a_field_that_is_wrong_is_refused_with_what_was_wanted(fields: dict[str, Any], wanted: str) -> None:
    # R4, 3.3 cases 15, 26, 27
    with pytest.raises(InvalidSpec, match=wanted) as refused:
        refused_fields: dict[str, Any] = {"id": "a", "factory": Actor, **fields}
        worker(**refused_fields)

    assert "child 'a'" in str(refused.value)


@pytest.mark.parametrize("name", ["", "a/b", " a", "é", "x" * 101, 7])
def test_an_id_that_cannot_be_part_of_a_path_is_refused(name: Any) -> None:
    # R4
    with pytest.raises(InvalidName):
        worker(name, Actor)


@pytest.mark.parametrize(
    "significant,restart,auto_shutdown",
    list(itertools.product([False, True], Restart, AutoShutdown)),
)
def test_significance_is_refused_exactly_where_it_means_nothing(
    significant: bool, restart: Restart, auto_shutdown: AutoShutdown
) -> None:
    # R27, 3.3 case 27: the full matrix
    def declare() -> ChildSpec:
        child = worker("a", Actor, restart=restart, significant=significant)
        return supervisor("top", child, auto_shutdown=auto_shutdown)

    if significant and (restart is PERMANENT or auto_shutdown is NEVER):
        with pytest.raises(InvalidSpec, match="significant"):
            declare()
    else:
        declare()


def test_a_significant_child_of_a_dynamic_supervisor_is_refused() -> None:
    # R27, 3.3 case 74, D1
    child = ChildSpec(id="a", factory=Actor, restart=TRANSIENT, significant=True)

    with pytest.raises(InvalidSpec, match="never significant"):
        dynamic("pool", child)


@pytest.mark.parametrize(
    "fields,wanted",
    [
        ({"on_give_up": STOP, "restart": TEMPORARY}, "needs a child that is restarted"),
        ({"on_give_up": DEGRADE, "restart": TEMPORARY}, "needs a child that is restarted"),
        ({"budget": Budget(1, 1.0), "restart": TEMPORARY}, "needs a child that is restarted"),
        ({"probing": Backoff()}, "probing needs on_give_up=DEGRADE"),
        ({"depends_on": ["a"]}, "does not depend on itself"),
    ],
)
def test_a_combination_without_effect_is_refused(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(InvalidSpec, match=wanted):
        worker("a", Actor, **fields)


@pytest.mark.parametrize(
    "options,wanted",
    [
        ({"strategy": "one_for_one"}, "strategy is one of"),
        ({"auto_shutdown": "never"}, "auto_shutdown is one of"),
        ({"budget": (3, 5)}, "budget is a Budget"),
        ({"backoff": 1.0}, "backoff is a Backoff"),
        ({"give_up_as": "crash"}, "give_up_as is 'gave_up' or 'shutdown'"),
        ({"strict": 1}, "strict is True or False"),
        ({"full_restart": True, "strategy": ONE_FOR_ALL}, "full_restart is a FullRestart"),
        ({"full_restart": FullRestart()}, "full_restart needs strategy=ONE_FOR_ALL"),
    ],
)
def test_a_wrong_option_of_a_supervisor_is_refused(options: dict[str, Any], wanted: str) -> None:
    # 3.3 case 28
    with pytest.raises(InvalidSpec, match=wanted):
        supervisor("top", worker("a", Actor), **options)


@pytest.mark.parametrize(
    "options,wanted",
    [
        ({"max_children": -1}, "max_children is a whole number"),
        ({"max_children": 1.5}, "max_children is a whole number"),
        ({"budget": None}, "budget is a Budget"),
    ],
)
def test_a_wrong_option_of_a_dynamic_supervisor_is_refused(options: dict[str, Any], wanted: str) -> None:
    # D1
    with pytest.raises(InvalidSpec, match=wanted):
        dynamic("pool", template("a", Actor), **options)


@pytest.mark.parametrize(
    "field,seconds", list(itertools.product(["drain", "stop", "prepare"], [-1, math.inf, "5"]))
)
def test_a_limit_of_the_full_restart_that_is_no_time_is_refused(field: str, seconds: Any) -> None:
    with pytest.raises(InvalidSpec, match=f"{field} is a finite number"):
        FullRestart(**{field: seconds})


def test_a_hook_of_the_full_restart_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="before_start is an async callable"):
        FullRestart(before_start="reload")  # type: ignore[arg-type]


def test_what_is_no_spec_is_refused_as_a_child() -> None:
    with pytest.raises(InvalidSpec, match="children are made by worker"):
        supervisor("top", Actor)  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="template is made by"):
        dynamic("pool", Actor)  # type: ignore[arg-type]


def test_two_children_with_one_id_are_refused() -> None:
    # R4, 3.3 case 26
    with pytest.raises(InvalidSpec, match=r"ids of children are unique; got \['b'\]"):
        supervisor("top", worker("a", Actor), worker("b", Actor), worker("b", Actor))


def test_a_dependency_that_no_sibling_has_is_refused() -> None:
    # Beyond OTP 3
    with pytest.raises(InvalidSpec, match="depends_on names siblings; got 'store'"):
        supervisor("top", worker("a", Actor, depends_on=["store"]))


def test_a_circle_of_dependencies_is_refused_and_shown() -> None:
    # Beyond OTP 3
    with pytest.raises(InvalidSpec, match="dependencies have no circle; got 'a -> c -> b -> a'"):
        supervisor(
            "top",
            worker("free", Actor, depends_on=["a"]),
            worker("a", Actor, depends_on=["c"]),
            worker("b", Actor, depends_on=["a"]),
            worker("c", Actor, depends_on=["b"]),
        )


def test_a_dynamic_child_cannot_depend_on_anyone() -> None:
    with pytest.raises(InvalidSpec, match="depend on nobody"):
        dynamic("pool", worker("a", Actor, depends_on=["b"]))


def test_children_without_dependencies_start_as_they_are_written() -> None:
    # R1, 3.3 case 88: never in the order of their ids
    specs = [worker(name, Actor) for name in ("m", "a", "z", "c")]

    assert start_order(specs) == tuple(specs)


@given(st.data())
def test_the_start_order_is_stable_and_puts_dependencies_first(data: st.DataObject) -> None:
    # Beyond OTP 3
    count = data.draw(st.integers(1, 8))
    hidden = data.draw(st.permutations(range(count)))
    depends: dict[int, list[int]] = {
        child: data.draw(st.lists(st.sampled_from(hidden[:place]), unique=True)) if place else []
        for place, child in enumerate(hidden)
    }
    specs = [worker(f"c{n}", Actor, depends_on=[f"c{d}" for d in depends[n]]) for n in range(count)]

    ordered = [int(spec.id[1:]) for spec in start_order(specs)]

    assert sorted(ordered) == list(range(count))
    for place, child in enumerate(ordered):
        started = set(ordered[:place])
        assert started.issuperset(depends[child])
        # Stable: whoever was written earlier and could start too has started.
        assert all(other in started for other in range(child) if started.issuperset(depends[other]))


def test_a_backoff_is_taken_as_it_is() -> None:
    backoff = Backoff(initial=1.0, cap=8.0)
    spec = supervisor("top", backoff=backoff, auto_shutdown=ALL_SIGNIFICANT)

    assert spec.group is not None
    assert spec.group.backoff is backoff
    assert spec.group.auto_shutdown is not ANY_SIGNIFICANT
