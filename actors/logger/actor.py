"""The logger actor: drains the backlog in batches and has them written beside the loop.

It decides nothing: `machine.Pace` says when to write, `Log` holds everything
that must outlast it.  A crash of this actor loses no accepted record; a slow
or full disk blocks neither the loop nor the actor's own mailbox.

It is also one subscriber among others of the system's events, which topology
teaches it to read with `encode`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from holdfast.actors.logger.machine import DeadLetterLimit, Pace, Step
from holdfast.actors.logger.messages import (
    Data,
    Drain,
    Flush,
    Level,
    LogRecovered,
    LogSinkFailed,
    SetLevel,
    ShowHeldBack,
    SinkFailed,
    WriteDue,
    WriteEnded,
)
from holdfast.actors.logger.settings import LoggerSettings
from holdfast.actors.logger.sinks import Log
from holdfast.runtime import Actor, DeadLetter, Event, Outcome, ReplyToken, Subscription, on

__all__ = ["Encode", "LoggerActor"]

Encode: TypeAlias = Callable[[Event], tuple[Level, str, Data] | None]
"""Says how to log an event, or None for one that is not logged."""

EVENTS = "system"
"""The component of records made of events."""


class LoggerActor(Actor):
    """Writes what the front of `log` accepts, and the system's events."""

    def __init__(self, log: Log, settings: LoggerSettings, *, encode: Encode | None = None) -> None:
        self._log = log
        self._settings = settings
        self._encode = encode
        self._pace = Pace()
        self._dead_letters = DeadLetterLimit()
        self._flushes: list[tuple[int, ReplyToken]] = []
        """How many records must be written, and who waits for it."""

    def on_start(self) -> None:
        """Take over the settings and begin; a disk that hangs keeps nothing from starting."""
        self._log.apply(self._settings)
        if self._encode is not None:
            subscription = self._log.follow(self.context.system.events)
            self.context.spawn(self._follow, subscription, self._encode)
        # Even with nothing to write: the first write looks for the mark of the run before.  And records may
        # have come before the actor, or have been left by an incarnation before.
        self._carry_out(self._pace.due(waiting=True))

    async def on_drain(self) -> None:
        """Write everything: a full restart is coming."""
        await self._write_everything()

    async def on_stop(self, outcome: Outcome) -> None:
        """Write everything; what the file refuses stays in the log for whoever comes next."""
        self._note_last_events()
        await self._write_everything()

    @on(SetLevel)
    def set_level(self, request: SetLevel) -> None:
        """Change the level at run time."""
        self._log.front.set_level(request.level)

    @on(Flush)
    def flush(self, _request: Flush) -> None:
        """Answer when everything accepted so far is written."""
        if self._log.waiting:
            self._flushes.append((self._log.backlog.accepted, self.context.reply_later()))
            self._carry_out(self._pace.due(waiting=True))

    @on(Drain)
    def drain(self, _message: Drain) -> None:
        """Hear from the front."""
        self._carry_out(self._pace.woken())

    @on(WriteDue)
    def write_due(self, _message: WriteDue) -> None:
        """Hear from the timer."""
        self._carry_out(self._pace.due(waiting=self._log.waiting))

    @on(WriteEnded)
    def write_ended(self, message: WriteEnded) -> None:
        """Hear from the writing task."""
        if message.failure is not None:
            self._write_failed(message.failure)
            return
        if self._pace.failures:
            self.context.emit(LogRecovered(failures=self._pace.failures))
        waiting = self._log.waiting
        self._answer_flushes()
        self._carry_out(self._pace.written(waiting=waiting))

    @on(ShowHeldBack)
    def show_held_back(self, _message: ShowHeldBack) -> None:
        """Report the dead letters that were not logged one by one."""
        self._report_held_back()

    def _report_held_back(self) -> None:
        count = self._dead_letters.take_held_back()
        if count:
            self._log.front.warn(f"{count} more dead letters", {"held_back": count}, component=EVENTS)

    def _carry_out(self, step: Step) -> None:
        match step:
            case Step.NOTHING:
                pass
            case Step.LINGER:
                self.context.after(self._settings.linger, WriteDue(), key="pace")
            case Step.RETRY:
                self.context.after(self._settings.retry_delay, WriteDue(), key="pace")
            case Step.PARK:
                self._log.backlog.park(self._wake)
            case Step.WRITE:
                self._log.fill()
                self.context.spawn(self._write)

    def _wake(self) -> None:
        # Delivered outside the bound of the mailbox and never refused: a call of the front must not fail.
        self.context.deliver(Drain())

    async def _write(self) -> None:
        try:
            await self.context.seams.threads.run(self._log.write_pending)
        except SinkFailed as error:
            self.context.deliver(WriteEnded(failure=error))
        else:
            self.context.deliver(WriteEnded())

    def _write_failed(self, failure: SinkFailed) -> None:
        step = self._pace.failed()
        if self._pace.failures == 1:
            self.context.emit(LogSinkFailed(sink=failure.sink, reason=failure.reason))
        flushes, self._flushes = self._flushes, []
        for _accepted, token in flushes:
            token.fail(failure)
        self._carry_out(step)

    def _answer_flushes(self) -> None:
        waiting = [(accepted, token) for accepted, token in self._flushes if accepted > self._log.written]
        for accepted, token in self._flushes:
            if accepted <= self._log.written:
                token.reply(None)
        self._flushes = waiting

    async def _write_everything(self) -> None:
        # Bounded by what is there now: an application that logs all the time must not keep us from stopping.
        last = self._log.backlog.accepted
        while self._log.written < last or self._log.pending is not None:
            self._log.fill()
            try:
                await self.context.seams.threads.run(self._log.write_pending)
            except SinkFailed:
                return

    # -- events

    async def _follow(self, subscription: Subscription, encode: Encode) -> None:
        while (event := await subscription.get()) is not None:
            self._note_event(event, encode)

    def _note_event(self, event: Event, encode: Encode) -> None:
        missed = self._log.take_missed()
        if missed:
            self._log.front.warn(f"{missed} events missed", {"missed": missed}, component=EVENTS)
        if isinstance(event, DeadLetter) and not self._admit_dead_letter():
            return
        entry = encode(event)
        if entry is not None:
            level, text, data = entry
            self._log.front.log(level, text, data, component=EVENTS)

    def _note_last_events(self) -> None:
        """Log what the following task had no time for any more."""
        subscription = self._log.subscription
        if subscription is None or self._encode is None:
            return
        while (event := subscription.get_nowait()) is not None:
            self._note_event(event, self._encode)
        self._report_held_back()

    def _admit_dead_letter(self) -> bool:
        admitted = self._dead_letters.admit(self.context.now())
        if self._dead_letters.held_back == 1:
            self.context.after(1.0, ShowHeldBack(), key="held back")
        return admitted
