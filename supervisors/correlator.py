"""Which components failed lately, and what follows when they are too many: S-B6.

Pure.  One `Correlator` per incarnation of a supervisor that correlates.  It is
told of each failure anywhere below at the moment of that failure; what it keeps
is one time for each component, and never more of them than lead to a restart.
Not counted is what follows from something else: stops, children that end with
their supervisor, a supervisor that gives up over a child that has counted, and
whatever fails while a full restart is under way.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.runtime.outcomes import GaveUp, Outcome
from holdfast.supervisors.child_spec import ChildSpec, Group, Pool
from holdfast.supervisors.children import Child, Children
from holdfast.supervisors.correlation import Correlation
from holdfast.supervisors.errors import InvalidSpec, UnknownComponent
from holdfast.supervisors.plan import BringBack, Plan
from holdfast.supervisors.recovery import Recovery
from holdfast.supervisors.reports import SystemFailure

__all__ = ["Correlator", "check_owners"]


class Correlator:
    """The recent failures below one supervisor."""

    def __init__(self, spec: Correlation, path: str, group: Group, recovery: Recovery) -> None:
        self._spec = spec
        self._path = path
        self._recovery = recovery
        self._children: Children = recovery.children
        self._declared = tuple(_declared(group.children))
        self._pools = tuple(path for path, below in self._declared if _is_pool(below))
        self._failed: dict[str, float] = {}
        """When each component failed last, oldest first; fewer than the number that leads to a restart."""
        self._restarts = 0
        self._due: tuple[str, ...] = ()
        self._latest = ""

    @property
    def due(self) -> bool:
        """Whether the full restart is the next thing to do, whatever else waits."""
        return bool(self._due)

    # -- what happens

    def failed(self, path: str, outcome: Outcome, now: float) -> bool:
        """Count a failure of the actor at `path`; true when it is the one that leads to the full restart."""
        if outcome.orderly or isinstance(outcome, GaveUp):
            return False
        at = path.removeprefix(f"{self._path}/")
        pool = next((pool for pool in self._pools if f"{at}/".startswith(f"{pool}/")), at)
        return self._count(self._spec.component_at(pool), path, now)

    def reported(self, name: str, at: float) -> bool:
        """Count a failure that somebody reports of a component; as `failed`.  Raises `UnknownComponent`."""
        component = self._spec.component_named(name)
        if component is None and any(name == path for path, _ in self._declared):
            component = self._spec.component_at(name)
        if component is None:
            raise UnknownComponent(self._path, name, self.components)
        if at <= self._recovery.full_restart_ended_at:
            return False  # said while everything was being restarted
        return self._count(component, f"{self._path}/{component}", at)

    @property
    def components(self) -> tuple[str, ...]:
        """The names that a report may use: those of the table, and of what the table does not cover."""
        workers = (path for path, spec in self._declared if spec.group is None or _is_pool(spec))
        return tuple(dict.fromkeys((*self._spec.components, *map(self._spec.component_at, workers))))

    def _count(self, component: str, path: str, at: float) -> bool:
        recovery = self._recovery
        if self.due or recovery.full_restart_under_way or self._trigger() is None:
            return False
        if recovery.full_restarts != self._restarts:
            # What a full restart has cured does not count any more.
            self._restarts = recovery.full_restarts
            self._failed.clear()
        self._failed[component] = max(at, self._failed.get(component, at))
        latest = max(self._failed.values())
        kept = ((name, when) for name, when in self._failed.items() if latest - when <= self._spec.window)
        self._failed = dict(sorted(kept, key=lambda failure: failure[1]))
        if len(self._failed) < self._spec.failures:
            return False
        self._due, self._latest = tuple(self._failed), path
        self._failed.clear()
        return True

    # -- what follows

    def pre_empt(self, now: float) -> Plan | None:
        """Begin the one full restart: announce, drain, stop everybody; `BringBack` does the rest.

        None when everybody whom it would bring back has been deleted meanwhile: what it was to come
        before is then decided as ever.
        """
        failed, self._due = self._due, ()
        trigger = self._trigger()
        if trigger is None:
            return None
        trigger.chain = (self._latest,)
        self._recovery.for_all = True
        report = SystemFailure(
            supervisor=self._path,
            at=now,
            failed_components=failed,
            recovery_strategy="full_restart",
            can_recover=self._recovery.window.left(now) > 0,
            window=self._spec.window,
        )
        why = f"{_and(failed)} failed within {self._spec.window:g} s"
        announced = self._recovery.announce_full_restart(why, now, asked=True)
        pauses = self._recovery.pause(tuple(self._children))
        attempt = BringBack(trigger.id, f"is restarted with everybody: {why}")
        return Plan((*pauses, attempt), (report, *announced))

    def _trigger(self) -> Child | None:
        """Return the child that stands for all in the ledger: one whose restarts its supervisor pays for."""
        kept = [child for child in self._children if not child.temporary]
        return next((child for child in kept if child.window is None), kept[0] if kept else None)


def check_owners(spec: Correlation, group: Group) -> None:
    """Refuse a table that names a path which nobody below the supervisor has."""
    declared = [path for path, _ in _declared(group.children)]
    for name, owners in spec.components.items():
        for owner in owners:
            if owner not in declared:
                wanted = f"component {name!r} names paths below the supervisor ({', '.join(declared)})"
                raise InvalidSpec("correlate", wanted, owner)


def _declared(children: tuple[ChildSpec, ...], above: str = "") -> Iterator[tuple[str, ChildSpec]]:
    """Yield everybody below with the path there; the children of a dynamic supervisor have none yet."""
    for child in children:
        path = f"{above}{child.id}"
        yield path, child
        if child.group is not None:
            yield from _declared(child.group.children, f"{path}/")


def _is_pool(spec: ChildSpec) -> bool:
    return isinstance(spec.group, Pool)


def _and(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
