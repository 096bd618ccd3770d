"""Run an ``async def`` test on trio, on asyncio, or on both, in virtual time.

Virtual time jumps to the next deadline as soon as nothing can run, so an hour
of time-outs takes milliseconds and nothing is ever slept through.  The tests
become plain synchronous functions: neither pytest-trio's nor anyio's plug-in
has to be switched on, and Hypothesis can drive whole runs.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import anyio
import trio
import trio.testing

from holdfast.runtime.testing.scheduler import seed_order

__all__ = ["BACKENDS", "both_backends", "on_asyncio", "on_trio", "run"]

T = TypeVar("T")
P = ParamSpec("P")

BACKENDS = ("trio", "asyncio")

# A run that is still going after this many virtual seconds waits for something that never comes.
VIRTUAL_SECONDS_MAX = 10_000_000.0


class _VirtualSelector(selectors.DefaultSelector):
    """Never waits for time: it moves the clock instead, and waits for real only when there is no deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout is None or timeout <= 0:
            return ready if ready or timeout is not None else super().select(None)
        self.offset += timeout
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.offset


def run(backend: str, main: Callable[[], Awaitable[T]], *, seed: int = 0) -> T:
    """Run `main` to its end on the named backend, in virtual time, and return what it returned.

    The same seed gives the same run: trio draws the order of what can run at once, and
    asyncio's is fixed.
    """
    if backend == "trio":
        seed_order(seed)
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    if backend == "asyncio":
        return anyio.run(main, backend="asyncio", backend_options={"loop_factory": _VirtualLoop})
    raise ValueError(f"a backend is one of {', '.join(BACKENDS)}, got {backend!r}")


async def _bounded(test: Callable[..., Awaitable[None]], arguments: Mapping[str, object]) -> None:
    with anyio.fail_after(VIRTUAL_SECONDS_MAX):
        await test(**arguments)


def both_backends(test: Callable[P, Awaitable[None]]) -> Callable[Concatenate[str, P], None]:
    """Make two tests of one: the same on trio and on asyncio."""
    import pytest  # whoever simulates without it imports this package, too

    @functools.wraps(test)
    def synchronous(backend: str, **arguments: Any) -> None:
        run(backend, functools.partial(_bounded, test, arguments))

    # pytest reads the signature: the test's own arguments and the backend in front of them.
    signature = inspect.signature(test)
    own = inspect.Parameter("backend", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    synchronous.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *signature.parameters.values()], return_annotation=None
    )
    del synchronous.__wrapped__
    marked = pytest.mark.parametrize("backend", BACKENDS)(synchronous)
    return cast("Callable[Concatenate[str, P], None]", marked)


def _on(backend: str, test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def synchronous(*_positional: P.args, **arguments: P.kwargs) -> None:
        run(backend, functools.partial(_bounded, test, arguments))

    synchronous.__signature__ = inspect.signature(test).replace(  # type: ignore[attr-defined]
        return_annotation=None
    )
    del synchronous.__wrapped__
    return synchronous


def on_trio(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run the test on trio alone."""
    return _on("trio", test)


def on_asyncio(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run the test on asyncio alone."""
    return _on("asyncio", test)
