"""One exchange with the token endpoint over HTTP.

Whatever the other side does ends as a value, a `Grant` or an `ExchangeFailure`:
a fault of a remote is never a crash.  The answer is bounded in time and size
and believed only when every field is what it has to be.  What comes back in
errors is cleaned before anyone sees it: a peer may echo the secrets it was sent.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Annotated

import anyio
import httpx2
import msgspec

from holdfast.actors.auth.settings import AuthSettings, InvalidAuthSettings
from holdfast.actors.auth.tokens import ExchangeFailure, ExchangeKind, Fault, Grant
from holdfast.runtime import REDACTED, Secret, WallClock

__all__ = ["BODY_MAX_BYTES", "TokenEndpoint", "retry_after"]

# Two tokens of 8 KiB and their names come to 17 KiB; four times that is no token answer.
BODY_MAX_BYTES = 64 * 1024

# The usual limit of servers for one header line, which an access token has to fit into.
TOKEN_MAX_CHARS = 8 * 1024

# A year and a day: who grants more has mixed up its units.
EXPIRES_IN_MAX_S = 367 * 24 * 3600

# One line of a log; what a person reads of an error.
TEXT_MAX_CHARS = 200

# Of the time for the whole exchange, so that "could not connect" is told from "no answer".
CONNECT_SHARE = 0.8

# RFC 6749, appendix A.12: visible ASCII, so no space, no line end, no second header.
_TokenText = Annotated[
    str, msgspec.Meta(min_length=1, max_length=TOKEN_MAX_CHARS, pattern=r"^[\x21-\x7e]*\Z")
]


class _GrantAnswer(msgspec.Struct):
    access_token: _TokenText
    expires_in: Annotated[float, msgspec.Meta(gt=0, le=EXPIRES_IN_MAX_S)]
    refresh_token: _TokenText | None = None
    token_type: Annotated[str, msgspec.Meta(max_length=64)] = "Bearer"  # noqa: S105 - a scheme


class _ErrorAnswer(msgspec.Struct):
    error: str = ""
    error_description: str = ""


_grant_decoder = msgspec.json.Decoder(_GrantAnswer)
_error_decoder = msgspec.json.Decoder(_ErrorAnswer)

# What decoding a hostile body raises: nonsense, ill-typed fields, no UTF-8, nesting without end.
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# Nothing of the request has reached the server.
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)

# What an error is called when the body does not say.
_STATUS_ERRORS = {401: "invalid_credentials", 403: "forbidden", 429: "rate_limited"}


class TokenEndpoint:
    """The token endpoint as its client sees it."""

    def __init__(
        self,
        settings: AuthSettings,
        transport: Callable[[], httpx2.AsyncBaseTransport],
        wall_clock: WallClock,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._wall_clock = wall_clock
        try:
            self._url = httpx2.URL(settings.api_endpoint.rstrip("/") + "/auth/token")
        except httpx2.InvalidURL as error:
            raise InvalidAuthSettings(
                f"api_endpoint must be a URL, not {settings.api_endpoint!r}: {error}"
            ) from error

    async def exchange(self, kind: ExchangeKind, refresh_token: Secret | None) -> Grant | ExchangeFailure:
        """Ask for a token, within the time limit; raises nothing but a cancellation."""
        secrets = [self._settings.api_key, *([] if refresh_token is None else [refresh_token])]
        limit = self._settings.request_timeout
        with anyio.move_on_after(limit):
            try:
                return await self._post(kind, refresh_token, secrets)
            except (httpx2.HTTPError, OSError) as error:
                return _unanswered(error, secrets)
        return ExchangeFailure(Fault.LOST, 0, "timeout", f"no complete answer within {limit:g} s")

    async def _post(
        self, kind: ExchangeKind, refresh_token: Secret | None, secrets: list[Secret]
    ) -> Grant | ExchangeFailure:
        # A client of its own for each exchange: they are minutes apart, and a connection kept that long is
        # dead exactly when it matters.  Cookies, redirects, proxies of the environment: none.
        settings = self._settings
        limit = settings.request_timeout
        times = httpx2.Timeout(limit, connect=limit * CONNECT_SHARE)
        async with (
            httpx2.AsyncClient(
                transport=self._transport(), timeout=times, trust_env=False, follow_redirects=False
            ) as client,
            client.stream(
                "POST",
                self._url,
                content=_request_body(kind, settings.client_id, refresh_token),
                headers={
                    "Authorization": f"Bearer {settings.api_key.reveal()}",
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                    # A compressed answer could be a thousand times longer than it looks.
                    "Accept-Encoding": "identity",
                    "User-Agent": "holdfast",
                },
            ) as response,
        ):
            body = await _bounded_body(response)
            if response.is_success:
                return _grant(response, body, secrets)
            return self._refused(response, body, secrets)

    def _refused(
        self, response: httpx2.Response, body: bytes | None, secrets: list[Secret]
    ) -> ExchangeFailure:
        status = response.status_code
        try:
            said = _error_decoder.decode(body or b"")
        except _UNDECODABLE:
            said = _ErrorAnswer()
        default = "server_error" if status >= 500 else _STATUS_ERRORS.get(status, f"http_{status}")
        return ExchangeFailure(
            Fault.REFUSED,
            status,
            _clean(said.error, secrets) or default,
            _clean(said.error_description, secrets),
            retry_after=retry_after(response.headers, self._wall_clock.now()),
        )


def retry_after(headers: httpx2.Headers, wall_now: float) -> float | None:
    """Return how many seconds a `Retry-After` asks for, in either of its forms; None without a valid one.

    A date is compared with the server's own `Date` where there is one, so that
    a clock that is wrong on either side does not matter.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,10}", value):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    present = _http_date(headers.get("date", ""))
    return max(0.0, until - (wall_now if present is None else present))


def _http_date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def _request_body(kind: ExchangeKind, client_id: str, refresh_token: Secret | None) -> bytes:
    fields = {"grant_type": kind.value}
    if refresh_token is None:
        fields["client_id"] = client_id
    else:
        fields["refresh_token"] = refresh_token.reveal()
    return msgspec.json.encode(fields)


async def _bounded_body(response: httpx2.Response) -> bytes | None:
    """Read the body; None when it is compressed or longer than any token answer."""
    if _encoding(response) != "identity":
        return None
    body = bytearray()
    # Closed here and now: a generator that is left in the middle would be closed by the garbage collector.
    async with contextlib.aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > BODY_MAX_BYTES:
                return None
    return bytes(body)


def _encoding(response: httpx2.Response) -> str:
    return response.headers.get("content-encoding", "identity")


def _grant(response: httpx2.Response, body: bytes | None, secrets: list[Secret]) -> Grant | ExchangeFailure:
    status = response.status_code
    encoding = _clean(_encoding(response), secrets)
    if encoding != "identity":
        return _malformed(status, f"a plain answer was asked for, one in {encoding!r} came")
    if body is None:
        return _malformed(
            status, f"an answer of at most {BODY_MAX_BYTES} bytes was wanted, a longer one came"
        )
    try:
        answer = _grant_decoder.decode(body)
    except _UNDECODABLE as error:
        return _malformed(status, _clean(f"the answer is no token answer: {error}", secrets))
    if answer.token_type.casefold() != "bearer":
        came = _clean(answer.token_type, secrets)
        return _malformed(status, f"a token of type Bearer was wanted, one of type {came!r} came")
    return Grant(
        access_token=Secret(answer.access_token),
        expires_in=answer.expires_in,
        refresh_token=None if answer.refresh_token is None else Secret(answer.refresh_token),
        token_type="Bearer",  # noqa: S106 - the name of a scheme
    )


def _malformed(status: int, description: str) -> ExchangeFailure:
    return ExchangeFailure(Fault.MALFORMED, status, "malformed_answer", description)


def _unanswered(error: Exception, secrets: list[Secret]) -> ExchangeFailure:
    description = _clean(f"{type(error).__name__}: {error}", secrets)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return ExchangeFailure(Fault.CERTIFICATE, 0, "certificate", description)
    timed_out = isinstance(error, httpx2.TimeoutException | TimeoutError)
    if isinstance(error, _NOT_SENT):
        return ExchangeFailure(Fault.UNREACHABLE, 0, "timeout" if timed_out else "unreachable", description)
    return ExchangeFailure(Fault.LOST, 0, "timeout" if timed_out else "connection_lost", description)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        link = link.__cause__ or link.__context__


def _clean(text: str, secrets: list[Secret]) -> str:
    """Mask the secrets, replace what does not print, and cut to a line's length."""
    for secret in secrets:
        text = text.replace(secret.reveal(), REDACTED)
    return "".join(char if char.isprintable() else "?" for char in text[:TEXT_MAX_CHARS])
