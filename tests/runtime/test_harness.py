"""What ships for tests of users' own actors keeps its promises."""

from __future__ import annotations

import time

import anyio
import pytest
import sniffio
from tests.runtime.cast import Ask, Note

from holdfast.runtime import open_system
from holdfast.runtime.testing import both_backends, on_asyncio, on_trio, probe, run, settled
from holdfast.runtime.testing.probe import NothingCame


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_hours_pass_in_no_time(backend: str) -> None:
    async def sleep() -> float:
        started = anyio.current_time()
        await anyio.sleep(36_000)
        return anyio.current_time() - started

    began = time.monotonic()
    assert run(backend, sleep) == pytest.approx(36_000)
    assert time.monotonic() - began < 5


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="one of trio, asyncio, got 'curio'"):
        run("curio", anyio.lowlevel.checkpoint)


@on_trio
async def test_on_trio_runs_on_trio() -> None:
    assert sniffio.current_async_library() == "trio"


@on_asyncio
async def test_on_asyncio_runs_on_asyncio() -> None:
    assert sniffio.current_async_library() == "asyncio"


@pytest.mark.parametrize("number", [1, 2])
@both_backends
async def test_arguments_of_pytest_are_passed_through(number: int) -> None:
    assert number in {1, 2}


@both_backends
async def test_settled_returns_when_nothing_can_happen_without_time() -> None:
    steps: list[int] = []

    async def work() -> None:
        for n in range(100):
            await anyio.lowlevel.checkpoint()
            steps.append(n)
        await anyio.sleep(1)
        steps.append(-1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await settled()
        assert len(steps) == 100
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_the_same_seed_gives_the_same_run(backend: str) -> None:
    async def race() -> list[int]:
        order: list[int] = []

        async def one(number: int) -> None:
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
                order.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(one, number)
        return order

    runs = {tuple(run(backend, race, seed=7)) for _ in range(5)}
    assert len(runs) == 1


@both_backends
async def test_a_probe_hears_answers_and_complains() -> None:
    async with open_system() as system:
        heard = await probe(system, "probe", Note, Ask)
        heard.answers(Ask, "yes")
        heard.ref.tell(Note("one"))
        heard.ref.tell(Note("two"))
        assert await heard.ref.ask(Ask()) == "yes"

        assert await heard.expect(Note) == Note("one")
        with pytest.raises(NothingCame, match="expected a Ask next, got Note"):
            await heard.expect(Ask)
        assert heard.take(Ask) == [Ask()]
        start = system.now()
        with pytest.raises(NothingCame, match="probe waited 2 s and no message came"):
            await heard.await_(Note, timeout=2)
        assert system.now() - start == pytest.approx(2)


@both_backends
async def test_a_probe_keeps_the_tokens_of_questions_without_an_answer() -> None:
    answers: list[str] = []
    async with open_system() as system:
        heard = await probe(system, "probe", Ask)

        async def ask() -> None:
            answers.append(await heard.ref.ask(Ask()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await heard.expect(Ask)
            heard.questions[0].reply("from the test")
    assert answers == ["from the test"]
