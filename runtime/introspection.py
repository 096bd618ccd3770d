"""One running actor, looked at from outside: held, released, asked for its state (S17, S21-S23).

`system.inspect(ref_or_path)` returns an `Inspection`.  It names the slot, as a ref does,
so that it survives restarts; what is asked of it concerns the incarnation that runs at
that moment.  Everything here overtakes the mail and is served between two messages,
never in the middle of a handler, and also while the mail is held back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from holdfast.runtime.control_lane import running_cell, served
from holdfast.runtime.errors import InvalidTimeout
from holdfast.runtime.redaction import Json
from holdfast.runtime.state import replace_attributes, shown_state

if TYPE_CHECKING:
    from holdfast.runtime.behavior import Actor
    from holdfast.runtime.registry import Slot

__all__ = ["INSPECTION_TIMEOUT", "Inspection"]

# OTP's default for `sys` calls: long for a handler, short enough that a person is still looking.
INSPECTION_TIMEOUT = 5.0


class Inspection:
    """What can be asked of one actor, and done to it, while it runs.

    Each `timeout` is in seconds: how long the present handler may take until the request
    is served.  `InspectionTimeout` when it takes longer, `ActorGone` when no incarnation
    runs, `InvalidTimeout` for a time limit that is none, `AskCycle` for an actor that
    inspects itself from a handler.
    """

    __slots__ = ("_slot",)

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    @property
    def path(self) -> str:
        """The actor's path."""
        return self._slot.path

    # -- its state

    async def get_state(self, *, timeout: float = INSPECTION_TIMEOUT) -> Json:
        """Return what may be shown of the actor's state, as plain data (S21).

        It is what the class's `format_state` returns, all attributes by default, with
        secrets masked by type, by name and by look, cut to 1,000 values, 8 levels and
        32,768 characters.  A snapshot between two messages, of a suspended actor too.
        """
        return await served(running_cell(self._slot), shown_state, checked_timeout(timeout))

    async def replace_state(
        self,
        change: Callable[[dict[str, object]], Mapping[str, object]],
        *,
        timeout: float = INSPECTION_TIMEOUT,
    ) -> Json:
        """Have `change` make a new state of the old one; return what may be shown of the new one (S21).

        `change` is given the attributes by name, unmasked, and returns those that the
        actor is to have: what is missing is deleted.  It runs between two messages and
        must not wait.  Dicts, lists, sets and deques in the state are copies, so that
        changing them in place counts only when `change` returns; other objects are
        the actor's own.  `CallbackFailed` when it raises or returns no mapping of names:
        the state is unchanged then, as it is after an `InspectionTimeout`.
        """
        cell = running_cell(self._slot)

        def replace(actor: Actor) -> Json:
            replace_attributes(actor, change, self._slot.path)
            return shown_state(actor)

        return await served(cell, replace, checked_timeout(timeout))

    # -- held and released

    async def suspend(self, *, timeout: float = INSPECTION_TIMEOUT) -> None:
        """Hold the actor's mail back; return when its present handler is over (S22).  Twice is once.

        Messages, questions, ticks and exit notices queue in the order in which they
        come and are handled in that order after `resume`: this is also how several
        deaths and calls are queued before a supervisor reacts to any.  Inspection,
        stop and kill are served meanwhile.  Timers run on, deadlines of questions pass.
        It concerns this incarnation; a successor handles its mail.  Out of time, the
        actor holds its mail when the handler is over all the same.
        """
        cell = running_cell(self._slot)
        seconds = checked_timeout(timeout)
        cell.suspend()
        await served(cell, _nothing, seconds)

    async def resume(self, *, timeout: float = INSPECTION_TIMEOUT) -> None:
        """Let the actor handle its mail again, in order (S22); on one that is not suspended it is nothing.

        The mail that a full restart holds back stays held.
        """
        cell = running_cell(self._slot)
        seconds = checked_timeout(timeout)
        if cell.loop.suspended:
            cell.resume()
            await served(cell, _nothing, seconds)

    @property
    def suspended(self) -> bool:
        """Whether the actor holds its mail back, or will when its present handler is over."""
        cell = self._slot.cell
        return cell is not None and cell.loop.suspended

    def __repr__(self) -> str:
        return f"<Inspection of {self._slot.path} {self._slot.state}>"


def checked_timeout(timeout: float) -> float:
    """Return the time limit, or refuse what is none (S17: nothing has happened then)."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidTimeout(timeout)
    return float(timeout)


def _nothing(_actor: Actor) -> None:
    """Stand for a request that only waits for its turn."""
