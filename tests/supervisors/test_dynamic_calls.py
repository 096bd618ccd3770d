from __future__ import annotations

from tests.supervisors.stage import CRASH, Stage, child

from holdfast.runtime import NORMAL
from holdfast.supervisors import (
    TRANSIENT,
    ChildStartFailed,
    InvalidSpec,
    NotForDynamic,
    TooManyChildren,
    dynamic,
    supervisor,
)
from holdfast.supervisors.messages import (
    DeleteChild,
    RestartChild,
    StartChild,
    StartInstance,
    TerminateChild,
)


def pool(**options: object) -> Stage:
    stage = Stage(dynamic("pool", child("w"), **options)).boot()  # type: ignore[arg-type]
    stage.take()
    return stage


def test_children_of_a_dynamic_supervisor_are_numbered_and_never_share_a_name() -> None:
    stage = pool()
    assert [stage.call(StartInstance()) for _ in range(2)] == ["started w-1", "started w-2"]
    stage.call(TerminateChild("w-2"))

    assert stage.call(StartInstance()) == "started w-3"


def test_a_dynamic_supervisor_refuses_what_goes_by_id_and_a_static_one_what_goes_by_arguments() -> None:
    # 3.3 case 24
    stage = pool()
    for call in (StartChild(child("x")), RestartChild("w-1"), DeleteChild("w-1")):
        assert isinstance(stage.call(call), NotForDynamic)

    assert isinstance(Stage(supervisor("top")).boot().call(StartInstance()), NotForDynamic)


def test_the_bound_of_a_dynamic_supervisor_counts_children_that_are_being_restarted() -> None:
    # D4
    stage = pool(max_children=1)
    stage.call(StartInstance())
    stage.fails = {"w-1": {2}}
    stage.end("w-1", CRASH)

    assert stage.states() == {"w-1": "restarting"}
    assert isinstance(stage.call(StartInstance()), TooManyChildren)


def test_a_dynamic_child_that_is_not_restarted_is_removed() -> None:
    # D6, R14b
    stage = Stage(dynamic("pool", child("w", restart=TRANSIENT))).boot()
    for _ in range(3):
        stage.call(StartInstance())
    stage.ignores = {"w-2": {2}}
    stage.end("w-1", NORMAL)
    stage.end("w-2", CRASH)

    assert stage.states() == {"w-3": "running"}


def test_a_dynamic_child_that_cannot_start_is_not_stored() -> None:
    # D3, 3.3 cases 6, 12
    stage = pool()
    stage.fails, stage.ignores = {"w-1": {1}}, {"w-2": {1}}

    assert isinstance(stage.call(StartInstance()), ChildStartFailed)
    assert stage.call(StartInstance()) == "ignored w-2"
    assert stage.states() == {}


def test_a_restarting_dynamic_child_is_removed_when_it_is_terminated() -> None:
    # D10, 3.3 case 68
    stage = pool()
    stage.call(StartInstance())
    stage.fails = {"w-1": range(2, 9)}
    stage.end("w-1")

    assert stage.call(TerminateChild("w-1")) is None
    assert stage.retry() == []
    assert stage.states() == {}


def test_a_template_that_is_a_supervisor_takes_no_arguments() -> None:
    stage = Stage(dynamic("pool", supervisor("room", child("a")))).boot()

    assert isinstance(stage.call(StartInstance((1,))), InvalidSpec)
    assert stage.call(StartInstance()) == "started room-1"
