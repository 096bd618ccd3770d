"""Wrong values of what is declared beside children: names, liveness, correlation, tasks, partitions (R4).

The rows of `test_bad_input.py` for everything else that a tree is written with.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.supervisors.test_bad_input import NO_NAMES, NO_NUMBERS, NO_VALUES, NO_WORDS, Table

from holdfast.runtime import Actor, InvalidLiveness, InvalidName, LivenessSpec, open_system
from holdfast.runtime.testing import both_backends
from holdfast.supervisors import (
    TEMPORARY,
    Correlation,
    InvalidSpec,
    dynamic,
    partition,
    start_tree,
    supervisor,
    task_supervisor,
    template,
    worker,
)

WRONG_NAMES: list[object] = [None, 3, "", "a/b", "a b", "..", b"a", True, "x" * 101, "a\n", []]


def make_child(**fields: Any) -> object:
    return worker("a", Actor, **fields)


def make_template(**fields: Any) -> object:
    return template("a", Actor, **fields)


def correlated(**options: Any) -> object:
    return supervisor("top", worker("a", Actor), **options)


def make_tasks(**options: Any) -> object:
    return task_supervisor("tasks", **options)


def make_partition(**options: Any) -> object:
    given: dict[str, Any] = {"child": Actor, "partitions": 2, **options}
    return partition("shards", **given)


LIVENESS: Table = [("liveness", "liveness is a LivenessSpec", NO_VALUES)]
LIMITS: Table = [
    (field, f"{field} is None or finite seconds of", [*NO_NUMBERS[1:], 0]) for field in ("slow", "hung")
]
TOGETHER: Table = [
    ("correlate", "correlate is a Correlation, (failures, seconds) or None", [3, "x", True, (3,), (3, 5, 6)]),
    ("correlate", "failures is a whole number of 2 or more", [(1, 5.0), ("3", 5), (True, 5), (2.0, 5)]),
    ("correlate", "window is a finite number of seconds above 0", [(3, 0), (3, -1), (3, math.nan), (3, "5")]),
]
COMPONENTS: Table = [
    ("components", "components is a mapping of names to paths", [3, "x", (("a", "b"),)]),
    ("components", "a component has a name", [{3: ("a",)}, {"": ("a",)}, {None: ("a",)}]),
    (
        "components",
        "component 'a' has a sequence of one path",
        [{"a": one} for one in ("b", (), 3, None, {"a"})],
    ),
    ("components", "component 'a' names paths below", [{"a": (path,)} for path in ("", 3, "a/", "a//b")]),
]
FLAGS: Table = [
    ("budget", "budget is a Budget", [None, *NO_VALUES]),
    ("depends_on", "depends_on is a sequence of names", NO_NAMES),
    ("on_give_up", "on_give_up is one of ESCALATE, STOP, DEGRADE", NO_WORDS),
    ("own_budget", "budget is a Budget", NO_VALUES),
]
TASKS: Table = [
    ("max_children", "max_children is a whole number of 0 or more", ["5", True, 1.5, -1]),
    ("restart", "restart is one of PERMANENT, TRANSIENT, TEMPORARY", NO_WORDS),
    ("shutdown", "shutdown is KILL, FOREVER or seconds of 0 or more", NO_NUMBERS),
]
PARTITIONS: Table = [
    ("partitions", "partitions is a number from 1 to 10000", [*NO_NUMBERS, 0, 1.5, 10_001]),
    ("arguments", "arguments is a function from the partition's number", [3, "x", (1,)]),
    ("child", "factory is a callable that makes the actor", [None, 3, "x"]),
]
MAKERS: list[tuple[Any, Table]] = [
    (make_child, LIVENESS),
    (make_template, LIVENESS),
    (LivenessSpec, LIMITS),
    (correlated, TOGETHER),
    (Correlation, COMPONENTS),
    (make_tasks, FLAGS + TASKS),
    (make_partition, FLAGS + PARTITIONS),
]
ROWS = [
    pytest.param(make, field, wanted, value, id=f"{make.__name__}-{field}-{value!r}")
    for make, table in MAKERS
    for field, wanted, values in table
    for value in values
]


@pytest.mark.parametrize("make,field,wanted,value", ROWS)
def test_a_wrong_value_is_refused_with_what_was_wanted_and_what_came(
    make: Any, field: str, wanted: str, value: object
) -> None:
    # R4
    with pytest.raises((InvalidSpec, InvalidLiveness), match="got") as refused:
        make(**{field: value})

    assert wanted in str(refused.value)


@pytest.mark.parametrize("name", WRONG_NAMES, ids=lambda name: repr(name)[:8])
@pytest.mark.parametrize("kind", ["worker", "template", "supervisor", "dynamic", "tasks", "partition"])
def test_an_id_that_is_no_name_is_refused_and_said_how_one_looks(kind: str, name: Any) -> None:
    # R4: ids become parts of paths
    make: dict[str, Any] = {
        "worker": lambda: worker(name, Actor),
        "template": lambda: template(name, Actor),
        "supervisor": lambda: supervisor(name),
        "dynamic": lambda: dynamic(name, template("a", Actor)),
        "tasks": lambda: task_supervisor(name),
        "partition": lambda: partition(name, Actor, partitions=2),
    }
    with pytest.raises(InvalidName, match="a name is 1 to 100 letters, digits") as refused:
        make[kind]()

    assert repr(name) in str(refused.value)


@pytest.mark.parametrize("path", ["nobody", "top/a", "s", "s/b/c", "pool/p-1"])
def test_a_component_whose_path_nobody_has_is_refused_with_the_paths_there_are(path: str) -> None:
    # S-B6
    inner = supervisor("inner", worker("b", Actor))
    pool = dynamic("pool", template("p", Actor))
    with pytest.raises(InvalidSpec, match=r"below the supervisor \(a, inner, inner/b, pool\)") as refused:
        supervisor("top", worker("a", Actor), inner, pool, correlate=Correlation(components={"one": (path,)}))

    assert str(refused.value).startswith("correlate: component 'one' names paths")
    assert repr(path) in str(refused.value)


def test_a_partition_is_permanent_and_who_is_slow_is_not_hung_yet() -> None:
    with pytest.raises(InvalidSpec, match="a partition is permanent; got 'TEMPORARY'"):
        partition("shards", template("p", Actor, restart=TEMPORARY), partitions=2)
    with pytest.raises(InvalidLiveness, match="slow before it is hung, got slow=5 and hung=1"):
        LivenessSpec(slow=5.0, hung=1.0)


@both_backends
async def test_a_declaration_that_does_not_fit_the_running_supervisor_is_refused_and_changes_nothing() -> (
    None
):
    # S-B13
    async with open_system() as system:
        top = await start_tree(system, supervisor("top", worker("a", Actor), correlate=(2, 5.0)))
        wrong = [
            (worker("top", Actor), r"reconfigure of top: a spec made by supervisor\(\); got"),
            (dynamic("top", template("a", Actor)), r"reconfigure of top: a spec made by supervisor\(\); got"),
            (supervisor("other", worker("a", Actor)), "a new declaration of 'top'; got 'other'"),
            (supervisor("top", worker("a", Actor)), "correlate stays as it is while the supervisor runs"),
            (
                supervisor("top", supervisor("a"), correlate=(2, 5.0)),
                "child 'a' stays a worker; got 'supervisor'",
            ),
        ]
        for spec, message in wrong:
            with pytest.raises(InvalidSpec, match=message):
                await top.reconfigure(spec)

        assert [(child.id, child.kind) for child in await top.which_children()] == [("a", "worker")]
