"""What the client decides: the order of a start, an end and a recovery."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.actors.client import machine as m
from holdfast.actors.client.messages import (
    Authenticating,
    CleanupAuth,
    CleanupSession,
    Connected,
    ConnectFailed,
    Connecting,
    Disconnected,
    Disconnecting,
    Ready,
    RecoveryCompleted,
    RecoveryFailed,
    RecoveryStarted,
    SystemStatus,
)
from holdfast.actors.client.messages import SystemError as SystemFailed
from holdfast.actors.reconnect.messages import LinkState, LinkStatus
from holdfast.runtime import Event


def link(state: LinkStatus, code: int | None = None) -> m.LinkChanged:
    return m.LinkChanged(LinkState(state=state, generation=1, attempt=0, code=code, reason="said so"), "s-1")


def events(effects: list[m.Effect]) -> list[type[Event]]:
    return [type(effect.event) for effect in effects if isinstance(effect, m.Emit)]


def orders(effects: list[m.Effect]) -> list[str]:
    return [effect.what for effect in effects if isinstance(effect, m.Order)]


def answers(effects: list[m.Effect]) -> list[object]:
    return [effect.value for effect in effects if isinstance(effect, m.Answer)]


def drive(machine: m.ClientMachine, *facts: m.Fact) -> list[m.Effect]:
    return [effect for fact in facts for effect in machine.step(fact)]


def started(*, avatar: bool = False) -> m.ClientMachine:
    machine = m.ClientMachine()
    assert machine.step(m.Started(wanted=False, avatar=avatar)) == []
    return machine


def ready(*, avatar: bool = False) -> m.ClientMachine:
    machine = started(avatar=avatar)
    drive(machine, m.ConnectRequested(1), m.TokenAnswered(None), link("connected"))
    if avatar:
        machine.step(m.AvatarAnswered(None))
    assert machine.phase == "ready"
    return machine


def test_a_connect_announces_its_steps_in_order() -> None:  # A4.1
    effects = drive(started(), m.ConnectRequested(1), m.TokenAnswered(None), link("connected"))

    assert events(effects) == [Connecting, Authenticating, Connected, Ready]
    assert answers(effects) == [None]


def test_the_token_comes_first_then_the_link_then_the_avatar() -> None:  # A4.2
    machine = started(avatar=True)

    assert orders(machine.step(m.ConnectRequested(1))) == ["get_token"]
    assert orders(machine.step(m.TokenAnswered(None))) == ["link", "retry_link"]
    assert orders(machine.step(link("connecting"))) == []
    assert orders(machine.step(link("connected"))) == ["open_avatar"]
    assert events(machine.step(m.AvatarAnswered(None))) == [Ready]


def test_a_failing_avatar_keeps_no_session_from_being_ready() -> None:
    machine = started(avatar=True)
    drive(machine, m.ConnectRequested(1), m.TokenAnswered(None), link("connected"))

    effects = machine.step(m.AvatarAnswered("the service is down"))

    assert answers(effects) == [None]
    assert machine.state().avatar == "voice_only"


def test_a_token_refused_for_good_ends_the_connect_with_its_reason() -> None:
    machine = started()
    effects = drive(
        machine, m.ConnectRequested(1), m.TokenAnswered("invalid_credentials", final=True, status=401)
    )

    (failure,) = answers(effects)
    assert isinstance(failure, ConnectFailed)
    assert (failure.source, failure.code) == ("auth", 401)
    assert m.Intend(wanted=False) in effects
    assert orders(effects) == ["get_token"]


def test_an_outage_of_the_token_endpoint_does_not_end_the_connect() -> None:
    effects = drive(started(), m.ConnectRequested(1), m.TokenAnswered("no route"), link("connected"))

    assert answers(effects) == [None]


def test_connecting_after_a_logout_logs_in_again() -> None:  # A1.7
    machine = started()

    assert (
        orders(drive(machine, m.ConnectRequested(1), m.TokenAnswered("logged_out", final=True)))[-1]
        == "log_in"
    )
    assert orders(machine.step(m.TokenAnswered(None))) == ["link", "retry_link"]


def test_a_link_that_failed_for_good_ends_the_connect_with_its_code() -> None:
    machine = started()
    effects = drive(machine, m.ConnectRequested(1), m.TokenAnswered(None), link("failed", 4301))

    (failure,) = answers(effects)
    assert isinstance(failure, ConnectFailed)
    assert failure.code == 4301


def test_a_disconnect_cleans_up_in_order() -> None:  # A4.3
    machine = ready(avatar=True)

    asked = machine.step(m.DisconnectRequested(2))
    assert events(asked) == [Disconnecting, CleanupAuth]
    assert orders(asked) == ["close_avatar"]
    assert orders(machine.step(m.AvatarClosed())) == ["unlink"]
    done = machine.step(link("disconnected"))
    assert events(done) == [CleanupSession, Disconnected]
    assert answers(done) == [None]


def test_a_disconnect_without_a_link_is_done_at_once() -> None:
    effects = drive(started(), link("disconnected"), m.DisconnectRequested(1))

    assert events(effects) == [Disconnecting, CleanupAuth, CleanupSession, Disconnected]
    assert answers(effects) == [None]


def test_a_disconnect_before_the_link_was_heard_of_does_not_take_it_for_closed() -> None:
    machine = started()
    effects = machine.step(m.DisconnectRequested(1))
    assert orders(effects) == ["unlink"]
    assert answers(effects) == []
    assert machine.step(link("connected")) == []
    assert answers(machine.step(link("disconnected"))) == [None]


def test_a_connect_during_a_disconnect_begins_when_that_is_done() -> None:
    machine = ready(avatar=True)
    machine.step(m.DisconnectRequested(2))
    assert machine.step(m.ConnectRequested(3)) == []
    machine.step(m.AvatarClosed())
    done = machine.step(link("disconnected"))
    assert events(done) == [CleanupSession, Disconnected, Connecting, Authenticating]
    assert answers(done) == [None]
    # And another disconnect has the last word.
    machine = ready(avatar=True)
    drive(machine, m.DisconnectRequested(2), m.ConnectRequested(3))
    (refused,) = answers(machine.step(m.DisconnectRequested(4)))
    assert isinstance(refused, ConnectFailed)


def test_a_wanted_session_whose_link_was_never_ordered_orders_it() -> None:
    machine = m.ClientMachine()
    machine.step(m.Started(wanted=True, avatar=False))
    assert orders(machine.step(link("disconnected"))) == ["link"]


def test_a_disconnect_refuses_a_connect_that_waits() -> None:
    effects = drive(started(), link("disconnected"), m.ConnectRequested(1), m.DisconnectRequested(2))

    refused, done = answers(effects)
    assert isinstance(refused, ConnectFailed)
    assert done is None


def test_a_new_incarnation_of_a_wanted_session_waits_for_the_link_and_announces_nothing() -> None:
    machine = m.ClientMachine()
    machine.step(m.Started(wanted=True, avatar=False))

    assert events(machine.step(link("connected"))) == []
    assert machine.phase == "ready"


def test_a_lost_token_is_announced_and_mended() -> None:  # A4.4
    machine = ready()

    asked = machine.step(m.ValidateRequested(2))
    assert orders(asked) == ["validate_token"]
    found = machine.step(m.Validated(valid=False))
    assert events(found) == [SystemFailed, RecoveryStarted]
    assert orders(found) == ["authenticate"]
    mended = machine.step(m.Mended("auth", None))
    assert events(mended) == [RecoveryCompleted]
    assert answers(mended) == [SystemStatus(valid=True)]


def test_a_recovery_that_does_not_work_says_so() -> None:
    machine = ready()
    effects = drive(machine, m.RecoverRequested(2, "auth_failure"), m.Mended("auth", "refused"))

    assert events(effects) == [RecoveryStarted, RecoveryFailed]
    assert answers(effects) == [False]


def test_a_second_question_during_a_recovery_waits_for_the_same_one() -> None:
    machine = ready()
    effects = drive(
        machine,
        m.RecoverRequested(2, "auth_failure"),
        m.RecoverRequested(3, "auth_failure"),
        m.Mended("auth", None),
    )

    assert orders(effects) == ["authenticate"]
    assert answers(effects) == [True, True]


FACTS = st.sampled_from(
    [
        m.TokenAnswered(None),
        m.TokenAnswered("down"),
        m.TokenAnswered("no", final=True),
        link("disconnected"),
        link("connecting"),
        link("connected"),
        link("reconnecting"),
        link("suspended"),
        link("failed"),
        m.AvatarAnswered(None),
        m.AvatarAnswered("down"),
        m.AvatarClosed(),
        m.Validated(valid=True),
        m.Validated(valid=False),
        m.Mended("auth", None),
        m.Mended("websocket", None),
        m.Mended("avatar", "down"),
    ]
)
VERBS = st.sampled_from(["connect", "disconnect", "validate", "recover"])


@given(st.booleans(), st.lists(st.one_of(FACTS, VERBS), max_size=40))
def test_every_question_is_answered_at_most_once_and_all_are_once_the_link_is_down(
    avatar: bool, script: list[m.Fact | str]
) -> None:
    machine = started(avatar=avatar)
    asked = 0
    answered: list[int] = []
    for step in script:
        fact: m.Fact
        if isinstance(step, str):
            asked += 1
            verbs: dict[str, m.Fact] = {
                "connect": m.ConnectRequested(asked),
                "disconnect": m.DisconnectRequested(asked),
                "validate": m.ValidateRequested(asked),
                "recover": m.RecoverRequested(asked, "auth_failure"),
            }
            fact = verbs[step]
        else:
            fact = step
        answered += [effect.waiter for effect in machine.step(fact) if isinstance(effect, m.Answer)]
    asked += 1
    for fact in (
        m.DisconnectRequested(asked),
        m.AvatarClosed(),
        link("disconnected"),
        m.Validated(valid=True),
        m.Mended("auth", None),
    ):
        answered += [effect.waiter for effect in machine.step(fact) if isinstance(effect, m.Answer)]

    assert sorted(answered) == sorted(set(answered)), "no question is answered twice"
    assert set(answered) == set(range(1, asked + 1)), "every question is answered"
