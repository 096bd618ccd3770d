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

__all__ = ["check_dependencies", "order_with", "start_order"]


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


def order_with(new: ChildSpec, present: Sequence[ChildSpec]) -> tuple[str, ...]:
    """Return the ids in start order with a child that is added: at the end, unless somebody depends on it.

    Somebody does when one of that name was deleted; then it comes before those.  Refuses a circle.
    """
    before = next((at for at, child in enumerate(present) if new.id in child.depends_on), None)
    if before is None:
        return (*(child.id for child in present), new.id)
    ordered = _topological((*present[:before], new, *present[before:]))
    return tuple(child.id for child in ordered)


def _topological(children: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    place = {child.id: index for index, child in enumerate(children)}
    # A name that nobody has was deleted while the supervisor ran: nobody waits for it.
    waiting_for = {child.id: {name for name in child.depends_on if name in place} for child in children}
    dependants: dict[str, list[str]] = {child.id: [] for child in children}
    for child in children:
        for name in waiting_for[child.id]:
            dependants[name].append(child.id)
    ready = [place[child.id] for child in children if not waiting_for[child.id]]
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
