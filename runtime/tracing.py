"""What happens, as typed events: the one stream that people, logs and invariants all read.

Logic does not log; it emits an `Event`.  The stream hands each event to every
subscriber; a subscriber is a bounded buffer that drops its oldest event when
its reader is too slow and counts what it dropped, so that nobody who merely
watches can slow down or fail what it watches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Self

from holdfast.runtime.backend import Parker, new_parker
from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.events import Event, SubscriberRemoved

__all__ = ["EventStream", "InvalidSubscription", "Subscription"]

# A reader that is a thousand events behind is not reading; 1,024 frozen records are about 200 KB.
SUBSCRIPTION_CAPACITY = 1024


class InvalidSubscription(HoldfastError, ValueError):
    """A subscription was asked for that can keep nothing; nothing was subscribed."""


class Subscription:
    """One reader's bounded view of the stream; iterate it, and `close` it when done."""

    def __init__(self, stream: EventStream, capacity: int, wanted: Callable[[Event], bool] | None) -> None:
        self._stream = stream
        self._buffer: deque[Event] = deque()
        self._capacity = capacity
        self._wanted = wanted
        self._reader: Parker | None = None
        self._closed = False
        self.missed = 0
        """Events dropped because the reader was more than the capacity behind."""

    def __call__(self, event: Event) -> None:
        """Take an event if it is wanted; the stream calls this."""
        if self._wanted is not None and not self._wanted(event):
            return
        if len(self._buffer) >= self._capacity:
            self._buffer.popleft()
            self.missed += 1
        self._buffer.append(event)
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.unpark()

    def get_nowait(self) -> Event | None:
        """Return the next event, or None when there is none yet."""
        return self._buffer.popleft() if self._buffer else None

    async def get(self) -> Event | None:
        """Wait for the next event; None when the stream is closed and everything was read.

        One reader at a time.  A cancelled wait loses no event.
        """
        while not self._buffer:
            if self._closed:
                return None
            if self._reader is not None:
                raise RuntimeError("a subscription has one reader; subscribe once for each")
            self._reader = parker = new_parker()
            try:
                await parker.park()
            finally:
                self._reader = None
        return self._buffer.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Stop receiving; what was received can still be read."""
        self._closed = True
        self._stream.remove(self)
        self._wake()


class EventStream:
    """Where events are published and subscribed to.  It belongs to the system and survives every restart."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._callbacks: list[Callable[[Event], None]] = []
        self._closed = False
        self.heard = False
        """Whether anybody hears what is published: what costs much to say need not be said to nobody."""

    def publish(self, event: Event) -> None:
        """Hand the event to every subscriber; never waits, never raises."""
        if not self.heard:
            return
        subscribers: tuple[Subscription | Callable[[Event], None], ...]
        subscribers = (*self._subscriptions, *self._callbacks)
        for subscriber in subscribers:
            if subscriber not in self._subscriptions and subscriber not in self._callbacks:
                continue  # removed while this very event was handed out
            try:
                subscriber(event)
            except Exception as error:  # noqa: BLE001 - a watcher must not fail what it watches
                self.remove(subscriber)
                reason = f"{type(error).__name__}: {error}"
                self.publish(SubscriberRemoved(subscriber=repr(subscriber), reason=reason))

    def subscribe(
        self, capacity: int = SUBSCRIPTION_CAPACITY, *, wanted: Callable[[Event], bool] | None = None
    ) -> Subscription:
        """Return a new bounded view that starts now; `wanted` filters before the bound counts."""
        if capacity < 1:
            raise InvalidSubscription(f"a subscription keeps 1 event or more, got capacity={capacity!r}")
        subscription = Subscription(self, capacity, wanted)
        if self._closed:
            subscription._closed = True
        else:
            self._subscriptions.append(subscription)
            self.heard = True
        return subscription

    def call(self, callback: Callable[[Event], None]) -> None:
        """Call `callback` with each event, at once and in order; must not wait; raising removes it."""
        self._callbacks.append(callback)
        self.heard = True

    def remove(self, subscriber: Subscription | Callable[[Event], None]) -> None:
        """Take a subscriber off the stream; removing it twice is nothing."""
        if isinstance(subscriber, Subscription):
            if subscriber in self._subscriptions:
                self._subscriptions.remove(subscriber)
        elif subscriber in self._callbacks:
            self._callbacks.remove(subscriber)
        self.heard = bool(self._subscriptions or self._callbacks)

    def close(self) -> None:
        """End every subscription once it has been read out."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()
