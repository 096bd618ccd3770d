"""A5.7: no secret is ever shown; A5.3: errors; and nothing that is logged can hurt the logger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import attrs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.runtime import REDACTED, Secret, redaction
from holdfast.runtime.redaction import clean, clean_string, clean_text, is_secret_name

CARD = "4111-1111-1111-1111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"
CANARY = "cn4ry7Qx81ZzTq"

SECRET_NAMES = (
    "apiKey", "api_key", "API-KEY", "x-api-key", "password", "Password", "old_password_2", "token",
    "access_token", "refreshToken", "previousToken", "id_token", "secret", "clientSecret", "creditCard",
    "card_number",
    "Authorization", "proxy-authorization", "Cookie", "set-cookie", "private_key", "credentials",
)  # fmt: skip

names = st.sampled_from(SECRET_NAMES)
plain_keys = st.sampled_from(["a", "note", "nested", "items", "ref"])


# A5.7: the seed's own example.
def test_the_seeds_sensitive_data_is_redacted_and_normal_data_is_not() -> None:
    shown = clean(
        {
            "apiKey": "secret-api-key-12345",
            "password": "user-password",
            "token": "bearer-token-abcdef",
            "creditCard": CARD,
            "normalData": "this is fine",
        }
    )

    assert shown == {
        "apiKey": REDACTED,
        "password": REDACTED,
        "token": REDACTED,
        "creditCard": REDACTED,
        "normalData": "this is fine",
    }


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_name_is_known_in_every_spelling(name: str) -> None:
    assert is_secret_name(name)
    assert is_secret_name(name.upper())


def test_every_secret_name_has_a_stem_that_text_is_searched_for() -> None:
    names = (*redaction._ANYWHERE, *redaction._AT_THE_END, *redaction._EXACTLY)

    assert [name for name in names if not any(stem in name for stem in redaction._STEMS)] == []


@pytest.mark.parametrize(
    "name", ["token_type", "tokenRefreshCount", "token_refresh_threshold", "keyboard", "user", "sessionId"]
)
def test_names_that_only_resemble_a_secrets_are_shown(name: str) -> None:
    assert clean({name: "value"}) == {name: "value"}


def _wrap(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(
        st.dictionaries(plain_keys, inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3),
        st.tuples(inner, inner, inner),
    )


secret_leaves: st.SearchStrategy[object] = st.one_of(
    st.just(Secret(CANARY)),
    names.map(lambda name: {name: CANARY}),
    names.map(lambda name: {name: {"deep": [CANARY]}}),
    names.map(lambda name: {name.encode(): CANARY.encode()}),
    names.map(lambda name: (name, CANARY)),
    names.map(lambda name: {"name": name, "value": CANARY}),
    names.map(lambda name: ValueError(f"refused: {name}={CANARY}")),
    st.just(f"Authorization: Bearer {CANARY}"),
)


# A5.7: at any depth, under any secret name, by type.
@given(st.recursive(secret_leaves, _wrap, max_leaves=8))
def test_a_secret_anywhere_in_the_data_is_never_shown(data: object) -> None:
    shown = msgspec.json.encode(clean(data)).decode()

    assert CANARY not in shown


@given(
    name=names,
    secret=st.text("abcdefghijkmnopqrstuvwxyzABCDEF0123456789-_.~+/", min_size=6, max_size=40).map(
        "q9z".__add__
    ),
    form=st.sampled_from(
        [
            "{n}={s}",
            "{n}: {s}",
            "{n} = '{s}' and more",
            'x {n}="{s}"',
            '{{"{n}": "{s}"}}',
            '{{\\"{n}\\": \\"{s}\\"}}',
            "{{'a': 1, '{n}': '{s}'}}",
            "https://host.example/p?{n}={s}&x=1",
            "call(a=1, {n}={s!r})",
            "data={{{n!r}: {s!r}}}",
        ]
    ),
)
def test_a_named_secret_in_free_text_is_never_shown(name: str, secret: str, form: str) -> None:
    assert secret not in clean_text("before " + form.format(n=name, s=secret))


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Bearer xyz", f"Bearer {REDACTED}"),
        ("sent bEaReR abc.def to it", f"sent Bearer {REDACTED} to it"),
        (f"got {JWT}, fine", f"got {REDACTED}, fine"),
        (f"cut {JWT[:30]}", f"cut {REDACTED}"),
        ("GET /rt?key=abc123&v=1", f"GET /rt?key={REDACTED}&v=1"),
        ("wss://user:pass@host/x", f"wss://{REDACTED}@host/x"),
        ("Authorization: Basic dXNlcjpwYXNz", f"Authorization: {REDACTED}"),
        ("Cookie: a=1; b=2\nHost: x", f"Cookie: {REDACTED}\nHost: x"),
        ("[(b'authorization', b'Basic dXNlcg==')]", f"[(b'authorization', {REDACTED})]"),
        (f"card {CARD} declined", f"card {REDACTED} declined"),
        ("card 378282246310005.", f"card {REDACTED}."),
        ("12 4111 1111 1111 1111 12", f"12 {REDACTED} 12"),
        ("tokens=['one', 'two']", f"tokens={REDACTED}"),
        ("password=Secret('[REDACTED]')", f"password={REDACTED}"),
    ],
)
def test_secrets_are_known_by_their_look(text: str, shown: str) -> None:
    assert clean_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "token:acquired",
        "auth: token:refreshed, then ready",
        "at 1795218098123 ms",
        "4111 1111 1111 1112",
        "drained 512 of 1024 records: ok",
        "https://host.example/path?page=2",
        "0.4111111111111111",
        "12 heyJudeWasHere",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean_text(text) == text


@given(st.text())
@example("token=")
@example("=" * 50)
def test_any_text_can_be_cleaned_and_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean_text(text)

    assert clean_text(once) == once


def test_a_card_number_among_integers_is_redacted_and_a_timestamp_is_not() -> None:
    assert clean([4111111111111111, 1795218098123, 42]) == [REDACTED, 1795218098123, 42]


def test_a_secret_that_the_cut_would_split_is_not_shown_in_part() -> None:
    text = "x" * 90 + f" {CARD}"

    assert clean_string(text, 101) == "x" * 90 + " [REDACTED][TRUNCATED]"
    assert "4111" not in clean_string(text, 96)


# A5.3
def test_an_error_becomes_its_name_message_and_stack() -> None:
    def fails() -> None:
        raise ValueError("wrong password=hunter22")

    with pytest.raises(ValueError, match="wrong") as caught:
        fails()
    shown = clean({"error": caught.value})

    assert isinstance(shown, dict)
    error_shown = shown["error"]
    assert isinstance(error_shown, dict)
    assert list(error_shown) == ["name", "message", "stack"]
    assert error_shown["name"] == "ValueError"
    assert error_shown["message"] == f"wrong password={REDACTED}"
    stack = error_shown["stack"]
    assert isinstance(stack, str)
    assert "in fails" in stack
    assert "hunter22" not in stack


def test_the_stack_has_causes_groups_and_notes() -> None:
    cause = KeyError("inner")
    group = ExceptionGroup("several", [OSError("one"), ValueError("two")])
    group.__cause__ = cause
    group.add_note("token=abc")

    shown = clean(group)

    assert isinstance(shown, dict)
    assert shown["stack"] == (
        f"KeyError: 'inner'\nExceptionGroup: several (2 sub-exceptions)\n"
        f"  + OSError: one\n  + ValueError: two\ntoken={REDACTED}"
    )


def test_a_deep_traceback_keeps_both_ends_and_a_circle_of_causes_ends() -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            raise ValueError("bottom")
        dive(depth - 1)

    with pytest.raises(ValueError, match="bottom") as caught:
        dive(200)
    error = caught.value
    error.__context__ = other = RuntimeError("other")
    other.__context__ = error
    shown = clean(error)

    assert isinstance(shown, dict)
    assert "frames ..." in str(shown["stack"])
    assert str(shown["stack"]).endswith("ValueError: bottom")


class Word(msgspec.Struct):
    user: str
    password: str


@attrs.frozen(kw_only=True)
class Entry:
    user: str
    api_key: str


@dataclass
class Row:
    user: str
    access_token: str


class Pair(NamedTuple):
    user: str
    secret: str


@pytest.mark.parametrize(
    "record",
    [
        Word("ann", CANARY),
        Entry(user="ann", api_key=CANARY),
        Row("ann", CANARY),
        Pair("ann", CANARY),
    ],
)
def test_records_of_every_make_are_shown_by_field_and_redacted_by_name(record: object) -> None:
    shown = clean(record)

    assert isinstance(shown, dict)
    assert shown["user"] == "ann"
    assert REDACTED in shown.values()


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class HostileText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no")


class Endless(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        count = 0
        while True:
            count += 1
            yield f"k{count}"

    def __len__(self) -> int:
        return 1


def test_objects_that_cannot_be_looked_at_are_named_and_their_neighbours_are_shown() -> None:
    class Exploding(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert clean({"bad": Hostile(), "good": 1}) == {"bad": "<unprintable Hostile>", "good": 1}
    assert clean(HostileText("text")) == "text"
    shown = clean(Exploding())
    assert isinstance(shown, dict)
    assert shown["message"] == "<unprintable Exploding>"


def test_circles_depth_width_and_length_are_bounded() -> None:
    circle: dict[str, object] = {}
    circle["self"] = circle
    assert clean(circle) == {"self": "[CIRCULAR]"}

    deep: object = "bottom"
    for _ in range(50):
        deep = [deep]
    assert "[TRUNCATED]" in json.dumps(clean(deep))

    assert len(json.dumps(clean(list(range(100_000))))) < 20_000
    assert len(json.dumps(clean(["x" * 10_000_000] * 10))) < 60_000
    endless = clean(Endless())
    assert isinstance(endless, dict)
    assert len(endless) <= 1_001
    tree: object = 1
    for _ in range(8):
        tree = [tree] * 20
    assert len(json.dumps(clean(tree))) < 100_000


def test_an_iterator_is_not_consumed() -> None:
    numbers = iter([1, 2])

    clean({"numbers": numbers})

    assert list(numbers) == [1, 2]


def test_values_that_json_has_not_are_shown_as_text() -> None:
    when = datetime(2026, 11, 21, tzinfo=UTC)
    shown = clean(
        {
            "raw": b"\x00\x01",
            "payload": msgspec.Raw(b'{"password":"x"}'),
            "path": Path("/tmp/x"),
            "when": when,
            "nan": float("nan"),
            "huge": 10**5000,
            "set": {"b", "a"},
            "surrogate": "a\udc80",
            1: "number key",
            "1": "text key",
            "none": None,
            "yes": True,
        }
    )

    assert shown == {
        "raw": "<2 bytes>",
        "payload": "<16 bytes>",
        "path": "/tmp/x",
        "when": "2026-11-21T00:00:00+00:00",
        "nan": "nan",
        "huge": "<integer of 16610 bits>",
        "set": ["a", "b"],
        "surrogate": "a\\udc80",
        "1": "number key",
        "1 (9)": "text key",
        "none": None,
        "yes": True,
    }


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=30,
)


@given(json_like)
def test_whatever_is_logged_becomes_one_line_of_json(data: object) -> None:
    line = msgspec.json.encode(clean(data))

    assert b"\n" not in line
    assert json.loads(line) is not ...


def test_a_secret_that_is_not_set_is_shown_as_not_set() -> None:
    assert clean({"token": None}) == {"token": None}
