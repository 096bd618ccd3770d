"""The LiveAvatar service over HTTP: sessions are reserved, started, prolonged, listed and stopped here.

Two credentials: the API key reserves a session, lists and stops them; the
session's own token starts it.  The envelope is `{code, data, message}`; success
is HTTP 2xx with code 100 (as documented) or 1000 (as it answers).  Whatever else
comes becomes an `AvatarServiceError` that says whether asking again can help;
answers are bounded, and checked before anything is believed.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import attrs
import httpx2
import msgspec
import trio

from holdfast.actors.avatar.messages import AvatarServiceError, foreign
from holdfast.actors.avatar.settings import AvatarSettings
from holdfast.runtime.address import is_loopback
from holdfast.runtime.secret import REDACTED, Secret

__all__ = ["LiveAvatar", "ReservedSession", "Transport", "open_service"]

Transport = Callable[[], httpx2.AsyncBaseTransport]
T = TypeVar("T")

SUCCESS_CODES = frozenset({100, 1000})

# A page of 100 sessions is about 40 KB; ten times that is not an answer of this service.
BODY_MAX_BYTES = 400_000

# The service's largest page, and more pages than an account can have active sessions.
PAGE_SIZE = 100
PAGES_MAX = 20

# Ids are UUIDs and tokens JWTs; these bounds are generous to both.
_SESSION_ID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
URL_MAX_CHARS = 4096

# Codes of the service under HTTP 403; a 403 is not always final.
NOT_AUTHENTICATED = 4003
CONCURRENCY_LIMIT = 4032

# HTTP statuses after which the same request may succeed: time-out, too early, too many, and every 5xx.
_RETRYABLE = frozenset({408, 425, 429})


@attrs.frozen
class ReservedSession:
    """What `reserve` got: an id, and the token that starts it."""

    session_id: str
    token: Secret


class _Envelope(msgspec.Struct, frozen=True):
    code: int
    data: msgspec.Raw = msgspec.Raw(b"null")
    message: str | None = None


class _Reserved(msgspec.Struct, frozen=True):
    session_id: str
    session_token: str


class _Started(msgspec.Struct, frozen=True):
    session_id: str
    ws_url: str | None = None


class _Listed(msgspec.Struct, frozen=True):
    id: str


class _Page(msgspec.Struct, frozen=True):
    results: tuple[_Listed, ...]
    next: str | None = None


@asynccontextmanager
async def open_service(settings: AvatarSettings, transport: Transport) -> AsyncGenerator[LiveAvatar, None]:
    """Open the service for a few calls.  A connection is not kept: calls are minutes apart."""
    # Redirects are not followed: they would carry the API key to an address that nobody configured.
    # Nothing that the environment says (proxies, netrc) gets between; each call has a time limit of its own.
    async with httpx2.AsyncClient(
        transport=transport(), follow_redirects=False, trust_env=False, timeout=None
    ) as client:
        yield LiveAvatar(settings, client)


class LiveAvatar:
    """The calls.  Each takes at most `request_timeout` and raises `AvatarServiceError`."""

    def __init__(self, settings: AvatarSettings, client: httpx2.AsyncClient) -> None:
        self._settings = settings
        self._client = client
        self._base = settings.api_url.rstrip("/")

    async def reserve(self, avatar_id: str, quality: str) -> ReservedSession:
        """Reserve a LITE session; it is not active, and costs nothing, until it is started."""
        body = {
            "mode": "LITE",
            "avatar_id": avatar_id,
            "is_sandbox": self._settings.is_sandbox,
            "video_settings": {"quality": quality},
        }
        data = await self._call("sessions/token", _Reserved, body=body)
        if not _SESSION_ID.fullmatch(data.session_id) or not _TOKEN.fullmatch(data.session_token):
            raise _violation("sessions/token", "a session id or token of an unusable form")
        return ReservedSession(data.session_id, Secret(data.session_token))

    async def start(self, session: ReservedSession) -> str:
        """Start the session and return the URL of its WebSocket."""
        data = await self._call("sessions/start", _Started, bearer=session.token)
        if data.session_id != session.session_id:
            raise _violation("sessions/start", "another session than the one that was started")
        return self._checked_url(data.ws_url)

    def _checked_url(self, url: str | None) -> str:
        if not url or len(url) > URL_MAX_CHARS:
            raise _violation("sessions/start", "no ws_url, or one that is too long")
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            raise _violation("sessions/start", "a ws_url that is no URL") from None
        plain_allowed = self._settings.allow_plaintext or is_loopback(parsed.host)
        if not parsed.host or not (parsed.scheme == "wss" or (parsed.scheme == "ws" and plain_allowed)):
            wanted = "a ws_url that is not wss (ws is for loopback, or allow_plaintext)"
            raise _violation("sessions/start", wanted)
        return url

    async def keep_alive(self, session_id: str) -> None:
        """Start the session's idle window anew; that it is gone is an error that is not retryable."""
        await self._call("sessions/keep-alive", object, body={"session_id": session_id})

    async def stop(self, session_id: str, reason: str) -> None:
        """End the session."""
        await self._call("sessions/stop", object, body={"session_id": session_id, "reason": reason})

    async def active_ids(self) -> frozenset[str]:
        """Return the ids of all active sessions of the account, ours and others'."""
        ids: set[str] = set()
        for page in range(1, PAGES_MAX + 1):
            query = {"type": "active", "page": str(page), "page_size": str(PAGE_SIZE)}
            answer = await self._call("sessions", _Page, method="GET", query=query)
            ids.update(session.id for session in answer.results)
            if answer.next is None or not answer.results:
                return frozenset(ids)
        raise _violation("sessions", f"more than {PAGES_MAX} pages of active sessions")

    async def _call(
        self,
        operation: str,
        wanted: type[T],
        *,
        method: str = "POST",
        bearer: Secret | None = None,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> T:
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer.reveal()}"
        else:
            headers["x-api-key"] = self._settings.api_key.reveal()
        request = self._client.build_request(
            method, f"{self._base}/v1/{operation}", json=body, params=query, headers=headers
        )
        try:
            with trio.fail_after(self._settings.request_timeout):
                status, content = await self._exchange(request, operation)
        except trio.TooSlowError:
            patience = f"nothing within {self._settings.request_timeout:g} s"
            raise AvatarServiceError(operation, 0, 0, patience, retryable=True) from None
        except (httpx2.TransportError, OSError, ssl.SSLError) as error:
            why = self._masked(f"{type(error).__name__}: {error}", bearer)
            raise AvatarServiceError(operation, 0, 0, why, retryable=True) from error
        return self._decoded(operation, status, content, wanted, bearer)

    async def _exchange(self, request: httpx2.Request, operation: str) -> tuple[int, bytes]:
        response = await self._client.send(request, stream=True)
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _violation(
                    operation, "a compressed answer, which was not asked for", response.status_code
                )
            content = bytearray()
            async with aclosing(response.aiter_raw()) as pieces:
                async for piece in pieces:
                    content += piece
                    if len(content) > BODY_MAX_BYTES:
                        raise _violation(operation, f"more than {BODY_MAX_BYTES} bytes", response.status_code)
            return response.status_code, bytes(content)
        finally:
            await response.aclose()

    def _decoded(
        self, operation: str, status: int, content: bytes, wanted: type[T], bearer: Secret | None
    ) -> T:
        try:
            envelope = msgspec.json.decode(content, type=_Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            envelope = None
        succeeded = 200 <= status < 300
        if envelope is None:
            if succeeded:
                raise _violation(operation, "no envelope of code, data and message", status)
            raise _refused(operation, status, 0, "an answer without an envelope")
        if not succeeded or envelope.code not in SUCCESS_CODES:
            text = self._masked(envelope.message or "no message", bearer)
            raise _refused(operation, status, envelope.code, text)
        try:
            return msgspec.json.decode(envelope.data, type=wanted)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _violation(operation, f"data of another form ({error})", status) from None

    def _masked(self, text: str, bearer: Secret | None) -> str:
        """Return a foreign text for an error: short, on one line, without what it may echo of ours."""
        for secret in (self._settings.api_key, bearer):
            if secret:
                text = text.replace(secret.reveal(), REDACTED)
        return foreign(text)


def _refused(operation: str, status: int, code: int, text: str) -> AvatarServiceError:
    retryable = status >= 500 or status in _RETRYABLE or (status == 403 and code == CONCURRENCY_LIMIT)
    return AvatarServiceError(operation, status, code, text, retryable=retryable)


def _violation(operation: str, what: str, status: int = 200) -> AvatarServiceError:
    """A lying peer: its answer cannot be used, and the next one may be better."""
    return AvatarServiceError(operation, status, 0, f"it sent {what}", retryable=True)
