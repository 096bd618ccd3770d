"""Where a stream leads or comes from: a TCP address, or a local socket."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TypeAlias

import attrs

__all__ = ["Address", "AnyAddress", "UnixAddress", "is_loopback"]


@attrs.frozen
class Address:
    """A TCP address, and whether TLS is spoken there."""

    host: str
    port: int
    tls: bool = False
    server_hostname: str | None = None
    """The name that the certificate must carry; the host when None."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@attrs.frozen
class UnixAddress:
    """A local socket in the file system; listening makes it for its owner alone (0600)."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


AnyAddress: TypeAlias = Address | UnixAddress


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address means this machine, so that nothing said to it leaves it.

    Decided by the text alone: a name is not looked up, so only `localhost` is one.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
