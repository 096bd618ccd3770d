"""How an actor is written, and everything that is refused when its class is made."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from tests.runtime.cast import Ask, Note, Scribe, SlowScribe, Wait, dead_letters, events_of

from holdfast.runtime import (
    Actor,
    DeadLetter,
    DefinitionError,
    InjectedFault,
    Message,
    Request,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled


# SEMANTICS Actors 1: duplicates are refused
def test_two_handlers_for_one_type_are_refused_with_both_names() -> None:
    with pytest.raises(DefinitionError, match=r"Twice has two handlers for Note: first and second"):

        class Twice(Actor):  # pyright: ignore[reportUnusedClass]
            @on(Note)
            def first(self, message: Note) -> None: ...

            @on(Note)
            def second(self, message: Note) -> None: ...


# SEMANTICS Actors 1: unknown types are refused
@pytest.mark.parametrize("wrong", [int, "Note", None, Note("an instance"), Request[int], Exception])
def test_a_type_that_is_no_message_is_refused(wrong: object) -> None:
    with pytest.raises(DefinitionError, match=r"@on takes a class that derives from Message, got"):
        on(wrong)  # type: ignore[arg-type]


def test_the_fault_that_is_put_in_from_outside_is_handled_by_nobody() -> None:
    with pytest.raises(DefinitionError, match="handled by the runtime"):
        on(InjectedFault)


def _takes_nothing(self: Actor) -> None: ...
def _takes_too_much(self: Actor, message: Note, more: int) -> None: ...
def _yields(self: Actor, message: Note) -> Iterator[None]:
    yield


async def _yields_async(self: Actor, message: Note) -> AsyncIterator[None]:
    yield


def _wrapped(function: Callable[[Actor, Note], Awaitable[None]]) -> Callable[[Actor, Note], object]:
    @functools.wraps(function)
    def wrapper(self: Actor, message: Note) -> object:
        return function(self, message)

    return wrapper


@_wrapped
async def _hidden_async(self: Actor, message: Note) -> None: ...


@pytest.mark.parametrize(
    "method,said",
    [
        (_takes_nothing, "takes self and the message"),
        (_takes_too_much, "takes self and the message"),
        (_yields, "does not yield"),
        (_yields_async, "does not yield"),
        (_hidden_async, "nobody would await it"),
        (staticmethod(_takes_nothing), "goes over a method"),
        ("text", "goes over a method"),
    ],
)
def test_a_handler_that_could_only_fail_or_do_nothing_is_refused(
    method: Callable[..., object], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        on(Note)(method)


def test_a_mailbox_that_is_none_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"Wrong.mailbox is a MailboxSpec, got 10"):

        class Wrong(Actor):  # pyright: ignore[reportUnusedClass]
            mailbox = 10  # type: ignore[assignment]


def test_a_subclass_inherits_handlers_and_replaces_them_by_type() -> None:
    class Other(Scribe):
        @on(Note)
        def another_name(self, message: Note) -> None: ...

    assert Other.handlers[Note].function is Other.another_name
    assert Other.handlers[Ask].function is Scribe.answer
    assert Scribe.handlers[Note].function is Scribe.note
    with pytest.raises(TypeError):
        Other.handlers[Note] = Scribe.handlers[Note]  # type: ignore[index]


def test_a_method_that_hides_a_handler_without_being_one_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"Silent.note hides the handler of Note and is none itself"):

        class Silent(Scribe):  # pyright: ignore[reportUnusedClass]
            def note(self, message: Note) -> None: ...


def test_async_def_is_known_when_the_class_is_made() -> None:
    assert [SlowScribe.handlers[kind].waits for kind in (Note, Ask, Wait)] == [False, False, True]


class Special(Note, frozen=True):
    """A message of a subclass: no handler of its own."""


# SEMANTICS Actors 10, S14
@both_backends
async def test_a_message_without_a_handler_is_a_dead_letter_and_the_actor_lives() -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start("scribe", lambda: Scribe(log))
        with dead_letters(system) as dead, events_of(system, DeadLetter) as events:
            ref.tell(Special("x"))
            ref.tell("no message at all")  # type: ignore[arg-type]
            ref.tell(Note("handled"))
            await settled()

        assert dead == [("Special", "no handler"), ("str", "no handler")]
        assert log == ["+1", "handled"]
        assert "x" not in repr(events[0]).replace("Special", ""), "a dead letter is named by its type alone"
        assert system.statistics().dead_letters == 2


def test_messages_are_values_that_nobody_changes() -> None:
    message: Message = Note("text")
    with pytest.raises(AttributeError):
        message.text = "other"  # type: ignore[attr-defined]
    assert message == Note("text")
