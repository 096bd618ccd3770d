"""The way in from other threads: `tell`, `send` and `ask` for code that runs beside the event loop.

Everything else of the runtime belongs to the loop's thread alone.  What comes
through here is put into one bounded queue and delivered by the loop in the order
in which it came, so each thread's messages keep their order.  A thread pays for
one wake-up per batch, not per message.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Generic, TypeVar

from holdfast.runtime.asks import Pending
from holdfast.runtime.errors import (
    AskTimeout,
    MailboxFull,
    PortalFull,
    SendTimeout,
    SystemClosed,
    WrongThread,
)
from holdfast.runtime.mailbox import Parcel, Question
from holdfast.runtime.messages import Message, Request
from holdfast.runtime.ref import ASK_TIMEOUT, Ref

if TYPE_CHECKING:
    from holdfast.runtime.system import System

__all__ = ["Portal"]

R = TypeVar("R")

# 64 mailboxes of the default size: more than the loop delivers in 0.1 s.
PORTAL_CAPACITY = 65_536

# One delivery takes about as long as an actor's turn, 0.4 ms, so that threads do not starve actors.
BATCH = 512

# How much longer than its deadline a thread waits for the loop to say that it has passed.
LOOP_GRACE = 1.0

NO_ROOM = "the mailbox was full for a message from a thread"


class _Letter:
    """A message on its way in, whose sender goes on."""

    __slots__ = ("message", "ref")

    def __init__(self, ref: Ref, message: Message) -> None:
        self.ref = ref
        self.message = message

    def deliver(self, system: System) -> None:
        try:
            self.ref.tell(self.message)
        except MailboxFull:
            # Nobody is there to be told: its sender has gone on.
            system.dead_letter(
                self.ref.path, self.message, "the mailbox was full for a message from a thread"
            )

    def refuse(self, system: System) -> None:
        system.dead_letter(self.ref.path, self.message, "the system was closed")


class _Call(Generic[R]):
    """A message on its way in, whose sender waits: for the answer of a question, or for room."""

    __slots__ = ("_future", "_in_line", "_message", "_pending", "_question", "_ref", "_timeout", "_when")

    def __init__(self, ref: Ref, message: Message, question: str | None, timeout: float, when: float) -> None:
        self._ref = ref
        self._message = message
        self._question = question
        self._timeout = timeout
        self._when = when
        self._future: Future[R] = Future()
        self._pending: Pending | None = None
        self._in_line: Question | Parcel | None = None

    @property
    def future(self) -> Future[R]:
        return self._future

    def deliver(self, system: System) -> None:
        """Do on the loop what `Ref.ask` and `Ref.send` do in a task, without one."""
        if self._future.cancelled():
            return
        pending = self._pending = Pending(self._ref.path, self._question, self._timeout, self._when)
        pending.correlation = system.correlate()
        pending.on_done = self._settle
        sent = Question(self._message, pending) if self._question is not None else None
        slot = self._ref.slot
        mailbox = slot.mailbox
        try:
            if not self._when > system.now():
                pending.expire()
            elif mailbox.closed:
                pending.fail(slot.gone())
            elif mailbox.must_wait():
                self._in_line = sent or Parcel(self._message, pending)
                mailbox.stand_in_line(self._in_line)
            elif sent is not None:
                mailbox.tell(sent)
            else:
                mailbox.tell(self._message)
                pending.resolve(None)
        except MailboxFull as error:
            pending.fail(error)
        if not pending.done:
            pending.deadline = system.deadlines.add(self._when, pending.expire)

    def refuse(self, system: System) -> None:
        self.fail(system.closed_error())

    def withdraw(self) -> None:
        """Take it back: whoever waited has cancelled the future."""
        if self._pending is not None:
            self._pending.withdraw()

    def too_late(self) -> AskTimeout | SendTimeout:
        if self._question is None:
            return SendTimeout(self._ref.path, self._timeout)
        return AskTimeout(self._ref.path, self._question, self._timeout)

    def _settle(self) -> None:
        pending = self._pending
        assert pending is not None, "only what was delivered is settled"
        if self._in_line is not None:
            self._ref.slot.mailbox.leave_line(self._in_line)
        error, pending.error = pending.error, None
        if error is not None:
            self.fail(error)
            return
        try:
            self._future.set_result(pending.value)  # type: ignore[arg-type]  # Request[R] types it
        except InvalidStateError:
            """Cancelled by its thread in this very moment."""

    def fail(self, error: BaseException) -> None:
        """Raise this at whoever waits."""
        try:
            self._future.set_exception(error)
        except InvalidStateError:
            """Cancelled by its thread in this very moment."""


class Portal:
    """The entrance of one system for other threads; `system.portal`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._call_loop: Callable[[Callable[[], None]], None] = system.backend.thread_gate()
        self._loop_thread = threading.get_ident()
        # Between an append and a look at the flags a thread may be interrupted by another.
        self._lock = threading.Lock()
        self._inbox: deque[_Letter | _Call[object] | Callable[[], None]] = deque()
        self._called = False
        self._closed = False

    def tell(self, ref: Ref, message: Message) -> None:
        """Send a message and go on.  At most once, in the order of this thread.

        `PortalFull` when the loop does not keep up, `SystemClosed` after its end.  A
        mailbox that is full, or an actor that is gone, makes a dead letter of it.
        """
        self._put(_Letter(ref, message))

    def send(self, ref: Ref, message: Message, *, timeout: float = ASK_TIMEOUT) -> None:
        """Send a message, waiting for room in the mailbox: what `Ref.send` raises, and `WrongThread`."""
        self._wait(self._begin(ref, message, None, timeout), timeout)

    def ask(self, ref: Ref, request: Request[R], *, timeout: float = ASK_TIMEOUT) -> R:
        """Ask and block this thread until the answer is there: what `Ref.ask` raises, and `WrongThread`.

        The loop's own thread would wait for itself for ever: it is refused with `WrongThread`.
        """
        call: _Call[R] = self._begin(ref, request, type(request).__name__, timeout)
        return self._wait(call, timeout)

    def ask_future(self, ref: Ref, request: Request[R], *, timeout: float = ASK_TIMEOUT) -> Future[R]:
        """Ask and go on: the answer, or what `Ref.ask` would raise, comes as a future.

        Cancelling the future withdraws the question.
        """
        call: _Call[R] = self._begin(ref, request, type(request).__name__, timeout, here=True)
        return call.future

    def _begin(
        self, ref: Ref, message: Message, question: str | None, timeout: float, *, here: bool = False
    ) -> _Call[R]:
        if not here and threading.get_ident() == self._loop_thread:
            raise WrongThread(ref.path)
        call: _Call[R] = _Call(ref, message, question, timeout, self._system.now() + timeout)
        if not timeout > 0:  # said so, because NaN is no deadline either
            call.fail(call.too_late())
            return call
        self._put(call)  # type: ignore[arg-type]  # the queue does not care what the answer is
        call.future.add_done_callback(lambda future: self._withdraw(call) if future.cancelled() else None)
        return call

    def _withdraw(self, call: _Call[R]) -> None:
        try:
            self._put(call.withdraw, urgent=True)
        except SystemClosed:
            """Everything has been withdrawn with the system."""

    def _wait(self, call: _Call[R], timeout: float) -> R:
        patience = min(timeout + LOOP_GRACE, threading.TIMEOUT_MAX) if timeout > 0 else 0.0
        try:
            return call.future.result(patience)
        except FutureTimeout:
            # Either the loop is blocked, or the answer of the actor is itself a time-out.
            if not call.future.cancel():
                raise
            raise call.too_late() from None
        except BaseException:
            call.future.cancel()  # an interrupted thread waits for nothing any more
            raise

    # -- the queue

    def _put(self, item: _Letter | _Call[object] | Callable[[], None], *, urgent: bool = False) -> None:
        with self._lock:
            if self._closed:
                raise SystemClosed(self._system.name)
            if len(self._inbox) >= PORTAL_CAPACITY and not urgent:
                raise PortalFull(self._system.name, PORTAL_CAPACITY)
            self._inbox.append(item)
            if self._called:
                return
            self._called = True
        self._wake_loop()

    def _wake_loop(self) -> None:
        try:
            self._call_loop(self._deliver)
        except RuntimeError as error:
            # The loop has ended without the system's own end: nobody will ever deliver.
            self.close()
            raise SystemClosed(self._system.name) from error

    def _deliver(self) -> None:
        """Deliver a batch; on the loop's thread."""
        batch = self._take(BATCH)
        for item in batch:
            if isinstance(item, _Letter | _Call):
                item.deliver(self._system)
            else:
                item()
        with self._lock:
            self._called = bool(self._inbox)
            if not self._called:
                return
        self._wake_loop()

    def _take(self, most: int) -> list[_Letter | _Call[object] | Callable[[], None]]:
        with self._lock:
            return [self._inbox.popleft() for _ in range(min(most, len(self._inbox)))]

    def close(self) -> None:
        """Refuse what comes from now on, and what has not been delivered; called by the system's end."""
        with self._lock:
            self._closed = True
        for item in self._take(len(self._inbox)):
            if isinstance(item, _Letter | _Call):
                item.refuse(self._system)
