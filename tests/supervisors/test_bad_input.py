"""Every field and every combination that is wrong is refused where it is written: R4, R27.

One row for each field and wrong value: the message names whose it is, what was wanted, and what came.
"""

from __future__ import annotations

import functools
import math
from typing import Any, TypeAlias

import pytest

from holdfast.runtime import (
    Actor,
    Backoff,
    InvalidBackoff,
    InvalidSystem,
    InvalidTimeout,
    StartFailed,
    open_system,
)
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    DEGRADE,
    ONE_FOR_ALL,
    STOP,
    TEMPORARY,
    TRANSIENT,
    Budget,
    ChildSpec,
    ContradictoryTree,
    DynamicHandle,
    FullRestart,
    InvalidSpec,
    Readiness,
    SupervisorHandle,
    TaskSupervisorHandle,
    dynamic,
    start_tree,
    supervisor,
    task_supervisor,
    template,
    worker,
)
from holdfast.supervisors.child_spec import Group

NO_NUMBERS: list[object] = [None, "5", True, math.nan, math.inf, -1, [5], 1j]
NO_NAMES: list[object] = ["config", [3], [""], [None], None, 3]
NO_WORDS: list[object] = [None, "permanent", 1, True]
NO_VALUES: list[object] = [3, "x", True, (3, 5)]
NO_CALLABLES: list[object] = ["Actor", 3]
NO_BOOLS: list[object] = [None, 1, 0, "yes"]


async def ready(_ref: object) -> bool:
    return True


def make_worker(**fields: Any) -> object:
    given: dict[str, Any] = {"id": "a", "factory": Actor, **fields}
    return worker(**given)


def make_template(**fields: Any) -> object:
    given: dict[str, Any] = {"id": "a", "factory": Actor, **fields}
    return template(**given)


def make_supervisor(**options: Any) -> object:
    return supervisor("top", worker("a", Actor), **options)


def make_dynamic(**options: Any) -> object:
    return dynamic("pool", template("a", Actor), **options)


def make_readiness(**fields: Any) -> object:
    given: dict[str, Any] = {"check": ready, **fields}
    return Readiness(**given)


Table: TypeAlias = list[tuple[str, str, list[object]]]

CHILD: Table = [
    ("factory", "factory is a callable that makes the actor", [*NO_CALLABLES, None]),
    ("restart", "restart is one of PERMANENT, TRANSIENT, TEMPORARY", NO_WORDS),
    ("shutdown", "shutdown is KILL, FOREVER or seconds of 0 or more", NO_NUMBERS),
    ("start_timeout", "start_timeout", [*NO_NUMBERS, 0]),
    ("ready", "ready is a Readiness", [*NO_VALUES, ready]),
    ("on_give_up", "on_give_up is one of ESCALATE, STOP, DEGRADE", NO_WORDS),
    ("budget", "budget is a Budget", NO_VALUES),
    ("probing", "probing is a Backoff", NO_VALUES),
    ("exclusive", "exclusive is a sequence of names", NO_NAMES),
]
STATIC: Table = [
    ("significant", "significant is True or False", NO_BOOLS),
    ("depends_on", "depends_on is a sequence of names", NO_NAMES),
]
COMMON: Table = [
    ("budget", "budget is a Budget", [None, *NO_VALUES]),
    ("backoff", "backoff is a Backoff or None", NO_VALUES),
    ("give_up_as", "give_up_as is 'gave_up' or 'shutdown'", [None, "crash", 3, []]),
    ("restart", "restart is one of", NO_WORDS),
    ("shutdown", "shutdown is KILL, FOREVER or seconds", NO_NUMBERS),
    ("significant", "significant is True or False", NO_BOOLS),
    ("depends_on", "depends_on is a sequence of names", NO_NAMES),
    ("on_give_up", "on_give_up is one of", NO_WORDS),
    ("own_budget", "budget is a Budget", NO_VALUES),
    ("probing", "probing is a Backoff", NO_VALUES),
]
GROUP: Table = [
    ("strategy", "strategy is one of ONE_FOR_ONE, REST_FOR_ONE, ONE_FOR_ALL", NO_WORDS),
    ("auto_shutdown", "auto_shutdown is one of NEVER, ANY_SIGNIFICANT, ALL_SIGNIFICANT", NO_WORDS),
    ("strict", "strict is True or False", NO_BOOLS),
    ("full_restart", "full_restart is a FullRestart", NO_VALUES),
    ("start_timeout", "start_timeout is a finite number of seconds above 0", [*NO_NUMBERS[1:], 0]),
]
POOL: Table = [
    ("max_children", "max_children is a whole number of 0 or more", ["5", True, 1.5, -1, math.nan])
]
BUDGET: Table = [
    ("intensity", "intensity is a whole number of 0 or more", [*NO_NUMBERS, 1.5]),
    ("period", "period is a finite number of seconds above 0", [*NO_NUMBERS, 0]),
]
FULL: Table = [
    ("drain", "drain is a finite number of seconds of 0 or more", NO_NUMBERS),
    ("stop", "stop is a finite number of seconds of 0 or more", NO_NUMBERS),
    ("prepare", "prepare is a finite number of seconds of 0 or more", NO_NUMBERS),
    ("before_start", "before_start is an async callable", NO_CALLABLES),
]
READINESS: Table = [
    ("check", "check is an async callable that takes the child's ref", [*NO_CALLABLES, None]),
    ("timeout", "timeout is a finite number of seconds above 0", [*NO_NUMBERS, 0]),
]
BACKOFF: Table = [(field, field, NO_NUMBERS) for field in ("initial", "multiplier", "cap", "stable_after")]

MAKERS: list[tuple[Any, Table]] = [
    (make_worker, CHILD + STATIC),
    (make_template, CHILD),
    (make_supervisor, COMMON + GROUP),
    (make_dynamic, COMMON + POOL),
    (Budget, BUDGET),
    (FullRestart, FULL),
    (make_readiness, READINESS),
    (Backoff, BACKOFF),
]


def _shown(value: object) -> str:
    """Return the value for the name of a test, which is the same in every process: no address."""
    return getattr(value, "__name__", repr(value))


ROWS = [
    pytest.param(make, field, wanted, value, id=f"{make.__name__}-{field}-{_shown(value)}")
    for make, table in MAKERS
    for field, wanted, values in table
    for value in values
]


@pytest.mark.parametrize("make,field,wanted,value", ROWS)
def test_a_wrong_value_is_refused_with_the_field_what_was_wanted_and_what_came(
    make: Any, field: str, wanted: str, value: object
) -> None:
    # R4
    with pytest.raises((InvalidSpec, InvalidBackoff)) as refused:
        make(**{field: value})

    message = str(refused.value)
    assert wanted in message
    if isinstance(value, list):
        return  # names are kept as a tuple
    assert f"{value:g}" in message if isinstance(value, float) else repr(value) in message


def child(**fields: Any) -> ChildSpec:
    given: dict[str, Any] = {"id": "a", "factory": Actor, **fields}
    return ChildSpec(**given)


COMBINATIONS: list[tuple[Any, str]] = [
    (lambda: child(significant=True), "a significant child is transient or temporary"),
    (lambda: child(start_timeout=None), "a worker has a start_timeout"),
    (lambda: child(depends_on=["a"]), "does not depend on itself"),
    (lambda: child(restart=TEMPORARY, on_give_up=STOP), "on_give_up=STOP needs a child that is restarted"),
    (lambda: child(restart=TEMPORARY, on_give_up=DEGRADE), "on_give_up=DEGRADE needs a child that is"),
    (
        lambda: child(restart=TEMPORARY, budget=Budget()),
        "a budget of its own needs a child that is restarted",
    ),
    (lambda: child(probing=Backoff()), "probing needs on_give_up=DEGRADE"),
    (lambda: child(probing=Backoff(), on_give_up=STOP), "probing needs on_give_up=DEGRADE"),
    (lambda: child(group=Group(children=())), "a supervisor is made from its group, without a factory"),
    (lambda: child(group="x"), "group is a Group or a Pool"),
    (lambda: child(factory=None, group=Group(children=()), ready=Readiness(ready)), "is ready when its"),
    (lambda: supervisor("top", child(), child()), "ids of children are unique"),
    (lambda: supervisor("top", child(depends_on=["b"])), "depends_on names siblings"),
    (lambda: supervisor("top", child(significant=True, restart=TRANSIENT)), "needs auto_shutdown"),
    (lambda: supervisor("top", "a"), "children are made by worker() or supervisor()"),  # type: ignore[arg-type]
    (lambda: make_supervisor(full_restart=FullRestart()), "full_restart needs strategy=ONE_FOR_ALL"),
    (lambda: dynamic("pool", child(significant=True, restart=TRANSIENT)), "never significant"),
    (lambda: dynamic("pool", child(depends_on=["b"])), "dynamic children depend on nobody"),
    (lambda: dynamic("pool", "a"), "template is made by template() or supervisor()"),  # type: ignore[arg-type]
    (lambda: dynamic("pool", child(id="x" * 88)), "the id leaves room for a number: at most 87"),
    (lambda: Backoff(initial=2.0, cap=1.0), "initial must be above 0 and at most the cap"),
    (lambda: Backoff(multiplier=0.5), "multiplier must be 1 or more"),
]


@pytest.mark.parametrize("make,wanted", COMBINATIONS, ids=[wanted for _, wanted in COMBINATIONS])
def test_a_combination_that_means_nothing_is_refused(make: Any, wanted: str) -> None:
    # R4, R27
    with pytest.raises((InvalidSpec, InvalidBackoff), match="got") as refused:
        make()

    assert wanted in str(refused.value)


async def broken(_ref: object) -> bool:
    raise RuntimeError("no such table")


async def late(_ref: object) -> bool:
    raise TimeoutError("the database")


@pytest.mark.parametrize(
    "spec,wanted",
    [
        (worker("a", lambda: 3), "the factory of top/a returns an Actor, got int: 3"),  # type: ignore[arg-type,return-value]
        (worker("a", Actor, ready=Readiness(broken)), "top/a is not ready: the check raised RuntimeError"),
        (worker("a", Actor, ready=Readiness(late)), "the check raised TimeoutError: the database"),
    ],
    ids=["factory", "readiness", "readiness that raises TimeoutError"],
)
@both_backends
async def test_what_only_a_start_can_show_is_refused_with_the_path(spec: ChildSpec, wanted: str) -> None:
    async with open_system() as system:
        with pytest.raises(StartFailed) as failed:
            await start_tree(system, supervisor("top", spec, strategy=ONE_FOR_ALL))

    assert wanted in str(failed.value)


@both_backends
async def test_a_factory_that_returns_one_actor_twice_is_refused_with_both_paths() -> None:
    # The second would serve under the path of the first, and a restart would bring no new state.
    one = Actor()
    async with open_system() as system:
        with pytest.raises(StartFailed, match=r"factory of top/b makes a new actor .* has been top/a"):
            await start_tree(system, supervisor("top", worker("a", lambda: one), worker("b", lambda: one)))


@pytest.mark.parametrize("wrong", [None, 3, [], "a"], ids=repr)
@both_backends
async def test_a_call_with_a_wrong_argument_is_refused_at_the_caller_and_the_supervisor_lives(
    wrong: Any,
) -> None:
    # R4, R43: a caller's mistake is no crash of everybody
    async with open_system() as system:
        top = await start_tree(
            system, supervisor("top", worker("a", Actor), dynamic("pool", template("p", Actor)))
        )
        pool = DynamicHandle(system.ref("top/pool"))
        calls: list[Any] = [
            top.start_child,
            top.reconfigure,
            pool.terminate_child,
            pool.which_child,
            pool.restart,
        ]
        if not isinstance(wrong, str):
            calls += [top.terminate_child, top.restart_child, top.delete_child, top.restart, top.which_child]
            calls += [top.get_spec, functools.partial(top.report_failure, error="down")]
        for call in calls:
            with pytest.raises(InvalidSpec, match="got"):
                await call(wrong)

        assert [child.incarnation for child in await top.which_children()] == [1, 1]


@both_backends
async def test_a_child_that_is_added_depends_on_siblings_too() -> None:
    async with open_system() as system:
        top = await start_tree(system, supervisor("top", worker("a", Actor)))
        with pytest.raises(InvalidSpec, match="child 'b': depends_on names siblings; got 'c'"):
            await top.start_child(worker("b", Actor, depends_on=["c"]))

        assert (await top.start_child(worker("b", Actor, depends_on=["a"]))).id == "b"


async def nothing() -> None:
    pass


@pytest.mark.parametrize("wrong", ["5", True, math.nan, -1, [5]], ids=repr)
@both_backends
async def test_a_time_limit_that_is_no_number_of_seconds_is_refused(wrong: Any) -> None:
    # S17
    async with open_system() as system:
        top = await start_tree(system, supervisor("top", task_supervisor("jobs")))
        with pytest.raises(InvalidTimeout):
            SupervisorHandle(top.ref, timeout=wrong)
        with pytest.raises(InvalidSpec, match="task: timeout is None or seconds"):
            await TaskSupervisorHandle(system.ref("top/jobs")).run(nothing, timeout=wrong)


@pytest.mark.parametrize(
    "option,wrong",
    [
        *[("stop_deadline", value) for value in NO_NUMBERS],
        *[("kill_grace", value) for value in NO_NUMBERS],
        ("liveness", 3),
        ("liveness", None),
        ("watchdog", 3),
    ],
    ids=repr,
)
@both_backends
async def test_a_wrong_option_of_the_system_is_refused_before_anything_is_opened(
    option: str, wrong: Any
) -> None:
    with pytest.raises(InvalidSystem, match=f"{option} is .* got"):
        async with open_system(**{option: wrong}):
            pytest.fail("it was opened")


@both_backends
async def test_what_is_added_to_a_strict_supervisor_must_not_contradict_itself() -> None:
    # S-B1
    added = supervisor("b", worker("c", Actor, start_timeout=9.0))
    async with open_system() as system:
        strict = supervisor("top", worker("a", Actor), budget=Budget(1, 60.0), strict=True)
        top = await start_tree(system, strict)
        with pytest.raises(ContradictoryTree, match="top/b: its budget"):
            await top.start_child(added)

        lenient = await start_tree(system, supervisor("other", worker("a", Actor)))
        assert (await lenient.start_child(added)).id == "b"
