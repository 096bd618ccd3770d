"""The client's configuration file for one run: the scaled profile and this run's addresses."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from holdfast.actors.app.demo.processes import HubAddresses

__all__ = ["client_profile", "write_profile"]


def write_profile(file: Path, profile: str) -> None:
    """Write the file for its owner alone: it holds the API key."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(profile)


def client_profile(addresses: HubAddresses, proxy_port: int, api_key: str, folder: Path) -> str:
    """Return TOML: the realtime endpoint through the proxy, everything else directly."""
    profile = (resources.files("holdfast.actors.app.demo") / "profile.toml").read_text()
    sections: dict[str, dict[str, object]] = tomllib.loads(profile)
    path = addresses.realtime_url.partition("://")[2].partition("/")[2]
    sections["connection"]["url"] = f"ws://127.0.0.1:{proxy_port}/{path}"
    sections["auth"] |= {"api_endpoint": addresses.api_url, "api_key": api_key}
    sections["avatar"] |= {"api_url": addresses.avatar_url, "api_key": api_key}
    sections["delivery"] = {"store": str(folder / "client.db")}
    sections["logging"]["file"] = str(folder / "client.jsonl")
    return "".join(f"[{name}]\n{_pairs(keys)}\n" for name, keys in sections.items())


def _pairs(keys: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_literal(value)}\n" for key, value in keys.items())


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    # A basic string of TOML is escaped as JSON is.
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
