"""Adding a child that others depend on already: it takes its place before them, and closes no circle."""

from __future__ import annotations

import pytest
from tests.supervisors.stage import Stage, child

from holdfast.supervisors import ChildSpec, InvalidSpec, supervisor
from holdfast.supervisors.messages import DeleteChild, RestartAll, StartChild, TerminateChild


def without(name: str, *children: ChildSpec) -> Stage:
    """Return a stage whose child `name` has been deleted."""
    stage = Stage(supervisor("top", *children)).boot()
    stage.call(TerminateChild(name))
    stage.call(DeleteChild(name))
    stage.take()
    return stage


# S-B3
def test_a_circle_that_an_added_child_would_close_is_refused_with_the_names() -> None:
    stage = without("b", child("b"), child("a", depends_on=["b"]), child("c", depends_on=["a"]))
    refusal = stage.call(StartChild(child("b", depends_on=["c"])))
    assert isinstance(refusal, InvalidSpec)
    for name in ("a -> b", "b -> c", "c -> a"):
        assert name in str(refusal)
    assert stage.states() == {"a": "running", "c": "running"}
    assert stage.take() == []


# S-B3
@pytest.mark.parametrize(
    "depends_on, order",
    [((), ["x", "b", "a", "c", "d"]), (("d",), ["x", "c", "d", "b", "a"])],
)
def test_an_added_child_goes_before_those_that_depend_on_it(
    depends_on: tuple[str, ...], order: list[str]
) -> None:
    stage = without("b", child("x"), child("b"), child("a", depends_on=["b"]), child("c"), child("d"))
    assert stage.call(StartChild(child("b", depends_on=depends_on))) == "started b"
    assert list(stage.states()) == order


# S-B3
def test_other_names_that_were_deleted_make_no_difference() -> None:
    stage = without("b", child("b"), child("e"), child("a", depends_on=["b", "e"]))
    stage.call(TerminateChild("e"))
    stage.call(DeleteChild("e"))
    stage.take()
    assert stage.call(StartChild(child("b"))) == "started b"
    assert list(stage.states()) == ["b", "a"]
    stage.take()
    stage.call(RestartAll("asked for"))
    assert stage.take() == ["-a", "-b", "+b", "+a"]
