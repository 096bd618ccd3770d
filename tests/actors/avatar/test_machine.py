from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.actors.avatar import facts
from holdfast.actors.avatar.facts import Announce, Answer, Order, Refuse, Send, TimerKind, Waiter
from holdfast.actors.avatar.machine import AvatarMachine
from holdfast.actors.avatar.messages import (
    AvatarServiceError,
    AvatarSession,
    AvatarSessionExists,
    Cleanup,
    InitializeSession,
    SessionCleanup,
    SessionError,
    SynchronizeWithVoice,
)
from holdfast.actors.avatar.releases import WAITERS_MAX, stop_reason
from holdfast.actors.avatar.settings import AvatarSettings
from holdfast.actors.avatar.speech import Interrupt, KeepAlive, Speak, SpeakEnd
from holdfast.runtime import Secret

SETTINGS = AvatarSettings(enabled=True, api_url="https://avatar.example", api_key=Secret("key"))
WANTED = InitializeSession("avatar-456")
DOWN = AvatarServiceError("sessions/stop", 503, 0, "down", retryable=True)
GONE = AvatarServiceError("sessions/keep-alive", 404, 0, "gone", retryable=False)


def of(orders: Iterable[Order], kind: type[object]) -> list[object]:
    return [order for order in orders if isinstance(order, kind)]


def opening(machine: AvatarMachine, waiter: int = 1) -> list[Order]:
    return machine.handle(facts.SessionAsked(Waiter(waiter), WANTED))


def opened() -> AvatarMachine:
    """Return a machine with an open WebSocket whose service has not said `connected`."""
    machine = AvatarMachine(SETTINGS)
    opening(machine)
    machine.handle(facts.Minted(1, "s-1", Secret("token")))
    machine.handle(facts.Started(1, "wss://avatar.example/ws?key=1"))
    machine.handle(facts.Linked(1))
    return machine


def connected() -> AvatarMachine:
    machine = opened()
    machine.handle(facts.Reported(1, "connected"))
    machine.handle(facts.Written(1))  # of agent.start_listening
    return machine


def speech(audio: bytes = b"\0\0", *, speaking: bool = True, waiter: int = 9) -> facts.SpeechAsked:
    return facts.SpeechAsked(Waiter(waiter), SynchronizeWithVoice("voice-1", speaking, audio))


# -- opening


def test_a_session_is_recorded_before_it_is_started() -> None:  # A6.4
    machine = AvatarMachine(SETTINGS)
    assert opening(machine) == [facts.Mint(1, WANTED)]
    token = Secret("token")
    assert machine.handle(facts.Minted(1, "s-1", token)) == [
        facts.Record("s-1", "avatar-456"),
        facts.Start(1, "s-1", token),
    ]


def test_the_caller_is_answered_when_the_avatar_is_connected_and_not_before() -> None:  # A6.1
    machine = opened()
    assert machine.state.status == "connecting"
    orders = machine.handle(facts.Reported(1, "connected"))
    assert (
        Answer(Waiter(1), AvatarSession("s-1", "avatar-456", "active", "wss://avatar.example/ws?key=1"))
        in orders
    )
    assert machine.state.status == "active"


def test_news_of_an_earlier_session_are_dropped_and_counted() -> None:
    machine = connected()
    machine.handle(facts.LinkClosed(1, "reset"))
    machine.handle(facts.Swept(("s-1",), None))
    opening(machine)
    assert machine.handle(facts.Reported(1, "connected")) == []
    assert machine.handle(facts.Started(1, "wss://old")) == []
    assert machine.state.stale_facts == 2


def test_unknown_states_are_no_ops() -> None:
    machine = connected()
    assert machine.handle(facts.Reported(1, "levitating")) == []
    assert machine.state.status == "active"


def test_only_so_many_wait_for_one_opening() -> None:
    machine = AvatarMachine(SETTINGS)
    for waiter in range(WAITERS_MAX):
        assert not of(opening(machine, waiter), Refuse)
    (refused,) = of(opening(machine, 99), Refuse)
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, AvatarSessionExists)


def test_an_opening_waits_for_a_sweep_and_goes_on_although_it_failed() -> None:
    machine = AvatarMachine(SETTINGS)
    machine.adopt([facts.Unreleased("old", "avatar-1", "found_at_start")])
    assert opening(machine) == []
    orders = machine.handle(facts.Swept((), DOWN))
    assert facts.Mint(1, WANTED) in orders


# -- the gate


@pytest.mark.parametrize("state", ["connecting", "closing"])
def test_the_gate_closes_when_the_service_leaves_connected(state: str) -> None:
    machine = connected()
    machine.handle(facts.Reported(1, state))
    assert not of(machine.handle(speech()), Send)


def test_speech_offered_before_connected_is_sent_after_it() -> None:
    machine = opened()
    assert not of(machine.handle(speech(b"\1\2")), Send)
    sent = of(machine.handle(facts.Reported(1, "connected")), Send)
    assert sent == [Send(1, Speak("speech-1", b"\1\2"))]


def test_after_a_second_connected_nobody_is_told_of_a_new_session() -> None:
    machine = connected()
    machine.handle(facts.Reported(1, "connecting"))
    assert not of(machine.handle(facts.Reported(1, "connected")), Announce)
    assert machine.state.status == "active"


# -- speech


def test_one_packet_is_on_its_way_at_a_time() -> None:
    machine = connected()
    assert of(machine.handle(speech(bytes(200_000))), Send)
    assert not of(machine.handle(speech(bytes(200_000))), Send)
    assert of(machine.handle(facts.Written(1)), Send)


def test_an_interrupt_overtakes_what_is_queued() -> None:
    machine = connected()
    machine.handle(speech(bytes(200_000)))
    machine.handle(facts.Written(1))  # of agent.stop_listening; a chunk follows
    machine.handle(facts.InterruptAsked(Waiter(2)))
    (sent,) = of(machine.handle(facts.Written(1)), Send)
    assert isinstance(sent, Send)
    assert isinstance(sent.packet, Interrupt)
    assert machine.state.queued_bytes == 0


def test_a_keep_alive_overtakes_speech_and_is_due_again() -> None:
    machine = connected()
    machine.handle(speech(bytes(200_000)))
    orders = machine.handle(facts.TimerFired(TimerKind.KEEP_ALIVE))
    assert facts.SetTimer(TimerKind.KEEP_ALIVE, SETTINGS.keep_alive) in orders
    assert facts.Prolong(1, "s-1") in orders
    (sent,) = of(machine.handle(facts.Written(1)), Send)
    assert isinstance(sent, Send)
    assert isinstance(sent.packet, KeepAlive)


def test_a_timer_of_a_session_that_is_over_does_nothing() -> None:
    machine = AvatarMachine(SETTINGS)
    for kind in TimerKind:
        assert machine.handle(facts.TimerFired(kind)) == []
    opening(machine)
    assert machine.handle(facts.TimerFired(TimerKind.CONNECTED)) == []


# -- the end


@pytest.mark.parametrize("state", ["closed", "disconnected"])
def test_a_session_that_the_service_closed_is_lost_and_swept(state: str) -> None:
    machine = connected()
    orders = machine.handle(facts.Reported(1, state))
    assert of(orders, facts.Sweep) == [
        facts.Sweep((facts.Unreleased("s-1", "avatar-456", "session_failed"),))
    ]
    assert facts.HangUp() in orders


def test_a_service_that_says_closing_and_nothing_more_is_not_waited_for() -> None:
    machine = connected()
    machine.handle(facts.Reported(1, "closing"))
    assert machine.state.status == "closing"
    assert of(machine.handle(facts.TimerFired(TimerKind.CONNECTED)), facts.Sweep)


def test_an_end_is_confirmed_before_it_is_announced_and_forgotten() -> None:  # A6.4
    machine = connected()
    orders = machine.handle(facts.CleanupAsked(Waiter(3), Cleanup()))
    assert not of(orders, Announce)
    assert not of(orders, facts.Forget)
    confirmed = machine.handle(facts.Swept(("s-1",), None))
    assert confirmed == [
        facts.Forget("s-1"),
        Announce(SessionCleanup("s-1", "manual_cleanup")),
        Answer(Waiter(3), None),
    ]


def test_a_second_cleanup_waits_for_the_first() -> None:
    machine = connected()
    machine.handle(facts.CleanupAsked(Waiter(3), Cleanup()))
    assert machine.handle(facts.CleanupAsked(Waiter(4), Cleanup())) == []
    answered = machine.handle(facts.Swept(("s-1",), None))
    assert {order.waiter for order in answered if isinstance(order, Answer)} == {3, 4}


def test_a_sweep_that_fails_is_repeated_for_ever_and_told_once() -> None:  # A6.4
    machine = AvatarMachine(SETTINGS)
    machine.adopt([facts.Unreleased("old", "avatar-1", "found_at_start")])
    told: list[object] = []
    for attempt in range(50):
        orders = machine.handle(facts.Swept((), DOWN))
        assert facts.SetBackoff(attempt) in orders
        told += of(orders, Announce)
        assert of(machine.handle(facts.TimerFired(TimerKind.SWEEP)), facts.Sweep)
    (announced,) = told
    assert isinstance(announced, Announce)
    assert isinstance(announced.event, SessionError)


def test_a_session_that_ends_during_a_sweep_is_swept_next() -> None:
    machine = AvatarMachine(SETTINGS)
    machine.adopt([facts.Unreleased("old", "avatar-1", "found_at_start")])
    opening(machine)
    machine.handle(facts.Swept((), DOWN))
    machine.handle(facts.TimerFired(TimerKind.SWEEP))
    machine.handle(facts.Minted(1, "s-1", Secret("token")))
    machine.handle(facts.CallFailed(1, GONE))
    again = of(machine.handle(facts.Swept(("old",), None)), facts.Sweep)
    assert again == [facts.Sweep((facts.Unreleased("s-1", "avatar-456", "session_failed"),))]


def test_reasons_have_a_word_of_the_service() -> None:
    assert stop_reason("manual_cleanup") == "USER_CLOSED"
    assert stop_reason("found_at_start") == "ZOMBIE_SESSION_REAP"


# -- properties

BYTES = st.integers(0, 60_000).map(lambda half: bytes(half * 2))
FACTS = st.one_of(
    st.tuples(st.just("speech"), BYTES, st.booleans()),
    st.sampled_from(
        [
            ("connected",),
            ("connecting",),
            ("closing",),
            ("written",),
            ("interrupt",),
            ("keep_alive",),
            ("silent",),
        ]
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(FACTS, max_size=60))
def test_nothing_is_ever_sent_before_connected_nor_two_at_once(story: list[tuple[object, ...]]) -> None:
    machine = opened()
    is_connected = False
    on_its_way = 0
    for step in story:
        orders: list[Order] = []
        match step:
            case ("speech", bytes(audio), bool(on)):
                orders = machine.handle(speech(audio, speaking=on))
            case ("written",):
                if not on_its_way:
                    continue
                on_its_way = 0
                orders = machine.handle(facts.Written(1))
            case ("interrupt",):
                orders = machine.handle(facts.InterruptAsked(Waiter(1)))
            case ("keep_alive",):
                orders = machine.handle(facts.TimerFired(TimerKind.KEEP_ALIVE))
            case ("silent",):
                orders = machine.handle(facts.SpeechFinished(1))
            case (str(state),):
                # After `closing` the service says nothing but `closed`, which ends the story.
                is_connected = state == "connected" and machine.state.phase != "closing"
                orders = machine.handle(facts.Reported(1, state))
            case _:
                raise AssertionError(step)
        sent = of(orders, Send)
        on_its_way += len(sent)
        assert is_connected or not sent
        assert on_its_way <= 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(BYTES, st.booleans()), max_size=20))
def test_what_is_sent_is_what_was_accepted_in_order_and_in_bounded_packets(
    offered: list[tuple[bytes, bool]],
) -> None:  # A6.2
    machine = connected()
    accepted, sent = bytearray(), bytearray()
    orders: list[Order] = []
    for number, (audio, on) in enumerate(offered):
        marked = bytes([number]) * len(audio)
        answer = machine.handle(speech(marked, speaking=on))
        if not of(answer, Refuse):
            accepted += marked
        orders += answer
    if not offered or offered[-1][1]:
        orders += machine.handle(speech(b"", speaking=False))
    open_utterance = ""
    while packets := of(orders, Send):
        orders = machine.handle(facts.Written(1))
        for order in packets:
            assert isinstance(order, Send)
            match order.packet:
                case Speak(event_id, audio):
                    limit = SETTINGS.chunk if open_utterance else SETTINGS.first_chunk
                    assert 0 < len(audio) <= limit
                    assert len(audio) % 2 == 0
                    assert open_utterance in {"", event_id}
                    open_utterance = event_id
                    sent += audio
                case SpeakEnd(event_id):
                    assert event_id == open_utterance
                    open_utterance = ""
                case _:
                    pass
    assert sent == accepted
    assert open_utterance == ""
