"""The config actor: reads the sources again, and keeps the last good configuration when they are broken.

It reads at every start, so that a restart of the foundation, or of the whole
tree, continues with what the file says now (SEMANTICS "Supervision beyond OTP"
7).  The configuration itself is held above the root.
"""

from __future__ import annotations

from holdfast.actors.config.components import updates
from holdfast.actors.config.machine import Keep, Swap, decide_reload
from holdfast.actors.config.messages import (
    ConfigRejected,
    ConfigReloaded,
    ConfigurationError,
    GetConfiguration,
    Reload,
    ReloadResult,
    UpdateConfiguration,
)
from holdfast.actors.config.settings import Configuration
from holdfast.actors.config.sources import LiveConfiguration, Sources
from holdfast.runtime import Actor, on

__all__ = ["ConfigActor"]


class ConfigActor(Actor):
    """Keeps `live` in step with its sources."""

    def __init__(self, live: LiveConfiguration) -> None:
        self._live = live

    async def on_start(self) -> None:
        """Read the sources; broken ones keep nothing from starting."""
        await self._reload()

    @on(GetConfiguration)
    def get_configuration(self, _request: GetConfiguration) -> Configuration:
        """Answer with the configuration in force."""
        return self._live.current

    @on(Reload)
    async def reload(self, _request: Reload) -> ReloadResult:
        """Read the sources again, on request."""
        return await self._reload()

    @on(UpdateConfiguration)
    async def update(self, request: UpdateConfiguration) -> ReloadResult:
        """Put what a program says now above all sources (A4.6); each component concerned is announced."""
        sources = self._live.sources.with_said(request.values)
        before = self._live.current
        match decide_reload(before, await self._read(sources)):
            case Keep(problems):
                self.context.emit(ConfigRejected(problems=problems))
                return ReloadResult(accepted=False, problems=problems)
            case Swap(configuration, changed):
                self._live.swap(configuration, sources)
                for event in updates(before, configuration, changed):
                    self.context.emit(event)
                return ReloadResult(accepted=True, changed=changed)

    async def _reload(self) -> ReloadResult:
        match decide_reload(self._live.current, await self._read(self._live.sources)):
            case Keep(problems):
                self.context.emit(ConfigRejected(problems=problems))
                return ReloadResult(accepted=False, problems=problems)
            case Swap(configuration, changed):
                if changed:
                    self._live.swap(configuration)
                    self.context.emit(ConfigReloaded(changed=changed))
                return ReloadResult(accepted=True, changed=changed)

    async def _read(self, sources: Sources) -> Configuration | ConfigurationError:
        try:
            return await self.context.seams.threads.run(sources.read)
        except ConfigurationError as error:
            return error
