"""A bounded mailbox that outlives the actor behind it.

The queue is a plain `deque`: measured 15 to 20 times faster than a memory
channel, because a channel costs a scheduler tick per message.  The bound is on
what users send; what the runtime itself posts (exit notices, ticks, answers)
is outside it and never dropped.

The mailbox belongs to the slot, not to an incarnation: at a restart the mail
stays, in order.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import attrs

from holdfast.runtime.errors import DefinitionError, MailboxFull

if TYPE_CHECKING:
    from holdfast.runtime.asks import Pending
    from holdfast.runtime.outcomes import Outcome

__all__ = ["Consumer", "Envelope", "Mailbox", "MailboxSpec", "Notice", "Parcel", "Policy", "Question", "Tick"]

Policy: TypeAlias = Literal["wait", "reject", "drop_oldest", "drop_newest"]
_POLICIES = ("wait", "reject", "drop_oldest", "drop_newest")

# Enough for a burst of a second at a thousand messages a second; small enough
# that a stuck actor is noticed long before memory is.
CAPACITY = 1024

# Why an overflowing mailbox drops; a question that is dropped fails as MailboxFull.
OVERFLOW_NEWEST = "mailbox full, the newest is dropped"
OVERFLOW_OLDEST = "mailbox full, the oldest is dropped"

# The limit of a mailbox that takes no more mail: any length is over it.
_CLOSED = -(1 << 60)


# Stands for the queue of a mailbox that has had no mail: a deque is 0.7 KB, also an empty one.
_NO_MAIL_YET: deque[object] = deque(maxlen=0)


class Keeper(Protocol):
    """Who hears of a message that is not going to be handled, and why: the slot."""

    def drop(self, item: object, why: str) -> None:
        """Say so to whoever sent it."""
        ...


@attrs.frozen
class MailboxSpec:
    """How an actor's mail is kept; declared on the class as ``mailbox = MailboxSpec(...)``."""

    capacity: int = CAPACITY
    """User messages that may wait.  What the runtime posts is not counted."""

    policy: Policy = "wait"
    """What a full mailbox does: `wait` lets `send` wait and `tell` raise, `reject` raises for both,
    `drop_oldest` and `drop_newest` make a dead letter and go on."""

    on_restart: Literal["keep", "discard"] = "keep"
    """Whether mail waits for the next incarnation.  Discard it where it belongs to a connection."""

    def __attrs_post_init__(self) -> None:
        if type(self.capacity) is not int or self.capacity < 1:
            raise DefinitionError(
                f"a mailbox's capacity is a whole number of 1 or more, got {self.capacity!r}"
            )
        if self.policy not in _POLICIES:
            raise DefinitionError(f"a mailbox's policy is one of {', '.join(_POLICIES)}, got {self.policy!r}")
        if self.on_restart not in {"keep", "discard"}:
            raise DefinitionError(f"on_restart is 'keep' or 'discard', got {self.on_restart!r}")


class Consumer(Protocol):
    """Who takes the mail: a parked task, or the actor's place at the pump."""

    def unpark(self) -> None:
        """There is mail; twice is once."""
        ...


class Envelope:
    """The base of what is in a queue besides plain messages."""

    __slots__ = ()


class Question(Envelope):
    """A message whose sender waits for the answer."""

    __slots__ = ("message", "pending")

    def __init__(self, message: object, pending: Pending) -> None:
        self.message = message
        self.pending = pending


class Parcel(Envelope):
    """A message whose sender waits for room: the mailbox puts the message into the queue by itself."""

    __slots__ = ("message", "pending")

    def __init__(self, message: object, pending: Pending) -> None:
        self.message = message
        self.pending = pending


class Notice(Envelope):
    """A message of the runtime; `incarnation` says for whom, None for whoever is there."""

    __slots__ = ("incarnation", "message")

    def __init__(self, message: object, incarnation: int | None) -> None:
        self.message = message
        self.incarnation = incarnation


class Tick(Envelope):
    """A timer's message.  While one waits in the queue, the timer adds no second one."""

    __slots__ = ("incarnation", "message", "waiting")

    def __init__(self, message: object, incarnation: int) -> None:
        self.message = message
        self.incarnation = incarnation
        self.waiting = False


class StopMark(Envelope):
    """The end of the mail that a final stop still handles (R22)."""

    __slots__ = ()


class StopRequest(Envelope):
    """One incarnation is asked to end itself with this outcome, after the mail before it (S17)."""

    __slots__ = ("incarnation", "outcome")

    def __init__(self, incarnation: int, outcome: Outcome) -> None:
        self.incarnation = incarnation
        self.outcome = outcome


class Mailbox:
    """The queue, its bound, and those who wait at either end."""

    __slots__ = (
        "capacity",
        "consumer",
        "dropped",
        "high_water",
        "keeper",
        "limit",
        "path",
        "policy",
        "queue",
        "refused",
        "senders",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.queue: deque[object] = _NO_MAIL_YET
        self.capacity = CAPACITY
        self.policy: Policy = "wait"
        # capacity + the runtime's own items in the queue; without the capacity until there is a queue,
        # so that the first mail finds no room and makes one; far below zero when closed.
        self.limit = 0
        self.consumer: Consumer | None = None
        """Whom to wake at the next mail; nobody while the mail is being handled anyway."""
        self.senders: deque[Question | Parcel] | None = None
        """What waits for room, in the order in which it came; only where the policy is `wait`."""
        self.high_water = 0
        self.dropped = 0
        self.refused = 0
        self.keeper: Keeper | None = None
        """Who hears of what is dropped."""

    # -- the sending end

    def tell(self, message: object) -> None:
        """Put a message at the end, or do what the policy says when there is no room."""
        queue = self.queue
        if len(queue) < self.limit:
            queue.append(message)
            if self.consumer is not None:
                self.call_consumer()
        else:
            self._overflow(message)

    def post(self, item: object) -> None:
        """Put an item of the runtime at the end, outside the bound."""
        self.limit += 1
        self._own_queue().append(item)
        self.call_consumer()

    def post_first(self, item: object) -> None:
        """Put an item of the runtime before everything that waits, outside the bound."""
        self.limit += 1
        self._own_queue().appendleft(item)
        self.call_consumer()

    def call_consumer(self) -> None:
        """Wake who takes the mail, if he sleeps."""
        consumer = self.consumer
        if consumer is not None:
            self.consumer = None
            consumer.unpark()

    def _own_queue(self) -> deque[object]:
        """Return the queue, made on the first mail: most of a hundred thousand idle actors have none."""
        if self.queue is _NO_MAIL_YET:
            self.queue = deque()
            self.limit += self.capacity
        return self.queue

    def _overflow(self, message: object) -> None:
        if self.closed:
            self._drop(message, "gone")
        elif self.queue is _NO_MAIL_YET:
            self._own_queue()
            self.tell(message)
        elif self.policy == "drop_newest":
            self.dropped += 1
            self._drop(message, OVERFLOW_NEWEST)
        elif self.policy == "drop_oldest":
            self.dropped += 1
            self._drop_oldest()
            self.tell(message)
        else:
            self.refused += 1
            raise MailboxFull(self.path, self.capacity)

    def _drop_oldest(self) -> None:
        for index, item in enumerate(self.queue):
            if not isinstance(item, Envelope) or isinstance(item, Question):
                del self.queue[index]
                self._drop(item, OVERFLOW_OLDEST)
                return

    def _drop(self, item: object, why: str) -> None:
        if self.keeper is not None:
            self.keeper.drop(item, why)

    @property
    def full(self) -> bool:
        """Whether a user's message would find no room (a closed mailbox is not full)."""
        return len(self.queue) >= self.limit and not self.closed and self.queue is not _NO_MAIL_YET

    def must_wait(self) -> bool:
        """Whether a `send` or an `ask` stands in line: first come, first served."""
        if not self.senders and (len(self.queue) < self.limit or self.queue is _NO_MAIL_YET):
            return False
        return self.policy == "wait" and not self.closed

    def stand_in_line(self, waiting: Question | Parcel) -> None:
        """Take what finds no room now; it gets into the queue when there is some (`admit_senders`)."""
        if self.senders is None:
            self.senders = deque()
        self.senders.append(waiting)

    def leave_line(self, waiting: Question | Parcel) -> None:
        """Forget what stood in line and is not wanted any more; what got in or out already is nothing."""
        if self.senders and waiting in self.senders:
            self.senders.remove(waiting)

    # -- the receiving end

    def settle(self) -> None:
        """Account for one of the runtime's items that was taken out."""
        self.limit -= 1

    def admit_senders(self) -> None:
        """Put in as much of what stands in line as there is room, once the mailbox is half empty.

        Half, so that a full mailbox does not wake one sender per message.  The message is put
        in here and not by the woken sender, whose turn may come after another one's.
        """
        senders, queue = self.senders, self.queue
        room = self.limit - len(queue)
        if not senders or (room < self.capacity // 2 and queue):
            return
        while senders and room > 0:
            waiting = senders.popleft()
            if not waiting.pending.wanted:
                continue
            room -= 1
            if isinstance(waiting, Question):
                queue.append(waiting)
            else:
                queue.append(waiting.message)
                waiting.pending.resolve(None)
        if queue:
            self.call_consumer()

    # -- opening and closing

    @property
    def closed(self) -> bool:
        """Whether new mail becomes dead letters."""
        return self.limit < 0

    @property
    def depth(self) -> int:
        """How many items wait."""
        return len(self.queue)

    def close(self) -> None:
        """Take no more mail; what waits stays until it is handled or taken out."""
        if not self.closed:
            self.limit += _CLOSED
            while self.senders:
                self._drop(self.senders.popleft(), "gone")

    def reopen(self) -> None:
        """Take mail again."""
        if self.limit < 0:  # `closed`, at each restart
            self.limit -= _CLOSED

    def configure(self, spec: MailboxSpec) -> None:
        """Adopt an actor class's declaration; a changed bound drops nothing that already waits."""
        if spec.capacity != self.capacity:
            if self.queue is not _NO_MAIL_YET:
                self.limit += spec.capacity - self.capacity
            self.capacity = spec.capacity
        self.policy = spec.policy

    def take_all(self) -> list[object]:
        """Empty the queue and return what was in it."""
        items = list(self.queue)
        self.queue.clear()
        for item in items:
            if isinstance(item, Envelope) and not isinstance(item, Question):
                self.limit -= 1
        return items
