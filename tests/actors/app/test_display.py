"""What people see of events: one line each, and nothing that their terminal would obey."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.app.display import NAME_WIDTH, event_line, form_line
from holdfast.actors.app.run import MessageReceived
from holdfast.actors.app.terminal import plain
from holdfast.runtime import Event


@given(st.text())
def test_whatever_a_peer_says_is_shown_on_one_line_without_control_characters(said: str) -> None:
    event = MessageReceived(id=said, message_type=said, channel=said, payload={said: said})

    assert event_line(event, 1.0).plain.isprintable()
    assert form_line({"type": said, "text": said, "at": 1.0}).plain.isprintable()


@given(st.text())
def test_what_can_be_shown_is_shown_as_it_is(said: str) -> None:
    assert (plain(said) == said) == said.isprintable()
    assert len(plain(said)) == len(said)


def test_words_in_brackets_are_no_markup() -> None:
    line = form_line({"type": "message:received", "text": "[bold red]fire[/]", "at": 0.0})

    assert "[bold red]fire[/]" in line.plain


def test_a_long_reason_hides_neither_who_it_was_nor_what_was_done() -> None:
    done = "; rest_for_one restarts socket; 4 of 5 restarts left in 8.2 s"
    text = f"session/link/socket crashed (KeyError: {'x' * 1000}){done}"
    line = form_line({"type": "supervisor:restart", "text": text, "at": 0.0}).plain

    assert "session/link/socket crashed (KeyError" in line
    assert line.endswith(done)
    assert len(line) < 400


def names_of(kind: type[Event]) -> set[str]:
    """Return the names of this type of event and of those derived from it, as far as they are imported."""
    below = {name for derived in kind.__subclasses__() for name in names_of(derived)}
    tag = kind.__struct_config__.tag
    own = kind.__module__.startswith("holdfast.") and isinstance(tag, str)
    return below | ({str(tag)} if own else set())


def test_no_name_of_an_event_is_longer_than_its_column() -> None:
    names = names_of(Event)
    assert "supervisor:full_restart_completed" in names, "the control: the events are found"
    assert [name for name in names if len(name) > NAME_WIDTH] == []
    lines = [form_line({"type": name, "text": "said", "at": 1.0}).plain for name in names]
    assert len({line.index("said") for line in lines}) == 1
