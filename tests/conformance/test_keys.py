"""G1 to G6: keys that actors own, unique or not.  G7 is in `test_key_locks.py`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from holdfast.runtime import (
    ANY,
    IGNORE,
    Actor,
    ActorGone,
    AlreadyRegistered,
    Context,
    Event,
    Ignore,
    InjectedFault,
    InvalidKey,
    KeyRegistered,
    KeyRegistry,
    KeyUnregistered,
    Message,
    NotLoopThread,
    NotRegistered,
    Ref,
    RegistryFull,
    StartFailed,
    System,
    on,
    open_system,
)
from holdfast.runtime.testing import both_backends, settled
from holdfast.supervisors import ChildStartFailed, start_tree, supervisor, worker


class Owner(Actor):
    """Keeps still; tests use its context."""


async def owner(system: System, name: str) -> Context:
    ref = await system.start(name, Owner)
    assert ref.slot.cell is not None
    return ref.slot.cell.context


@both_backends
async def test_a_unique_key_has_one_owner_and_an_owner_may_have_many_keys() -> None:
    # G1
    async with open_system() as system:
        keys = KeyRegistry[int](system, "rooms")
        a, b = await owner(system, "a"), await owner(system, "b")
        keys.register(a, "x", 1)
        keys.register(a, "y", 2)
        for context in (a, b):
            with pytest.raises(
                AlreadyRegistered, match="'x' belongs to a in the registry 'rooms'"
            ) as refused:
                keys.register(context, "x", 3)
            assert refused.value.owner == a.ref
        assert keys.keys(a.ref) == ("x", "y")
        assert [(entry.owner, entry.value) for entry in keys.lookup("x")] == [(a.ref, 1)]
        assert (keys.whereis("x"), keys.whereis("z")) == (a.ref, None)


@both_backends
async def test_a_key_of_many_keeps_an_entry_for_each_registration() -> None:
    # G1
    async with open_system() as system:
        keys = KeyRegistry[int](system, unique=False)
        a, b = await owner(system, "a"), await owner(system, "b")
        keys.register(a, "x", 1)
        keys.register(b, "x", 2)
        keys.register(a, "x", 3)
        assert keys.values("x") == (1, 2, 3)
        assert keys.keys(a.ref) == ("x", "x")
        keys.unregister(a, "x")
        assert keys.values("x") == (2,)
        assert keys.keys(a.ref) == ()


@both_backends
async def test_an_entry_vanishes_with_its_owner_before_anybody_is_told() -> None:
    # G2, S3
    async with open_system() as system:
        keys = KeyRegistry[None](system)
        a = await owner(system, "a")
        keys.register(a, "x", None)
        seen: list[object] = []
        system.watch(a.ref, lambda _down: seen.append(keys.whereis("x")))
        a.ref.tell(InjectedFault(RuntimeError("a bug")))
        await settled()
        assert seen == [None]
        assert keys.count() == 0
        assert (keys._keys, keys._owners, keys._size) == ({}, {}, 0)
        with pytest.raises(ActorGone):
            keys.register(a, "x", None)


@both_backends
async def test_a_key_of_a_dead_owner_is_free_while_its_cleanup_still_runs() -> None:
    # G2
    async def dawdle() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)

    async with open_system() as system:
        keys = KeyRegistry[str](system)
        a, b = await owner(system, "a"), await owner(system, "b")
        keys.register(a, "x", "of a")
        a.spawn(dawdle)
        await settled()
        a.cell.kill()
        assert (a.cell.outcome, a.cell.loop.killed) == (None, True)
        assert keys.lookup("x") == ()
        assert keys.count() == 0
        keys.register(b, "x", "of b")
        await anyio.sleep(1)
        assert a.cell.outcome is not None
        assert keys.values("x") == ("of b",)


class Take(Message, frozen=True):
    keys: Any


class Taker(Actor):
    @on(Take)
    def _take(self, message: Take) -> None:
        message.keys.register(self.context, "x", self.context.incarnation)


@both_backends
async def test_an_entry_belongs_to_the_incarnation_and_not_to_its_successor() -> None:
    # G2
    async with open_system() as system:
        keys = KeyRegistry[int](system)
        await start_tree(system, supervisor("app", worker("a", Taker)))
        ref = system.ref("app/a")
        for incarnation in (1, 2):
            ref.tell(Take(keys))
            await settled()
            assert keys.values("x") == (incarnation,)
            ref.tell(InjectedFault(RuntimeError("a bug")))
            await settled()
            assert keys.values("x") == ()


@both_backends
async def test_unregistering_nothing_is_nothing_and_only_owners_update() -> None:
    # G3
    async with open_system() as system:
        keys = KeyRegistry[int](system)
        a, b = await owner(system, "a"), await owner(system, "b")
        keys.unregister(a, "x")
        keys.register(a, "x", 1)
        keys.unregister(b, "x")
        assert keys.update_value(a, "x", lambda value: value + 1) == 2
        for context, key in ((b, "x"), (a, "y")):
            with pytest.raises(NotRegistered):
                keys.update_value(context, key, lambda value: value + 1)
        with pytest.raises(ZeroDivisionError):
            keys.update_value(a, "x", lambda value: value // 0)
        assert keys.values("x") == (2,)


@both_backends
async def test_a_key_is_its_type_and_its_value_inside_tuples_too() -> None:
    # G3
    async with open_system() as system:
        keys = KeyRegistry[str](system)
        a = await owner(system, "a")
        for key in (1, 1.0, True, (1, "a"), (1.0, "a"), ((True,),), ((1,),)):
            keys.register(a, key, repr(key))
        assert keys.values(1.0) == ("1.0",)
        assert keys.values((1, "a")) == ("(1, 'a')",)
        assert keys.values(((1,),)) == ("((1,),)",)
        assert keys.count() == 7
        refused: list[Any] = [float("nan"), [1], (1, {})]
        for wrong in refused:
            with pytest.raises(InvalidKey):
                keys.register(a, wrong, "")
        assert keys.count() == 7


@both_backends
async def test_entries_are_selected_by_predicate_and_by_pattern() -> None:
    # G3
    async with open_system() as system:
        keys = KeyRegistry[int](system)
        a, b = await owner(system, "a"), await owner(system, "b")
        keys.register(a, ("room", 7), 1)
        keys.register(b, ("room", 8), 2)
        keys.register(b, ("user", 7), 2)
        assert [entry.value for entry in keys.match(("room", ANY))] == [1, 2]
        assert [entry.key for entry in keys.match((ANY, 7), 2)] == [("user", 7)]
        assert keys.match(("room", 7.0)) == ()
        assert keys.match(("room", ANY, ANY)) == ()
        assert [entry.key for entry in keys.select(lambda entry: entry.owner == a.ref)] == [("room", 7)]
        assert len(keys.match()) == 3


@both_backends
async def test_dispatch_calls_once_with_all_entries_and_never_for_an_empty_key() -> None:
    # G4
    async with open_system() as system:
        keys = KeyRegistry[int](system, unique=False)
        a, b = await owner(system, "a"), await owner(system, "b")
        calls: list[list[tuple[Ref, int]]] = []

        def note(entries: Any) -> None:
            calls.append([(entry.owner, entry.value) for entry in entries])

        keys.dispatch("x", note)
        assert calls == []
        keys.register(a, "x", 1)
        keys.register(b, "x", 2)
        keys.dispatch("x", note)
        assert calls == [[(a.ref, 1), (b.ref, 2)]]


@both_backends
async def test_listeners_hear_of_each_registration_and_a_slow_one_is_bounded() -> None:
    # G5
    async with open_system() as system:
        keys = KeyRegistry[int](system, "rooms")
        a, b = await owner(system, "a"), await owner(system, "b")
        heard: list[Event] = []
        keys.events.call(heard.append)
        slow = keys.events.subscribe(capacity=1)
        keys.register(a, "x", 1)
        with pytest.raises(AlreadyRegistered):
            keys.register(b, "x", 1)
        keys.unregister(a, "x")
        keys.register(b, "x", 1)
        b.stop()
        await settled()
        assert heard == [
            KeyRegistered("rooms", "x", "a", 1),
            KeyUnregistered("rooms", "x", "a", 1),
            KeyRegistered("rooms", "x", "b", 1),
            KeyUnregistered("rooms", "x", "b", 1),
        ]
        assert (slow.missed, slow.get_nowait()) == (3, heard[-1])


@both_backends
async def test_a_refused_registration_leaves_no_trace() -> None:
    # G5
    async with open_system() as system:
        keys = KeyRegistry[int](system, capacity=1)
        a, b = await owner(system, "a"), await owner(system, "b")
        keys.register(a, "x", 1)
        with pytest.raises(AlreadyRegistered):
            keys.register(b, "x", 2)
        with pytest.raises(RegistryFull, match="1 entries"):
            keys.register(b, "y", 2)
        assert (len(keys._keys), list(keys._owners), keys._size) == (1, [a.cell], 1)
        assert b.cell.holdings._attached == {}


@both_backends
async def test_a_start_under_a_name_that_is_owned_says_who_has_it() -> None:
    # G6
    made: list[str] = []

    def make(name: str) -> Callable[[], Actor]:
        def factory() -> Actor:
            made.append(name)
            return Owner()

        return factory

    async with open_system() as system:
        keys = KeyRegistry[None](system)
        top = await start_tree(system, supervisor("app"))
        first = await top.start_child(worker("a", keys.via("boss", make("a"), None)))
        with pytest.raises(ChildStartFailed) as failed:
            await top.start_child(worker("b", keys.via("boss", make("b"), None)))
        reason = failed.value.reason
        assert isinstance(reason, AlreadyRegistered)
        assert reason.owner == first.ref == keys.whereis("boss")
        assert made == ["a"]

        # Its restart takes the name again.
        system.ref("app/a").tell(InjectedFault(RuntimeError("a bug")))
        await settled()
        assert keys.whereis("boss") == first.ref
        assert first.ref is not None
        assert first.ref.slot.incarnation == 2


@both_backends
async def test_a_start_that_fails_or_ignores_leaves_the_name_free() -> None:
    # G6
    class Failing(Actor):
        def on_start(self) -> None:
            assert keys.whereis("boss") == self.context.ref
            raise RuntimeError("no")

    class Ignoring(Actor):
        async def on_start(self) -> Ignore:
            await anyio.sleep(1)
            return IGNORE

    async with open_system() as system:
        keys = KeyRegistry[None](system)
        with pytest.raises(StartFailed):
            await system.start("a", keys.via("boss", Failing, None))
        await system.start("b", keys.via("boss", Ignoring, None))
        assert keys.whereis("boss") is None
        ref = await system.start("c", keys.via("boss", Owner, None))
        assert keys.whereis("boss") == ref


@both_backends
async def test_a_registry_is_for_the_loops_thread_and_says_so() -> None:
    async with open_system() as system:
        keys = KeyRegistry[int](system)
        a = await owner(system, "a")
        keys.register(a, "x", 1)
        raised: list[BaseException] = []

        def elsewhere() -> None:
            for use in (keys.lookup, keys.lock, keys.whereis):
                try:
                    use("x")
                except NotLoopThread as error:
                    raised.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert len(raised) == 3
        assert "thread" in str(raised[0])
