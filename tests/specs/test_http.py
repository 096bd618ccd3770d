"""The real HTTP client against an application in memory: faults as real services have them."""

from __future__ import annotations

import random

import httpx2
import pytest
import trio
import trio.lowlevel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from holdfast.runtime.testing import on_trio
from holdfast.specs import HttpFault, HttpService, HttpTransport, MemoryNetwork

done: list[str] = []


async def _token(request: Request) -> JSONResponse:
    done.append((await request.body()).decode())
    await trio.lowlevel.checkpoint()
    return JSONResponse({"access_token": "a.b.c", "expires_in": 300})


def _service(*faults: HttpFault) -> HttpService:
    done.clear()
    service = HttpService(MemoryNetwork(random.Random(1)), 80, "auth", list(faults))
    service.start(Starlette(routes=[Route("/token", _token, methods=["POST"])]))
    return service


async def _post(service: HttpService, body: str = "grant") -> httpx2.Response:
    async with httpx2.AsyncClient(transport=HttpTransport(service), timeout=5) as client:
        return await client.post("http://auth/token", content=body)


@on_trio
async def test_without_a_fault_the_application_answers_after_the_network_s_time() -> None:
    service = _service()
    began = trio.current_time()
    assert (await _post(service)).json()["expires_in"] == 300
    assert trio.current_time() - began == 3 / 64
    assert service.requests == [("POST", "/token")]


@on_trio
@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_status_is_answered_as_often_as_told_and_the_application_is_not_asked(status: int) -> None:
    service = _service(HttpFault.of_status(status, retry_after=7, error="no", times=2))
    for _ in range(2):
        answer = await _post(service)
        assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")
        assert answer.json() == {"error": "no"}
    assert done == []
    assert (await _post(service)).status_code == 200
    assert service.network.effects.counts() == {f"auth:{status}": 2}


@on_trio
async def test_a_fault_waits_for_the_request_that_it_fits() -> None:
    revoked = HttpFault.of_status(401, error="invalid_grant", body=b"refresh_token", path="/token")
    service = _service(HttpFault.malformed(path="/elsewhere"), revoked)
    assert (await _post(service, "first")).status_code == 200
    assert (await _post(service, "refresh_token=x")).json() == {"error": "invalid_grant"}
    assert (await _post(service, "refresh_token=x")).status_code == 200
    assert len(service.faults) == 1


@on_trio
async def test_a_slow_answer_is_waited_for_as_long_as_the_client_does() -> None:
    service = _service(HttpFault.slow(2), HttpFault.slow(60))
    began = trio.current_time()
    assert (await _post(service)).status_code == 200
    assert 2 <= trio.current_time() - began < 3
    with pytest.raises(httpx2.ReadTimeout):
        await _post(service)
    assert 2 + 5 <= trio.current_time() - began < 8


@on_trio
async def test_a_malformed_answer_is_no_json_and_an_edited_one_says_something_else() -> None:
    service = _service(HttpFault.malformed(), HttpFault.edited({"expires_in": 1}))
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        (await _post(service)).json()
    assert (await _post(service)).json() == {"access_token": "a.b.c", "expires_in": 1}


@on_trio
async def test_a_refused_connection_has_no_effect_and_a_lost_answer_has_one() -> None:
    service = _service(HttpFault.refused(), HttpFault.lost())
    with pytest.raises(httpx2.ConnectError):
        await _post(service)
    assert done == []
    with pytest.raises(httpx2.ReadError):
        await _post(service)
    assert done == ["grant"]


@on_trio
async def test_a_service_that_goes_down_breaks_the_calls_in_flight_and_refuses_the_next() -> None:
    service = _service()
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(httpx2.ReadError):
                await _post(service)

        nursery.start_soon(call)
        await trio.sleep(2.5 / 64)
        service.stop()
    with pytest.raises(httpx2.ConnectError):
        await _post(service)


@on_trio
async def test_the_weather_of_its_port_holds_for_a_service() -> None:
    service = _service()
    service.network.weather_at[80] = "refusing"
    with pytest.raises(httpx2.ConnectError):
        await _post(service)
    service.network.weather_at[80] = "silent"
    with pytest.raises(httpx2.ConnectTimeout):
        await _post(service)
