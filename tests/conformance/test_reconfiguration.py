"""3.3, changing a live supervisor: cases 77-87, and D11."""

from __future__ import annotations

import pytest
from tests.conformance.views import counts, incarnations, states
from tests.supervisors.crew import Crew, Die, Finish, fill, start_pool

from holdfast.runtime import SHUTDOWN, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    ALL_SIGNIFICANT,
    ANY_SIGNIFICANT,
    NEVER,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    Budget,
    FullRestart,
    InvalidSpec,
    SupervisorHandle,
    TooManyChildren,
    dynamic,
    supervisor,
)


@pytest.mark.parametrize(
    "before,after,ends",
    [
        (NEVER, ANY_SIGNIFICANT, 1),  # case 77: significant_upgrade_never_any
        (ANY_SIGNIFICANT, NEVER, None),  # case 78: significant_upgrade_any_never
        (NEVER, ALL_SIGNIFICANT, 2),  # case 79: significant_upgrade_never_all
        (ALL_SIGNIFICANT, NEVER, None),  # case 80: significant_upgrade_all_never
        (ANY_SIGNIFICANT, ALL_SIGNIFICANT, 2),  # case 81: significant_upgrade_any_all
        (ALL_SIGNIFICANT, ANY_SIGNIFICANT, 1),  # case 82: significant_upgrade_all_any
    ],
)
@both_backends
async def test_a_changed_automatic_shutdown_holds_for_the_next_end(
    before: AutoShutdown, after: AutoShutdown, ends: int | None
) -> None:
    # cases 77-82
    crew = Crew()
    async with open_system() as system:
        significant = before is not NEVER
        handle = await crew.start(
            system, *crew.members("ab", restart=TEMPORARY, significant=significant), auto_shutdown=before
        )
        declared = crew.members("ab", restart=TEMPORARY, significant=True) if after is not NEVER else []
        await handle.reconfigure(supervisor("top", *declared, auto_shutdown=after))

        for number, name in enumerate("ab", start=1):
            assert handle.ref.slot.running is (ends is None or number <= ends)
            if handle.ref.slot.running:
                system.ref(f"top/{name}").tell(Finish())
                await settled()

        assert handle.ref.slot.outcome == (None if ends is None else SHUTDOWN)


@both_backends
async def test_under_never_no_new_child_may_be_significant_and_those_there_are_have_no_effect() -> None:
    # cases 78, 80
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system, crew.member("a", restart=TRANSIENT, significant=True), auto_shutdown=ANY_SIGNIFICANT
        )
        await handle.reconfigure(supervisor("top"))

        with pytest.raises(InvalidSpec, match="needs auto_shutdown"):
            await handle.start_child(crew.member("b", restart=TRANSIENT, significant=True))
        system.ref("top/a").tell(Finish())
        await settled()
        assert await states(handle) == {"a": "stopped"}


@both_backends
async def test_a_child_can_become_significant_while_it_runs() -> None:
    # case 83: significant_upgrade_child
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(
            system, *crew.members("ab", restart=TRANSIENT), auto_shutdown=ANY_SIGNIFICANT
        )
        with pytest.raises(InvalidSpec, match="needs auto_shutdown"):
            supervisor("top", crew.member("a", restart=TRANSIENT, significant=True), auto_shutdown=NEVER)
        await handle.reconfigure(
            supervisor(
                "top",
                crew.member("a", restart=TRANSIENT, significant=True),
                crew.member("b", restart=TRANSIENT),
                auto_shutdown=ANY_SIGNIFICANT,
            )
        )
        system.ref("top/b").tell(Finish())
        await settled()
        assert handle.ref.slot.running
        system.ref("top/a").tell(Finish())
        await settled()

        assert handle.ref.slot.outcome == SHUTDOWN


@both_backends
async def test_changed_flags_hold_from_the_next_end_on() -> None:
    # case 84: code_change; strategy and intensity
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ONE, budget=Budget(5, 100.0))
        system.ref("top/a").tell(Die())
        await settled()
        await handle.reconfigure(
            supervisor("top", *crew.members("ab"), strategy=ONE_FOR_ALL, budget=Budget(2, 100.0))
        )
        crew.take()

        system.ref("top/a").tell(Die())
        await settled()
        assert crew.take() == ["-a:crash", "-b:shutdown", "+a", "+b"]
        # The attempt made before still counts: this is the third.
        system.ref("top/a").tell(Die())
        await settled()
        assert not handle.ref.slot.running


@both_backends
async def test_new_children_are_known_and_not_started_changed_ones_run_on_and_removed_ones_stay() -> None:
    # case 84: code_change; case 85: code_change_map, get_spec shows the new allowance
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("abc"))
        await handle.reconfigure(supervisor("top", crew.member("d"), crew.member("b", shutdown=1.0)))

        assert crew.take() == []
        assert await states(handle) == {"d": "stopped", "b": "running", "a": "running", "c": "running"}
        assert list(await states(handle)) == ["d", "b", "a", "c"], "declared ones first, then those that stay"
        assert await incarnations(handle) == {"d": 0, "b": 1, "a": 1, "c": 1}
        assert (await handle.get_spec("b")).shutdown == 1.0
        assert (await handle.get_spec("a")).shutdown == 5.0
        await handle.restart_child("d")
        assert crew.take() == ["+d"]


@both_backends
async def test_a_changed_spec_decides_what_follows_the_next_end() -> None:
    # case 84: code_change
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"))
        await handle.reconfigure(supervisor("top", crew.member("a", restart=TEMPORARY)))
        system.ref("top/a").tell(Die())
        await settled()

        assert await counts(handle) == (0, 0, 0, 0)


@both_backends
async def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    # cases 84-87: the old configuration stays
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab"), strategy=ONE_FOR_ALL)
        for wrong in (
            crew.member("top"),
            dynamic("top", crew.pattern("a")),
            supervisor("other", crew.member("c")),
            supervisor("top", crew.member("c"), strategy=ONE_FOR_ALL, full_restart=FullRestart()),
            supervisor("top", crew.member("c"), supervisor("a")),
        ):
            with pytest.raises(InvalidSpec, match="reconfigure of top"):
                await handle.reconfigure(wrong)
        with pytest.raises(InvalidSpec, match="unique"):
            supervisor("top", *crew.members("cc"))

        assert await states(handle) == {"a": "running", "b": "running"}
        assert (await handle.supervision()).strategy == "one_for_all"


@both_backends
async def test_the_declaration_that_holds_already_changes_nothing() -> None:
    # case 84: where OTP's callback says ignore
    crew = Crew()
    async with open_system() as system:
        children = crew.members("ab")
        handle = await crew.start(system, *children)
        before = await handle.which_children()
        await handle.reconfigure(supervisor("top", *children))

        assert await handle.which_children() == before
        assert crew.take() == []


@both_backends
async def test_a_dynamic_supervisors_template_may_change_and_its_kind_may_not() -> None:
    # case 86: code_change_simple, case 87: code_change_simple_map
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a"))
        (old,) = await fill(pool, 1)
        await pool.reconfigure(dynamic("pool", crew.pattern("b", restart=TRANSIENT, shutdown=1.0)))
        with pytest.raises(InvalidSpec, match="made by dynamic"):
            await pool.reconfigure(supervisor("pool", crew.member("a")))

        assert (await pool.get_spec(old)).shutdown == 1.0
        crew.take()
        await fill(pool, 1)
        old.tell(Die())
        await settled()
        assert crew.take() == ["+b", "-a:crash", "+b"]


@both_backends
async def test_a_lower_bound_kills_nobody_and_holds_new_children_off() -> None:
    # D11
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a"), max_children=3)
        await fill(pool, 3)
        await pool.reconfigure(dynamic("pool", crew.pattern("a"), max_children=1))

        assert await counts(pool) == (1, 3, 0, 3)
        with pytest.raises(TooManyChildren):
            await pool.start_child()
        with pytest.raises(InvalidSpec):
            dynamic("pool", crew.pattern("a"), max_children=-1)


@both_backends
async def test_a_changed_configuration_lasts_as_long_as_the_incarnation() -> None:
    # case 84: what the parent's spec says holds again after a restart
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, supervisor("inner", crew.member("a")))
        inner = SupervisorHandle(system.ref("top/inner"))
        await inner.reconfigure(supervisor("inner", crew.member("a"), crew.member("b")))
        assert await states(inner) == {"a": "running", "b": "stopped"}
        await handle.restart("inner")

        assert await states(inner) == {"a": "running"}
