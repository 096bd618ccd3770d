"""Run a test of actors in both tiers, on both backends.

Whatever only has plain `def` handlers and hooks lives at the pump in the runs called
`taskless`; in those called `task` the system gives every actor a task.  What a test
says holds in both: that is what tests with `@every_tier` are for.  Tests of what
waits (a handler that is busy, a task that shields itself) are about one tier, and
are marked `@both_backends`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, cast

import pytest

from holdfast.runtime import System
from holdfast.runtime import open_system as _open_system
from holdfast.runtime.testing import both_backends

__all__ = ["TIERS", "every_tier", "open_system"]

P = ParamSpec("P")

TIERS = ("taskless", "task")

_tasks_only: ContextVar[bool] = ContextVar("tasks_only", default=False)


@functools.wraps(_open_system)
def open_system(*arguments: Any, **options: Any) -> AbstractAsyncContextManager[System]:
    """Open a system of the tier that is being tested."""
    options.setdefault("tasks_only", _tasks_only.get())
    return _open_system(*arguments, **options)


def every_tier(test: Callable[P, Awaitable[None]]) -> Callable[Concatenate[str, str, P], None]:
    """Make four tests of one: in each tier, on each backend."""
    on_backend = cast("Any", both_backends(test))

    def in_tier(tier: str, backend: str, **arguments: Any) -> None:
        before = _tasks_only.set(tier == "task")
        try:
            on_backend(backend, **arguments)
        finally:
            _tasks_only.reset(before)

    functools.update_wrapper(in_tier, on_backend)
    del in_tier.__dict__["__wrapped__"]
    signature = inspect.signature(on_backend)
    own = inspect.Parameter("tier", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    cast("Any", in_tier).__signature__ = signature.replace(parameters=[own, *signature.parameters.values()])
    marked = pytest.mark.parametrize("tier", TIERS)(in_tier)
    return cast("Callable[Concatenate[str, str, P], None]", marked)
