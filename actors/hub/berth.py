"""Where a service of the hub listens, remembered above its actor.

A port of 0 becomes a real one when it is first bound.  A restarted actor must
come back on that same port, or every client would look for it in vain.
"""

from __future__ import annotations

import attrs

__all__ = ["Berth"]


@attrs.define
class Berth:
    """A host, a port and a path; the port is filled in by whoever binds it first."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def url(self) -> str:
        """The whole address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"
