"""What ships for tests of users' own actors: backends under virtual time, and probes.

Nothing here is imported by the runtime itself.
"""

from __future__ import annotations

from holdfast.runtime.testing.harness import both_backends, on_asyncio, on_trio, run
from holdfast.runtime.testing.probe import Probe, probe
from holdfast.runtime.testing.settle import settled

__all__ = ["Probe", "both_backends", "on_asyncio", "on_trio", "probe", "run", "settled"]
