from __future__ import annotations

from typing import get_args

from holdfast.supervisors.execution import _AT_ONCE, _PERFORM
from holdfast.supervisors.plan import Step


def test_every_step_that_a_plan_can_hold_is_carried_out_somewhere() -> None:
    assert set(_AT_ONCE) | set(_PERFORM) == set(get_args(Step))
