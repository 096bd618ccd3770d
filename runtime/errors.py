"""The errors of the runtime: one class for each thing that a caller does differently.

Every error of Holdfast is a `HoldfastError`.  Each class builds its own message
from its fields, so that it reads the same wherever it is raised: what was
wanted, what came, what to do.  Between actors there are no exceptions, only
outcomes; these are raised at callers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.runtime.outcomes import Outcome

__all__ = [
    "ActorCrashed",
    "ActorDegraded",
    "ActorGone",
    "AskCycle",
    "AskError",
    "AskTimeout",
    "CallbackFailed",
    "DefinitionError",
    "HoldfastError",
    "InspectionTimeout",
    "InvalidLiveness",
    "InvalidSystem",
    "InvalidTimeout",
    "MailboxFull",
    "NameTaken",
    "NoHandler",
    "NoSuchActor",
    "NotRunning",
    "RefusedInSimulation",
    "ResourceHeld",
    "SendTimeout",
    "StartFailed",
    "StartTimeout",
    "StopDeadlineExceeded",
    "StopHookOverdue",
    "StopTimeout",
    "StoppedOtherwise",
    "StrayCancellation",
    "SystemClosed",
    "Unresponsive",
]


class HoldfastError(Exception):
    """The base of every error that Holdfast raises."""


class DefinitionError(HoldfastError, TypeError):
    """An actor class, a message or a handler is defined wrongly; raised when the class is made."""


class MailboxFull(HoldfastError):
    """A bounded mailbox had no room and its policy is to refuse.  The message was not accepted.

    Wait with `await ref.send(...)`, slow down, or declare another bound or policy on the actor.
    """

    def __init__(self, path: str, capacity: int) -> None:
        super().__init__(
            f"{path} has {capacity} messages waiting, its bound; the message was not accepted: "
            f"await ref.send(...) to wait for room, or declare another mailbox on the actor"
        )
        self.path = path
        self.capacity = capacity


class PortalFull(HoldfastError):
    """Threads send faster than the loop delivers: slow down, or use `ask`, which waits."""

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(
            f"the portal of {name!r} holds {capacity} messages that the loop has not delivered yet: "
            f"the loop is blocked, or its threads send faster than it delivers; wait, or ask instead of tell"
        )
        self.capacity = capacity


class WrongThread(HoldfastError):
    """The loop's own thread would block itself for ever: await `ref.ask` or `ref.send` there."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was asked through the portal on the event loop's own thread, which would wait for "
            f"itself: await ref.ask(...) or ref.send(...) there; the portal is for other threads"
        )
        self.path = path


class AskError(HoldfastError):
    """A question got no answer.  Subclasses say why."""


class AskTimeout(AskError):
    """No answer came in time.  The actor may still handle the question; its late answer reaches nobody."""

    def __init__(self, path: str, question: str, timeout: float) -> None:
        super().__init__(f"{path} did not answer {question} within {timeout:g} s")
        self.path = path
        self.question = question
        self.timeout = timeout


class SendTimeout(AskError):
    """No room came free in a full mailbox in time.  The message was not accepted."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(f"{path} had no room for a message within {timeout:g} s; it was not accepted")
        self.path = path
        self.timeout = timeout


class ActorGone(AskError):
    """The actor is not there and is not coming back: stopped, deleted, given up, or never started."""

    def __init__(self, path: str, outcome: Outcome | None = None, why: str = "") -> None:
        reason = why or (f"it ended: {outcome}" if outcome is not None else "it is not running")
        super().__init__(f"{path} is gone ({reason})")
        self.path = path
        self.outcome = outcome


class ActorDegraded(ActorGone):
    """The actor is switched off: its restarts did not help.  It is tried again in `probe_in` seconds."""

    def __init__(self, path: str, outcome: Outcome | None, probe_in: float) -> None:
        ended = f"it ended: {outcome}; " if outcome is not None else ""
        super().__init__(path, outcome, f"{ended}it is switched off and is probed in {probe_in:.1f} s")
        self.probe_in = probe_in


class ActorCrashed(AskError):
    """The actor ended while it was handling this very question.  The question is not asked again."""

    def __init__(self, path: str, outcome: Outcome) -> None:
        super().__init__(f"{path} ended while it handled the question: {outcome}")
        self.path = path
        self.outcome = outcome


class NotRunning(AskError):
    """A start or stop hook asked an actor that is not running.

    A supervisor may be waiting for this very hook, so waiting for the other
    actor could wait for ever; ask from a handler, or send yourself a message.
    """

    def __init__(self, path: str, asker: str) -> None:
        super().__init__(
            f"{asker} asked {path} from a start or stop hook, and {path} is not running: "
            f"ask from a handler instead"
        )
        self.path = path
        self.asker = asker


class AskCycle(AskError):
    """Waiting would never end: the actors of `chain` would wait for each other in a circle."""

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__(
            "waiting would never end: " + " -> ".join(chain) + "; use tell, ask_later, or a child task"
        )
        self.chain = tuple(chain)


class NoHandler(AskError):
    """The actor has no handler for this type of question."""

    def __init__(self, path: str, question: str) -> None:
        super().__init__(f"{path} has no handler for {question}: declare one with @on({question})")
        self.path = path
        self.question = question


class StartFailed(HoldfastError):
    """An actor could not be started: its factory or its start hook failed.  `reason` is the cause."""

    def __init__(self, path: str, reason: BaseException) -> None:
        super().__init__(f"{path} could not be started: {type(reason).__name__}: {reason}")
        self.path = path
        self.reason = reason


class NameTaken(HoldfastError):
    """An actor was to be started where another one runs.  The other one goes on; nothing was started."""

    def __init__(self, path: str, incarnation: int) -> None:
        super().__init__(
            f"{path} is taken: its incarnation {incarnation} has not ended; stop it first or use another name"
        )
        self.path = path
        self.incarnation = incarnation


class StartTimeout(HoldfastError):
    """The start hook of an actor took longer than its child spec allows."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(f"{path} was not started within its start_timeout of {timeout:g} s")
        self.path = path
        self.timeout = timeout


class ResourceHeld(HoldfastError):
    """A wedged task still holds a resource that this actor declares as exclusive."""

    def __init__(self, path: str, resource: str, holder: str) -> None:
        super().__init__(
            f"{path} needs {resource!r} for itself, and the wedged task of {holder} still holds it; "
            f"it can start when that task ends"
        )
        self.path = path
        self.resource = resource
        self.holder = holder


class StrayCancellation(HoldfastError):
    """A cancellation arrived that nobody around the actor had requested; it counts as a crash."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} was cancelled from a place that has no right to: counted as a crash")
        self.path = path


class InvalidLiveness(HoldfastError, ValueError):
    """A limit on handlers, or on a blocked thread, cannot be used."""


class InvalidSystem(HoldfastError, ValueError):
    """An option of `open_system` cannot be used; nothing was opened."""

    def __init__(self, option: str, wanted: str, came: object) -> None:
        super().__init__(f"open_system: {option} is {wanted}, got {came!r}")
        self.option = option


class Unresponsive(HoldfastError):
    """An actor was in one handler for longer than its liveness allows; it was ended for that."""

    def __init__(self, path: str, seconds: float, message_type: str) -> None:
        super().__init__(
            f"{path} was in its handler of {message_type} for {seconds:g} s and was given up: "
            f"wait in a child task, or declare another LivenessSpec"
        )
        self.path = path
        self.seconds = seconds
        self.message_type = message_type


class SystemClosed(HoldfastError):
    """The actor system has ended or is ending; nothing new is started in it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the actor system {name!r} is closed")
        self.name = name


class StopHookOverdue(HoldfastError):
    """The stop hook of an actor that ended by itself took longer than its allowance, and was cancelled."""

    def __init__(self, path: str, allowance: float) -> None:
        super().__init__(
            f"on_stop of {path} did not return within {allowance:g} s; give it less to do, or more time"
        )
        self.path = path
        self.allowance = allowance


class StopDeadlineExceeded(HoldfastError):
    """The system could not be stopped within its overall deadline.  `wedged` names the tasks that stayed."""

    def __init__(self, deadline: float, wedged: Sequence[str]) -> None:
        super().__init__(
            f"the system did not stop within {deadline:g} s; still running: {', '.join(wedged) or 'nothing'}"
        )
        self.deadline = deadline
        self.wedged = tuple(wedged)


class NoSuchActor(HoldfastError):
    """Nobody has ever named this path: there is no actor, and no mail waits for one."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no actor {path!r}: a snapshot of the tree lists the paths")
        self.path = path


class InspectionTimeout(HoldfastError):
    """The actor did not come between two messages in time: its present handler or start hook goes on."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(
            f"{path} was busy with one message for {timeout:g} s and could not be inspected: "
            f"try again, or allow more time"
        )
        self.path = path
        self.timeout = timeout


class StoppedOtherwise(HoldfastError):
    """An actor that was asked to end with one outcome ended with another one (S17)."""

    def __init__(self, path: str, wanted: Outcome, outcome: Outcome) -> None:
        super().__init__(f"{path} was asked to end as {wanted} and ended as {outcome}")
        self.path = path
        self.wanted = wanted
        self.outcome = outcome


class StopTimeout(HoldfastError):
    """An actor that was asked to end did not end in time; it may go on stopping (S17)."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(
            f"{path} did not end within {timeout:g} s; it may still be stopping, or busy before that"
        )
        self.path = path
        self.timeout = timeout


class CallbackFailed(HoldfastError):
    """A function given to `replace_state` failed; the actor's state is what it was (S21).

    `reason` is what it raised, or what is wrong with what it returned.
    """

    def __init__(self, path: str, reason: BaseException) -> None:
        super().__init__(
            f"the state of {path} is unchanged: the function failed with {type(reason).__name__}: {reason}"
        )
        self.path = path
        self.reason = reason


class InvalidTimeout(HoldfastError, ValueError):
    """A time limit is no number of seconds above zero; nothing was done."""

    def __init__(self, timeout: object) -> None:
        super().__init__(f"a timeout is a number of seconds above 0, got {timeout!r}; nothing was done")
        self.timeout = timeout


class RefusedInSimulation(HoldfastError):
    """Something real (a thread, a socket, a file) was used in a simulated run; `seam` is what to use."""

    def __init__(self, what: str, seam: str) -> None:
        super().__init__(f"{what} is refused in a simulated run: go through {seam}")
        self.what = what
        self.seam = seam
