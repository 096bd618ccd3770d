"""3.3, stop: cases 16-22."""

from __future__ import annotations

import anyio
import pytest
from tests.conformance.views import ended
from tests.supervisors.crew import PLENTY, Boom, Crew, Die, Finish, Work, fill, start_pool

from holdfast.runtime import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    Crash,
    Outcome,
    Ref,
    Shutdown,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    FOREVER,
    KILL,
    PERMANENT,
    TEMPORARY,
    TRANSIENT,
    Restart,
    start_tree,
    supervisor,
    template,
    worker,
)


@both_backends
async def test_forever_is_allowed_for_supervisors_and_workers() -> None:
    # case 16: sup_stop_infinity
    crew = Crew()
    crew.stop_takes["a"] = 500.0
    async with open_system(stop_deadline=1000.0) as system:
        nested = supervisor("b", shutdown=FOREVER)
        handle = await crew.start(system, crew.member("a", shutdown=FOREVER), nested)
        refs = [system.ref("top/a"), system.ref("top/b")]
        await handle.stop()

        assert [ended(ref) for ref in refs] == [SHUTDOWN, SHUTDOWN]


@both_backends
async def test_a_busy_child_is_killed_after_its_allowance_and_an_obedient_one_ends_with_shutdown() -> None:
    # case 17: sup_stop_timeout
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, *crew.members("ab", shutdown=1.0))
        obedient, busy = system.ref("top/a"), system.ref("top/b")
        busy.tell(Work(1000.0))
        await settled()
        before = system.now()
        await handle.stop()

        assert system.now() - before == pytest.approx(1.0, abs=0.01)
        assert [ended(ref) for ref in (obedient, busy, handle.ref)] == [SHUTDOWN, KILLED, SHUTDOWN]


@both_backends
async def test_a_busy_dynamic_child_is_killed_after_the_allowance() -> None:
    # case 18: sup_stop_timeout_dynamic
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a", shutdown=1.0))
        obedient, busy = await fill(pool, 2)
        busy.tell(Work(1000.0))
        await settled()
        await pool.stop()

        assert [ended(ref) for ref in (obedient, busy, pool.ref)] == [SHUTDOWN, KILLED, SHUTDOWN]


@both_backends
async def test_kill_ends_a_child_without_asking() -> None:
    # case 19: sup_stop_brutal_kill
    crew = Crew()
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a", shutdown=1.0), crew.member("b", shutdown=KILL))
        refs = [system.ref("top/a"), system.ref("top/b")]
        await handle.stop()

        assert [ended(ref) for ref in refs] == [SHUTDOWN, KILLED]
        assert crew.take() == ["-a:shutdown"]


@both_backends
async def test_ten_dynamic_children_that_are_to_be_killed_are_killed() -> None:
    # case 20: sup_stop_brutal_kill_dynamic
    crew = Crew()
    async with open_system() as system:
        pool = await start_pool(system, crew.pattern("a", shutdown=KILL))
        refs = await fill(pool, 10)
        await pool.stop()

        assert [ended(ref) for ref in refs] == [KILLED] * 10
        assert ended(pool.ref) == SHUTDOWN


OWN_ENDS: list[Outcome] = [NORMAL, SHUTDOWN, Shutdown("x"), Crash(Boom("other"))]


@both_backends
async def test_children_that_end_by_themselves_during_the_stop_keep_their_outcomes() -> None:
    # case 21: sup_stop_race; 14 children, the 12 in the middle end 200 ms into a stop of one second
    crew = Crew()
    crew.stop_takes["z"] = 1.0
    middle = [
        crew.member(f"{restart.value}-{number}", restart=restart)
        for restart in (TEMPORARY, TRANSIENT, PERMANENT)
        for number in range(4)
    ]
    async with open_system() as system:
        handle = await crew.start(system, crew.member("a"), *middle, crew.member("z", shutdown=2.0))
        refs = [system.ref(f"top/{spec.id}") for spec in middle]
        system.deadlines.add(system.now() + 0.2, lambda: end_all(refs))
        first, last = system.ref("top/a"), system.ref("top/z")
        await handle.stop()

        assert [ended(ref) for ref in refs[:3]] == OWN_ENDS[:3]
        assert [type(ended(ref)) for ref in refs] == [type(outcome) for outcome in OWN_ENDS] * 3
        assert [ended(ref) for ref in (first, last, handle.ref)] == [SHUTDOWN] * 3
        assert set(crew.starts.values()) == {1}, "nobody was restarted"


def end_all(refs: list[Ref]) -> None:
    for number, ref in enumerate(refs):
        outcome = OWN_ENDS[number % 4]
        ref.tell(Die() if isinstance(outcome, Crash) else Finish(outcome))


class Answering(Actor):
    """Answers a stop with an end of its own."""

    def __init__(self, end: Outcome) -> None:
        self._end = end

    async def on_stop(self, outcome: Outcome) -> None:
        if isinstance(self._end, Crash):
            raise self._end.exception

    @on(Work)
    async def _work(self, message: Work) -> None:
        await anyio.sleep(message.seconds)

    @on(Finish)
    def _finish(self, _message: Finish) -> None:
        self.context.stop(self._end)


@pytest.mark.parametrize("restart", list(Restart))
@both_backends
async def test_dynamic_children_that_answer_a_stop_with_an_end_of_their_own_keep_it(restart: Restart) -> None:
    # case 22: sup_stop_non_shutdown_exit_dynamic, D9
    async with open_system() as system:
        pool = await start_pool(system, template("a", Answering, restart=restart))
        refs: list[Ref] = []
        for end in OWN_ENDS:
            started = (await pool.start_child(end)).ref
            assert started is not None
            refs.append(started)
        for ref, end in zip(refs, OWN_ENDS, strict=True):
            if not isinstance(end, Crash):
                ref.tell(Work(0.5))
                ref.tell(Finish())  # its turn comes when the stop has been asked for
        await settled()
        await pool.stop()

        assert [str(ended(ref)) for ref in refs] == [str(end) for end in OWN_ENDS]
        assert ended(pool.ref) == SHUTDOWN


@both_backends
async def test_a_static_child_that_answers_a_stop_with_an_end_of_its_own_keeps_it() -> None:
    # R20: reported where it does not look like a stop, and nothing else
    async with open_system() as system:
        handle = await start_tree(
            system, supervisor("top", worker("a", lambda: Answering(Crash(Boom("other")))), budget=PLENTY)
        )
        ref = system.ref("top/a")
        await handle.stop()

        assert str(ended(ref)) == "crash(Boom: other)"
        assert ended(handle.ref) == SHUTDOWN
