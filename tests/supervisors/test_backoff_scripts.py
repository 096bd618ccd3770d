"""Back-off against a second model, script by script: pure, and through real actors on both backends.

Every strategy and a dynamic supervisor; deaths of siblings, every call, time and
the stop in the middle of a delay; starts that fail, and starts that take longer
than the stable period.
"""

from __future__ import annotations

import random

import anyio
import pytest
from tests.supervisors.crew import Crew, Die
from tests.supervisors.delays import BACKOFF, OTHER, Always, Deed, Delays, Kind, script
from tests.supervisors.stage import Stage, child

from holdfast.runtime import Backoff, HoldfastError, Seams, System, open_system
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import (
    Budget,
    ChildSpec,
    Strategy,
    SupervisorHandle,
    dynamic,
    start_tree,
    supervisor,
)
from holdfast.supervisors.messages import (
    Call,
    DeleteChild,
    Reconfigure,
    RestartChild,
    RestartPath,
    StartChild,
    StartInstance,
    StopSupervisor,
    TerminateChild,
)

KINDS: list[Kind] = ["one_for_one", "rest_for_one", "one_for_all", "dynamic"]
PURE_SCRIPTS = 800  # of each kind; about 1 s each
REAL_SCRIPTS = 40  # of each kind and backend


def prepare(kind: Kind, seed: int, *, slow: bool) -> tuple[Delays, list[Deed]]:
    draw = random.Random(f"{kind} {seed}")
    # A real attempt without a delay is made before the next deed; to the machine it is one more wait.
    chance = draw.choice([0.0, 0.25, 0.5, 0.99] if slow else [0.25, 0.5, 0.99])
    model = Delays(kind, chance=chance, intensity=draw.choice([1, 3, 99]), period=20.0)
    for name in ("a", "b", "c", "x", "p-1", "p-2"):
        model.fails[name] = set(draw.sample(range(2, 9), draw.choice([0, 0, 2, 4])))
        if slow and draw.random() < 0.3:
            model.start_takes[name] = draw.choice([0.5, 11.0])
    return model, script(draw, kind)


def tree(kind: Kind, backoff: Backoff, model: Delays, children: list[ChildSpec]) -> ChildSpec:
    budget = Budget(model.intensity, model.period)
    if kind == "dynamic":
        return dynamic("top", children[0], budget=budget, backoff=backoff)
    return supervisor("top", *children, strategy=Strategy(kind), budget=budget, backoff=backoff)


# ---- the pure machine -------------------------------------------------------------------------------


def pure_spec(model: Delays, backoff: Backoff) -> ChildSpec:
    names = ["p"] if model.kind == "dynamic" else ["a", "b", "c"]
    return tree(model.kind, backoff, model, [child(name) for name in names])


def play(stage: Stage, model: Delays, deed: Deed) -> object:
    """Do it to the machine; return the answer to a call."""
    verb, whom = deed
    if verb == "wait":
        stage.events = stage.wait(float(whom))
    elif verb == "die" and whom in stage.running:
        stage.carry_out(stage.machine.decide(stage.notice(whom), stage.now, stage.chance))
    calls: dict[str, Call] = {
        "terminate": TerminateChild(whom),
        "restart_child": RestartChild(whom),
        "delete": DeleteChild(whom),
        "restart": RestartPath(whom),
        "start": StartInstance() if model.kind == "dynamic" else StartChild(child(whom)),
        "reconfigure": Reconfigure(pure_spec(model, OTHER if model.backoff is BACKOFF else BACKOFF)),
        "stop": StopSupervisor(),
    }
    return stage.call(calls[verb]) if verb in calls else None


@pytest.mark.parametrize("kind", KINDS)
def test_the_machine_and_a_second_model_of_back_off_agree_on_every_script(kind: Kind) -> None:
    # Beyond OTP 2, R7, R13-R15, R28-R31, R36-R40
    for seed in range(PURE_SCRIPTS):
        model, deeds = prepare(kind, seed, slow=True)
        stage = Stage(pure_spec(model, BACKOFF), chance=model.chance)
        stage.fails, stage.start_takes = dict(model.fails), model.start_takes
        stage.boot()
        if kind == "dynamic":
            for _ in range(3):
                stage.call(StartInstance())
        model.boot()
        for deed in deeds:
            about = f"{kind} {seed}: {deed} of {deeds}"
            stage.events.clear()
            answer = play(stage, model, deed)
            told = model.do(deed)
            assert [event for event in stage.events if event[0] in "+-!"] == told, about
            assert stage.now == model.now, about
            assert (stage.ended is not None) == model.ended, about
            refused = type(answer).__name__ if isinstance(answer, Exception) else None
            already = isinstance(answer, str) and answer.startswith("already started")
            assert ("AlreadyStarted" if already else refused) == model.answer, about
            assert stage.machine.recovery.restarts == len(model.attempts), about
            if model.ended:
                assert not stage.running, about
                break
            assert stage.states() == model.states, about
            assert list(stage.states()) == list(model.states), about
            # Who waits, and nobody else, has one time at which the next attempt is made.
            assert {name: due for name, (due, _) in stage.timers.items()} == pytest.approx(model.due), about


# ---- real actors ------------------------------------------------------------------------------------


async def call(handle: SupervisorHandle, crew: Crew, model: Delays, deed: Deed) -> None:
    verb, whom = deed
    match verb:
        case "terminate":
            await handle.terminate_child(whom)
        case "restart":
            await handle.restart(whom)
        case "restart_child":
            await handle.restart_child(whom)
        case "delete":
            await handle.delete_child(whom)
        case "start":
            await handle.start_child(crew.member(whom))
        case "reconfigure":
            other = OTHER if model.backoff is BACKOFF else BACKOFF
            await handle.reconfigure(tree(model.kind, other, model, crew.members("abc")))
        case "which":
            assert {one.id: one.state for one in await handle.which_children()} == model.states
        case "count":
            assert (await handle.count_children()).specs == len(model.states)
        case "stop":
            await handle.stop()
        case _:
            raise AssertionError(verb)


async def do(handle: SupervisorHandle, system: System, crew: Crew, model: Delays, deed: Deed) -> str | None:
    """Do it to the real supervisor; return the name of the error that a call was refused with."""
    verb, whom = deed
    if verb == "wait":
        await anyio.sleep(float(whom))
    elif verb == "die":
        if model.states.get(whom) == "running":
            system.ref(f"top/{whom}").tell(Die())
    else:
        began = system.now()
        try:
            await call(handle, crew, model, deed)
        except HoldfastError as error:
            return type(error).__name__
        finally:
            assert system.now() == began, "a call is served at once, also in the middle of a delay"
    await settled()
    return None


@pytest.mark.parametrize("kind", KINDS[:3])
@both_backends
async def test_real_supervisors_do_the_same_and_serve_every_call_at_once(kind: Kind) -> None:
    # Beyond OTP 2, R13, R36
    for seed in range(REAL_SCRIPTS):
        model, deeds = prepare(kind, seed, slow=False)
        crew = Crew()
        async with open_system(seams=Seams(random=Always(model.chance))) as system:
            handle = await start_tree(system, tree(kind, BACKOFF, model, crew.members("abc")))
            crew.fails = dict(model.fails)
            crew.take()
            model.boot()
            for deed in deeds:
                about = f"{kind} {seed}: {deed} of {deeds}"
                assert await do(handle, system, crew, model, deed) == model_answer(model, deed), about
                await settled()
                happened = [event.partition(":")[0] for event in crew.take() if ":crash" not in event]
                assert happened == model.events, about
                model.events = []
                if model.ended:
                    break
                children = await handle.which_children()
                assert {one.id: one.state for one in children} == model.states, about
                assert (await handle.supervision()).restarts == len(model.attempts), about


def model_answer(model: Delays, deed: Deed) -> object:
    """Do it to the model too, and keep what happened beside it."""
    model.events = model.do(deed)
    return model.answer
