"""The HTTP face of the identity service: `POST /auth/token` and the operator's switch.

It reads requests, asks the identity actor, writes answers.  Every answer is
JSON, errors included, and none may be cached.  When the actor does not answer
(it is being restarted), that is a 503 that may be retried, never a hang.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from contextlib import aclosing
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from holdfast.actors.hub.messages import Exchange, Granted, Refusal, RefuseNext
from holdfast.actors.hub.refusals import NO_STORE, refusal_body, refusal_headers
from holdfast.actors.hub.settings import HubSettings
from holdfast.runtime import AskError, MailboxFull, Ref, Secret

__all__ = ["REFUSE_NEXT_PATH", "TOKEN_PATH", "TokenEndpoint", "hub_app"]

TOKEN_PATH = "/auth/token"  # noqa: S105 - a path
REFUSE_NEXT_PATH = "/admin/refuse-next"

# A client gives a call on its recovery path 5 s (SEMANTICS "Time"); an answer after that reaches nobody.
ASK_TIMEOUT = 4.0

_UNAVAILABLE = Refusal(503, "temporarily_unavailable", "the identity service is restarting", retry_after=1.0)

Body = TypeVar("Body", bound=msgspec.Struct)


class _TokenRequest(msgspec.Struct, frozen=True):
    grant_type: str
    client_id: str | None = None
    refresh_token: str | None = None


class _TokenAnswer(msgspec.Struct, frozen=True):
    access_token: str
    refresh_token: str
    expires_in: float | int
    token_type: str


class _SwitchRequest(msgspec.Struct, frozen=True):
    n: int
    status: int
    retry_after: float | None = None
    grant_type: str | None = None


class _Rejected(Exception):
    """A request that is answered before anybody is asked."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.description)
        self.refusal = refusal


def hub_app(routes: Sequence[BaseRoute]) -> Starlette:
    """Return the hub's HTTP application over the routes of its services."""
    handlers = {HTTPException: _not_found, ClientDisconnect: _nobody_there}
    return Starlette(routes=list(routes), exception_handlers=handlers)


class TokenEndpoint:
    """The routes of the identity service."""

    def __init__(self, settings: HubSettings, identity: Ref) -> None:
        self._settings = settings
        self._identity = identity

    def routes(self) -> list[BaseRoute]:
        """Return the routes; the operator's only when there is an admin key."""
        routes: list[BaseRoute] = [Route(TOKEN_PATH, self._token, methods=["POST"])]
        if self._settings.admin_key is not None:
            routes.append(Route(REFUSE_NEXT_PATH, self._refuse_next, methods=["POST"]))
        return routes

    async def _token(self, request: Request) -> Response:
        try:
            body = await self._body(request, _TokenRequest)
            exchange = Exchange(
                api_key=_bearer(request),
                grant_type=body.grant_type,
                client_id=body.client_id,
                refresh_token=Secret(body.refresh_token) if body.refresh_token is not None else None,
            )
            answer = await self._identity.ask(exchange, timeout=ASK_TIMEOUT)
        except _Rejected as rejected:
            return _refused(rejected.refusal)
        except (AskError, MailboxFull):
            return _refused(_UNAVAILABLE)
        return _refused(answer) if isinstance(answer, Refusal) else _granted(answer)

    async def _refuse_next(self, request: Request) -> Response:
        try:
            self._demand_operator(request)
            body = await self._body(request, _SwitchRequest)
            if not 0 <= body.n <= 1_000 or not 400 <= body.status <= 599:
                raise _Rejected(
                    Refusal(400, "invalid_request", "wanted n from 0 to 1000 and a status from 400 to 599")
                )
            order = RefuseNext(body.n, body.status, body.retry_after, body.grant_type)
            await self._identity.ask(order, timeout=ASK_TIMEOUT)
        except _Rejected as rejected:
            return _refused(rejected.refusal)
        except (AskError, MailboxFull):
            return _refused(_UNAVAILABLE)
        return Response(status_code=204, headers=NO_STORE)

    def _demand_operator(self, request: Request) -> None:
        """Only from this machine, only with the admin key; both look alike from outside."""
        shown, key = _bearer(request), self._settings.admin_key
        local = request.client is not None and request.client.host in {"127.0.0.1", "::1"}
        right = key is not None and hmac.compare_digest(_digest(shown), _digest(key))
        if not (local and right):
            raise _Rejected(Refusal(401, "invalid_credentials", "wanted the admin key, from this machine"))

    async def _body(self, request: Request, kind: type[Body]) -> Body:
        """Read a JSON body within its bound, whether its length was announced or not."""
        bound = self._settings.body_max
        too_long = _Rejected(Refusal(413, "invalid_request", f"wanted a body of at most {bound} bytes"))
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdecimal() and int(announced) > bound:
            raise too_long
        read = bytearray()
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                read += chunk
                if len(read) > bound:
                    raise too_long
        try:
            return msgspec.json.decode(bytes(read), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # The path and the type of what was wrong; msgspec does not quote values.
            raise _Rejected(Refusal(400, "invalid_request", f"wanted a JSON object: {error}")) from error


def _bearer(request: Request) -> Secret | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return Secret(value.strip()) if scheme.lower() == "bearer" and value.strip() else None


def _digest(secret: Secret | None) -> bytes:
    return hashlib.sha256(secret.reveal().encode() if secret is not None else b"").digest()


def _granted(granted: Granted) -> Response:
    answer = _TokenAnswer(
        access_token=granted.access_token.reveal(),
        refresh_token=granted.refresh_token.reveal(),
        # A whole number where it is one: not every client reads 300.0 as an integer.
        token_type="Bearer",  # noqa: S106 - the scheme's name
        expires_in=int(granted.expires_in)
        if granted.expires_in == int(granted.expires_in)
        else granted.expires_in,
    )
    return Response(msgspec.json.encode(answer), media_type="application/json", headers=NO_STORE)


def _refused(refusal: Refusal) -> Response:
    return Response(
        refusal_body(refusal),
        status_code=refusal.status,
        media_type="application/json",
        headers=refusal_headers(refusal),
    )


async def _nobody_there(_request: Request, _error: Exception) -> Response:
    # Who hangs up in the middle of a request is no error of ours: nothing is reported, and nobody reads this.
    return Response(status_code=400)


async def _not_found(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refused(
        Refusal(
            error.status_code, "not_found" if error.status_code == 404 else "invalid_request", error.detail
        )
    )
