"""HTTP in a simulated run: the real client speaks to an ASGI application through faults as data.

The application is a service's own, or a stand-in.  Faults wait in a list and each
is taken by the first requests that it fits; what a service answers to, how late, and
whether at all is theirs to spoil, and each is counted when it did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Literal, TypeAlias

import attrs
import httpx2
import msgspec
import trio

from holdfast.specs.network import MemoryNetwork

__all__ = ["App", "HttpFault", "HttpService", "HttpTransport"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]
"""An ASGI application."""

What: TypeAlias = Literal["status", "slow", "malformed", "refused", "lost", "edited"]


@attrs.frozen
class HttpFault:
    """One thing that goes wrong with the next requests that fit."""

    what: What
    times: int = 1
    """How many requests it spoils."""
    path: str = ""
    """What the path contains; empty fits all."""
    body: bytes = b""
    """What the request's body contains, as ``refresh_token``; empty fits all."""
    status: int = 503
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    answer: Mapping[str, object] | None = None
    """The JSON body of a "status", or the fields that "edited" puts into the answer."""
    seconds: float = 0.0

    @classmethod
    def of_status(
        cls, status: int, *, retry_after: float | None = None, error: str = "", times: int = 1,
        path: str = "", body: bytes = b"",
    ) -> HttpFault:  # fmt: skip
        """Answer with this status and never ask the service: 401, 403, 429, 500, 503.

        A revoked token is 401 with the error ``invalid_grant`` for bodies that hold ``refresh_token``.
        """
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        said = {"error": error} if error else None
        return cls("status", times=times, path=path, body=body, status=status, headers=headers, answer=said)

    @classmethod
    def slow(cls, seconds: float, *, times: int = 1, path: str = "") -> HttpFault:
        """Hold the answer back; the client's own time limit counts."""
        return cls("slow", times=times, path=path, seconds=seconds)

    @classmethod
    def malformed(cls, *, times: int = 1, path: str = "") -> HttpFault:
        """Cut the answer's body in half: no JSON any more."""
        return cls("malformed", times=times, path=path)

    @classmethod
    def refused(cls, *, times: int = 1, path: str = "") -> HttpFault:
        """Refuse the connection: the service hears nothing."""
        return cls("refused", times=times, path=path)

    @classmethod
    def lost(cls, *, times: int = 1, path: str = "") -> HttpFault:
        """Break the connection after the service did what it was asked: only the answer is lost."""
        return cls("lost", times=times, path=path)

    @classmethod
    def edited(cls, fields: Mapping[str, object], *, times: int = 1, path: str = "") -> HttpFault:
        """Put other values into the answer's JSON: ``{"expires_in": 1}`` is a token that expires early."""
        return cls("edited", times=times, path=path, answer=fields)

    def fits(self, request: httpx2.Request) -> bool:
        return self.path in request.url.path and (not self.body or self.body in request.content)


@attrs.define(eq=False)
class HttpService:
    """A service of the run: its application while it is up, its faults, the requests that it was asked."""

    network: MemoryNetwork
    port: int | None = None
    """Whose weather holds for it; None is the network's."""
    name: str = "http"
    """In the counts of effects."""
    faults: list[HttpFault] = attrs.field(factory=list[HttpFault])
    requests: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    """Method and path of every request that came as far as the service's machine."""
    instead: Callable[[httpx2.Request], httpx2.Response] | None = None
    """A service that lies: what answers in the application's place."""
    _app: App | None = None
    _calls: list[trio.CancelScope] = attrs.field(factory=list[trio.CancelScope])

    def start(self, app: App) -> None:
        """Have this application answer."""
        self._app = app

    def stop(self) -> None:
        """Refuse connections, and break the calls in flight."""
        self._app = None
        for call in self._calls:
            call.cancel()

    def fault_for(self, request: httpx2.Request) -> HttpFault | None:
        """Take the first fault that fits."""
        for place, fault in enumerate(self.faults):
            if fault.fits(request):
                rest = [attrs.evolve(fault, times=fault.times - 1)] if fault.times > 1 else []
                self.faults[place : place + 1] = rest
                return fault
        return None

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Have the application answer; httpx2.ConnectError where it is down, ReadError where it goes down."""
        if self.instead is not None:
            return self.instead(request)
        app = self._app
        if app is None:
            raise httpx2.ConnectError("Connection refused")
        call = trio.CancelScope()
        self._calls.append(call)
        try:
            with call:
                response = await httpx2.ASGITransport(app).handle_async_request(request)
                await trio.sleep(self.network.link.latency)
                return response
        finally:
            self._calls.remove(call)
        raise httpx2.ReadError("Connection reset")


class HttpTransport(httpx2.AsyncBaseTransport):
    """The way of a real HTTP client to a service of the run."""

    def __init__(self, service: HttpService) -> None:
        self._service = service

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        service = self._service
        limits = request.extensions.get("timeout", {})
        try:
            await service.network.pass_weather(limits.get("connect"), service.port)
        except trio.TooSlowError as error:
            raise httpx2.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        await request.aread()
        fault = service.fault_for(request)
        if fault is None:
            service.requests.append((request.method, request.url.path))
            return await service.answer(request)
        service.network.effects.count(f"{service.name}:{_kind(fault)}")
        return await self._spoiled(request, fault, limits.get("read"))

    async def _spoiled(
        self, request: httpx2.Request, fault: HttpFault, limit: float | None
    ) -> httpx2.Response:
        if fault.what == "refused":
            raise httpx2.ConnectError("Connection refused")
        self._service.requests.append((request.method, request.url.path))
        if fault.what == "status":
            return httpx2.Response(fault.status, headers=dict(fault.headers), json=fault.answer or {})
        if fault.what == "slow" and limit is not None and fault.seconds > limit:
            await trio.sleep(limit)
            raise httpx2.ReadTimeout("no answer in time")
        response = await self._service.answer(request)
        if fault.what == "slow":
            await trio.sleep(fault.seconds)
            return response
        content = await response.aread()
        if fault.what == "lost":
            raise httpx2.ReadError("Connection reset")
        if fault.what == "malformed":
            return _with_body(response, content[: len(content) // 2])
        return _with_body(response, _edited(content, fault.answer or {}))


def _kind(fault: HttpFault) -> str:
    return str(fault.status) if fault.what == "status" else fault.what


def _edited(content: bytes, fields: Mapping[str, object]) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(content, type=dict[str, object]), **fields})


def _with_body(response: httpx2.Response, content: bytes) -> httpx2.Response:
    headers = [(name, value) for name, value in response.headers.items() if name.lower() != "content-length"]
    return httpx2.Response(response.status_code, headers=headers, content=content)
