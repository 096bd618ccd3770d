"""Readiness checks of users: SEMANTICS, Beyond OTP 3 (B1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import anyio
import pytest

from holdfast.runtime import Actor, Ref, StartFailed, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    Budget,
    ChildSpec,
    FailedToStartChild,
    InvalidSpec,
    NotReady,
    Readiness,
    start_tree,
    supervisor,
    worker,
)
from holdfast.supervisors.contradictions import longest_start

Check = Callable[[Ref], Awaitable[bool]]


class Named(Actor):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    def on_start(self) -> None:
        self.log.append(f"+{self.name}")

    def on_stop(self, outcome: object) -> None:
        self.log.append(f"-{self.name}")


async def never(_ref: Ref) -> bool:
    await anyio.sleep_forever()
    raise AssertionError


async def no(_ref: Ref) -> bool:
    return False


async def broken(_ref: Ref) -> bool:
    raise RuntimeError("no such table")


@pytest.mark.parametrize(
    "check,why",
    [(no, "answered False"), (broken, "RuntimeError: no such table"), (never, "within 2 s")],
    ids=["false", "raises", "too late"],
)
@both_backends
async def test_a_child_that_is_not_ready_has_failed_to_start(check: Check, why: str) -> None:
    log: list[str] = []
    async with open_system() as system:
        child = worker("db", lambda: Named("db", log), ready=Readiness(check, timeout=2.0))

        with pytest.raises(StartFailed) as raised:
            await start_tree(system, supervisor("top", child))

    assert isinstance(raised.value.reason, FailedToStartChild)
    assert isinstance(raised.value.reason.reason, NotReady)
    assert "top/db" in str(raised.value.reason.reason)
    assert why in str(raised.value.reason.reason)
    assert log == ["+db", "-db"]


@both_backends
async def test_dependants_start_only_when_the_check_has_passed() -> None:
    log: list[str] = []

    async def check(ref: Ref) -> bool:
        await anyio.sleep(1.0)
        log.append("ready")
        return ref.slot.running

    async with open_system() as system:
        tree = supervisor(
            "top",
            worker("web", lambda: Named("web", log), depends_on=("db",)),
            worker("db", lambda: Named("db", log), ready=Readiness(check)),
        )
        await start_tree(system, tree)

        assert log == ["+db", "ready", "+web"]


@both_backends
async def test_a_check_that_fails_at_a_restart_is_retried_and_charged() -> None:
    answers = iter([True, False, False, True])
    log: list[str] = []

    async def check(_ref: Ref) -> bool:
        return next(answers)

    async with open_system() as system:
        child = worker("db", lambda: Named("db", log), ready=Readiness(check))
        top = await start_tree(system, supervisor("top", child, budget=Budget(3, 5.0)))
        cell = system.ref("top/db").slot.cell
        assert cell is not None
        cell.context.stop()
        await settled()

        assert log == ["+db", "-db", "+db", "-db", "+db", "-db", "+db"]
        assert (await top.supervision()).budget_left == 0


def test_the_time_limit_of_the_check_belongs_to_the_longest_start() -> None:
    child = worker("db", Actor, start_timeout=2.0, ready=Readiness(no, timeout=3.0))

    assert longest_start(child) == 5.0


@pytest.mark.parametrize("timeout", [0, -1.0, float("inf"), float("nan"), True, "5"])
def test_a_time_limit_that_is_none_is_refused(timeout: object) -> None:
    with pytest.raises(InvalidSpec, match=r"timeout is a finite number of seconds above 0"):
        Readiness(no, timeout=cast("float", timeout))


def test_a_check_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="check is an async callable"):
        Readiness(cast("Check", "ready"))


def test_ready_is_a_readiness() -> None:
    with pytest.raises(InvalidSpec, match="ready is a Readiness"):
        ChildSpec(id="db", factory=Actor, ready=cast("Readiness", no))
