"""In which order children start: those that others depend on first, else as they were written.

Pure, over the specs: what no order can satisfy is refused where the tree is written.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from holdfast.supervisors.errors import InvalidSpec

if TYPE_CHECKING:
    from holdfast.supervisors.child_spec import ChildSpec

__all__ = ["check_dependencies", "start_order"]


def start_order(children: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    """Return the children in the order in which they start: stable, dependencies first.

    Refuses two children with one id, names that no sibling has, and circles.
    """
    by_id = {child.id: child for child in children}
    if len(by_id) != len(children):
        ids = [child.id for child in children]
        raise InvalidSpec(
            "supervisor", "ids of children are unique", sorted({i for i in ids if ids.count(i) > 1})
        )
    for child in children:
        check_dependencies(child, by_id)
    if not any(child.depends_on for child in children):
        return tuple(children)
    return _topological(children)


def check_dependencies(child: ChildSpec, siblings: Container[str]) -> None:
    """Refuse a dependency that no sibling has as its id."""
    for name in child.depends_on:
        if name not in siblings:
            raise InvalidSpec(f"child {child.id!r}", "depends_on names siblings", name)


def _topological(children: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    place = {child.id: index for index, child in enumerate(children)}
    waiting_for = {child.id: set(child.depends_on) for child in children}
    dependants: dict[str, list[str]] = {child.id: [] for child in children}
    for child in children:
        for name in dict.fromkeys(child.depends_on):
            dependants[name].append(child.id)
    ready = [place[child.id] for child in children if not child.depends_on]
    ordered: list[ChildSpec] = []
    while ready:
        child = children[heapq.heappop(ready)]
        ordered.append(child)
        for dependant in dependants[child.id]:
            waiting_for[dependant].discard(child.id)
            if not waiting_for[dependant]:
                heapq.heappush(ready, place[dependant])
    if len(ordered) < len(children):
        raise InvalidSpec("supervisor", "dependencies have no circle", " -> ".join(_circle(waiting_for)))
    return tuple(ordered)


def _circle(waiting_for: dict[str, set[str]]) -> list[str]:
    """Return one circle among children that wait for each other; its first name is also its last."""
    trail = [next(name for name, others in waiting_for.items() if others)]
    while trail.count(trail[-1]) == 1:
        trail.append(min(waiting_for[trail[-1]]))
    return trail[trail.index(trail[-1]) :]
