"""``python -m holdfast.actors.app`` is ``holdfast``."""

from __future__ import annotations

from holdfast.actors.app.cli import main

main()
