from __future__ import annotations

import httpx2
import trio
from tests.actors.hub.conftest import open_world

from holdfast.actors.hub.embedded import open_embedded_hub
from holdfast.actors.hub.topology import ROOT
from holdfast.runtime import GaveUp, InjectedFault
from holdfast.runtime.testing import on_trio


@on_trio
async def test_a_crash_of_one_service_leaves_the_others_alone() -> None:
    async with open_world() as world:
        world.hub.system.ref(f"{ROOT}/identity").tell(InjectedFault(RuntimeError("on purpose")))
        await trio.testing.wait_all_tasks_blocked()
        incarnations = {
            name: world.hub.system.ref(f"{ROOT}/{name}").slot.incarnation
            for name in ("identity", "realtime", "avatar_standin")
        }

    assert incarnations == {"identity": 2, "realtime": 1, "avatar_standin": 1}


@on_trio
async def test_a_service_that_crashes_for_ever_ends_the_hub_and_says_so() -> None:
    async with open_world() as world:
        for _ in range(6):
            world.hub.system.ref(f"{ROOT}/identity").tell(InjectedFault(RuntimeError("on purpose")))
        outcome = await world.hub.wait_ended()
        await world.hub.drain()  # and nothing hangs on it

    assert isinstance(outcome, GaveUp)


@on_trio
async def test_the_avatar_stand_in_is_part_of_the_application() -> None:  # A6.0
    async with open_world() as world, world.http() as http:
        answer = await http.post("/v1/sessions/token", json={}, headers={"X-API-KEY": "wrong"})

    assert answer.status_code in {401, 403}
    assert answer.json()["code"] != 1000


def test_an_embedded_hub_has_a_key_of_its_own_and_real_addresses() -> None:
    async def main() -> None:
        async with open_embedded_hub() as embedded, httpx2.AsyncClient() as http:
            answer = await http.post(
                embedded.hub.token_url,
                json={"grant_type": "client_credentials", "client_id": "x"},
                headers={"Authorization": f"Bearer {embedded.api_key.reveal()}"},
            )
            assert answer.status_code == 200
            assert embedded.api_key.reveal() not in repr(embedded)
            assert embedded.hub.api_url in repr(embedded.hub)

    trio.run(main)
