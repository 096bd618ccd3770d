"""Sessions that are over for us and not yet confirmed as ended by the service, and when to try again (A6.4).

Pure, as the machine is, of which this is a part: a sweep tries to end all of
them; one that fails is repeated with a growing, jittered delay, for ever,
because a session that nobody ends costs its owner until the service notices.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.actors.avatar.facts import (
    Announce,
    Answer,
    CancelTimer,
    Forget,
    Order,
    Refuse,
    SetBackoff,
    Sweep,
    Swept,
    TimerKind,
    Unreleased,
    Waiter,
)
from holdfast.actors.avatar.messages import AvatarError, SessionCleanup, SessionError

__all__ = ["STOP_REASONS", "WAITERS_MAX", "Releases", "stop_reason"]

# Who may wait for one opening, or one end; more callers than a program has for its avatar.
WAITERS_MAX = 16

# Why we end a session, in our words and in the service's.
STOP_REASONS = {
    "session_failed": "SERVER_ERROR",
    "actor_stopped": "USER_DISCONNECTED",
    "found_at_start": "ZOMBIE_SESSION_REAP",
}


def stop_reason(reason: str) -> str:
    """Return the service's word for a clean-up's reason; what a caller asked for is the user's."""
    return STOP_REASONS.get(reason, "USER_CLOSED")


class Releases:
    """The sessions to be ended, and who waits for that."""

    def __init__(self) -> None:
        self._left: dict[str, Unreleased] = {}
        self._sweeping: tuple[Unreleased, ...] = ()
        self._failures = 0
        self._waiters: dict[Waiter, str] = {}

    def __len__(self) -> int:
        return len(self._left)

    @property
    def sessions(self) -> tuple[Unreleased, ...]:
        """What is still to be ended, oldest first."""
        return tuple(self._left.values())

    @property
    def sweeping(self) -> bool:
        """Whether a sweep is running."""
        return bool(self._sweeping)

    def add(self, sessions: Iterable[Unreleased], waiter: Waiter | None = None) -> list[Order]:
        """Take sessions in and begin a sweep; the waiter is answered when the last of them has ended."""
        for session in sessions:
            self._left[session.session_id] = session
            if waiter is not None:
                self._waiters[waiter] = session.session_id
        return self.sweep()

    def join(self, waiter: Waiter) -> list[Order]:
        """Wait with whoever waits for an end already; answer at once when nobody does."""
        awaited = next(reversed(self._waiters.values()), None)
        if awaited is None or len(self._waiters) >= WAITERS_MAX:
            return [Answer(waiter, None)]
        self._waiters[waiter] = awaited
        return []

    def sweep(self) -> list[Order]:
        """Try to end all of them now, unless that is being tried or there are none."""
        if self._sweeping or not self._left:
            return []
        self._sweeping = self.sessions
        return [CancelTimer(TimerKind.SWEEP), Sweep(self._sweeping)]

    def swept(self, fact: Swept) -> list[Order]:
        """Take in what a sweep has achieved."""
        tried, self._sweeping = self._sweeping, ()
        orders: list[Order] = []
        for session_id in fact.gone:
            session = self._left.pop(session_id)
            orders += [Forget(session_id), Announce(SessionCleanup(session_id, session.reason))]
            orders += [Answer(waiter, None) for waiter in self._waiters_for(session_id)]
        left = [session for session in tried if session.session_id in self._left]
        if left:
            assert fact.error is not None, "what could not be ended has a reason"
            orders += self._failed(left, fact.error)
        else:
            self._failures = 0
        if len(self._left) > len(left):  # some came while the sweep ran
            orders += self.sweep()
        return orders

    def _failed(self, left: list[Unreleased], error: AvatarError) -> list[Order]:
        orders: list[Order] = []
        for session in left:
            orders += [Refuse(waiter, error) for waiter in self._waiters_for(session.session_id)]
        if self._failures == 0:  # told once, not with every attempt
            orders.append(Announce(SessionError(str(error), left[0].avatar_id, error.retryable)))
        orders.append(SetBackoff(self._failures))
        self._failures += 1
        return orders

    def _waiters_for(self, session_id: str) -> list[Waiter]:
        waiters = [waiter for waiter, awaited in self._waiters.items() if awaited == session_id]
        for waiter in waiters:
            del self._waiters[waiter]
        return waiters
