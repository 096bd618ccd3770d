"""The memory of tokens: replaced whole, shown to nobody."""

from __future__ import annotations

import attrs
import pytest

from holdfast.actors.auth.settings import AuthSettings
from holdfast.actors.auth.tokens import ExchangeFailure, ExchangeKind, Fault, Grant
from holdfast.actors.auth.vault import RefreshSends, TokenMemory, TokenStore
from holdfast.runtime import Secret

SETTINGS = AuthSettings()


def holding(lifetime: float = 300.0, *, sent_at: float = 0.0, refresh: str | None = "R1") -> TokenMemory:
    grant = Grant(Secret("A1"), lifetime, None if refresh is None else Secret(refresh))
    return TokenMemory().adopted(grant, refreshed=False, sent_at=sent_at, renew_at=sent_at + lifetime)


def test_a_lifetime_counts_from_before_the_request() -> None:
    memory = holding(300, sent_at=10)

    assert memory.usable(309.999) is not None
    assert memory.usable(310) is None


def test_a_token_with_less_left_than_the_leeway_is_usable_but_not_fresh() -> None:
    memory = holding(300)

    assert memory.fresh(294.9, SETTINGS) is not None
    assert memory.fresh(295, SETTINGS) is None
    assert memory.usable(295) is not None


# A1.2
def test_rotation_replaces_both_tokens_at_once() -> None:
    rotated = holding().adopted(
        Grant(Secret("A2"), 60, Secret("R2")), refreshed=True, sent_at=100, renew_at=150
    )

    assert rotated.token is not None
    assert (rotated.token.access_token, rotated.token.generation) == (Secret("A2"), 2)
    assert rotated.refresh_token == Secret("R2")


def test_a_server_that_does_not_rotate_leaves_the_refresh_token_in_force() -> None:
    grant = Grant(Secret("A2"), 60, None)

    assert holding().adopted(grant, refreshed=True, sent_at=1, renew_at=2).refresh_token == Secret("R1")
    # One from the API key is of another family: the old refresh token belongs to the old one.
    assert holding().adopted(grant, refreshed=False, sent_at=1, renew_at=2).refresh_token is None


def test_what_renews_a_token_depends_on_what_is_held() -> None:
    def kind(memory: TokenMemory, now: float = 10.0) -> ExchangeKind:
        return memory.renewal_kind(now, SETTINGS)

    rejected_twice = attrs.evolve(holding(), rejected=True, follows_rejected=True)
    assert kind(TokenMemory()) is ExchangeKind.AUTHENTICATE
    assert kind(holding()) is ExchangeKind.REFRESH
    assert kind(holding(refresh=None)) is ExchangeKind.AUTHENTICATE
    assert kind(attrs.evolve(holding(), reauth_required=True)) is ExchangeKind.AUTHENTICATE
    assert kind(attrs.evolve(holding(), rejected=True)) is ExchangeKind.REFRESH
    assert kind(rejected_twice) is ExchangeKind.AUTHENTICATE


@pytest.mark.parametrize(
    "count,now,kind",
    [
        (1, 10.0, ExchangeKind.REFRESH),
        (2, 30.0, ExchangeKind.REFRESH),
        (3, 10.0, ExchangeKind.AUTHENTICATE),
        (1, 30.1, ExchangeKind.AUTHENTICATE),
    ],
)
def test_a_refresh_token_whose_answer_was_lost_is_sent_again_twice_within_30_s(
    count: int, now: float, kind: ExchangeKind
) -> None:
    memory = attrs.evolve(holding(), sends=RefreshSends(first_at=0.0, count=count))

    assert memory.renewal_kind(now, SETTINGS) is kind


def test_a_send_that_certainly_reached_nobody_does_not_count() -> None:
    once = holding().sending(5)

    assert once.sends == RefreshSends(5, 1)
    assert once.sending(9).sends == RefreshSends(5, 2)
    assert once.sending(9).unspent().sends == RefreshSends(5, 1)
    assert once.unspent().sends is None


def test_a_pause_that_the_server_asks_for_is_bounded() -> None:
    tomorrow = ExchangeFailure(Fault.REFUSED, 503, "server_error", retry_after=86400)
    paused = holding().retrying(tomorrow, chance=0.5, now=10, settings=SETTINGS)

    assert paused.paused(309.9) is not None
    assert paused.paused(310) is None
    assert paused.renew_at == 310


def test_wiping_leaves_nothing_but_counters() -> None:
    wiped = attrs.evolve(holding(), refresh_count=3, failure_count=2).wiped()

    assert wiped == TokenMemory(generation=1, logged_out=True, refresh_count=3, failure_count=2)


def test_a_newer_token_is_never_replaced_by_an_older_one() -> None:
    store = TokenStore()
    store.keep(holding())

    with pytest.raises(AssertionError, match="backwards"):
        store.keep(TokenMemory())
    assert store.memory.generation == 1


def test_the_store_shows_no_secret() -> None:
    store = TokenStore()
    assert repr(store) == "<TokenStore empty>"
    store.keep(holding())

    assert repr(store) == "<TokenStore token 1>"
    assert "A1" not in repr(store.memory)
    assert "R1" not in repr(store.memory)
