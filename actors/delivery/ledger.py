"""Machine and journal kept in step: propose, commit, then tell the machine.

Every change of what delivery knows goes through here, in that order, and each is
one transaction.  So a crash between any two lines leaves a store from which the
next incarnation goes on, and a commit that fails (`StoreUnavailable`) has changed
nothing.  Events are emitted before the commit that they announce: a crash
between repeats one rather than loses it.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.actors.delivery.inbox import Intake
from holdfast.actors.delivery.journal import Journal
from holdfast.actors.delivery.machine import Machine
from holdfast.actors.delivery.messages import (
    Accepted,
    Append,
    Batch,
    ContinuityLost,
    LinkUp,
    MessageUndeliverable,
    PositionUnknown,
    StateRefused,
    StoreFailed,
    StoreUnavailable,
)
from holdfast.actors.delivery.outbox import Entry, Removal
from holdfast.actors.delivery.settings import DeliverySettings
from holdfast.actors.socket.messages import Frame, HangUp
from holdfast.runtime import Event

__all__ = ["Ledger"]


class Ledger:
    """What one incarnation of delivery does with its store."""

    def __init__(
        self,
        settings: DeliverySettings,
        machine: Machine,
        journal: Journal,
        *,
        emit: Callable[[Event], None],
        wall_now: Callable[[], float],
    ) -> None:
        self.machine = machine
        self._settings = settings
        self._journal = journal
        self._emit = emit
        self._wall_now = wall_now

    # -- outgoing

    def accept(self, message: Append, *, in_turn: bool) -> Accepted | None:
        """Commit a message, or find it committed; None when it must wait for room or for its turn."""
        position = self._journal.position_of(message.id)
        if position is not None:
            return Accepted(position)
        entry = self.machine.entry(message, self._wall_now())
        if not in_turn or not self.machine.has_room(entry.size):
            return None
        self._journal.append(entry, message)
        self.machine.outbox.add(entry)
        return Accepted(entry.position)

    def frames(self, batch: tuple[Entry, ...]) -> tuple[Frame, ...]:
        """Commit the numbers of a batch and return it as frames."""
        self._journal.number(batch, beyond=self.machine.outbox.sent_seq)
        self.machine.outbox.numbered(batch)
        return self.machine.frames(self._journal.contents(batch), batch, self._wall_now())

    def expire(self) -> None:
        """Give up on messages that are too old."""
        removals = self.machine.expired(self._wall_now())
        if removals:
            self._announce(removals)
            self._journal.remove(removals)
            self.machine.outbox.removed(removals)

    def _announce(self, removals: tuple[Removal, ...]) -> None:
        for message_id, removal in zip(self._journal.ids_of(removals), removals, strict=True):
            self._emit(MessageUndeliverable(message_id, removal.reason))

    # -- incoming

    def take_in(self, frames: tuple[Frame, ...]) -> tuple[Intake, HangUp | None]:
        """Commit received frames, as far as there is room; return also how the link ends if it must."""
        machine = self.machine
        intake = machine.weigh_frames(frames, self._journal.known(machine.ids_of(frames)))
        self._journal.take_in(intake)
        return intake, machine.took_in(intake)

    def processed(self, through: int) -> None:
        """Commit that the application is done with everything up to a position of the inbox."""
        inbox = self.machine.inbox
        if through > inbox.position:
            raise PositionUnknown(through, inbox.position)
        inbox.processed(*self._journal.processed(through))

    def batch(self, after: int, limit: int) -> Batch:
        """Return the messages that come next; they stay until they are committed as processed."""
        return Batch(self._journal.inbox_after(after, min(max(1, limit), self._settings.take_limit)))

    # -- the session

    def open_link(self, fact: LinkUp) -> HangUp | None:
        """Commit what a welcome says; return how the link ends if it is not to be trusted."""
        opening = self.machine.weigh_link(fact, self._wall_now())
        if opening is None:
            return None
        if opening.hang_up is not None:
            self.abandon(opening.hang_up, generation=fact.generation)
            return opening.hang_up
        if opening.continuity_lost:
            self._emit(ContinuityLost(self._journal.channels()))
        self._announce(opening.removals)
        self._journal.open_link(opening)
        self.machine.link_opened(opening)
        return None

    def abandon(self, order: HangUp, *, generation: int | None = None) -> None:
        """Believe nothing more of a link; forget the session if it is to be destroyed."""
        self.machine.abandoned(generation)
        if order.destroy_session:
            try:
                self.forget_session()
            except StoreUnavailable as error:
                # The hub will say "unknown" to the resume, and a new session begins all the same.
                self.report(error)

    def forget_session(self) -> None:
        """Commit that there is no session; what waits keeps its order and its ids."""
        if self.machine.knows_traffic:
            self._emit(ContinuityLost(self._journal.channels()))
        self._journal.forget_session()
        self.machine.session_forgotten()

    # -- preserved state, and the rest

    def preserve(self, name: str, state: bytes) -> None:
        """Commit an application's state (A2.5)."""
        settings = self._settings
        if len(state) > settings.state_bytes:
            raise StateRefused(name, "bytes", got=len(state), limit=settings.state_bytes)
        names = 1 + self._journal.preserved_names(besides=name)
        if names > settings.state_names:
            raise StateRefused(name, "names", got=names, limit=settings.state_names)
        self._journal.preserve(name, state)

    def preserved(self, name: str) -> bytes | None:
        """Return what was preserved."""
        return self._journal.preserved(name)

    def report(self, error: StoreUnavailable) -> None:
        """Say that the store refused something for which nobody waits."""
        self._emit(StoreFailed(error.operation, error.cause))
