"""The identity service: who may have a token, and whether a token holds.

It decides about API keys, refresh tokens and the operator's fault switch, and
it alone has the signing key: the realtime endpoint asks it about every token
(D1).  It knows nothing of the rest of the hub, so that it can be a process of
its own (D8).  Its HTTP face is in `token_endpoint.py`; serving that face is a
child task of this actor.
"""

from __future__ import annotations

import hashlib
import hmac

import attrs
from starlette.types import ASGIApp

from holdfast.actors.hub.berth import Berth
from holdfast.actors.hub.grants import GrantStore, Reused, Rotated
from holdfast.actors.hub.http_server import bind, serve
from holdfast.actors.hub.messages import (
    Exchange,
    FamilyRevoked,
    Granted,
    Refusal,
    RefuseNext,
    TokenRefused,
    VerifiedToken,
    VerifyToken,
)
from holdfast.actors.hub.rate import RateLimit
from holdfast.actors.hub.settings import HubSettings
from holdfast.actors.hub.tokens import TokenSigner
from holdfast.runtime import Actor, Secret, on

__all__ = ["IdentityActor"]

_WRONG_KEY = Refusal(
    401, "invalid_credentials", "wanted a valid API key in `Authorization: Bearer <api key>`"
)
_WRONG_GRANT = Refusal(
    401, "invalid_grant", "wanted a refresh token that was issued to this API key and still holds"
)


@attrs.frozen
class _Switch:
    """The operator's fault: what the next `left` exchanges are told."""

    left: int
    status: int
    retry_after: float | None
    grant_type: str | None


class IdentityActor(Actor):
    """Issues, refreshes and judges tokens."""

    def __init__(
        self,
        settings: HubSettings,
        grants: GrantStore,
        *,
        app: ASGIApp | None = None,
        berth: Berth | None = None,
    ) -> None:
        self._settings = settings
        self._grants = grants
        self._app = app
        self._berth = berth
        self._limit = RateLimit(settings.token_requests, settings.token_window)
        self._switch: _Switch | None = None

    async def on_start(self) -> None:
        """Load the signing key and open the port; a port that is taken fails the start, with its number."""
        self._signer = TokenSigner(
            self._grants.signing_seed(self._wall_now()),
            issuer=self._settings.issuer,
            audience=self._settings.audience,
        )
        if self._app is not None and self._berth is not None:
            listening = bind(self._berth)
            self.context.spawn(serve, self._app, listening, key="http")

    def _wall_now(self) -> float:
        return self.context.seams.wall_clock.now()

    # -- tokens for clients

    @on(Exchange)
    def exchange(self, request: Exchange) -> Granted | Refusal:
        """Answer a token request (A1.1-A1.3)."""
        answer = self._exchange(request)
        if isinstance(answer, Refusal):
            self.context.emit(
                TokenRefused(status=answer.status, error=answer.error, grant_type=_known(request.grant_type))
            )
        return answer

    def _exchange(self, request: Exchange) -> Granted | Refusal:
        fault = self._fault(request.grant_type)
        if fault is not None:
            return fault
        key = self._known_key(request.api_key)
        wait = self._limit.take(key.hex() if key is not None else "", self.context.now())
        if wait is not None:
            return Refusal(429, "rate_limited", "wanted fewer token requests", retry_after=wait)
        if key is None or request.api_key is None:
            return _WRONG_KEY
        match request.grant_type:
            case "client_credentials":
                return self._sign_in(request.client_id, request.api_key)
            case "refresh_token":
                return self._refresh(request.refresh_token, request.api_key)
            case _:
                wanted = "wanted grant_type client_credentials or refresh_token"
                return Refusal(400, "unsupported_grant_type", wanted)

    def _known_key(self, shown: Secret | None) -> bytes | None:
        """Return the digest of the API key if it is one of ours.

        Digests are compared, and all of them every time: how long it takes says
        nothing about how much of a guess was right.
        """
        if shown is None:
            return None
        digest = hashlib.sha256(shown.reveal().encode()).digest()
        found = False
        for key in self._settings.api_keys:
            found |= hmac.compare_digest(digest, hashlib.sha256(key.reveal().encode()).digest())
        return digest if found else None

    def _sign_in(self, client_id: str | None, api_key: Secret) -> Granted | Refusal:
        if not client_id:
            return Refusal(400, "invalid_request", "wanted `client_id`, a string")
        if client_id in self._settings.denied_clients:
            return Refusal(403, "access_denied", "this client may not sign in")
        refresh_token = self._grants.issue(
            client_id, api_key, wall_now=self._wall_now(), lifetime=self._settings.refresh_lifetime
        )
        return self._grant(client_id, refresh_token)

    def _refresh(self, token: Secret | None, api_key: Secret) -> Granted | Refusal:
        if not token:
            return Refusal(400, "invalid_request", "wanted `refresh_token`, a string")
        rotated = self._grants.rotate(
            token,
            api_key,
            wall_now=self._wall_now(),
            lifetime=self._settings.refresh_lifetime,
            grace=self._settings.refresh_grace,
        )
        if isinstance(rotated, Reused):
            self.context.emit(FamilyRevoked(client_id=rotated.client_id, family=rotated.family))
        if not isinstance(rotated, Rotated):
            return _WRONG_GRANT
        if rotated.client_id in self._settings.denied_clients:
            return Refusal(403, "access_denied", "this client may not sign in")
        return self._grant(rotated.client_id, rotated.successor)

    def _grant(self, client_id: str, refresh_token: Secret) -> Granted:
        lifetime = self._settings.token_lifetime
        access_token = self._signer.issue(
            client_id,
            token_id=self.context.seams.entropy(16).hex(),
            wall_now=self._wall_now(),
            lifetime=lifetime,
        )
        return Granted(access_token, refresh_token, lifetime)

    # -- tokens shown by clients

    @on(VerifyToken)
    def verify(self, request: VerifyToken) -> VerifiedToken | Refusal:
        """Judge an access token (D1)."""
        return self._signer.verify(request.token, self._wall_now())

    # -- the operator's fault switch

    @on(RefuseNext)
    def refuse_next(self, order: RefuseNext) -> None:
        """Refuse the next `n` exchanges; 0 switches it off."""
        self._switch = (
            _Switch(order.n, order.status, order.retry_after, order.grant_type) if order.n > 0 else None
        )

    def _fault(self, grant_type: str) -> Refusal | None:
        switch = self._switch
        if switch is None or switch.grant_type not in {None, grant_type}:
            return None
        self._switch = attrs.evolve(switch, left=switch.left - 1) if switch.left > 1 else None
        return Refusal(
            switch.status,
            _error_for(switch.status, grant_type),
            "refused by the operator",
            switch.retry_after,
        )


def _error_for(status: int, grant_type: str) -> str:
    if status == 401:
        return "invalid_grant" if grant_type == "refresh_token" else "invalid_credentials"
    return {400: "invalid_request", 403: "access_denied", 429: "rate_limited"}.get(status, "server_error")


def _known(grant_type: str) -> str:
    """What a stranger wrote into `grant_type` does not go into an event."""
    return grant_type if grant_type in {"client_credentials", "refresh_token"} else "other"
