"""Any few faults at any moments: everything arrives once and in order, and the session is back within 30 s.

A schedule is plain data, drawn first and run afterwards in one virtual-clock run
of client and hub, with the product's own time constants.  Times lie on a dyadic
grid, so that faults often fall into the same instant.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import attrs
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.stories.story import BACK_WITHIN, Story, running
from tests.stories.world import World, budgets, flat_nursery, open_world

from holdfast.runtime import CrashReported

# Faults begin within this time; one that lasts ends later.
SPAN = 16.0
GRID = 8

ACTORS = (
    "foundation/config",
    "foundation/logger",
    "session/auth",
    "session/delivery",
    "session/link/reconnect",
    "session/link/socket",
    "session/avatar",
    "session/client",
)


@attrs.frozen
class Fault:
    """What happens, when, and how long it lasts where it lasts."""

    at: float
    what: str
    lasts: float = 0.0
    path: str = ""

    @property
    def ends_at(self) -> float:
        return self.at + self.lasts


times = st.integers(0, int(SPAN * GRID)).map(lambda step: step / GRID)
lengths = st.sampled_from([0.125, 1.0, 6.0, 12.0])
REMOTE = ("reset", "half open", "refuse token", "refuse refresh")
LASTING = ("refuse dials", "swallow dials", "kill hub", "stop hub")
faults = st.one_of(
    st.builds(Fault, times, st.sampled_from(REMOTE)),
    st.builds(Fault, times, st.sampled_from(LASTING), lengths),
    st.builds(Fault, times, st.just("crash"), st.just(0.0), st.sampled_from(ACTORS)),
)


async def _inflict(story: Story, fault: Fault, begins: float) -> None:
    world = story.world
    await trio.sleep_until(begins + fault.at)
    match fault.what:
        case "reset":
            world.network.reset()
        case "half open":
            world.network.half_open()
        case "crash":
            world.crash(story.client, fault.path)
        case "refuse token" | "refuse refresh" if world.running is not None:
            await _refuse(world, fault.what)
        case "refuse dials" | "swallow dials":
            await _spoil(world, fault)
        case "kill hub" | "stop hub" if world.running is not None:
            await _restart(world, fault, begins)
        case _:
            pass  # the hub is down already


async def _refuse(world: World, what: str) -> None:
    if what == "refuse token":
        await world.hub.refuse_next(2, 503)
    else:
        await world.hub.refuse_next(1, 401, grant_type="refresh_token")


async def _spoil(world: World, fault: Fault) -> None:
    world.network.weather = "refusing" if fault.what == "refuse dials" else "silent"
    world.network.reset()
    await trio.sleep(fault.lasts)
    # Whoever ends first mends it: the weather is one, however many spoil it.
    world.network.weather = "fine"


async def _restart(world: World, fault: Fault, begins: float) -> None:
    if fault.what == "kill hub":
        world.kill_hub()
    else:
        await world.stop_hub()
    await trio.sleep_until(begins + fault.ends_at)
    await world.start_hub()


async def _play(seed: int, schedule: list[Fault], store: Path) -> None:
    # Tokens that live 20 s, so that refreshes fall into the faults, too.
    async with open_world(seed=seed, hub_store=store, token_lifetime=20.0) as world, running(world) as story:
        begins = trio.current_time()
        async with flat_nursery() as nursery:
            nursery.start_soon(lambda: story.traffic.send(int(SPAN * GRID), every=1 / GRID))
            for fault in schedule:
                nursery.start_soon(_inflict, story, fault, begins)
        over = max([begins + SPAN, *(begins + fault.ends_at for fault in schedule)])
        await story.traffic.settled(within=max(0.0, over + BACK_WITHIN - trio.current_time()))
        await story.until("connected")
        crashes = story.heard.of(CrashReported)
        assert {crash.exception.partition(":")[0] for crash in crashes} <= {"BOOM"}, "nobody else crashed"
        if all(fault.what != "crash" for fault in schedule):
            await story.untouched()
        else:
            left = await budgets(story.client)
            assert left["holdfast"][0] >= 2, "eight crashes are one full restart at most"


def play(seed: int, schedule: list[Fault]) -> None:
    """Run a schedule to its end."""

    async def main() -> None:
        with trio.fail_after(10_000):
            await _play(seed, schedule, Path(folder) / "hub.db")

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# A2.7, D4.3, SEMANTICS "Supervision beyond OTP" 4
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@example(0, [Fault(2.0, "crash", path="session/auth")] * 6)
@example(
    0, [Fault(2.0, "half open"), Fault(4.0, "crash", path="session/delivery"), Fault(4.0, "kill hub", 6.0)]
)
@given(st.integers(0, 1_000), st.lists(faults, max_size=8))
def test_whatever_happens_everything_arrives_once_in_order_and_the_session_is_back(
    seed: int, schedule: list[Fault]
) -> None:
    play(seed, schedule)
