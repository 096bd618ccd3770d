"""The HTTP side of the avatar stand-in: LiveAvatar's routes, envelopes and error codes, as documented.

What the documents leave open is decided so that a client cannot come to rely on
kindness: an unknown session is a 404, a session that is started twice a 400.
The stand-in offers LITE sessions only and says so.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from holdfast.actors.hub.avatar_sessions import SANDBOX_AVATAR, StandinSession, StandinSessions
from holdfast.runtime import Secret

__all__ = ["avatar_routes"]

# What the live service answers on success; its OpenAPI document says 100.
SUCCESS = 1000

INVALID = 4000
NOT_AUTHENTICATED = 4003
CONCURRENCY_LIMIT = 4032
# Not documented: ours.
WRONG_CREDENTIAL = 4001
UNKNOWN_SESSION = 4040

PAGE_SIZE_MAX = 100

QUALITIES = frozenset({"very_high", "high", "medium", "low"})
ENCODINGS = frozenset({"VP8", "H264"})
STOP_REASONS = frozenset({
    "UNKNOWN", "USER_DISCONNECTED", "SERVER_ERROR", "IDLE_TIMEOUT", "NO_CREDITS", "USER_CLOSED",
    "AVATAR_DELETED", "MAX_DURATION_REACHED", "ZOMBIE_SESSION_REAP", "AGENT_HANG_UP",
})  # fmt: skip

Json: TypeAlias = dict[str, object]


class _Refused(Exception):
    """A request that gets an error: HTTP status, the service's code, its words, its list of problems."""

    def __init__(self, status: int, code: int, message: str, data: list[Json] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.data = data


def avatar_routes(sessions: StandinSessions) -> list[BaseRoute]:
    """Return the routes of the stand-in over these sessions."""
    return _AvatarApi(sessions).routes()


class _AvatarApi:
    def __init__(self, sessions: StandinSessions) -> None:
        self._sessions = sessions

    def routes(self) -> list[BaseRoute]:
        return [
            self._route("token", "/v1/sessions/token", "POST", self._token),
            self._route("start", "/v1/sessions/start", "POST", self._start),
            self._route("stop", "/v1/sessions/stop", "POST", self._stop),
            self._route("keep-alive", "/v1/sessions/keep-alive", "POST", self._keep_alive),
            self._route("list", "/v1/sessions", "GET", self._list),
            self._route("get", "/v1/sessions/{session_id}", "GET", self._get),
        ]

    def _route(
        self, operation: str, path: str, method: str, answer: Callable[[Request], Awaitable[Response]]
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            fault = self._sessions.fault_for(operation)
            if fault is not None:
                return _envelope(fault.status, fault.code, None, fault.message)
            try:
                return await answer(request)
            except _Refused as refused:
                return _envelope(refused.status, refused.code, refused.data, str(refused))

        return Route(path, endpoint, methods=[method])

    # -- the calls

    async def _token(self, request: Request) -> Response:
        self._demand_key(request)
        body = await self._body(request)
        problems = list(_problems(body))
        if problems:
            raise _invalid(problems)
        session = self._sessions.reserve(
            str(body["avatar_id"]),
            is_sandbox=bool(body.get("is_sandbox")),
            max_duration=cast("int | None", body.get("max_session_duration")),
        )
        data: Json = {"session_id": session.id, "session_token": session.token.reveal()}
        return _envelope(200, SUCCESS, data, "Session token created")

    async def _start(self, request: Request) -> Response:
        session = self._by_bearer(request)
        if session.started_at is not None or session.ended_at is not None:
            raise _Refused(400, INVALID, "Session was started or stopped already")
        if len(self._sessions.active) >= self._sessions.settings.concurrency_limit:
            raise _Refused(403, CONCURRENCY_LIMIT, "Session concurrency limit reached")
        if not self._sessions.listening:
            raise _Refused(503, 5030, "The avatar's WebSocket is restarting")
        self._sessions.start(session)
        data: Json = {
            "session_id": session.id,
            "livekit_url": None,
            "livekit_client_token": None,
            "max_session_duration": int(session.max_duration),
            "ws_url": f"{self._sessions.berth.url}/{session.id}?key={session.link_key.reveal()}",
        }
        return _envelope(201, SUCCESS, data, "Session started")

    async def _stop(self, request: Request) -> Response:
        body = await self._body(request)
        session = self._named(request, body)
        reason = body.get("reason", "UNKNOWN")
        if not _is_one_of(STOP_REASONS, reason):
            raise _invalid([_problem("reason", f"one of {', '.join(sorted(STOP_REASONS))}")])
        self._sessions.end(session, str(reason))
        return _envelope(200, SUCCESS, None, "Session stopped")

    async def _keep_alive(self, request: Request) -> Response:
        session = self._named(request, await self._body(request))
        if not session.active:
            raise _Refused(404, UNKNOWN_SESSION, "Session is not active")
        session.last_activity = self._sessions.now()
        session.changed()
        return _envelope(200, SUCCESS, None, "Session kept alive")

    async def _list(self, request: Request) -> Response:
        self._demand_key(request)
        query = request.query_params
        wanted = {"active": self._sessions.active, "historic": self._sessions.ended}.get(
            query.get("type", "")
        )
        if wanted is None:
            raise _invalid([_problem("type", "active or historic", place="query")])
        page, size = _number(query.get("page", "1")), _number(query.get("page_size", "20"))
        if page < 1 or not 1 <= size <= PAGE_SIZE_MAX:
            raise _invalid([_problem("page", f"from 1, page_size from 1 to {PAGE_SIZE_MAX}", place="query")])
        first, after = (page - 1) * size, page * size
        link = f"/v1/sessions?type={query['type']}&page_size={size}&page="
        data: Json = {
            "count": len(wanted),
            "next": f"{link}{page + 1}" if len(wanted) > after else None,
            "previous": f"{link}{page - 1}" if page > 1 else None,
            "results": [_shown(session) for session in wanted[first:after]],
        }
        return _envelope(200, SUCCESS, data, "Sessions")

    async def _get(self, request: Request) -> Response:
        self._demand_key(request)
        return _envelope(200, SUCCESS, _shown(self._find(request.path_params["session_id"])), "Session")

    # -- who asks, and for what

    def _demand_key(self, request: Request) -> None:
        shown = request.headers.get("x-api-key")
        if shown is None and "authorization" in request.headers:
            raise _Refused(401, WRONG_CREDENTIAL, "This call takes X-API-KEY, not Authorization")
        keys = self._sessions.settings.api_keys
        if shown is None or not any(
            hmac.compare_digest(key.reveal().encode(), shown.encode()) for key in keys
        ):
            raise _Refused(403, NOT_AUTHENTICATED, "Not authenticated")

    def _by_bearer(self, request: Request) -> StandinSession:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme and "x-api-key" in request.headers:
            raise _Refused(401, WRONG_CREDENTIAL, "This call takes Authorization: Bearer, not X-API-KEY")
        session = self._sessions.by_token(Secret(token.strip())) if scheme.lower() == "bearer" else None
        if session is None:
            raise _Refused(403, NOT_AUTHENTICATED, "Not authenticated")
        return session

    def _named(self, request: Request, body: Json) -> StandinSession:
        """Return the session that a call means: by its own token, or by its id with the API key."""
        if "authorization" in request.headers:
            return self._by_bearer(request)
        self._demand_key(request)
        session_id = body.get("session_id")
        if not isinstance(session_id, str):
            raise _invalid([_problem("session_id", "the id of a session, with an API key")])
        return self._find(session_id)

    def _find(self, session_id: str) -> StandinSession:
        session = self._sessions.get(session_id)
        if session is None:
            raise _Refused(404, UNKNOWN_SESSION, "Session not found")
        return session

    async def _body(self, request: Request) -> Json:
        """Read a JSON object within its bound; none at all is an empty one."""
        most = self._sessions.settings.body_max
        too_large = _Refused(413, INVALID, f"wanted at most {most} bytes")
        if _number(request.headers.get("content-length", "0")) > most:
            raise too_large
        read = bytearray()
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                read += chunk
                if len(read) > most:
                    raise too_large
        try:
            return msgspec.json.decode(bytes(read) or b"{}", type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _invalid([_problem("", "a JSON object")]) from None


def _problems(body: Json) -> list[Json]:
    """Return everything that is wrong with the request for a session."""
    mode = body.get("mode")
    if mode != "LITE":
        known = "LITE (this stand-in has no FULL sessions)" if mode == "FULL" else "FULL or LITE"
        return [_problem("mode", f"Unable to extract tag using discriminator 'mode': wanted {known}")]
    problems: list[Json] = []
    avatar_id, sandbox = body.get("avatar_id"), body.get("is_sandbox", False)
    if not _is_uuid(avatar_id):
        problems.append(_problem("avatar_id", "Input should be a valid UUID"))
    if not isinstance(sandbox, bool):
        problems.append(_problem("is_sandbox", "Input should be a valid boolean"))
    elif sandbox and avatar_id != SANDBOX_AVATAR:
        problems.append(_problem("avatar_id", f"The sandbox has only {SANDBOX_AVATAR}"))
    video = body.get("video_settings", {})
    if not isinstance(video, dict):
        problems.append(_problem("video_settings", "Input should be an object"))
    else:
        asked = cast("Json", video)
        if not _is_one_of(QUALITIES, asked.get("quality", "high")):
            problems.append(
                _problem("video_settings.quality", "Input should be very_high, high, medium or low")
            )
        if not _is_one_of(ENCODINGS, asked.get("encoding", "H264")):
            problems.append(_problem("video_settings.encoding", "Input should be VP8 or H264"))
    duration = body.get("max_session_duration")
    if duration is not None and (not isinstance(duration, int) or isinstance(duration, bool) or duration < 1):
        problems.append(_problem("max_session_duration", "Input should be a positive integer"))
    return problems


def _is_one_of(words: frozenset[str], value: object) -> bool:
    # A list or an object cannot even be looked up.
    return isinstance(value, str) and value in words


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _problem(where: str, message: str, *, place: str = "body") -> Json:
    return {"loc": [place, *[part for part in where.split(".") if part]], "message": message}


def _invalid(problems: list[Json]) -> _Refused:
    described = "; ".join(str(problem["message"]) for problem in problems)
    return _Refused(422, INVALID, f"Request validation errors. body: {described}", problems)


def _shown(session: StandinSession) -> Json:
    shown: Json = {
        "id": session.id,
        "created_at": session.created_at,
        "updated_at": session.created_at,
        "source": "API",
        "mode": "LITE",
        "is_sandbox": session.is_sandbox,
        "credits_consumed": 0,
    }
    if session.ended_at is not None:
        shown["duration"] = int(session.ended_at - (session.started_at or session.ended_at))
        shown["end_reason"] = session.end_reason
    return shown


def _envelope(status: int, code: int, data: object, message: str) -> Response:
    content = msgspec.json.encode({"code": code, "data": data, "message": message})
    headers = {"cache-control": "no-store"}
    return Response(content, status_code=status, media_type="application/json", headers=headers)
