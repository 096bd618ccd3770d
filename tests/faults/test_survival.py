"""What survives what: every cell of that table of SEMANTICS that concerns the product.

Columns are the crash of one actor, of a group, of so many that the root answers
with one coordinated full restart, and the kill of the process.
"""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from tests.stories.story import BACK_WITHIN, Story, running
from tests.stories.world import Recorder, budgets, flat_nursery, incarnations, open_world, until

from holdfast.actors.auth.messages import AuthState, GetAuthState, TokenAcquired, TokenRefreshed
from holdfast.actors.client import SendFailed
from holdfast.actors.client.events import event_form
from holdfast.actors.delivery.messages import ContinuityLost, DeliveryState, GetDeliveryState
from holdfast.actors.hub import open_embedded_hub
from holdfast.actors.hub.avatar_sessions import SANDBOX_AVATAR
from holdfast.actors.logger.messages import Flush, Level
from holdfast.actors.socket.messages import Connected as LinkConnected
from holdfast.runtime import CrashReported, DeadLetter, Down, GaveUp
from holdfast.runtime.testing import on_trio, settled
from holdfast.supervisors import FullRestartCompleted, FullRestartStarted

CONFIG, LOGGER = "foundation/config", "foundation/logger"
AUTH, DELIVERY = "session/auth", "session/delivery"
RECONNECT, SOCKET = "session/link/reconnect", "session/link/socket"
AVATAR, CLIENT = "session/avatar", "session/client"
ACTORS = (CONFIG, LOGGER, AUTH, DELIVERY, RECONNECT, SOCKET, AVATAR, CLIENT)

# Which actors a crash takes along: by rest_for_one in foundation and link, nobody elsewhere.
TAKEN_ALONG = {CONFIG: {CONFIG, LOGGER}, RECONNECT: {RECONNECT, SOCKET}}

# The session's budget, and the crash that is one too many.
SPENT = 6

AVATAR_ON = {"enabled": True, "avatar_id": SANDBOX_AVATAR, "is_sandbox": True}


async def full_restart(story: Story) -> None:
    """Crash auth until session's budget is spent, and wait until the tree is up again."""
    for _ in range(SPENT):
        story.world.crash(story.client, AUTH)
    await until(lambda: bool(story.heard.of(FullRestartCompleted)))


# ---- the crash of one actor ------------------------------------------------------------------------


@on_trio
@pytest.mark.parametrize("path", ACTORS)
async def test_the_crash_of_an_actor_in_mid_traffic_costs_nothing_but_its_incarnation(path: str) -> None:
    # A2.5, A2.7, D4.3, R7: restarted by strategy, siblings untouched, nothing lost, doubled or reordered
    async with open_world() as world, running(world) as story:
        await story.client.preserve_state({"draft": "dear"})
        async with flat_nursery() as nursery:
            nursery.start_soon(lambda: story.traffic.send(200, every=1 / 64))
            await trio.sleep(1)
            world.crash(story.client, path)
        await story.traffic.settled()
        await story.until("connected")

        again = TAKEN_ALONG.get(path, {path})
        assert await incarnations(story.client) == {name: 1 + (name in again) for name in ACTORS}
        assert [crash.path for crash in story.heard.of(CrashReported)] == [f"holdfast/{path}"]
        assert (await story.client.state()).phase == "ready"
        assert await story.client.preserved_state() == {"draft": "dear"}
        # The token and the session are the same ones.
        assert len(story.heard.of(TokenAcquired, TokenRefreshed)) == 1
        assert len({event.session for event in story.heard.of(LinkConnected)}) == 1
        assert not story.heard.of(ContinuityLost)
        # Charged once, where it belongs.  The avatar has a budget of its own.
        charged = {name for name, (left, whole) in (await budgets(story.client)).items() if left < whole}
        own = f"holdfast/{path}"
        assert charged == {own if path == AVATAR else own.rpartition("/")[0]}


@on_trio
async def test_actors_that_hold_no_link_are_restarted_without_touching_it() -> None:
    # ARCHITECTURE 3: one_for_one in session
    async with open_world() as world, running(world) as story:
        for path in (CONFIG, LOGGER, AUTH, AVATAR, CLIENT):
            world.crash(story.client, path)
            await trio.sleep(6)  # so far apart that no three of them count together
        assert len(story.heard.of(LinkConnected)) == 1
        assert (await story.client.state()).link.state == "connected"


@on_trio
async def test_mail_that_waits_behind_a_crash_is_answered_by_the_next_incarnation() -> None:
    # What survives what: queued mail of a slot, actor restart
    async with open_world() as world, running(world) as story:
        answers: list[AuthState] = []

        async def ask() -> None:
            answers.append(await story.client.system.ref(f"holdfast/{AUTH}").ask(GetAuthState()))

        world.crash(story.client, AUTH)
        async with flat_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
        assert [answer.authenticated for answer in answers] == [True] * 10
        assert (await incarnations(story.client))[AUTH] == 2


@on_trio
async def test_timers_are_set_anew_so_that_a_restarted_auth_still_renews_ahead_of_expiry() -> None:
    # What survives what: timers; A1.2
    async with open_world(token_lifetime=60.0) as world, running(world) as story:
        await trio.sleep(10)
        world.crash(story.client, AUTH)
        await trio.sleep(50)
        assert len(story.heard.of(TokenRefreshed)) == 1
        assert len(story.heard.of(LinkConnected)) == 1


@on_trio
@pytest.mark.parametrize("committed", [False, True])
async def test_a_send_that_delivery_dies_over_is_accepted_once(committed: bool, tmp_path: Path) -> None:
    # A send is asked again with the same id; the append is idempotent by id
    async with open_world() as world, running(world, delivery={"store": tmp_path / "client.db"}) as story:
        await story.traffic.send(3)
        await story.traffic.settled()
        await trio.sleep(1)
        store = world.stores[0]

        armed = [committed, not committed]

        def after_the_commit(*_arguments: object) -> int:
            if armed[0]:
                armed[0] = False
                raise RuntimeError("died when it was committed")
            return 0

        def before_the_commit() -> bool:
            undone, armed[1] = armed[1], False
            return undone

        store.set_wal_hook(after_the_commit)
        store.set_commit_hook(before_the_commit)
        await story.traffic.send(3)
        await story.traffic.settled()
        assert [crash.path for crash in story.heard.of(CrashReported)] == [f"holdfast/{DELIVERY}"]
        assert [letter.message_type for letter in story.heard.of(DeadLetter)] == ["Append"]


@on_trio
async def test_refs_watches_and_subscriptions_of_embedders_outlive_every_incarnation() -> None:
    # What survives what: refs, watches, event subscriptions
    async with open_world() as world, running(world) as story:
        delivery = story.client.system.ref(f"holdfast/{DELIVERY}")
        downs: list[Down] = []
        story.client.system.watch(delivery, downs.append)
        subscription = story.client.events(wanted=lambda event: isinstance(event, CrashReported))
        world.crash(story.client, DELIVERY)
        await trio.sleep(1)
        await full_restart(story)
        world.crash(story.client, DELIVERY)
        await trio.sleep(1)
        assert [(down.path, down.incarnation) for down in downs] == [(delivery.path, n) for n in (1, 2, 3)]
        assert story.client.system.ref(f"holdfast/{DELIVERY}") == delivery
        assert isinstance(await delivery.ask(GetDeliveryState()), DeliveryState)
        paths: list[str] = []
        while (event := subscription.get_nowait()) is not None:
            assert isinstance(event, CrashReported)
            paths.append(event.path)
        assert paths == [f"holdfast/{DELIVERY}", *[f"holdfast/{AUTH}"] * SPENT, f"holdfast/{DELIVERY}"]


# ---- the restart of a group ------------------------------------------------------------------------


@on_trio
async def test_mail_of_a_group_member_waits_for_its_next_incarnation() -> None:
    # What survives what: queued mail of a slot, group restart
    async with open_world() as world, running(world) as story:
        logger = story.client.system.ref(f"holdfast/{LOGGER}")
        cell = logger.slot.cell
        assert cell is not None
        cell.suspend()
        async with flat_nursery() as nursery:
            nursery.start_soon(lambda: logger.ask(Flush()))
            await settled()
            assert logger.slot.mailbox.depth == 1
            world.crash(story.client, CONFIG)
        assert logger.slot.incarnation == 2


@on_trio
async def test_every_event_is_in_the_log_once_and_in_order_whatever_was_restarted(tmp_path: Path) -> None:
    # What survives what: log records accepted
    file = tmp_path / "client.log"
    logging = {"file": file, "stderr": False, "level": Level.DEBUG}
    async with open_world() as world:
        async with running(world, logging=logging) as story:
            for path in (LOGGER, CONFIG, LOGGER):
                world.crash(story.client, path)
                await story.traffic.send(5)
                await trio.sleep(1)
            await full_restart(story)
            await story.traffic.settled()
            heard = story.heard
        logged = [json.loads(line)["message"] for line in file.read_text().splitlines()]
    # Dead letters are rate-limited in the log, by design.
    said = [str(event_form(event)["type"]) for _at, event in heard.events]
    said = [name for name in said if name != "dead:letter"]
    logged = [name for name in logged if name != "dead:letter"]
    written = logged[logged.index(said[0]) : logged.index("clean end")]
    assert written == said[: len(written)]
    # The logger ends last but for those above it.
    assert set(said[len(written) :]) == {"actor:ended"}


# ---- the full restart ------------------------------------------------------------------------------


@on_trio
async def test_a_spent_budget_leads_to_one_full_restart_and_the_session_goes_on() -> None:
    # Beyond OTP 7; What survives what: every row of the column "full restart"
    async with open_world() as world, running(world) as story:
        await story.client.preserve_state({"activeInteractions": 3})
        async with flat_nursery() as nursery:
            nursery.start_soon(lambda: story.traffic.send(300, every=1 / 64))
            await trio.sleep(1)
            await full_restart(story)
        await story.traffic.settled()
        assert await story.until("connected") < BACK_WITHIN

        (started,) = story.heard.of(FullRestartStarted)
        (completed,) = story.heard.of(FullRestartCompleted)
        assert started.supervisor == completed.supervisor == "holdfast"
        assert completed.seconds < BACK_WITHIN
        # Everybody is new; auth has had its five restarts before.
        assert await incarnations(story.client) == {name: 2 if name != AUTH else 7 for name in ACTORS}
        left = await budgets(story.client)
        assert left["holdfast"] == (2, 3)
        assert left["holdfast/session"] == (5, 5), "a new incarnation begins with a whole budget"
        assert (await story.client.state()).phase == "ready"
        assert await story.client.preserved_state() == {"activeInteractions": 3}
        assert len(story.heard.of(TokenAcquired, TokenRefreshed)) == 1
        assert len({event.session for event in story.heard.of(LinkConnected)}) == 1
        assert all(event.resumed for event in story.heard.of(LinkConnected)[1:])
        assert not story.heard.of(ContinuityLost)


@on_trio
async def test_mail_waits_for_the_full_restart_and_is_answered_after_it() -> None:
    # What survives what: queued mail of a slot, full restart
    async with open_world() as world, running(world) as story:
        delivery = story.client.system.ref(f"holdfast/{DELIVERY}")
        cell = delivery.slot.cell
        assert cell is not None
        answers: list[DeliveryState] = []

        async def ask() -> None:
            answers.append(await delivery.ask(GetDeliveryState(), timeout=BACK_WITHIN))

        cell.suspend()
        async with flat_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
            await settled()
            assert delivery.slot.mailbox.depth >= 5
            await full_restart(story)
        assert len(answers) == 5
        assert delivery.slot.incarnation == 2


@on_trio
async def test_a_connect_that_waits_is_answered_across_a_full_restart() -> None:
    # Beyond OTP 7: the embedder's question outlives the incarnations
    async with open_world() as world:
        world.network.weather = "refusing"
        async with running(world, connect=False) as story:
            async with flat_nursery() as nursery:
                nursery.start_soon(story.client.connect)
                await trio.sleep(2)
                await full_restart(story)
                world.network.weather = "fine"
            assert await story.client.is_connected()


@on_trio
async def test_a_root_whose_budget_is_spent_ends_and_says_so_at_once() -> None:
    # Beyond OTP 7: beyond its own budget the process ends; asks fail at once with the reason (Actors 5)
    async with open_world() as world, world.client() as client:
        await client.connect()
        heard = Recorder(client)

        def completed(times: int) -> bool:
            return len(heard.of(FullRestartCompleted)) >= times

        for times in range(1, 5):
            for _ in range(SPENT):
                world.crash(client, AUTH)
            # The fourth never comes.
            with suppress(trio.TooSlowError):
                await until(functools.partial(completed, times), within=20)
        assert len(heard.of(FullRestartCompleted)) == 3
        with trio.fail_after(60):
            assert isinstance(await client.system.wait_ended(client.root.ref), GaveUp)
        began = trio.current_time()
        with pytest.raises(SendFailed, match=r"gave up|ended"):
            await client.send({"n": 1})
        assert trio.current_time() - began < 1


# ---- the avatar ------------------------------------------------------------------------------------


@on_trio
@pytest.mark.parametrize("what", ["avatar", "client", "full restart"])
async def test_a_remote_avatar_session_is_adopted_or_closed_never_leaked(what: str) -> None:
    # What survives what: remote avatar session; A6.4
    async with open_world() as world:
        async with running(world, avatar=AVATAR_ON) as story:
            (before,) = world.hub.avatars.active
            if what == "full restart":
                await full_restart(story)
            else:
                world.crash(story.client, f"session/{what}")
            await trio.sleep(10)
            (current,) = world.hub.avatars.active
            assert current.id == (await story.client.avatar_state()).session_id
            assert (await story.client.state()).avatar == "open", "and it is there again by itself"
            if what == "full restart":
                assert current.id != before.id
        assert not world.hub.avatars.active


@on_trio
async def test_a_remote_avatar_session_left_by_a_killed_process_is_swept_at_the_next_start(
    tmp_path: Path,
) -> None:
    # What survives what: remote avatar session, process kill -9
    store = {"store": tmp_path / "client.db"}
    async with open_world() as world:
        async with running(world, avatar=AVATAR_ON, delivery=store):
            (before,) = world.hub.avatars.active
            # Nothing reaches the service any more: what is left is what a kill would leave.
            world.network.weather = "refusing"
            world.network.reset()
        assert [session.id for session in world.hub.avatars.active] == [before.id]
        world.network.weather = "fine"
        async with running(world, connect=False, avatar=AVATAR_ON, delivery=store):
            await trio.sleep(5)
            assert not world.hub.avatars.active


# ---- the end of the process ------------------------------------------------------------------------


@on_trio
async def test_the_next_process_goes_on_with_the_session_the_outbox_and_the_state(tmp_path: Path) -> None:
    # What survives what: outbox, inbox cursors, session key, preserved state; store on disk
    store = {"store": tmp_path / "client.db"}
    async with open_world() as world:
        async with world.client(delivery=store) as client:
            heard = Recorder(client)
            await client.connect()
            await client.preserve_state({"sessionId": "abc"})
            for n in range(10):
                await client.echo({"n": n})
            # All are there, so that they are fetched at once and only `commit` commits.
            await trio.sleep(1)
            assert (await client.delivery_state()).inbox_depth == 10
            got = [(await client.receive()).payload["n"] for _ in range(6)]
            await client.commit()
            got += [(await client.receive()).payload["n"] for _ in range(2)]
            assert got == list(range(8))
            await client.disconnect()
            for n in range(10, 13):
                await client.echo({"n": n})
            (first,) = heard.of(LinkConnected)
        async with world.client(delivery=store) as client:
            heard = Recorder(client)
            await client.connect()
            assert await client.preserved_state() == {"sessionId": "abc"}
            # 6 and 7 were not committed: they come again; nothing else does.
            assert [(await client.receive()).payload["n"] for _ in range(7)] == list(range(6, 13))
            (second,) = heard.of(LinkConnected)
            assert (second.session, second.resumed) == (first.session, True)
            assert len(heard.of(TokenAcquired)) == 1, "tokens are not on disk yet: logged in anew"


SENDER = Path(__file__).with_name("sender.py")
# Killed when it has said that so many were accepted: in the middle of its sends, which take about a second.
KILLED_AFTER = (400, 1_200)
TOTAL = 2_000


async def _life(command: list[str], api_key: str, killed_after: int | None) -> list[int]:
    """Run one process, to its end or until it is killed; return the numbers that it said."""
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.send_all(f"{api_key}\n".encode())
    said: list[str] = [""]
    async for chunk in process.stdout:
        *lines, rest = (said.pop() + chunk.decode()).split("\n")
        said += [*lines, rest]
        if killed_after is not None and len(said) > killed_after:
            process.kill()
    status = await process.wait()
    await process.stdin.aclose()
    assert said.pop() == ""
    if killed_after is None:
        assert (status, said.pop()) == (0, "delivered")
    else:
        assert status == -signal.SIGKILL
    return [int(number) for number in said]


def test_a_process_killed_in_the_middle_of_its_sends_redelivers_from_its_store(tmp_path: Path) -> None:
    # What survives what, column "process kill -9"; real time, real sockets, a real SIGKILL
    async def main() -> None:
        accepted: list[int] = []
        async with open_embedded_hub(store=tmp_path / "hub.db") as embedded:
            places = [str(tmp_path / "client.db"), embedded.hub.realtime_url, embedded.hub.api_url]
            for killed_after in (*KILLED_AFTER, None):
                rest = [str(len(accepted)), str(TOTAL - len(accepted))]
                command = [sys.executable, str(SENDER), *places, *rest]
                killed = None if killed_after is None else killed_after - len(accepted)
                accepted += await _life(command, embedded.api_key.reveal(), killed)
            effects = embedded.hub.effects()
        assert accepted == list(range(TOTAL))
        assert [effect.id for effect in effects] == [f"n-{number}" for number in range(TOTAL)]
        assert len({effect.session for effect in effects}) == 1, "the session was resumed from the store"

    trio.run(main)
