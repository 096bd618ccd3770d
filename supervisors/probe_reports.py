"""What a supervisor decided about a child that it switched off: the reports of degradation."""

from __future__ import annotations

from holdfast.supervisors.reports import Report

__all__ = ["ChildBack", "ChildDegraded", "ProbeDecided", "ProbeFailed"]


class ChildDegraded(Report, frozen=True, kw_only=True, tag="supervisor:degraded"):
    """A child with `on_give_up=DEGRADE` has used up its own budget, or could not be started at all."""

    child: str
    why: str
    intensity: int
    period: float
    probe_in: float
    told: tuple[str, ...]
    """The siblings that declared to depend on it and run."""

    def sentence(self) -> str:
        told = f", {', '.join(self.told)} told" if self.told else ""
        return (
            f"{self._of(self.child)} {self.why}; it is switched off (own budget: {self.intensity} in "
            f"{self.period:g} s), its siblings go on{told}; probed in {self.probe_in:.1f} s"
        )


class ProbeDecided(Report, frozen=True, kw_only=True, tag="supervisor:probe"):
    """The time of a probe has come: the child is started once, without charge."""

    child: str
    probe: int
    degraded_for: float

    def sentence(self) -> str:
        return (
            f"{self._of(self.child)} is degraded for {self.degraded_for:.1f} s; "
            f"probe {self.probe} starts it, no charge"
        )


class ProbeFailed(Report, frozen=True, kw_only=True, tag="supervisor:probe_failed"):
    """A probe could not be started or did not stay up: the child is switched off again, for longer."""

    child: str
    why: str
    failed: int
    """How many probes have failed since it was switched off."""
    probe_in: float
    degraded_for: float

    def sentence(self) -> str:
        return (
            f"{self._of(self.child)} {self.why}: probe {self.failed} failed, "
            f"it stays switched off; probed again in {self.probe_in:.1f} s"
        )


class ChildBack(Report, frozen=True, kw_only=True, tag="supervisor:back"):
    """A probe stayed up for the stable period: the child counts as well again."""

    child: str
    degraded_for: float
    stable_for: float

    def sentence(self) -> str:
        return (
            f"{self._of(self.child)} is back: up for {self.stable_for:g} s "
            f"after {self.degraded_for:.1f} s of degradation"
        )
