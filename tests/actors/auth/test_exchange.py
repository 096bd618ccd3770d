"""One exchange with the token endpoint, whatever the endpoint does.

The service behind the transport is the external boundary: a `MockTransport`
stands for it here, and everything of ours is real.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import anyio
import httpx2
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.auth.exchange import BODY_MAX_BYTES, TokenEndpoint, retry_after
from holdfast.actors.auth.settings import AuthSettings, InvalidAuthSettings
from holdfast.actors.auth.tokens import ExchangeFailure, ExchangeKind, Fault, Grant
from holdfast.runtime import Secret
from holdfast.runtime.testing import both_backends, on_trio, run

KEY = "canary-api-key"
REFRESH = Secret("canary-refresh-token")
SETTINGS = AuthSettings(api_endpoint="https://auth.test/base/", api_key=Secret(KEY), client_id="device-7")
GOOD: dict[str, object] = {
    "access_token": "new-access",
    "refresh_token": "new-refresh",
    "expires_in": 3600,
    "token_type": "Bearer",
}
# 20 November 2026, 09:30:00 UTC.
WALL_NOW = 1795167000.0

Handler = Callable[[httpx2.Request], httpx2.Response]


class FixedWallClock:
    def now(self) -> float:
        return WALL_NOW


def endpoint(handler: Handler, settings: AuthSettings = SETTINGS) -> TokenEndpoint:
    return TokenEndpoint(settings, lambda: httpx2.MockTransport(handler), FixedWallClock())


def answering(
    status: int, body: object = None, *, raw: bytes | None = None, headers: dict[str, str] | None = None
) -> TokenEndpoint:
    content = msgspec.json.encode(body) if raw is None else raw
    return endpoint(lambda _request: httpx2.Response(status, content=content, headers=headers))


async def refresh(service: TokenEndpoint) -> Grant | ExchangeFailure:
    return await service.exchange(ExchangeKind.REFRESH, REFRESH)


async def failure_of(service: TokenEndpoint) -> ExchangeFailure:
    result = await refresh(service)
    assert isinstance(result, ExchangeFailure), result
    assert "canary" not in repr(result)
    return result


# A1.1
@both_backends
async def test_the_api_key_is_posted_as_json_with_its_header() -> None:
    requests: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, json=GOOD)

    result = await endpoint(handler).exchange(ExchangeKind.AUTHENTICATE, None)

    assert result == Grant(Secret("new-access"), 3600.0, Secret("new-refresh"), "Bearer")
    (request,) = requests
    assert (request.method, str(request.url)) == ("POST", "https://auth.test/base/auth/token")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert msgspec.json.decode(request.content) == {
        "grant_type": "client_credentials",
        "client_id": "device-7",
    }


# A1.2
@on_trio
async def test_a_refresh_sends_the_refresh_token() -> None:
    bodies: list[object] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        bodies.append(msgspec.json.decode(request.content))
        return httpx2.Response(200, json=GOOD)

    assert isinstance(await refresh(endpoint(handler)), Grant)
    assert bodies == [{"grant_type": "refresh_token", "refresh_token": REFRESH.reveal()}]


@on_trio
async def test_an_answer_may_leave_out_what_has_a_meaning_when_left_out() -> None:
    bare = {"access_token": "a", "expires_in": 1.5}

    assert await refresh(answering(200, bare)) == Grant(Secret("a"), 1.5, None, "Bearer")
    assert isinstance(await refresh(answering(201, {**GOOD, "token_type": "bEARER", "scope": "all"})), Grant)


# A1.3
@pytest.mark.parametrize(
    "status,body,error,description,retryable",
    [
        (
            401,
            {"error": "invalid_credentials", "error_description": "no"},
            "invalid_credentials",
            "no",
            False,
        ),
        (401, {}, "invalid_credentials", "", False),
        (403, {"error": "suspended"}, "suspended", "", False),
        (403, None, "forbidden", "", False),
        (400, {"error": "invalid_grant"}, "invalid_grant", "", False),
        (418, ["not", "an", "object"], "http_418", "", False),
        (429, {"error": 7}, "rate_limited", "", True),
        (500, {"error": "server_error", "error_description": "oops"}, "server_error", "oops", True),
        (503, "busy", "server_error", "", True),
        (302, {}, "http_302", "", False),
    ],
)
@on_trio
async def test_a_refusal_is_reported_with_its_status_and_words(
    status: int, body: object, error: str, description: str, retryable: bool
) -> None:
    failure = await failure_of(answering(status, body, headers={"Location": "https://evil.test/"}))

    assert failure == ExchangeFailure(Fault.REFUSED, status, error, description)
    assert failure.retryable == retryable


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"<html>", b"[" * 60_000, b"x" * (BODY_MAX_BYTES * 2)])
@on_trio
async def test_a_refusal_counts_whatever_its_body_is(raw: bytes) -> None:
    assert (await failure_of(answering(401, raw=raw))).error == "invalid_credentials"


@pytest.mark.parametrize(
    "change",
    [
        {"access_token": None},
        {"access_token": 7},
        {"access_token": ""},
        {"access_token": "two words"},
        {"access_token": "line\r\nX-Evil: 1"},
        {"access_token": "ends\n"},
        {"access_token": "x" * 8193},
        {"refresh_token": ""},
        {"refresh_token": ["r"]},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": "3600"},
        {"expires_in": True},
        {"expires_in": None},
        {"expires_in": 1e12},
        {"token_type": "mac"},
        {"token_type": 5},
    ],
)
@on_trio
async def test_a_lying_answer_is_a_clear_retryable_error(change: dict[str, object]) -> None:
    failure = await failure_of(answering(200, {**GOOD, **change}))

    assert (failure.fault, failure.status, failure.error) == (Fault.MALFORMED, 200, "malformed_answer")
    assert failure.retryable
    assert failure.description


@pytest.mark.parametrize("field", ["access_token", "expires_in"])
@on_trio
async def test_an_answer_without_what_it_is_about_is_malformed(field: str) -> None:
    failure = await failure_of(answering(200, {name: value for name, value in GOOD.items() if name != field}))

    assert failure.fault is Fault.MALFORMED
    assert field in failure.description


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"{", b"\xff", b'{"a":' + b"[" * 60_000, b'{"access_token": "\\ud800", "expires_in": 1}'],
)
@on_trio
async def test_success_with_nonsense_is_malformed(raw: bytes) -> None:
    assert (await failure_of(answering(200, raw=raw))).fault is Fault.MALFORMED


@on_trio
async def test_no_content_is_malformed() -> None:
    assert (await failure_of(answering(204, raw=b""))).fault is Fault.MALFORMED


@on_trio
async def test_an_endless_answer_is_read_no_further_than_its_bound() -> None:
    taken = 0

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1024
                yield b" " * 1024

    failure = await failure_of(endpoint(lambda _request: httpx2.Response(200, stream=Endless())))

    assert failure.fault is Fault.MALFORMED
    assert f"at most {BODY_MAX_BYTES} bytes" in failure.description
    assert taken <= BODY_MAX_BYTES + 1024


@on_trio
async def test_a_compressed_answer_is_not_unpacked() -> None:
    opened: list[str] = []

    class Bomb(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            opened.append("read")
            yield b""

    headers = {"Content-Encoding": "gzip"}
    failure = await failure_of(
        endpoint(lambda _request: httpx2.Response(200, stream=Bomb(), headers=headers))
    )

    assert failure.fault is Fault.MALFORMED
    assert "gzip" in failure.description
    assert opened == []


def raising(error: Exception, cause: BaseException | None = None) -> TokenEndpoint:
    def handler(_request: httpx2.Request) -> httpx2.Response:
        raise error from cause

    return endpoint(handler)


@pytest.mark.parametrize(
    "error,cause,fault,name,retryable",
    [
        (httpx2.ConnectError("refused"), None, Fault.UNREACHABLE, "unreachable", True),
        (httpx2.ConnectTimeout("slow"), None, Fault.UNREACHABLE, "timeout", True),
        (httpx2.PoolTimeout("full"), None, Fault.UNREACHABLE, "timeout", True),
        (httpx2.ReadTimeout("slow"), None, Fault.LOST, "timeout", True),
        (httpx2.WriteError("cut"), None, Fault.LOST, "connection_lost", True),
        (httpx2.RemoteProtocolError("no HTTP"), None, Fault.LOST, "connection_lost", True),
        (ConnectionResetError("reset"), None, Fault.LOST, "connection_lost", True),
        (TimeoutError("slow"), None, Fault.LOST, "timeout", True),
        (
            httpx2.ConnectError("tls"),
            ssl.SSLCertVerificationError("self-signed"),
            Fault.CERTIFICATE,
            "certificate",
            False,
        ),
    ],
)
@on_trio
async def test_what_goes_wrong_on_the_way_is_told_apart(
    error: Exception, cause: BaseException | None, fault: Fault, name: str, retryable: bool
) -> None:
    failure = await failure_of(raising(error, cause))

    assert (failure.fault, failure.error, failure.status) == (fault, name, 0)
    assert failure.retryable == retryable
    assert str(error) in failure.description


@on_trio
async def test_a_circle_of_causes_is_walked_once() -> None:
    first, second = httpx2.ConnectError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first

    assert (await failure_of(raising(first, second))).fault is Fault.UNREACHABLE


@both_backends
async def test_a_silent_endpoint_is_given_up_at_the_limit_and_its_answer_counts_as_lost() -> None:
    class Silent(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await anyio.sleep_forever()
            raise AssertionError

    started = anyio.current_time()
    failure = await failure_of(TokenEndpoint(SETTINGS, Silent, FixedWallClock()))

    assert anyio.current_time() - started == pytest.approx(5)
    assert (failure.fault, failure.error) == (Fault.LOST, "timeout")
    assert "within 5 s" in failure.description


@on_trio
async def test_an_endpoint_that_drips_is_given_up_at_the_limit() -> None:
    class Dripping(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await trio.sleep(1)
                yield b" "

    failure = await failure_of(endpoint(lambda _request: httpx2.Response(200, stream=Dripping())))

    assert failure.fault is Fault.LOST
    assert trio.current_time() < 6


# A5.7: a peer may echo what it was sent.
@on_trio
async def test_secrets_that_a_peer_echoes_are_masked_in_errors() -> None:
    echo = {"error": f"bad {KEY}", "error_description": f"{REFRESH.reveal()} and {KEY} \x1b[31m" + "x" * 5000}
    failure = await failure_of(answering(401, echo))

    assert failure.error == "bad [REDACTED]"
    assert failure.description.startswith("[REDACTED] and [REDACTED] ?[31m")
    assert len(failure.description) <= 200
    assert "canary" not in repr(await failure_of(answering(200, {**GOOD, "token_type": f"x{KEY}"})))
    assert "canary" not in repr(await failure_of(raising(httpx2.ConnectError(f"no {KEY}"))))


def test_an_address_that_http_refuses_is_refused_when_the_endpoint_is_made() -> None:
    settings = AuthSettings(api_endpoint="https://exa\x7fmple.com", api_key=Secret("k"))

    with pytest.raises(InvalidAuthSettings, match="api_endpoint must be a URL"):
        TokenEndpoint(
            settings, lambda: httpx2.MockTransport(lambda _r: httpx2.Response(200)), FixedWallClock()
        )


# ---- Retry-After -----------------------------------------------------------------------------------


def http_date(at: float) -> str:
    return format_datetime(datetime.fromtimestamp(at, UTC), usegmt=True)


# A1.3
@pytest.mark.parametrize(
    "value,seconds",
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        (http_date(WALL_NOW + 90), 90.0),
        (http_date(WALL_NOW - 90), 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 11, None),
        ("Fri, 99 Nov 2026 09:30:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(httpx2.Headers({"Retry-After": value}), WALL_NOW) == seconds


def test_a_date_is_compared_with_the_clock_of_the_server_that_gave_it() -> None:
    ahead = WALL_NOW + 3600
    headers = httpx2.Headers({"Retry-After": http_date(ahead + 30), "Date": http_date(ahead)})

    assert retry_after(headers, WALL_NOW) == 30


def test_an_endpoint_that_asks_for_nothing_gets_no_pause() -> None:
    assert retry_after(httpx2.Headers(), WALL_NOW) is None


# A1.3
@on_trio
async def test_a_refusal_carries_the_pause_that_was_asked_for() -> None:
    assert (await failure_of(answering(429, {}, headers={"Retry-After": "17"}))).retry_after == 17


@given(st.text(max_size=60))
def test_no_retry_after_is_too_strange(value: str) -> None:
    headers = httpx2.Headers([(b"retry-after", value.encode("utf-8", "surrogatepass"))])
    seconds = retry_after(headers, WALL_NOW)

    assert seconds is None or seconds >= 0


# Bad input: whatever bytes come back, the exchange ends as a value.
@given(st.sampled_from([200, 204, 302, 400, 401, 429, 500, 599]), st.binary(max_size=300))
def test_no_answer_is_too_strange(status: int, body: bytes) -> None:
    async def once() -> Grant | ExchangeFailure:
        return await refresh(answering(status, raw=body))

    assert isinstance(run("trio", once), Grant | ExchangeFailure)
