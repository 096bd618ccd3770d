"""A secret is seen nowhere but where it is revealed."""

from __future__ import annotations

import copy
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.runtime import REDACTED, Message, Secret


class Holder(Message, frozen=True):
    token: Secret


@given(st.text(min_size=8).filter(lambda text: text not in f"Secret('{REDACTED}')"))
def test_no_way_of_printing_shows_it(value: str) -> None:
    secret = Secret(value)
    for shown in (str(secret), repr(secret), f"{secret}", f"{secret:>40}", "%s" % secret, repr([secret])):  # noqa: UP031
        assert value not in shown
    assert value not in repr(Holder(secret))
    assert secret.reveal() == value
    assert not hasattr(secret, "__dict__")


def test_it_is_compared_by_value_and_only_with_secrets() -> None:
    assert Secret("x") == Secret("x")
    assert Secret("x") != Secret("y")
    assert Secret("x") != "x"
    assert len({Secret("x"), Secret("x"), Secret("y")}) == 2
    assert bool(Secret("x"))
    assert not Secret("")


def test_what_no_encoding_takes_is_compared_without_telling() -> None:
    assert Secret("\ud800") == Secret("\ud800")
    assert Secret("\ud800") != Secret("x")


def test_it_does_not_leave_the_process_by_accident() -> None:
    with pytest.raises(TypeError, match="reveal"):
        pickle.dumps(Secret("x"))
    with pytest.raises(TypeError):
        msgspec.json.encode(Holder(Secret("x")))
    secret = Secret("x")
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


@pytest.mark.parametrize("wrong", [None, b"bytes", 5])
def test_what_is_no_text_is_refused_without_being_shown(wrong: object) -> None:
    with pytest.raises(TypeError, match=f"wraps a str, got {type(wrong).__name__}"):
        Secret(wrong)  # type: ignore[arg-type]
