"""The service as a liar: what comes over HTTP is checked before anything is believed."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx2
import pytest

from holdfast.actors.avatar.liveavatar import LiveAvatar, ReservedSession, open_service
from holdfast.actors.avatar.messages import AvatarServiceError
from holdfast.actors.avatar.settings import AvatarSettings
from holdfast.runtime import Secret
from holdfast.runtime.testing import on_trio

SETTINGS = AvatarSettings(enabled=True, api_url="https://avatar.example/", api_key=Secret("key-1"))
SESSION = ReservedSession("s-1", Secret("token-1"))
DATA: dict[str, object] = {"session_id": "s-1", "session_token": "token-1"}

Handler = Callable[[httpx2.Request], httpx2.Response]


def envelope(data: object, *, code: int = 1000, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json={"code": code, "data": data, "message": "said the service"})


async def asked(answer: httpx2.Response | Handler, settings: AvatarSettings = SETTINGS) -> ReservedSession:
    async with open_service(settings, lambda: transport(answer)) as service:
        return await service.reserve("avatar-456", "high")


async def started(answer: httpx2.Response | Handler, settings: AvatarSettings = SETTINGS) -> str:
    async with open_service(settings, lambda: transport(answer)) as service:
        return await service.start(SESSION)


class Peer(httpx2.AsyncBaseTransport):
    """A service that answers as it is told, piece by piece as a network would."""

    def __init__(self, answer: Handler) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._answer(request)
        headers = [pair for pair in answer.headers.multi_items() if pair[0] != "content-length"]
        return httpx2.Response(answer.status_code, headers=headers, stream=httpx2.ByteStream(answer.content))


def transport(answer: httpx2.Response | Handler) -> httpx2.AsyncBaseTransport:
    return Peer((lambda _request: answer) if isinstance(answer, httpx2.Response) else answer)


@pytest.mark.parametrize("code", [100, 1000])
@on_trio
async def test_both_success_codes_are_success(code: int) -> None:
    assert await asked(envelope(DATA, code=code)) == SESSION


@on_trio
async def test_a_success_status_with_an_error_code_is_an_error() -> None:
    with pytest.raises(AvatarServiceError, match=r"200 \(code 4000\).*said the service.*will not help"):
        await asked(envelope(DATA, code=4000))


@on_trio
async def test_the_key_reserves_and_the_token_starts() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    def service(request: httpx2.Request) -> httpx2.Response:
        headers = request.headers
        seen.append((request.url.path, headers.get("x-api-key"), headers.get("authorization")))
        return envelope({**DATA, "ws_url": "wss://avatar.example/ws"}, status=201)

    await asked(service)
    await started(service)
    assert seen == [
        ("/v1/sessions/token", "key-1", None),
        ("/v1/sessions/start", None, "Bearer token-1"),
    ]


@pytest.mark.parametrize(
    "answer, why",
    [
        (httpx2.Response(200, content=b"<html>"), "no envelope"),
        (httpx2.Response(200, content=b"[" * 100_000), "no envelope"),
        (httpx2.Response(200, content=b"\xff\xfe"), "no envelope"),
        (httpx2.Response(200, content=b"{" + b" " * 500_000), "more than 400000 bytes"),
        (httpx2.Response(200, headers={"content-encoding": "zstd"}, content=b""), "compressed"),
        (envelope(None), "data of another form"),
        (envelope({"session_id": 7, "session_token": "x"}), "data of another form"),
        (envelope({"session_id": "s 1\n", "session_token": "x"}), "unusable form"),
        (envelope({"session_id": "s-1", "session_token": "two words"}), "unusable form"),
    ],
)
@on_trio
async def test_an_answer_that_cannot_be_used_is_a_named_error(answer: httpx2.Response, why: str) -> None:
    with pytest.raises(AvatarServiceError, match=why) as caught:
        await asked(answer)
    assert caught.value.retryable


@pytest.mark.parametrize(
    "status, retryable", [(400, False), (404, False), (302, False), (408, True), (502, True)]
)
@on_trio
async def test_an_error_without_an_envelope_is_judged_by_its_status(status: int, retryable: bool) -> None:
    redirect = {"location": "https://elsewhere.example/"}
    with pytest.raises(AvatarServiceError, match=f"answered {status}") as caught:
        await asked(httpx2.Response(status, headers=redirect, content=b"oops"))
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    "data, why",
    [
        ({"session_id": "s-2", "ws_url": "wss://a.example"}, "another session"),
        ({"session_id": "s-1"}, "no ws_url"),
        ({"session_id": "s-1", "ws_url": "wss://" + "a" * 5000}, "too long"),
        ({"session_id": "s-1", "ws_url": "ws://a.example/"}, "not wss"),
        ({"session_id": "s-1", "ws_url": "https://a.example/"}, "not wss"),
        ({"session_id": "s-1", "ws_url": "wss://a.example:port/"}, "no URL"),
    ],
)
@on_trio
async def test_a_start_is_believed_only_for_the_right_session_and_a_safe_url(
    data: dict[str, str], why: str
) -> None:
    with pytest.raises(AvatarServiceError, match=why):
        await started(envelope(data, status=201))


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9/x", "ws://localhost/x", "wss://a.example/x"])
@on_trio
async def test_plain_text_is_for_loopback(url: str) -> None:  # A3.1
    assert await started(envelope({"session_id": "s-1", "ws_url": url})) == url


@on_trio
async def test_a_network_that_fails_is_an_error_that_may_pass_and_names_no_key() -> None:
    def refuse(_request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused by key-1")

    with pytest.raises(AvatarServiceError, match="gave no answer") as caught:
        await asked(refuse)
    assert caught.value.retryable
    assert "key-1" not in str(caught.value)


@on_trio
async def test_a_foreign_text_is_short_and_on_one_line() -> None:
    def scold(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(400, content=json.dumps({"code": 1, "message": "bad\n\x1b[31m" + "x" * 9_000}))

    with pytest.raises(AvatarServiceError) as caught:
        await asked(scold)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@on_trio
async def test_active_sessions_are_listed_over_all_pages() -> None:
    def pages(request: httpx2.Request) -> httpx2.Response:
        page = int(request.url.params["page"])
        assert request.url.params["type"] == "active"
        return envelope({"results": [{"id": f"s-{page}"}], "next": "more" if page < 3 else None})

    async with open_service(SETTINGS, lambda: transport(pages)) as service:
        assert await service.active_ids() == {"s-1", "s-2", "s-3"}


@on_trio
async def test_a_list_without_an_end_is_given_up() -> None:
    def endless(_request: httpx2.Request) -> httpx2.Response:
        return envelope({"results": [{"id": "s-1"}], "next": "more"})

    async with open_service(SETTINGS, lambda: transport(endless)) as service:
        with pytest.raises(AvatarServiceError, match="more than 20 pages"):
            await service.active_ids()


def test_the_service_holds_no_secret_in_its_looks() -> None:
    assert "key-1" not in repr(LiveAvatar(SETTINGS, httpx2.AsyncClient()))
    assert "token-1" not in repr(SESSION)
