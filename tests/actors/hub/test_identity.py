from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from tests.actors.hub.conftest import ADMIN_KEY, API_KEY, World, open_world, settings_for

from holdfast.actors.hub.messages import Exchange, FamilyRevoked, Granted, TokenRefused
from holdfast.actors.hub.topology import ROOT, open_hub
from holdfast.runtime import ActorStarted, Event, InjectedFault, Secret, StartFailed
from holdfast.runtime.outcomes import unwrap
from holdfast.runtime.testing import on_trio

BEARER = {"Authorization": f"Bearer {API_KEY}"}
SIGN_IN = {"grant_type": "client_credentials", "client_id": "alice"}


async def post(
    world: World, body: object = SIGN_IN, *, headers: dict[str, str] | None = None, path: str = "/auth/token"
) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with world.http() as http:
        return await http.post(path, content=content, headers=BEARER if headers is None else headers)


async def refresh(world: World, token: str) -> httpx2.Response:
    return await post(world, {"grant_type": "refresh_token", "refresh_token": token})


def error_of(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, body["error"]


# -- A1.1


@on_trio
async def test_an_api_key_gets_a_token_pair_that_is_never_cached() -> None:  # A1.1
    async with open_world() as world:
        answer = await post(world)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"access_token", "refresh_token", "expires_in", "token_type"}
    assert (body["expires_in"], body["token_type"]) == (300, "Bearer")
    assert body["access_token"].count(".") == 2
    assert answer.headers["cache-control"] == "no-store"


@on_trio
async def test_a_fraction_of_a_second_in_the_lifetime_is_told() -> None:
    async with open_world(token_lifetime=1.5) as world:
        assert (await post(world)).json()["expires_in"] == 1.5


@on_trio
async def test_each_of_several_keys_is_good() -> None:
    keys = ("first-api-key", "second-api-key", "third-api-key")
    async with open_world(api_keys=tuple(Secret(key) for key in keys)) as world:
        answers = [await post(world, headers={"Authorization": f"Bearer {key}"}) for key in (*keys, "fourth")]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 401]


# -- A1.2


@on_trio
async def test_a_refresh_gives_a_newer_pair_and_a_repeated_one_the_same_successor() -> None:  # A1.2
    async with open_world() as world:
        first = (await post(world)).json()
        second = (await refresh(world, first["refresh_token"])).json()
        await trio.sleep(30)
        again = (await refresh(world, first["refresh_token"])).json()

    assert second["refresh_token"] not in {first["refresh_token"], None}
    assert second["access_token"] != first["access_token"]
    assert again["refresh_token"] == second["refresh_token"]


@on_trio
async def test_a_refresh_token_used_again_after_the_grace_revokes_the_family() -> None:
    async with open_world() as world:
        seen = world.hub.system.events.subscribe(wanted=lambda event: isinstance(event, FamilyRevoked))
        first = (await post(world)).json()
        second = (await refresh(world, first["refresh_token"])).json()
        await trio.sleep(31)

        assert error_of(await refresh(world, first["refresh_token"])) == (401, "invalid_grant")
        assert error_of(await refresh(world, second["refresh_token"])) == (401, "invalid_grant")
        event = seen.get_nowait()

    assert isinstance(event, FamilyRevoked)
    assert event.client_id == "alice"
    assert first["refresh_token"] not in repr(event)


@on_trio
async def test_two_refreshes_that_race_get_one_successor() -> None:
    async with open_world() as world:
        first = (await post(world)).json()
        got: list[str] = []

        async def race() -> None:
            got.append((await refresh(world, first["refresh_token"])).json()["refresh_token"])

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(race)

    assert len(got) == 5
    assert len(set(got)) == 1


@on_trio
async def test_tokens_and_refresh_tokens_outlive_the_hub(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    async with open_world(store_path=path) as world:
        pair = (await post(world)).json()

    async with open_world(store_path=path, seed=2) as world:
        async with world.connection(pair["access_token"]) as client:
            assert (await client.connect())["resumed"] is False
        assert (await refresh(world, pair["refresh_token"])).status_code == 200


# -- A1.3


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong-key"}, {"Authorization": f"Basic {API_KEY}"}, {"Authorization": ""}],
)
@on_trio
async def test_without_a_valid_api_key_there_is_a_401(headers: dict[str, str]) -> None:  # A1.3
    async with open_world() as world:
        answer = await post(world, headers=headers)

    assert error_of(answer) == (401, "invalid_credentials")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    "body, error",
    [
        (b"", "invalid_request"),
        (b"\xff\xfe", "invalid_request"),
        (b"not json", "invalid_request"),
        (b"[" * 100_000, "invalid_request"),
        ([], "invalid_request"),
        ({}, "invalid_request"),
        ({"grant_type": 7}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": ""}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
@on_trio
async def test_a_request_that_is_none_is_answered_with_400(body: object, error: str) -> None:
    async with open_world(body_max=200_000) as world:
        assert error_of(await post(world, body)) == (400, error)


@on_trio
async def test_a_body_that_announces_to_be_too_long_is_not_read() -> None:
    async with open_world() as world:
        assert error_of(await post(world, b" " * 16_385)) == (413, "invalid_request")


@on_trio
async def test_a_body_without_an_end_is_read_up_to_its_bound() -> None:
    read = 0

    async def receive() -> dict[str, object]:
        nonlocal read
        read += 1_000
        return {"type": "http.request", "body": b" " * 1_000, "more_body": True}

    async def send(message: Mapping[str, object]) -> None:
        statuses.append(message.get("status"))

    statuses: list[object] = []
    scope: dict[str, object] = {
        "type": "http",
        "method": "POST",
        "path": "/auth/token",
        "headers": [],
        "query_string": b"",
    }
    async with open_world() as world:
        await world.hub.app(scope, receive, send)

    assert statuses[0] == 413
    assert read == 17_000


@pytest.mark.parametrize("path", ["/auth/token", "/v1/sessions/token"])
@on_trio
async def test_somebody_who_hangs_up_in_the_middle_of_a_request_is_no_error_of_ours(path: str) -> None:
    coming: list[dict[str, object]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return coming.pop(0)

    async def send(_message: Mapping[str, object]) -> None:
        pass

    scope: dict[str, object] = {
        "type": "http", "method": "POST", "path": path, "query_string": b"",
        "headers": [(b"x-api-key", API_KEY.encode())],
    }  # fmt: skip
    async with open_world() as world:
        # A server would report what comes out of this with a traceback, once for each such client.
        await world.hub.app(scope, receive, send)


@on_trio
async def test_an_invented_refresh_token_is_an_invalid_grant() -> None:  # A1.4
    async with open_world() as world:
        assert error_of(await refresh(world, "invented")) == (401, "invalid_grant")


@on_trio
async def test_too_many_requests_are_told_when_to_come_back() -> None:  # A1.3
    async with open_world(token_requests=2, token_window=20.0) as world:
        await post(world)
        await post(world)
        answer = await post(world)
        assert error_of(answer) == (429, "rate_limited")
        assert answer.headers["retry-after"] == "10"

        await trio.sleep(10)
        assert (await post(world)).status_code == 200


@on_trio
async def test_strangers_do_not_use_up_the_requests_of_a_key() -> None:
    async with open_world(token_requests=2) as world:
        for _ in range(5):
            await post(world, headers={"Authorization": "Bearer wrong-key"})
        assert (await post(world)).status_code == 200


@on_trio
async def test_a_client_that_is_denied_gets_no_token() -> None:
    async with open_world(denied_clients=("alice",)) as world:
        assert error_of(await post(world)) == (403, "access_denied")


@on_trio
async def test_what_does_not_exist_is_answered_in_json() -> None:
    async with open_world() as world:
        assert error_of(await post(world, path="/nowhere")) == (404, "not_found")
        async with world.http() as http:
            assert error_of(await http.get("/auth/token")) == (405, "invalid_request")


@on_trio
async def test_a_crash_of_the_identity_actor_is_a_503_that_may_be_retried() -> None:  # A1.3
    async with open_world() as world:
        identity = world.hub.system.ref(f"{ROOT}/identity")
        pair = (await post(world)).json()
        identity.tell(InjectedFault(RuntimeError("on purpose")))
        await trio.testing.wait_all_tasks_blocked()

        assert (await refresh(world, pair["refresh_token"])).status_code == 200, "restarted, nothing lost"
        await world.hub.system.stop()
        answer = await post(world)

    assert error_of(answer) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "1"


@on_trio
async def test_refusals_are_events_without_secrets() -> None:  # A5.7
    seen: list[Event] = []
    async with open_world() as world:
        world.hub.system.events.call(seen.append)
        await post(world, {"grant_type": "hush-hush"})
        await refresh(world, "hush-hush")

    refused = [event for event in seen if isinstance(event, TokenRefused)]
    assert [(event.status, event.grant_type) for event in refused] == [(400, "other"), (401, "refresh_token")]
    assert "hush" not in repr(seen)


# -- the operator's fault switch


@on_trio
async def test_the_switch_refuses_exactly_the_next_ones_of_its_kind() -> None:
    async with open_world() as world:
        order = {"n": 1, "status": 429, "retry_after": 3, "grant_type": "refresh_token"}
        admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
        assert (await post(world, order, headers=admin, path="/admin/refuse-next")).status_code == 204

        pair = (await post(world)).json()
        refused = await refresh(world, pair["refresh_token"])
        assert error_of(refused) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "3"
        assert (await refresh(world, pair["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    "status, error", [(401, "invalid_credentials"), (500, "server_error"), (403, "access_denied")]
)
@on_trio
async def test_the_switch_speaks_as_the_real_refusals_do(status: int, error: str) -> None:
    async with open_world() as world:
        await world.hub.refuse_next(2, status)
        answers = [error_of(await post(world)) for _ in range(2)]
        assert answers == [(status, error)] * 2
        assert (await post(world)).status_code == 200


@on_trio
async def test_the_switch_can_be_taken_back() -> None:
    async with open_world() as world:
        await world.hub.refuse_next(5, 500)
        await world.hub.refuse_next(0, 500)
        assert (await post(world)).status_code == 200


@pytest.mark.parametrize("headers", [{}, BEARER, {"Authorization": "Bearer guess"}])
@on_trio
async def test_the_switch_is_the_operators_alone(headers: dict[str, str]) -> None:
    async with open_world() as world:
        order = {"n": 1, "status": 500}
        assert error_of(await post(world, order, headers=headers, path="/admin/refuse-next"))[0] == 401
        assert (await post(world)).status_code == 200


@on_trio
async def test_the_switch_works_from_this_machine_alone() -> None:
    async with open_world() as world:
        far = httpx2.ASGITransport(world.hub.app, client=("192.0.2.1", 5))
        async with httpx2.AsyncClient(transport=far, base_url="http://hub") as http:
            answer = await http.post(
                "/admin/refuse-next",
                json={"n": 1, "status": 500},
                headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            )
        assert error_of(answer)[0] == 401


@pytest.mark.parametrize(
    "order", [{}, {"n": -1, "status": 500}, {"n": 1, "status": 200}, {"n": 1_001, "status": 500}]
)
@on_trio
async def test_an_order_that_makes_no_sense_is_refused(order: dict[str, Any]) -> None:
    async with open_world() as world:
        admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
        assert error_of(await post(world, order, headers=admin, path="/admin/refuse-next"))[0] == 400


@on_trio
async def test_without_an_admin_key_there_is_no_switch() -> None:
    async with open_world(admin_key=None) as world:
        answer = await post(world, {"n": 1, "status": 500}, path="/admin/refuse-next")
        assert error_of(answer) == (404, "not_found")


# -- over a real socket


def test_the_token_endpoint_serves_a_port_that_it_chose_and_keeps_it_over_a_restart() -> None:
    async def main() -> None:
        async with open_hub(settings_for()) as hub, httpx2.AsyncClient() as http:
            assert hub.api_url.startswith("http://127.0.0.1:")
            assert not hub.api_url.endswith(":0")
            first = await http.post(hub.token_url, json=SIGN_IN, headers=BEARER)
            started = hub.system.events.subscribe(wanted=lambda event: isinstance(event, ActorStarted))
            hub.system.ref(f"{ROOT}/identity").tell(InjectedFault(RuntimeError("on purpose")))
            with trio.fail_after(10):
                await started.get()
            body = {"grant_type": "refresh_token", "refresh_token": first.json()["refresh_token"]}
            second = await http.post(hub.token_url, json=body, headers=BEARER)
            assert (first.status_code, second.status_code) == (200, 200)

    trio.run(main)


def test_a_port_that_is_taken_fails_the_start_by_name() -> None:
    async def main() -> None:
        async with open_hub(settings_for()) as hub:
            port = int(hub.api_url.rpartition(":")[2])
            with pytest.raises((StartFailed, ExceptionGroup)) as failed:
                async with open_hub(settings_for(token_port=port)):
                    pass
            assert "address already in use" in str(unwrap(failed.value)).lower()

    trio.run(main)


def test_the_secret_type_keeps_keys_out_of_the_actors_messages() -> None:
    exchange = Exchange(Secret("hush"), "refresh_token", refresh_token=Secret("hush"))
    assert "hush" not in repr(exchange)
    assert "hush" not in repr(Granted(Secret("hush"), Secret("hush"), 1.0))
