"""What people see of events: one line each, and nothing that their terminal would obey."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.app.display import event_line, form_line
from holdfast.actors.app.run import MessageReceived
from holdfast.actors.app.terminal import plain


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
