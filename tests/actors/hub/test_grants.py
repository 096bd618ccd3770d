from __future__ import annotations

from random import Random

import apsw
import pytest

from holdfast.actors.hub.grants import GrantStore, Reused, Rotated, Unknown
from holdfast.runtime import Secret

KEY = Secret("api-key-one")
DAY = 86_400.0


def new_store(keep: int = 100) -> tuple[GrantStore, apsw.Connection]:
    connection = apsw.Connection(":memory:")
    return GrantStore(connection, Random(1).randbytes, keep=keep), connection


def issue(store: GrantStore, client: str = "alice", now: float = 0.0) -> Secret:
    return store.issue(client, KEY, wall_now=now, lifetime=DAY)


def rotate(
    store: GrantStore, token: Secret, now: float, *, key: Secret = KEY, grace: float = 30.0
) -> Rotated | Reused | Unknown:
    return store.rotate(token, key, wall_now=now, lifetime=DAY, grace=grace)


def successor(store: GrantStore, token: Secret, now: float) -> Secret:
    found = rotate(store, token, now)
    assert isinstance(found, Rotated)
    return found.successor


def test_each_use_replaces_the_token() -> None:  # A1.2
    store, _ = new_store()
    tokens = [issue(store)]
    for now in range(1, 5):
        tokens.append(successor(store, tokens[-1], now))

    assert len({token.reveal() for token in tokens}) == 5


def test_a_lost_answer_is_repeated_with_the_same_successor_within_the_grace() -> None:
    store, _ = new_store()
    first = issue(store)
    second = successor(store, first, 10)

    assert successor(store, first, 40) == second
    assert rotate(store, second, 41) == Rotated("alice", successor(store, second, 42))


@pytest.mark.parametrize("grace", [0.0, 30.0])
def test_a_rotated_token_used_after_the_grace_revokes_its_whole_family(grace: float) -> None:
    store, _ = new_store()
    first, stranger = issue(store), issue(store, "bob")
    second = successor(store, first, 10)
    third = successor(store, second, 20)

    found = rotate(store, first, 10.1 + grace, grace=grace)

    assert isinstance(found, Reused)
    assert found.client_id == "alice"
    assert rotate(store, third, 50) == Unknown()
    assert rotate(store, second, 50) == Unknown()
    assert isinstance(rotate(store, stranger, 50), Rotated), "another family is left in peace"


def test_a_token_is_good_only_with_the_api_key_that_it_was_issued_to() -> None:
    store, _ = new_store()
    first = issue(store)

    assert rotate(store, first, 1, key=Secret("api-key-two")) == Unknown()
    assert isinstance(rotate(store, first, 2), Rotated), "and the try has cost nothing"


def test_an_expired_or_invented_token_is_unknown() -> None:
    store, _ = new_store()
    first = issue(store)

    assert rotate(store, first, DAY) == Unknown()
    assert rotate(store, Secret("invented"), 1) == Unknown()


def test_nothing_in_the_store_is_a_token_or_leads_to_one() -> None:
    store, connection = new_store()
    first = issue(store)
    second = successor(store, first, 1)

    rows: list[tuple[object, ...]] = list(connection.execute("select * from refresh_tokens"))
    assert len(rows) == 2
    for token in (first, second, KEY):
        assert token.reveal() not in repr(rows)
        assert token.reveal().encode() not in b"".join(
            value for row in rows for value in row if isinstance(value, bytes)
        )


def test_the_oldest_tokens_are_forgotten_beyond_the_bound() -> None:
    store, connection = new_store(keep=3)
    tokens = [issue(store, now=float(n)) for n in range(5)]

    assert connection.execute("select count(*) from refresh_tokens").fetchall() == [(3,)]
    assert rotate(store, tokens[1], 10) == Unknown()
    assert isinstance(rotate(store, tokens[2], 10), Rotated)


def test_the_signing_seed_is_made_once() -> None:
    store, connection = new_store()

    seed = store.signing_seed(0)

    assert len(seed) == 32
    assert GrantStore(connection, Random(2).randbytes, keep=1).signing_seed(9) == seed
