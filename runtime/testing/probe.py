"""An actor that keeps what it is told, for tests of those who tell it.

A probe stands where a real actor would: it is started under a path, and its
inbox is read by the test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from holdfast.runtime.asks import ReplyToken
from holdfast.runtime.backend import Parker, new_parker
from holdfast.runtime.behavior import Actor, Handler
from holdfast.runtime.errors import HoldfastError
from holdfast.runtime.messages import Message, Request
from holdfast.runtime.ref import Ref
from holdfast.runtime.system import System

__all__ = ["NothingCame", "Probe", "probe"]

M = TypeVar("M", bound=Message)
R = TypeVar("R")

PATIENCE = 60.0  # virtual seconds: longer than any time-out of the product's recovery path


class NothingCame(HoldfastError, AssertionError):
    """The probe waited for a message in vain."""


class Probe:
    """What a test reads; `ref` is what the tested actor is given."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._reader: Parker | None = None
        self._answers: dict[type[Message], Callable[[Message], object]] = {}
        self.ref: Ref
        self.received: list[Message] = []
        """Everything that came and was not read yet, oldest first."""
        self.questions: list[ReplyToken] = []
        """The tokens of questions that no `answers` covers, oldest first."""

    def answers(self, request: type[Request[R]], answer: R | Callable[[Message], R]) -> Probe:
        """Answer every question of this type, with a value or with what a function makes of it."""
        self._answers[request] = answer if callable(answer) else lambda _question: answer
        return self

    async def expect(self, wanted: type[M], *, timeout: float = PATIENCE) -> M:
        """Take the next message; it must be of this type."""
        message = await self.next(timeout=timeout)
        if not isinstance(message, wanted):
            raise NothingCame(f"expected a {wanted.__name__} next, got {message!r}")
        return message

    async def await_(self, wanted: type[M], *, timeout: float = PATIENCE) -> M:
        """Take the next message of this type, passing over others."""
        while True:
            message = await self.next(timeout=timeout)
            if isinstance(message, wanted):
                return message

    async def next(self, *, timeout: float = PATIENCE) -> Message:
        """Take the next message; `NothingCame` when there is none in time."""
        deadline = self._system.now() + timeout
        while not self.received:
            if self._system.now() >= deadline:
                raise NothingCame(f"{self.ref.path} waited {timeout:g} s and no message came")
            self._reader = new_parker()
            timer = self._system.deadlines.add(deadline, self._reader.unpark)
            await self._reader.park()
            timer.cancel()
        return self.received.pop(0)

    def take(self, wanted: type[M]) -> list[M]:
        """Take all that came of this type, and leave the rest."""
        taken = [message for message in self.received if isinstance(message, wanted)]
        self.received = [message for message in self.received if not isinstance(message, wanted)]
        return taken

    def came(self, actor: Actor, message: Message) -> object:
        """Note a message; called by the actor behind the probe."""
        self.received.append(message)
        if self._reader is not None:
            self._reader.unpark()
        answer = self._answers.get(type(message))
        if answer is not None:
            return answer(message)
        if actor.context.cell.question is not None:
            self.questions.append(actor.context.reply_later())
        return None


async def probe(system: System, name: str, *heard: type[Message]) -> Probe:
    """Start a probe under `name` that hears these types of messages, and return it."""
    made = Probe(system)

    def hear(actor: Actor, message: Message) -> object:
        return made.came(actor, message)

    class ProbeActor(Actor):
        """Its table is given, not collected from methods."""

    ProbeActor.adopt_handlers({message_type: Handler(hear, waits=False) for message_type in heard})
    made.ref = await system.start(name, ProbeActor)
    return made
