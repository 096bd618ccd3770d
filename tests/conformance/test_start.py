"""3.3, start: cases 1-15."""

from __future__ import annotations

import pytest
from tests.conformance.views import counts, ended, states
from tests.supervisors.crew import Boom, Crew, fill, start_pool

from holdfast.runtime import IGNORE, SHUTDOWN, Actor, DefinitionError, Down, Ignore, StartFailed, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    FOREVER,
    KILL,
    PERMANENT,
    TEMPORARY,
    ChildSpec,
    ChildStartFailed,
    InvalidSpec,
    NoSuchChild,
    Restart,
    Supervisor,
    dynamic,
    start_tree,
    supervisor,
    worker,
)


@both_backends
async def test_a_supervisor_without_children_starts_and_a_stop_ends_it_with_shutdown() -> None:
    # case 1: sup_start_normal
    async with open_system() as system:
        handle = await start_tree(system, supervisor("top"))
        assert handle.ref.slot.running
        await handle.stop()

        assert ended(handle.ref) == SHUTDOWN


class Unwanted(Supervisor):
    """What OTP's config callback is here: code of one's own that decides what to run."""

    async def on_start(self) -> Ignore:
        return IGNORE


@both_backends
async def test_a_supervisor_that_has_nothing_to_run_leaves_nothing_and_no_notice() -> None:
    # case 2: sup_start_ignore_init
    notices: list[Down] = []
    async with open_system() as system:
        system.watch(system.ref("top"), notices.append)
        ref = await system.start("top", lambda: Unwanted(supervisor("top")))
        await settled()

        assert not ref.slot.running
        assert (system.statistics().actors, system.tasks, notices) == (0, 0, [])


@both_backends
async def test_a_child_that_has_nothing_to_run_is_kept_and_told_as_nothing() -> None:
    # case 3: sup_start_ignore_child
    crew = Crew()
    crew.ignores["a"] = {1}
    async with open_system() as system:
        handle = await crew.start(system)
        assert (await handle.start_child(crew.member("a"))).ref is None
        assert (await handle.start_child(crew.member("b"))).ref is not None

        assert await states(handle) == {"a": "stopped", "b": "running"}
        assert await counts(handle) == (2, 1, 0, 2)


@both_backends
async def test_a_temporary_child_that_has_nothing_to_run_is_not_kept() -> None:
    # case 4: sup_start_ignore_temporary_child; case 5: sup_start_ignore_temporary_child_start_child
    crew = Crew()
    crew.ignores["a"] = {1}
    crew.ignores["c"] = {1}
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a", restart=TEMPORARY), crew.member("b"))
        assert await states(handle) == {"b": "running"}
        assert await counts(handle) == (1, 1, 0, 1)

        assert (await handle.start_child(crew.member("c", restart=TEMPORARY))).ref is None
        assert await counts(handle) == (1, 1, 0, 1)


@pytest.mark.parametrize("restart", [TEMPORARY, PERMANENT])
@both_backends
async def test_a_dynamic_child_that_has_nothing_to_run_is_not_stored_whatever_its_restart(
    restart: Restart,
) -> None:
    # case 6: sup_start_ignore_temporary_child_start_child_simple
    # case 7: sup_start_ignore_permanent_child_start_child_simple
    crew = Crew()
    crew.ignores["a"] = {1}
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a", restart=restart))
        assert (await pool.start_child()).ref is None
        assert await counts(pool) == (1, 0, 0, 0)
        assert (await pool.start_child()).ref is not None
        assert await counts(pool) == (1, 1, 0, 1)

        await pool.stop()
        assert ended(pool.ref) == SHUTDOWN


@both_backends
async def test_a_factory_that_makes_no_supervisor_is_refused_to_the_starter() -> None:
    # case 8: sup_start_error_return
    notices: list[Down] = []
    async with open_system() as system:
        system.watch(system.ref("top"), notices.append)
        with pytest.raises(StartFailed) as failed:
            await system.start("top", lambda: "garbage")  # type: ignore[arg-type, return-value]
        await settled()

        assert isinstance(failed.value.reason, DefinitionError)
        assert "'garbage'" in str(failed.value)
        assert notices == []


@both_backends
async def test_a_factory_that_raises_fails_the_start_with_that_exception() -> None:
    # case 9: sup_start_fail
    notices: list[Down] = []

    def configuration() -> Supervisor:
        raise Boom("no configuration")

    async with open_system() as system:
        system.watch(system.ref("top"), notices.append)
        with pytest.raises(StartFailed) as failed:
            await system.start("top", configuration)
        await settled()

        assert isinstance(failed.value.reason, Boom)
        assert failed.value.reason.__traceback__ is not None
        assert notices == []


@both_backends
async def test_a_start_that_fails_or_returns_nonsense_is_told_with_its_reason_and_stores_nothing() -> None:
    # case 10: sup_start_child_returns_error
    crew = Crew()
    crew.fails["a"] = {1}
    async with open_system() as system:
        handle = await crew.start(system)
        with pytest.raises(ChildStartFailed) as refused:
            await handle.start_child(crew.member("a"))
        assert isinstance(refused.value.reason, Boom)
        assert refused.value.child == "a"
        with pytest.raises(ChildStartFailed) as refused:
            await handle.start_child(worker("b", lambda: 42))  # type: ignore[arg-type, return-value]
        assert isinstance(refused.value.reason, DefinitionError)

        assert await states(handle) == {}


@both_backends
async def test_a_restart_by_hand_that_fails_leaves_the_child_stopped() -> None:
    # case 11: sup_start_restart_child_returns_error
    crew = Crew()
    crew.fails["a"] = {2}
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))
        await handle.terminate_child("a")
        with pytest.raises(ChildStartFailed) as refused:
            await handle.restart_child("a")

        assert isinstance(refused.value.reason, Boom)
        assert await states(handle) == {"a": "stopped"}


@both_backends
async def test_a_dynamic_start_that_fails_is_told_and_not_stored() -> None:
    # case 12: sup_start_child_returns_error_simple
    crew = Crew()
    crew.fails["a"] = {1}
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a"))
        with pytest.raises(ChildStartFailed) as refused:
            await pool.start_child()

        assert isinstance(refused.value.reason, Boom)
        assert await pool.which_children() == ()


@both_backends
async def test_minimal_specs_get_the_defaults_and_can_be_read_back() -> None:
    # case 13: sup_start_map
    crew = Crew()
    async with open_system() as system:
        minimal, killed, nested = crew.member("a"), crew.member("b", shutdown=KILL), supervisor("c")
        handle = await crew.start(system, minimal, killed, nested)

        spec = await handle.get_spec("a")
        assert (spec, spec.restart, spec.shutdown, spec.kind.value) == (minimal, PERMANENT, 5.0, "worker")
        assert (await handle.get_spec("b")).shutdown is KILL
        assert (await handle.get_spec("c")).shutdown is FOREVER
        with pytest.raises(NoSuchChild):
            await handle.get_spec("nobody")


@both_backends
async def test_the_spec_of_a_dynamic_child_is_the_whole_template() -> None:
    # case 14: sup_start_map_simple
    crew = Crew()
    async with open_system() as system:
        template = crew.pattern("a", restart=TEMPORARY, shutdown=1.0)
        pool = await start_pool(system, template)
        for ref in await fill(pool, 2):
            assert await pool.get_spec(ref) == template
        with pytest.raises(NoSuchChild):
            await pool.get_spec(pool.ref)


def test_what_is_no_spec_is_refused_where_it_is_written_and_the_defect_named() -> None:
    # case 15: sup_start_map_faulty_specs; an unknown key is refused too, by Python itself (R4)
    with pytest.raises(TypeError, match="id"):
        worker(factory=Actor)  # type: ignore[call-arg]
    with pytest.raises(InvalidSpec, match="factory is a callable"):
        ChildSpec(id="a")
    with pytest.raises(InvalidSpec, match="children are made by"):
        supervisor("top", "no spec")  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="template is made by"):
        dynamic("pool", "no spec")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="colour"):
        worker("a", Actor, colour="red")  # type: ignore[call-arg]
