from __future__ import annotations

import json
from typing import Any

import pytest
from tests.actors.hub.conftest import settings_for

from holdfast.actors.hub.codec import BadFrame, Frame, Welcome, decode
from holdfast.actors.hub.connection import Connection, Phase
from holdfast.actors.hub.decisions import (
    Abort,
    Apply,
    Bind,
    Close,
    Decision,
    EndSession,
    Released,
    Send,
    Verify,
)
from holdfast.actors.hub.messages import Refusal, VerifiedToken
from holdfast.actors.hub.session import Session
from holdfast.runtime import Secret

WALL = 1_795_000_000.0
TOKEN = VerifiedToken("alice", "t-1", WALL + 300)


def frame(kind: str, **fields: Any) -> Frame:
    (found,) = decode(json.dumps({"type": kind, **fields}), max_frame=10_000, batch=False)
    assert isinstance(found, Frame)
    return found


def opened(*, trusted: bool = True, **changes: Any) -> Connection:
    connection = Connection(7, settings_for(**changes), 0.0)
    connection.open(0.0, WALL)
    if trusted:
        connection.trust(TOKEN, 300.0, 0.0)
    return connection


def ready(**changes: Any) -> Connection:
    connection = opened(**changes)
    session = Session("s-1", "alice", "laptop", b"")
    session.attach(7, b"", claim=None, now=0.0)
    connection.bound(session, Welcome("s-1", Secret("k"), "e", False, None, 0, 1, 2, 3))
    return connection


def session_of(connection: Connection) -> Session:
    assert connection.session is not None
    return connection.session


def sent(decisions: list[Decision]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (each.frame.type, json.loads(bytes(each.frame.payload) or b"{}"))
        for each in decisions
        if isinstance(each, Send)
    ]


def codes(decisions: list[Decision]) -> list[int]:
    return [int(each.code) for each in decisions if isinstance(each, Close)]


# -- before the welcome


def test_the_hub_speaks_first_and_says_what_it_expects() -> None:
    ((kind, body),) = sent(Connection(7, settings_for(), 0.0).open(0.0, WALL))

    assert kind == "hello"
    assert body == {
        "conn": "c-7",
        "hb_ms": 10_000,
        "auth_timeout_ms": 10_000,
        "max_frame": 262_144,
        "window": {"frames": 256, "bytes": 1_048_576},
        "server_ts": round(WALL * 1000),
        "v": 1,
        "caps": ["batch"],
    }


def test_connect_asks_for_a_session_when_the_token_is_known() -> None:
    (decision,) = opened().hear(frame("connect", payload={"client_id": "laptop"}), 1.0)

    assert isinstance(decision, Bind)
    assert decision.connect.client_id == "laptop"


def test_messages_before_connect_are_refused_and_counted() -> None:
    connection = opened()

    ((kind, body),) = sent(connection.hear(frame("msg.publish", seq=1, id="m"), 1.0))

    assert (kind, body["code"]) == ("error", "not_connected")
    assert connection.errors == 1


def test_without_connect_in_time_the_connection_is_closed() -> None:
    connection = opened()

    assert connection.deadline() == 10.0
    assert connection.tick(9.9, 0.0) == []
    assert codes(connection.tick(10.0, 9.9)) == [4202]


def test_a_token_in_connect_is_judged_before_anything_is_given() -> None:  # REALTIME 1.2 (a)
    connection = opened(trusted=False)

    (decision,) = connection.hear(frame("connect", payload={"client_id": "x", "token": "t"}), 1.0)

    assert decision == Verify(Secret("t"))
    assert connection.phase is Phase.CHECKING
    assert isinstance(connection.judged(TOKEN, 300.0, 2.0)[0], Bind)


def test_connect_without_any_token_is_terminal() -> None:
    assert codes(opened(trusted=False).hear(frame("connect", payload={"client_id": "x"}), 1.0)) == [4300]


@pytest.mark.parametrize("status, code", [(401, 4200), (403, 4301), (429, 1013), (503, 1013)])
def test_a_refused_token_in_connect_closes_with_the_verdict_of_its_status(status: int, code: int) -> None:
    connection = opened(trusted=False)
    connection.hear(frame("connect", payload={"client_id": "x", "token": "t"}), 1.0)

    decisions = connection.judged(Refusal(status, "because", "of that"), 0.0, 2.0)

    assert [kind for kind, _ in sent(decisions)] == ["error"]
    assert codes(decisions) == [code]


# -- messages


def test_the_next_message_is_applied_a_repeated_one_only_acknowledged() -> None:
    connection = ready()
    message = frame("msg.publish", seq=1, id="m")

    assert connection.hear(message, 1.0) == [Apply(message)]
    connection.stamp(frame("ack"), WALL)
    assert connection.hear(message, 1.0) == []
    assert sent(connection.settle(1.0)) == [("ack", {})]


def test_a_hole_in_the_numbers_closes_with_seq_gap_and_applies_nothing() -> None:
    connection = ready()

    assert codes(connection.hear(frame("msg.publish", seq=2, id="m"), 1.0)) == [4004]
    assert connection.hear(frame("msg.publish", seq=1, id="l"), 1.0) == [], (
        "nothing is heard after a farewell"
    )


def test_a_message_without_a_number_is_applied_and_not_acknowledged() -> None:  # D7
    connection = ready()
    message = frame("typing", payload={"on": True})

    assert connection.hear(message, 1.0) == [Apply(message)]
    assert connection.settle(1.0) == []


def test_acknowledgements_wait_for_sixteen_messages_or_a_tenth_of_a_second() -> None:
    connection = ready()
    for seq in range(1, 16):
        connection.hear(frame("m", seq=seq, id=str(seq)), 1.0)
    assert connection.settle(1.0) == []
    assert connection.deadline() == 1.1

    assert sent(connection.tick(1.1, 1.0)) == [("ack", {})]
    connection.stamp(frame("ack"), WALL)
    for seq in range(16, 32):
        connection.hear(frame("m", seq=seq, id=str(seq)), 1.2)
    assert sent(connection.settle(1.2)) == [("ack", {})]


def test_whatever_is_sent_carries_the_acknowledgement_and_saves_one() -> None:
    connection = ready()
    connection.hear(frame("m", seq=1, id="1"), 1.0)
    connection.settle(1.0)

    assert connection.stamp(frame("pong"), WALL).ack == 1
    assert connection.settle(2.0) == []


def test_an_acknowledgement_may_travel_on_any_frame() -> None:
    connection = ready()
    session_of(connection).append(10)
    session_of(connection).sent(1, 0.0)

    decisions = connection.hear(frame("ping", ack=1, payload={"n": 4}), 1.0)

    assert decisions[0] == Released()
    assert sent(decisions) == [("pong", {"n": 4})]


def test_an_acknowledgement_of_what_was_never_sent_is_a_lie_and_changes_nothing() -> None:
    connection = ready()

    ((kind, body),) = sent(connection.hear(frame("ack", ack=9), 1.0))

    assert (kind, body["code"]) == ("error", "bad_ack")
    assert session_of(connection).acked_seq == 0


def test_control_frames_carry_no_number() -> None:
    ((kind, body),) = sent(ready().hear(frame("ping", seq=1), 1.0))

    assert (kind, body["code"]) == ("error", "bad_frame")


@pytest.mark.parametrize("kind", ["ping", "auth.refresh"])
def test_a_control_frame_with_a_wrong_payload_is_answered(kind: str) -> None:
    ((answer, body),) = sent(ready().hear(frame(kind, id="c", payload={"n": "x", "token": 1}), 1.0))

    assert (answer, body["code"]) == ("error", "bad_payload")


def test_a_connect_with_a_wrong_payload_may_be_tried_again() -> None:
    connection = opened()

    ((_, body),) = sent(connection.hear(frame("connect", payload={}), 1.0))
    assert body["code"] == "bad_payload"
    assert isinstance(connection.hear(frame("connect", payload={"client_id": "x"}), 1.0)[0], Bind)


def test_pongs_are_signs_of_life_and_nothing_else() -> None:
    connection = ready()

    assert connection.hear(frame("pong", payload={"n": 1}), 9.0) == []
    assert connection.heard_at == 9.0


def test_what_comes_back_after_the_farewell_changes_nothing() -> None:
    connection = ready()
    connection.hear(frame("auth.refresh", payload={"token": "new"}), 1.0)
    connection.go_away("draining")

    assert connection.judged(TOKEN, 900.0, 2.0) == []
    assert connection.tick(1_000.0, 1.0) == []
    assert connection.go_away("draining") == []


def test_a_second_connect_is_refused_and_the_session_goes_on() -> None:
    connection = ready()

    ((_, body),) = sent(connection.hear(frame("connect", payload={"client_id": "x"}), 1.0))

    assert body["code"] == "already_connected"
    assert connection.phase is Phase.READY


def test_bad_frames_are_answered_until_there_are_too_many() -> None:  # A3.3
    connection = ready(errors_max=3)
    bad = BadFrame("bad_frame", "wanted a frame", re="m")

    for _ in range(2):
        decisions = connection.hear(bad, 1.0)
        assert codes(decisions) == []
        assert isinstance(decisions[0], Send)
        assert decisions[0].frame.re == "m"
    assert codes(connection.hear(bad, 1.0)) == [4308]


def test_a_frame_that_is_too_big_is_answered_and_terminal() -> None:
    decisions = ready().hear(BadFrame("frame_too_big", "wanted less", fatal=True), 1.0)

    assert [kind for kind, _ in sent(decisions)] == ["error"]
    assert codes(decisions) == [4306]


def test_bye_ends_the_session_and_closes_in_peace() -> None:
    decisions = ready().hear(frame("bye", payload={"reason": "done"}), 1.0)

    assert decisions[0] == EndSession("done")
    assert codes(decisions) == [1000]


# -- tokens


def test_a_refreshed_token_keeps_the_connection() -> None:  # A1.8, D1
    connection = ready()

    assert connection.hear(frame("auth.refresh", id="r", payload={"token": "new"}), 250.0) == [
        Verify(Secret("new"))
    ]
    newer = VerifiedToken("alice", "t-2", WALL + 550)
    (decision,) = connection.judged(newer, 550.0, 250.0)

    assert isinstance(decision, Send)
    assert (decision.frame.type, decision.frame.re) == ("auth.ok", "r")
    assert codes(connection.tick(300.0, 300.0)) == []


def test_a_refused_refresh_is_answered_and_the_old_token_still_counts() -> None:
    connection = ready()
    connection.hear(frame("auth.refresh", payload={"token": "new"}), 250.0)

    ((kind, body),) = sent(connection.judged(Refusal(401, "invalid_token", "no"), 0.0, 250.0))

    assert (kind, body["code"], body["retryable"]) == ("error", "invalid_token", False)
    assert connection.phase is Phase.READY


def test_somebody_elses_token_is_terminal() -> None:  # D5
    connection = ready()
    connection.hear(frame("auth.refresh", payload={"token": "new"}), 250.0)

    assert codes(connection.judged(VerifiedToken("bob", "t", WALL + 900), 900.0, 250.0)) == [4301]


def test_one_refresh_at_a_time() -> None:
    connection = ready()
    connection.hear(frame("auth.refresh", payload={"token": "a"}), 1.0)

    ((_, body),) = sent(connection.hear(frame("auth.refresh", payload={"token": "b"}), 1.0))

    assert (body["code"], body["retryable"]) == ("refresh_in_flight", True)


def test_a_token_is_announced_to_end_and_then_ends_the_connection() -> None:  # D1
    connection = ready()
    connection.heard_at = 265.0

    assert sent(connection.tick(270.0, 265.0)) == [("auth.expiring", {"in_ms": 30_000})]
    assert connection.tick(271.0, 270.0) == [], "once"
    assert codes(connection.tick(300.0, 299.0)) == [4200]


# -- time


def test_a_silent_peer_is_dropped_without_a_handshake() -> None:
    connection = ready()
    connection.hear(frame("ping"), 100.0)

    assert connection.tick(114.9, 100.0) == []
    (decision,) = connection.tick(115.0, 100.0)
    assert isinstance(decision, Abort)


def test_half_a_frame_is_a_sign_of_life() -> None:
    connection = ready()

    assert connection.tick(15.0, 14.0) == []
    assert connection.deadline() == 29.0


def test_a_client_that_acknowledges_nothing_is_a_slow_consumer() -> None:
    connection = ready()
    session_of(connection).append(10)
    session_of(connection).sent(1, 50.0)
    connection.heard_at = 80.0

    assert connection.tick(79.9, 79.0) == []
    assert codes(connection.tick(80.0, 80.0)) == [4002]


def test_a_hub_that_stops_says_when_to_come_back() -> None:
    decisions = ready().go_away("draining")

    ((kind, body),) = sent(decisions)
    assert kind == "goaway"
    assert body == {"reason": "draining", "reconnect_in_ms": [500, 5_000], "deadline_ms": 0}
    assert codes(decisions) == [4003]
