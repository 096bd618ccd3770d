"""A key registry against a model of it: any order of registrations, updates, ends and kills."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.test_keys import owner

from holdfast.runtime import (
    AlreadyRegistered,
    Context,
    DefinitionError,
    KeyEntry,
    KeyRegistered,
    KeyRegistry,
    NotRegistered,
    open_system,
)
from holdfast.runtime.testing import both_backends, run, settled

NAMES = ("a", "b", "c")
KEYS: tuple[object, ...] = (1, 1.0, True, "x")

steps = st.lists(
    st.tuples(
        st.sampled_from(["register", "register", "unregister", "update", "end", "kill"]),
        st.sampled_from(NAMES),
        st.sampled_from(KEYS),
    ),
    max_size=25,
)


@given(steps, st.booleans(), st.sampled_from(["trio", "asyncio"]))
@settings(max_examples=80, deadline=None)
def test_a_registry_is_what_a_list_of_entries_would_be(
    course: list[tuple[str, str, object]], unique: bool, backend: str
) -> None:
    # G1, G2, G3
    run(backend, functools.partial(follow, course, unique=unique))


async def follow(course: list[tuple[str, str, object]], *, unique: bool) -> None:
    async with open_system() as system:
        keys = KeyRegistry[int](system, unique=unique)
        heard: list[str] = []
        keys.events.call(lambda event: heard.append("+" if isinstance(event, KeyRegistered) else "-"))
        actors = {name: await owner(system, name) for name in NAMES}
        model: list[tuple[object, str, int]] = []
        for number, (deed, name, key) in enumerate(course):
            if deed in {"end", "kill"}:
                actors[name].stop() if deed == "end" else actors[name].cell.kill()
                if deed == "end":
                    await settled()
                model = [entry for entry in model if entry[1] != name]
                # A killed one has not been cleaned up yet: what is asked now must see through that.
                compare(keys, model)
                await settled()
                actors[name] = await owner(system, name)
            else:
                model = change(keys, actors[name], deed, key, number, model, unique=unique)
            compare(keys, model)
        for context in actors.values():
            context.stop()
        await settled()
        assert (keys._keys, keys._owners, keys._size) == ({}, {}, 0)
        assert heard.count("+") == heard.count("-")


def change(
    keys: KeyRegistry[int],
    context: Context,
    deed: str,
    key: object,
    number: int,
    model: list[tuple[object, str, int]],
    *,
    unique: bool,
) -> list[tuple[object, str, int]]:
    """Do one thing to both, and return the model after it."""
    own = [same(entry[0], key) and entry[1] == context.path for entry in model]
    if deed == "register":
        if unique and any(same(entry[0], key) for entry in model):
            with pytest.raises(AlreadyRegistered):
                keys.register(context, key, number)
            return model
        keys.register(context, key, number)
        return [*model, (key, context.path, number)]
    if deed == "unregister":
        keys.unregister(context, key)
        return [entry for entry, mine in zip(model, own, strict=True) if not mine]
    if not any(own):
        with pytest.raises(NotRegistered):
            keys.update_value(context, key, lambda value: value + 100)
        return model
    keys.update_value(context, key, lambda value: value + 100)
    return [(entry[0], entry[1], entry[2] + 100 * mine) for entry, mine in zip(model, own, strict=True)]


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def compare(keys: KeyRegistry[int], model: list[tuple[object, str, int]]) -> None:
    assert keys.count() == len(model)
    for key in KEYS:
        wanted = [(path, value) for known, path, value in model if same(known, key)]
        assert [(entry.owner.path, entry.value) for entry in keys.lookup(key)] == wanted
        found = keys.whereis(key)
        assert (None if found is None else found.path) == (wanted[0][0] if wanted else None)
    everything = [(entry.key, entry.owner.path, entry.value) for entry in keys.match()]
    assert sorted(map(repr, everything)) == sorted(map(repr, model))


@both_backends
async def test_the_last_key_of_an_owner_takes_the_hold_on_it_away() -> None:
    async with open_system() as system:
        keys = KeyRegistry[int](system)
        a = await owner(system, "a")
        for key in ("x", "y"):
            keys.register(a, key, 1)
        keys.unregister(a, "x")
        assert len(a.cell.holdings._attached) == 1
        keys.unregister(a, "y")
        assert a.cell.holdings._attached == {}


@both_backends
async def test_what_was_looked_up_does_not_change_afterwards() -> None:
    async with open_system() as system:
        keys = KeyRegistry[int](system)
        a = await owner(system, "a")
        keys.register(a, "x", 1)
        before = keys.lookup("x")
        keys.update_value(a, "x", lambda _value: 2)
        keys.unregister(a, "x")
        assert before == (KeyEntry("x", a.ref, 1),)


@both_backends
async def test_a_registry_without_a_bound_is_refused() -> None:
    async with open_system() as system:
        for wrong in (0, True):
            with pytest.raises(DefinitionError, match="1 or more"):
                KeyRegistry[int](system, capacity=wrong)
