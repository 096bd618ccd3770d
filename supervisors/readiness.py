"""A check of one's own before a child counts as started, with a time limit.

Ready means that the child serves and its local resources are open.  It must
never mean that a remote answered: a cold start without network would burn
budgets for a fault that no restart cures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import attrs

from holdfast.runtime.ref import Ref
from holdfast.runtime.seconds import is_seconds_above_zero
from holdfast.supervisors.errors import InvalidSpec, NotReady

__all__ = ["Readiness"]

# As long as one ask may take: the check talks to a child that has just said that it serves.
CHECK_TIMEOUT = 5.0


@attrs.frozen
class Readiness:
    """`check` is awaited with the child's ref after its start hook; those that depend on it start later.

    True is ready.  False, an exception, or no answer within `timeout` seconds is a
    failed start: the child is stopped, and the attempt counts as any other.
    """

    check: Callable[[Ref], Awaitable[bool]]
    timeout: float = CHECK_TIMEOUT

    def __attrs_post_init__(self) -> None:
        if not callable(self.check):
            raise InvalidSpec(
                "readiness", "check is an async callable that takes the child's ref", self.check
            )
        if not is_seconds_above_zero(self.timeout):
            raise InvalidSpec("readiness", "timeout is a finite number of seconds above 0", self.timeout)

    async def failure(self, ref: Ref) -> NotReady | None:
        """Run the check; return why the child is not ready, or None when it is."""
        ready: object = None
        try:
            with anyio.move_on_after(self.timeout) as limit:
                ready = await self.check(ref)
        except Exception as error:  # noqa: BLE001 - a user's check; whatever it raises means not ready
            failed = NotReady(ref.path, f"the check raised {type(error).__name__}: {error}")
            failed.__cause__ = error
            return failed
        if limit.cancelled_caught:
            return NotReady(ref.path, f"the check did not answer within {self.timeout:g} s")
        return None if ready is True else NotReady(ref.path, f"the check answered {ready!r}, not True")
