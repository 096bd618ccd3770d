"""``holdfast check``: what is wrong with a configuration, or what it means."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from holdfast.actors.app.display import console
from holdfast.actors.app.terminal import plain
from holdfast.actors.config.messages import ConfigurationError
from holdfast.actors.config.sources import load
from holdfast.runtime.daemon import ExitStatus

__all__ = ["check_file"]


def check_file(file: Path, environ: Mapping[str, str], *, json: bool) -> int:
    """Read the file with the environment as `holdfast run` would; print the result, secrets masked."""
    try:
        configuration = load(file, environ=environ).current
    except ConfigurationError as error:
        if json:
            problems = [str(problem) for problem in error.problems]
            _write({"valid": False, "problems": problems})
        else:
            sys.stderr.writelines(f"holdfast: {plain(str(problem))}\n" for problem in error.problems)
        return ExitStatus.CONFIGURATION
    shown = configuration.describe()
    if json:
        _write({"valid": True, "configuration": shown})
        return ExitStatus.CLEAN
    out = console()
    for section, keys in shown.items():
        out.print(f"[{section}]", style="bold", markup=False)
        for key, value in keys.items():
            out.print(f"{key} = {value!r}", markup=False)
    return ExitStatus.CLEAN


def _write(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")
