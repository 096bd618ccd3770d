"""How an actor can end.

Three ends are orderly: `Normal` (its work was done), `Shutdown()` (it was asked
to stop) and `Shutdown(info)` (it says why it stopped).  Three are abnormal:
`Crash`, `Killed`, and `GaveUp`, which is a supervisor whose budget is spent.
Giving up is abnormal here, unlike in OTP, where a transient subtree that gave
up would vanish silently.

An outcome is decided by what was requested, never by the type of an exception:
see `cell.py`.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias, cast

import attrs

from holdfast.runtime.redaction import clean_text

__all__ = [
    "KILLED",
    "NORMAL",
    "SHUTDOWN",
    "Crash",
    "GaveUp",
    "Killed",
    "Normal",
    "Outcome",
    "Shutdown",
    "describe",
    "in_words",
    "is_orderly",
    "members",
    "unwrap",
]


@attrs.frozen
class Normal:
    """The actor ended by itself, its work done."""

    orderly: ClassVar[bool] = True

    def __str__(self) -> str:
        return "normal"


@attrs.frozen
class Shutdown:
    """The actor stopped because it was asked to, or declared its end as such."""

    info: object = None
    orderly: ClassVar[bool] = True

    def __str__(self) -> str:
        return "shutdown" if self.info is None else clean_text(f"shutdown({self.info!r})")


@attrs.frozen
class Crash:
    """The actor failed.

    `exception` has groups of one unwrapped, for decisions; `raised` is what came, whole, for the report.
    """

    exception: BaseException
    raised: BaseException | None = attrs.field(default=None, eq=False, repr=False)
    reason: str = attrs.field(init=False, eq=False, repr=False)
    """The exception in one line, by class and text: written once, because several reports quote it."""
    orderly: ClassVar[bool] = False

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "reason", describe(self.exception))

    def __str__(self) -> str:
        return f"crash({self.reason})"


@attrs.frozen
class Killed:
    """The actor was ended at once, or its allowance for stopping ran out."""

    orderly: ClassVar[bool] = False

    def __str__(self) -> str:
        return "killed"


@attrs.frozen
class GaveUp:
    """A supervisor spent its budget.  `chain` names who failed, from the first child up to the supervisor."""

    chain: tuple[str, ...] = ()
    orderly: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"gave up ({' -> '.join(self.chain)})" if self.chain else "gave up"


Outcome: TypeAlias = Normal | Shutdown | Crash | Killed | GaveUp

NORMAL = Normal()
SHUTDOWN = Shutdown()
KILLED = Killed()


def describe(error: BaseException) -> str:
    """Return the error as one line, by class and text, without what looks like a secret: many are told."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - a user's class; what is told of it must not fail with it
        text = f"its text cannot be had: {type(failure).__name__}"
    return clean_text(f"{type(error).__name__}: {text}") if text else type(error).__name__


def is_orderly(outcome: Outcome) -> bool:
    """Whether a transient child that ended so is left in peace (R5)."""
    return outcome.orderly


def in_words(outcome: Outcome) -> str:
    """Return the outcome as the verb of a sentence about the actor: "crashed (KeyError: 'seq')"."""
    match outcome:
        case Crash():
            return f"crashed ({outcome.reason})"
        case Killed():
            return "was killed"
        case GaveUp():
            return str(outcome)
        case _:
            return f"ended by itself ({outcome})"


def unwrap(exception: BaseException) -> BaseException:
    """Return the one exception inside nested groups of one; a group of several is returned as it is.

    An actor that opens a nursery of its own raises its one failure wrapped in a group (trap 9).
    """
    while isinstance(exception, BaseExceptionGroup):
        inner = members(exception)
        if len(inner) != 1:
            break
        exception = inner[0]
    return exception


def members(exception: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions of a group; nothing for an exception that is none."""
    if isinstance(exception, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", exception).exceptions
    return ()
