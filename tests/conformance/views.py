"""What the cases of the specification look at, through the public API alone."""

from __future__ import annotations

from holdfast.runtime import Outcome, Ref, System
from holdfast.supervisors import DynamicHandle, SupervisorHandle

__all__ = ["counts", "ended", "incarnations", "running", "states"]


async def states(handle: SupervisorHandle | DynamicHandle) -> dict[str, str]:
    """Return the state of each child, in start order."""
    return {child.id: child.state for child in await handle.which_children()}


async def incarnations(handle: SupervisorHandle | DynamicHandle) -> dict[str, int]:
    """Return which incarnation of each child is the latest: another one has been restarted."""
    return {child.id: child.incarnation for child in await handle.which_children()}


async def counts(handle: SupervisorHandle | DynamicHandle) -> tuple[int, int, int, int]:
    """Return specs, active, supervisors and workers."""
    counted = await handle.count_children()
    return counted.specs, counted.active, counted.supervisors, counted.workers


def running(system: System, path: str) -> Ref:
    """Return the ref of an actor that runs."""
    ref = system.ref(path)
    assert ref.slot.running, f"{path} does not run"
    return ref


def ended(ref: Ref) -> Outcome | None:
    """Return how the latest incarnation ended; None while one runs."""
    return ref.slot.outcome
