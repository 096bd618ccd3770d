"""How the trees of the scripts are declared: once, for the reference and for the real supervisors."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["Auto", "Leaf", "Plan", "Restart", "Strategy", "TeamPlan"]

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
Strategy: TypeAlias = Literal["one_for_one", "rest_for_one", "one_for_all"]
Auto: TypeAlias = Literal["never", "any_significant", "all_significant"]


@attrs.frozen(kw_only=True)
class Leaf:
    """A worker, as it is declared."""

    id: str
    restart: Restart = "permanent"
    significant: bool = False
    kill: bool = False
    """Whether it is stopped without being asked."""


@attrs.frozen(kw_only=True)
class TeamPlan:
    """A supervisor, as it is declared."""

    id: str
    children: tuple[Plan, ...]
    strategy: Strategy = "one_for_one"
    intensity: int = 3
    auto_shutdown: Auto = "never"
    restart: Restart = "permanent"
    significant: bool = False


Plan: TypeAlias = Leaf | TeamPlan
