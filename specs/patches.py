"""Replacing names of modules for a while, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["replaced"]


@contextmanager
def replaced(*names: tuple[object, str, object]) -> Generator[None]:
    """Set each (owner, name, value) and put back what was there, last one first."""
    before: list[tuple[object, str, object]] = []
    try:
        for owner, name, value in names:
            before.append((owner, name, vars(owner)[name]))
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)
