"""The part of the facade that looks after the system: is it well, mend it, tell it what has failed.

Also how the facade asks at all: again, when the actor behind a question ended
over it, for refs survive restarts and questions do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import trio

from holdfast.actors.client.arguments import text
from holdfast.actors.client.concerned import ConfigurationUpdate, at_next_start, concerned
from holdfast.actors.client.messages import (
    RecoverFromError,
    RecoveryKind,
    SystemStatus,
    UnknownRecovery,
    ValidateSystemState,
)
from holdfast.actors.client.topology import Siblings
from holdfast.actors.config.messages import ConfigurationError, Problem, UpdateConfiguration
from holdfast.runtime import ActorCrashed, ActorGone, Ref, Request, System
from holdfast.supervisors import SupervisorHandle, restart_path

__all__ = ["AGAIN_AFTER", "Upkeep"]

R = TypeVar("R")

# Asked again this soon after the actor behind a question crashed; its restart takes less.
AGAIN_AFTER = 0.05


class Upkeep:
    """What a program can do about a client that is not well."""

    def __init__(self, system: System, root: SupervisorHandle, refs: Siblings) -> None:
        self.system = system
        self.root = root
        """The tree's root, for those who look into it or restart parts of it."""
        self._refs = refs

    async def validate_system_state(self) -> SystemStatus:
        """Look for a lost token and mend it (A4.4)."""
        return await self._ask_through(self._refs.client, ValidateSystemState, 40.0)

    async def recover_from_error(self, kind: RecoveryKind) -> bool:
        """Mend one kind of failure; True when it is mended.

        False when it is not, and a `recovery:failed` says why.  A connection is mended
        when the link is up: it is waited for up to 30 s, and tried on after that.  Raises
        `UnknownRecovery`.
        """
        if kind not in ("auth_failure", "connection_failure", "avatar_failure"):
            raise UnknownRecovery(kind)
        return await self._ask_through(self._refs.client, lambda: RecoverFromError(kind=kind), 40.0)

    async def handle_component_failure(self, component: str, error: object) -> None:
        """Report that a component has failed in a way that none of its actors has noticed (A9).

        It counts like a failure of one of its actors: three different components within
        5 s are answered with one full restart (A4.5).  Restarts nothing by itself; returns
        when it is counted.  Raises `UnknownComponent`, which names those that there are.
        """
        await self.root.report_failure(text("component", component), error)

    async def update_configuration(self, values: Mapping[str, object]) -> ConfigurationUpdate:
        """Put sections of keys in force, above the file and everything said before (A4.6): all or nothing.

        ``{"reconnect": {"max_retries": 3}}``.  Raises `ConfigurationError` with all problems;
        nothing has changed anywhere then.  Each component concerned is announced as
        `config:updated`; the actors concerned take it over by an orderly restart, uncharged,
        and have when this returns.  It holds until the process ends: write the file to keep it.
        """
        request = UpdateConfiguration(values=values)
        result = await self._refs.config.ask(request, timeout=10.0)
        if not result.accepted:
            raise ConfigurationError([Problem("configuration", problem) for problem in result.problems])
        restarted = tuple(f"{self.root.path}/{actor}" for actor in concerned(result.changed))
        for path in restarted:
            await restart_path(self.system, path)
        return ConfigurationUpdate(result.changed, restarted, at_next_start(result.changed))

    # ---- how it asks -------------------------------------------------------------------------------

    async def _ask_through(
        self, ref: Ref, make: Callable[[], Request[R]], timeout: float, *, crashes: float = float("inf")
    ) -> R:
        """Ask again when the actor ends over the question, until the time is over.

        Only for questions that may be asked twice: every one of this facade that goes this way is idempotent.
        A question over which the actor has crashed `crashes` times is not asked once more.
        """
        deadline = self.system.now() + timeout
        while True:
            left = deadline - self.system.now()
            try:
                return await ref.ask(make(), timeout=max(left, 0.001))
            except (ActorCrashed, ActorGone) as error:
                crashes -= isinstance(error, ActorCrashed) and not error.outcome.orderly
                # A root that has ended is nobody's to restart.
                ended = self.system.closing or self.root.ref.slot.state == "stopped"
                if ended or crashes <= 0 or deadline - self.system.now() <= AGAIN_AFTER:
                    raise
                await trio.sleep(AGAIN_AFTER)
